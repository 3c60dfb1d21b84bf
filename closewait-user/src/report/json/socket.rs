//! A socket: its ends, and what the kernel tells of it and of the other end.

use schemars::JsonSchema;
use serde::Serialize;

use crate::fact::Fact;
use crate::item::{DiagSocket, Netns};
use crate::report::model::Finding;
use crate::tcp::{Endpoint, Tuple};
use crate::text::Text;
use crate::verdict::{self, LocalPeer, Role};

use super::values::{millis, split};

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Socket {
    family: Family,
    local: End,
    remote: End,
    /// Inode number of the network namespace; null on a kernel without namespaces.
    netns: Option<u32>,
    /// 0: no file was ever made for it (not accepted). Null: not looked at.
    inode: Option<u64>,
    /// Whether it was accepted (or waits to be) or connected.
    role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_unknown: Option<Text>,
    /// What tells the role of a socket whose opening was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    role_by: Option<Text>,
    /// Only there when true: an MPTCP socket.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    mptcp: bool,
}

impl Socket {
    pub(super) fn new(tuple: Tuple, netns: Netns, mptcp: bool, finding: Option<&Finding>) -> Self {
        let evidence = finding.map(|f| &f.evidence);
        let (role, role_unknown) = evidence.map_or((None, None), |e| split(&e.role, |r| *r));
        Self {
            family: if tuple.local.ip.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 },
            local: tuple.local.into(),
            remote: tuple.remote.into(),
            netns: (netns.0 != 0).then_some(netns.0),
            inode: evidence.and_then(|e| e.looks.last()).map(|l| l.socket.inode),
            role,
            role_unknown,
            role_by: evidence.and_then(|e| e.role_by.clone()),
            mptcp,
        }
    }
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct End {
    /// An IPv4 address on an IPv6 socket is `::ffff:192.0.2.1`, as in `ss`.
    ip: String,
    port: u16,
}

impl From<Endpoint> for End {
    fn from(e: Endpoint) -> Self {
        Self { ip: e.ip.to_string(), port: e.port }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Queues {
    /// Unread bytes; the FIN counts one.
    recv: u32,
    /// Unsent or unacknowledged bytes.
    send: u32,
}

impl From<&DiagSocket> for Queues {
    fn from(s: &DiagSocket) -> Self {
        Self { recv: s.recv_q, send: s.send_q }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keepalive {
    /// Null: not known (see `note`).
    on: Option<bool>,
    /// The kernel will have ended the socket by then, unless the peer answers its
    /// probes. Null: never, or not known.
    ends_in_ms: Option<u64>,
    /// What that rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<Text>,
}

impl From<&Fact<verdict::Keepalive>> for Keepalive {
    fn from(fact: &Fact<verdict::Keepalive>) -> Self {
        match fact {
            Fact::Known(k) => {
                Self { on: Some(k.on), ends_in_ms: k.ends_in.map(millis), note: Some(k.note.clone()) }
            }
            Fact::Unknown(reason) => Self { on: None, ends_in_ms: None, note: Some(reason.clone()) },
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    /// `CLOSE`: there is no socket any more.
    state: &'static str,
    /// A file refers to it: it only half-closed, and may still read.
    half_closed: bool,
    /// Who has a descriptor on it; null when nobody has, or nobody was found.
    pid: Option<u32>,
    comm: Option<Text>,
    /// As of a holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<Text>,
    fd: Option<u32>,
}

impl From<&LocalPeer> for Peer {
    fn from(peer: &LocalPeer) -> Self {
        let holder = peer.holder.as_ref();
        Self {
            state: peer.state.name(),
            half_closed: peer.has_file,
            pid: holder.map(|h| h.pid),
            comm: holder.map(|h| h.comm.clone()),
            program: holder.and_then(|h| h.program.clone()),
            fd: holder.map(|h| h.fd),
        }
    }
}
