//! One table for each rule, in the order in which they are tried.

use super::*;

#[test]
fn not_accepted() {
    let queued = |s: &mut DiagSocket| s.inode = 0;
    let base = Evidence { looks: still(queued), ..Evidence::unknown() };
    assert_eq!(short(&base), (Code::NotAccepted, Medium, Some(true)));
    says(&judge(&base).missing, "the listener: not gathered");

    let listener = Listener { holder: Some(holder(88, 6)), queue: 129, limit: 128 };
    let known = Evidence { listener: Fact::Known(listener), ..base.clone() };
    assert_eq!(short(&known), (Code::NotAccepted, High, Some(true)));
    says(&judge(&known).evidence, "129 of 128 in the accept queue of app[88] fd 6");
    assert!(judge(&known).next.contains("app[88] fd 6"));
    assert_eq!(judge(&known).also, []);

    let calls = |name: &str| {
        let doing = Doing::Call { name: name.into(), on: None };
        let thread = Thread { tid: 88, comm: "app".into(), doing, wchan: None, progress: None };
        Fact::Known(std::sync::Arc::new(Threads { pid: 88, total: 1, seen: vec![thread] }))
    };
    let by = |exe: &str, name| {
        let process = Process { exe: Fact::Known(exe.to_owned().into()), ..process(88) };
        let listener = Listener { holder: Some(holding(process, 6)), queue: 129, limit: 128 };
        judge(&Evidence { listener: Fact::Known(listener), threads: calls(name), ..known.clone() }).next
    };
    for (exe, command) in [
        ("/usr/bin/java", "`jstack 88`"),
        ("/usr/bin/python3.12", "`py-spy dump --pid 88`"),
        ("/usr/sbin/nginx", "`gdb -p 88 -batch -ex 'thread apply all bt'`"),
    ] {
        assert!(by(exe, "futex").contains(command), "{exe}: {}", by(exe, "futex"));
        assert!(!by(exe, "accept4").contains(command));
    }

    // It calls accept(), in vain; whoever looks at another moment sees no thread in it.
    let with = |used, soft| {
        let process = Process { nofile: Fact::Known(Nofile { used, soft }), ..process(88) };
        let listener = Listener { holder: Some(holding(process, 6)), queue: 8, limit: 128 };
        judge(&Evidence { listener: Fact::Known(listener), threads: calls("nanosleep"), ..known.clone() })
    };
    for used in [40, 41] {
        let full = with(used, 40);
        assert_eq!((full.code, full.confidence, full.leak), (Code::NotAccepted, High, Some(true)));
        says(&full.evidence, "8 of 128 in the accept queue of app[88] fd 6");
        says(
            &full.evidence,
            match used {
                40 => "app[88] is out of descriptors, with 40 in use and a limit of 40: accept() fails",
                _ => "app[88] has 41 descriptors and a limit of 40: accept() fails with EMFILE, unless",
            },
        );
        assert!(full.next.starts_with("Find what app[88] does not close ("), "{}", full.next);
        assert!(!full.evidence.iter().any(|why| why.contains("in accept()")), "{full:?}");
    }
    let not_full = with(39, 40);
    says(&not_full.evidence, "none of its threads is in accept()");
    assert!(!not_full.next.contains("out of descriptors"));

    let one_look = Evidence { looks: known.looks[1..].to_vec(), ..known };
    assert_eq!(short(&one_look).0, Code::NotAccepted, "needs no change");
    for (opener, role) in [
        (opener(7, OpenedVia::Accept), Fact::unknown("test")),
        (Fact::unknown("test"), Fact::Known(Role::Client)),
    ] {
        let accepted = Evidence { opener, role, ..base.clone() };
        assert_eq!(short(&accepted).0, Code::Unknown, "a socket without a file that is in no queue");
    }
}

