//! `--html FILE`: everything that was reported on one page that needs nothing else: no other
//! file, no network, and without its script it only lacks the search.
//!
//! In: reports, for the timeline, and at the end the ledger. Out: a page that is HTML and
//! well-formed XML. Its size is bounded, and what is left out is said on it. Names are the
//! system's: made inert, then made text.

mod causes;
mod markup;
mod sockets;
mod timeline;

use std::io::{self, Write};

use super::flame;
use super::history::History;
use super::ledger::Cause;
use super::model::Report;
use super::summary::Summary;
use super::text::style::{plural, span};
use super::text::totals::{self, Threshold};
use super::{Moment, Sink};
use markup::{inert, text};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the page may do: be styled and run the one script that it brings along, nothing else.
/// The hash is that of the script; a test compares them.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'sha256-+MdIZ6dBrcbeEv+W9xaqqI7AdJRIewi3ozdXEuGa3Y0='; base-uri 'none'; form-action 'none'";

/// Writes the page when the run ends.
pub struct HtmlSink {
    out: Box<dyn Write>,
    history: History,
}

impl HtmlSink {
    /// Writes to `out`.
    pub fn new(out: Box<dyn Write>) -> Self {
        Self { out, history: History::default() }
    }
}

impl Sink for HtmlSink {
    fn report(&mut self, report: &Report, at: Moment<'_>) -> io::Result<()> {
        self.history.report(report, at);
        Ok(())
    }

    fn tick(&mut self, at: Moment<'_>) -> io::Result<()> {
        self.history.reach(at);
        Ok(())
    }

    fn left_out(&mut self, at: Moment<'_>) {
        self.history.left_out(at.now);
    }

    fn finish(&mut self, summary: &Summary, at: Moment<'_>) -> io::Result<()> {
        self.history.reach(at);
        page(&mut self.out, summary, &self.history, at)?;
        self.out.flush()
    }
}

fn page(out: &mut dyn Write, summary: &Summary, history: &History, at: Moment<'_>) -> io::Result<()> {
    let causes = at.ledger.causes();
    let title = format!("closewait-trace: {} stuck in CLOSE_WAIT", plural(summary.stuck, "socket"));
    writeln!(out, "<!DOCTYPE html>")?;
    writeln!(out, r#"<html xmlns="http://www.w3.org/1999/xhtml" lang="en" xml:lang="en"><head>"#)?;
    writeln!(out, r#"<meta charset="utf-8"/>"#)?;
    writeln!(out, r#"<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>"#)?;
    writeln!(out, r#"<meta name="viewport" content="width=device-width"/>"#)?;
    writeln!(out, "<title>{title}</title>\n<style>\n{STYLE}</style></head>\n<body>")?;
    writeln!(out, "<h1>closewait-trace</h1>")?;
    head(out, summary, &causes, at)?;
    timeline::write(out, history, at)?;
    causes::write(out, &causes, summary, at)?;
    writeln!(out, "<h2 id=\"flame\">Stacks</h2>")?;
    if causes.is_empty() {
        writeln!(out, "<p>No stuck socket was reported.</p>")?;
    } else {
        let what =
            "Sockets by the stacks that opened them and, above those, read their EOF; the wider, the more.";
        writeln!(out, "<p>{what}</p>\n<div class=\"flame\">")?;
        let others = flame::inline(at.ledger, out)?;
        writeln!(out, "</div>")?;
        if others > 0 {
            let others = plural(others as u64, "stack");
            writeln!(out, "<p class=\"left-out\">{others} with the fewest sockets are drawn as one.</p>")?;
        }
    }
    sockets::write(out, &causes, at)?;
    foot(out, summary)?;
    writeln!(out, "<script>\n{SCRIPT}</script>\n</body></html>")
}

/// How many, how bad, and when.
fn head(out: &mut dyn Write, summary: &Summary, causes: &[Cause<'_>], at: Moment<'_>) -> io::Result<()> {
    let totals = &summary.totals;
    let headline = if causes.is_empty() {
        let look = super::FirstLook { watched: totals.watched, young: summary.young() };
        totals::nothing(look, Threshold::of(totals), summary.apart, &causes::WHOLE)
    } else {
        totals::headline(causes, Threshold::of(totals), at, &causes::WHOLE)
    };
    writeln!(out, "<p class=\"headline\">{}</p>", text(&headline.join(" ")))?;
    // Until when is in the headline.
    writeln!(out, "<p>Watched for {}.</p>", span(totals.ended.since(totals.began)))
}

/// What was seen, lost and spent.
fn foot(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    writeln!(out, "<h2>Summary</h2>\n<table class=\"facts\"><tbody>")?;
    for (label, words) in totals::summary_rows(summary) {
        writeln!(out, "<tr><th>{label}</th><td>{}</td></tr>", text(&words))?;
    }
    let version = inert(crate::version::short());
    writeln!(
        out,
        "</tbody></table>\n<p class=\"dim\">closewait-trace {version}. <code>closewait-trace explain CODE</code> \
         says what a verdict means.</p>"
    )
}
