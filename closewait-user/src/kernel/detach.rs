//! Attachments that the kernel takes its time to let go of: perf events, probes and
//! trampolines wait for every CPU before they are gone (20 to 100 ms each). Raw
//! tracepoints do not, and are not here.

use std::any::Any;
use std::thread;

/// They are let go of together when this is dropped, each by a thread of its own, so that
/// one wait is the wait for all. Nobody joins the threads: a process is not over, for whoever
/// waits for its end, before its last thread has left the kernel.
#[derive(Default)]
pub(super) struct Slow(Vec<Box<dyn Any + Send>>);

impl Slow {
    /// Keeps one until then.
    pub(super) fn hold(&mut self, attachment: impl Any + Send) {
        self.0.push(Box::new(attachment));
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        for attachment in self.0.drain(..) {
            // Where no thread can be had, it is let go of here.
            let _ = thread::Builder::new().name("detach".into()).spawn(move || drop(attachment));
        }
    }
}