#[test]
fn peer_gone() {
    let waiting = |retrans: u8| {
        let mut socket = socket();
        (socket.recv_q, socket.send_q, socket.timer, socket.retrans) = (0, 100, Timer::On, retrans);
        socket
    };
    let silent = |_: &mut DiagSocket| {};
    let retransmits = |s: &mut DiagSocket| tcp(s).total_retrans = Some(0);
    let answered = |s: &mut DiagSocket| tcp(s).last_ack_recv_ms = Some(20_000);
    let mut grown = waiting(5);
    tcp(&mut grown).total_retrans = Some(5);
    tcp(&mut grown).last_ack_recv_ms = Some(20_000);
    let with = |looks| Evidence { looks, ..held() };

    let table = [
        ("grew, no ACK", two_looks(grown.clone(), retransmits), (Code::PeerGone, High, Some(false))),
        ("many, no ACK", two_looks(waiting(5), silent), (Code::PeerGone, Medium, Some(false))),
        ("few, no ACK", two_looks(waiting(2), silent), (Code::EofConsumed, Medium, None)),
        ("grew, ACK came", two_looks(grown.clone(), answered), (Code::EofConsumed, Medium, None)),
        ("one look, many", vec![Look { at: NOW, socket: waiting(5) }], (Code::PeerGone, Low, None)),
    ];
    for (what, looks, want) in table {
        assert_eq!(short(&with(looks)), want, "{what}");
    }
    says(&judge(&with(two_looks(grown, retransmits))).evidence, "5 more retransmitted in 412 ms and no ACK");

    // Retransmissions raise bytes_sent: that is not sending.
    let mut vanished = waiting(4);
    (tcp(&mut vanished).bytes_sent, tcp(&mut vanished).bytes_retrans) = (Some(1200), Some(200));
    let looks = two_looks(vanished, |s| (tcp(s).bytes_sent, tcp(s).bytes_retrans) = (Some(1100), Some(100)));
    assert_eq!(short(&with(looks)).0, Code::PeerGone);

    // Keepalive probes go out with nothing in Send-Q.
    let probed = |s: &mut DiagSocket| {
        (s.timer, s.retrans) = (Timer::Keepalive, 0);
        tcp(s).probes = Some(4);
    };
    assert_eq!(short(&with(still(probed))), (Code::PeerGone, Medium, Some(false)));

    // Without tcp_info nobody can tell whether it answers.
    let looks = two_looks(DiagSocket { tcp: None, ..waiting(5) }, silent);
    assert_eq!(short(&with(looks)), (Code::PeerGone, Low, None));
}

#[test]
fn sending() {
    let with = |looks| Evidence { looks, ..held() };
    let acked = two_looks(socket(), |s| tcp(s).bytes_acked = Some(900));
    assert_eq!(short(&with(acked.clone())), (Code::Sending, High, Some(false)));
    says(&judge(&with(acked.clone())).evidence, "100 more bytes acknowledged in 412 ms");

    let sent = two_looks(socket(), |s| tcp(s).bytes_sent = Some(900));
    assert_eq!(short(&with(sent)), (Code::Sending, Medium, Some(false)));

    let no_info = |send_q| DiagSocket { send_q, tcp: None, ..socket() };
    assert_eq!(short(&with(two_looks(no_info(10), |s| s.send_q = 30))), (Code::Sending, Medium, Some(false)));
    assert_eq!(short(&with(two_looks(no_info(10), |_| {}))).0, Code::NotReading);

    let one = vec![Look { at: NOW, socket: DiagSocket { send_q: 10, ..socket() } }];
    assert_eq!(short(&with(one.clone())), (Code::Sending, Low, None));
    says(&judge(&with(one)).missing, "a second look at least 400 ms after the first");

    // Looks too close together, or at two connections, are one look.
    let mut close = acked.clone();
    close[0].at = NOW - Duration::from_millis(399);
    assert_eq!(short(&with(close)).0, Code::NotReading);
    let mut other = acked;
    other[0].socket.cookie = Some(8);
    assert_eq!(short(&with(other)), (Code::NotReading, Low, None));
}

#[test]
fn send_blocked() {
    let with = |looks| Evidence { looks, ..held() };
    let blocked = |s: &mut DiagSocket| {
        (s.recv_q, s.send_q, s.timer) = (0, 5000, Timer::Persist);
        tcp(s).snd_wnd = Some(0);
    };
    let mut newest = socket();
    blocked(&mut newest);
    tcp(&mut newest).last_ack_recv_ms = Some(10);
    let answered = two_looks(newest.clone(), |s| tcp(s).last_ack_recv_ms = Some(300));
    assert_eq!(short(&with(answered.clone())), (Code::SendBlocked, High, None));
    says(
        &judge(&with(answered)).evidence,
        "5000 bytes in Send-Q, zero-window probes run, the peer's window is 0",
    );

    assert_eq!(short(&with(still(blocked))), (Code::SendBlocked, Medium, None));
    let one = vec![Look { at: NOW, socket: newest }];
    assert_eq!(short(&with(one)), (Code::SendBlocked, Low, None));
    let unanswered = |s: &mut DiagSocket| {
        blocked(s);
        tcp(s).probes = Some(6);
    };
    assert_eq!(short(&with(still(unanswered))).0, Code::PeerGone, "the peer does not answer the probes");
    let open = |s: &mut DiagSocket| (s.recv_q, s.send_q) = (0, 5000);
    assert_eq!(short(&with(still(open))).0, Code::EofConsumed, "neither timer nor window tell of blocking");
}

