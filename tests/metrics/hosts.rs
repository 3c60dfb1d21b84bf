//! A fleet in one process: made-up hosts, each with an endpoint of its own that is the
//! tool's. `cargo xtask fleet` lets Prometheus scrape it.
//!
//!     made_up_hosts COUNTxSOCKETS/PROCESSES...
//!
//! prints `ADDRESS SOCKETS` for each host and ends with its stdin. Once a second every host
//! closes a thousandth of its stuck sockets, and as many become stuck.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a tool for tests, whose output is read")]

#[path = "host.rs"]
mod host;

use std::io::Read;
use std::time::Duration;

use closewait_trace::metrics::Answers;
use closewait_trace::metrics::server::Server;
use host::Host;
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval};

const STEP: Duration = Duration::from_secs(1);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    let hosts = LocalSet::new();
    hosts.block_on(&runtime, async {
        for kind in std::env::args().skip(1) {
            let numbers: Vec<u32> =
                kind.split(['x', '/']).map(|word| word.parse().expect("a number")).collect();
            let [count, sockets, processes] = numbers[..] else { panic!("{kind}: COUNTxSOCKETS/PROCESSES") };
            for _ in 0..count {
                let mut host = Host::new(processes.max(1));
                (0..sockets).for_each(|_| host.leak());
                let (server, asks) = Server::bind("0".parse().expect("a port")).await.expect("a free port");
                println!("{} {sockets}", server.address().expect("it listens"));
                let answers = Answers::new(asks, host.tally.clone(), host.began());
                tokio::task::spawn_local(server.serve());
                tokio::task::spawn_local(live(host, answers, sockets.div_ceil(1000)));
            }
        }
        let (over, end) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = over.send(());
        });
        let _ = end.await;
    });
}

async fn live(mut host: Host, mut answers: Answers, churn: u32) {
    let mut step = interval(STEP);
    step.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ask = answers.asked() => host.answer(&mut answers, ask),
            _ = step.tick() => {
                host.pass(STEP);
                for _ in 0..churn {
                    host.close();
                    host.leak();
                }
            }
        }
    }
}
