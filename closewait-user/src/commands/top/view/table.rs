//! The causes, one on each line, and below them what is known of the selected one.

use unicode_width::UnicodeWidthStr;

use super::{Ink, Looks, Pen};
use crate::commands::top::model::{Row, headline};
use crate::commands::top::state::{Page, Top};
use crate::report::text::block::leak_word;
use crate::report::text::style::{age, count, span};
use crate::report::text::totals;

/// A table of causes.
pub(super) fn draw(top: &Top, pen: &mut Pen<'_>) {
    let rows = top.rows().len();
    if rows == 0 {
        return nothing(top, pen);
    }
    let room = usize::from(pen.area.height).saturating_sub(1);
    // What is known of the selected one wants about ten lines.
    let lines = rows.min(room.saturating_sub(11).max(room / 3)).max(1);
    let wide = pen.area.width >= 110;
    pen.bar(&heading(top, wide));
    let first = first_line(top.cursor(), lines, rows);
    for (row, at) in top.rows().zip(0..).skip(first).take(lines) {
        line(row, at == top.cursor(), wide, pen);
    }
    if rows > lines && pen.has_room() {
        let below = rows - (first + lines).min(rows);
        let told = [(first, "above"), (below, "below")].into_iter().filter(|(n, _)| *n > 0);
        let told: Vec<_> = told.map(|(n, which)| format!("{} {which}", count(n as u64))).collect();
        pen.line(&[(Ink::Dim, &format!("  {}", told.join(", ")))]);
    }
    detail(top, pen);
}

/// The first line that is shown, so that the selected one is in the middle where it can be.
pub(super) fn first_line(cursor: usize, lines: usize, rows: usize) -> usize {
    cursor.saturating_sub(lines / 2).min(rows.saturating_sub(lines))
}

fn nothing(top: &Top, pen: &mut Pen<'_>) {
    pen.line(&[]);
    let all = top.model.rows.len();
    if all > 0 {
        let text = format!(
            "None of {} causes fits the filter \"{}\". Esc clears it.",
            count(all as u64),
            top.filter
        );
        pen.line(&[(Ink::Plain, &text)]);
    } else if top.model.time.is_empty() {
        pen.line(&[(Ink::Plain, "Looking at what is there already…")]);
    } else {
        let of = if top.model.apart.has_unfit() { "No socket that fits the filter" } else { "No socket" };
        let text = format!("{of} has been in CLOSE_WAIT for {} or longer.", span(top.model.threshold));
        pen.line(&[(Ink::Plain, &text)]);
        for line in totals::apart(top.model.apart) {
            pen.line(&[(Ink::Plain, &line)]);
        }
        pen.line(&[(Ink::Dim, "One that has been is shown; --threshold says how long that is.")]);
    }
}

fn heading(top: &Top, wide: bool) -> String {
    let window = span(std::time::Duration::from_secs(top.model.window.as_secs()));
    let window = format!("+/{window}");
    let base = format!(
        "  {window:>7} {:>7} {:>7} {:>4} {:<15} {:<8} ",
        "SOCKETS", "OLDEST", "FDS", "VERDICT", "LEAK"
    );
    if wide { format!("{base}{:<32} {}", "OWNER", "WHERE") } else { format!("{base}OWNER") }
}

fn line(row: &Row, selected: bool, wide: bool, pen: &mut Pen<'_>) {
    let ground = pen.area;
    let change = match row.change {
        None => "?".into(),
        Some(0) => "0".into(),
        Some(n) if n > 0 => format!("+{}", count(n.unsigned_abs())),
        Some(n) => format!("-{}", count(n.unsigned_abs())),
    };
    let oldest = row.oldest.map_or("-".into(), |oldest| match oldest.max {
        Some(max) if span(max) == span(oldest.min) => span(oldest.min),
        _ => format!(">={}", span(oldest.min)),
    });
    let fds = match (row.nofile, row.fullness()) {
        (_, Some(0..10)) => "<1%".into(),
        (_, Some(part)) => format!("{}%", part / 10),
        (Some(_), None) => "-".into(),
        (None, None) => "?".into(),
    };
    let (leak, _) = leak_word(row.leak);
    let leak = if row.sockets == 0 { "ended" } else { leak };
    let ink = if row.sockets == 0 { Ink::Dim } else { Looks::leak(row.leak) };
    let numbers = format!(" {change:>7} {:>7} {oldest:>7} {fds:>4} ", count(row.sockets));
    let verdict = format!("{:<15} {leak:<8} ", row.code.name());
    let owner = if wide { &row.owner } else { &row.brief };
    let owner = if row.container.is_empty() { owner.clone() } else { format!("{owner} {}", row.container) };
    let owner = if wide {
        format!("{} ", pad(&pen.fitted(&owner, 32), 32))
    } else {
        let used = 1 + numbers.width() + verdict.width();
        with_port(pen, &owner, &row.port, usize::from(pen.area.width).saturating_sub(used))
    };
    let rate = if row.rate.is_empty() { String::new() } else { format!("  {}", row.rate) };
    let place = if wide { row.place.as_str() } else { "" };
    pen.line(&[
        (Ink::Bold, if selected { ">" } else { " " }),
        (Ink::Plain, &numbers),
        (ink, &verdict),
        (Ink::Bold, &owner),
        (Ink::Plain, place),
        (Ink::Dim, if wide { &rate } else { "" }),
    ]);
    if selected && ground.height > 0 {
        let style = pen.looks.style(Ink::Bar);
        pen.buf.set_style(ratatui::layout::Rect { height: 1, ..ground }, style);
    }
}