#[test]
fn unheld() {
    let nobody = Evidence { holders: Fact::Known(vec![]), holder_scans: 2, ..held() };
    let found = |elsewhere| Evidence { elsewhere, ..nobody.clone() };
    let ring = Elsewhere::IoUring { owner: task("app", 7, 7), fd: 3 };
    let flight = Elsewhere::InFlight { receiver: task("app", 7, 7), fd: 4 };
    let blocked = Elsewhere::Blocked { task: task("app", 7, 8), syscall: "send".into() };
    for (reference, sentence) in [
        (ring.clone(), "io_uring of app[7], fd 3"),
        (flight, "descriptors are in flight to app[7] over its unix socket fd 4"),
        (blocked, "app[7/8] is in send() on a descriptor that is closed"),
    ] {
        let evidence = found(Fact::Known(vec![reference]));
        assert_eq!(short(&evidence), (Code::Unheld, High, None));
        says(&judge(&evidence).evidence, sentence);
    }
    assert_eq!(short(&found(Fact::Known(vec![]))), (Code::Unheld, Medium, None));
    assert_eq!(short(&nobody), (Code::Unheld, Medium, None));
    let once = Evidence { holder_scans: 1, ..found(Fact::Known(vec![ring])) };
    assert_eq!(short(&once), (Code::Unheld, Medium, None));
    says(&judge(&once).missing, "a second scan");
    let unknown = Evidence { holders: Fact::unknown("no permission"), ..nobody };
    assert_eq!(short(&unknown).0, Code::NotReading, "not scanned is not nobody");
}

