//! A cause in text: who, how many, since when, where, why, and what to do.
//!
//! In: a [`Cause`] of the ledger. Out: lines of at most the style's width. Every
//! name from the system is escaped here.

use std::sync::Arc;

use unicode_width::UnicodeWidthStr;

use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::item::Task;
use crate::report::escape::escape;
use crate::report::ledger::{Cause, Process};
use crate::report::model::{Age, Finding, owner};
use crate::text::Text;
use crate::verdict::{self, Confidence, Evidence, Frame, Holder, Nofile, Verdict};

use super::outlook;
use super::place;
use super::stack::{build_ids, fold};
use super::style::{Paint, Style, age, count, fitted, plural, shorten, wrap};
use super::totals::{endings, leaks};

/// Column where what a label introduces begins.
pub(crate) const BODY: usize = 14;

/// A path or a container in fewer columns, its blanks included, tells nothing.
pub(crate) const NAME_LEAST: usize = 10;

/// The three words for `leak`, and their colour.
pub(crate) fn leak_word(leak: Option<bool>) -> (&'static str, Paint) {
    match leak {
        Some(true) => ("leak", Paint::Leak),
        None => ("unclear", Paint::Unclear),
        Some(false) => ("harmless", Paint::Dim),
    }
}

pub(crate) fn confidence_word(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Low => "low",
        Confidence::Medium => "medium",
        Confidence::High => "high",
    }
}

/// What causes are put together under one owner line by.
pub(crate) fn owner_key(finding: &Finding) -> (Text, Option<Text>, [Option<Text>; 2]) {
    match finding.owner() {
        Fact::Known(h) => {
            (h.comm.clone(), h.exe.known().cloned(), [h.told_program().cloned(), h.container.clone()])
        }
        Fact::Unknown(reason) => match &finding.evidence.ended {
            // Of all that have ended the one with this name.
            Some(end) => {
                let closed = format!("{}", end.closed_after.is_some());
                (end.task.comm.clone(), Some(closed.into()), [None, None])
            }
            None => (reason, opener_name(&finding.evidence).map(Text::from), [None, None]),
        },
    }
}