/// Of the owner and the port in `columns`, the name gives way: there are few ports and pids
/// on a screen, and many of the same name.
fn with_port(pen: &Pen<'_>, owner: &str, port: &str, columns: usize) -> String {
    const LEAST: usize = 4;
    let name = owner.find('[').unwrap_or(owner.len());
    let (name, tail) = owner.split_at(name);
    let room = |port: &str| columns.saturating_sub(tail.width() + 1 + port.width());
    // Of an address for which there is no room its port: half of an address misleads.
    let short =
        port.strip_prefix("-> ").and_then(|remote| Some(format!("->:{}", remote.rsplit_once(':')?.1)));
    let port = short.as_deref().filter(|_| name.width().min(LEAST) > room(port)).unwrap_or(port);
    let room = room(port);
    if port.is_empty() || name.width() <= room || room < LEAST {
        return format!("{owner} {port}");
    }
    format!("{}{tail} {port}", pen.fitted(name, room))
}

/// `text` with blanks up to `columns`, by how wide it is and not by its characters.
fn pad(text: &str, columns: usize) -> String {
    let blanks = columns.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(blanks))
}

/// What is known of the selected cause, as far as there is room.
fn detail(top: &Top, pen: &mut Pen<'_>) {
    if !pen.has_room() {
        return;
    }
    let rule = "─".repeat(usize::from(pen.area.width));
    pen.line(&[(Ink::Dim, &rule)]);
    let Some(detail) = top.told() else { return };
    lines(&detail.lines, pen);
    for (title, frames) in &detail.stacks {
        // A stack without its first frames says nothing.
        if pen.area.height < 4 {
            return;
        }
        pen.line(&[]);
        pen.line(&[(Ink::Bold, title)]);
        for frame in frames {
            pen.line(&[(Ink::Plain, frame)]);
        }
    }
}

/// Lines of a report: the first and what to do next stand out.
pub(super) fn lines(lines: &[String], pen: &mut Pen<'_>) {
    // If not all of them fit, what to do next is worth more than what it leaves out.
    let room = usize::from(pen.area.height);
    let next = lines.iter().position(|line| line.trim_start().starts_with("next:")).unwrap_or(lines.len());
    let (before, after) = lines.split_at(next);
    let after = &after[..after.len().min(room.saturating_sub(2))];
    let kept = before.len().min(room.saturating_sub(after.len()));
    for (n, line) in before[..kept].iter().chain(after).enumerate() {
        let ink = if n == 0 || n >= kept { Ink::Bold } else { Ink::Plain };
        pen.line(&[(ink, line)]);
    }
}

/// For a screen that is too small for a table: how many, and the worst of them.
pub(super) fn tiny(top: &Top, pen: &mut Pen<'_>) {
    if top.page == Page::Help {
        pen.line(&[(Ink::Plain, "q quits")]);
        pen.line(&[(Ink::Plain, "/ filter  s sort")]);
        pen.line(&[(Ink::Plain, "p pause  Esc back")]);
        return;
    }
    if top.typing {
        return super::header::footer(top, pen);
    }
    pen.line(&[(Looks::leak(top.model.stuck.worst()), &headline(&top.model))]);
    for (row, at) in top.rows().zip(0..).skip(top.cursor()) {
        // The selected one in two lines: how many and whose.
        let text = format!("{} {}", count(row.sockets), row.brief);
        pen.line(&[(Ink::Bold, &text)]);
        let (leak, _) = leak_word(row.leak);
        let oldest = row.oldest.map_or(String::new(), |oldest| format!(" {}", age(oldest)));
        if at == top.cursor() {
            pen.line(&[(Looks::leak(row.leak), row.code.name())]);
            pen.line(&[(Ink::Plain, &format!("{leak}{oldest}"))]);
        }
    }
    if top.rows().len() == 0 {
        let text = if top.model.time.is_empty() { "looking…" } else { "q quits, ? keys" };
        pen.line(&[(Ink::Dim, text)]);
    }
}
