//! Which addresses are of this host, by network namespace (RTM_GETADDR).
//!
//! In: namespaces. Out: the namespaces that have an address. Asked only when
//! somebody's peer has an address that is not a loopback one, and then remembered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::{Buf, BufMut};
use hashbrown::HashMap;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::net::sockopt::{self, Timeout};

use super::netns::NetnsRef;
use super::sockets::Sockets;
use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::interrupt::UNLOOKED;
use crate::item::Netns;

/// Addresses are asked for anew after so long.
const FRESH: Duration = Duration::from_secs(30);
/// The kernel answers within the call that asks.
const PATIENCE: Duration = Duration::from_secs(1);

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const REQUEST_DUMP: u16 = 0x301;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const HEADER: usize = 16;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Addresses {
    asked: Option<MonoNs>,
    by_ip: HashMap<IpAddr, Vec<Netns>>,
    /// Why some are missing.
    missing: Option<String>,
}

impl Addresses {
    /// Asks every namespace, unless that was done a moment ago.
    pub(super) fn refresh(&mut self, sockets: &Sockets, now: MonoNs) {
        if self.asked.is_some_and(|asked| now.since(asked) < FRESH) {
            return;
        }
        *self = Self { asked: Some(now), ..Self::default() };
        for at in sockets.namespaces().iter() {
            if sockets.interrupt().is_over() {
                self.missing = Some(UNLOOKED.to_owned());
                break;
            }
            match of(at) {
                Ok(addresses) => {
                    for ip in addresses {
                        self.by_ip.entry(ip).or_default().push(at.netns());
                    }
                }
                Err(reason) => {
                    self.missing = Some(format!("addresses of network namespace {}: {reason}", at.netns().0));
                }
            }
        }
    }

    /// The namespaces in which the peer of a connection from `netns` to `ip` may be,
    /// the connection's own first; none when the address is not of this host.
    pub(super) fn namespaces(&self, netns: Netns, ip: IpAddr) -> impl Iterator<Item = Netns> {
        let all = if ip.is_loopback() { None } else { self.by_ip.get(&ip) };
        let all = all.map(Vec::as_slice).unwrap_or_default();
        let own = (ip.is_loopback() || all.contains(&netns)).then_some(netns);
        own.into_iter().chain(all.iter().copied().filter(move |at| *at != netns))
    }

    /// Whether an address is of this namespace.
    pub(super) fn has(&self, netns: Netns, ip: IpAddr) -> bool {
        self.namespaces(netns, ip).next() == Some(netns)
    }

    /// What it means that no namespace was found for an address.
    pub(super) fn is_known<T>(&self, ip: IpAddr) -> Fact<Option<T>> {
        match &self.missing {
            Some(reason) => Fact::unknown(format!("{ip} may be of this host; {reason}")),
            None => Fact::Known(None),
        }
    }
}

/// The addresses of a namespace but loopback and link-local ones, which say nothing
/// of where a peer is.
fn of(at: &NetnsRef) -> Result<Vec<IpAddr>, String> {
    at.run(|| ask().map_err(|e| e.to_string())).map_err(|e| e.to_string())?
}

fn ask() -> std::io::Result<Vec<IpAddr>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let mut request = Vec::with_capacity(HEADER + 8);
    request.put_u32_ne(24);
    request.put_u16_ne(RTM_GETADDR);
    request.put_u16_ne(REQUEST_DUMP);
    request.put_u32_ne(1);
    request.put_u32_ne(0);
    // struct ifaddrmsg, all zero: every family.
    request.put_u64_ne(0);
    socket.send(&request, 0)?;
    let mut all = Vec::new();
    let mut buf = Vec::with_capacity(64 << 10);
    loop {
        buf.clear();
        socket.recv(&mut buf, 0)?;
        if !addresses(&buf, &mut all) {
            return Ok(all);
        }
    }
}

/// Adds the addresses in an answer; whether more answers follow. What is malformed
/// ends it.
fn addresses(mut answer: &[u8], all: &mut Vec<IpAddr>) -> bool {
    while answer.len() >= HEADER {
        let mut head = answer;
        let (len, kind) = (head.get_u32_ne() as usize, head.get_u16_ne());
        let Some(payload) = answer.get(HEADER..len) else { return false };
        if kind != RTM_NEWADDR {
            return false;
        }
        all.extend(address(payload));
        answer = answer.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    true
}

/// The address in an RTM_NEWADDR message: IFA_LOCAL where there is one (IFA_ADDRESS
/// is the other end of a point-to-point link then).
fn address(payload: &[u8]) -> Option<IpAddr> {
    let mut attributes = payload.get(8..)?;
    let (mut local, mut address) = (None, None);
    while attributes.len() >= 4 {
        let mut head = attributes;
        let (len, kind) = (usize::from(head.get_u16_ne()), head.get_u16_ne());
        let value = attributes.get(4..len)?;
        match kind {
            IFA_LOCAL => local = ip(value),
            IFA_ADDRESS => address = ip(value),
            _ => {}
        }
        attributes = attributes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    let plain = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    local.or(address).filter(plain)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![0; 8];
        for (kind, value) in attributes {
            body.put_u16_ne(u16::try_from(4 + value.len()).unwrap());
            body.put_u16_ne(*kind);
            body.put_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = Vec::new();
        message.put_u32_ne(u32::try_from(HEADER + body.len()).unwrap());
        message.put_u16_ne(kind);
        message.put_slice(&[0; 10]);
        message.put_slice(&body);
        message
    }

    #[test]
    fn answers_are_read_and_garbage_ends_them() {
        let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let answer = [
            message(RTM_NEWADDR, &[(IFA_ADDRESS, &[10, 0, 0, 9]), (IFA_LOCAL, &[10, 0, 0, 1])]),
            message(RTM_NEWADDR, &[(3, b"eth0\0"), (IFA_ADDRESS, &v6)]),
            message(RTM_NEWADDR, &[(IFA_LOCAL, &[127, 0, 0, 1])]),
            message(RTM_NEWADDR, &[(IFA_ADDRESS, &[1, 2, 3])]),
        ]
        .concat();
        let mut all = Vec::new();
        assert!(addresses(&answer, &mut all));
        assert_eq!(all, [IpAddr::from([10, 0, 0, 1]), IpAddr::from(v6)]);
        assert!(!addresses(&message(3, &[]), &mut all), "NLMSG_DONE");
        for cut in 0..answer.len() {
            let _ = addresses(&answer[..cut], &mut Vec::new());
        }
        let mut wild = answer;
        for at in 0..wild.len() {
            wild[at] ^= 0xff;
            let _ = addresses(&wild, &mut Vec::new());
            wild[at] ^= 0xff;
        }
    }

    #[test]
    fn this_namespace_is_asked() {
        // Whatever there is: an answer without an error.
        of(&NetnsRef::own().unwrap()).unwrap();
    }
}
