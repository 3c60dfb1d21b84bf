//! With `run`: only sockets of the command's processes count, and those that end with
//! their process, or are closed late, get a last verdict, from what the kernel side sent
//! with the end and what was known before.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::pending::Pending;
use crate::clock::MonoNs;
use crate::decode::{self, Memory};
use crate::fact::Fact;
use crate::item::{DiagSocket, Ended, SkAddr, Timer, Transition};
use crate::kernel::family::Family;
use crate::report::{Finding, owner};
use crate::tcp::{State, Tuple};
use crate::tracker::{Dwell, Outcome, Released, Since, SocketId, Suspect, SuspectKind, TrackerStats};
use crate::verdict::{Evidence, Kept, Look, ProcessEnd, Shared, Threads};

/// The drains of a short-lived command must not miss its processes.
pub(super) const DRAIN_EVERY: Duration = Duration::from_millis(20);

/// The generation of lives of which only the end was seen: no tracker gets so far.
const STRAY: u32 = u32::MAX;

/// What `run` adds to the driver.
pub(super) struct Kin {
    family: Rc<Family>,
    /// A socket that had been in CLOSE_WAIT, or a ghost, for less when its process
    /// ended does not count.
    least: Duration,
    /// One that was closed sooner than this is no news.
    late: Duration,
    /// Ends that a record to come is about, by socket: records of others may come between.
    announced: HashMap<SkAddr, Box<Ended>>,
    /// Lives that ended with their process, or by a close that may have come late.
    ended: HashMap<SocketId, Box<Ended>>,
    /// What was found out about sockets that have not ended.
    known: HashMap<SocketId, (Kept, Fact<Arc<Threads>>)>,
    /// Lives of which only the end was seen.
    strays: u32,
    /// Those that closed with a file on them while their process ran, and from which state.
    ghosts: HashMap<SocketId, State>,
    /// Lives in CLOSE_WAIT that are known to be the command's, and not known to be over.
    ours: HashSet<SocketId>,
    /// How many of them are over.
    left: u64,
    /// How long those were stuck that were seen to be closed.
    dwell: Dwell,
}

/// So many ends may wait for their records.
const ANNOUNCED_MAX: usize = 16_384;

/// A socket at the end of its process, before the verdict.
pub(super) struct LastWord {
    pub(super) suspect: Suspect,
    pub(super) evidence: Evidence,
    pub(super) memory: Memory,
}

impl Kin {
    pub(super) fn new(family: Rc<Family>, least: Duration, late: Duration) -> Self {
        Self {
            family,
            least,
            late,
            announced: HashMap::new(),
            ended: HashMap::new(),
            strays: 0,
            known: HashMap::new(),
            ghosts: HashMap::new(),
            ours: HashSet::new(),
            left: 0,
            dwell: Dwell::default(),
        }
    }

    /// The next record of this socket is about this end.
    pub(super) fn announce(&mut self, ended: &Ended) {
        // Left over are only those whose record was lost.
        if self.announced.len() >= ANNOUNCED_MAX {
            self.announced.clear();
        }
        self.announced.insert(ended.sk, Box::new(ended.clone()));
    }

    /// The record that follows is one that came before.
    pub(super) fn know(&mut self, sk: SkAddr) {
        self.announced.remove(&sk);
    }

    /// A record about the socket at `sk` had these outcomes.
    pub(super) fn join(&mut self, sk: SkAddr, outcomes: &[Outcome]) {
        let ended = self.announced.remove(&sk);
        let exits = ended.as_ref().is_some_and(|ended| ended.exiting);
        for outcome in outcomes {
            match (outcome, &ended) {
                (
                    Outcome::Released(Released { id, .. }) | Outcome::GhostEnded { ghost: id, .. },
                    Some(ended),
                ) => {
                    self.ended.insert(*id, ended.clone());
                }
                // One whose process ends with unread data goes this way too, and is no ghost.
                (Outcome::ClosedWithFile { ghost, from, .. }, _) if !exits => {
                    self.ghosts.insert(*ghost, *from);
                }
                _ => {}
            }
        }
    }

