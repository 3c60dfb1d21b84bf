//! What the threads of a process do now, and how that is said.
//!
//! In: what was seen of them. Out: groups of threads that do the same, and one
//! sentence about them. Pure.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::case::Time;
use crate::tcp::{Endpoint, State};

/// So many groups are told apart in a sentence.
const TOLD: usize = 4;

/// What the threads of one process did at the last look at them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Threads {
    /// The process.
    pub pid: u32,
    /// How many threads it has.
    pub total: u32,
    /// Those that were looked at: at most a bounded number, the main thread first.
    pub seen: Vec<Thread>,
}

/// One thread.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Thread {
    /// Thread id.
    pub tid: u32,
    /// Its name, any bytes, made UTF-8 lossily.
    pub comm: String,
    /// What it is doing.
    pub doing: Doing,
    /// The kernel function it sleeps in, where the kernel tells.
    pub wchan: Option<String>,
    /// What became of it since an earlier look; `None` when this was the first.
    pub progress: Option<Progress>,
}

/// What a thread did between two looks at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Progress {
    /// It has not run at all, for at least this long.
    Still(Duration),
    /// It ran: CPU time used, in kernel ticks of usually 10 ms, between looks so far apart.
    Ran {
        /// CPU time.
        cpu: Duration,
        /// Between the looks.
        within: Duration,
    },
}

/// What a thread is doing.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Doing {
    /// It runs or waits for a CPU.
    Running,
    /// Stopped by a signal or a debugger.
    Stopped,
    /// Frozen with its cgroup, as the processes of a paused container are.
    Frozen,
    /// It has ended and is not reaped.
    Ended,
    /// In a system call.
    Call {
        /// Its name, or its number where this tool has no name for it.
        name: String,
        /// What it was asked to work on.
        on: Option<Target>,
    },
    /// Sleeps outside of system calls (a page fault).
    Faulting,
    /// It cannot be told, and why.
    Unknown(String),
}

/// What a system call works on.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Target {
    /// A TCP socket.
    Tcp {
        /// Its descriptor.
        fd: u32,
        /// Its state.
        state: State,
        /// The local end of a listener, else the remote end.
        end: Endpoint,
    },
    /// An address, as it was given.
    Address(String),
    /// Another file.
    File {
        /// Its descriptor.
        fd: u32,
        /// As /proc/PID/fd shows it: a path, `pipe:[4711]`; `None` when that cannot be read.
        link: Option<String>,
    },
}

impl Doing {
    /// Whether it waits for a connection on a listener.
    pub fn is_accepting(&self) -> bool {
        matches!(self, Self::Call { name, .. } if name == "accept" || name == "accept4")
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Stopped => f.write_str("stopped by a signal or a debugger"),
            Self::Frozen => f.write_str("frozen with the cgroup (a paused container?)"),
            Self::Ended => f.write_str("ended and not reaped"),
            Self::Call { name, on: None } => write!(f, "in {name}()"),
            Self::Call { name, on: Some(on @ Target::Address(_)) } => write!(f, "in {name}() to {on}"),
            Self::Call { name, on: Some(on) } => write!(f, "in {name}() on {on}"),
            Self::Faulting => f.write_str("in a page fault"),
            Self::Unknown(why) => write!(f, "doing something unknown: {why}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { fd, state: State::Listen, end } => write!(f, "fd {fd}, listening on {end}"),
            Self::Tcp { fd, state: State::Established, end } => write!(f, "fd {fd}, connected to {end}"),
            Self::Tcp { fd, state, end } => write!(f, "fd {fd}, to {end} ({state})"),
            Self::Address(address) => f.write_str(address),
            Self::File { fd, link: Some(link) } => write!(f, "fd {fd} ({link})"),
            Self::File { fd, link: None } => write!(f, "fd {fd}"),
        }
    }
}

/// Threads that do the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group<'a> {
    /// The first of them.
    pub example: &'a Thread,
    /// How many they are.
    pub threads: u32,
    /// All of them have not run for at least this long.
    pub still: Option<Duration>,
    /// CPU time they used together between two looks, and the time between those.
    pub ran: Option<(Duration, Duration)>,
}

impl Threads {
    /// Threads that do the same on the same, those that keep still apart from those
    /// that ran meanwhile; the largest group first.
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for thread in &self.seen {
            let (still, ran) = match thread.progress {
                None => (None, None),
                Some(Progress::Still(still)) => (Some(still), None),
                Some(Progress::Ran { cpu, within }) => (None, Some((cpu, within))),
            };
            let same = groups.iter_mut().find(|group| {
                group.example.doing == thread.doing
                    && (group.still.is_some(), group.ran.is_some()) == (still.is_some(), ran.is_some())
            });
            match same {
                Some(group) => {
                    group.threads += 1;
                    group.still = group.still.min(still);
                    group.ran = group.ran.zip(ran).map(|((a, within), (b, w))| (a + b, within.max(w)));
                }
                None => groups.push(Group { example: thread, threads: 1, still, ran }),
            }
        }
        groups.sort_by_key(|group| std::cmp::Reverse(group.threads));
        groups
    }

    /// Whether a thread waits in `accept()`; `None` when not all threads were looked at, or one is held
    /// up: that may wait there when it goes on.
    pub fn is_accepting(&self) -> Option<bool> {
        let known =
            |thread: &Thread| !matches!(thread.doing, Doing::Unknown(_) | Doing::Stopped | Doing::Frozen);
        if self.seen.iter().any(|thread| thread.doing.is_accepting()) {
            Some(true)
        } else {
            (self.seen.len() >= self.total as usize && self.seen.iter().all(known)).then_some(false)
        }
    }
}

