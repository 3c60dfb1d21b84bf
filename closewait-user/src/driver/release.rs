//! How a socket that had been reported left CLOSE_WAIT, and who ended it.

use std::path::Path;
use std::time::Duration;

use crate::clock::{Clock, MonoNs};
use crate::fact::Fact;
use crate::item::By;
use crate::report::{Closer, Ending, Release};
use crate::stack::finalizer::clean_up;
use crate::stack::{self, Stacks};
use crate::tcp::State;
use crate::tracker::Released;

/// Stacks of closers are waited for this long.
pub(super) const STACK_WAIT: Duration = Duration::from_millis(200);

/// Works out the end of `released`; waits for a stack no longer than `until`.
pub(super) async fn release(released: Released, stacks: &Stacks, until: MonoNs) -> Release {
    let how = match (&released.by, released.to) {
        (Some(by), Some(to)) => ending(by, to),
        _ => Fact::unknown("the end itself was not seen, only that it is gone"),
    };
    let closer = match (&released.by, who(&released, &how)) {
        (Some(by), Ok(())) => Fact::Known(closer(by, stacks, until).await),
        (None, Ok(())) => Fact::unknown("it was not recorded"),
        (_, Err(why)) => Fact::unknown(why),
    };
    Release { released, how, closer, before: None, cause: None }
}

/// How a ghost ended; `exiting`: whether the task that closed its file was ending.
pub(super) fn ghost_ending(seen: bool, exiting: Option<bool>) -> Fact<Ending> {
    match (seen, exiting) {
        (false, _) => Fact::unknown("the end itself was not seen, only that it is gone"),
        (true, Some(true)) => Fact::Known(Ending::Exited),
        (true, _) => Fact::Known(Ending::Closed),
    }
}

/// What the edge to `to` tells. An application that ends a connection leaves the
/// socket's error as it is, everybody else sets it first (`tcp_reset`, `tcp_write_err`,
/// `tcp_abort`).
fn ending(by: &By, to: State) -> Fact<Ending> {
    match (to, by.error) {
        (State::LastAck, _) if exited(by) => Fact::Known(Ending::Exited),
        (State::LastAck, _) => Fact::Known(Ending::Closed),
        (_, None) => Fact::unknown("it went to CLOSE, and this kernel does not tell the socket's error"),
        (_, Some(0)) if exited(by) => Fact::Known(Ending::Exited),
        (_, Some(0)) => Fact::Known(Ending::Aborted),
        (_, Some(_)) => Fact::Known(Ending::Destroyed),
    }
}

/// Where the kernel does not tell, a process that is gone a moment later was most
/// likely ending.
fn exited(by: &By) -> bool {
    by.exiting.unwrap_or_else(|| !Path::new(&format!("/proc/{}", by.task.pid)).exists())
}

/// Whether the task that ran is the one who ended it; if not, why.
fn who(released: &Released, how: &Fact<Ending>) -> Result<(), String> {
    let error = released.by.as_ref().and_then(|by| by.error);
    match (how, error.and_then(|error| i32::try_from(error).ok())) {
        (Fact::Unknown(why), _) => Err(why.clone().into()),
        (Fact::Known(Ending::Destroyed), Some(libc::ECONNABORTED)) => Ok(()),
        (Fact::Known(Ending::Destroyed), _) => {
            Err("it ended from the network: whoever ran is a bystander".to_owned())
        }
        (Fact::Known(_), _) => Ok(()),
    }
}

async fn closer(by: &By, stacks: &Stacks, until: MonoNs) -> Closer {
    let stack = match by.stack {
        Ok(id) => match stacks.wait(by.task.pid, id, until.since(Clock::mono_now())).await {
            Fact::Known(stack) => Fact::Known(stack.frames.clone()),
            Fact::Unknown(why) => Fact::Unknown(why),
        },
        Err(0) => Fact::unknown("not taken: it was not known to be stuck when it was closed"),
        Err(errno) => Fact::unknown(stack::kernel_reason(errno)),
    };
    let frames = stack.known().map(|frames| frames.as_slice()).unwrap_or_default();
    let by_finalizer = clean_up(&by.task.comm, frames).is_some();
    Closer { task: by.task.clone(), stack, by_finalizer }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{Netns, Task};
    use crate::tcp::{Endpoint, Tuple};
    use crate::tracker::{Since, SocketId};

    #[test]
    fn the_edge_tells_how_and_whether_the_running_task_did_it() {
        let (closed, aborted) = (Some(Ending::Closed), Some(Ending::Aborted));
        let (exited, destroyed) = (Some(Ending::Exited), Some(Ending::Destroyed));
        // (to, error, exiting) -> (how, whether the task is the closer)
        let table = [
            (State::LastAck, Some(0), Some(false), closed, true),
            (State::LastAck, Some(0), Some(true), exited, true),
            (State::LastAck, None, Some(false), closed, true),
            (State::Close, Some(0), Some(false), aborted, true),
            (State::Close, Some(0), Some(true), exited, true),
            (State::Close, Some(32), Some(false), destroyed, false),
            (State::Close, Some(104), Some(true), destroyed, false),
            (State::Close, Some(110), Some(false), destroyed, false),
            (State::Close, Some(103), Some(false), destroyed, true),
            (State::Close, None, Some(false), None, false),
        ];
        let end = Endpoint { ip: [127, 0, 0, 1].into(), port: 1 };
        for (to, error, exiting, how, is_closer) in table {
            let task = Task { pid: 1, tid: 1, comm: "x".into() };
            let released = Released {
                id: SocketId::from_parts(1, 1),
                netns: Netns(1),
                tuple: Tuple { local: end, remote: end },
                since: Since::Seen(MonoNs(1)),
                not_before: None,
                at: MonoNs(2),
                to: Some(to),
                by: Some(By { task, stack: Err(0), exiting, error }),
                was_suspect: true,
            };
            let found = ending(released.by.as_ref().unwrap(), to);
            assert_eq!(found.known().copied(), how, "{to} {error:?} {exiting:?}");
            assert_eq!(who(&released, &found).is_ok(), is_closer, "{to} {error:?} {exiting:?}");
        }
    }

    #[test]
    fn a_ghost_ends_with_its_descriptor_or_with_its_process() {
        assert_eq!(ghost_ending(true, Some(false)), Fact::Known(Ending::Closed));
        assert_eq!(ghost_ending(true, Some(true)), Fact::Known(Ending::Exited));
        assert!(ghost_ending(false, None).known().is_none());
    }
}