    /// An edge had these outcomes. Some: the socket left CLOSE_WAIT with its process, and
    /// its entry was missed; a gate that kept silent about it would let a leak pass.
    pub(super) fn join_edge(&mut self, edge: &Transition, outcomes: &[Outcome]) -> Option<Released> {
        let known = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Released(_)));
        let announced = self.announced.get(&edge.sk);
        let exits = announced.is_some_and(|ended| ended.exiting);
        if announced.is_some() || (is_by_application(edge) && self.may_be_by_us(edge)) {
            for outcome in outcomes {
                if let Outcome::Released(Released { id, since, at, to: Some(to), .. }) = outcome {
                    self.ours.insert(*id);
                    if let (Since::Seen(entered), State::LastAck) = (since, to) {
                        self.dwell.record(at.since(*entered));
                    }
                }
            }
        }
        let stray = if exits && !known { self.announced.remove(&edge.sk) } else { None };
        self.join(edge.sk, outcomes);
        let ended = stray.filter(|_| edge.from == State::CloseWait)?;
        self.strays += 1;
        let id = SocketId::from_parts(self.strays, STRAY);
        let opening = decode::memory(&ended.remembered, &edge.tuple).and_then(|memory| memory.opening);
        self.ended.insert(id, ended);
        self.ours.insert(id);
        Some(Released {
            id,
            netns: edge.netns,
            tuple: edge.tuple,
            since: Since::NoLaterThan(edge.at),
            not_before: opening.map(|opening| opening.at),
            at: edge.at,
            to: Some(edge.to),
            by: edge.by.clone(),
            was_suspect: false,
        })
    }

    /// Whether this life ended with its process.
    pub(super) fn has_ended(&self, id: SocketId) -> bool {
        self.ended.get(&id).is_some_and(|ended| ended.exiting)
    }

    /// Whether this life ended by a close, which may have come late.
    pub(super) fn was_closed(&self, id: SocketId) -> bool {
        self.ended.get(&id).is_some_and(|ended| !ended.exiting)
    }

    /// A socket that is over: nothing more is kept of it.
    pub(super) fn forget(&mut self, id: SocketId) {
        self.ended.remove(&id);
        self.known.remove(&id);
        self.ghosts.remove(&id);
        self.left += u64::from(self.ours.remove(&id));
    }

    /// Whether a member may have ended the connection at this edge: one that has been reaped since
    /// is a member no more.
    fn may_be_by_us(&self, edge: &Transition) -> bool {
        let pid = edge.by.as_ref().map(|by| by.task.pid);
        pid.is_some_and(|pid| self.family.contains(pid) || !Path::new(&format!("/proc/{pid}")).exists())
    }

    /// What a tracker has counted, less what is not known to be the command's. Of others it is told
    /// what nobody has accepted yet, and what is where one of the command's was. `is_stuck`: whether
    /// a life is in CLOSE_WAIT now.
    pub(super) fn own(&self, stats: &TrackerStats, is_stuck: impl Fn(SocketId) -> bool) -> TrackerStats {
        let all = self.left + self.ours.len() as u64;
        let tracked = self.ours.iter().filter(|id| is_stuck(**id)).count() as u64;
        TrackerStats {
            tracked,
            entered: all,
            found_by_snapshot: 0,
            unmatched_leaves: 0,
            left: all - tracked,
            healed: 0,
            dwell: self.dwell.clone(),
            ..stats.clone()
        }
    }

    /// Whether a finding is about a socket of the command: a member opened it (others
    /// are not remembered), or has it or its listener. Keeps what is known if it is.
    pub(super) fn wants(&mut self, finding: &Finding) -> bool {
        let evidence = &finding.evidence;
        let ours = evidence.opener.known().is_some()
            || owner(evidence).known().is_some_and(|owner| self.family.contains(owner.pid));
        if ours {
            if finding.suspect.kind == SuspectKind::Stuck {
                self.ours.insert(finding.suspect.id);
            }
            let kept = Shared::default().keep(evidence.clone(), finding.suspect.tuple);
            self.known.insert(finding.suspect.id, (kept, evidence.threads.clone()));
        }
        ours
    }

    /// What was found out about a socket that waits for its verdict: its process may end
    /// before that.
    pub(super) fn keep(&mut self, pending: &Pending) {
        let known = || (pending.kept.clone(), pending.threads.clone());
        self.known.entry(pending.suspect.id).or_insert_with(known);
    }

    /// The last word about a life in CLOSE_WAIT that ended with its process or was closed,
    /// if it can count; `gathered` is what its judge has found out so far.
    pub(super) fn at_end(&mut self, released: &Released, gathered: Option<Evidence>) -> Option<LastWord> {
        let known = self.ended.get(&released.id)?;
        let mut suspect = suspect(released, SuspectKind::Stuck);
        (suspect.since, suspect.not_before) = entered(released, known);
        let (Since::Seen(entered) | Since::Inferred(entered) | Since::NoLaterThan(entered)) = suspect.since;
        let is_stray = released.id.generation == STRAY;
        suspect.missed = is_stray;
        // What is known of a stray is only that it was not open before.
        let entered = match suspect.since {
            Since::NoLaterThan(_) if is_stray => released.not_before.unwrap_or_default(),
            _ => entered,
        };
        let stayed = released.at.since(entered);
        let ended = self.counting(released.id, stayed)?;
        let mut evidence = self.evidence(released.id, released.tuple, gathered, &ended);
        let inode = evidence.looks.last().map_or(ended.inode, |look| look.socket.inode);
        let socket = last_look(released.tuple, inode, &ended, evidence.looks.last());
        evidence.looks.push(Look { at: ended.at, socket });
        Some(last_word(suspect, evidence, &ended, stayed))
    }

    /// How a life ended that stayed so long, if that can count.
    fn counting(&self, id: SocketId, stayed: Duration) -> Option<Box<Ended>> {
        let least = |ended: &Ended| if ended.exiting { self.least } else { self.late };
        self.ended.get(&id).filter(|ended| stayed >= least(ended)).cloned()
    }

    /// The same of a ghost, which is since its CLOSE.
    pub(super) fn ghost_at_end(&mut self, ghost: &Released, gathered: Option<Evidence>) -> Option<LastWord> {
        let Since::Seen(closed) = ghost.since else { return None };
        let from = *self.ghosts.get(&ghost.id)?;
        let stayed = ghost.at.since(closed);
        let ended = self.counting(ghost.id, stayed)?;
        let suspect = suspect(ghost, SuspectKind::Ghost { closed, from });
        let evidence = self.evidence(ghost.id, ghost.tuple, gathered, &ended);
        Some(last_word(suspect, evidence, &ended, stayed))
    }

    /// What is known of a socket that ended so.
    fn evidence(&mut self, id: SocketId, of: Tuple, gathered: Option<Evidence>, ended: &Ended) -> Evidence {
        // What was seen before it was accepted says nothing about its end.
        let fits = |evidence: &Evidence| {
            ended.inode == 0 || evidence.looks.iter().all(|look| look.socket.inode == ended.inode)
        };
        let how = if ended.exiting { "its process has ended:" } else { "it has been closed by" };
        let why = || format!("{how} {}[{}]", ended.by.comm, ended.by.pid);
        let known = || {
            let (kept, threads) = self.known.remove(&id)?;
            Some(Evidence { threads, ..kept.evidence(of) })
        };
        let before = gathered.or_else(known).filter(fits);
        let mut evidence = before.unwrap_or_else(|| {
            let mut evidence = Evidence::unknown();
            evidence.listener =
                if ended.inode == 0 { Fact::unknown(why()) } else { Fact::unknown("it was accepted") };
            evidence.holders = Fact::unknown(why());
            evidence
        });
        // Nobody was found because the holder had ended already.
        if evidence.holders.known().is_some_and(Vec::is_empty) && ended.inode != 0 {
            evidence.holders = Fact::unknown(why());
        }
        evidence
    }
}

