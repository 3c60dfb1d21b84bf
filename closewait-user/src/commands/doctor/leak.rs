//! A leak to be found: in a network namespace of its own, a thread accepts a connection,
//! reads its EOF, and does not close. Nothing outside of the namespace is touched, and it
//! goes with the thread.

use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::sched::{CloneFlags, unshare};

/// The thread; the socket is closed when this is dropped.
pub(super) struct Leak {
    orders: Option<Sender<()>>,
    answers: Receiver<io::Result<i32>>,
    thread: Option<JoinHandle<()>>,
    tid: i32,
}

impl Leak {
    /// Makes the namespace, with nothing in it yet.
    ///
    /// # Errors
    /// When there is no privilege to make one (CAP_SYS_ADMIN).
    pub(super) fn prepare() -> io::Result<Self> {
        let (orders, to_do) = channel();
        let (answer, answers) = channel();
        let thread = std::thread::Builder::new().name("self-test".into()).spawn(move || {
            let prepared = listen();
            let tid = rustix::thread::gettid().as_raw_nonzero().get();
            let listener = prepared.map(|listener| (listener, tid));
            let Ok(listener) = report(listener, &answer) else { return };
            if to_do.recv().is_err() {
                return;
            }
            let leaked = leak(&listener);
            let fd = leaked.as_ref().map(AsRawFd::as_raw_fd).map_err(|error| io::Error::from(error.kind()));
            // Kept until nobody asks for more.
            let _ = answer.send(fd);
            let _ = to_do.recv();
        })?;
        let mut made = Self { orders: Some(orders), answers, thread: Some(thread), tid: 0 };
        made.tid = made.answer()?;
        Ok(made)
    }

    /// The file of the namespace.
    pub(super) fn netns(&self) -> String {
        format!("/proc/{}/task/{}/ns/net", std::process::id(), self.tid)
    }

    /// Leaks a socket; its descriptor.
    pub(super) fn leak(&self) -> io::Result<i32> {
        if let Some(orders) = &self.orders {
            let _ = orders.send(());
        }
        self.answer()
    }

    fn answer(&self) -> io::Result<i32> {
        self.answers.recv().unwrap_or_else(|_| Err(io::Error::other("its thread has ended")))
    }
}

impl Drop for Leak {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Tells the number or the error; keeps the rest.
fn report<T>(made: io::Result<(T, i32)>, answer: &Sender<io::Result<i32>>) -> Result<T, ()> {
    match made {
        Ok((made, number)) => answer.send(Ok(number)).map(|()| made).map_err(drop),
        Err(error) => {
            let _ = answer.send(Err(error));
            Err(())
        }
    }
}

fn listen() -> io::Result<TcpListener> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    loopback_up()?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

/// Accepts a connection whose client closes, and is told so.
fn leak(listener: &TcpListener) -> io::Result<TcpStream> {
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    drop(client);
    let read = server.read(&mut [0])?;
    debug_assert_eq!(read, 0, "nothing was sent");
    Ok(server)
}

/// Sets the loopback device up, by RTM_NEWLINK (rtnetlink(7)).
fn loopback_up() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const LOOPBACK: u32 = 1;
    const IFF_UP: u32 = 1;
    let mut message = Vec::with_capacity(32);
    message.extend(32_u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    // Sequence and port, then family and type of the device.
    message.extend([0; 12]);
    for member in [LOOPBACK, IFF_UP, IFF_UP] {
        message.extend(member.to_ne_bytes());
    }
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.send(&message, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    // An acknowledgement is a header and an error number, 0 or negative.
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match error {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
        None => Err(io::Error::other("the kernel's answer is too short")),
    }
}
