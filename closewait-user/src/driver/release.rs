//! How a socket that had been reported left CLOSE_WAIT, and who ended it.

use std::path::Path;
use std::time::Duration;

use crate::fact::Fact;
use crate::item::By;
use crate::report::{Closer, Ending, Release};
use crate::stack::{self, Stacks};
use crate::tcp::State;
use crate::tracker::Released;

/// The closer's stack is waited for this long.
const STACK_WAIT: Duration = Duration::from_millis(200);

/// Works out the end of `released`.
pub(super) async fn release(released: Released, stacks: &Stacks) -> Release {
    let (how, closer) = match (&released.by, released.to) {
        (Some(by), Some(State::LastAck)) => (Fact::Known(ending(by)), Fact::Known(closer(by, stacks).await)),
        (_, Some(_)) => {
            let reason = "it went to CLOSE: reset by the peer, or aborted by its application";
            (Fact::unknown(reason), Fact::unknown("at CLOSE whoever runs may be a bystander"))
        }
        (_, None) => {
            let reason = "the end itself was not seen, only that it is gone";
            (Fact::unknown(reason), Fact::unknown(reason))
        }
    };
    Release { released, how, closer, before: None, cause: None }
}

/// A close by a process that is gone a moment later was most likely its exit.
fn ending(by: &By) -> Ending {
    if Path::new(&format!("/proc/{}", by.task.pid)).exists() { Ending::Closed } else { Ending::Exited }
}

async fn closer(by: &By, stacks: &Stacks) -> Closer {
    let stack = match by.stack {
        Ok(id) => match stacks.wait(by.task.pid, id, STACK_WAIT).await {
            Fact::Known(stack) => Fact::Known(stack.frames.clone()),
            Fact::Unknown(why) => Fact::Unknown(why),
        },
        Err(0) => Fact::unknown("not taken: it was not known to be stuck when it was closed"),
        Err(errno) => Fact::Unknown(stack::kernel_reason(errno)),
    };
    Closer { task: by.task.clone(), stack, by_finalizer: false }
}
