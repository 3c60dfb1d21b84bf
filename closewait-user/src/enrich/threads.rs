//! What the threads of a process do now, and for how long at least.
//!
//! In: pids. Out: [`Threads`]. A bounded number of threads is looked at; what they
//! did is remembered until the next look, so that a thread that has not run since
//! is known to have been where it is for as long. It only reads /proc: nothing is
//! stopped, traced or duplicated. A socket that a thread waits on is named from the
//! tables of the kernel, which is done for threads that keep still, within bounds.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use rustix::fs::CWD;

use super::memory;
use super::procfs::{open_dir, read};
use super::sockets::Sockets;
use super::syscalls::{First, first, name};
use crate::clock::{Clock, MonoNs};
use crate::fact::Fact;
use crate::item::{DiagSocket, Netns};
use crate::tcp::State;
use crate::verdict::{Doing, Progress, Target, Thread, Threads};

/// So many threads of one process are looked at: five files each, 60 us together.
const THREADS_MAX: usize = 32;
/// And so many of all processes at a time, or a few more: 8 ms.
const AT_A_TIME: usize = 4 * THREADS_MAX;
/// A look is good for so long.
const FRESH: Duration = Duration::from_millis(200);
/// What is known of a process is kept so long without a look.
const KEPT: Duration = Duration::from_mins(1);
/// The second look at a process, which shows what keeps still, comes before others' first within
/// so long.
const SECOND_WITHIN: Duration = Duration::from_secs(5);
/// What was seen is kept of so many processes, 10 KiB each at most.
const SEEN_MAX: usize = 64;
/// When a process had its turn is known so long.
const TURNS_KEPT: Duration = Duration::from_mins(10);

/// Listing all sockets of a namespace may take one part in so many of the time.
const LISTING_SHARE: u32 = 20;
/// States of a socket that a thread may wait on.
const WAITED_ON: [State; 7] = [
    State::Established,
    State::SynSent,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::LastAck,
    State::Listen,
];

/// Remembers what threads did.
pub(super) struct ThreadWatch {
    /// [`AT_A_TIME`]
    at_a_time: usize,
    seen: HashMap<u32, Seen>,
    /// When each was looked at.
    turns: HashMap<u32, MonoNs>,
    /// No socket is named before.
    next_listing: MonoNs,
}

impl Default for ThreadWatch {
    fn default() -> Self {
        Self { at_a_time: AT_A_TIME, seen: HashMap::new(), turns: HashMap::new(), next_listing: MonoNs(0) }
    }
}

/// What was seen of a process.
struct Seen {
    at: MonoNs,
    /// More than once.
    again: bool,
    threads: Fact<Arc<Threads>>,
    past: HashMap<u32, Past>,
}

impl Seen {
    /// How many threads were looked at, and one for the process.
    fn threads(&self) -> usize {
        1 + self.past.len()
    }
}

/// A thread at an earlier look.
struct Past {
    stat: Stat,
    switches: u64,
    call: String,
    doing: Doing,
    /// It has not run since.
    still_since: MonoNs,
    at: MonoNs,
}

