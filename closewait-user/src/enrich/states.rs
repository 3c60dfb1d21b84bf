//! How many TCP sockets are in each state: what a loop of `netstat` shows. Counted by
//! inet_diag, on a thread of its own, so that nothing waits for it.
//!
//! In: which network namespaces. Out: counts, or the reason why there are none. A dump costs
//! with the sockets of the host: counting takes at most one hundredth of one CPU, and is
//! given up, and said so, where one round takes longer than `PATIENCE`.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::netns::{Namespaces, NetnsFilter};
use super::sock_diag::{SockDiag, Uncounted};
use crate::clock::Clock;
use crate::fact::Fact;
use crate::privileges::{Work, settle_thread};
use crate::tcp::State;

/// Not counted more often.
const LEAST: Duration = Duration::from_secs(2);
/// Between two rounds passes so many times what one has taken.
const SHARE: u32 = 100;
/// A round that takes longer is given up.
const PATIENCE: Duration = Duration::from_millis(250);

/// The states that a dump shows, those that matter to a leak first.
pub const STATES: [State; 11] = [
    State::CloseWait,
    State::FinWait2,
    State::Established,
    State::TimeWait,
    State::Listen,
    State::LastAck,
    State::SynSent,
    State::SynRecv,
    State::FinWait1,
    State::Closing,
    State::Close,
];

/// Sockets by state, by the kernel's number of it.
pub type ByState = [u64; 16];

/// Counts as they come, until it is dropped.
pub struct StateCounter {
    latest: Arc<Mutex<Fact<ByState>>>,
    _ends: Sender<()>,
}

impl StateCounter {
    /// Begins to count in the namespaces that `filter` allows.
    pub fn spawn(filter: NetnsFilter) -> io::Result<Self> {
        let latest = Arc::new(Mutex::new(Fact::unknown("not counted yet")));
        let (ends, ended) = channel::<()>();
        let told = Arc::clone(&latest);
        let work = move || {
            settle_thread(Work::Look);
            loop {
                let began = Clock::mono_now();
                let counted = count(&filter).map_or_else(|why| Fact::Unknown(why.into()), Fact::Known);
                *told.lock().unwrap_or_else(PoisonError::into_inner) = counted;
                let pause = (Clock::mono_now().since(began) * SHARE).max(LEAST);
                if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("states".into()).spawn(work)?;
        Ok(Self { latest, _ends: ends })
    }

    /// The last counts.
    pub fn latest(&self) -> Fact<ByState> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One round over all namespaces.
fn count(filter: &NetnsFilter) -> Result<ByState, String> {
    let give_up = Clock::mono_now() + PATIENCE;
    let mut counts = ByState::default();
    for netns in Namespaces::list().map_err(|error| error.to_string())?.iter() {
        if !filter.allows(netns.netns()) {
            continue;
        }
        if Clock::mono_now() >= give_up {
            return Err(why_not(Uncounted::TookTooLong, &counts));
        }
        // One for each round: it would keep the namespace alive.
        let mut diag = match SockDiag::open_in(netns) {
            Ok(diag) => diag,
            // It ended since it was listed.
            Err(_) if netns.is_gone() => continue,
            Err(error) => return Err(error.to_string()),
        };
        let counted = diag.count(&STATES, give_up, &mut counts).map_err(|error| error.to_string())?;
        counted.map_err(|why| why_not(why, &counts))?;
    }
    Ok(counts)
}

/// Why there are no counts, after so many.
fn why_not(why: Uncounted, counts: &ByState) -> String {
    let counted: u64 = counts.iter().sum();
    match why {
        Uncounted::TookTooLong => {
            format!("too costly to count: {counted} sockets in {} ms", PATIENCE.as_millis())
        }
        Uncounted::Hole(hole) => format!(
            "not counted: the kernel's answer has holes ({}), {counted} sockets are in it",
            hole.name()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::sock_diag::Hole;

    #[test]
    fn holes_are_no_matter_of_cost() {
        let mut counts = ByState::default();
        (counts[1], counts[8]) = (40, 2);
        let costly = why_not(Uncounted::TookTooLong, &counts);
        assert_eq!(costly, "too costly to count: 42 sockets in 250 ms");
        let holed = why_not(Uncounted::Hole(Hole::Overrun), &counts);
        assert_eq!(holed, "not counted: the kernel's answer has holes (overrun), 42 sockets are in it");
    }
}
