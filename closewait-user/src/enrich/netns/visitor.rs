//! A thread that goes into network namespaces, does something there and comes back: one for
//! each thread that has need of it, started by it, so that it has no more rights.
//!
//! In: an open namespace and work. Out: what the work returns. A thread that did `setns` must
//! not be used for anything else; and between two errands it is at home, since a namespace
//! that it stayed in would be kept alive.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Sender, channel};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::OWN;

/// Whether the visitor has come home.
type Errand = Box<dyn FnOnce(&File) -> bool + Send>;

thread_local! {
    /// It ends with the thread that it works for.
    static VISITOR: RefCell<Option<Sender<Errand>>> = const { RefCell::new(None) };
}

/// Why nothing was done there.
#[derive(Debug)]
pub(super) enum NotThere {
    /// `setns` was refused.
    Enter(io::Error),
    /// There is no thread for it.
    Thread(io::Error),
}

/// Runs `work` in the namespace that is open as `fd`.
pub(super) fn visit<T: Send + 'static>(
    fd: OwnedFd,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotThere> {
    let (told, answer) = channel();
    let errand = move |home: &File| {
        let entered = move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Network));
        if let Err(e) = entered {
            let _ = told.send(Err(NotThere::Enter(e.into())));
            return true;
        }
        let done = catch_unwind(AssertUnwindSafe(work));
        // Who waits for the answer may look at who is in which namespace.
        drop(fd);
        let is_home = move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network)).is_ok();
        let _ = told.send(Ok(done));
        is_home
    };
    send(Box::new(errand)).map_err(NotThere::Thread)?;
    match answer.recv() {
        Ok(Ok(Ok(done))) => Ok(done),
        Ok(Ok(Err(panic))) => resume_unwind(panic),
        Ok(Err(not_there)) => Err(not_there),
        Err(_) => Err(NotThere::Thread(io::Error::other("it ended before it was asked"))),
    }
}

/// Hands an errand to the visitor of this thread; to a new one, if it has none or lost it.
fn send(errand: Errand) -> io::Result<()> {
    VISITOR.with_borrow_mut(|visitor| {
        let errand = match visitor {
            Some(there) => match there.send(errand) {
                Ok(()) => return Ok(()),
                Err(unsent) => unsent.0,
            },
            None => errand,
        };
        let home = File::open(OWN)?;
        let (errands, received) = channel::<Errand>();
        let work = move || {
            // One that cannot come home ends.
            let _ = received.into_iter().find_map(|errand| (!errand(&home)).then_some(()));
        };
        std::thread::Builder::new().name("netns".into()).stack_size(256 << 10).spawn(work)?;
        let sent = errands.send(errand);
        *visitor = Some(errands);
        sent.map_err(|_| io::Error::other("it ended at once"))
    })
}
