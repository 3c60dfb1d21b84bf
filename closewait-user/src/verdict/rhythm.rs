//! What was sent after the EOF: whether a half-close is at work although nothing was sent
//! between the two looks, and when its silence becomes too long for that. Pure.
//!
//! One look can prove it: the kernel keeps when data was last sent, and where nothing was
//! ever sent again, that was new data. Else the counters of two looks do, however far apart
//! they are: what they told is remembered of a socket until it ends.

use std::time::Duration;

use hashbrown::HashMap;

use super::case::{Case, Finding, Time};
use super::draining::Readers;
use super::looks::first_time_sent;
use super::{Confidence, Drained, Evidence, Look};
use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::item::{TcpInfo, Timer};
use crate::tracker::{Since, SocketId, Suspect, SuspectKind};

/// What is sent so soon after the EOF is an answer that was on its way or a goodbye (TLS's
/// `close_notify`), after which a close is due.
const GOODBYE: Duration = Duration::from_secs(1);
/// A half-close that has sent, or a reader that has read, may be silent for so long,
pub(super) const SILENCE: Duration = Duration::from_mins(1);
/// or for so many times the longest pause it has made, and still be at work.
pub(super) const PAUSES: u32 = 3;
/// Silent for so many times as long as that, and at least this long, it is over.
const OVER: u32 = 10;
/// Moments that are closer than this are one: the kernel keeps them in ticks of up to 10 ms.
const TICKS: Duration = Duration::from_millis(20);

/// What was sent after the EOF, as far as looks told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Sent {
    /// The look that told first.
    pub from: MonoNs,
    /// Bytes sent for the first time since then.
    pub bytes: u64,
    /// When it last sent.
    pub last: MonoNs,
    /// The longest time between two looks' last sends.
    pub pause: Duration,
}

/// What looks have told of sockets that sent, or of which only counters can tell; and of those
/// that were read.
#[derive(Debug, Default)]
pub struct Rhythms {
    senders: HashMap<SocketId, Rhythm>,
    readers: Readers,
}

#[derive(Clone, Copy, Debug)]
struct Rhythm {
    from: MonoNs,
    first: u64,
    newest: u64,
    last: Option<MonoNs>,
    pause: Duration,
}

impl Rhythms {
    /// Takes note of the looks in the evidence of a suspect.
    pub fn note(&mut self, suspect: &Suspect, evidence: &Evidence) {
        self.readers.note(suspect.id, evidence);
        for look in &evidence.looks {
            let Some(tcp) = look.socket.tcp else { continue };
            let Some(counted) = first_time_sent(&tcp).or(tcp.bytes_acked) else { continue };
            let proved = last_sent(look, told_eof(suspect, evidence));
            if let Some(known) = self.senders.get_mut(&suspect.id) {
                known.note(look.at, &tcp, counted, proved);
            } else if proved.is_some() || has_retransmitted(&tcp) {
                let pause = Duration::ZERO;
                let new = Rhythm { from: look.at, first: counted, newest: counted, last: proved, pause };
                self.senders.insert(suspect.id, new);
            }
        }
    }

    /// What one has sent after the EOF, if anything.
    pub fn of(&self, id: SocketId) -> Option<Sent> {
        let Rhythm { from, first, newest, last, pause } = *self.senders.get(&id)?;
        Some(Sent { from, bytes: newest.saturating_sub(first), last: last?, pause })
    }

    /// What was read of one after the FIN, if anything.
    pub fn drained(&self, id: SocketId) -> Option<Drained> {
        self.readers.of(id)
    }

    /// It has ended.
    pub fn forget(&mut self, id: SocketId) {
        self.senders.remove(&id);
        self.readers.forget(id);
    }
}

impl Rhythm {
    fn note(&mut self, at: MonoNs, tcp: &TcpInfo, counted: u64, proved: Option<MonoNs>) {
        // A retransmission moves it, too; but what grew was sent by then.
        let moved = || at - Duration::from_millis(tcp.last_data_sent_ms.unwrap_or(0).into());
        let last = proved.or_else(|| (counted > self.newest).then(moved));
        self.newest = self.newest.max(counted);
        let Some(last) = last else { return };
        if let Some(before) = self.last {
            let pause = last.since(before);
            if pause > TICKS {
                self.pause = self.pause.max(pause);
            }
        }
        self.last = self.last.max(Some(last));
    }
}