/// The owner of causes that share one: a line, or more where that is too short for its numbers.
pub(crate) fn owner_lines(causes: &[&Cause<'_>], style: &Style) -> Vec<String> {
    let finding = causes[0].exemplar;
    let holder = match finding.owner() {
        Fact::Known(holder) => holder,
        // It has no holder any more, and who was the last is known.
        Fact::Unknown(_) if let Some(end) = &finding.evidence.ended => {
            let who = name(&end.task.comm, end.task.pid);
            let opened = opener_name(&finding.evidence).filter(|opener| *opener != who);
            let opened = opened.map_or(String::new(), |opener| format!("; opened by {opener}"));
            let rest =
                format!("  {}{opened}", if end.closed_after.is_some() { "closed it" } else { "has ended" });
            return owned(&who, &rest, style);
        }
        Fact::Unknown(reason) => {
            // Nobody holds it: that is known, too.
            let nobody =
                finding.evidence.holders.known().is_some() && finding.evidence.listener.known().is_none();
            let who = if nobody { "held by nobody" } else { "owner unknown" };
            let opened = opener_name(&finding.evidence).map_or(String::new(), |o| format!(", opened by {o}"));
            let rest = format!("{opened}: {}", escape(&reason));
            return owned(who, &rest, style);
        }
    };
    let mut processes: Vec<(u32, Process)> = Vec::new();
    for (&pid, process) in causes.iter().flat_map(|c| &c.processes) {
        match processes.iter_mut().find(|(known, _)| *known == pid) {
            Some((_, known)) => known.take_newer(process),
            None => processes.push((pid, *process)),
        }
    }
    processes.sort_by_key(|(pid, _)| *pid);

    let pids = |most: usize| {
        let shown: Vec<_> = processes.iter().take(most).map(|(pid, _)| pid.to_string()).collect();
        let mut pids = if shown.is_empty() { holder.pid.to_string() } else { shown.join(",") };
        if processes.len() > shown.len() {
            pids.push_str(&format!(" and {} more", count((processes.len() - shown.len()) as u64)));
        }
        format!("[{pids}]")
    };
    let comm = quoted(&holder.comm);
    let fits = |most: &usize| comm.width() + pids(*most).width() <= style.columns();
    // No pid is cut; rather its process is only counted.
    let pids = pids((2..=4).rev().find(fits).unwrap_or(1));
    let name = format!("{}{pids}", shorten(&comm, style.columns().saturating_sub(pids.width())));
    let mut known_as = String::new();
    if let Some(exe) = holder.exe.known().filter(|exe| !named_after(&holder.comm, exe)) {
        known_as.push_str(&format!("  {}", shorten(&escape(exe), 40)));
    }
    if let Some(container) = &holder.container {
        // `pod NAMESPACE/NAME/CONTAINER` is longer than what others are called.
        let most = if holder.pod.is_some() { 56 } else { 40 };
        known_as.push_str(&format!("  {}", shorten(&escape(container), most)));
    }
    let mut rest = String::new();
    let fullest = processes
        .iter()
        .filter_map(|(pid, p)| Some((pid, p.nofile?)))
        .max_by_key(|(_, n)| n.used.saturating_mul(1000) / n.soft.max(1));
    if let Some((pid, nofile)) = fullest {
        let of = fds(nofile);
        if processes.len() > 1 {
            rest.push_str(&format!("  up to {of}, pid {pid}"));
        } else {
            rest.push_str(&format!("  {of}"));
        }
    }
    if let [(_, only)] = &processes[..] {
        rest.push_str(&outlook::rate(only.growth, only.nofile));
    }
    let program = running(&holder.comm, holder.told_program().map(Text::as_str));
    let left = style.columns().saturating_sub(name.width());
    if rest.width() > left {
        let parts = [program.trim_start()].into_iter().chain(known_as.split("  ")).chain(rest.split("  "));
        let parts = parts.map(|part| (None, part.to_owned()));
        let mut lines = vec![style.paint(Paint::Owner, &name)];
        lines.extend(row(&parts.collect::<Vec<_>>(), 4, style));
        return lines;
    }
    // A name may lose its middle, a number may not.
    let mut left = left.saturating_sub(rest.width());
    let mut fitted = |name: &str| {
        if left < NAME_LEAST {
            return String::new();
        }
        let name = shorten(name, left);
        left = left.saturating_sub(name.width());
        name
    };
    let program = fitted(&program);
    let known_as = fitted(&known_as);
    vec![format!("{}{known_as}{rest}", style.paint(Paint::Owner, &(name + &program)))]
}

/// Who is to be told of, and the rest of the line, or lines.
fn owned(who: &str, rest: &str, style: &Style) -> Vec<String> {
    let mut lines = fitted(format!("{who}{rest}"), style);
    if let Some(rest) = lines.first().and_then(|first| first.strip_prefix(who)) {
        lines[0] = format!("{}{rest}", style.paint(Paint::Owner, who));
    }
    lines
}

/// `812 of 1,024 fds (79%)`
fn fds(n: Nofile) -> String {
    if n.soft == u64::MAX {
        return format!("{} fds, no limit", count(n.used));
    }
    // Some may be above the limit: inherited, or it was lowered since.
    let percent = if n.used > n.soft {
        "over 100%".into()
    } else {
        format!("{}%", n.used.saturating_mul(100).checked_div(n.soft).unwrap_or(100))
    };
    format!("{} of {} fds ({percent})", count(n.used), count(n.soft))
}

/// `java[21773]`
pub(crate) fn name(comm: &str, pid: u32) -> String {
    format!("{}[{pid}]", quoted(comm))
}

/// `java[21773] -jar shop.jar`: a process and what it runs.
pub(crate) fn named(process: &verdict::Process) -> String {
    name(&process.comm, process.pid) + &running(&process.comm, process.program.as_deref())
}

/// The same in `most` columns: what it runs gives way, no pid is cut.
pub(crate) fn named_within(comm: &str, pid: u32, program: Option<&str>, most: usize) -> String {
    let name = name(comm, pid);
    match most.saturating_sub(name.width()) {
        0..NAME_LEAST => name,
        left => name + &shorten(&running(comm, program), left),
    }
}

/// What a process called `comm` runs, as it follows its name: ` -jar shop.jar`. Empty where the
/// name tells all.
pub(crate) fn running(comm: &str, program: Option<&str>) -> String {
    let Some(program) = program else { return String::new() };
    format!(" {}", apart(own_part(comm, program), 48))
}

/// The part of a program that is not its name: `-jar shop.jar` of `java -jar shop.jar`.
pub(crate) fn own_part<'a>(comm: &str, program: &'a str) -> &'a str {
    program.strip_prefix(comm).and_then(|rest| rest.strip_prefix(' ')).unwrap_or(program)
}