impl ThreadWatch {
    /// A look at each process, which has a socket in this namespace, in the order of
    /// their importance. Of more than are looked at in one call, those come first that were
    /// not looked at for longest; the others are unknown.
    pub(super) fn look(
        &mut self,
        processes: &[(u32, Netns)],
        sockets: &mut Sockets,
        now: MonoNs,
    ) -> HashMap<u32, Fact<Arc<Threads>>> {
        self.seen.retain(|_, seen| now.since(seen.at) < KEPT);
        self.turns.retain(|_, at| now.since(*at) < TURNS_KEPT);
        let fresh = processes.iter().filter_map(|(pid, _)| self.fresh(*pid, now));
        let mut looked_at: usize = fresh.map(Seen::threads).sum();
        for (pid, netns) in self.turn(processes, now) {
            if looked_at >= self.at_a_time {
                break;
            }
            if self.fresh(pid, now).is_some() {
                // By an earlier call, or by this one: it may have sockets in two namespaces.
                continue;
            }
            let before = self.seen.remove(&pid);
            let again = before.is_some();
            let past = before.map(|seen| seen.past).unwrap_or_default();
            let mut here = HashMap::new();
            let threads = self.process(pid, netns, sockets, &past, &mut here);
            let seen = Seen { at: now, again, threads, past: here };
            looked_at += seen.threads();
            self.seen.insert(pid, seen);
            self.turns.insert(pid, now);
        }
        while self.seen.len() > SEEN_MAX
            && let Some(oldest) = self.seen.iter().min_by_key(|(_, seen)| seen.at).map(|(pid, _)| *pid)
        {
            self.seen.remove(&oldest);
        }
        let told = |pid| match self.fresh(pid, now) {
            Some(seen) => seen.threads.clone(),
            None => Fact::unknown(format!(
                "not looked at, where only some {} threads are in one round",
                self.at_a_time
            )),
        };
        processes.iter().map(|&(pid, _)| (pid, told(pid))).collect()
    }

    /// What was seen of `pid`, if that is good still.
    fn fresh(&self, pid: u32, now: MonoNs) -> Option<&Seen> {
        self.seen.get(&pid).filter(|seen| now.since(seen.at) < FRESH)
    }

    /// All of them, in the order of their turns.
    fn turn(&self, processes: &[(u32, Netns)], now: MonoNs) -> Vec<(u32, Netns)> {
        let mut due = processes.to_vec();
        // Never is longest ago; the order is kept among equals.
        due.sort_by_key(|(pid, _)| match self.seen.get(pid) {
            Some(seen) if !seen.again && now.since(seen.at) < SECOND_WITHIN => (false, MonoNs(0)),
            _ => (true, self.turns.get(pid).copied().unwrap_or(MonoNs(0))),
        });
        due
    }

    fn process(
        &mut self,
        pid: u32,
        netns: Netns,
        sockets: &mut Sockets,
        past: &HashMap<u32, Past>,
        now: &mut HashMap<u32, Past>,
    ) -> Fact<Arc<Threads>> {
        match threads(pid, past, now) {
            Ok(mut threads) => {
                self.name_sockets(&mut threads, netns, sockets);
                for thread in &threads.seen {
                    if let Some(past) = now.get_mut(&thread.tid) {
                        past.doing.clone_from(&thread.doing);
                    }
                }
                Fact::Known(Arc::new(threads))
            }
            Err(error) => Fact::unknown(format!("cannot read /proc/{pid}/task: {error}")),
        }
    }

    /// Names the sockets that threads wait on, if one of them has kept still.
    fn name_sockets(&mut self, threads: &mut Threads, netns: Netns, sockets: &mut Sockets) {
        let waits = |thread: &Thread| {
            matches!(thread.progress, Some(Progress::Still(_))) && socket_of(&thread.doing).is_some()
        };
        let began = Clock::mono_now();
        if began < self.next_listing || !threads.seen.iter().any(waits) {
            return;
        }
        let Ok(listed) = sockets.list(netns, &WAITED_ON) else { return };
        self.next_listing = began + Clock::mono_now().since(began) * LISTING_SHARE;
        let by_inode: HashMap<u64, &DiagSocket> =
            listed.sockets.iter().map(|socket| (socket.inode, socket)).collect();
        for thread in &mut threads.seen {
            let Some((fd, inode)) = socket_of(&thread.doing) else { continue };
            let Some(DiagSocket { tuple, state, .. }) = by_inode.get(&inode) else { continue };
            let end = if *state == State::Listen { tuple.local } else { tuple.remote };
            if let Doing::Call { on, .. } = &mut thread.doing {
                *on = Some(Target::Tcp { fd, state: *state, end });
            }
        }
    }
}

/// The descriptor and the inode of a socket that is not named yet.
fn socket_of(doing: &Doing) -> Option<(u32, u64)> {
    match doing {
        Doing::Call { on: Some(Target::File { fd, link: Some(link) }), .. } => {
            let inode = link.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some((*fd, inode.parse().ok()?))
        }
        _ => None,
    }
}

