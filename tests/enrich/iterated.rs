//! The kernel's iterator over descriptors against the walk through /proc.

use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use closewait_trace::enrich::holders::{iterated, scan};
use closewait_trace::fact::Fact;
use closewait_trace::kernel::load::{self, Settings};
use closewait_trace::kernel::plan::plan;
use closewait_trace::kernel::support::{BTF_PATH, Support};
use closewait_trace::kernel::task_files::TaskFiles;
use closewait_trace::verdict::Holder;
use hashbrown::HashSet;

use super::net::{Net, looking};

/// The iterator, and what keeps it company.
pub(super) fn task_files() -> TaskFiles {
    let support = Support::probe(Path::new(BTF_PATH));
    let plan = plan(&support, &[]).unwrap();
    let mut loaded = load::load(&support, &plan, &Settings::default()).unwrap();
    loaded.task_files.take().unwrap_or_else(|| panic!("{:?}", loaded.served))
}

fn inode(socket: impl AsFd) -> u64 {
    rustix::fs::fstat(socket).unwrap().st_ino
}

/// Without what changes while other tests run in this process.
fn steady(mut holders: Vec<Holder>) -> Vec<Holder> {
    for holder in &mut holders {
        if holder.pid == std::process::id() {
            Arc::make_mut(&mut holder.process).nofile = Fact::unknown("changes");
        }
    }
    holders
}

#[test]
fn iterator_and_proc_name_the_same_holders() {
    let net = Net::new();
    let files = task_files();
    let dup = |socket: &OwnedFd| socket.try_clone().unwrap();
    let sockets = |count| -> Vec<OwnedFd> {
        net.leak("127.0.0.1", "127.0.0.1", count).into_iter().map(Into::into).collect()
    };

    // Held here, by two descriptors, and by another process as well.
    let shared = sockets(3);
    let again: Vec<_> = shared.iter().map(dup).collect();
    let heir = net.hold(shared.iter().map(dup).collect::<Vec<_>>());
    // Held by others only: in a pid namespace of their own, and beside it (unshare stays).
    let elsewhere = sockets(5);
    let wanted_elsewhere: Vec<_> = elsewhere.iter().map(inode).collect();
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--kill-child", "cat"]);
    let below = net.hold_by(unshare, elsewhere);
    // Not closed on exec.
    let inherited: OwnedFd = net.run(|| TcpListener::bind("127.0.0.1:0").unwrap()).into();
    rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
    // In the table of one thread only.
    let (inode_of, inode_from) = std::sync::mpsc::channel();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        // Not while a process is started, whose output would not end before this thread does.
        // SAFETY: this thread uses no descriptor it had before.
        looking(|| unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        inode_of.send((inode(&socket), socket.as_raw_fd())).unwrap();
        let _ = wait.recv();
    });
    let (of_thread, thread_fd) = inode_from.recv().unwrap();

    let mut wanted: HashSet<u64> = shared.iter().map(inode).chain(wanted_elsewhere.clone()).collect();
    wanted.extend([inode(&inherited), of_thread, u64::MAX]);
    let (iterated, walked) = looking(|| (iterated::scan(&files, &wanted).unwrap(), scan(&wanted).unwrap()));
    for &inode in &wanted {
        let (a, b) = (steady(iterated.found(inode)), steady(walked.found(inode)));
        assert_eq!(a, b, "inode {inode}");
        assert_eq!(iterated.is_held(inode), inode != u64::MAX);
        assert_eq!((iterated.sk(inode).is_some(), walked.sk(inode)), (inode != u64::MAX, None));
    }
    let pids = |inode| -> Vec<u32> { iterated.found(inode).iter().map(|h| h.pid).collect() };
    let mut both = [std::process::id(), heir.pid()];
    both.sort_unstable();
    for socket in &shared {
        assert_eq!(pids(inode(socket)), both);
    }
    for &inode in &wanted_elsewhere {
        assert!(pids(inode).len() == 2 && pids(inode).contains(&below.pid()), "{:?}", pids(inode));
    }
    assert_eq!(iterated.found(inode(&inherited))[0].cloexec, Fact::Known(false));
    let in_thread = iterated.found(of_thread);
    assert_eq!(i32::try_from(in_thread[0].fd).unwrap(), thread_fd);
    drop(done);
    thread.join().unwrap();
    drop(again);
}