impl fmt::Display for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = self.groups();
        let all = self.seen.len();
        let partly = self.total as usize > all;
        if partly {
            write!(f, "{all} of {} threads were looked at: ", self.total)?;
        }
        for (i, group) in groups.iter().take(TOLD).enumerate() {
            let Thread { tid, comm, doing, .. } = group.example;
            if i > 0 {
                f.write_str(", ")?;
            }
            match group.threads {
                1 if all == 1 && !partly => write!(f, "its only thread {comm}[{tid}] is {doing}")?,
                1 => write!(f, "{comm}[{tid}] is {doing}")?,
                n if i > 0 || partly => write!(f, "{n} are {doing}")?,
                n if n as usize == all => write!(f, "all {n} threads are {doing}")?,
                n => write!(f, "{n} of {all} threads are {doing}")?,
            }
            if let Some(still) = group.still {
                write!(f, " for >= {}", Time(still))?;
            } else if let Some((cpu, within)) = group.ran {
                if cpu.is_zero() {
                    f.write_str(", woken now and then")?;
                } else {
                    write!(f, ", used {} of CPU in {}", Time(cpu), Time(within))?;
                }
            }
        }
        if let [_, ..] = groups.get(TOLD..).unwrap_or_default() {
            let rest: u32 = groups[TOLD..].iter().map(|group| group.threads).sum();
            write!(f, ", {rest} do other things")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(tid: u32, doing: Doing, progress: Option<Progress>) -> Thread {
        Thread { tid, comm: "main".into(), doing, wchan: None, progress }
    }

    fn call(name: &str, on: Option<Target>) -> Doing {
        Doing::Call { name: name.into(), on }
    }

    fn of(total: u32, seen: Vec<Thread>) -> Threads {
        Threads { pid: 812, total, seen }
    }

    const STILL: Option<Progress> = Some(Progress::Still(Duration::from_secs(12)));

    #[test]
    fn a_stuck_worker_is_named() {
        let connect = call("connect", Some(Target::Address("10.0.0.9:5432".into())));
        let threads = of(1, vec![thread(812, connect, STILL)]);
        assert_eq!(threads.is_accepting(), Some(false));
        let words = "its only thread main[812] is in connect() to 10.0.0.9:5432 for >= 12.0 s";
        assert_eq!(threads.to_string(), words);
    }

    #[test]
    fn many_threads_are_summed_up() {
        let ran =
            |cpu| Some(Progress::Ran { cpu: Duration::from_millis(cpu), within: Duration::from_millis(410) });
        let mut seen: Vec<_> = (1..=96).map(|tid| thread(tid, call("futex", None), STILL)).collect();
        seen.push(thread(97, call("futex", None), Some(Progress::Still(Duration::from_secs(3)))));
        seen.push(thread(98, Doing::Running, ran(400)));
        seen.push(thread(99, call("epoll_wait", Some(Target::File { fd: 7, link: None })), ran(0)));
        seen.push(thread(100, Doing::Stopped, None));
        let threads = of(100, seen);
        assert_eq!(
            threads.to_string(),
            "97 of 100 threads are in futex() for >= 3.0 s, \
             main[98] is running, used 400 ms of CPU in 410 ms, \
             main[99] is in epoll_wait() on fd 7, woken now and then, \
             main[100] is stopped by a signal or a debugger"
        );
        let all = of(2, vec![thread(1, Doing::Stopped, None), thread(2, Doing::Stopped, None)]);
        assert_eq!(all.to_string(), "all 2 threads are stopped by a signal or a debugger");
    }

    #[test]
    fn what_was_not_looked_at_is_no_proof() {
        let some = of(500, vec![thread(1, Doing::Running, None)]);
        assert_eq!(some.is_accepting(), None);
        assert_eq!(some.to_string(), "1 of 500 threads were looked at: main[1] is running");
        assert_eq!(of(1, vec![thread(1, Doing::Unknown("denied".into()), None)]).is_accepting(), None);
        assert_eq!(of(500, vec![thread(1, call("accept4", None), STILL)]).is_accepting(), Some(true));
    }

    /// In which call it stands is not looked at.
    #[test]
    fn who_is_held_up_may_be_in_accept() {
        for held_up in [Doing::Stopped, Doing::Frozen] {
            let threads =
                of(2, vec![thread(1, held_up.clone(), STILL), thread(2, call("futex", None), STILL)]);
            assert_eq!(threads.is_accepting(), None, "{held_up}");
        }
        let both = of(2, vec![thread(1, Doing::Frozen, STILL), thread(2, Doing::Frozen, STILL)]);
        assert_eq!(
            both.to_string(),
            "all 2 threads are frozen with the cgroup (a paused container?) for >= 12.0 s"
        );
    }
}