fn quoted(comm: &str) -> String {
    apart(comm, 40)
}

/// A name in `most` columns, in quotes when it could be taken for the text around it: two blanks
/// divide what stands in a line, and `, nginx[88]` would be one more process.
fn apart(name: &str, most: usize) -> String {
    let plain = !name.is_empty()
        && name.trim() == name
        && !name.contains("  ")
        && !name.contains(['[', ']', ',', '"']);
    let name = shorten(&escape(name), most);
    // A backslash is doubled already.
    if plain { name } else { format!("\"{}\"", name.replace('"', "\\\"")) }
}

/// A comm is the first 15 bytes of the executable's name, unless the program changed it.
fn named_after(comm: &str, exe: &str) -> bool {
    exe.rsplit('/').next().is_some_and(|file| file.starts_with(comm))
}

fn opener_name(evidence: &Evidence) -> Option<String> {
    evidence.opener.known().map(|o| name(&o.task.comm, o.task.pid))
}

/// The lines of one cause under its owner line. `before`: its sockets when it was
/// last printed.
pub(crate) fn cause_lines(cause: &Cause<'_>, before: u64, now: MonoNs, style: &Style) -> Vec<String> {
    let finding = cause.exemplar;
    let stuck = cause.now.total();
    let gone = cause.gone.total();
    let mut sockets = match (stuck, gone) {
        (0, _) => format!("none left of {}", plural(gone, "socket")),
        _ => plural(stuck, "socket"),
    };
    if (1..stuck).contains(&before) {
        sockets.push_str(&format!(" ({} before)", count(before)));
    }
    // What has ended grows no older.
    let at = if finding.evidence.ended.is_some() { finding.at } else { now };
    let oldest = cause.oldest.map(|(latest, earliest)| {
        let age_now = Age::between(latest, earliest, at);
        let word = if stuck > 1 { "oldest" } else { "for" };
        let note = if age_now.max.is_none() { " (older than this trace)" } else { "" };
        format!("{word} {}{note}", age(age_now))
    });
    let (leak, paint) = leak_word(cause.leak());
    // It is called by the worst, whatever the others are.
    let is_mixed =
        cause.now.total() > *[cause.now.yes, cause.now.unclear, cause.now.no].iter().max().unwrap_or(&0);
    let all_closed = stuck == 0 && cause.leak() == Some(true) && cause.closed.yes == cause.gone.yes;
    let leak = match (is_mixed, all_closed) {
        (true, _) => leaks(cause.now),
        (_, true) => "judged a leak, closed late".into(),
        _ => leak.to_owned(),
    };
    let bounded = cause.closes_late().filter(|_| cause.leak() != Some(false));
    let bounded = bounded.map(|most| format!("closes late, bounded: {} at a time", count(most)));
    let head = [
        (None, sockets),
        (Some(paint), code_and_confidence(&finding.verdict)),
        (Some(paint), leak),
        (None, bounded.unwrap_or_default()),
        (None, oldest.unwrap_or_default()),
        (None, format!("cause {}", cause.id)),
    ];
    let mut lines = row(&head, 2, style);
    labelled(&mut lines, style, "where", &place::of_cause(cause), 2);
    let many = stuck + gone > 1;
    detail(&mut lines, finding, at, many, style);
    if gone > 0 && stuck > 0 || gone > 1 {
        labelled(&mut lines, style, "ended", &endings(cause.endings), 2);
    }
    next(&mut lines, finding, style);
    lines
}

/// Parts side by side, from column `indent` on; those that do not fit go on,
/// further in, on the next line.
pub(crate) fn row(parts: &[(Option<Paint>, String)], indent: usize, style: &Style) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut used = style.columns();
    let most = style.columns() - indent - 4;
    // A part that is longer than a line becomes several.
    let parts = parts.iter().flat_map(|(paint, text)| {
        let pieces = if text.width() > most { wrap(text, most, usize::MAX) } else { vec![text.clone()] };
        pieces.into_iter().map(|text| (*paint, text))
    });
    for (paint, text) in parts.filter(|(_, text)| !text.is_empty()) {
        let painted = paint.map_or_else(|| text.clone(), |paint| style.paint(paint, &text));
        match lines.last_mut() {
            Some(line) if used + 2 + text.width() <= style.columns() => {
                line.push_str(&format!("  {painted}"));
                used += 2 + text.width();
            }
            last => {
                let indent = if last.is_some() { indent + 4 } else { indent };
                lines.push(format!("{}{painted}", " ".repeat(indent)));
                used = indent + text.width();
            }
        }
    }
    lines
}

