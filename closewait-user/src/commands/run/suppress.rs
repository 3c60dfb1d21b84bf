//! Known leaks: a file of patterns, one leak a line.
//!
//! ```text
//! # The pool of the payment client, until it is replaced.
//! frame:*HttpPool.lease* remote:10.0.0.9:443
//! comm:"my server" verdict:IDLE_POOL
//! cause:b1946ac9
//! ```
//!
//! The terms of a line must all hold. In a pattern `*` is any text; a value with blanks
//! stands in double quotes. `#` begins a comment.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::gate::Reported;
use crate::error::Failure;
use crate::files;
use crate::report::{CauseId, Finding};
use crate::verdict::Frame;

/// Larger than any list that people read.
const FILE_MAX: u64 = 1 << 20;

/// The file.
#[derive(Default, Debug)]
pub(super) struct Suppressions {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// A line.
#[derive(Debug)]
struct Entry {
    line: usize,
    text: String,
    terms: Vec<(Key, String)>,
    used: u64,
}

/// What a pattern is held against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    /// The function or the module of any frame.
    Frame,
    /// The name of the owner or the opener.
    Comm,
    /// `ADDRESS:PORT` of the remote end.
    Remote,
    /// The verdict's code.
    Verdict,
    /// The cause's id.
    Cause,
}

impl Suppressions {
    /// Reads the file, which may be missing if it is `to_be_written`.
    pub(super) fn open(path: &Path, to_be_written: bool) -> Result<Self, Failure> {
        let cannot = |what: String| Failure::new(format!("--suppressions {}: {what}", path.display()));
        let text = match files::obeyed("--suppressions", path, FILE_MAX)? {
            Some(text) => text,
            None if to_be_written => String::new(),
            None => {
                return Err(cannot("there is no such file".into()).hint(
                    "make an empty one (touch), or add --update-baseline once: it writes what leaks now",
                ));
            }
        };
        let entries = parse(&text).map_err(|(line, what)| cannot(format!("line {line}: {what}")))?;
        Ok(Self { path: path.to_owned(), entries })
    }

    /// Whether a leak is known; marks what it is known by.
    pub(super) fn suppress(&mut self, finding: &Finding) -> bool {
        let mut known = false;
        for entry in &mut self.entries {
            if entry.terms.iter().all(|(key, pattern)| holds(*key, pattern, finding)) {
                entry.used += 1;
                known = true;
            }
        }
        known
    }

    /// What was suppressed by which line, and what is not needed any more.
    pub(super) fn remarks(&self) -> Vec<String> {
        let of = |entry: &Entry| format!("{}:{}: {}", self.path.display(), entry.line, entry.text);
        self.entries
            .iter()
            .map(|entry| match entry.used {
                0 => format!("{}: suppresses nothing", of(entry)),
                n => format!("{}: suppressed {n}", of(entry)),
            })
            .collect()
    }

    /// Adds the causes of what leaked to the file, a line each. Returns how many.
    pub(super) fn update(&self, counted: &[Reported]) -> Result<usize, Failure> {
        let mut causes = BTreeMap::<CauseId, (&Finding, u32)>::new();
        for reported in counted {
            causes.entry(reported.finding.cause).or_insert((&reported.finding, 0)).1 += 1;
        }
        let cannot = |error| Failure::new(format!("--update-baseline {}: {error}", self.path.display()));
        if causes.is_empty() && self.path.symlink_metadata().is_ok() {
            return Ok(0);
        }
        // An empty one is made where nothing leaks: the next run wants it to be there. What is
        // there now may be what the command put there: it is read and written as one file, so that
        // nothing of another comes into it, and if it is a file, which has an end.
        let mut file = files::create_over(&self.path, 0o666).map_err(cannot)?.file;
        let mut text = String::new();
        if !file.metadata().map_err(cannot)?.is_file() {
            return Err(cannot(io::Error::other("it is not a file")));
        }
        (&file).take(FILE_MAX + 1).read_to_string(&mut text).map_err(cannot)?;
        if text.len() as u64 > FILE_MAX {
            return Err(cannot(io::Error::other(format!("it is larger than {} KiB", FILE_MAX >> 10))));
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let lines = causes.len();
        for (cause, (finding, sockets)) in causes {
            let opener = finding.evidence.opener.known().map(|opener| opener.task.comm.as_str());
            let owner = finding.owner().known().map(|owner| owner.program.as_deref().unwrap_or(&owner.comm));
            let who = owner.or(opener).unwrap_or("unknown");
            let who = crate::report::escape::escape(who);
            let _ = write!(text, "cause:{cause} # {} of {who}, {sockets}", finding.verdict.code);
            if let Some(function) = finding.opened_in() {
                let _ = write!(text, ", opened in {}", crate::report::escape::escape(function));
            }
            text.push('\n');
        }
        file.rewind().map_err(cannot)?;
        file.set_len(0).map_err(cannot)?;
        file.write_all(text.as_bytes()).map_err(cannot)?;
        Ok(lines)
    }

    /// What an update has written.
    pub(super) fn updated(&self, lines: usize) -> String {
        let path = self.path.display();
        match lines {
            0 => format!("{path}: nothing was added, for nothing else counts"),
            1 => format!("{path}: 1 line was added; what it names does not count from now on"),
            n => format!("{path}: {n} lines were added; what they name does not count from now on"),
        }
    }
}

fn parse(text: &str) -> Result<Vec<Entry>, (usize, String)> {
    let mut entries = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let terms = words(text).and_then(|words| words.iter().map(|word| term(word)).collect());
        let terms: Vec<_> = terms.map_err(|what| (line, what))?;
        if !terms.is_empty() {
            entries.push(Entry { line, text: text.trim().to_owned(), terms, used: 0 });
        }
    }
    Ok(entries)
}

