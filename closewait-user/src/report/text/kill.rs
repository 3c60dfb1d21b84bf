//! What `kill` did, as text: a line for each socket, a table of owners with their
//! descriptors, and what follows from that. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use crate::fact::Fact;
use crate::report::counts::Apart;
use crate::report::escape::escape;
use crate::report::kill::{After, Fate, Killed, Outcome};
use crate::report::model::Finding;

use super::block::{self, named};
use super::place;
use super::style::{WIDEST, age, count, plural, within, wrap};
use super::totals;

/// So many columns are for a process.
const NAME_MOST: usize = 48;
/// Owners that the table shows; the rest are counted.
const SHOWN: usize = 20;

/// What became of one socket, in one line.
pub fn line(killed: &Killed<'_>) -> String {
    let Killed { finding, outcome, .. } = killed;
    let mut text = format!(
        "{:<13}  {}, {}, {}, {}, netns {}",
        outcome.words(),
        place::addresses(finding.suspect.tuple, finding.evidence.role.known().copied()),
        age(finding.age()),
        finding.verdict.code,
        held_by(finding),
        finding.suspect.netns.0,
    );
    // The reason why it is spared names it.
    if let (Some(peer), Outcome::WouldDestroy | Outcome::Destroyed) =
        (finding.evidence.waiting_peer(), outcome)
    {
        let _ = write!(text, "; its peer, {}, only half-closed", escape(&peer.to_string()));
    }
    if let Some(reason) = outcome.reason() {
        let _ = write!(text, ": {}", escape(&reason));
    }
    text
}

/// Who has a descriptor on it, or does not accept it.
fn held_by(finding: &Finding) -> String {
    let evidence = &finding.evidence;
    if let Fact::Known(listener) = &evidence.listener {
        return listener
            .holder
            .as_ref()
            .map_or_else(|| "not accepted".into(), |holder| format!("not accepted by {}", named(holder)));
    }
    match (finding.owner(), &evidence.holders) {
        (Fact::Known(holder), Fact::Known(holders)) => {
            let more = match holders.len() {
                0 | 1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            format!("{} fd {}{more}", named(holder), holder.fd)
        }
        (_, Fact::Known(_)) => "held by nobody".into(),
        (_, Fact::Unknown(_)) => "holder unknown".into(),
    }
}

/// The owners as a table, or, where a terminal is too `narrow` for it, each in a sentence.
pub fn owners(owners: &[Fate], narrow: Option<usize>) -> String {
    let table = table(owners);
    let Some(columns) = narrow.filter(|&columns| table.lines().any(|line| line.width() > columns)) else {
        return table;
    };
    let mut text = String::new();
    for owner in &worst_first(owners)[..owners.len().min(SHOWN)] {
        text.push_str(&within(sentence(owner), columns).join("\n"));
        text.push('\n');
    }
    text.push_str(&others(owners));
    text
}

fn worst_first(owners: &[Fate]) -> Vec<&Fate> {
    let mut sorted: Vec<_> = owners.iter().collect();
    sorted.sort_by_key(|owner| (std::cmp::Reverse(owner.sockets), owner.pid));
    sorted
}

/// `java[8]: 1,000 sockets; 1,013 of 20,000 fds before, 1,013 after, 1,000 still open`
fn sentence(owner: &Fate) -> String {
    let number = |fact: &Fact<u64>| fact.known().map_or("?".into(), |n| count(*n));
    let before = match owner.before.known() {
        None => "? fds".into(),
        Some(nofile) if nofile.soft == u64::MAX => format!("{} fds", count(nofile.used)),
        Some(nofile) => format!("{} of {} fds", count(nofile.used), count(nofile.soft)),
    };
    let after = match &owner.after {
        None => String::new(),
        Some(After::Ended) => " before, and it has ended".into(),
        Some(After::Runs { used, open }) => {
            format!(" before, {} after, {} still open", number(used), number(open))
        }
    };
    format!("{}: {}; {before}{after}", name(owner), plural(owner.sockets, "socket"))
}

/// Those that are not shown.
fn others(owners: &[Fate]) -> String {
    match owners.len().saturating_sub(SHOWN) {
        0 => String::new(),
        rest => format!("and {} with no more sockets than these\n", plural(rest as u64, "owner")),
    }
}

/// The owners, those of most sockets first; with `after` missing (a dry run) without the
/// columns that it would fill.
fn table(owners: &[Fate]) -> String {
    let sorted = worst_first(owners);
    let dry = owners.iter().all(|owner| owner.after.is_none());
    let names = sorted.iter().take(SHOWN).map(|owner| name(owner)).collect::<Vec<_>>();
    let wide = names.iter().map(|name| name.width()).max().unwrap_or(0).max("process".len());
    let mut text = format!("{:wide$}  {:>8}  {:>8}  {:>10}", "process", "sockets", "fd limit", "fds before");
    text.push_str(if dry { "\n" } else { "  fds after  still open\n" });
    for (owner, name) in sorted.iter().zip(&names) {
        let soft = owner.before.known().map(|nofile| nofile.soft);
        let soft = soft.map_or("?".into(), |n| if n == u64::MAX { "none".into() } else { count(n) });
        let used = owner.before.known().map_or("?".into(), |nofile| count(nofile.used));
        let pad = " ".repeat(wide - name.width());
        let _ = write!(text, "{name}{pad}  {:>8}  {soft:>8}  {used:>10}", count(owner.sockets));
        match &owner.after {
            None => {}
            Some(After::Ended) => text.push_str("      ended           -"),
            Some(After::Runs { used, open }) => {
                let number = |fact: &Fact<u64>| fact.known().map_or("?".into(), |n| count(*n));
                let _ = write!(text, "  {:>9}  {:>10}", number(used), number(open));
            }
        }
        text.push('\n');
    }
    text.push_str(&others(owners));
    text
}

fn name(owner: &Fate) -> String {
    block::named_within(&owner.comm, owner.pid, owner.program.as_deref(), NAME_MOST)
}

/// What is told about the descriptors at the end.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// Nothing was destroyed.
    pub dry: bool,
    /// Who holds some of it could not be found out.
    pub unknown: bool,
    /// Some of it was in an accept queue.
    pub unaccepted: bool,
}