/// `EOF_IGNORED (high)`
pub(crate) fn code_and_confidence(verdict: &Verdict) -> String {
    format!("{} ({})", verdict.code, confidence_word(verdict.confidence))
}

/// Why, what is missing, who holds it and where it was opened, as it is read at `at`.
pub(crate) fn detail(lines: &mut Vec<String>, finding: &Finding, at: MonoNs, many: bool, style: &Style) {
    let (verdict, says) = (&finding.verdict, finding.says_at(at));
    let evidence = &finding.evidence;
    let mut why = escape(&says.evidence.join("; ")).into_owned();
    if many && !why.is_empty() {
        why.insert_str(0, "e.g. ");
    }
    if !verdict.also.is_empty() {
        let also: Vec<_> = verdict.also.iter().map(|code| code.name()).collect();
        why.push_str(&format!("; also {}", also.join(", ")));
    }
    labelled(lines, style, "why", &why, 3);
    if verdict.leak != Some(false) {
        let mut missing = says.missing.clone();
        missing.extend(unseen_threads(finding));
        if !missing.is_empty() {
            labelled(lines, style, "missing", &escape(&missing.join("; ")), 2);
        }
        if let Some(holders) = other_holders(evidence, style) {
            put(lines, style, "held by", holders);
        }
        if let Some(Fact::Known(threads)) = finding.threads() {
            labelled(lines, style, "doing", &escape(&threads.to_string()), 2);
        }
        outlook::lines(lines, finding, style);
        opened(lines, evidence, style);
        if let Some(read) = evidence.eof_read.known().and_then(Option::as_ref) {
            labelled_stack(lines, style, "EOF read", evidence, &read.task, &read.stack);
            // The same is not said twice: a hint is about the process.
            let opener = evidence.opener.known().and_then(|opener| opener.stack_note.as_ref());
            noted(
                lines,
                style,
                read.stack_note.as_deref().filter(|note| opener.is_none_or(|said| said != note)),
            );
        }
    }
}

/// That it is not known what the threads of the owner do, where there is an owner and that would
/// explain the socket.
fn unseen_threads(finding: &Finding) -> Option<String> {
    let reason = finding.threads()?.reason()?;
    finding.owner().known().filter(|_| finding.evidence.ended.is_none())?;
    Some(format!("what its threads do: {reason}"))
}

/// `next:` and the fix; the last of every block.
pub(crate) fn next(lines: &mut Vec<String>, finding: &Finding, style: &Style) {
    labelled(lines, style, "next:", &escape(&finding.says().next), 3);
}

/// All holders, when there is more than one process, in two lines of the widest. Where those
/// are too short, less of them: what they run goes last.
fn other_holders(evidence: &Evidence, style: &Style) -> Option<Vec<String>> {
    const SHOWN: usize = 6;
    let holders = evidence.holders.known()?;
    let first = holders.first()?;
    if evidence.listener.known().is_some() || holders.iter().all(|h| h.pid == first.pid) {
        return None;
    }
    // What those run that run the same as the owner is in the head.
    let of_owner = owner(evidence).known().and_then(|owner| owner.program.clone());
    let told = |shown: usize, with_programs: bool| {
        let name = |holder: &Holder| holder_name(holder, with_programs && holder.program != of_owner);
        let mut names: Vec<_> = holders.iter().take(shown).map(name).collect();
        if holders.len() > shown {
            names.push(format!("{} more", holders.len() - shown));
        }
        wrap(&names.join(", "), style.columns() - BODY, usize::MAX)
    };
    let mut ways = [true, false].into_iter().flat_map(|with| (1..=SHOWN).rev().map(move |most| (most, with)));
    let fitting = ways.find_map(|(most, with)| {
        let lines = told(most, with);
        (lines.len() <= style.lines(2)).then_some(lines)
    });
    Some(fitting.unwrap_or_else(|| told(1, false)))
}

fn holder_name(h: &Holder, with_program: bool) -> String {
    let inherits = if h.cloexec == Fact::Known(false) { " without CLOEXEC" } else { "" };
    let who = if with_program { named(h) } else { name(&h.comm, h.pid) };
    format!("{who} fd {}{inherits}", h.fd)
}

