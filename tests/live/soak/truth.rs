//! What the load says is true: every stay in CLOSE_WAIT, who had a descriptor from when
//! to when, and how it ended. `scenarios/soak.c` says what its lines mean.

use std::collections::{BTreeSet, HashMap};

use closewait_trace::clock::MonoNs;

use super::super::scenario::Said;

/// Something happened between these.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) from: MonoNs,
    pub(crate) to: MonoNs,
}

impl Moment {
    fn of(said: &Said) -> Self {
        Self { from: said.moment("from"), to: said.moment("to") }
    }
}

/// A process had a descriptor.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) pid: u32,
    pub(crate) fd: u32,
    pub(crate) began: Moment,
    pub(crate) ended: Option<Moment>,
}

/// What the tool says of a stay.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Told {
    Stuck,
    Ghost,
    /// It left CLOSE_WAIT.
    Released,
    /// Its descriptor was closed, of a ghost.
    Buried,
}

/// One stay in CLOSE_WAIT, with what came of it, and what the tool has said of it.
#[derive(Debug)]
pub(crate) struct Stay {
    #[expect(dead_code, reason = "for whoever reads a complaint")]
    id: u32,
    pub(crate) kind: String,
    /// (local port, remote port)
    pub(crate) ends: (u16, u16),
    /// 0: nobody.
    pub(crate) opener: u32,
    /// Who was told EOF; 0: nobody.
    pub(crate) reader: u32,
    pub(crate) born: Moment,
    pub(crate) holds: Vec<Hold>,
    /// TCP had ended, and a descriptor had not.
    pub(crate) ghost: Option<Moment>,
    /// The last descriptor was closed.
    pub(crate) gone: Option<Moment>,
    /// By the end of its process.
    pub(crate) exited: bool,
    /// What the tool has said of it.
    pub(crate) told: BTreeSet<Told>,
    /// What is missing has been said.
    pub(crate) is_settled: bool,
}

impl Stay {
    /// Whether it may be called a leak.
    pub(crate) fn is_leak(&self) -> bool {
        matches!(self.kind.as_str(), "ignored" | "unread" | "unaccepted")
    }

    /// Whether the tool has said that it is what it is now.
    pub(crate) fn is_told(&self) -> bool {
        self.told.contains(&if self.ghost.is_some() { Told::Ghost } else { Told::Stuck })
    }

    /// Its end, as far as CLOSE_WAIT is concerned.
    pub(crate) fn left(&self) -> Option<Moment> {
        self.ghost.or(self.gone)
    }
}

/// All of it.
#[derive(Default)]
pub(crate) struct Truth {
    pub(crate) stays: Vec<Stay>,
    at: HashMap<u32, usize>,
    by_ends: HashMap<(u16, u16), Vec<usize>>,
    transients: Vec<(u32, Moment)>,
    /// The load has ended, with so many healthy connections.
    pub(crate) done: Option<u32>,
}

impl Truth {
    /// Takes a line in.
    pub(crate) fn hear(&mut self, said: &Said) {
        match said.word.as_str() {
            "ready" => {}
            "born" => self.born(said),
            "done" => self.done = Some(said.number("healthy")),
            "transient" => self.transients.push((said.number("pid"), Moment::of(said))),
            word => {
                let stay = &mut self.stays[self.at[&said.number("id")]];
                let last = |stay: &mut Stay, pid| stay.holds.iter().rposition(|hold| hold.pid == pid);
                match word {
                    "hold" => stay.holds.push(Hold {
                        pid: said.number("pid"),
                        fd: said.number("fd"),
                        began: Moment::of(said),
                        ended: None,
                    }),
                    "drop" => {
                        let which = last(stay, said.number("pid")).expect("it had it");
                        stay.holds[which].ended = Some(Moment::of(said));
                    }
                    "opened" => stay.opener = said.number("pid"),
                    "ghost" => stay.ghost = Some(Moment::of(said)),
                    "gone" => {
                        stay.gone = Some(Moment::of(said));
                        stay.exited = said.number("exited") == 1;
                    }
                    _ => panic!("the load said {said:?}"),
                }
            }
        }
    }

    fn born(&mut self, said: &Said) {
        let port = |key| u16::try_from(said.number(key)).expect("a port");
        let ends = (port("local"), port("remote"));
        let at = self.stays.len();
        self.at.insert(said.number("id"), at);
        self.by_ends.entry(ends).or_default().push(at);
        self.stays.push(Stay {
            id: said.number("id"),
            kind: said.text("kind").to_owned(),
            ends,
            opener: said.number("opener"),
            reader: said.number("reader"),
            born: Moment::of(said),
            holds: Vec::new(),
            ghost: None,
            gone: None,
            exited: false,
            told: BTreeSet::new(),
            is_settled: false,
        });
    }

    /// The stays between these ports.
    pub(crate) fn between(&self, ends: (u16, u16)) -> impl Iterator<Item = usize> {
        self.by_ends.get(&ends).into_iter().flatten().copied()
    }

    /// Whether the process had just been forked, with all the descriptors of its parent.
    pub(crate) fn is_transient(&self, pid: u32, from: MonoNs, to: MonoNs) -> bool {
        self.transients.iter().any(|(it, when)| *it == pid && when.from <= to && when.to >= from)
    }
}
