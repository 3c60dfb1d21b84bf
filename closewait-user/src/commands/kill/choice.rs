//! Which of the stuck sockets are to be destroyed. Pure: a finding in, a choice out, and
//! the reason where one is spared that the filters would take.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::report::Finding;
use crate::tcp::Endpoint;
use crate::tracker::SuspectKind;
use crate::verdict::Code;

/// What `--remote` names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remote {
    ip: IpAddr,
    port: Option<u16>,
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let bare = word.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(word);
        let (ip, port) = match (bare.parse(), word.parse::<std::net::SocketAddr>()) {
            (Ok(ip), _) => (ip, None),
            (_, Ok(end)) => (end.ip(), Some(end.port())),
            _ => return Err("write an address, or with a port 192.0.2.7:443 or [2001:db8::7]:443".into()),
        };
        Ok(Self { ip, port })
    }
}

impl Remote {
    /// An IPv4 address fits one that is mapped into IPv6, too.
    fn is(self, end: Endpoint) -> bool {
        self.ip.to_canonical() == end.ip.to_canonical() && self.port.is_none_or(|port| port == end.port)
    }
}

/// What the options ask for, beyond the filters that are common to all commands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    /// Only sockets with one of these other ends, if any.
    pub(super) remotes: Vec<Remote>,
    /// Only what has certainly been in CLOSE_WAIT for so long.
    pub(super) older_than: Duration,
    /// Only these verdicts, if any.
    pub(super) verdicts: Vec<Code>,
}

/// What is to be done with a socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Choice {
    /// It is to be destroyed.
    Destroy,
    /// The options would take it, and it is let be, because.
    Spare(String),
    /// It is none of those that were asked for.
    Not,
}

/// Verdicts of sockets that are still in use, or of which destroying cures nothing: only
/// who names them may have them destroyed.
const SPARED: [(Code, &str); 3] = [
    (Code::NotAccepted, "it would keep its place in the accept queue"),
    (Code::Sending, "data is still going out"),
    (Code::SlowReader, "its program is still reading"),
];

