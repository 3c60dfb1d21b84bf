//! The second program for reads of EOF, which steps in where the kernel skips the first.
//! When it does that cannot be arranged; that it sees every read, and adds nothing to
//! what the first has seen, can.

use std::path::Path;

use closewait_ebpf::counter;
use closewait_trace::item;
use closewait_trace::kernel::load::{self, Settings};
use closewait_trace::kernel::plan::{Hook, Purpose, plan};
use closewait_trace::kernel::support::{BTF_PATH, Support};

use super::netns::Netns;
use super::scenario::Scenario;
use super::waiting::{show, until};

/// Told EOF, and not closed.
const READS: u64 = 7;

#[test]
fn every_read_of_eof_is_seen_once() {
    let net = Netns::new();
    let support = Support::probe(Path::new(BTF_PATH));
    let plan = plan(&support, &[]).expect("this kernel traces");
    let inode = u32::try_from(net.inode()).expect("32 bits");
    let settings = Settings { only_netns: Some(item::Netns(inode)), ..Settings::default() };
    let mut loaded = load::load(&support, &plan, &settings).expect("this kernel traces");
    let by = loaded.served.iter().find(|served| served.purpose == Purpose::EofRead).expect("planned").by;
    if by != Some(Hook::SockRecvLength) {
        return show(&format!("not run: reads are seen by {by:?}, which has no second program"));
    }
    let mut counters = loaded.maps().expect("once").counters;
    loaded.attach_eof_again(&mut counters).expect("it is loaded");
    let reads_are = |reads: u64| {
        server_reads(&net);
        until("all reads of EOF are counted", || {
            (counters.totals().get(counter::EOF_READS) >= reads).then_some(())
        });
        assert_eq!(counters.totals().get(counter::EOF_READS), reads);
    };
    reads_are(READS);
    loaded.detach_first_eof().expect("it is attached");
    reads_are(2 * READS);
}

/// A server is told EOF so often.
fn server_reads(net: &Netns) {
    let reads = READS.to_string();
    let server = Scenario::start(net, "leaky_server", &["--leak", &reads]);
    let client =
        Scenario::start(net, "leaky_client", &["--port", &server.port(), "--first", "--close", &reads]);
    client.done();
    assert_eq!(server.done().len() as u64, READS);
}
