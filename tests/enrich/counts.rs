//! Counts of TCP states, and that counting is given up in time.

use std::time::Duration;

use closewait_trace::clock::{Clock, MonoNs};
use closewait_trace::enrich::netns::{NetnsArg, NetnsFilter};
use closewait_trace::enrich::sock_diag::{SockDiag, Uncounted};
use closewait_trace::enrich::states::StateCounter;
use closewait_trace::tcp::State;

use super::net::{Net, until};

const STATES: [State; 3] = [State::CloseWait, State::FinWait2, State::Listen];

#[test]
fn states_are_counted_as_ss_shows_them() {
    let net = Net::new();
    let held = [net.leak("127.0.0.1", "127.0.0.1", 7), net.leak("::1", "::1", 4)];
    let kept = held.iter().flatten().count() as u64;
    let name = net.at().path().to_str().unwrap().parse::<NetnsArg>().unwrap_or_else(|never| match never {});
    let counter = StateCounter::spawn(NetnsFilter::resolve(&[name]).unwrap()).unwrap();
    until("the first counts", || counter.latest().known().is_some());
    let counts = *counter.latest().known().unwrap();
    let shown = net.ss(&["-H", "-t", "-n", "state", "close-wait"]).len() as u64;
    assert_eq!((counts[State::CloseWait as usize], shown), (kept, kept));
}

#[test]
fn counting_ends_at_its_time_and_says_that_it_is_not_whole() {
    let net = Net::new();
    let _kept = net.leak("127.0.0.1", "127.0.0.1", 7);
    let count = |give_up| {
        let mut counts = [0; 16];
        let whole = SockDiag::open_in(net.at()).unwrap().count(&STATES, give_up, &mut counts).unwrap();
        (whole, counts[State::CloseWait as usize])
    };
    assert_eq!(count(Clock::mono_now() + Duration::from_mins(1)), (Ok(()), 7));
    let (whole, counted) = count(MonoNs(0));
    assert!(whole == Err(Uncounted::TookTooLong) && counted <= 1, "{counted} were counted after the time");
}
