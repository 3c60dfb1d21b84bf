//! What it means that the programs did not tell something: never that it did not
//! happen, unless they watched, all the time, and lost nothing. Pure.

use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::item::Gap;
use crate::kernel::load::Served;
use crate::kernel::plan::Purpose;
use crate::text::Text;
use crate::tracker::{Since, Suspect, SuspectKind};
use crate::verdict::{EofRead, Watching};

/// What is watched by programs; `Err` says why not.
pub(super) struct Watched {
    accept: Result<(), Text>,
    eof: Result<(), Text>,
    error: Result<(), Text>,
    /// All of these were watched from here on.
    from: MonoNs,
    /// What a program saw may have been lost up to here.
    lost_by: MonoNs,
    watching: Watching,
}

impl Watched {
    /// By programs that were attached when the trace `began`; by none where there is but one
    /// look.
    pub(super) fn new(served: &[Served], began: MonoNs, looks_once: bool) -> Self {
        let watching = match (served, looks_once) {
            ([], true) => Watching::Snapshot,
            ([], false) => Watching::Impossible,
            _ => Watching::Traced,
        };
        let watched = |purpose| match served.iter().find(|served| served.purpose == purpose) {
            Some(served) => served.degraded().map_or(Ok(()), |why| Err(why.into())),
            None if looks_once => Err("a snapshot does not trace".into()),
            None => Err("tracing cannot run here".into()),
        };
        Self {
            watching,
            accept: watched(Purpose::AcceptOpener),
            eof: watched(Purpose::EofRead),
            error: watched(Purpose::Error),
            from: began,
            lost_by: MonoNs(0),
        }
    }

    /// Whether reads and opens are seen from now on.
    pub(super) const fn watching(&self) -> Watching {
        self.watching
    }

    /// Something was lost.
    pub(super) fn lost(&mut self, gap: &Gap) {
        // What the ring lost was not remembered in it.
        if gap.recursion + gap.opener + gap.malformed > 0 {
            self.lost_by = self.lost_by.max(gap.to);
        }
    }

    /// The last error of a socket, by what is remembered of it.
    pub(super) fn error(&self, suspect: &Suspect, remembered: Option<u32>) -> Fact<u32> {
        match &self.error {
            _ if suspect.was_found_closed() => remembered.map_or_else(
                || Fact::unknown("to ask for it would take it from the application"),
                Fact::Known,
            ),
            Ok(()) => Fact::Known(remembered.unwrap_or(0)),
            // The edge of a ghost to CLOSE carries it in any case.
            Err(_) if suspect.kind != SuspectKind::Stuck => Fact::Known(remembered.unwrap_or(0)),
            Err(why) => Fact::Unknown(why.clone()),
        }
    }

    /// Why the open of a socket is not known.
    pub(super) fn no_opener(&self, suspect: &Suspect) -> Text {
        match (suspect.since, &self.accept) {
            (_, Err(why)) if self.watching == Watching::Snapshot => why.clone(),
            _ if suspect.missed => {
                "the record of it was lost, or it was opened before this trace began".into()
            }
            (Since::NoLaterThan(_) | Since::Inferred(_), _) => {
                "it was opened before this trace began, or the record of it was lost".into()
            }
            (Since::Seen(_), Ok(())) => "its open was not seen: older than this trace, or lost".into(),
            (Since::Seen(_), Err(why)) => format!("its open was not seen: {why}").into(),
        }
    }

