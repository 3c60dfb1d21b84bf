//! A desk to report at: a reporter with one sink that writes to memory, and the
//! checks that every page must pass.

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use closewait_trace::clock::{Clock, MonoNs};
use closewait_trace::item::Gap;
use closewait_trace::report::schema::schema;
use closewait_trace::report::{
    Cost, JsonSink, Report, Reporter, Sink, Style, Summary, TextOptions, TextSink, Totals,
};
use closewait_trace::tracker::TrackerStats;
use unicode_width::UnicodeWidthStr;

use crate::made::{NOW, ago};

/// A writer whose text can be read while it is written.
#[derive(Clone, Default)]
pub(crate) struct Page(Rc<RefCell<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    pub(crate) fn take(&self) -> String {
        String::from_utf8(self.0.take()).unwrap()
    }
}

/// A reporter with one sink, and the pages it writes.
pub(crate) struct Desk {
    pub(crate) reporter: Reporter,
    pub(crate) clock: Clock,
    pub(crate) out: Page,
    pub(crate) notes: Page,
}

pub(crate) const THRESHOLD: Duration = Duration::from_secs(10);

pub(crate) const OPTIONS: TextOptions = TextOptions {
    style: Style { color: false, width: 99 },
    threshold: THRESHOLD,
    group: true,
    limit: 20,
    interval: None,
    once: false,
};

impl Desk {
    pub(crate) fn with(sink: impl FnOnce(Page, Page) -> Box<dyn Sink>) -> Self {
        let (out, notes) = (Page::default(), Page::default());
        let wall = SystemTime::UNIX_EPOCH + Duration::from_hours(498_666);
        let reporter = Reporter::new(vec![sink(out.clone(), notes.clone())]);
        Self { reporter, clock: Clock::fixed(NOW, wall), out, notes }
    }

    pub(crate) fn text(options: TextOptions) -> Self {
        Self::with(|out, notes| Box::new(TextSink::new(Box::new(out), Box::new(notes), options)))
    }

    pub(crate) fn json(group: bool) -> Self {
        Self::with(|out, _| Box::new(JsonSink::new(Box::new(out), group)))
    }

    pub(crate) fn report(&mut self, report: Report, now: MonoNs) {
        self.reporter.report(report, &self.clock, now).unwrap();
    }

    pub(crate) fn all(&mut self, reports: Vec<Report>) {
        for report in reports {
            self.report(report, NOW);
        }
    }

    pub(crate) fn tick(&mut self, now: MonoNs) {
        self.reporter.tick(&self.clock, now).unwrap();
    }

    pub(crate) fn finish(&mut self, totals: Totals) -> Summary {
        let (summary, written) = self.reporter.finish(totals, &self.clock);
        written.unwrap();
        summary
    }
}

pub(crate) fn totals(ended: MonoNs) -> Totals {
    let mut tracker =
        TrackerStats { tracked: 5_065, entered: 10_120, found_by_snapshot: 5_060, ..Default::default() };
    for (ms, times) in [(0, 9_000), (3, 900), (90, 180), (40_000, 34), (260_000, 1)] {
        for _ in 0..times {
            tracker.dwell.record(Duration::from_millis(ms));
        }
    }
    tracker.left = tracker.dwell.total();
    Totals {
        began: ago(120),
        ended,
        threshold: THRESHOLD,
        running: None,
        watched: 38_212,
        tracker,
        lost: Gap::default(),
        degraded: Vec::new(),
        cost: Cost::default(),
    }
}

pub(crate) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name);
    same_as_file(&path, text);
}

pub(crate) fn same_as_file(path: &Path, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let want = std::fs::read_to_string(path).unwrap_or_default();
    assert!(want == text, "{} differs (UPDATE=1 rewrites it):\n{text}", path.display());
}

pub(crate) fn assert_fits(text: &str) {
    for line in text.lines() {
        assert!(line.width() < 100, "{} columns: {line}", line.width());
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
        assert_eq!(line.trim_end(), line, "blanks at the end");
    }
}

/// Every line is valid by the schema; the lines, parsed.
pub(crate) fn assert_valid(lines: &str) -> Vec<serde_json::Value> {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    lines
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let errors: Vec<_> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?}: {line}");
            assert_eq!(value["schema"], 1);
            value
        })
        .collect()
}
