//! Sockets that nobody has a descriptor on, and where they are.

use std::io::{IoSlice, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use closewait_trace::enrich::{Enricher, Options};
use closewait_trace::item::{Task, Timer};
use closewait_trace::verdict::Elsewhere;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::iterated::task_files;
use super::net::{Net, await_eof, looking, until};
use super::suspects::{gather_all, snapshot, suspects_of};

/// What is found out about the only socket of a namespace, which nobody holds.
fn only(net: &Net) -> Vec<Elsewhere> {
    let mut enricher = Enricher::new(Options::default()).unwrap();
    enricher.use_task_files(task_files());
    let suspects = suspects_of(&snapshot(&mut enricher, net));
    let [found] = &gather_all(&mut enricher, &suspects)[..] else { panic!("{suspects:?}") };
    assert_eq!(found.holders.known(), Some(&Vec::new()), "{found:?}");
    let found = found.elsewhere.known().unwrap_or_else(|| panic!("{:?}", found.elsewhere)).clone();
    for other in &found {
        // A kernel thread is in no call, and this thread asks.
        if let Elsewhere::Blocked { task, .. } = other {
            let mine = rustix::thread::gettid().as_raw_pid().cast_unsigned();
            assert!(task.tid != mine && task.comm != "kthreadd", "{other:?}");
        }
    }
    found
}

/// Asserts that what is found out about the only socket of a namespace includes this.
fn names(net: &Net, it: impl Fn(&Elsewhere) -> bool) {
    let found = only(net);
    assert!(found.iter().any(it), "{found:?}");
}

fn is_this(task: &Task) -> bool {
    task.pid == std::process::id()
}

#[test]
fn in_flight_over_a_unix_socket() {
    let net = Net::new();
    let leak = net.leak("127.0.0.1", "127.0.0.1", 1).remove(0);
    let (to, from) = UnixStream::pair().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [std::os::fd::AsFd::as_fd(&leak)];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(&to, &[IoSlice::new(b".")], &mut control, SendFlags::empty()).unwrap();
    looking(|| drop(leak));
    let fd = from.as_raw_fd().cast_unsigned();
    names(
        &net,
        |found| matches!(found, Elsewhere::InFlight { receiver, fd: of } if is_this(receiver) && *of == fd),
    );
}

#[test]
fn registered_with_an_io_uring() {
    let net = Net::new();
    let leak = net.leak("127.0.0.1", "127.0.0.1", 1).remove(0);
    let mut params = [0_u32; 30];
    // SAFETY: `params` is a `struct io_uring_params`, 120 bytes that the kernel fills.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    if ring < 0 {
        println!("not tested, no io_uring here: {}", std::io::Error::last_os_error());
        return;
    }
    // SAFETY: the kernel has just given us this descriptor.
    let ring = unsafe { OwnedFd::from_raw_fd(ring.try_into().unwrap()) };
    let files = [leak.as_raw_fd()];
    // SAFETY: IORING_REGISTER_FILES reads one descriptor.
    let result =
        unsafe { libc::syscall(libc::SYS_io_uring_register, ring.as_raw_fd(), 2, files.as_ptr(), 1) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    looking(|| drop(leak));
    let fd = ring.as_raw_fd().cast_unsigned();
    names(&net, |found| matches!(found, Elsewhere::IoUring { owner, fd: of } if is_this(owner) && *of == fd));
}

#[test]
fn under_a_call_whose_descriptor_was_closed() {
    let net = Net::new();
    let (near, reads_nothing) = net.run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, client)
    });
    reads_nothing.shutdown(Shutdown::Write).unwrap();
    await_eof(&near);
    // A number that nobody gets anew when it is free again.
    let mut kept = TcpStream::from(rustix::io::fcntl_dupfd_cloexec(&near, 700).unwrap());
    looking(|| drop(near));
    let fd = kept.as_raw_fd();
    let (tid_of, tid_from) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        tid_of.send(rustix::thread::gettid()).unwrap();
        let full = std::iter::repeat_with(|| kept.write(&[0; 1 << 12])).find(Result::is_err);
        // Its descriptor was closed below.
        std::mem::forget(kept);
        full
    });
    let tid = tid_from.recv().unwrap().as_raw_nonzero().get().cast_unsigned();
    // For good: the peer's window is closed, and the writer asleep in its call.
    let mut enricher = Enricher::new(Options::default()).unwrap();
    until("the writer blocks", || {
        let closed = snapshot(&mut enricher, &net).sockets.iter().all(|s| s.timer == Timer::Persist);
        let state = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).unwrap();
        let call = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).unwrap();
        let asleep = state.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'));
        closed && asleep && call.split(' ').nth(1) == Some(&format!("{fd:#x}"))
    });
    // SAFETY: nobody uses the descriptor but the thread, which does not close it.
    looking(|| drop(unsafe { OwnedFd::from_raw_fd(fd) }));
    names(&net, |found| match found {
        Elsewhere::Blocked { task, syscall } => {
            is_this(task) && task.tid == tid && ["write", "sendto"].contains(&&**syscall)
        }
        _ => false,
    });
    drop(reads_nothing);
    writer.join().unwrap();
}
