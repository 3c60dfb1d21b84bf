//! A leak of one process, how its sockets end, and what is said beside it.

use closewait_trace::clock::MonoNs;
use closewait_trace::fact::Fact;
use closewait_trace::item::{Gap, Netns, Task};
use closewait_trace::report::{Closer, Ending, Level, Notice, Release, Report};
use closewait_trace::tcp::State;
use closewait_trace::tracker::{Released, Since, SocketId};
use closewait_trace::verdict::{Code, Confidence, OpenedVia};

use super::{Case, NOW, ago, fds, holder, stack, tuple, verdict};

/// A leak in one process: `n` sockets from `first` on.
pub(crate) fn leak(first: u32, n: u32, pid: u32) -> Vec<Report> {
    let v = verdict(Code::EofIgnored, Confidence::High, Some(true), &["0 bytes unread"], "Close it.");
    (first..first + n)
        .map(|id| {
            let h = fds(holder(pid, "server", "/usr/bin/server", id), u64::from(id), 20_000);
            let case = Case::new(id, 10 + u64::from(id) / 100, v.clone()).held(vec![h]);
            case.opened(pid, "server", OpenedVia::Accept, Fact::Known(stack(&["serve", "main"]))).report()
        })
        .collect()
}

/// The end of a socket that had been in CLOSE_WAIT for 12 s.
pub(crate) fn release(id: u32, at: MonoNs, how: Fact<Ending>, closer: Fact<Closer>) -> Report {
    Report::Released(Box::new(Release {
        released: Released {
            not_before: None,
            id: SocketId::from_parts(id, 1),
            netns: Netns(4_026_531_840),
            tuple: tuple("10.0.0.1", 8080, "10.0.0.2", 50_000),
            since: Since::Seen(ago(12)),
            at,
            to: Some(State::LastAck),
            by: None,
            was_suspect: true,
        },
        how,
        closer,
        before: None,
        cause: None,
    }))
}

/// Releases of every kind.
pub(crate) fn endings() -> Vec<Report> {
    let mut reports = leak(0, 4, 70);
    let task = Task { pid: 70, tid: 71, comm: "server".into() };
    let collector = Closer {
        task: task.clone(),
        stack: Fact::Known(
            stack(&["net.(*netFD).Close", "runtime.runfinq@mfinal.go:255", "runtime.goexit"]).into(),
        ),
        by_finalizer: true,
    };
    let killer = Closer { task, stack: Fact::unknown("the kernel gave none: EFAULT"), by_finalizer: false };
    reports.push(release(0, NOW, Fact::Known(Ending::Closed), Fact::Known(collector)));
    reports.push(release(1, NOW, Fact::Known(Ending::Destroyed), Fact::Known(killer)));
    let unseen = || Fact::unknown("its last edge was lost");
    reports.push(release(2, NOW, unseen(), Fact::unknown("its last edge was lost")));
    let Report::Released(mut kept) = release(3, NOW, Fact::Known(Ending::Exited), Fact::unknown("it exited"))
    else {
        unreachable!()
    };
    let Report::Stuck(finding) = leak(3, 1, 70).remove(0) else { unreachable!() };
    kept.before = Some(finding);
    reports.push(Report::Released(kept));
    reports
}

/// A loss, and notices of both levels.
pub(crate) fn talk() -> Vec<Report> {
    let gap = Gap { from: ago(2), to: ago(1), enter: 100, leave: 20, malformed: 1, ..Gap::default() };
    let mut reports = vec![Report::Loss(gap)];
    for (level, hint) in [(Level::Note, None), (Level::Warning, Some("run as root\u{1b}[2J".to_owned()))] {
        let text = "no stacks: \u{202e}perf_event_paranoid is 3".to_owned();
        reports.push(Report::Notice(Notice { level, text, hint }));
    }
    reports
}
