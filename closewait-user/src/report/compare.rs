//! Two runs compared, cause by cause. Pure.
//!
//! In: the causes of two runs with their counts. Out: what is new, grown, shrunk and
//! gone, worst first. A cause has the same id in every run, so nothing is guessed; but a run
//! that began after a socket was opened knows less of it, and then its cause has another id.
//! A socket that both runs have counts by the one that knows more.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::rc::Rc;

use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use super::model::{Finding, Report};
use super::summary::Summary;
use super::text::block::running;
use super::{Moment, Sink};
use crate::stack::fold::own_frames;
use crate::tcp::{Endpoint, Tuple};
use crate::verdict::{Frame, How};

/// The causes of one run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Causes {
    by_id: BTreeMap<String, Counted>,
    sockets: HashMap<Same, Judged>,
    /// Of the sockets of a cause: those that another one was found for at first.
    recognised: BTreeMap<String, u64>,
}

/// What a socket is known again by, with its inode: there is one at a time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Same {
    netns: u32,
    tuple: Tuple,
}

/// How a run has judged a socket.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Judged {
    inode: u64,
    cause: String,
    leak: bool,
    /// Whether its opener is known, and whether EOF was read.
    knows: (bool, bool),
}

impl Judged {
    /// Whether what was seen of it is all that the other run has seen, and more.
    fn knows_more_than(&self, other: &Self) -> bool {
        self.knows != other.knows && self.knows.0 >= other.knows.0 && self.knows.1 >= other.knows.1
    }
}

/// The sink that takes in which sockets there are in a recording, as they were judged last.
#[derive(Clone, Default)]
pub struct Sockets(Rc<RefCell<HashMap<Same, Judged>>>);

