//! The number of stuck sockets over the time, as images inside of the page. Pure.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::markup::text;
use crate::report::Moment;
use crate::report::history::{History, Stretch};
use crate::report::text::style::{count, span};

/// The images, in their own units.
const WIDTH: f64 = 1000.0;
const STUCK: f64 = 100.0;
const BIRTHS: f64 = 40.0;

/// Writes it, with what it shows in words.
pub(super) fn write(out: &mut dyn Write, history: &History, at: Moment<'_>) -> io::Result<()> {
    let stretches = history.stretches();
    let Some(began) = history.began().filter(|_| stretches.len() > 1) else {
        return writeln!(out, "<h2>Timeline</h2>\n<p>Watched for too short a time to draw one.</p>");
    };
    if stretches.iter().all(|stretch| stretch.stuck == 0) {
        return writeln!(out, "<h2>Timeline</h2>\n<p>Nothing was stuck at any time.</p>");
    }
    let most = |of: fn(&Stretch) -> u64| stretches.iter().map(of).max().unwrap_or(0);
    let (stuck, births) = (most(|it| it.stuck), most(|it| it.births));
    let (all, ends) = stretches.iter().fold((0, 0), |sum, it| (sum.0 + it.births, sum.1 + it.ends));
    let width = span(history.width());
    let time = |at: crate::clock::MonoNs, clock: &crate::clock::Clock| {
        humantime::format_rfc3339_seconds(clock.wall(at)).to_string().replace('T', " ").replace('Z', " UTC")
    };
    let words = format!(
        "Stuck sockets, at most {}; below: how many became stuck in each {width}, at most {}. In all {} became \
         stuck and {} ended.",
        count(stuck),
        count(births),
        count(all),
        count(ends)
    );
    let filtered: Vec<_> = history.filtered().iter().map(|&moment| time(moment, at.clock)).collect();
    let words = match filtered.as_slice() {
        [] => words,
        moments => {
            format!("{words} Filters were read again, and left out some from {} on.", moments.join(" and "))
        }
    };
    writeln!(out, "<h2>Timeline</h2>\n<figure>\n<figcaption>{}</figcaption>", text(&words))?;
    image(out, "stuck", STUCK, &words, &area(stretches, stuck))?;
    image(out, "births", BIRTHS, "", &bars(stretches, births))?;
    let (from, to) = (time(began, at.clock), time(at.now, at.clock));
    writeln!(out, "<p class=\"ends\"><span>{}</span><span>{}</span></p>\n</figure>", text(&from), text(&to))
}

/// One path as an image that is as wide as the page; words would be drawn out of shape in it.
fn image(out: &mut dyn Write, name: &str, height: f64, title: &str, path: &str) -> io::Result<()> {
    let title = if title.is_empty() { String::new() } else { format!("<title>{}</title>", text(title)) };
    writeln!(
        out,
        r#"<svg class="timeline {name}" viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none" role="img" xmlns="http://www.w3.org/2000/svg">{title}<path d="{path}"/></svg>"#,
    )
}

/// Steps from the left to the right, filled down to the axis.
fn area(stretches: &[Stretch], most: u64) -> String {
    let mut path = format!("M0 {STUCK}");
    for (n, stretch) in stretches.iter().enumerate() {
        let y = STUCK - part(stretch.stuck, most) * STUCK;
        let _ = write!(path, "V{y:.1}H{:.1}", x(n + 1, stretches.len()));
    }
    let _ = write!(path, "V{STUCK}Z");
    path
}

/// A bar for each stretch in which something was born.
fn bars(stretches: &[Stretch], most: u64) -> String {
    let mut path = String::new();
    for (n, stretch) in stretches.iter().enumerate().filter(|(_, stretch)| stretch.births > 0) {
        // What is there can be seen.
        let height = (part(stretch.births, most) * BIRTHS).max(1.0);
        let (from, to) = (x(n, stretches.len()), x(n + 1, stretches.len()));
        let _ = write!(path, "M{from:.1} {BIRTHS}V{:.1}H{to:.1}V{BIRTHS}Z", BIRTHS - height);
    }
    path
}

#[expect(clippy::cast_precision_loss, reason = "a place in an image")]
fn x(n: usize, of: usize) -> f64 {
    n as f64 / of as f64 * WIDTH
}

#[expect(clippy::cast_precision_loss, reason = "a height in an image")]
fn part(n: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { n as f64 / of as f64 }
}
