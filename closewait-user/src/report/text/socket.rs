//! One socket in text, for `--no-group`.

use crate::clock::{Clock, MonoNs};
use crate::fact::Fact;
use crate::report::escape::escape;
use crate::report::model::{Age, Finding, Release, bounds};
use crate::tracker::SuspectKind;

use super::block::{BODY, code_and_confidence, detail, labelled, leak_word, name, named_within, next, row};
use super::place;
use super::stack::fold;
use super::style::{Paint, Style, age};

/// A finding: when, who, what, for how long; then as for a cause.
pub(super) fn finding(f: &Finding, clock: &Clock, style: &Style) -> Vec<String> {
    let kind = match f.suspect.kind {
        SuspectKind::Stuck => "stuck",
        SuspectKind::Ghost { .. } => "ghost",
    };
    let update = if f.update { ", changed" } else { "" };
    let who = f.owner().known().map_or("owner unknown".to_owned(), |h| {
        named_within(&h.comm, h.pid, h.program.as_deref(), style.columns() - 4)
    });
    let (leak, paint) = leak_word(f.verdict.leak);
    let head = [
        (None, time(f.at, clock)),
        (Some(Paint::Owner), who),
        (None, format!("{kind} for {}{update}", age(f.age()))),
    ];
    let mut lines = row(&head, 0, style);
    let head = [
        (Some(paint), code_and_confidence(&f.verdict)),
        (Some(paint), leak.to_owned()),
        (None, format!("cause {}", f.cause)),
    ];
    lines.extend(row(&head, 4, style));
    if let Fact::Unknown(reason) = f.owner() {
        labelled(&mut lines, style, "owner", &format!("not known: {}", escape(&reason)), 2);
    }
    labelled(&mut lines, style, "where", &place::of_socket(f), 2);
    detail(&mut lines, f, f.at, false, style);
    next(&mut lines, f, style);
    lines
}

fn time(at: MonoNs, clock: &Clock) -> String {
    humantime::format_rfc3339_millis(clock.wall(at)).to_string()
}

/// A release: how, by whom, and from where.
pub(super) fn release(r: &Release, clock: &Clock, style: &Style) -> Vec<String> {
    let released = &r.released;
    let (latest, earliest) = bounds(released.since, released.not_before);
    let stayed = Age::between(latest, earliest, released.at);
    let head = [
        (None, time(released.at, clock)),
        (None, format!("released after {}: {}", age(stayed), r.words())),
        (None, r.cause.map_or(String::new(), |c| format!("cause {c}"))),
    ];
    let mut lines = row(&head, 0, style);
    if let Fact::Unknown(reason) = &r.how {
        labelled(&mut lines, style, "how", &format!("not known: {}", escape(reason)), 2);
    }
    labelled(&mut lines, style, "where", &released.tuple.to_string(), 2);
    match &r.closer {
        Fact::Known(closer) => {
            let who = name(&closer.task.comm, closer.task.pid);
            let finalizer = if closer.by_finalizer { ", by a finalizer: the code path leaks" } else { "" };
            labelled(&mut lines, style, "by", &format!("{who}{finalizer}"), 2);
            match &closer.stack {
                Fact::Known(stack) => {
                    for line in fold(stack, style.columns() - BODY, style.lines(2)) {
                        lines.push(format!("{}{line}", " ".repeat(BODY)));
                    }
                }
                Fact::Unknown(reason) => {
                    labelled(&mut lines, style, "", &format!("no stack: {}", escape(reason)), 2);
                }
            }
        }
        Fact::Unknown(reason) => {
            labelled(&mut lines, style, "by", &format!("not known: {}", escape(reason)), 2);
        }
    }
    lines
}
