//! The server of deep_server.c, in Rust as released: optimised, unwinding by abort, no
//! frame pointers. One of the functions is inlined, one called through a trait object.
use std::hint::black_box;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};

unsafe extern "C" {
    fn prctl(option: i32, ...) -> i32;
}

const PR_SET_PDEATHSIG: i32 = 1;
const SIGKILL: u64 = 9;

#[inline(never)]
fn leak_here(listener: &TcpListener) -> TcpStream {
    black_box(listener.accept().expect("accept").0)
}

#[inline(always)]
fn take_one(listener: &TcpListener) -> TcpStream {
    black_box(leak_here(listener))
}

trait Handle {
    fn handle(&mut self) -> TcpStream;
}

impl Handle for TcpListener {
    #[inline(never)]
    fn handle(&mut self) -> TcpStream {
        black_box(take_one(self))
    }
}

#[inline(never)]
fn dispatch(handler: &mut dyn Handle) -> TcpStream {
    black_box(handler.handle())
}

#[inline(never)]
fn serve<T: Handle>(handler: &mut T) -> TcpStream {
    black_box(dispatch(black_box(handler)))
}

#[inline(never)]
fn run_server(listener: &mut TcpListener) -> TcpStream {
    black_box(serve(listener))
}

#[inline(never)]
fn read_on(stream: &mut TcpStream) -> usize {
    let (mut buf, mut all) = ([0; 256], 0);
    loop {
        match stream.read(&mut buf).expect("read") {
            0 => return black_box(all),
            n => all += n,
        }
    }
}

#[inline(always)]
fn fill_buffer(stream: &mut TcpStream) -> usize {
    black_box(read_on(stream) * 3)
}

#[inline(never)]
fn parse_line(stream: &mut TcpStream) -> usize {
    black_box(fill_buffer(stream) * 5)
}

#[inline(never)]
fn next_request(stream: &mut TcpStream) -> usize {
    black_box(parse_line(stream) * 7)
}

#[inline(never)]
fn converse(stream: &mut TcpStream) -> usize {
    black_box(next_request(stream) * 11)
}

#[inline(never)]
fn run_client(stream: &mut TcpStream) -> usize {
    black_box(converse(stream) * 13)
}

fn main() {
    // SAFETY: it only says which signal comes when the parent ends.
    unsafe { prctl(PR_SET_PDEATHSIG, SIGKILL) };
    let leak: u32 = std::env::args().nth(2).expect("--leak N").parse().expect("a number");
    let mut listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let pid = std::process::id();
    println!("ready port={} pid={pid}", listener.local_addr().expect("an address").port());
    for _ in 0..leak {
        let mut stream = run_server(&mut listener);
        run_client(&mut stream);
        let port = stream.peer_addr().expect("a peer").port();
        println!("leak pid={pid} fd={} port={port}", stream.as_raw_fd());
        // Never closed.
        let _ = stream.into_raw_fd();
    }
    println!("done leaked={leak} closed=0");
    while std::io::stdin().read(&mut [0]).is_ok_and(|n| n > 0) {}
}
