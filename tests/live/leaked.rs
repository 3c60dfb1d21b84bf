//! What a right report of a leak looks like: compared, socket by socket, with what
//! the scenario program says it leaked.

use std::collections::BTreeSet;

use serde_json::Value;

use super::netns::Netns;
use super::scenario::{Kept, Leaks, Scenario};
use super::tool::{Ended, THRESHOLD_MS};
use super::waiting::until;
use super::workload::Side;

/// Sockets in CLOSE_WAIT and the programs that keep them there; the programs are
/// killed when it is dropped.
pub(crate) struct Leaked<'n> {
    /// Where they are.
    pub(crate) net: &'n Netns,
    /// The port that the server listened on.
    pub(crate) port: String,
    /// Which end leaked.
    pub(crate) side: Side,
    /// Which sockets.
    pub(crate) leaks: Leaks,
    /// The process that accepted or connected them.
    pub(crate) leaker: Scenario,
    /// The process that closed its ends.
    pub(crate) other: Option<Scenario>,
    /// Names that must be among the symbols of the opener's stack.
    pub(crate) functions: &'static [&'static str],
}

impl Leaked<'_> {
    /// Waits until `ss` shows exactly these sockets in CLOSE_WAIT.
    pub(crate) fn agree_with_ss(&self) {
        until(&format!("ss shows the leaked sockets in {}", self.net.name()), || {
            let rows = self.net.close_wait();
            let ports: BTreeSet<u16> = rows
                .iter()
                .map(|(local, remote)| if self.side == Side::Server { *remote } else { *local })
                .collect();
            (ports.iter().eq(self.leaks.keys()) && rows.len() == self.leaks.len()).then_some(())
        });
    }

    /// The `stuck` reports are about exactly these sockets, once each.
    pub(crate) fn are_all_in(&self, ended: &Ended) {
        let ports: BTreeSet<u16> = ended.of_kind("stuck").map(|report| self.port(report)).collect();
        assert_eq!(ports, self.leaks.keys().copied().collect(), "the sockets reported");
        assert_eq!(ended.of_kind("stuck").count(), self.leaks.len(), "each socket is reported once");
    }

    /// The same, and with the right holder, opener and stack.
    pub(crate) fn are_reported_in(&self, ended: &Ended) {
        self.are_all_in(ended);
        for report in ended.of_kind("stuck") {
            self.socket_is_right(report);
            assert!(self.holder_is_right(report), "{:?} is not the holder: {report}", self.kept(report));
            assert!(self.opener_is_right(report), "{} is not the opener: {report}", self.leaker.pid());
            assert!(self.stack_is_right(report), "{:?} are not all in the stack: {report}", self.functions);
        }
    }

    /// Whether a report is about one of these sockets.
    pub(crate) fn include(&self, report: &Value) -> bool {
        self.leaks.contains_key(&self.port(report))
    }

    /// The client's port, by which the scenario names a socket.
    pub(crate) fn port(&self, report: &Value) -> u16 {
        let end = if self.side == Side::Server { "remote" } else { "local" };
        let port = report["socket"][end]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        port.unwrap_or_else(|| panic!("no port in {report}"))
    }

    /// What the scenario said of the socket of a report.
    fn kept(&self, report: &Value) -> Kept {
        self.leaks[&self.port(report)]
    }

    fn socket_is_right(&self, report: &Value) {
        let role = if self.side == Side::Server { "server" } else { "client" };
        assert_eq!(report["state"], "CLOSE_WAIT", "{report}");
        assert_eq!(report["socket"]["netns"], self.net.inode(), "{report}");
        assert_eq!(report["socket"]["role"], role, "{report}");
        assert!(report["age_ms"]["min"].as_u64().is_some_and(|age| age >= THRESHOLD_MS), "{report}");
        assert!(report["age_ms"]["max"].as_u64() >= report["age_ms"]["min"].as_u64(), "{report}");
    }

    /// Whether a report names the process that keeps the socket, its fd, and nobody else.
    pub(crate) fn holder_is_right(&self, report: &Value) -> bool {
        let Kept { pid, fd } = self.kept(report);
        let holders = report["holders"].as_array().map(Vec::as_slice).unwrap_or_default();
        matches!(holders, [holder] if holder["pid"] == pid && holder["fd"] == fd)
    }

    /// Whether a report names the process that opened the socket, and how.
    pub(crate) fn opener_is_right(&self, report: &Value) -> bool {
        let via = if self.side == Side::Server { "accept" } else { "connect" };
        report["opener"]["pid"] == self.leaker.pid() && report["opener"]["via"] == via
    }

    /// Whether every function that must be in the opener's stack is there.
    pub(crate) fn stack_is_right(&self, report: &Value) -> bool {
        let frames = report["opener"]["stack"].as_array().map(Vec::as_slice).unwrap_or_default();
        let symbols: Vec<_> = frames.iter().filter_map(|frame| frame["symbol"].as_str()).collect();
        self.functions.iter().all(|function| symbols.iter().any(|symbol| symbol.contains(function)))
    }
}

/// Whether a report says that the opener is not known, and why.
pub(crate) fn opener_is_missing(report: &Value) -> bool {
    report["opener"].is_null() && is_reason(&report["opener_unknown"])
}

/// Whether a report names the opener, has no stack of it, and says why.
pub(crate) fn stack_is_missing(report: &Value) -> bool {
    report["opener"]["stack"] == Value::Array(vec![]) && is_reason(&report["opener"]["stack_unknown"])
}

/// Whether a report says that a stack could not be named whole, its process being gone.
pub(crate) fn stack_ends_early(report: &Value) -> bool {
    report["opener"]["stack_note"].as_str().is_some_and(|note| note.contains("its process exited"))
}

fn is_reason(value: &Value) -> bool {
    value.as_str().is_some_and(|reason| !reason.is_empty())
}
