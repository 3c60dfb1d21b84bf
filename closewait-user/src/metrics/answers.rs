//! The driver's end of the endpoint: it is asked for the text of a scrape, and makes it of
//! its state.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::exposition;
use super::sample::{Own, Seen, sample};
use super::tally::Tally;
use crate::clock::{Clock, MonoNs};
use crate::report::{Ledger, Totals};

/// Whoever waits for a text.
pub type Ask = oneshot::Sender<Answer>;

/// A text.
#[derive(Clone, Debug)]
pub struct Answer {
    /// In the OpenMetrics format.
    pub text: Bytes,
    /// What it took to make.
    pub took: Duration,
}

/// Takes questions and answers them.
pub struct Answers {
    asks: mpsc::Receiver<Ask>,
    tally: Tally,
    started: SystemTime,
    last_took: Option<Duration>,
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("last_took", &self.last_took).finish_non_exhaustive()
    }
}

impl Answers {
    /// `tally` has to be among the reporter's sinks, from `started` on.
    pub fn new(asks: mpsc::Receiver<Ask>, tally: Tally, started: SystemTime) -> Self {
        Self { asks, tally, started, last_took: None }
    }

    /// The next question; never, when the server is gone.
    pub async fn asked(&mut self) -> Ask {
        match self.asks.recv().await {
            Some(ask) => ask,
            None => std::future::pending().await,
        }
    }

    /// Answers with what there is at `now`.
    pub fn answer(
        &mut self,
        ask: Ask,
        now: MonoNs,
        clock: &Clock,
        totals: &Totals,
        ledger: &Ledger,
        own: Own,
    ) {
        if ask.is_closed() {
            return;
        }
        let began = Clock::mono_now();
        let births = self.tally.births();
        let (started, last_took) = (self.started, self.last_took);
        let seen = Seen { now, clock, totals, ledger, births: &births, own, started, last_took };
        match exposition::text(sample(&seen)) {
            Ok(text) => {
                let took = Clock::mono_now().since(began);
                self.last_took = Some(took);
                // One that was given up waiting for is no error.
                let _ = ask.send(Answer { text: text.into(), took });
            }
            Err(error) => log::warn!("metrics cannot be written: {error}"),
        }
    }
}
