//! The label of a case: what is true of an incident, and what it needs. Read from
//! tests/corpus/cases/NAME.toml; a label never bends to what the tool says.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

/// One case: its file's name and what is in the file.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) label: Label,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Label {
    /// One line: what happens to whom
    pub(super) title: String,
    /// The driver in tests/corpus/drivers and its arguments
    pub(super) run: Vec<String>,
    #[serde(default)]
    pub(super) needs: Needs,
    /// When the tool starts
    pub(super) tool: Start,
    /// More options for the tool
    #[serde(default)]
    pub(super) options: Vec<String>,
    /// The tool looks at least this long, in seconds
    #[serde(default = "Label::a_moment")]
    pub(super) watch_s: u64,
    pub(super) expect: Expect,
}

/// What has to be installed, by name.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Needs {
    #[serde(default)]
    pub(super) debian: BTreeSet<String>,
    #[serde(default)]
    pub(super) pip: BTreeSet<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Start {
    /// Before the driver
    Before,
    /// When the sockets are stuck
    After,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// Each code that must be reported, and the leak that must be said with it; none:
    /// nothing may be reported
    #[serde(default)]
    pub(super) verdicts: BTreeMap<String, Leak>,
    /// The names of the processes to blame
    #[serde(default)]
    pub(super) processes: BTreeSet<String>,
    /// Words that a developer needs, each in some report: a frame, a thread, a number
    #[serde(default)]
    pub(super) shows: Vec<String>,
    pub(super) not_yet: Option<NotYet>,
}

/// Words that belong to `shows`, and that the tool cannot know yet.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotYet {
    pub(super) shows: Vec<String>,
    /// What it lacks for that
    pub(super) why: String,
}

/// What is to be said: `true`, `false`, or `"unknown"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(try_from = "toml::Value")]
pub(super) struct Leak(pub(super) Option<bool>);

impl TryFrom<toml::Value> for Leak {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        match value {
            toml::Value::Boolean(leak) => Ok(Self(Some(leak))),
            toml::Value::String(word) if word == "unknown" => Ok(Self(None)),
            other => Err(format!("a leak is true, false or \"unknown\", not a {}", other.type_str())),
        }
    }
}

impl std::fmt::Display for Leak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Some(true) => "true",
            Some(false) => "false",
            None => "null",
        })
    }
}

impl Label {
    fn a_moment() -> u64 {
        3
    }

    /// Whether a look, and no long watch, is enough for the right answer.
    pub(super) fn is_quick(&self) -> bool {
        self.watch_s < 60
            || self.expect.verdicts.keys().all(|code| code != "IDLE_POOL" && code != "GHOST_RESET")
    }

    pub(super) fn watch(&self) -> Duration {
        Duration::from_secs(self.watch_s)
    }

    /// Nothing of it may be called a leak.
    pub(super) fn is_healthy(&self) -> bool {
        !self.expect.verdicts.values().any(|leak| leak.0 == Some(true))
    }
}

/// The cases in `dir`, by name.
///
/// # Errors
/// Names the file that is no label, and why.
pub(super) fn all(dir: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let file = entry?.path();
        if file.extension().is_none_or(|it| it != "toml") {
            continue;
        }
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file)?;
        let label = parse(&text).with_context(|| file.display().to_string())?;
        cases.push(Case { name, label });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

pub(super) fn parse(text: &str) -> Result<Label> {
    let label: Label = toml::from_str(text)?;
    ensure!(!label.run.is_empty(), "`run` names no driver");
    ensure!(
        label.expect.verdicts.is_empty() || !label.expect.processes.is_empty(),
        "`processes` do not say who is to blame"
    );
    Ok(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "title = 't'\nrun = ['a.py']\ntool = 'after'\n[expect]\n";

    #[test]
    fn every_leak_can_be_written() {
        for (written, want) in [("true", Some(true)), ("false", Some(false)), ("'unknown'", None)] {
            let text = format!("{START}verdicts = {{ IDLE_POOL = {written} }}\nprocesses = ['x']");
            let label = parse(&text).unwrap();
            assert_eq!(label.expect.verdicts["IDLE_POOL"], Leak(want));
            assert_eq!(label.is_healthy(), want != Some(true));
        }
        for wrong in ["'null'", "1", "[]"] {
            assert!(parse(&format!("{START}verdicts = {{ X = {wrong} }}\nprocesses = ['x']")).is_err());
        }
    }

    #[test]
    fn what_is_not_a_label_is_refused() {
        assert!(parse(START).is_ok(), "nothing may be reported");
        assert!(parse(&START.replace("'a.py'", "")).is_err(), "no driver");
        assert!(parse(&START.replace("after", "later")).is_err());
        assert!(parse(&format!("{START}verdicts = {{ X = true }}")).is_err(), "nobody is blamed");
        assert!(parse(&format!("{START}process = 'x'")).is_err(), "a slip");
    }
}
