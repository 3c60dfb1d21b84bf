//! Whether what was reported is right. Pure: the label, what `ss` and the driver say,
//! and the tool's lines in; what was got and every mistake out.

use super::label::{Expect, Leak};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A socket inside one namespace: its local and its remote port.
pub(super) type Ends = (u16, u16);

/// What is true whatever the tool says.
#[derive(Default, Clone)]
pub(super) struct Truth {
    /// Stuck sockets, and the processes that `ss` names for each: its holders, of one
    /// that nobody accepted those of its listener
    pub(super) stuck: BTreeMap<Ends, BTreeSet<u32>>,
    /// How many descriptors the driver knows of whose connections are gone
    pub(super) ghosts: usize,
    /// Processes that the driver said hold them; empty: it did not say
    pub(super) holders: BTreeSet<u32>,
}

/// What the tool has said so far.
#[derive(Default)]
pub(super) struct Told {
    latest: BTreeMap<(Ends, bool), Value>,
    /// Verdicts with `leak: true`, also those that were corrected later
    pub(super) alarms: Vec<String>,
}

/// A verdict on what the tool said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// Sockets by code and leak, as in `7 IDLE_POOL null`
    pub(super) got: String,
    pub(super) confidence: String,
    /// Some socket's leak was left open
    pub(super) left_open: bool,
    /// What had to be reported was, with the right verdicts
    pub(super) right_verdicts: bool,
    /// No socket had a wrong process
    pub(super) right_process: bool,
    pub(super) mistakes: Vec<String>,
}

impl Told {
    /// Takes a line of the tool's JSON.
    pub(super) fn take(&mut self, line: Value) {
        let kind = line["kind"].as_str().unwrap_or_default();
        if let Some(ends) = ends(&line).filter(|_| kind == "released") {
            self.latest.remove(&(ends, false));
            self.latest.remove(&(ends, true));
        }
        let is_ghost = kind == "ghost";
        let Some(ends) = ends(&line).filter(|_| kind == "stuck" || is_ghost) else { return };
        if line["verdict"]["leak"] == true {
            self.alarms.push(format!("{} of {}", said(&line), named(&line)));
        }
        self.latest.insert((ends, is_ghost), line);
    }

    /// Compares with the label.
    pub(super) fn judge(&self, expect: &Expect, truth: &Truth) -> Judged {
        // A socket that was released or came later is nobody's mistake.
        let of_truth = |(ends, is_ghost): &(Ends, bool)| *is_ghost || truth.stuck.contains_key(ends);
        let lines: Vec<(&(Ends, bool), &Value)> =
            self.latest.iter().filter(|(key, _)| of_truth(key)).collect();
        let mut judged = Judged::default();
        let mut by_words: BTreeMap<String, usize> = BTreeMap::new();
        let mut confidences = BTreeSet::new();
        for (_, line) in &lines {
            *by_words.entry(said(line)).or_default() += 1;
            confidences.extend(line["verdict"]["confidence"].as_str());
            judged.left_open |= line["verdict"]["leak"].is_null();
        }
        let words: Vec<String> = by_words.iter().map(|(words, count)| format!("{count} {words}")).collect();
        judged.got = if words.is_empty() { "nothing".into() } else { words.join(", ") };
        judged.confidence = confidences.into_iter().collect::<Vec<_>>().join(", ");

        judged.mistakes.extend(missing(&lines, truth));
        judged.mistakes.extend(verdicts(&lines, expect));
        judged.right_verdicts = judged.mistakes.is_empty();
        let before = judged.mistakes.len();
        judged
            .mistakes
            .extend(lines.iter().filter_map(|(key, line)| wrong_process(**key, line, expect, truth)));
        judged.right_process = judged.mistakes.len() == before;
        let is_shown = |words: &str| lines.iter().any(|(_, line)| line.to_string().contains(words));
        let unseen = expect.shows.iter().filter(|words| !is_shown(words));
        judged.mistakes.extend(unseen.map(|words| format!("no report shows {words:?}")));
        if let Some(later) = &expect.not_yet {
            let seen = later.shows.iter().filter(|words| is_shown(words));
            judged
                .mistakes
                .extend(seen.map(|words| format!("{words:?} is shown by now: move it out of not_yet")));
        }
        judged.mistakes.dedup();
        judged
    }
}

