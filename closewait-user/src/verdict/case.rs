//! One suspect under judgement: its evidence in the shape rules ask for, and
//! what a rule answers.

use std::fmt;
use std::time::Duration;

use crate::clock::MonoNs;
use crate::item::{DiagSocket, Task};
use crate::tracker::Suspect;

use super::looks::Looks;
use super::{CleanUp, Code, Confidence, Evidence, Holder, Policy, ProcessEnd, Words};

/// What rules are given.
pub(super) struct Case<'a> {
    pub(super) suspect: &'a Suspect,
    pub(super) evidence: &'a Evidence,
    pub(super) now: MonoNs,
    /// When sentences are read; rules do not go by it.
    pub(super) told: MonoNs,
    pub(super) looks: Looks<'a>,
    /// Whether sentences are wanted, too.
    pub(super) says: bool,
}

impl<'a> Case<'a> {
    pub(super) fn new(suspect: &'a Suspect, evidence: &'a Evidence, now: MonoNs, policy: &Policy) -> Self {
        Self { suspect, evidence, now, told: now, looks: Looks::new(evidence, policy), says: false }
    }

    /// The socket at the newest look.
    pub(super) fn socket(&self) -> Option<&'a DiagSocket> {
        self.looks.last().map(|look| &look.socket)
    }

    /// Whether a file was made for the socket; `None` without a look.
    pub(super) fn has_file(&self) -> Option<bool> {
        self.socket().map(|socket| socket.inode != 0)
    }

    /// Known holders; empty when none, or not known.
    pub(super) fn holders(&self) -> &'a [Holder] {
        self.evidence.holders.known().map_or(&[], Vec::as_slice)
    }

    /// Names a process by its main thread where that is known: any thread of it may have
    /// been the last.
    pub(super) fn process(&self, task: &Task) -> String {
        let opener = self.evidence.opener.known().map(|opener| &opener.task);
        let main = opener.filter(|opener| opener.pid == task.pid && opener.tid == opener.pid);
        let holder = self.holders().iter().find(|holder| holder.pid == task.pid);
        let comm = holder.map(|holder| &*holder.comm);
        match comm.or(main.map(|main| main.comm.as_str())) {
            Some(comm) => format!("{comm}[{}]", task.pid),
            None => name(task).to_string(),
        }
    }

    /// Names the holders: `java[21773] fd 17 and 2 more`.
    pub(super) fn who(&self) -> Who<'a> {
        Who(self.holders(), self.evidence.ended.as_ref().map(|end| &end.task))
    }

    /// A sentence for later, empty where none is wanted.
    pub(super) fn say(&self, sentence: impl fmt::Display) -> String {
        if self.says { sentence.to_string() } else { String::new() }
    }
}

/// Names holders; where there are none any more, who had it in the end.
#[derive(Clone, Copy)]
pub(super) struct Who<'a>(&'a [Holder], Option<&'a Task>);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            ([], Some(ended)) => name(ended).fmt(f),
            ([], None) => f.write_str("the process that holds it"),
            ([only], _) => only.fmt(f),
            ([first, more @ ..], _) => write!(f, "{first} and {} more", more.len()),
        }
    }
}

/// How far a finding goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rank {
    /// It can be the verdict.
    Decisive,
    /// It can be the verdict as long as what it names is missing.
    Provisional,
    /// It holds too, but does not explain the socket.
    Also,
}

/// What a rule found.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Finding {
    pub(super) code: Code,
    pub(super) rank: Rank,
    pub(super) confidence: Confidence,
    pub(super) leak: Option<bool>,
    /// `None` where nobody wants them: most sockets are only counted, and putting
    /// numbers into sentences takes longer than finding out what to say.
    pub(super) words: Option<Words>,
}

impl Finding {
    /// A decisive finding of high confidence.
    pub(super) fn new(case: &Case, code: Code, leak: Option<bool>, next: impl fmt::Display) -> Self {
        let words = case.says.then(|| Words { next: next.to_string(), ..Words::default() });
        Self { code, rank: Rank::Decisive, confidence: Confidence::High, leak, words }
    }

    pub(super) fn because(mut self, evidence: impl fmt::Display) -> Self {
        self.say_because(evidence);
        self
    }

    /// The same, of one that is borrowed.
    pub(super) fn say_because(&mut self, evidence: impl fmt::Display) {
        if let Some(words) = &mut self.words {
            words.evidence.push(evidence.to_string());
        }
    }

    /// Other advice.
    pub(super) fn next(&mut self, next: impl fmt::Display) {
        if let Some(words) = &mut self.words {
            words.next = next.to_string();
        }
    }

    /// More advice.
    pub(super) fn add_next(&mut self, next: &str) {
        if let Some(words) = &mut self.words {
            words.next = format!("{} {next}", words.next);
        }
    }

    /// What is missing, however sure it is.
    pub(super) fn missing(&mut self, missing: impl fmt::Display) {
        if let Some(words) = &mut self.words {
            words.missing.push(missing.to_string());
        }
    }

    pub(super) fn at_most(mut self, confidence: Confidence) -> Self {
        self.confidence = self.confidence.min(confidence);
        self
    }