impl Sink for Sockets {
    fn report(&mut self, report: &Report, _: Moment<'_>) -> io::Result<()> {
        let mut sockets = self.0.borrow_mut();
        match report {
            Report::Stuck(finding) | Report::Ghost(finding) => {
                let Finding { suspect, evidence, .. } = &**finding;
                let same = Same { netns: suspect.netns.0, tuple: suspect.tuple };
                let inode = evidence.looks.last().map_or(0, |look| look.socket.inode);
                let knows = (evidence.opener.known().is_some(), evidence.eof_read.known().is_some());
                let leak = finding.verdict.leak == Some(true);
                note(&mut sockets, same, Judged { inode, cause: finding.cause.to_string(), leak, knows });
            }
            Report::Released(release) => {
                let same = Same { netns: release.released.netns.0, tuple: release.released.tuple };
                sockets.remove(&same);
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, _: &Summary, _: Moment<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// Takes note of a socket, or that it is not known any more which one is there (a ghost was not
/// looked at as a socket is).
fn note(sockets: &mut HashMap<Same, Judged>, same: Same, judged: Judged) {
    if judged.inode == 0 {
        sockets.remove(&same);
    } else {
        sockets.insert(same, judged);
    }
}

/// One cause in one run.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Counted {
    code: String,
    owner: Option<String>,
    program: Option<String>,
    opened: Option<String>,
    sockets: u64,
    leaks: u64,
}

/// What became of a cause.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only in the second run.
    New,
    /// More sockets in the second run.
    Grown,
    /// Fewer.
    Shrunk,
    /// Only in the first run.
    Gone,
    /// As many.
    Same,
}

/// A cause in both runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// What became of it.
    pub change: Change,
    /// Its id.
    pub cause: String,
    /// Its verdict.
    pub code: String,
    /// The process to blame.
    pub owner: Option<String>,
    /// What that runs, where that tells more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The function that opened one of the sockets.
    pub opened: Option<String>,
    /// Sockets reported in the first run.
    pub before: u64,
    /// And in the second.
    pub after: u64,
    /// Of the run that has more: how many are leaks.
    pub leaks: u64,
    /// Only there where there are any: sockets of both runs that one of these has under another
    /// cause, for it knows less of them; they are counted here, by the run that knows more.
    #[serde(skip_serializing_if = "is_zero")]
    pub recognised: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Causes {
    /// Those of a run, and its sockets.
    pub fn of(summary: &Summary, sockets: &Sockets) -> Self {
        let counted = |cause: &super::summary::CauseCount| Counted {
            code: cause.code.name().to_owned(),
            owner: cause.owner.clone(),
            program: cause.program.as_deref().map(str::to_owned),
            opened: cause.opened.clone(),
            sockets: cause.sockets.total(),
            leaks: cause.sockets.yes,
        };
        let by_id = summary.by_cause.iter().map(|cause| (cause.cause.to_string(), counted(cause))).collect();
        Self { by_id, sockets: sockets.0.take(), ..Self::default() }
    }

    /// Those of lines of JSON: of the summary if there is one, else counted from the
    /// reports of sockets. Returns how many lines could not be read, too.
    pub fn of_lines<'a>(lines: impl Iterator<Item = &'a str>) -> (Self, u64) {
        let (mut counted, mut summary, mut unread) = (Self::default(), None, 0);
        let mut last = HashMap::new();
        for line in lines.filter(|line| !line.trim().is_empty()) {
            match serde_json::from_str::<Value>(line) {
                Ok(line) if line["kind"] == "summary" => summary = Some(line),
                Ok(line) if line["kind"].is_string() => {
                    counted.count(&line);
                    note_line(&mut last, &line);
                }
                _ => unread += 1,
            }
        }
        let Some(summary) = summary else { return (counted, unread) };
        let mut causes = Self::of_summary(&summary);
        for (id, cause) in &mut causes.by_id {
            // A summary has no stacks.
            cause.opened = counted.by_id.remove(id).and_then(|counted| counted.opened);
        }
        causes.sockets = last;
        (causes, unread)
    }

    fn of_summary(summary: &Value) -> Self {
        let causes = summary["by_cause"].as_array().map(Vec::as_slice).unwrap_or_default();
        let count = |sockets: &Value, leak: &str| sockets[leak].as_u64().unwrap_or(0);
        let counted = |cause: &Value| {
            let sockets = &cause["sockets"];
            let known = Counted {
                code: text(&cause["code"])?,
                owner: text(&cause["owner"]),
                program: text(&cause["program"]),
                opened: None,
                sockets: ["true", "null", "false"].iter().map(|leak| count(sockets, leak)).sum(),
                leaks: count(sockets, "true"),
            };
            Some((text(&cause["cause"])?, known))
        };
        Self { by_id: causes.iter().filter_map(counted).collect(), ..Self::default() }
    }

    fn count(&mut self, line: &Value) {
        if line["kind"] == "released" {
            return note_line(&mut self.sockets, line);
        }
        let is_socket = line["kind"] == "stuck" || line["kind"] == "ghost";
        let (Some(cause), Some(code)) = (text(&line["cause"]), text(&line["verdict"]["code"])) else {
            return;
        };
        if !is_socket || line["update"] == true {
            return;
        }
        // As it is counted: by what was reported of it first.
        note_line(&mut self.sockets, line);
        let owner = match &line["holders"][0] {
            Value::Null => &line["listener"],
            holder => holder,
        };
        let (owner, program) = (text(&owner["comm"]), text(&owner["program"]));
        let opened = opened_in(&line["opener"]["stack"]);
        let first = Counted { code, owner, program, opened, sockets: 0, leaks: 0 };
        let counted = self.by_id.entry(cause).or_insert(first);
        counted.sockets += 1;
        counted.leaks += u64::from(line["verdict"]["leak"] == true);
    }

    /// Counts a socket under another cause, which `other` knows.
    fn recount(&mut self, from: &Judged, to: &Judged, other: &Self) {
        let Some(shown) = other.by_id.get(&to.cause) else { return };
        let Some(counted) = self.by_id.get_mut(&from.cause).filter(|counted| counted.sockets > 0) else {
            return;
        };
        counted.sockets -= 1;
        counted.leaks = counted.leaks.saturating_sub(from.leak.into());
        let none = || Counted { sockets: 0, leaks: 0, ..shown.clone() };
        let counted = self.by_id.entry(to.cause.clone()).or_insert_with(none);
        counted.sockets += 1;
        counted.leaks += u64::from(to.leak);
        *self.recognised.entry(to.cause.clone()).or_default() += 1;
    }

    /// Counts the sockets that both runs have by the one that knows more of them.
    fn recognise(before: &mut Self, after: &mut Self) {
        let pairs = |(same, then): (&Same, &Judged)| {
            let now = after.sockets.get(same)?;
            if now.inode != then.inode || now.cause == then.cause {
                return None;
            }
            Some((then.clone(), now.clone()))
        };
        let pairs: Vec<_> = before.sockets.iter().filter_map(pairs).collect();
        for (then, now) in pairs {
            if then.knows_more_than(&now) {
                after.recount(&now, &then, before);
            } else if now.knows_more_than(&then) {
                before.recount(&then, &now, after);
            }
        }
    }

    /// What became of each cause: new ones first, then by how much they grew.
    pub fn compared_with(mut self, mut after: Self) -> Vec<Difference> {
        Self::recognise(&mut self, &mut after);
        let ids = self.by_id.keys().chain(after.by_id.keys().filter(|id| !self.by_id.contains_key(*id)));
        let mut all: Vec<_> = ids
            .filter_map(|id| {
                let recognised = [&self, &after].map(|run| run.recognised.get(id).copied().unwrap_or(0));
                let (before, after) = (self.by_id.get(id), after.by_id.get(id));
                let sockets = |counted: Option<&Counted>| counted.map_or(0, |counted| counted.sockets);
                let shown = after.or(before)?;
                let change = match (sockets(before), sockets(after)) {
                    // All of them count elsewhere.
                    (0, 0) => return None,
                    (0, _) => Change::New,
                    (_, 0) => Change::Gone,
                    (b, a) if a > b => Change::Grown,
                    (b, a) if a < b => Change::Shrunk,
                    _ => Change::Same,
                };
                let leaks =
                    before.map_or(0, |counted| counted.leaks).max(after.map_or(0, |counted| counted.leaks));
                Some(Difference {
                    change,
                    cause: id.clone(),
                    code: shown.code.clone(),
                    owner: shown.owner.clone(),
                    program: shown.program.clone(),
                    opened: shown.opened.clone(),
                    before: sockets(before),
                    after: sockets(after),
                    leaks,
                    recognised: recognised.iter().sum(),
                })
            })
            .collect();
        let worst = |d: &Difference| {
            let moved = d.after.abs_diff(d.before);
            (d.change, std::cmp::Reverse((d.leaks > 0, moved)), d.cause.clone())
        };
        all.sort_by_cached_key(worst);
        all
    }
}

/// Takes note of the socket of a line.
fn note_line(sockets: &mut HashMap<Same, Judged>, line: &Value) {
    let Some(same) = same(&line["socket"]) else { return };
    if line["kind"] == "released" {
        sockets.remove(&same);
    }
    let is_socket = line["kind"] == "stuck" || line["kind"] == "ghost";
    let Some(cause) = text(&line["cause"]).filter(|_| is_socket) else { return };
    let inode = line["socket"]["inode"].as_u64().unwrap_or(0);
    let knows = (!line["opener"].is_null(), line["eof_read_unknown"].is_null());
    let leak = line["verdict"]["leak"] == true;
    note(sockets, same, Judged { inode, cause, leak, knows });
}

/// What the socket of a line is known again by.
fn same(socket: &Value) -> Option<Same> {
    let end = |end: &Value| {
        let port = u16::try_from(end["port"].as_u64()?).ok()?;
        Some(Endpoint { ip: end["ip"].as_str()?.parse().ok()?, port })
    };
    Some(Same {
        netns: u32::try_from(socket["netns"].as_u64().unwrap_or(0)).ok()?,
        tuple: Tuple { local: end(&socket["local"])?, remote: end(&socket["remote"])? },
    })
}

/// The innermost function of a stack's program, as [`super::Finding::opened_in`].
fn opened_in(stack: &Value) -> Option<String> {
    let frame = |frame: &Value| Frame {
        addr: 0,
        symbol: text(&frame["symbol"]),
        module: text(&frame["module"]),
        build_id: None,
        offset: 0,
        file: text(&frame["file"]),
        line: None,
        inlined: false,
        // A function of a Python program is told from the interpreter's by this.
        how: How::deserialize(&frame["how"]).unwrap_or(How::Dwarf),
    };
    let frames: Vec<_> = stack.as_array()?.iter().map(frame).collect();
    own_frames(&frames).first()?.symbol.clone()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

impl Change {
    /// As it is printed.
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Grown => "grown",
            Self::Shrunk => "shrunk",
            Self::Gone => "gone",
            Self::Same => "same",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = self.owner.as_deref().map_or_else(
            || "?".into(),
            |owner| format!("{}{}", super::escape::escape(owner), running(owner, self.program.as_deref())),
        );
        write!(
            f,
            "{:<7} {:<16} {:<16} {:>7} -> {:<7} {}",
            self.change.word(),
            owner,
            self.code,
            self.before,
            self.after,
            self.cause
        )?;
        let opened = self.opened.as_deref().map(super::escape::escape);
        opened.map_or(Ok(()), |function| write!(f, "  opened in {function}"))?;
        match self.recognised {
            0 => Ok(()),
            n => write!(f, "  ({n} recognised)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(of: &[(&str, u64, u64)]) -> Causes {
        let counted = |&(id, sockets, leaks): &(&str, u64, u64)| {
            let (owner, opened) = (Some("java".into()), Some("lease".into()));
            let (code, program) = ("NOT_READING".into(), Some("java -jar shop.jar".into()));
            let counted = Counted { code, owner, program, opened, sockets, leaks };
            (id.to_owned(), counted)
        };
        Causes { by_id: of.iter().map(counted).collect(), ..Causes::default() }
    }

    #[test]
    fn new_causes_come_first_and_leaks_before_what_is_harmless() {
        let before = causes(&[("gone", 5, 5), ("same", 2, 2), ("grown", 1, 1), ("shrunk", 9, 0)]);
        let after =
            causes(&[("same", 2, 2), ("grown", 4, 4), ("shrunk", 8, 0), ("pool", 90, 0), ("leak", 3, 3)]);
        let compared: Vec<_> =
            before.compared_with(after).into_iter().map(|d| (d.change.word(), d.cause)).collect();
        let want = [
            ("new", "leak"),
            ("new", "pool"),
            ("grown", "grown"),
            ("shrunk", "shrunk"),
            ("gone", "gone"),
            ("same", "same"),
        ];
        assert_eq!(compared, want.map(|(change, cause)| (change, cause.to_owned())));
    }

    #[test]
    fn a_python_program_opened_it_not_its_interpreter() {
        let stack = serde_json::json!([
            {"symbol": "sock_accept_impl", "module": "/usr/bin/python3.11", "file": "socketmodule.c", "how": "dwarf"},
            {"symbol": "serve", "module": "orders.py", "file": "/srv/orders.py", "how": "python"},
            {"symbol": "_start", "module": "/usr/bin/python3.11", "file": null, "how": "dwarf"},
        ]);
        assert_eq!(opened_in(&stack).as_deref(), Some("serve"));
        assert_eq!(opened_in(&serde_json::json!([stack[0], stack[2]])).as_deref(), Some("sock_accept_impl"));
    }

    /// Five sockets of a trace, then of another that began when they were stuck, with one more of
    /// each kind.
    #[test]
    fn a_socket_that_both_runs_have_counts_by_the_one_that_knows_more() {
        let line = |port: u16, cause: &str, code: &str, seen: bool| {
            let opener = if seen { r#"{"comm":"java"}"# } else { "null" };
            let eof = if seen { "" } else { r#""eof_read_unknown":"older than this trace","# };
            format!(
                r#"{{"kind":"stuck","cause":"{cause}","socket":{{"local":{{"ip":"10.0.0.1","port":80}},"remote":{{"ip":"10.0.0.2","port":{port}}},"netns":1,"inode":{}}},"opener":{opener},{eof}"holders":[{{"comm":"java"}}],"verdict":{{"code":"{code}","leak":true}}}}"#,
                1000 + u64::from(port)
            )
        };
        let of = |lines: &[String]| Causes::of_lines(lines.iter().map(String::as_str)).0;
        let first: Vec<_> = (1..=5).map(|port| line(port, "a", "EOF_IGNORED", true)).collect();
        let mut second: Vec<_> = (1..=5).map(|port| line(port, "b", "EOF_CONSUMED", false)).collect();
        let told = |before: &[String], after: &[String]| {
            let all = of(before).compared_with(of(after));
            all.iter()
                .map(|d| (d.cause.clone(), d.change, d.before, d.after, d.recognised))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&first, &second), [("a".into(), Change::Same, 5, 5, 5)]);
        // Whichever of them was first.
        assert_eq!(told(&second, &first), [("a".into(), Change::Same, 5, 5, 5)]);
        second.extend([line(6, "b", "EOF_CONSUMED", false), line(7, "a", "EOF_IGNORED", true)]);
        let want = [("b".into(), Change::New, 0, 1, 0), ("a".into(), Change::Grown, 5, 6, 5)];
        assert_eq!(told(&first, &second), want);
        // One that has turned ghost meanwhile counts as that, and one that was closed not at all.
        let ghost =
            line(5, "g", "GHOST_RESET", false).replace("\"stuck\"", "\"ghost\"").replace("1005", "null");
        let closed = line(4, "b", "", false).replace("\"stuck\"", "\"released\"");
        let ended: Vec<_> = second[..5].iter().cloned().chain([ghost, closed]).collect();
        let ended = told(&first, &ended);
        assert!(ended.contains(&("a".into(), Change::Shrunk, 5, 3, 3)), "{ended:?}");
        assert!(ended.contains(&("g".into(), Change::New, 0, 1, 0)), "{ended:?}");
        // A verdict that has changed while as much was seen is another one.
        let changed = [line(1, "c", "NOT_READING", true)];
        let want = [("c".into(), Change::New, 0, 1, 0), ("a".into(), Change::Gone, 1, 0, 0)];
        assert_eq!(told(&first[..1], &changed), want);
        let line = of(&first).compared_with(of(&second)).pop().unwrap();
        assert!(line.to_string().ends_with("  (5 recognised)"), "{line}");
        assert_eq!(serde_json::to_value(&line).unwrap()["recognised"], 5);
    }

    #[test]
    fn a_program_is_told_behind_its_owner() {
        for (owner, program, told) in [
            (Some("java"), Some("java -jar shop.jar"), "java -jar shop.jar "),
            (Some("python3"), Some("program 1"), "python3 program 1 "),
            (Some("java"), None, "java   "),
            (None, None, "?   "),
        ] {
            let mut difference = Causes::default().compared_with(causes(&[("a", 1, 1)])).remove(0);
            (difference.owner, difference.program) = (owner.map(str::to_owned), program.map(str::to_owned));
            let line = difference.to_string();
            assert!(line.starts_with(&format!("new     {told}")), "{line}");
        }
    }

    #[test]
    fn lines_are_counted_by_their_summary_or_one_by_one() {
        let stuck = r#"{"kind":"stuck","cause":"0000000a","holders":[{"comm":"java","program":"java -jar shop.jar"}],"opener":{"stack":[{"symbol":"connect","module":"/lib/libc.so.6"},{"symbol":"lease","module":"/app"}]},"verdict":{"code":"NOT_READING","leak":true}}"#;
        let update = stuck.replace("\"cause\"", "\"update\":true,\"cause\"");
        let summary = r#"{"kind":"summary","by_cause":[{"cause":"0000000a","owner":"java","program":"java -jar shop.jar","code":"NOT_READING","sockets":{"true":7,"null":1,"false":0}}]}"#;
        let (one_by_one, unread) = Causes::of_lines([stuck, &update, "", stuck, "{"].into_iter());
        assert_eq!((one_by_one, unread), (causes(&[("0000000a", 2, 2)]), 1));
        let (by_summary, unread) = Causes::of_lines([stuck, summary].into_iter());
        assert_eq!((by_summary, unread), (causes(&[("0000000a", 8, 7)]), 0));
    }
}
