//! The pages behind the causes: the sockets of one, its stacks, and the keys.

use std::fmt::Write;

use super::{Ink, Looks, Pen, table};
use crate::commands::top::keys::HELP;
use crate::commands::top::model::Socket;
use crate::commands::top::state::Top;
use crate::report::text::place::addresses;
use crate::report::text::style::{age, count, plural};

/// The sockets of the selected cause.
pub(super) fn sockets(top: &Top, pen: &mut Pen<'_>) {
    let Some(detail) = top.told() else { return };
    title(top, pen);
    let unlisted = match detail.unlisted {
        0 => String::new(),
        n => format!(" ({} younger not listed)", count(n)),
    };
    let several = detail.sockets.windows(2).any(|two| two[0].netns != two[1].netns);
    let cells = |socket: &Socket| {
        let (pid, fd) =
            socket.owner.map_or(("?".into(), "?".into()), |(pid, fd)| (pid.to_string(), fd.to_string()));
        let (local, remote) = (socket.tuple.local.to_string(), socket.tuple.remote.to_string());
        let netns = if several { socket.netns.0.to_string() } else { String::new() };
        [age(socket.age), pid, fd, local, remote, netns]
    };
    let heads = ["AGE", "PID", "FD", "LOCAL", "REMOTE", if several { "NETNS" } else { "" }];
    let mut widths = heads.map(str::len);
    for socket in &detail.sockets {
        for (width, cell) in widths.iter_mut().zip(cells(socket)) {
            *width = cell.len().max(*width);
        }
    }
    let row = |mark: char, cells: [String; 6]| {
        let mut text = format!("{mark}");
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(text, " {cell:<width$} ");
        }
        text
    };
    pen.bar(&format!("{} {unlisted}", row(' ', heads.map(str::to_owned)).trim_end()));
    let (rows, lines) = (detail.sockets.len(), usize::from(pen.area.height));
    let cursor = top.socket.min(rows.saturating_sub(1));
    let first = table::first_line(cursor, lines, rows);
    for (socket, at) in detail.sockets.iter().zip(0..).skip(first).take(lines) {
        let text = row(if at == cursor { '>' } else { ' ' }, cells(socket));
        if at == cursor { pen.bar(&text) } else { pen.line(&[(Ink::Plain, &text)]) }
    }
}

/// The whole stacks, and why.
pub(super) fn stacks(top: &Top, pen: &mut Pen<'_>) {
    let Some(detail) = top.told() else { return };
    title(top, pen);
    let mut lines: Vec<(Ink, &str)> = Vec::new();
    let socket = detail.sockets.get(top.socket).map(|socket| {
        let owner = socket.owner.map_or(String::new(), |(pid, fd)| format!(", pid {pid} fd {fd}"));
        format!("{}{owner}, for {}", addresses(socket.tuple, detail.role), age(socket.age))
    });
    lines.extend(socket.as_deref().map(|socket| (Ink::Bold, socket)));
    if detail.sockets.len() > 1 {
        lines.push((
            Ink::Dim,
            "All sockets of a cause have these stacks; what follows was read of one of them.",
        ));
    }
    for (title, frames) in &detail.stacks {
        lines.extend([(Ink::Plain, ""), (Ink::Bold, title.as_str())]);
        lines.extend(frames.iter().map(|frame| (Ink::Plain, frame.as_str())));
    }
    lines.push((Ink::Plain, ""));
    lines.extend(detail.lines.iter().map(|line| (Ink::Plain, line.as_str())));
    let first = top.scroll.min(lines.len().saturating_sub(usize::from(pen.area.height)));
    for line in &lines[first..] {
        pen.line(&[*line]);
    }
}

/// Which cause it is about.
fn title(top: &Top, pen: &mut Pen<'_>) {
    let Some(row) = top.selected() else { return };
    let text = format!("cause {}  {}  {}", row.id, row.code.name(), plural(row.sockets, "socket"));
    pen.line(&[(Looks::leak(row.leak), &text), (Ink::Bold, &format!("  {} {}", row.owner, row.container))]);
}

/// The keys.
pub(super) fn help(top: &Top, pen: &mut Pen<'_>) {
    let first = top.scroll.min(HELP.len().saturating_sub(usize::from(pen.area.height)));
    for (keys, what) in &HELP[first..] {
        pen.line(&[(Ink::Bold, &format!("{keys:<14} ")), (Ink::Plain, what)]);
    }
    pen.line(&[]);
    let notices: Vec<_> = top.notices.iter().cloned().collect();
    table::lines(&notices, pen);
}