fn threads(pid: u32, past: &HashMap<u32, Past>, now: &mut HashMap<u32, Past>) -> io::Result<Threads> {
    let dir = open_dir(CWD, format!("/proc/{pid}/task"))?;
    // In the order of their creation (next_tid in fs/proc/base.c): the main thread first.
    let mut tids = Vec::new();
    let mut total = 0;
    for entry in rustix::fs::Dir::read_from(&dir)? {
        if let Ok(tid) = entry?.file_name().to_string_lossy().parse() {
            total += 1;
            if tids.len() < THREADS_MAX {
                tids.push(tid);
            }
        }
    }
    let mut seen = Vec::new();
    for tid in tids {
        match thread(dir.as_fd(), (pid, tid), past.get(&tid)) {
            Ok((thread, here)) => {
                seen.push(thread);
                now.insert(tid, here);
            }
            // It has ended.
            Err(error) if super::netns::is_gone(&error) => total -= 1,
            Err(error) => return Err(error),
        }
    }
    Ok(Threads { pid, total, seen })
}

fn thread(task: BorrowedFd<'_>, (pid, tid): (u32, u32), past: Option<&Past>) -> io::Result<(Thread, Past)> {
    let dir = open_dir(task, format!("{tid}"))?;
    let text = read(dir.as_fd(), "stat")?;
    let (comm, stat) = stat(&text).ok_or_else(|| io::Error::other(format!("{tid}/stat does not say")))?;
    let switches = switches(&read(dir.as_fd(), "status")?);
    let call = read(dir.as_fd(), "syscall");
    let wchan = read(dir.as_fd(), "wchan").ok().filter(|name| !name.is_empty() && name != "0");
    let at = Clock::mono_now();
    let same = past.filter(|past| past.stat.started == stat.started);
    let text = call.as_deref().unwrap_or_default();
    let ran = |past: &Past| past.stat != stat || past.switches != switches || past.call != text;
    let still = same.filter(|past| stat.state != 'R' && !ran(past));
    let doing = match (stat.state, &call) {
        ('T' | 't', _) => Doing::Stopped,
        _ if wchan.as_deref().is_some_and(|wchan| is_frozen(stat.state, wchan)) => Doing::Frozen,
        ('Z' | 'X', _) => Doing::Ended,
        ('R', _) => Doing::Running,
        (_, Err(error)) => Doing::Unknown(format!("cannot read its system call: {error}")),
        (_, Ok(call)) => still.map_or_else(|| doing(call, (pid, tid), &dir), |still| still.doing.clone()),
    };
    let progress = same.map(|past| match still {
        Some(still) => Progress::Still(at.since(still.still_since)),
        None => {
            Progress::Ran { cpu: ticks(stat.cpu.saturating_sub(past.stat.cpu)), within: at.since(past.at) }
        }
    });
    let still_since = still.map_or(at, |still| still.still_since);
    let here = Past { stat, switches, call: text.to_owned(), doing: doing.clone(), still_since, at };
    Ok((Thread { tid, comm, doing, wchan, progress }, here))
}

/// Whether a thread in this state that sleeps in this function is frozen with its cgroup: by the
/// freezer of cgroup v1 (or for a suspend), or by that of v2, whose trap is inlined as a rule. Nobody else
/// sleeps there in that state.
fn is_frozen(state: char, wchan: &str) -> bool {
    // Without what a compiler adds: `do_sigtimedwait.isra.0`.
    let function = wchan.split('.').next().unwrap_or_default();
    match function {
        "__refrigerator" => matches!(state, 'D' | 'S'),
        "do_freezer_trap" | "get_signal" => state == 'S',
        // Since 6.1 the freezer of v1 leaves those asleep that may be frozen there (TASK_FREEZABLE).
        _ => state == 'D' && FREEZABLE.contains(&function),
    }
}

