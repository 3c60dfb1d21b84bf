//! The lines above and below every page.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::{Ink, Looks, Pen, spark};
use crate::commands::top::keys::Sort;
use crate::commands::top::model::headline;
use crate::commands::top::state::{Page, Top};
use crate::enrich::states::STATES;
use crate::fact::Fact;
use crate::report::text::style::{count, span};
use crate::tcp::State;

/// Columns of the label in front of the bars, and of the words behind them.
const LABEL: usize = 8;
const WORDS: usize = 24;

/// What there is and how it came about; as many lines as there is room for.
pub(super) fn draw(top: &Top, pen: &mut Pen<'_>) {
    let height = pen.area.height;
    first(top, pen);
    if height >= 10 {
        pen.line(&[(Ink::Plain, &states(top))]);
    }
    if height >= 16 {
        let lines = if height >= 40 { 3 } else { 1 };
        numbers(top, lines, pen);
    }
    if let Some(notice) = top.notices.back()
        && height >= 12
    {
        let more = top.notices.len() - 1;
        let more = if more > 0 { format!(" ({more} more before)") } else { String::new() };
        pen.line(&[(Ink::Unclear, notice), (Ink::Dim, &more)]);
    }
}

fn first(top: &Top, pen: &mut Pen<'_>) {
    let model = &top.model;
    let worst = if model.stuck.total() == 0 { Ink::Bold } else { Looks::leak(model.stuck.worst()) };
    let ended = if model.ended > 0 { format!(", {} ended", count(model.ended)) } else { String::new() };
    let place = match top.place {
        Some((at, of)) => format!("{} of {}", span(at), span(of)),
        None => format!("for {}", span(std::time::Duration::from_secs(model.watched.as_secs()))),
    };
    // The date, and then the time, where there is room for it: half of either misleads.
    let headline = headline(model);
    let paused = if top.paused { "PAUSED " } else { "" };
    let used = paused.width() + headline.width() + ended.width();
    let mut source = format!("  {} {place}", top.source);
    if used + source.width() > usize::from(pen.area.width) {
        source = format!("  {place}");
    }
    let used = used + source.width();
    let time = model.time.split_once(' ').map_or("", |(_, time)| time);
    let room = usize::from(pen.area.width).saturating_sub(used + 2);
    let time = [&*model.time, time].into_iter().find(|time| time.width() <= room).unwrap_or("");
    pen.line(&[
        (Ink::Bar, paused.trim_end()),
        (Ink::Plain, if top.paused { " " } else { "" }),
        (worst, &headline),
        (Ink::Plain, &ended),
        (Ink::Dim, if model.time.is_empty() { "  first look" } else { &source }),
        (Ink::Dim, "  "),
        (Ink::Dim, time),
    ]);
}

/// `TCP: CLOSE_WAIT 4,960  FIN_WAIT2 4,801  ESTABLISHED 312`; states that are empty only
/// where they matter.
fn states(top: &Top) -> String {
    match &top.states {
        Fact::Known(counts) => {
            let mut text = "TCP".to_owned();
            for state in STATES {
                let n = counts[state as usize];
                let matters = matches!(state, State::CloseWait | State::Established | State::TimeWait);
                if n > 0 || matters {
                    let _ = write!(text, "  {state} {}", count(n));
                }
            }
            text
        }
        Fact::Unknown(why) => format!("TCP  counts of states unknown: {why}"),
    }
}

/// The stuck sockets and their births over the time.
fn numbers(top: &Top, lines: u16, pen: &mut Pen<'_>) {
    let columns = usize::from(pen.area.width).saturating_sub(LABEL + WORDS);
    let (stretches, width) = top.history.in_columns(columns);
    let stuck: Vec<_> = stretches.iter().map(|stretch| stretch.stuck).collect();
    let births: Vec<_> = stretches.iter().map(|stretch| stretch.births).collect();
    let all: u64 = births.iter().sum();
    let most = stuck.iter().copied().max().unwrap_or(0);
    let of_births = match births.iter().copied().max().unwrap_or(0) {
        0 => "none".to_owned(),
        most => format!("{}, at most {} in {}", count(all), count(most), span(width)),
    };
    for (label, values, words) in
        [("stuck", stuck, format!("at most {}", count(most))), ("births", births, of_births)]
    {
        let bars = spark::bars(&values, lines, pen.looks.unicode);
        let last = bars.len() - 1;
        for (n, bar) in bars.iter().enumerate() {
            let (label, words) = if n == last { (label, words.as_str()) } else { ("", "") };
            // The bars end where now is.
            pen.line(&[
                (Ink::Dim, &format!("{label:<LABEL$}")),
                (Ink::Plain, bar),
                (Ink::Dim, &format!("  {words}")),
            ]);
        }
    }
}

/// What can be done here.
pub(super) fn footer(top: &Top, pen: &mut Pen<'_>) {
    if top.typing {
        let found = format!("   {} of {}   Enter keeps, Esc clears", top.rows().len(), top.model.rows.len());
        pen.line(&[(Ink::Bold, "/"), (Ink::Bold, &top.filter), (Ink::Bar, " "), (Ink::Dim, &found)]);
        return;
    }
    let step = if top.place.is_some() { "  [ ] time" } else { "" };
    let keys = match top.page {
        Page::Causes => format!(
            "Enter sockets  s sort: {}  / filter{}  p {}{step}  ? help  q quit",
            Sort::name(top.sort),
            if top.filter.is_empty() { String::new() } else { format!(": {} (Esc clears)", top.filter) },
            if top.paused { "go on" } else { "pause" },
        ),
        Page::Sockets => "Enter stacks  Esc back  up down PgUp PgDn  ? help  q quit".into(),
        Page::Stacks => "Esc back  up down PgUp PgDn  ? help  q quit".into(),
        Page::Help => "Esc back  q quit".into(),
    };
    pen.line(&[(Ink::Dim, &keys)]);
}
