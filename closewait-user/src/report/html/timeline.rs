//! The number of stuck sockets over the time, as an image inside of the page. Pure.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::markup::text;
use crate::report::Moment;
use crate::report::history::{History, Stretch};
use crate::report::text::style::{count, span};

/// The image, in its own units.
const WIDTH: f64 = 1000.0;
const STUCK: f64 = 150.0;
const BIRTHS: f64 = 40.0;
const GAP: f64 = 30.0;

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
    writeln!(out, "<h2>Timeline</h2>\n<figure>")?;
    let (top, bottom) = (STUCK, STUCK + GAP + BIRTHS);
    writeln!(
        out,
        r#"<svg class="timeline" viewBox="0 0 {WIDTH} {}" role="img" xmlns="http://www.w3.org/2000/svg">"#,
        bottom + 20.0
    )?;
    writeln!(out, "<title>{}</title>", text(&words))?;
    writeln!(out, r#"<path class="area" d="{}"/>"#, area(stretches, stuck))?;
    writeln!(out, r#"<path class="axis" d="M0 {top}H{WIDTH}M0 {bottom}H{WIDTH}"/>"#)?;
    writeln!(out, r#"<path class="bars" d="{}"/>"#, bars(stretches, births, bottom))?;
    let labels = [
        (0.0, 12.0, "start", format!("{} stuck", count(stuck))),
        (0.0, STUCK + GAP - 4.0, "start", format!("{} became stuck in {width}", count(births))),
        (0.0, bottom + 16.0, "start", time(began, at.clock)),
        (WIDTH, bottom + 16.0, "end", time(at.now, at.clock)),
    ];
    for (x, y, anchor, label) in labels {
        writeln!(out, r#"<text x="{x}" y="{y}" text-anchor="{anchor}">{}</text>"#, text(&label))?;
    }
    writeln!(out, "</svg>\n<figcaption>{}</figcaption>\n</figure>", text(&words))
}

/// Steps from the left to the right, filled down to the axis.
fn area(stretches: &[Stretch], most: u64) -> String {
    let mut path = format!("M0 {STUCK}");
    for (n, stretch) in stretches.iter().enumerate() {
        let y = STUCK - part(stretch.stuck, most) * (STUCK - 20.0);
        let _ = write!(path, "V{y:.1}H{:.1}", x(n + 1, stretches.len()));
    }
    let _ = write!(path, "V{STUCK}Z");
    path
}

/// A bar for each stretch in which something was born.
fn bars(stretches: &[Stretch], most: u64, bottom: f64) -> String {
    let mut path = String::new();
    for (n, stretch) in stretches.iter().enumerate().filter(|(_, stretch)| stretch.births > 0) {
        // What is there can be seen.
        let height = (part(stretch.births, most) * BIRTHS).max(1.0);
        let (from, to) = (x(n, stretches.len()), x(n + 1, stretches.len()));
        let _ = write!(path, "M{from:.1} {bottom}V{:.1}H{to:.1}V{bottom}Z", bottom - height);
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