/// The words of a line, without quotes and up to a comment.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            // Within a word it is a part of it.
            '#' if !quoted && word.is_empty() => break,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if quoted {
        return Err("a quote is not closed".into());
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

fn term(word: &str) -> Result<(Key, String), String> {
    let (key, pattern) = word.split_once(':').unwrap_or((word, ""));
    let key = match key {
        "frame" => Key::Frame,
        "comm" => Key::Comm,
        "remote" => Key::Remote,
        "verdict" => Key::Verdict,
        "cause" => Key::Cause,
        other => return Err(format!("{other:?} is none of frame:, comm:, remote:, verdict:, cause:")),
    };
    if pattern.is_empty() {
        return Err(format!("{word:?} has no pattern"));
    }
    Ok((key, pattern.to_owned()))
}

fn holds(key: Key, pattern: &str, finding: &Finding) -> bool {
    let evidence = &finding.evidence;
    let opener = evidence.opener.known();
    match key {
        Key::Frame => {
            let eof = evidence.eof_read.known().and_then(Option::as_ref);
            let stacks = [opener.map(|opener| &opener.stack), eof.map(|eof| &eof.stack)];
            let frames = stacks
                .into_iter()
                .flatten()
                .filter_map(|stack| stack.known())
                .flat_map(|frames| frames.iter());
            let named = |frame: &Frame| {
                [&frame.symbol, &frame.module].into_iter().flatten().any(|name| matches(pattern, name))
            };
            frames.into_iter().any(named)
        }
        Key::Comm => {
            let owner = finding.owner().known().map(|owner| owner.comm.as_str());
            let opener = opener.map(|opener| opener.task.comm.as_str());
            owner.into_iter().chain(opener).any(|comm| matches(pattern, comm))
        }
        Key::Remote => matches(pattern, &finding.suspect.tuple.remote.to_string()),
        Key::Verdict => matches(pattern, finding.verdict.code.name()),
        Key::Cause => matches(pattern, &finding.cause.to_string()),
    }
}

/// Whether the whole text fits a pattern in which `*` is any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut rest = rest;
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Reads the file, and each of its lines as a pattern too.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzzed(text: &str) {
    let _ = parse(text);
    for pattern in text.lines() {
        matches(pattern, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text, fits) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("*", "", true),
            ("a*", "a", true),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "ab", false),
            ("a*b*c", "a-b-b-c", true),
            ("ab*ba", "aba", false),
            ("*HttpPool.lease*", "com.x.HttpPool.lease()", true),
            ("10.0.0.*:443", "10.0.0.9:443", true),
            ("10.0.0.*:443", "10.0.0.9:4433", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    fn leaked() -> Reported {
        let end = |port| crate::tcp::Endpoint { ip: [10, 0, 0, 1].into(), port };
        let suspect = crate::tracker::Suspect {
            id: crate::tracker::SocketId { slot: 0, generation: 0 },
            kind: crate::tracker::SuspectKind::Stuck,
            sk: None,
            netns: crate::item::Netns(1),
            tuple: crate::tcp::Tuple { local: end(1), remote: end(2) },
            mptcp: false,
            since: crate::tracker::Since::NoLaterThan(crate::clock::MonoNs(1)),
            not_before: None,
            missed: false,
            tainted: false,
        };
        let verdict = crate::verdict::Verdict {
            code: crate::verdict::Code::EofIgnored,
            also: Vec::new(),
            confidence: crate::verdict::Confidence::High,
            leak: Some(true),
        };
        let evidence = crate::verdict::Evidence::unknown();
        let finding = Finding::new(crate::clock::MonoNs(2), suspect, evidence, verdict);
        Reported { finding: Box::new(finding), release: None }
    }

    /// The command may have put something in its place, in a directory that is its user's.
    #[test]
    fn what_took_the_place_of_the_file_is_not_read_for_ever_nor_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| Suppressions { path: dir.path().join(name), entries: Vec::new() };
        let file = at("file");
        std::fs::write(&file.path, "comm:x").unwrap();
        assert_eq!(file.update(&[leaked()]).unwrap(), 1);
        let text = std::fs::read_to_string(&file.path).unwrap();
        assert!(text.starts_with("comm:x\ncause:") && text.ends_with('\n'), "{text}");

        let (pipe, link) = (at("pipe"), at("link"));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe.path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        std::os::unix::fs::symlink(&file.path, &link.path).unwrap();
        let (told, done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for it in [pipe, link] {
                told.send(it.update(&[leaked()]).unwrap_err().what).unwrap();
            }
        });
        for words in ["it is not a file", "symbolic link"] {
            let what = done.recv_timeout(std::time::Duration::from_secs(20)).expect("it is read for ever");
            assert!(what.contains(words), "{what}");
        }
        assert_eq!(std::fs::read_to_string(&file.path).unwrap(), text);
    }

    #[test]
    fn lines_have_terms_quotes_and_comments() {
        let text = "# all of it\n\n  comm:\"my server\" verdict:IDLE_POOL # why\nframe:a#b\n";
        let entries = parse(text).unwrap();
        let terms: Vec<_> = entries.iter().map(|entry| (entry.line, entry.terms.clone())).collect();
        assert_eq!(
            terms,
            [
                (3, vec![(Key::Comm, "my server".to_owned()), (Key::Verdict, "IDLE_POOL".to_owned())]),
                (4, vec![(Key::Frame, "a#b".to_owned())]),
            ]
        );
        for (bad, line) in [("x:1", 1), ("\ncomm:", 2), ("comm:\"a", 1), ("comm", 1)] {
            assert_eq!(parse(bad).unwrap_err().0, line, "{bad}");
        }
    }
}