fn missing(lines: &[(&(Ends, bool), &Value)], truth: &Truth) -> Option<String> {
    let ghosts = lines.iter().filter(|((_, is_ghost), _)| *is_ghost).count();
    let stuck = lines.len() - ghosts;
    (stuck != truth.stuck.len() || ghosts != truth.ghosts).then(|| {
        format!(
            "{stuck} of {} stuck sockets and {ghosts} of {} ghosts reported",
            truth.stuck.len(),
            truth.ghosts
        )
    })
}

fn verdicts(lines: &[(&(Ends, bool), &Value)], expect: &Expect) -> Vec<String> {
    let mut left: BTreeMap<&str, Leak> =
        expect.verdicts.iter().map(|(code, leak)| (code.as_str(), *leak)).collect();
    let mut wrong = BTreeSet::new();
    for (_, line) in lines {
        let verdict = &line["verdict"];
        let code = verdict["code"].as_str().unwrap_or_default();
        if expect.verdicts.get(code) == Some(&Leak(verdict["leak"].as_bool())) {
            left.remove(code);
        } else {
            wrong.insert(format!("{} was not expected: {}", said(line), verdict["evidence"]));
        }
    }
    let absent = left.into_iter().map(|(code, leak)| format!("no {code} {leak}"));
    wrong.into_iter().take(2).chain(absent).collect()
}

fn wrong_process(
    (ends, is_ghost): (Ends, bool),
    line: &Value,
    expect: &Expect,
    truth: &Truth,
) -> Option<String> {
    let of = |value: &Value| {
        Some((u32::try_from(value["pid"].as_u64()?).ok()?, value["comm"].as_str()?.to_owned()))
    };
    let holders = line["holders"].as_array().into_iter().flatten();
    let named: Vec<(u32, String)> = holders.chain([&line["listener"]]).filter_map(of).collect();
    let pids: BTreeSet<u32> = named.iter().map(|(pid, _)| *pid).collect();
    let by_ss = truth.stuck.get(&ends).filter(|_| !is_ghost);
    if by_ss.is_some_and(|right| !pids.is_subset(right) || (pids.is_empty() != right.is_empty())) {
        return Some(format!("process {pids:?} of {ends:?}, ss says {by_ss:?}"));
    }
    if !truth.holders.is_empty() && (pids.is_empty() || !pids.is_subset(&truth.holders)) {
        return Some(format!("process {pids:?} of {ends:?}, the driver says {:?}", truth.holders));
    }
    let is_blamed = named.iter().any(|(_, comm)| expect.processes.contains(comm));
    (!is_blamed).then(|| format!("process {named:?} of {ends:?} is none of {:?}", expect.processes))
}

fn ends(line: &Value) -> Option<Ends> {
    let port = |end: &str| u16::try_from(line["socket"][end]["port"].as_u64()?).ok();
    Some((port("local")?, port("remote")?))
}

fn said(line: &Value) -> String {
    let verdict = &line["verdict"];
    format!("{} {}", verdict["code"].as_str().unwrap_or_default(), verdict["leak"])
}

