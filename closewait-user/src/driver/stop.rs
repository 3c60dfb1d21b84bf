//! What ends a run: a signal, or a hand.

use std::io;
use std::rc::Rc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::interrupt::Interrupt;

/// What ends the run.
pub struct Stop {
    by: By,
    interrupt: Interrupt,
}

enum By {
    Signals { interrupt: Signal, terminate: Signal },
    Hand(Rc<Notify>),
}

impl Stop {
    /// Takes over SIGINT and SIGTERM. Before anything is attached, so that a signal
    /// during start ends the run in order too.
    pub fn listen() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        let by = By::Signals { interrupt, terminate: signal(SignalKind::terminate())? };
        Ok(Self { by, interrupt: Interrupt::by_signals()? })
    }

    /// No signal ends the run, but a notice.
    pub fn by_hand() -> (Self, Rc<Notify>) {
        let notify = Rc::new(Notify::new());
        (Self { by: By::Hand(Rc::clone(&notify)), interrupt: Interrupt::default() }, notify)
    }

    /// A hand that is never moved: whoever has that interrupt ends the run, by dropping it.
    pub fn by_nobody(interrupt: Interrupt) -> Self {
        Self { interrupt, ..Self::by_hand().0 }
    }

    /// The same for work that takes long, which cannot wait.
    pub const fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Resolves when it is to end.
    pub async fn wait(&mut self) {
        match &mut self.by {
            By::Signals { interrupt, terminate } => tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            },
            By::Hand(notify) => notify.notified().await,
        }
    }
}