/// When a life entered CLOSE_WAIT, and no earlier than when: where the record of that was lost, the
/// kernel side has remembered it all the same.
fn entered(life: &Released, ended: &Ended) -> (Since, Option<MonoNs>) {
    match life.since {
        Since::Seen(_) => (life.since, life.not_before),
        _ => match decode::entered(&ended.remembered, ended.at, &life.tuple) {
            Some(at) => (Since::Inferred(at), Some(at)),
            None => (life.since, life.not_before),
        },
    }
}

/// Whether whoever ran ended the connection at this edge, of an accepted socket: when the network
/// ends one, that is a bystander.
fn is_by_application(edge: &Transition) -> bool {
    let aborts = || edge.by.as_ref().is_some_and(|by| by.error == Some(0));
    edge.has_socket && edge.from == State::CloseWait && (edge.to == State::LastAck || aborts())
}

fn suspect(life: &Released, kind: SuspectKind) -> Suspect {
    Suspect {
        id: life.id,
        sk: None,
        netns: life.netns,
        tuple: life.tuple,
        kind,
        since: life.since,
        not_before: life.not_before,
        mptcp: false,
        tainted: false,
        missed: false,
    }
}

fn last_word(suspect: Suspect, mut evidence: Evidence, ended: &Ended, stayed: Duration) -> LastWord {
    let memory = decode::memory(&ended.remembered, &suspect.tuple).unwrap_or_default();
    let remembered = decode::entered(&ended.remembered, ended.at, &suspect.tuple).is_some();
    let seen = (matches!(suspect.since, Since::Seen(_)) || remembered) && memory.opening.is_some();
    let written = if seen {
        Fact::Known(ended.written)
    } else {
        Fact::unknown("how far it had written when the FIN came was not seen")
    };
    let closed_after = (!ended.exiting).then_some(stayed);
    evidence.ended = Some(ProcessEnd { task: ended.by.clone(), closed_after, clean_up: None, written });
    LastWord { suspect, evidence, memory }
}

/// The socket as it was when its process ended.
fn last_look(tuple: Tuple, inode: u64, ended: &Ended, before: Option<&Look>) -> DiagSocket {
    let before = before.map(|look| &look.socket);
    DiagSocket {
        tuple,
        mptcp: false,
        state: State::CloseWait,
        inode,
        cookie: before.and_then(|socket| socket.cookie),
        uid: before.map_or(0, |socket| socket.uid),
        recv_q: ended.unread,
        send_q: ended.unsent,
        timer: Timer::Off,
        retrans: 0,
        tcp: None,
    }
}