impl Wanted {
    /// Decides about one socket.
    pub(super) fn choose(&self, finding: &Finding) -> Choice {
        let (suspect, verdict) = (&finding.suspect, &finding.verdict);
        if suspect.kind != SuspectKind::Stuck
            || !(self.remotes.is_empty() || self.remotes.iter().any(|remote| remote.is(suspect.tuple.remote)))
            || !(self.verdicts.is_empty() || self.verdicts.contains(&verdict.code))
        {
            return Choice::Not;
        }
        let holds = |code| verdict.code == code || verdict.also.contains(&code);
        let spared = SPARED.iter().find(|(code, _)| holds(*code) && !self.verdicts.contains(code));
        if let Some((code, why)) = spared {
            return Choice::Spare(format!("{code}: {why} (--verdict {code} takes it all the same)"));
        }
        let is_named = self.verdicts.contains(&verdict.code);
        if let Some(peer) = finding.evidence.waiting_peer().filter(|_| !is_named) {
            let code = verdict.code;
            // Without the descriptor: those of one process are told together.
            let peer = peer.holder.as_ref().map_or_else(
                || "a process of this host".to_owned(),
                |holder| format!("{}[{}]", holder.comm, holder.pid),
            );
            return Choice::Spare(format!(
                "its peer, {peer}, only half-closed and may wait for an answer (--verdict {code} takes it all the same)"
            ));
        }
        if suspect.mptcp {
            return Choice::Spare("the kernel cannot destroy MPTCP sockets".into());
        }
        let last = match &*finding.evidence.looks {
            [.., first, last] if first.socket.same_life(&last.socket) => last,
            _ => return Choice::Spare("it could not be looked at twice".into()),
        };
        if last.socket.cookie.is_none() {
            return Choice::Spare("its cookie is not known: it cannot be named to the kernel".into());
        }
        if finding.age().min < self.older_than {
            let than = humantime::format_duration(self.older_than);
            return Choice::Spare(format!(
                "not certain to have been in CLOSE_WAIT for {than} (--older-than)"
            ));
        }
        Choice::Destroy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MonoNs;
    use crate::fact::Fact;
    use crate::item::{DiagSocket, Netns, Timer};
    use crate::tcp::{State, Tuple};
    use crate::tracker::{Since, SocketId, Suspect};
    use crate::verdict::{Confidence, Evidence, LocalPeer, Look, Verdict};

    const SECOND: u64 = 1_000_000_000;
    const NOW: MonoNs = MonoNs(1_000 * SECOND);

    fn end(ip: &str, port: u16) -> Endpoint {
        Endpoint { ip: ip.parse().unwrap(), port }
    }

    /// A socket that has been stuck for a minute, looked at twice.
    fn finding() -> Finding {
        let tuple = Tuple { local: end("::ffff:10.0.0.1", 8080), remote: end("::ffff:10.0.0.2", 51_334) };
        let socket = DiagSocket {
            tuple,
            mptcp: false,
            state: State::CloseWait,
            inode: 7,
            cookie: Some(99),
            uid: 0,
            recv_q: 1,
            send_q: 0,
            timer: Timer::Off,
            retrans: 0,
            tcp: None,
        };
        let look = |ms: u64| Look { at: MonoNs(NOW.0 - ms * 1_000_000), socket: socket.clone() };
        let suspect = Suspect {
            id: SocketId { slot: 0, generation: 0 },
            kind: SuspectKind::Stuck,
            sk: None,
            netns: Netns(1),
            tuple,
            mptcp: false,
            since: Since::NoLaterThan(MonoNs(NOW.0 - 60 * SECOND)),
            not_before: None,
            missed: false,
            tainted: false,
        };
        let evidence = Evidence { looks: vec![look(500), look(0)], ..Evidence::unknown() };
        let verdict = Verdict {
            code: Code::EofIgnored,
            also: vec![Code::NotReading],
            confidence: Confidence::High,
            leak: Some(true),
        };
        Finding::new(NOW, suspect, evidence, verdict)
    }

    fn wanted() -> Wanted {
        Wanted { remotes: Vec::new(), older_than: Duration::from_secs(10), verdicts: Vec::new() }
    }

    /// Why it is spared; "" to destroy it, "not" for one that was not asked for.
    fn word(wanted: &Wanted, change: impl Fn(&mut Finding)) -> String {
        let mut finding = finding();
        change(&mut finding);
        match wanted.choose(&finding) {
            Choice::Destroy => String::new(),
            Choice::Spare(why) => why,
            Choice::Not => "not".into(),
        }
    }

    #[test]
    fn what_is_in_use_or_unsure_is_spared_and_says_why() {
        let code = |code| move |finding: &mut Finding| finding.verdict.code = code;
        let all = wanted();
        let named = |code| Wanted { verdicts: vec![code], ..wanted() };
        let since = |seconds| {
            move |finding: &mut Finding| {
                finding.suspect.since = Since::NoLaterThan(MonoNs(NOW.0 - seconds * SECOND));
                // The upper bound does not matter.
                finding.suspect.not_before = Some(MonoNs(0));
            }
        };
        let peer = |state, has_file| {
            move |finding: &mut Finding| {
                let peer = LocalPeer { state, has_file, holder: None };
                finding.evidence.local_peer = Fact::Known(Some(peer));
            }
        };
        for (name, got, want) in [
            ("stuck", word(&all, |_| {}), ""),
            ("not accepted", word(&all, code(Code::NotAccepted)), "NOT_ACCEPTED: "),
            ("sending", word(&all, code(Code::Sending)), "SENDING: data is still going out"),
            ("sending beside", word(&all, |f| f.verdict.also = vec![Code::Sending]), "SENDING: "),
            ("reading", word(&all, code(Code::SlowReader)), "SLOW_READER: "),
            ("sending, named", word(&named(Code::Sending), code(Code::Sending)), ""),
            ("not accepted, named", word(&named(Code::NotAccepted), code(Code::NotAccepted)), ""),
            (
                "sending beside what is named",
                word(&named(Code::PeerGone), |f| {
                    f.verdict.code = Code::PeerGone;
                    f.verdict.also = vec![Code::Sending];
                }),
                "SENDING: ",
            ),
            ("another is named", word(&named(Code::Sending), |_| {}), "not"),
            (
                "a peer that waits",
                word(&all, peer(State::FinWait2, true)),
                "its peer, a process of this host, only half-closed and may wait for an answer (--verdict EOF_IGNORED",
            ),
            ("a peer that waits, named", word(&named(Code::EofIgnored), peer(State::FinWait2, true)), ""),
            ("a peer that has closed", word(&all, peer(State::FinWait2, false)), ""),
            (
                "a ghost",
                word(&all, |f| f.suspect.kind = SuspectKind::Ghost { closed: NOW, from: State::CloseWait }),
                "not",
            ),
            ("MPTCP", word(&all, |f| f.suspect.mptcp = true), "the kernel cannot destroy MPTCP"),
            ("old enough", word(&all, since(10)), ""),
            ("too young for certain", word(&all, since(9)), "not certain to have been in CLOSE_WAIT for 10s"),
            ("one look", word(&all, |f| f.evidence.looks.truncate(1)), "it could not be looked at twice"),
            (
                "another socket",
                word(&all, |f| f.evidence.looks[0].socket.cookie = Some(98)),
                "it could not be",
            ),
            ("no look", word(&all, |f| f.evidence.looks.clear()), "it could not be looked at twice"),
            (
                "no cookie",
                word(&all, |f| f.evidence.looks.iter_mut().for_each(|look| look.socket.cookie = None)),
                "its cookie is not known",
            ),
        ] {
            if want.is_empty() {
                assert_eq!(got, "", "{name}");
            } else {
                assert!(got.starts_with(want), "{name}: {got:?}");
            }
        }
    }

    #[test]
    fn a_remote_end_is_an_address_with_or_without_a_port() {
        for (text, takes) in [
            ("10.0.0.2", true),
            ("10.0.0.2:51334", true),
            ("::ffff:10.0.0.2", true),
            ("[::ffff:10.0.0.2]", true),
            ("[::ffff:10.0.0.2]:51334", true),
            ("10.0.0.2:51335", false),
            ("10.0.0.1", false),
            ("2001:db8::2", false),
        ] {
            let wanted = Wanted { remotes: vec![text.parse().unwrap()], ..wanted() };
            assert_eq!(word(&wanted, |_| {}), if takes { "" } else { "not" }, "{text}");
        }
        for bad in ["", "host", "10.0.0.2:", "10.0.0.2:http", "10.0.0.2:65536", "[::1", "10.0.0.0/8"] {
            assert!(bad.parse::<Remote>().is_err(), "{bad}");
        }
    }
}