/// Sleeps with TASK_FREEZABLE, by old and new names, in which nobody is uninterruptible otherwise: of
/// nanosleep(2), futex(2), sigtimedwait(2) and of reads from a unix socket.
const FREEZABLE: [&str; 8] = [
    "hrtimer_nanosleep",
    "do_nanosleep",
    "futex_do_wait",
    "futex_wait_queue",
    "futex_wait_queue_me",
    "do_sigtimedwait",
    "unix_stream_read_generic",
    "unix_stream_data_wait",
];

/// What `stat` tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stat {
    state: char,
    /// utime and stime, in ticks.
    cpu: u64,
    /// When it began, in ticks since boot: tells it from another one of this number.
    started: u64,
}

/// Name and numbers; the name stands in brackets and may have brackets in it.
pub(super) fn stat(text: &str) -> Option<(String, Stat)> {
    let (head, rest) = text.rsplit_once(") ")?;
    let (_, comm) = head.split_once(" (")?;
    let mut words = rest.split_ascii_whitespace();
    let state = words.next()?.chars().next()?;
    let number = |word: Option<&str>| word?.parse::<u64>().ok();
    // Field 3 is the state; utime is 14, stime 15, starttime 22.
    let (utime, stime) = (number(words.nth(10))?, number(words.next())?);
    let started = number(words.nth(6))?;
    Some((comm.to_owned(), Stat { state, cpu: utime.saturating_add(stime), started }))
}

/// How often it was switched away from.
pub(super) fn switches(status: &str) -> u64 {
    let counts = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
    counts.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).fold(0, u64::saturating_add)
}

/// CPU time of so many ticks.
fn ticks(count: u64) -> Duration {
    Duration::from_millis(count.saturating_mul(1000) / rustix::param::clock_ticks_per_second().max(1))
}

/// A line of `syscall`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Line {
    Running,
    /// Asleep, but not in a system call.
    Outside,
    /// Number, arguments, stack pointer.
    In(i64, [u64; 6], u64),
}

/// `running`, `-1 SP PC`, or `NUMBER ARGUMENTS SP PC` (`proc_pid_syscall` in fs/proc/base.c).
pub(super) fn line(text: &str) -> Option<Line> {
    let mut words = text.split_ascii_whitespace();
    let number = match words.next()? {
        "running" => return Some(Line::Running),
        number => number.parse().ok()?,
    };
    if number == -1 {
        return Some(Line::Outside);
    }
    let mut hex = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = hex()?;
    }
    Some(Line::In(number, arguments, hex()?))
}

fn doing(text: &str, task: (u32, u32), dir: &OwnedFd) -> Doing {
    let (number, arguments, sp) = match line(text) {
        Some(Line::In(number, arguments, sp)) => (number, arguments, sp),
        Some(Line::Outside) => return Doing::Faulting,
        Some(Line::Running) => return Doing::Running,
        None => return Doing::Unknown(format!("its system call reads {:?}", text.trim())),
    };
    if cfg!(target_pointer_width = "64") && u32::try_from(sp).is_ok() {
        // A 32-bit program, most likely: other numbers and other structures.
        return Doing::Call { name: format!("system call {number} of a 32-bit program"), on: None };
    }
    let Some(name) = name(number) else {
        return Doing::Call { name: format!("system call {number}"), on: None };
    };
    let fd = |word: u64| u32::try_from(word & 0xffff_ffff).ok().filter(|fd| i32::try_from(*fd).is_ok());
    let on = match first(name) {
        First::Fd => fd(arguments[0]).map(|fd| file(dir, fd)),
        First::Connect => address(task, arguments[1], arguments[2])
            .map(Target::Address)
            .or(fd(arguments[0]).map(|fd| file(dir, fd))),
        First::PollFds if arguments[1] == 1 => polled(task, arguments[0]).map(|fd| file(dir, fd)),
        First::PollFds | First::Other => None,
    };
    Doing::Call { name: name.to_owned(), on }
}

fn file(dir: &OwnedFd, fd: u32) -> Target {
    let link = rustix::fs::readlinkat(dir, format!("fd/{fd}"), Vec::new());
    Target::File { fd, link: link.ok().map(|link| link.to_string_lossy().into_owned()) }
}