/// What has come of it for the descriptors, and what to do next: the kernel frees none.
pub fn aftermath(owners: &[Fate], told: Told) -> String {
    let open = |owner: &Fate| match &owner.after {
        Some(After::Runs { open, .. }) => open.known().copied(),
        Some(After::Ended) | None => Some(0),
    };
    let total: u64 = owners.iter().filter_map(open).sum();
    let worst = owners.iter().max_by_key(|owner| open(owner));
    let unknown = told.unknown || owners.iter().any(|owner| open(owner).is_none());
    let mut text = match worst {
        _ if told.dry => {
            "Destroying ends a connection and tells its owner (ECONNABORTED). It frees no descriptor: \
                          only the owner can close that."
                .to_owned()
        }
        Some(worst) if total > 0 => {
            let others = match owners.iter().filter(|owner| open(owner).is_some_and(|n| n > 0)).count() {
                1 => String::new(),
                n => format!(" (and {} more)", n - 1),
            };
            let (are, them) = if total == 1 { ("is", "it") } else { ("are", "them") };
            format!(
                "Destroying has ended the connections; it frees no descriptor. {} {are} still open on what was \
                 destroyed, and only the owner can close {them}. Next: make {}{others} close on error, or restart it.",
                count(total),
                name(worst),
            )
        }
        _ if unknown => {
            "Whether descriptors are still open on what was destroyed is not known; destroying frees none."
                .into()
        }
        Some(_) => "The owners have closed their descriptors on what was destroyed.".into(),
        None => "No process had a descriptor on what was destroyed.".into(),
    };
    if told.unaccepted {
        text.push_str(
            " A socket that was not accepted keeps its place in the accept queue until its listener accepts it.",
        );
    }
    text
}

/// In lines of the terminal, or under 100 columns.
pub fn wrapped(text: &str, narrow: Option<usize>) -> String {
    wrap(text, narrow.unwrap_or(WIDEST), usize::MAX).join("\n")
}

/// One line for programs and for wide terminals; on a narrow one, what follows is further in.
pub fn told(line: String, narrow: Option<usize>) -> String {
    match narrow {
        Some(columns) => within(line, columns).join("\n"),
        None => line,
    }
}

/// Sockets that were let be for one reason.
pub fn spared(sockets: u64, why: &str) -> String {
    format!("{:<13}  {}: {why}", "spared", plural(sockets, "socket"))
}

/// How many came out how, and how to go on from a dry run.
pub fn tally(counts: &BTreeMap<&'static str, u64>, dry: bool, apart: Apart) -> String {
    let all: Vec<_> = counts.iter().map(|(words, n)| format!("{} {words}", count(*n))).collect();
    match (all.is_empty(), dry) {
        (true, _) if apart.unseen() > 0 => {
            "Nothing to destroy: in the network namespaces that could be read, no socket in CLOSE_WAIT fits."
                .into()
        }
        (true, _) => "Nothing to destroy: no socket in CLOSE_WAIT fits.".into(),
        (false, true) => format!("Dry run, nothing was done: {}. With --yes it is.", all.join(", ")),
        (false, false) => all.join(", ") + ".",
    }
}