fn named(line: &Value) -> String {
    format!("{} -> {}", line["socket"]["local"]["port"], line["socket"]["remote"]["port"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::label::NotYet;
    use serde_json::json;

    fn line(code: &str, leak: Option<bool>, pid: u32) -> Value {
        json!({"kind": "stuck", "socket": {"local": {"port": 1}, "remote": {"port": 2}},
            "holders": [{"pid": pid, "comm": "app"}], "listener": null,
            "verdict": {"code": code, "leak": leak, "confidence": "high", "evidence": ["because"]}})
    }

    fn truth() -> Truth {
        Truth { stuck: BTreeMap::from([((1, 2), BTreeSet::from([7]))]), ..Truth::default() }
    }

    fn expect(leak: Option<bool>) -> Expect {
        Expect {
            verdicts: BTreeMap::from([("IDLE_POOL".into(), Leak(leak))]),
            processes: BTreeSet::from(["app".into()]),
            ..Expect::default()
        }
    }

    fn mistakes(lines: &[Value], expect: &Expect, truth: &Truth) -> Vec<String> {
        let mut told = Told::default();
        for line in lines {
            told.take(line.clone());
        }
        told.judge(expect, truth).mistakes
    }

    #[test]
    fn what_is_right_has_no_mistake() {
        let lines = [line("IDLE_POOL", None, 7), line("IDLE_POOL", Some(false), 7)];
        assert_eq!(
            mistakes(&lines, &expect(Some(false)), &truth()),
            Vec::<String>::new(),
            "the last one counts"
        );
        assert_eq!(mistakes(&[], &Expect::default(), &Truth::default()), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_mistake_is_seen() {
        let right = line("IDLE_POOL", None, 7);
        let ghost = |pid| {
            let mut ghost = line("IDLE_POOL", None, pid);
            ghost["kind"] = "ghost".into();
            ghost
        };
        let said = Truth { holders: BTreeSet::from([8]), ..truth() };
        let shows = Expect { shows: vec!["lease".into()], ..expect(None) };
        let other = Expect { processes: BTreeSet::from(["other".into()]), ..expect(None) };
        let not_yet = Some(NotYet { shows: vec!["because".into()], why: "test".into() });
        let table: [(&str, Vec<Value>, Expect, Truth); 10] = [
            ("socket not reported", vec![], expect(None), truth()),
            ("code", vec![line("UNKNOWN", None, 7)], expect(None), truth()),
            ("leak", vec![line("IDLE_POOL", Some(true), 7)], expect(None), truth()),
            ("pid, by ss", vec![line("IDLE_POOL", None, 9)], expect(None), truth()),
            ("pid, by the driver", vec![right.clone()], expect(None), said),
            ("name", vec![right.clone()], other, truth()),
            ("words", vec![right.clone()], shows, truth()),
            (
                "words that were not to be had",
                vec![right.clone()],
                Expect { not_yet, ..expect(None) },
                truth(),
            ),
            ("ghost that is none", vec![right.clone(), ghost(7)], expect(None), truth()),
            ("reported although nothing is wrong", vec![right], Expect::default(), truth()),
        ];
        for (what, lines, expect, truth) in table {
            assert_ne!(mistakes(&lines, &expect, &truth), Vec::<String>::new(), "{what}");
        }
    }

    #[test]
    fn what_acceptance_counts_is_told_apart() {
        let judged = |lines: &[Value], expect: &Expect| {
            let mut told = Told::default();
            for line in lines {
                told.take(line.clone());
            }
            let judged = told.judge(expect, &truth());
            (judged.right_verdicts, judged.right_process, judged.left_open)
        };
        assert_eq!(judged(&[line("IDLE_POOL", None, 7)], &expect(None)), (true, true, true));
        assert_eq!(judged(&[line("IDLE_POOL", Some(true), 7)], &expect(None)), (false, true, false));
        assert_eq!(judged(&[line("IDLE_POOL", Some(true), 9)], &expect(Some(true))), (true, false, false));
        let shows = Expect { shows: vec!["lease".into()], ..expect(Some(true)) };
        assert_eq!(judged(&[line("IDLE_POOL", Some(true), 7)], &shows), (true, true, false));
    }

    #[test]
    fn a_released_socket_is_not_reported_any_more() {
        let mut told = Told::default();
        for kind in ["stuck", "ghost", "released"] {
            let mut line = line("IDLE_POOL", None, 7);
            line["kind"] = kind.into();
            told.take(line);
        }
        assert_eq!(told.judge(&Expect::default(), &Truth::default()).got, "nothing");
    }

    #[test]
    fn an_alarm_is_remembered() {
        let mut told = Told::default();
        told.take(line("IDLE_POOL", Some(true), 7));
        told.take(line("IDLE_POOL", Some(false), 7));
        assert_eq!(told.alarms, ["IDLE_POOL true of 1 -> 2"]);
    }
}
