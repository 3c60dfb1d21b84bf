//! Pictures, taken to the terminal by a thread of their own, one at a time. A terminal that
//! takes no output (a link that hangs, a stopped multiplexer) holds up that thread; keys are
//! followed and the ring is drained all the same, and pictures that nobody can see are not drawn.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

use tokio::sync::Notify;

use super::way::{PATIENCE, Way};
use crate::privileges::{self, Work};

/// What is drawn, until it is taken.
#[derive(Clone, Default)]
pub(super) struct Picture(Rc<RefCell<Vec<u8>>>);

impl Picture {
    /// All that was drawn since the last time.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.take()
    }
}

impl Write for Picture {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What both threads know.
#[derive(Default)]
struct State {
    /// A picture is on its way.
    busy: AtomicBool,
    /// Another one waits to be drawn.
    wanted: AtomicBool,
    /// The terminal takes no more, for good.
    gone: AtomicBool,
}

/// The near end of the thread.
pub(super) struct Painter {
    pictures: Option<SyncSender<Vec<u8>>>,
    done: Receiver<()>,
    state: Arc<State>,
    free: Arc<Notify>,
    way: &'static Way,
}

impl Painter {
    /// Starts the thread.
    pub(super) fn begin(way: &'static Way) -> io::Result<Self> {
        way.begin();
        let (pictures, to_paint) = sync_channel::<Vec<u8>>(1);
        let (finished, done) = sync_channel(1);
        let (state, free) = (Arc::<State>::default(), Arc::<Notify>::default());
        let (theirs, tell) = (Arc::clone(&state), Arc::clone(&free));
        std::thread::Builder::new().name("painter".into()).spawn(move || {
            privileges::settle_thread(Work::Draw);
            for picture in to_paint {
                if way.paint(&picture).is_err() {
                    theirs.gone.store(true, Ordering::SeqCst);
                }
                theirs.busy.store(false, Ordering::SeqCst);
                if theirs.wanted.swap(false, Ordering::SeqCst) {
                    tell.notify_one();
                }
            }
            let _ = finished.send(());
        })?;
        Ok(Self { pictures: Some(pictures), done, state, free, way })
    }

    /// Whether the next picture would be painted now; if not, it is told when. An error: never.
    pub(super) fn is_free(&self) -> io::Result<bool> {
        if self.state.gone.load(Ordering::SeqCst) {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "it takes no output any more"));
        }
        // Wanted first: the thread looks at that last.
        self.state.wanted.store(true, Ordering::SeqCst);
        let is_free = !self.state.busy.load(Ordering::SeqCst);
        if is_free {
            self.state.wanted.store(false, Ordering::SeqCst);
        }
        Ok(is_free)
    }

    /// Paints; only when it is free.
    pub(super) fn paint(&self, picture: Vec<u8>) {
        self.state.busy.store(true, Ordering::SeqCst);
        if let Some(pictures) = &self.pictures {
            // There is room for one, and it is free.
            let _ = pictures.try_send(picture);
        }
    }

    /// Tells when it is free again, if a picture was wanted meanwhile.
    pub(super) fn free(&self) -> Arc<Notify> {
        Arc::clone(&self.free)
    }

    /// Lets the last picture be painted as long as the terminal takes something of it, and wants
    /// none from then on.
    pub(super) fn end(&mut self) {
        self.pictures = None;
        let mut taken = self.way.taken();
        while self.done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let before = std::mem::replace(&mut taken, self.way.taken());
            if taken == before {
                // Nobody has seen what is on its way, and nobody will.
                return self.way.end(true);
            }
        }
        self.way.end(false);
    }
}
