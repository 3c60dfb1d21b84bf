//! Destroys sockets, one at a time: the effect of `kill`.
//!
//! In: sockets by their cookies. Out: what became of each. A socket is named to the kernel by
//! its cookie, in its own network namespace, and looked at just before: what has left
//! CLOSE_WAIT is let be. (The kernel knows no "only if in this state": one that is closed in
//! the microseconds between is reset where it would have ended in order.)

use std::io;

use hashbrown::HashMap;

use crate::enrich::netns::{Namespaces, NetnsFilter, NetnsRef, find_by_thread};
use crate::enrich::sock_diag::wire::Identity;
use crate::enrich::sock_diag::{DiagError, SockDiag};
use crate::error::Failure;
use crate::item::Netns;
use crate::report::kill::Outcome;
use crate::tcp::{State, Tuple};

/// Whether anything can be destroyed here at all.
pub(super) fn is_possible() -> Result<(), Failure> {
    let cannot = |why: &dyn std::fmt::Display| Failure::new(format!("cannot destroy sockets: {why}"));
    let own = NetnsRef::own().map_err(|error| cannot(&error))?;
    let mut diag = SockDiag::open_in(&own).map_err(|error| cannot(&error))?;
    if diag.can_destroy().map_err(|error| cannot(&error))? {
        return Ok(());
    }
    Err(cannot(&"this kernel was built without CONFIG_INET_DIAG_DESTROY")
        .hint("make the owner close them, or restart it: that ends them too, and frees the descriptors"))
}

/// Netlink sockets, one for each namespace.
pub struct Destroyer {
    wanted: NetnsFilter,
    namespaces: HashMap<Netns, Result<Namespace, String>>,
}

struct Namespace {
    diag: SockDiag,
    /// Cookies of sockets that are bound to an interface, by which they are looked up.
    bound: HashMap<u64, u32>,
}

impl Destroyer {
    /// One that reaches the namespaces that the user named by their names.
    pub fn new(wanted: NetnsFilter) -> Self {
        Self { wanted, namespaces: HashMap::new() }
    }

    /// Destroys the socket with this cookie, if it is still there and in CLOSE_WAIT.
    pub fn destroy(&mut self, netns: Netns, tuple: Tuple, cookie: u64) -> Outcome {
        let wanted = &self.wanted;
        let there = self.namespaces.entry(netns).or_insert_with(|| Namespace::open(netns, wanted));
        let namespace = match there {
            Ok(namespace) => namespace,
            Err(why) => return Outcome::Failed(why.clone()),
        };
        let interface = namespace.bound.get(&cookie).copied().unwrap_or(0);
        let which = Identity { tuple, interface, cookie };
        match destroy(&mut namespace.diag, which) {
            Ok(outcome) => outcome,
            Err(DiagError::Refused(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                let why = format!(
                    "it needs CAP_NET_ADMIN in the user namespace that network namespace {} belongs to: \
                     run it as root there",
                    netns.0
                );
                // It would be the same for all others.
                *there = Err(why.clone());
                Outcome::Failed(why)
            }
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}

fn destroy(diag: &mut SockDiag, which: Identity) -> Result<Outcome, DiagError> {
    match diag.exactly(which)? {
        None => return Ok(Outcome::Gone),
        Some(now) if now.state != State::CloseWait => return Ok(Outcome::Left(now.state)),
        Some(_) => {}
    }
    if !diag.destroy(which)? {
        return Ok(Outcome::Gone);
    }
    // What the kernel says counts, not that it took the order.
    Ok(match diag.exactly(which)? {
        None => Outcome::Destroyed,
        Some(still) => {
            Outcome::Failed(format!("the kernel took the order, and still shows it in {}", still.state))
        }
    })
}

impl Namespace {
    fn open(netns: Netns, wanted: &NetnsFilter) -> Result<Self, String> {
        let at = locate(netns, wanted)
            .ok_or_else(|| format!("network namespace {} is not there any more", netns.0))?;
        let mut diag = SockDiag::open_in(&at).map_err(|error| error.to_string())?;
        let dump = diag.dump_brief(&[State::CloseWait]).map_err(|error| error.to_string())?;
        Ok(Self { diag, bound: dump.bound.into_iter().collect() })
    }
}

fn locate(netns: Netns, wanted: &NetnsFilter) -> Option<NetnsRef> {
    if let NetnsFilter::Only(only) = wanted
        && let Some(at) = only.get(&netns)
    {
        return Some(at.clone());
    }
    let listed = Namespaces::list().ok().and_then(|all| all.find(netns).cloned());
    listed.or_else(|| find_by_thread(netns))
}