#[test]
fn inherited() {
    let child = Evidence { holders: Fact::Known(vec![holder(9, 5)]), ..held() };
    assert_eq!(short(&child), (Code::NotReading, High, Some(true)), "use unknown");
    assert_eq!(judge(&child).also, [Code::Inherited]);
    let both = judge(&Evidence { holders: Fact::Known(vec![holder(7, 5), holder(9, 5)]), ..held() });
    assert_eq!((both.code, both.also), (Code::NotReading, vec![Code::Inherited]));
    let stdin = judge(&Evidence { holders: Fact::Known(vec![holder(9, 0)]), ..held() });
    assert_eq!((stdin.code, stdin.also), (Code::NotReading, vec![Code::Inherited]));
    assert_eq!(judge(&held()).also, []);

    // Who read the EOF tells who uses it.
    let read_by = |pid| {
        let read =
            EofRead { task: task("app", pid, pid), at: NOW, stack: Fact::unknown("test"), stack_note: None };
        judge(&Evidence {
            eof_read: Fact::Known(Some(read)),
            looks: still(|s| s.recv_q = 0),
            ..child.clone()
        })
    };
    assert_eq!((read_by(7).code, read_by(7).confidence), (Code::Inherited, High));
    assert_eq!((read_by(9).code, read_by(9).also), (Code::EofIgnored, vec![Code::Inherited]));
    // So does a socket that nobody ever touched.
    let untouched = still(|s| {
        (tcp(s).bytes_sent, tcp(s).bytes_acked, tcp(s).bytes_received, s.recv_q) =
            (Some(0), Some(0), Some(25), 25);
    });
    assert_eq!(short(&Evidence { looks: untouched, ..child.clone() }), (Code::Inherited, High, Some(true)));

    // Older than the trace: the listener's holders stand in for the opener.
    let untouched = still(|s| (tcp(s).bytes_sent, tcp(s).bytes_received) = (Some(0), Some(1)));
    let older = |listening: Vec<u32>, role| Evidence {
        looks: untouched.clone(),
        opener: Fact::unknown("older than the trace"),
        listener_holders: Fact::Known(listening),
        role,
        ..child.clone()
    };
    let server = || Fact::Known(Role::Server);
    assert_eq!(short(&older(vec![7], server())), (Code::Inherited, Medium, Some(true)));
    assert_eq!(short(&older(vec![9], server())).0, Code::NotReading);
    assert_eq!(short(&older(vec![], server())).0, Code::NotReading, "no listener any more");
    assert_eq!(short(&older(vec![7], Fact::Known(Role::Client))).0, Code::NotReading);

    // Who spawned the heir is named where the socket came by it.
    let runs = |program: Option<&'static str>, parent: u32, evidence: Evidence| {
        let cmdline = Fact::Known("/usr/sbin/app --config /etc/app/production.conf --listen 8080".into());
        let parent = Parent { pid: parent, comm: "app".into(), program: program.map(Into::into), cmdline };
        let heir = holding(Process { parent: Fact::Known(parent), ..process(9) }, 5);
        judge(&Evidence { holders: Fact::Known(vec![heir]), ..evidence }).evidence.join("; ")
    };
    let by = |parent, evidence| runs(None, parent, evidence);
    let started = "app[9] was started by app[7] (`/usr/sbin/app --config /etc/app/producti...`), which ";
    let older = older(vec![7], server());
    let opened = Evidence { looks: untouched.clone(), ..child.clone() };
    assert!(by(7, opened.clone()).contains(&format!("{started}opened it")), "{}", by(7, opened.clone()));
    assert!(by(7, older.clone()).contains(&format!("{started}has the listener")));
    assert!(!by(1, opened.clone()).contains("was started by") && !by(1, older).contains("was started by"));
    let python = runs(Some("python3 orders.py"), 7, opened.clone());
    assert!(
        python.contains("app[9] was started by app[7] (`python3 orders.py`), which opened it"),
        "{python}"
    );
    assert!(!runs(Some("program 3"), 7, opened).contains("program 3"), "a number of a redacted recording");

    let one_look = Evidence { looks: untouched[1..].to_vec(), ..child };
    assert_eq!(short(&one_look), (Code::Inherited, Low, None));
}

#[test]
fn eof_ignored() {
    let read = EofRead {
        task: task("http-nio-7", 7, 12),
        at: NOW - Duration::from_millis(12_200),
        stack: Fact::unknown("test"),
        stack_note: None,
    };
    let base = Evidence { eof_read: Fact::Known(Some(read)), looks: still(|s| s.recv_q = 0), ..held() };
    assert_eq!(short(&base), (Code::EofIgnored, High, Some(true)));
    says(&judge(&base).evidence, "a read by http-nio-7[7/12] returned 0 (EOF) 12.2 s ago");
    says(&judge(&base).evidence, "nothing sent or acknowledged in 412 ms");
    assert_eq!(judge(&base).also, []);

    let peer = |state, has_file| LocalPeer { state, has_file, holder: Some(holder(3, 4)) };
    for (local_peer, leak) in [
        (None, Some(true)),
        (Some(peer(State::FinWait2, false)), Some(true)),
        (Some(peer(State::FinWait2, true)), None),
        (Some(peer(State::TimeWait, true)), Some(true)),
    ] {
        let with = Evidence { local_peer: Fact::Known(local_peer.clone()), ..base.clone() };
        assert_eq!(short(&with), (Code::EofIgnored, High, leak), "{local_peer:?}");
        let verdict = judge(&with);
        assert_eq!(verdict.next.starts_with("Call close()"), leak.is_some(), "{verdict:?}");
        assert!(verdict.next.contains("close"), "{verdict:?}");
    }
    // Nor where no read of the EOF was seen, as in a snapshot.
    let half = Fact::Known(Some(peer(State::FinWait2, true)));
    let snapshot = judge(&Evidence { eof_read: Fact::unknown("test"), local_peer: half, ..base.clone() });
    assert_eq!((snapshot.code, snapshot.leak), (Code::EofConsumed, None));
    says(&snapshot.evidence, "the peer, app[3] fd 4, only half-closed");
    let want =
        "Check whether app[7] fd 5 still answers app[3] fd 4, which has only half-closed; if it will not, ";
    assert!(snapshot.next.starts_with(want), "{}", snapshot.next);

    let one_look = Evidence { looks: base.looks[1..].to_vec(), ..base.clone() };
    assert_eq!(short(&one_look), (Code::EofIgnored, Low, None), "it may be sending");
    let no_look = Evidence { looks: vec![], look_failed: Some("ENOENT".into()), ..base.clone() };
    assert_eq!(short(&no_look), (Code::EofIgnored, Low, None));
    says(&judge(&no_look).missing, "ENOENT");
    let queued = Evidence { looks: still(|s| (s.recv_q, s.send_q) = (0, 10)), ..base.clone() };
    assert_eq!(short(&queued), (Code::EofIgnored, Medium, None), "10 bytes are still on their way");
    let no_info = Evidence { looks: still(|s| (s.recv_q, s.tcp) = (0, None)), ..base };
    assert_eq!(short(&no_info), (Code::EofIgnored, Medium, Some(true)));
}

