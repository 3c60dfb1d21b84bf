//! Whether the processes that --pid and --comm name are there: a mistyped name would else be
//! answered with "nothing is stuck". Reading /proc is apart from deciding.

use std::path::Path;

use crate::enrich::procfs;
use crate::error::Failure;
use crate::filter::{self, Filter};
use crate::report::{Level, Notice};

/// A name is near another if so many letters are to be changed, at most.
const NEAR: usize = 2;

/// What is to be said of the names in `filter`; an error when no --pid is there at all.
pub(super) fn check(filter: &Filter) -> Result<Vec<Notice>, Failure> {
    let mut notices = no_process(&filter.pids, exists)?;
    if !filter.comms.is_empty() {
        notices.extend(no_name(&filter.comms, &running()));
    }
    Ok(notices)
}

/// Whether there is such a process, also if it may not be looked at.
fn exists(pid: u32) -> bool {
    let Some(number) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
    rustix::process::test_kill_process(number) != Err(rustix::io::Errno::SRCH)
        || Path::new(&format!("/proc/{pid}")).exists()
}

/// The names of all processes that can be seen.
fn running() -> Vec<String> {
    let Ok(pids) = procfs::open_dir(rustix::fs::CWD, "/proc").and_then(procfs::numbers) else {
        return Vec::new();
    };
    let comm = |pid| procfs::text(format!("/proc/{pid}/comm")).ok();
    let mut names: Vec<_> =
        pids.into_iter().filter_map(comm).map(|name| name.trim_end_matches('\n').to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Of `pids`, those that are not there: an error if that is all of them.
fn no_process(pids: &[u32], exists: impl Fn(u32) -> bool) -> Result<Vec<Notice>, Failure> {
    let gone: Vec<_> = pids.iter().copied().filter(|&pid| !exists(pid)).collect();
    if !gone.is_empty() && gone.len() == pids.len() {
        let all: Vec<_> = gone.iter().map(|pid| format!("--pid {pid}")).collect();
        let what = format!("{}: there is no such process", all.join(", "));
        return Err(Failure::new(what).hint(
            "it may have ended, or be another one's number in a container; `pgrep NAME` shows those of this \
             host, and --comm NAME goes by the name",
        ));
    }
    let say = |pid| notice(format!("--pid {pid}: there is no such process"), None);
    Ok(gone.into_iter().map(say).collect())
}

/// A notice for each name that no process of `running` has.
fn no_name(wanted: &[String], running: &[String]) -> Vec<Notice> {
    if running.is_empty() {
        // What cannot be seen may be there.
        return Vec::new();
    }
    let missing = wanted.iter().filter(|name| !running.iter().any(|comm| filter::is_named(comm, name)));
    missing
        .map(|name| {
            let text = format!("--comm {name}: no process is called that now");
            let hint = match nearest(name, running) {
                Some(near) => format!("did you mean {near}?"),
                None => "names are those of `ps -e -o comm`, and case matters".to_owned(),
            };
            notice(text, Some(hint))
        })
        .collect()
}

const fn notice(text: String, hint: Option<String>) -> Notice {
    Notice { level: Level::Warning, text, hint }
}

/// The name that was meant, perhaps.
fn nearest<'a>(name: &str, running: &'a [String]) -> Option<&'a str> {
    let name = name.to_lowercase();
    let distance = |comm: &str| {
        let comm = comm.to_lowercase();
        let shorter = name.len().min(comm.len());
        if shorter >= 3 && (comm.starts_with(&name) || name.starts_with(&comm)) {
            return 0;
        }
        if shorter >= 4 && (comm.contains(&name) || name.contains(&comm)) {
            return 1;
        }
        // Of two letters, two that differ are another name.
        let edits = edits(&name, &comm);
        if edits <= NEAR && edits * 2 <= name.len() { 1 + edits } else { usize::MAX }
    };
    let near = running.iter().map(|comm| (distance(comm), comm.len(), comm.as_str())).min()?;
    (near.0 < usize::MAX).then_some(near.2)
}

/// Letters to be put in, left out or changed to make `b` of `a` (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<_> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut above_left = i;
        let mut left = i + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(&b) {
            let changed = above_left + usize::from(letter != *other);
            above_left = *cell;
            left = changed.min(left + 1).min(above_left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_name_that_nothing_has_brings_up_the_nearest() {
        let running =
            names(&["bash", "java", "kworker/0:1", "nginx", "order-service-w", "python3", "systemd"]);
        let said = |name: &str| {
            let said = no_name(&names(&[name]), &running);
            said.into_iter().map(|notice| notice.hint.unwrap()).next()
        };
        let table = [
            ("python", Some("did you mean python3?")),
            ("Python3", Some("did you mean python3?")),
            ("ngnix", Some("did you mean nginx?")),
            ("xjava", Some("did you mean java?")),
            ("python3", None),
            // The kernel keeps 15 bytes of it.
            ("order-service-worker", None),
            ("sh", Some("names are those of `ps -e -o comm`, and case matters")),
            ("", Some("names are those of `ps -e -o comm`, and case matters")),
            ("postgres", Some("names are those of `ps -e -o comm`, and case matters")),
        ];
        for (name, hint) in table {
            assert_eq!(said(name).as_deref(), hint, "{name}");
        }
        assert_eq!(no_name(&names(&["python"]), &[]), [], "nothing can be seen");
    }

    #[test]
    fn all_processes_gone_is_an_error_and_some_of_them_a_notice() {
        let exists = |pid| pid < 100;
        assert_eq!(no_process(&[], exists).unwrap(), []);
        assert_eq!(no_process(&[1, 2], exists).unwrap(), []);
        let some = no_process(&[1, 100], exists).unwrap();
        assert_eq!(some.len(), 1);
        assert!(some[0].text.contains("--pid 100"), "{some:?}");
        let none = no_process(&[100, 101], exists).unwrap_err();
        assert!(none.what.contains("--pid 100, --pid 101"), "{none}");
        assert!(check(&Filter { pids: vec![std::process::id()], ..Filter::default() }).unwrap().is_empty());
        assert!(check(&Filter { pids: vec![u32::MAX], ..Filter::default() }).is_err());
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, n) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("é", "e", 1)]
        {
            assert_eq!(edits(a, b), n, "{a} {b}");
        }
    }
}