    /// What it means that no read of EOF was seen. It is remembered with the open: where
    /// that should have been seen (`opening`) and was not, both may be lost.
    pub(super) fn no_eof(&self, suspect: &Suspect, opening: bool) -> Fact<Option<EofRead>> {
        if let Err(why) = &self.eof {
            return Fact::Unknown(why.clone());
        }
        // The earliest moment at which EOF can have been read. What is remembered of one whose
        // open was seen begins with that, however it was found.
        let entered = match suspect.since {
            Since::Seen(at) => Some(at),
            Since::NoLaterThan(_) | Since::Inferred(_) => {
                suspect.not_before.filter(|_| suspect.missed || opening)
            }
        };
        match entered {
            None => Fact::unknown("it may have been read before this trace began"),
            Some(at) if at < self.from => Fact::unknown("it may have been read before reads were watched"),
            Some(at) if at <= self.lost_by || suspect.tainted => Fact::unknown("records were lost since"),
            Some(_) if !opening && self.accept.is_ok() => {
                Fact::unknown("its open was not seen either: older than this trace, or lost")
            }
            Some(_) => Fact::Known(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Netns;
    use crate::tcp::{Endpoint, Tuple};
    use crate::tracker::SocketId;

    fn suspect(since: Since) -> Suspect {
        let end = Endpoint { ip: [127, 0, 0, 1].into(), port: 80 };
        Suspect {
            id: SocketId { slot: 1, generation: 1 },
            sk: None,
            netns: Netns(1),
            tuple: Tuple { local: end, remote: end },
            kind: SuspectKind::Stuck,
            since,
            not_before: None,
            missed: false,
            mptcp: false,
            tainted: false,
        }
    }

    fn watched() -> Watched {
        Watched {
            accept: Ok(()),
            eof: Ok(()),
            error: Ok(()),
            from: MonoNs(100),
            lost_by: MonoNs(0),
            watching: Watching::Traced,
        }
    }

    #[test]
    fn a_snapshot_does_not_trace_and_does_not_say_that_tracing_cannot_run() {
        let found = suspect(Since::NoLaterThan(MonoNs(200)));
        for (looks_once, watching, why) in [
            (true, Watching::Snapshot, "a snapshot does not trace"),
            (false, Watching::Impossible, "tracing cannot run here"),
        ] {
            let watched = Watched::new(&[], MonoNs(100), looks_once);
            assert_eq!(watched.no_eof(&found, false).reason(), Some(why));
            assert_eq!(watched.watching(), watching);
        }
        assert_eq!(
            Watched::new(&[], MonoNs(100), true).no_opener(&found).as_str(),
            "a snapshot does not trace"
        );
    }

    #[test]
    fn nobody_read_eof_only_if_all_was_watched_and_nothing_lost() {
        let nobody = |watched: &Watched, suspect: &Suspect, opening| {
            watched.no_eof(suspect, opening) == Fact::Known(None)
        };
        let seen = suspect(Since::Seen(MonoNs(200)));
        assert!(nobody(&watched(), &seen, true));
        assert!(!nobody(&watched(), &seen, false), "its entry may be lost");
        assert!(nobody(&Watched { accept: Err("no hook".into()), ..watched() }, &seen, false));
        assert!(!nobody(&Watched { eof: Err("no hook".into()), ..watched() }, &seen, true));
        assert!(!nobody(&watched(), &suspect(Since::Seen(MonoNs(99))), true), "before all was watched");
        assert!(!nobody(&watched(), &Suspect { tainted: true, ..seen.clone() }, true));
        assert!(!nobody(&watched(), &suspect(Since::NoLaterThan(MonoNs(200))), true));
        let missed = Suspect {
            missed: true,
            not_before: Some(MonoNs(150)),
            ..suspect(Since::NoLaterThan(MonoNs(200)))
        };
        assert!(nobody(&watched(), &missed, true));
        let found = Suspect { not_before: Some(MonoNs(150)), ..suspect(Since::NoLaterThan(MonoNs(200))) };
        assert!(nobody(&watched(), &found, true), "it was opened within the trace");
        assert!(!nobody(&watched(), &found, false));
        assert!(!nobody(&watched(), &Suspect { not_before: Some(MonoNs(99)), ..found }, true));
    }

    #[test]
    fn a_loss_hides_reads_of_what_had_entered() {
        let mut watched = watched();
        watched.lost(&Gap { to: MonoNs(300), enter: 1, leave: 1, ..Gap::default() });
        let at = |at| suspect(Since::Seen(MonoNs(at)));
        assert_eq!(watched.no_eof(&at(200), true), Fact::Known(None));
        watched.lost(&Gap { to: MonoNs(300), recursion: 1, ..Gap::default() });
        assert_eq!(watched.no_eof(&at(200), true).known(), None);
        assert_eq!(watched.no_eof(&at(301), true), Fact::Known(None));
    }
}