/// Which of them is to accept it is not known: a master never does.
#[test]
fn all_who_may_accept_it_are_told() {
    let waiting = |others: &[u32]| Evidence {
        looks: still(|s| s.inode = 0),
        opener: Fact::unknown("test"),
        holders: Fact::Known(Vec::new()),
        listener: Fact::Known(Listener { holder: Some(holder(7, 3)), queue: 3, limit: 16 }),
        listener_holders: Fact::Known([&[7], others].concat()),
        ..held()
    };
    let alone = judge(&waiting(&[]));
    assert!(!alone.evidence.iter().any(|said| said.contains("may accept")), "{:?}", alone.evidence);
    let two = judge(&waiting(&[8]));
    says(&two.evidence, "another process of the same listener may accept it, too: 8");
    says(&two.missing, "what they do: only app[7] was looked at");
    let want = "Find out why none of those that have the listener calls accept(), app[7] fd 3 and process 8 among \
                them: are all workers busy?";
    assert_eq!((two.code, two.leak, &*two.next), (Code::NotAccepted, Some(true), want));
    let many = judge(&waiting(&[8, 9, 10, 11, 12]));
    says(&many.evidence, "5 more processes of the same listener may accept it, too: 8, 9, 10, 11, ...");
}

/// A process that is stopped, or in a container that is paused, has had no chance.
#[test]
fn what_a_process_that_is_held_up_has_not_done_is_no_proof() {
    let of = |doing| {
        let thread = Thread { tid: 7, comm: "app".into(), doing, wchan: None, progress: None };
        Fact::Known(Threads { pid: 7, total: 1, seen: vec![thread] }.into())
    };
    let unaccepted = Evidence { looks: still(|s| s.inode = 0), opener: Fact::unknown("test"), ..held() };
    for (evidence, code) in [(held(), Code::NotReading), (unaccepted, Code::NotAccepted)] {
        assert_eq!((short(&evidence).0, short(&evidence).2), (code, Some(true)));
        let waits = Evidence { threads: of(Doing::Running), ..evidence.clone() };
        assert_eq!((short(&waits).0, short(&waits).2), (code, Some(true)));
        for (doing, next) in [
            (
                Doing::Stopped,
                "Let process 7 go on (`kill -CONT 7`, or end the debugger): only then it can close.",
            ),
            (
                Doing::Frozen,
                "Let process 7 go on (unpause its container, or thaw its cgroup): only then it can close.",
            ),
        ] {
            let held_up = Evidence { threads: of(doing), ..evidence.clone() };
            assert_eq!(short(&held_up), (code, Medium, None));
            let told = judge(&held_up);
            says(&told.missing, "what it does when it goes on");
            assert_eq!(told.next, next);
        }
    }
    // Others may do it.
    let two = Evidence {
        threads: of(Doing::Stopped),
        holders: Fact::Known(vec![holder(7, 5), holder(8, 5)]),
        ..held()
    };
    assert_eq!((short(&two).0, short(&two).2), (Code::NotReading, Some(true)));
    // A cgroup is frozen with all that is in it.
    let frozen = |cgroups: [&str; 2]| {
        let in_cgroup = |pid, at: &str| Process { cgroups: vec![format!("0:{at}")], ..process(pid) };
        let holders = vec![holding(in_cgroup(7, cgroups[0]), 5), holding(in_cgroup(8, cgroups[1]), 5)];
        short(&Evidence { threads: of(Doing::Frozen), holders: Fact::Known(holders), ..held() }).2
    };
    assert_eq!((frozen(["/paused", "/paused"]), frozen(["/paused", "/other"])), (None, Some(true)));
    // It had been told before it was stopped.
    let looks = still(|s| s.recv_q = 0);
    let at = NOW - Duration::from_secs(5);
    let read = EofRead { task: task("app", 7, 7), at, stack: Fact::unknown("test"), stack_note: None };
    let eof = Evidence { eof_read: Fact::Known(Some(read)), looks, threads: of(Doing::Stopped), ..held() };
    assert_eq!((short(&eof).0, short(&eof).2), (Code::EofIgnored, Some(true)));
}

