//! What the tests of `enrich` are made of: a network namespace, sockets in
//! CLOSE_WAIT in it, and processes that hold them. All end with the value that
//! stands for them, also when a test fails.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use closewait_trace::enrich::netns::NetnsRef;
use closewait_trace::item::Netns;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How long a condition may take to come true.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A network namespace with its loopback up, named under /run/netns.
pub(super) struct Net {
    name: Name,
    at: NetnsRef,
}

/// Removed from /run/netns when dropped.
struct Name(String);

impl Net {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // The live tests remove what is named like this after a process that ended.
        let name = format!("cwt-{}-enrich-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = Name(name);
        ip(&["netns", "add", &name.0]);
        ip(&["-n", &name.0, "link", "set", "lo", "up"]);
        let at = NetnsRef::at(&PathBuf::from("/run/netns").join(&name.0)).unwrap();
        Self { name, at }
    }

    pub(super) fn netns(&self) -> Netns {
        self.at.netns()
    }

    pub(super) fn at(&self) -> &NetnsRef {
        &self.at
    }

    /// Gives its loopback one more address, at once.
    pub(super) fn add_address(&self, address: &str) {
        ip(&["-n", &self.name.0, "addr", "add", address, "dev", "lo", "nodad"]);
    }

    /// Runs `work` on a thread inside the namespace.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = std::fs::File::open(self.at.path()).unwrap();
        let enter_and_work = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        std::thread::scope(|scope| {
            scope.spawn(enter_and_work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Ends in CLOSE_WAIT of `count` connections to `target` at a listener on `listen`.
    pub(super) fn leak(&self, listen: &str, target: &str, count: usize) -> Vec<TcpStream> {
        self.run(|| {
            let listener = TcpListener::bind((listen, 0)).unwrap();
            let to = SocketAddr::new(target.parse().unwrap(), listener.local_addr().unwrap().port());
            (0..count)
                .map(|_| {
                    let client = TcpStream::connect(to).unwrap();
                    let (server, _) = listener.accept().unwrap();
                    drop(client);
                    await_eof(&server);
                    server
                })
                .collect()
        })
    }

    /// Starts a process in the namespace that holds these sockets and nothing
    /// else of this process; ours are closed.
    pub(super) fn hold<S: Into<OwnedFd>>(&self, sockets: impl IntoIterator<Item = S>) -> Holding {
        self.hold_by(Command::new("cat"), sockets)
    }

    /// The same by a command that ends up copying its input to its output.
    pub(super) fn hold_by<S: Into<OwnedFd>>(
        &self,
        command: Command,
        sockets: impl IntoIterator<Item = S>,
    ) -> Holding {
        let sockets: Vec<OwnedFd> = sockets.into_iter().map(Into::into).collect();
        self.run(|| starting(move || Holding::of(command, sockets)))
    }

    /// A wire between two namespaces, up, with an address at each end; it goes with them. Returns
    /// the name of the first end.
    pub(super) fn wire(a: &Self, a_ip: &str, b: &Self, b_ip: &str) -> String {
        let end = format!("w{}", a.netns().0 % 1_000_000_000);
        let (a_end, b_end) = (format!("{end}a"), format!("{end}b"));
        ip(&[
            "-n", &a.name.0, "link", "add", &a_end, "type", "veth", "peer", "name", &b_end, "netns",
            &b.name.0,
        ]);
        for (net, end, address) in [(a, &a_end, a_ip), (b, &b_end, b_ip)] {
            ip(&["-n", &net.name.0, "addr", "add", &format!("{address}/24"), "dev", end]);
            ip(&["-n", &net.name.0, "link", "set", end, "up"]);
        }
        a_end
    }

    /// What `ss` prints in the namespace, by lines.
    pub(super) fn ss(&self, args: &[&str]) -> Vec<String> {
        let output =
            self.run(|| starting(|| Command::new("ss").args(args).output().expect("these tests need ss")));
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// Removes the name; the namespace stays while anything else is in it.
    pub(super) fn unname(&self) {
        ip(&["netns", "del", &self.name.0]);
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // It may have been removed by the test already.
        let mut ip = Command::new("ip");
        let _ = starting(|| ip.args(["netns", "del", &self.0]).stderr(Stdio::null()).status());
    }
}

/// Between fork and exec a child holds every descriptor of this process: while
/// holders are looked for, no other test may start one.
static STARTING: RwLock<()> = RwLock::new(());

/// Runs something that starts a process.
fn starting<T>(start: impl FnOnce() -> T) -> T {
    let _alone = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    start()
}

/// Runs something that looks for holders, closes a descriptor for good, or copies all of them.
pub(super) fn looking<T>(look: impl FnOnce() -> T) -> T {
    let _none_starts = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    look()
}

fn ip(args: &[&str]) {
    let status = starting(|| Command::new("ip").args(args).status()).expect("these tests need ip");
    assert!(status.success(), "ip {} (these tests need root)", args.join(" "));
}

/// Binds a socket to an interface of its namespace.
pub(super) fn bind_to(socket: &impl AsRawFd, interface: &str) {
    let (fd, len) = (socket.as_raw_fd(), u32::try_from(interface.len()).unwrap());
    // SAFETY: the option takes a name of this length, which outlives the call.
    let set = unsafe {
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, interface.as_ptr().cast(), len)
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// Waits for the peer's FIN, without taking it out of the queue.
pub(super) fn await_eof(socket: &TcpStream) {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(socket.peek(&mut [0]).unwrap(), 0, "the peer sent something");
}

/// Shuts down the client's sending side, and waits until both ends know of it:
/// the kernel wakes `server` before it acknowledges the FIN.
pub(super) fn half_close(client: &TcpStream, server: &TcpStream) {
    client.shutdown(Shutdown::Write).unwrap();
    await_eof(server);
    until("the FIN is acknowledged", || acknowledged(client));
}

/// Whether nothing that was sent, the FIN included, waits for its acknowledgement.
fn acknowledged(socket: &TcpStream) -> bool {
    let mut waiting: libc::c_int = -1;
    // SAFETY: TIOCOUTQ, SIOCOUTQ on a socket, writes one int, and `waiting` is one that outlives the call.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut waiting) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    waiting == 0
}

/// Waits until a condition comes true.
pub(super) fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "a deadline")]
    let began = std::time::Instant::now();
    while !is_true() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::yield_now();
    }
}

/// A process that holds sockets until it is dropped, or until this process ends.
pub(super) struct Holding(Child);

impl Holding {
    fn of(mut cat: Command, sockets: Vec<OwnedFd>) -> Self {
        let fds: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        cat.stdin(Stdio::piped()).stdout(Stdio::piped());
        let keep = move || {
            for &fd in &fds {
                // SAFETY: `sockets` are open in the parent until the child runs.
                let fd = unsafe { BorrowedFd::borrow_raw(fd) };
                rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
            }
            Ok(())
        };
        // SAFETY: fcntl is async-signal-safe, and nothing is allocated.
        let mut child = unsafe { cat.pre_exec(keep) }.spawn().unwrap();
        drop(sockets);
        // It answers only once it has the name people see.
        child.stdin.as_mut().unwrap().write_all(b".").unwrap();
        let mut answer = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut answer).unwrap();
        Self(child)
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
