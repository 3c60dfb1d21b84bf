//! What ends a run: a signal, or a hand.

use std::io;
use std::rc::Rc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// What ends the run.
pub struct Stop(By);

enum By {
    Signals { interrupt: Signal, terminate: Signal },
    Hand(Rc<Notify>),
}

impl Stop {
    /// Takes over SIGINT and SIGTERM. Before anything is attached, so that a signal
    /// during start ends the run in order too.
    pub fn listen() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self(By::Signals { interrupt, terminate: signal(SignalKind::terminate())? }))
    }

    /// No signal ends the run, but a notice.
    pub fn by_hand() -> (Self, Rc<Notify>) {
        let notify = Rc::new(Notify::new());
        (Self(By::Hand(Rc::clone(&notify))), notify)
    }

    /// Resolves when it is to end.
    pub async fn wait(&mut self) {
        match &mut self.0 {
            By::Signals { interrupt, terminate } => tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            },
            By::Hand(notify) => notify.notified().await,
        }
    }
}