#[test]
fn slow_reader() {
    let reads = Evidence { looks: two_looks(socket(), |s| s.recv_q = 4001), ..held() };
    assert_eq!(short(&reads), (Code::SlowReader, High, Some(false)));
    says(&judge(&reads).evidence, "Recv-Q went from 4001 to 1 in 412 ms");
    let all = Evidence { looks: two_looks(DiagSocket { recv_q: 0, ..socket() }, |s| s.recv_q = 1), ..held() };
    assert_eq!(
        (short(&all).0, short(&all).2),
        (Code::EofConsumed, None),
        "the FIN was read: there is nothing left"
    );
    let grows =
        Evidence { looks: two_looks(DiagSocket { recv_q: 9, ..socket() }, |s| s.recv_q = 1), ..held() };
    assert_eq!(short(&grows).0, Code::NotReading);
}

#[test]
fn not_reading() {
    assert_eq!(short(&held()), (Code::NotReading, High, Some(true)));
    says(&judge(&held()).evidence, "Recv-Q 1 (the FIN) constant over 412 ms");
    assert!(judge(&held()).next.contains("app[7] fd 5"));

    let one_look = Evidence { looks: held().looks[1..].to_vec(), ..held() };
    assert_eq!(short(&one_look), (Code::NotReading, Low, None));
    assert!(!judge(&one_look).evidence.iter().any(|sentence| sentence.contains("constant")));
    let unknown_holders = Evidence { holders: Fact::unknown("EACCES"), ..held() };
    assert_eq!(short(&unknown_holders), (Code::NotReading, Medium, Some(true)));
    says(&judge(&unknown_holders).missing, "holders: EACCES");
}

#[test]
fn eof_consumed() {
    let empty = |eof_read| Evidence { looks: still(|s| s.recv_q = 0), eof_read, ..held() };
    assert_eq!(short(&empty(Fact::Known(None))), (Code::EofConsumed, High, None));
    assert_eq!(short(&empty(Fact::unknown("hook refused"))), (Code::EofConsumed, Medium, None));
    says(&judge(&empty(Fact::unknown("hook refused"))).missing, "EOF evidence: hook refused");
    let older = Suspect { since: Since::NoLaterThan(NOW), ..suspect() };
    let unseen =
        |watching| Evidence { watching, opener: Fact::unknown("test"), ..empty(Fact::unknown("older")) };
    for (watching, more) in [
        (Watching::Traced, "Leave this running: the next one shows the stack."),
        (Watching::Snapshot, "For stacks of the next ones run `closewait-trace`."),
        (Watching::Impossible, "together."),
    ] {
        let next = told(&older, &unseen(watching)).next;
        assert!(next.ends_with(more), "{watching:?}: {next}");
    }
    assert!(judge(&unseen(Watching::Traced)).next.ends_with("together."), "it is not older than the trace");
    let one_look =
        Evidence { looks: empty(Fact::Known(None)).looks[1..].to_vec(), ..empty(Fact::Known(None)) };
    assert_eq!(short(&one_look), (Code::EofConsumed, High, None), "an empty queue stays empty");
}

#[test]
fn unknown() {
    let nothing = Evidence { look_failed: Some("inet_diag is absent".into()), ..Evidence::unknown() };
    assert_eq!(short(&nothing), (Code::Unknown, Low, None));
    says(&judge(&nothing).missing, "a look at the socket: inet_diag is absent");
    says(&judge(&nothing).missing, "holders: not gathered");
    let left = Evidence { looks: still(|s| s.state = State::LastAck), ..held() };
    assert_eq!(short(&left), (Code::Unknown, Low, None));
    says(&judge(&left).evidence, "it is in LAST_ACK by now");
}
