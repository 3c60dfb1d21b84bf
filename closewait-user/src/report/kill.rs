//! What `kill` did to each socket, and what became of the descriptors of those who held
//! them: the model that text and JSON are made of. Pure.

use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::tcp::State;
use crate::text::Text;
use crate::verdict::Nofile;

use super::model::Finding;

/// What became of one socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A dry run: it would have been destroyed.
    WouldDestroy,
    /// The kernel has ended its connection.
    Destroyed,
    /// It was in another state by then, and was let be.
    Left(State),
    /// It was in no table any more: closed, or reset.
    Gone,
    /// It was not to be destroyed, and why.
    Spared(String),
    /// It should have been destroyed and was not, and why.
    Failed(String),
}

impl Outcome {
    /// As it is printed for people.
    pub const fn words(&self) -> &'static str {
        match self {
            Self::WouldDestroy => "to destroy",
            Self::Destroyed => "destroyed",
            Self::Left(_) => "left",
            Self::Gone => "gone",
            Self::Spared(_) => "spared",
            Self::Failed(_) => "failed",
        }
    }

    /// More about it.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::WouldDestroy | Self::Destroyed => None,
            Self::Left(state) => Some(format!("it had left CLOSE_WAIT and was in {state}")),
            Self::Gone => Some("it was not there any more: closed or reset meanwhile".into()),
            Self::Spared(why) | Self::Failed(why) => Some(why.clone()),
        }
    }
}

/// One socket and what became of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Killed<'a> {
    /// When.
    pub at: MonoNs,
    /// The socket, who holds it and why it was stuck.
    pub finding: &'a Finding,
    /// What became of it.
    pub outcome: Outcome,
}

impl Killed<'_> {
    /// The kernel's cookie of the socket, by which it was named to the kernel.
    pub fn cookie(&self) -> Option<u64> {
        self.finding.evidence.looks.last()?.socket.cookie
    }
}

/// What became of a process that held sockets that were destroyed, or did not accept them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fate {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub comm: Text,
    /// What it runs, where that tells more.
    pub program: Option<Text>,
    /// Destroyed sockets that it held or did not accept; in a dry run, those that would be.
    pub sockets: u64,
    /// Its descriptors in use, and the limit, before.
    pub before: Fact<Nofile>,
    /// What has become of it; `None` in a dry run.
    pub after: Option<After>,
}

/// An owner, after its sockets were destroyed and it had time to react.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum After {
    /// It runs.
    Runs {
        /// Its descriptors in use.
        used: Fact<u64>,
        /// How many of the destroyed sockets it still has a descriptor on.
        open: Fact<u64>,
    },
    /// It has ended.
    Ended,
}
