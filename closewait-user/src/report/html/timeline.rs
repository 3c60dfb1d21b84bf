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
    let words = words(stuck, (all > 0).then_some((births, width.as_str())), history.found(), all, ends);
    let filtered: Vec<_> = history.filtered().iter().map(|&moment| time(moment, at.clock)).collect();
    let words = match filtered.as_slice() {
        [] => words,
        moments => {
            format!("{words} Filters were read again, and left out some from {} on.", moments.join(" and "))
        }
    };
    writeln!(out, "<h2>Timeline</h2>\n<figure>\n<figcaption>{}</figcaption>", text(&words))?;
    image(out, "stuck", STUCK, &words, &area(stretches, stuck))?;
    if all > 0 {
        image(out, "births", BIRTHS, "", &bars(stretches, births))?;
    }
    let (from, to) = (time(began, at.clock), time(at.now, at.clock));
    writeln!(out, "<p class=\"ends\"><span>{}</span><span>{}</span></p>\n</figure>", text(&from), text(&to))
}

/// What the images show. `births`: the most in one stretch, and how long that is; `before`: those
/// that were not born while it was watched.
fn words(stuck: u64, births: Option<(u64, &str)>, before: u64, born: u64, ended: u64) -> String {
    let below = births.map_or(String::new(), |(most, width)| {
        format!("; below: how many became stuck in each {width}, at most {}", count(most))
    });
    let were = if before == 1 { "was" } else { "were" };
    let of = match (before, born) {
        (0, _) => format!("In all {} became stuck", count(born)),
        (_, 0) => {
            format!("{} {were} in CLOSE_WAIT before it was watched, none became stuck since", count(before))
        }
        _ => format!(
            "{} {were} in CLOSE_WAIT before it was watched, {} became stuck since",
            count(before),
            count(born)
        ),
    };
    format!("Stuck sockets, at most {}{below}. {of} and {} ended.", count(stuck), count(ended))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_stuck_before_is_told_apart_from_who_became_so() {
        let below = Some((3, "1s"));
        for (births, before, born, want) in [
            (
                below,
                0,
                7,
                "; below: how many became stuck in each 1s, at most 3. In all 7 became stuck and 2 ended.",
            ),
            (
                below,
                4_900,
                41,
                "; below: how many became stuck in each 1s, at most 3. 4,900 were in CLOSE_WAIT before it was \
                 watched, 41 became stuck since and 2 ended.",
            ),
            (None, 1, 0, ". 1 was in CLOSE_WAIT before it was watched, none became stuck since and 2 ended."),
        ] {
            assert_eq!(words(4_941, births, before, born, 2), format!("Stuck sockets, at most 4,941{want}"));
        }
    }
}