fn opened(lines: &mut Vec<String>, evidence: &Evidence, style: &Style) {
    let opener = match &evidence.opener {
        Fact::Known(opener) => opener,
        // That nobody opened a socket that was never accepted is no news.
        Fact::Unknown(_) if evidence.listener.known().is_some() => return,
        Fact::Unknown(reason) => {
            labelled(lines, style, "opened", &format!("not known: {}", escape(reason)), 2);
            return;
        }
    };
    labelled_stack(lines, style, "opened", evidence, &opener.task, &opener.stack);
    noted(lines, style, opener.stack_note.as_deref());
}

/// What is missing of the stack above.
fn noted(lines: &mut Vec<String>, style: &Style, note: Option<&str>) {
    if let Some(note) = note {
        labelled(lines, style, "", &format!("({})", escape(note)), 2);
    }
}

/// A task, unless it is the owner's, and its stack.
fn labelled_stack(
    lines: &mut Vec<String>,
    style: &Style,
    label: &str,
    evidence: &Evidence,
    task: &Task,
    stack: &Fact<Arc<Vec<Frame>>>,
) {
    let by_owner = owner(evidence).known().is_some_and(|h| h.pid == task.pid);
    let who = (!by_owner).then(|| format!("by {}", name(&task.comm, task.pid)));
    match stack {
        Fact::Known(stack) if !stack.is_empty() => {
            let mut body: Vec<_> = who.into_iter().collect();
            body.extend(fold(stack, style.columns() - BODY, style.lines(2)));
            put(lines, style, label, body);
            noted(lines, style, build_ids(stack).as_deref());
        }
        stack => {
            let reason = stack.reason().unwrap_or("it is empty");
            let who = who.map_or(String::new(), |who| format!("{who}; "));
            labelled(lines, style, label, &format!("{who}no stack: {}", escape(reason)), 2);
        }
    }
}

/// Adds `text` after `label`, wrapped to at most `max` lines of the widest; nothing when it is
/// empty.
pub(crate) fn labelled(lines: &mut Vec<String>, style: &Style, label: &str, text: &str, max: usize) {
    put(lines, style, label, wrap(text, style.columns() - BODY, style.lines(max)));
}

/// The labels that [`put`] has written, and what follows each, of lines too long to be wrapped.
pub(crate) fn facts(lines: &[String]) -> impl Iterator<Item = (&str, &str)> {
    lines.iter().map(|line| {
        line.split_at_checked(BODY).map_or(("", line.trim()), |(label, text)| (label.trim(), text))
    })
}

fn put(lines: &mut Vec<String>, style: &Style, label: &str, body: Vec<String>) {
    for (i, text) in body.into_iter().enumerate() {
        let label = if i == 0 { format!("{label:<10}") } else { " ".repeat(10) };
        lines.push(format!("    {}{text}", style.paint(Paint::Dim, &label)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_descriptors_than_the_limit_are_over_all_of_it() {
        for (used, soft, told) in [
            (812, 1024, "812 of 1,024 fds (79%)"),
            (40, 40, "40 of 40 fds (100%)"),
            (41, 40, "41 of 40 fds (over 100%)"),
            (3, 0, "3 of 0 fds (over 100%)"),
            (3, u64::MAX, "3 fds, no limit"),
        ] {
            assert_eq!(fds(Nofile { used, soft }), told);
        }
    }

    #[test]
    fn no_program_can_pass_for_another_holder() {
        for (program, told) in [
            ("python3 orders.py", " orders.py"),
            ("java -jar shop.jar", " java -jar shop.jar"),
            ("python3 x, nginx[88]", " \"x, nginx[88]\""),
            ("python3 a,b.py", " \"a,b.py\""),
            ("python3 a]", " \"a]\""),
            ("python3 a\", nginx[88] \"", " \"a\\\", nginx[88] \\\"\""),
            ("python3 a\\\"", " \"a\\\\\\\"\""),
            ("python3 a  leak", " \"a  leak\""),
            ("python3  a", " \" a\""),
        ] {
            assert_eq!(running("python3", Some(program)), told, "{program}");
        }
        assert_eq!(name("x, nginx", 7), "\"x, nginx\"[7]");
        assert_eq!(name("", 7), "\"\"[7]");
    }

    #[test]
    fn what_it_runs_gives_way_before_its_pid() {
        let program = Some("python3.11 order-service-worker.py");
        for (most, told) in [
            (99, "python3.11[1234567] order-service-worker.py"),
            (36, "python3.11[1234567] orde…e-worker.py"),
            (28, "python3.11[1234567]"),
            (5, "python3.11[1234567]"),
        ] {
            assert_eq!(named_within("python3.11", 1_234_567, program, most), told, "{most}");
        }
    }
}