/// Since when the application, or at least the kernel, knows that the peer has finished.
fn told_eof(suspect: &Suspect, evidence: &Evidence) -> MonoNs {
    match (&evidence.eof_read, suspect.since) {
        (Fact::Known(Some(read)), _) => read.at,
        (_, Since::Seen(at) | Since::Inferred(at) | Since::NoLaterThan(at)) => at,
    }
}

fn has_retransmitted(tcp: &TcpInfo) -> bool {
    tcp.total_retrans != Some(0)
}

/// When data was last sent, if the look proves that this was after the `eof`, and no goodbye.
fn last_sent(look: &Look, eof: MonoNs) -> Option<MonoNs> {
    let tcp = look.socket.tcp?;
    let last = look.at - Duration::from_millis(tcp.last_data_sent_ms?.into());
    let proves = !has_retransmitted(&tcp) && tcp.bytes_sent? > 0 && last >= eof + GOODBYE;
    proves.then_some(last)
}

/// What it has sent after the EOF, by all looks.
fn sent(case: &Case) -> Option<Sent> {
    let eof = told_eof(case.suspect, case.evidence);
    // Who read the EOF later than it sent was told after that.
    let known = case.evidence.sent.filter(|sent| sent.last >= eof + GOODBYE);
    let now = case.looks.last().and_then(|look| Some((look.at, last_sent(look, eof)?)));
    match (known, now) {
        (Some(known), Some((_, last))) => Some(Sent { last: known.last.max(last), ..known }),
        (None, Some((at, last))) => Some(Sent { from: at, bytes: 0, last, pause: Duration::ZERO }),
        (known, None) => known,
    }
}

/// For how long it may be silent.
fn may_be_silent(sent: &Sent) -> Duration {
    SILENCE.max(sent.pause.saturating_mul(PAUSES))
}

/// `sent 640 bytes in 42.0 s, the last 3.2 s ago: after the EOF`
fn says(case: &Case, sent: &Sent, now: MonoNs) -> String {
    let ago = Time(now.since(sent.last));
    let span = now.since(sent.from);
    match sent.bytes {
        0 => case.say(format_args!("sent data {ago} ago, after the EOF")),
        bytes => case.say(format_args!(
            "sent {bytes} bytes in the last {}, the newest {ago} ago: after the EOF",
            Time(span)
        )),
    }
}

/// `finding`, that it still sends, where it has sent after the EOF not too long ago, and can.
pub(super) fn goes_on(case: &Case, finding: Finding) -> Option<Finding> {
    let last = &case.looks.last()?.socket;
    let no_window = last.tcp.as_ref().is_some_and(|tcp| tcp.snd_wnd == Some(0));
    if last.send_q > 0 && (last.timer == Timer::Persist || no_window) {
        return None;
    }
    let sent = sent(case)?;
    let silent = case.now.since(sent.last);
    (silent <= may_be_silent(&sent)).then(|| {
        // As of the look: what goes on is known up to then.
        let finding = finding.because(says(case, &sent, case.now));
        if sent.pause > SILENCE / PAUSES {
            finding.because(format_args!("it has paused for {} before", Time(sent.pause)))
        } else {
            finding
        }
    })
}

/// `finding`, that it is stuck, less sure where it has sent after the EOF: it was a
/// half-close, and may go on.
pub(super) fn fell_silent(case: &Case, finding: Finding) -> Finding {
    let Some(sent) = sent(case) else { return finding };
    if case.suspect.kind != SuspectKind::Stuck || case.evidence.ended.is_some() {
        return finding;
    }
    let over = may_be_silent(&sent).saturating_mul(OVER);
    let mut finding = finding.because(says(case, &sent, case.told)).at_most(Confidence::Medium);
    if case.now.since(sent.last) < over {
        finding.leak = finding.leak.filter(|leak| !leak);
        finding
            .missing(format_args!("whether it sends again: it has been silent for less than {}", Time(over)));
    }
    finding.next(format_args!(
        "See whether {} has more to send to its half-closed peer; if not, it must close.",
        case.who()
    ));
    finding
}
