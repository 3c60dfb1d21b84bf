//! Takes in what the trace reports, for the gate, or `kill`, to decide at the end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use crate::clock::MonoNs;
use crate::item::Gap;
use crate::report::{Finding, Moment, Notice, Release, Report, Sink, Summary};
use crate::tracker::SocketId;

/// What was reported.
#[derive(Default)]
pub(in crate::commands) struct Collected {
    pub(in crate::commands) sockets: BTreeMap<SocketId, Socket>,
    pub(in crate::commands) notices: Vec<Notice>,
    /// What was lost, when it was found out.
    pub(in crate::commands) losses: Vec<(Gap, MonoNs)>,
}

/// One of them.
pub(in crate::commands) struct Socket {
    /// The last that was found out about it.
    pub(in crate::commands) finding: Box<Finding>,
    /// How it ended, if it did.
    pub(in crate::commands) release: Option<Box<Release>>,
}

/// The sink that takes it in.
pub(in crate::commands) struct Collector(pub(in crate::commands) Rc<RefCell<Collected>>);

impl Sink for Collector {
    fn report(&mut self, report: &Report, at: Moment<'_>) -> io::Result<()> {
        let mut collected = self.0.borrow_mut();
        match report {
            Report::Stuck(finding) | Report::Ghost(finding) => {
                let socket = Socket { finding: finding.clone(), release: None };
                collected.sockets.insert(finding.suspect.id, socket);
            }
            Report::Released(release) => {
                if let Some(socket) = collected.sockets.get_mut(&release.released.id) {
                    socket.release = Some(release.clone());
                }
            }
            Report::Notice(notice) => collected.notices.push(notice.clone()),
            Report::Loss(gap) => collected.losses.push((*gap, at.now)),
            Report::FirstLook(_) => {}
        }
        Ok(())
    }

    /// Drops those that went on under another id (they turned ghost).
    fn finish(&mut self, _: &Summary, at: Moment<'_>) -> io::Result<()> {
        let known = |id: &SocketId, socket: &mut Socket| socket.release.is_some() || at.ledger.knows(*id);
        self.0.borrow_mut().sockets.retain(known);
        Ok(())
    }
}
