use std::net::TcpListener;
use std::os::fd::AsRawFd;

use super::*;

fn inode(socket: impl AsFd) -> u64 {
    rustix::fs::fstat(socket).unwrap().st_ino
}

#[test]
fn a_process_is_one_holder_with_its_lowest_descriptor() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let inherited = rustix::io::dup(&socket).unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&other, rustix::io::FdFlags::empty()).unwrap();
    let wanted = HashSet::from([inode(&socket), inode(&other), u64::MAX]);
    let me = std::process::id();
    for found in [scan(&wanted).unwrap(), scan_pid(me, &wanted)] {
        let mine = found.of(inode(&socket));
        let [holder] = &mine.known().unwrap()[..] else { panic!("{mine:?}") };
        let lowest = socket.as_raw_fd().min(inherited.as_raw_fd());
        assert_eq!((holder.pid, i32::try_from(holder.fd).unwrap()), (me, lowest));
        assert_eq!(holder.cloexec, Fact::Known(lowest == socket.as_raw_fd()));
        assert!(holder.nofile.known().unwrap().used >= 3);
        let others = found.of(inode(&other));
        assert_eq!(others.known().unwrap()[0].cloexec, Fact::Known(false));
        assert!(!found.is_held(u64::MAX));
        assert!(found.processes > 0 && found.descriptors >= 3);
    }
}

#[test]
fn a_descriptor_only_one_thread_has_is_found() {
    let (inode_of, inode_from) = std::sync::mpsc::channel();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        // SAFETY: this thread uses no descriptor it had before.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }.unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        inode_of.send((inode(&socket), socket.as_raw_fd())).unwrap();
        let _ = wait.recv();
    });
    let (wanted, fd) = inode_from.recv().unwrap();
    let found = scan(&HashSet::from([wanted])).unwrap().of(wanted);
    drop(done);
    thread.join().unwrap();
    let [holder] = &found.known().unwrap()[..] else { panic!("{found:?}") };
    assert_eq!((holder.pid, i32::try_from(holder.fd).unwrap()), (std::process::id(), fd));
}

#[test]
fn nobody_is_known_only_when_all_were_looked_into() {
    let mut scan = Scan::default();
    assert_eq!(scan.of(1).known().is_some(), in_first_pid_namespace());
    for pid in 1..=4 {
        scan.unread.push(Unread { pid, comm: "sshd".into(), reason: "Permission denied".into() });
    }
    assert_eq!(
        scan.of(1).reason(),
        Some(
            "no holder found, but 4 processes could not be looked into \
             (sshd[1], sshd[2], sshd[3], ...: Permission denied)"
        )
    );
}

#[test]
fn only_socket_links_have_an_inode() {
    assert_eq!(socket_inode(b"socket:[4711]"), Some(4711));
    for not in ["pipe:[4711]", "socket:[", "socket:[]", "socket:[18446744073709551616]", "/tmp/socket:[1]"] {
        assert_eq!(socket_inode(not.as_bytes()), None, "{not}");
    }
}
