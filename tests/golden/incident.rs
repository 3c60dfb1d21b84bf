//! An incident: many causes at once, in an order that is nobody's.

use std::collections::BTreeSet;
use std::time::Duration;

use closewait_trace::fact::Fact;
use closewait_trace::growth::Growth;
use closewait_trace::item::Timer;
use closewait_trace::report::Report;
use closewait_trace::tcp::State;
use closewait_trace::tracker::{Since, SuspectKind};
use closewait_trace::verdict::{
    Code, Confidence, Listener, LocalPeer, OpenedVia, Pod, PodName, PortUse, Role,
};

use super::{Case, ago, eof_read, fds, holder, of, stack, tuple, verdict};

/// Findings about 5,000 sockets of five programs.
pub(crate) fn incident() -> Vec<Report> {
    let mut cases = java();
    cases.extend(nginx());
    cases.extend(gunicorn());
    cases.extend(others());
    cases.sort_by_key(|case| u64::from(case.id).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    cases.iter().map(Case::report).collect()
}

/// Of these, the first with each verdict.
pub(crate) fn one_of_each() -> Vec<Report> {
    let mut seen = BTreeSet::new();
    let mut reports = incident();
    reports.retain(|report| {
        let (Report::Stuck(finding) | Report::Ghost(finding)) = report else { unreachable!() };
        seen.insert(finding.verdict.code)
    });
    reports
}

fn java() -> Vec<Case> {
    let java = |fd| {
        let mut h = fds(holder(21_773, "java", "/usr/lib/jvm/java-21/bin/java", fd), 61_202, 65_536);
        let mut pod = Pod::of_ids("2c48913c-b29f-11e7-9350-020968147796".into(), None);
        pod.name = Fact::Known(PodName { namespace: "shop".into(), name: "cart".into() });
        pod.labels = Fact::Known([("app".to_owned(), "cart".to_owned())].into());
        of(&mut h).program = Some("java -jar cart.jar".into());
        of(&mut h).container = pod.display();
        of(&mut h).pod = Some(pod.into());
        h
    };
    let mut cases = Vec::new();
    let pool = verdict(
        Code::IdlePool,
        Confidence::High,
        Some(false),
        &[
            "no new ones in 60 s of watching (births 0, closes 0)",
            "the peer closes after 60.0 s idle",
            "Recv-Q 25 fits TLS close_notify",
        ],
        "Nothing is wrong; to save the descriptors, set the pool's idle timeout below the server's 60 s.",
    );
    for id in 0..112 {
        let mut case = Case::new(id, 3_000 + u64::from(id), pool.clone()).client("10.4.0.12", 6379);
        case.queues = (25, 0);
        let stack = stack(&["RedisPool.lease@RedisPool.java:41", "Cart.load", "Worker.run"]);
        cases.push(case.held(vec![java(200 + id)]).opened(
            21_773,
            "http-nio-7",
            OpenedVia::Connect,
            Fact::Known(stack),
        ));
    }
    let ignored = verdict(
        Code::EofIgnored,
        Confidence::High,
        Some(true),
        &["read() returned 0 18,119 s ago; nothing was read or written since", "0 bytes unread"],
        "Close the connection where ResponseParser.parse sees the end of the stream; it goes back to the pool instead.",
    );
    for id in 0..4_812_u32 {
        let mut case = Case::new(1_000 + id, u64::from(id) * 3, ignored.clone()).client("10.4.0.9", 443);
        if id == 4_811 {
            case.since = Since::NoLaterThan(ago(18_120));
        }
        case.eof_read = Fact::Known(Some(eof_read("ResponseParser.parse@ResponseParser.java:212")));
        let watched = Duration::from_mins(14);
        let growth = |per_minute: f64| Growth {
            watched,
            births: 196,
            closes: 0,
            per_minute,
            at_least: per_minute - 1.9,
            at_most: per_minute + 2.1,
        };
        case.growth = Some(growth(14.0));
        case.ports = Some(PortUse { used: 4_990, total: 28_232, growth: Some(growth(12.0)) });
        let stack = stack(&["HttpPool.lease@HttpPool.java:88", "Client.get", "Worker.run"]);
        cases.push(case.held(vec![java(400 + id)]).opened(
            21_773,
            "http-nio-7",
            OpenedVia::Connect,
            Fact::Known(stack),
        ));
    }
    cases
}

fn nginx() -> Vec<Case> {
    let backlog = verdict(
        Code::NotAccepted,
        Confidence::High,
        Some(true),
        &["no file was ever made for it (inode 0)", "the accept queue of :8080 holds 129 of 128"],
        "nginx does not call accept(): see what its threads do (cat /proc/88/task/*/stack).",
    );
    (0..129_u16)
        .map(|n| {
            let mut case = Case::new(7_000 + u32::from(n), 40 + u64::from(n), backlog.clone());
            case.inode = 0;
            case.queues = (79, 0);
            case.tuple = tuple("10.0.0.1", 8080, &format!("10.0.3.{}", n % 3), 40_000 + n);
            case.holders = Fact::Known(Vec::new());
            case.eof_read = Fact::Known(None);
            case.opener = Fact::unknown("nobody accepted it");
            let nginx = fds(holder(88, "nginx", "/usr/sbin/nginx", 6), 137, 1_024);
            case.listener = Fact::Known(Listener { holder: Some(nginx), queue: 129, limit: 128 });
            case
        })
        .collect()
}

/// Two processes with one cause, on IPv4-mapped addresses, older than the trace.
fn gunicorn() -> Vec<Case> {
    let not_reading = verdict(
        Code::NotReading,
        Confidence::Medium,
        Some(true),
        &["Recv-Q was 518 twice, 412 ms apart"],
        "The workers do not read: take their stacks (py-spy dump --pid 311) and see what they wait on.",
    );
    (0..6_u16)
        .map(|n| {
            let pid = if n % 3 == 0 { 313 } else { 311 };
            let mut case = Case::new(7_600 + u32::from(n), 0, not_reading.clone());
            case.since = Since::NoLaterThan(ago(20));
            case.not_before = Some(ago(3_000));
            case.tuple = tuple("::ffff:10.0.0.1", 8000, "::ffff:10.0.9.9", 33_000 + n);
            case.queues = (518, 0);
            case.timer = Timer::Keepalive;
            let mut worker = holder(pid, "gunicorn: worke", "/usr/bin/python3.12", 9 + u32::from(n));
            of(&mut worker).program = Some("gunicorn shop.wsgi:app".into());
            case.held(vec![fds(worker, 1_300 - u64::from(pid), 1_024)])
        })
        .collect()
}

fn others() -> Vec<Case> {
    // IPv6, a holder and a stack that are not known, and why.
    let mut consumed = verdict(
        Code::EofConsumed,
        Confidence::Low,
        None,
        &["Recv-Q is 0: the FIN has left the queue", "no read that returned 0 was seen"],
        "Run as root to see who holds it; reads are recorded from now on.",
    );
    consumed.missing = vec!["who holds it".into(), "reads before this trace began".into()];
    let no_stack = Fact::unknown("the process had ended before its stack was read");
    let mut curl = Case::new(7_500, 12, consumed).opened(77, "curl", OpenedVia::Connect, no_stack);
    curl.tuple = tuple("2001:db8::1", 51_334, "2001:db8:ffff:ffff:ffff:ffff:ffff:2", 443);
    curl.role = Fact::Known(Role::Client);

    // Two holders, neither of them the opener.
    let mut inherited = verdict(
        Code::Inherited,
        Confidence::High,
        Some(true),
        &["uwsgi[310] accepted it and has closed it", "sh[344] has it since it was forked and never used it"],
        "Open the socket with SOCK_CLOEXEC (accept4), or close it in the child before exec.",
    );
    inherited.also = vec![Code::NotReading];
    let child = |pid, comm: &str, exe: &str| {
        let mut h = holder(pid, comm, exe, 7);
        h.cloexec = Fact::Known(false);
        h
    };
    let mut shell = child(344, "sh", "/bin/dash");
    of(&mut shell).program = Some("sh backup.sh".into());
    let mut uwsgi =
        Case::new(7_700, 271, inherited).held(vec![shell, child(345, "sleep", "/bin/sleep")]).opened(
            310,
            "uwsgi",
            OpenedVia::Accept,
            Fact::Known(stack(&["uwsgi_socket_accept", "simple_loop_run@loop.c:144", "main"])),
        );

    let peer = holder(123, "curl", "/usr/bin/curl", 5);
    uwsgi.peer = Some(LocalPeer { state: State::FinWait2, has_file: true, holder: Some(peer) });
    if let Fact::Known(opener) = &mut uwsgi.opener {
        opener.stack_note = Some("libpython3.12.so.1.0 could not be read: it was deleted".into());
    }

    let reset = verdict(
        Code::GhostReset,
        Confidence::High,
        Some(true),
        &["a RST ended the connection 95 s ago", "fd 12 is still open; ss does not show it any more"],
        "Close the descriptor on ECONNRESET and EPIPE too, not only on a read of 0.",
    );
    let mut ghost = Case::new(7_800, 120, reset).held(vec![fds(
        holder(5, "haproxy", "/usr/sbin/haproxy", 12),
        3_100,
        4_096,
    )]);
    ghost.kind = SuspectKind::Ghost { closed: ago(95), from: State::CloseWait };
    vec![curl, uwsgi, ghost]
}

/// Sockets of three programs of one interpreter, two of them with workers: of one verdict, to
/// one server, and without stacks.
pub(crate) fn interpreted() -> Vec<Report> {
    let ignored = verdict(Code::EofIgnored, Confidence::Medium, Some(true), &["0 bytes unread"], "Close it.");
    let programs = [
        (410, "python3 orders_api.py"),
        (411, "python3 orders_api.py"),
        (420, "python3 -m mails.worker"),
        (430, "python3 gunicorn shop.wsgi:app"),
        (431, "python3 gunicorn shop.wsgi:app"),
        (432, "python3 gunicorn shop.wsgi:app"),
    ];
    let case = |(n, (pid, program)): (u32, (u32, &'static str))| {
        let mut process = fds(holder(pid, "python3", "/usr/bin/python3.12", 9), 10 + u64::from(n), 1_024);
        of(&mut process).program = Some(program.into());
        Case::new(n, 20 + u64::from(n), ignored.clone()).client("10.4.0.9", 5432).held(vec![process]).report()
    };
    (0..).zip(programs).map(case).collect()
}
