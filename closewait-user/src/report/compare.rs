//! Two runs compared, cause by cause. Pure.
//!
//! In: the causes of two runs with their counts. Out: what is new, grown, shrunk and
//! gone, worst first. A cause has the same id in every run, so nothing is guessed.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::summary::Summary;
use super::text::block::running;
use crate::stack::fold::own_frames;
use crate::verdict::{Frame, How};

/// The causes of one run, by id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Causes(BTreeMap<String, Counted>);

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
}

impl Causes {
    /// Those of a run.
    pub fn of(summary: &Summary) -> Self {
        let counted = |cause: &super::summary::CauseCount| Counted {
            code: cause.code.name().to_owned(),
            owner: cause.owner.clone(),
            program: cause.program.as_deref().map(str::to_owned),
            opened: cause.opened.clone(),
            sockets: cause.sockets.total(),
            leaks: cause.sockets.yes,
        };
        Self(summary.by_cause.iter().map(|cause| (cause.cause.to_string(), counted(cause))).collect())
    }

    /// Those of lines of JSON: of the summary if there is one, else counted from the
    /// reports of sockets. Returns how many lines could not be read, too.
    pub fn of_lines<'a>(lines: impl Iterator<Item = &'a str>) -> (Self, u64) {
        let (mut counted, mut summary, mut unread) = (Self::default(), None, 0);
        for line in lines.filter(|line| !line.trim().is_empty()) {
            match serde_json::from_str::<Value>(line) {
                Ok(line) if line["kind"] == "summary" => summary = Some(line),
                Ok(line) if line["kind"].is_string() => counted.count(&line),
                _ => unread += 1,
            }
        }
        let Some(summary) = summary else { return (counted, unread) };
        let mut causes = Self::of_summary(&summary);
        for (id, cause) in &mut causes.0 {
            // A summary has no stacks.
            cause.opened = counted.0.remove(id).and_then(|counted| counted.opened);
        }
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
        Self(causes.iter().filter_map(counted).collect())
    }

    fn count(&mut self, line: &Value) {
        let is_socket = line["kind"] == "stuck" || line["kind"] == "ghost";
        let (Some(cause), Some(code)) = (text(&line["cause"]), text(&line["verdict"]["code"])) else {
            return;
        };
        if !is_socket || line["update"] == true {
            return;
        }
        let owner = match &line["holders"][0] {
            Value::Null => &line["listener"],
            holder => holder,
        };
        let (owner, program) = (text(&owner["comm"]), text(&owner["program"]));
        let opened = opened_in(&line["opener"]["stack"]);
        let first = Counted { code, owner, program, opened, sockets: 0, leaks: 0 };
        let counted = self.0.entry(cause).or_insert(first);
        counted.sockets += 1;
        counted.leaks += u64::from(line["verdict"]["leak"] == true);
    }

    /// What became of each cause: new ones first, then by how much they grew.
    pub fn compared_with(&self, after: &Self) -> Vec<Difference> {
        let ids = self.0.keys().chain(after.0.keys().filter(|id| !self.0.contains_key(*id)));
        let mut all: Vec<_> = ids
            .filter_map(|id| {
                let (before, after) = (self.0.get(id), after.0.get(id));
                let sockets = |counted: Option<&Counted>| counted.map_or(0, |counted| counted.sockets);
                let shown = after.or(before)?;
                let change = match (sockets(before), sockets(after)) {
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

/// The innermost function of a stack's program, as [`super::Finding::opened_in`].
fn opened_in(stack: &Value) -> Option<String> {
    let frame = |frame: &Value| Frame {
        addr: 0,
        symbol: text(&frame["symbol"]),
        module: text(&frame["module"]),
        build_id: None,
        offset: 0,
        file: None,
        line: None,
        inlined: false,
        how: How::Dwarf,
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
        opened.map_or(Ok(()), |function| write!(f, "  opened in {function}"))
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
        Causes(of.iter().map(counted).collect())
    }

    #[test]
    fn new_causes_come_first_and_leaks_before_what_is_harmless() {
        let before = causes(&[("gone", 5, 5), ("same", 2, 2), ("grown", 1, 1), ("shrunk", 9, 0)]);
        let after =
            causes(&[("same", 2, 2), ("grown", 4, 4), ("shrunk", 8, 0), ("pool", 90, 0), ("leak", 3, 3)]);
        let compared: Vec<_> =
            before.compared_with(&after).into_iter().map(|d| (d.change.word(), d.cause)).collect();
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
    fn a_program_is_told_behind_its_owner() {
        for (owner, program, told) in [
            (Some("java"), Some("java -jar shop.jar"), "java -jar shop.jar "),
            (Some("python3"), Some("program 1"), "python3 program 1 "),
            (Some("java"), None, "java   "),
            (None, None, "?   "),
        ] {
            let mut difference = Causes::default().compared_with(&causes(&[("a", 1, 1)])).remove(0);
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
