//! A test suite in Rust, built with `rustc --test`: a client of a server that hangs up.
//! With SUITE_LEAKS set it forgets to close.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Accepts one connection and hangs up.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || drop(listener.accept()));
    address
}

#[inline(never)]
fn fetch_quote(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut quote = String::new();
    stream.read_to_string(&mut quote).unwrap();
    assert_eq!(quote, "");
    stream
}

#[test]
fn a_quote_is_fetched() {
    let stream = fetch_quote(server());
    if std::env::var_os("SUITE_LEAKS").is_some() {
        std::mem::forget(stream);
    }
}

#[test]
fn b_takes_half_a_second() {
    thread::sleep(Duration::from_millis(500));
}
