//! Where sockets are: the one line about addresses and ports, for one socket or
//! for many that share some of them.

use crate::fact::Fact;
use crate::report::ledger::{Cause, Same};
use crate::report::model::Finding;
use crate::tcp::{Endpoint, Tuple};
use crate::verdict::{Evidence, Role};

use super::style::count;

/// The addresses of one socket, and which way it was opened.
pub(crate) fn addresses(tuple: Tuple, role: Option<Role>) -> String {
    match role {
        Some(Role::Client) => format!("{} -> {}", tuple.local, tuple.remote),
        _ => tuple.to_string(),
    }
}

/// The same, and its descriptor: `10.0.0.1:8080 <- 10.0.0.2:51334, fd 17`.
pub(crate) fn of_socket(finding: &Finding) -> String {
    let evidence = &finding.evidence;
    let role = evidence.role.known().copied();
    let how = match role {
        Some(Role::Client) => "connected ",
        Some(Role::Server) if evidence.listener.known().is_none() => "accepted ",
        _ => "",
    };
    let mut text = format!("{how}{}", addresses(finding.suspect.tuple, role));
    text.push_str(&told_by(evidence));
    match (&evidence.listener, finding.owner()) {
        (Fact::Known(_), _) => text.push_str(&queue(finding)),
        (_, Fact::Known(holder)) => text.push_str(&format!(", fd {}", holder.fd)),
        _ => {}
    }
    text
}

/// What the sockets of a cause have in common.
pub(crate) fn of_cause(cause: &Cause<'_>) -> String {
    let finding = cause.exemplar;
    if cause.now.total() + cause.gone.total() == 1 || cause.now.total() == 0 {
        let eg = if cause.gone.total() > 1 { "e.g. " } else { "" };
        return format!("{eg}{}", of_socket(finding));
    }
    let local = match (cause.local_ip, cause.local_port) {
        (Same::One(ip), Same::One(port)) => Endpoint { ip, port }.to_string(),
        (_, Same::One(port)) => format!("port {port}"),
        (Same::One(ip), _) => ip.to_string(),
        _ => "several addresses and ports".to_owned(),
    };
    let mut text = match finding.evidence.role {
        Fact::Known(Role::Server) if finding.evidence.listener.known().is_some() => {
            format!("waiting to be accepted on {local}, from {}{}", remotes(cause), queue(finding))
        }
        Fact::Known(Role::Server) => format!("accepted on {local} from {}", remotes(cause)),
        Fact::Known(Role::Client) => {
            // An address of its own makes a cause of its own; only its spelling may differ.
            let by = told_by(&finding.evidence);
            format!("connected to {} from {local}{by}", finding.suspect.tuple.remote)
        }
        Fact::Unknown(_) => {
            let port = match cause.remote_port {
                Same::One(port) => format!(", port {port}"),
                _ => String::new(),
            };
            format!("local {local}, remote {}{port}", remotes(cause))
        }
    };
    if cause.netns == Same::Many {
        text.push_str("; in several network namespaces");
    }
    text
}

/// How it is known which side it is, where that could be doubted.
fn told_by(evidence: &Evidence) -> String {
    match (&evidence.role, &evidence.role_by) {
        (Fact::Known(Role::Client), Some(by)) => format!(" (a client {by})"),
        _ => String::new(),
    }
}

fn queue(finding: &Finding) -> String {
    let Fact::Known(listener) = &finding.evidence.listener else {
        return String::new();
    };
    let full = if listener.queue >= listener.limit { " (full)" } else { "" };
    format!("; accept queue {} of {}{full}", count(listener.queue.into()), count(listener.limit.into()))
}

/// `10.0.0.2`, or the address with most sockets and the number of others.
fn remotes(cause: &Cause<'_>) -> String {
    let Some((top, sockets)) = cause.remotes.iter().max_by_key(|(ip, n)| (**n, std::cmp::Reverse(**ip)))
    else {
        return "an unknown address".to_owned();
    };
    match cause.remotes.len() as u64 {
        1 => top.to_string(),
        n if *sockets == 1 => format!("{} addresses", count(n)),
        n => format!("{top} ({}) and {} more", count(*sockets), count(n - 1)),
    }
}