/// Of what that is not said.
pub fn unread(apart: Apart) -> Option<String> {
    totals::unread(apart).map(|unread| format!("{unread}: what is stuck there is not known."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Nofile;

    fn owner(pid: u32, sockets: u64, after: Option<After>) -> Fate {
        let before = Fact::Known(Nofile { used: 1_013, soft: 20_000 });
        let program = (pid == 8).then(|| "java -jar shop.jar".to_owned().into());
        Fate { pid, comm: "ja\nva".to_owned().into(), program, sockets, before, after }
    }

    fn runs(used: u64, open: u64) -> After {
        After::Runs { used: Fact::Known(used), open: Fact::Known(open) }
    }

    #[test]
    fn a_table_has_the_worst_first_and_says_what_is_not_known() {
        let unreadable =
            Some(After::Runs { used: Fact::unknown("cannot read"), open: Fact::unknown("cannot read") });
        let text = table(&[
            owner(7, 2, Some(runs(1_013, 0))),
            owner(8, 1_000, Some(runs(1_013, 1_000))),
            owner(9, 1, unreadable),
        ]);
        assert_eq!(
            text,
            "process                        sockets  fd limit  fds before  fds after  still open\n\
             ja\\nva[8] java -jar shop.jar     1,000    20,000       1,013      1,013       1,000\n\
             ja\\nva[7]                            2    20,000       1,013      1,013           0\n\
             ja\\nva[9]                            1    20,000       1,013          ?           ?\n"
        );
        let dry = table(&[owner(7, 2, None)]);
        assert_eq!(
            dry,
            "process     sockets  fd limit  fds before\n\
             ja\\nva[7]         2    20,000       1,013\n"
        );
        assert!(table(&[owner(7, 2, Some(After::Ended))]).ends_with("      ended           -\n"));
    }

    #[test]
    fn on_a_narrow_terminal_nothing_is_cut() {
        let owners = [owner(7, 2, Some(runs(1_013, 0))), owner(21_773, 1_000, Some(runs(1_013, 1_000)))];
        assert_eq!(super::owners(&owners, None), table(&owners));
        assert_eq!(super::owners(&owners, Some(80)), table(&owners));
        let narrow = super::owners(&owners, Some(40));
        assert_eq!(
            narrow,
            "ja\\nva[21773]: 1,000 sockets; 1,013\n    of 20,000 fds before, 1,013 after,\n    1,000 still open\n\
             ja\\nva[7]: 2 sockets; 1,013 of\n    20,000 fds before, 1,013 after, 0\n    still open\n"
        );
        let dry = super::owners(&[owner(7, 2, None)], Some(40));
        assert_eq!(dry, "ja\\nva[7]: 2 sockets; 1,013 of\n    20,000 fds\n");
        let line = "would destroy  [2001:db8:1111:2222:3333:4444:5555:6666]:65535, java[21773] fd 17";
        assert_eq!(told(line.into(), None), line);
        let narrow = told(line.into(), Some(40));
        assert!(narrow.lines().all(|line| line.width() <= 40), "{narrow}");
        assert_eq!(
            narrow.split_whitespace().collect::<String>(),
            line.split_whitespace().collect::<String>()
        );
    }

    #[test]
    fn nothing_is_said_of_no_namespace_that_was_not_looked_into() {
        let (all, some) = (Apart::default(), Apart { unread: 36, ..Apart::default() });
        let (none, three) = (BTreeMap::new(), BTreeMap::from([("to destroy", 3)]));
        for dry in [true, false] {
            assert_eq!(tally(&none, dry, all), "Nothing to destroy: no socket in CLOSE_WAIT fits.");
            let text = tally(&none, dry, some);
            assert!(text.contains("in the network namespaces that could be read, no socket"), "{text}");
        }
        assert_eq!(tally(&three, true, all), tally(&three, true, some));
        assert_eq!(unread(all), None);
        let words = "36 network namespaces could not be looked into: what is stuck there is not known.";
        assert_eq!(unread(some).as_deref(), Some(words));
    }

    #[test]
    fn nobody_is_told_that_a_descriptor_was_freed_when_none_was() {
        let unknown = After::Runs { used: Fact::unknown("x"), open: Fact::unknown("x") };
        let all = Told { dry: false, unknown: false, unaccepted: false };
        let rows: [(&[Fate], bool, &str); 8] = [
            (&[owner(7, 2, None)], true, "It frees no descriptor"),
            (&[], true, "It frees no descriptor"),
            (&[owner(7, 2, Some(runs(9, 2)))], false, "2 are still open"),
            (&[owner(7, 2, Some(runs(9, 1))), owner(8, 1, Some(runs(9, 0)))], false, "1 is still open"),
            (&[owner(7, 2, Some(runs(9, 0)))], false, "owners have closed their"),
            (&[owner(7, 2, Some(After::Ended))], false, "owners have closed their"),
            (&[owner(7, 2, Some(unknown))], false, "is not known"),
            (&[], false, "No process had a descriptor"),
        ];
        for (owners, dry, words) in rows {
            let text = aftermath(owners, Told { dry, ..all });
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(aftermath(&[], Told { unknown: true, ..all }).contains("is not known"));
        let queue = aftermath(&[], Told { unaccepted: true, ..all });
        assert!(queue.contains("keeps its place in the accept queue"), "{queue}");
    }
}