/// Bytes of its memory.
fn peek<const N: usize>(task: (u32, u32), at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    memory::read(task, at, &mut bytes).then_some(bytes)
}

/// The descriptor in a `struct pollfd`.
fn polled(task: (u32, u32), at: u64) -> Option<u32> {
    u32::try_from(i32::from_ne_bytes(peek(task, at)?)).ok()
}

/// The address that a `struct sockaddr` of this length holds.
fn address(task: (u32, u32), at: u64, length: u64) -> Option<String> {
    if length >= 28 { sockaddr(&peek::<28>(task, at)?) } else { sockaddr(&peek::<16>(task, at)?) }
}

pub(super) fn sockaddr(bytes: &[u8]) -> Option<String> {
    let (family, rest) = bytes.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let port = u16::from_be_bytes(*port);
    let address: SocketAddr = match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => (Ipv4Addr::from(*rest.first_chunk::<4>()?), port).into(),
        libc::AF_INET6 => (Ipv6Addr::from(*rest.get(4..)?.first_chunk::<16>()?), port).into(),
        _ => return None,
    };
    Some(address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_brackets_and_blanks() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 7 3 0 0 20 0 1 0 4711 1 1";
        let expected = Stat { state: 'S', cpu: 10, started: 4711 };
        for comm in ["main", "a) R (b", "", ") "] {
            assert_eq!(stat(&format!("812 ({comm}) {rest}")), Some((comm.to_owned(), expected)), "{comm:?}");
        }
        for bad in ["", "812 (main", "812 (main) S 1 2"] {
            assert_eq!(stat(bad), None, "{bad:?}");
        }
        assert_eq!(switches("x\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n"), 42);
    }

    /// As 6.18 shows them, frozen by the freezer of cgroup v1 and of v2, and not.
    #[test]
    fn who_is_frozen_is_known_by_where_it_sleeps() {
        for (state, wchan, frozen) in [
            ('D', "__refrigerator", true),
            ('D', "hrtimer_nanosleep", true),
            ('D', "futex_do_wait", true),
            ('D', "do_sigtimedwait.isra.0", true),
            ('D', "unix_stream_read_generic", true),
            ('S', "get_signal", true),
            ('S', "get_signal.isra.0", true),
            ('S', "hrtimer_nanosleep", false),
            ('S', "futex_do_wait", false),
            ('S', "poll_schedule_timeout.constprop.0", false),
            ('D', "folio_wait_bit_common", false),
            ('D', "get_signal", false),
            ('S', "0", false),
            ('D', "", false),
        ] {
            assert_eq!(is_frozen(state, wchan), frozen, "{state} {wchan}");
        }
    }

    /// Rounds are ten seconds apart, and their two looks 400 ms.
    fn at(began: MonoNs, call: u64) -> MonoNs {
        began + Duration::from_secs(1 + call / 2 * 10) + Duration::from_millis(call % 2 * 400)
    }

    fn looked_at(watch: &ThreadWatch, now: MonoNs) -> Vec<u32> {
        let mut pids: Vec<_> =
            watch.turns.iter().filter(|(_, at)| **at == now).map(|(pid, _)| *pid).collect();
        pids.sort_unstable();
        pids
    }

    #[test]
    fn of_many_processes_each_has_its_turn_and_both_of_its_looks() {
        let mut sleepers: Vec<_> =
            (0..11).map(|_| std::process::Command::new("sleep").arg("60").spawn().expect("sleep")).collect();
        let processes: Vec<_> = sleepers.iter().map(|sleeper| (sleeper.id(), Netns(1))).collect();
        let mut sockets = Sockets::new(Some("test".into())).expect("namespaces");
        let began = Clock::mono_now();
        let mut watch = ThreadWatch::default();
        let twice: Vec<_> =
            processes.iter().flat_map(|&(pid, _)| [(pid, Netns(1)), (pid, Netns(2))]).collect();
        let all = watch.look(&twice, &mut sockets, began);
        assert!(watch.seen.values().all(|seen| !seen.again), "two namespaces are no two looks");
        assert!(all.values().all(|threads| threads.known().is_some()), "there is room for all");
        // A process and its thread, four times.
        let mut watch = ThreadWatch { at_a_time: 8, ..ThreadWatch::default() };
        let mut looks = Vec::new();
        for call in 0..6 {
            let now = at(began, call);
            let told = watch.look(&processes, &mut sockets, now);
            let known = told.values().filter(|threads| threads.known().is_some()).count();
            looks.push((looked_at(&watch, now), known));
        }
        for sleeper in &mut sleepers {
            sleeper.kill().and_then(|()| sleeper.wait()).expect("a child");
        }
        let pids = |range: std::ops::Range<usize>| -> Vec<u32> {
            let mut pids: Vec<_> = processes[range].iter().map(|(pid, _)| *pid).collect();
            pids.sort_unstable();
            pids
        };
        for (round, range) in [0..4, 4..8].into_iter().enumerate() {
            assert_eq!(looks[round * 2], (pids(range.clone()), 4), "round {round}");
            assert_eq!(looks[round * 2 + 1], (pids(range), 4), "round {round}");
        }
        // And the next of the first ones, another at each call.
        assert!(pids(8..11).iter().all(|pid| looks[4].0.contains(pid) && looks[5].0.contains(pid)));
        assert_eq!((looks[4].1, looks[5].1), (4, 4));
    }

    #[test]
    fn of_more_than_are_kept_each_has_its_turn_all_the_same() {
        // Numbers that no process has.
        let processes: Vec<_> = (0..100).map(|n| (u32::MAX - n, Netns(1))).collect();
        let mut watch = ThreadWatch { at_a_time: 4, ..ThreadWatch::default() };
        let mut sockets = Sockets::new(Some("test".into())).expect("namespaces");
        let began = Clock::mono_now();
        let mut turns = HashMap::<u32, u32>::new();
        for call in 0..100 {
            let now = at(began, call);
            watch.look(&processes, &mut sockets, now);
            for pid in looked_at(&watch, now) {
                *turns.entry(pid).or_default() += 1;
            }
            assert!(watch.seen.len() <= SEEN_MAX);
            let soon = now + Duration::from_millis(1);
            watch.look(&processes, &mut sockets, soon);
            assert!(looked_at(&watch, soon).is_empty(), "at once again");
        }
        assert_eq!(turns.len(), processes.len());
        assert!(turns.values().all(|turns| *turns == 4), "{turns:?}");
    }

    #[test]
    fn lines_of_syscall() {
        let read = line("0 0x5 0x7f 0x40 0x0 0x0 0x0 0x7ffd1000 0x7f88\n");
        assert_eq!(read, Some(Line::In(0, [5, 0x7f, 0x40, 0, 0, 0], 0x7ffd_1000)));
        assert_eq!(line("running\n"), Some(Line::Running));
        assert_eq!(line("-1 0x7ffd 0x55\n"), Some(Line::Outside));
        for bad in ["", "x", "5", "5 0x1 0x2", "5 1 2 3 4 5 6 7 8"] {
            assert_eq!(line(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn addresses_in_memory() {
        let mut v4 = [0; 16];
        v4[..2].copy_from_slice(&2_u16.to_ne_bytes());
        v4[2..8].copy_from_slice(&[0x15, 0x38, 10, 0, 0, 9]);
        assert_eq!(sockaddr(&v4).as_deref(), Some("10.0.0.9:5432"));
        let mut v6 = [0; 28];
        v6[..2].copy_from_slice(&10_u16.to_ne_bytes());
        v6[2..4].copy_from_slice(&[0, 80]);
        v6[23] = 1;
        assert_eq!(sockaddr(&v6).as_deref(), Some("[::1]:80"));
        assert_eq!(sockaddr(&[1, 0, b'/', b't']), None);
        assert_eq!(sockaddr(&[2]), None);
    }
}