    /// Less sure for want of something.
    pub(super) fn without(self, missing: impl fmt::Display, confidence: Confidence) -> Self {
        let mut finding = self.at_most(confidence);
        finding.missing(missing);
        finding
    }

    /// Only until `missing` is known: of low confidence, and no leak yet.
    pub(super) fn until(self, missing: impl fmt::Display) -> Self {
        let mut finding = self.without(missing, Confidence::Low);
        finding.leak = None;
        if finding.rank == Rank::Decisive {
            finding.rank = Rank::Provisional;
        }
        finding
    }

    /// A finding that would be wrong if bytes still moved: rests on two looks
    /// between which none did. (That they did move, earlier rules have ruled out.)
    pub(super) fn if_still(self, case: &Case) -> Self {
        if let Some(end) = &case.evidence.ended {
            return match end.closed_after {
                None => self.because(format_args!("{} ended and had not closed it", case.process(&end.task))),
                Some(_) => self.because(closed_by(end)),
            };
        }
        let (span, socket) = match &case.looks {
            Looks::None(why) | Looks::One(_, why) => return self.until(why),
            Looks::Two(first, last) => (last.at.since(first.at), &last.socket),
        };
        let recv = case.looks.both(|look| look.socket.recv_q);
        let mut finding = match recv {
            Some((before, after)) if before == after => {
                self.because(format_args!("Recv-Q {} constant over {}", Queue(after), Time(span)))
            }
            _ => self,
        };
        if socket.send_q > 0 {
            finding.leak = None;
            finding = finding.without(
                format_args!("what becomes of {} bytes in Send-Q", socket.send_q),
                Confidence::Medium,
            );
        }
        if case.looks.growth(|tcp| tcp.bytes_acked).is_none() {
            return finding.without("bytes_acked: this source does not tell", Confidence::Medium);
        }
        finding.because(format_args!("nothing sent or acknowledged in {}", Time(span)))
    }
}

/// A receive queue as people count it: `1 (the FIN)`.
pub(super) struct Queue(pub(super) u32);

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            1 => f.write_str("1 (the FIN)"),
            n => write!(f, "{n} ({} bytes and the FIN)", n - 1),
        }
    }
}

/// A time with the precision a reader needs.
pub(super) struct Time(pub(super) Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        match ms {
            0..1000 => write!(f, "{ms} ms"),
            1000..120_000 => write!(f, "{}.{} s", ms / 1000, ms % 1000 / 100),
            120_000..7_200_000 => write!(f, "{} min", ms / 60_000),
            7_200_000..172_800_000 => write!(f, "{} h", ms / 3_600_000),
            _ => write!(f, "{} days", ms / 86_400_000),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] fd {}", self.comm, self.pid, self.fd)
    }
}

/// Who closed it, and how late.
pub(super) fn closed_by(end: &ProcessEnd) -> String {
    let after = end.closed_after.map(|after| format!(" {} after its peer", Time(after)));
    let after = after.unwrap_or_default();
    let by = match end.clean_up {
        None => return format!("{} closed it{after}", name(&end.task)),
        Some(CleanUp::Finalizer) => "a finalizer",
        Some(CleanUp::AtEnd) => "the runtime's clean-up at its end",
    };
    // With a comma: it was late because the program had not closed it at all.
    format!("{} closed it only by {by},{after}", name(&end.task)).trim_end_matches(',').to_owned()
}

/// Names a task: `java[21773]`, with the thread where it is not the main one.
pub(super) fn name(task: &Task) -> Named<'_> {
    Named(task)
}

/// See [`name`].
#[derive(Clone, Copy)]
pub(super) struct Named<'a>(&'a Task);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Task { comm, pid, tid } = self.0;
        if tid == pid { write!(f, "{comm}[{pid}]") } else { write!(f, "{comm}[{pid}/{tid}]") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_closed_it_is_told_with_what_of_a_runtime_did() {
        let task = Task { pid: 7, tid: 7, comm: "node".into() };
        let written = crate::fact::Fact::Known(0);
        let end = ProcessEnd { task, closed_after: None, clean_up: None, written };
        let late = Some(Duration::from_millis(602));
        for (closed_after, clean_up, told) in [
            (late, None, "node[7] closed it 602 ms after its peer"),
            (
                late,
                Some(CleanUp::AtEnd),
                "node[7] closed it only by the runtime's clean-up at its end, 602 ms after its peer",
            ),
            (late, Some(CleanUp::Finalizer), "node[7] closed it only by a finalizer, 602 ms after its peer"),
            (None, Some(CleanUp::Finalizer), "node[7] closed it only by a finalizer"),
        ] {
            assert_eq!(closed_by(&ProcessEnd { closed_after, clean_up, ..end.clone() }), told);
        }
    }

    #[test]
    fn times_and_queues_read_well() {
        let cases = [
            (0, "0 ms"),
            (412, "412 ms"),
            (1000, "1.0 s"),
            (60_040, "60.0 s"),
            (119_999, "119.9 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 days"),
        ];
        for (ms, want) in cases {
            assert_eq!(Time(Duration::from_millis(ms)).to_string(), want);
        }
        assert_eq!(
            [0, 1, 25].map(|n| Queue(n).to_string()),
            ["0", "1 (the FIN)", "25 (24 bytes and the FIN)"]
        );
    }
}
