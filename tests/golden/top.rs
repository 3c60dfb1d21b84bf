//! Screens of `top`, cell by cell: drawn by ratatui's test backend and compared with files.

use std::time::Duration;

use closewait_trace::commands::top::keys::{Action, Sort};
use closewait_trace::commands::top::sink::{Shared, TopSink};
use closewait_trace::commands::top::view::{self, Looks};
use closewait_trace::fact::Fact;
use closewait_trace::report::{Ending, FirstLook, Level, Notice, Report};
use closewait_trace::tcp::State;
use closewait_trace::tracker::{Since, SocketId};
use closewait_trace::verdict::{Code, Confidence, OpenedVia};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

use crate::desk::{Desk, OPTIONS, golden};
use crate::made::{Case, NOW, ago, fds, holder, hostile, incident, interpreted, release, stack, verdict};

/// A screen without a terminal: reports go in, keys are pressed, pictures come out.
struct Stage {
    desk: Desk,
    shared: Shared,
}

impl Stage {
    fn new() -> Self {
        let shared = Shared::new("traced");
        let sink = TopSink::new(shared.clone(), Some(Duration::from_secs(1)), OPTIONS);
        let mut stage = Self { desk: Desk::with(|_, _| Box::new(sink)), shared };
        // It begins two minutes before now.
        stage.desk.tick(ago(120));
        assert!(stage.screen(80, 24).contains("Looking at what is there already"));
        stage.desk.report(Report::FirstLook(FirstLook { watched: 38_212, young: 3 }), ago(119));
        let mut counts = [0; 16];
        for (state, n) in [(State::CloseWait, 5_101), (State::FinWait2, 4_801), (State::Established, 312)] {
            counts[state as usize] = n;
        }
        stage.shared.top.borrow_mut().states = Fact::Known(counts);
        stage
    }

    fn of(reports: Vec<Report>) -> Self {
        let mut stage = Self::new();
        stage.desk.all(reports);
        stage.desk.tick(NOW);
        stage
    }

    fn press(&mut self, actions: &[Action]) -> &mut Self {
        for &action in actions {
            self.shared.top.borrow_mut().act(action);
        }
        self
    }

    fn buffer(&mut self, width: u16, height: u16, looks: Looks) -> Buffer {
        // The first picture tells how wide the screen is, the next has its detail.
        self.shared.top.borrow_mut().size = (width, height);
        self.desk.tick(NOW);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let top = self.shared.top.borrow();
        terminal.draw(|frame| view::draw(&top, looks, frame.area(), frame.buffer_mut())).unwrap();
        terminal.backend().buffer().clone()
    }

    fn screen(&mut self, width: u16, height: u16) -> String {
        text(&self.buffer(width, height, PLAIN))
    }
}

const PLAIN: Looks = Looks { color: false, unicode: true };

/// The lines of a picture, without blanks at their ends.
fn text(buffer: &Buffer) -> String {
    let lines = buffer.content().chunks(usize::from(buffer.area.width)).map(|cells| {
        let mut line = String::new();
        let mut hidden = 0;
        for cell in cells {
            // The second cell of a wide character is a blank that is not there.
            if hidden > 0 {
                hidden -= 1;
                continue;
            }
            line.push_str(cell.symbol());
            hidden = cell.symbol().width().saturating_sub(1);
        }
        line.trim_end().to_owned() + "\n"
    });
    lines.collect()
}

/// Many causes: each a client's, to an address of its own.
pub(crate) fn many(causes: u32) -> Vec<Report> {
    let ignored = verdict(Code::EofIgnored, Confidence::High, Some(true), &["0 bytes unread"], "Close it.");
    let case = |id: u32| {
        let remote = format!("10.9.{}.{}", id / 250, id % 250);
        let h = fds(holder(4_711, "crawler", "/usr/bin/crawler", 5 + id), 5_100, 20_000);
        let frames = stack(&["fetch@fetch.c:40", "main"]);
        let case =
            Case::new(id, 10 + u64::from(id % 500), ignored.clone()).client(&remote, 443).held(vec![h]);
        case.opened(4_711, "crawler", OpenedVia::Connect, Fact::Known(frames)).report()
    };
    (0..causes).map(case).collect()
}

const SIZES: [(u16, u16); 3] = [(80, 24), (200, 60), (20, 5)];

#[test]
fn screens_of_no_cause_one_and_thousands() {
    for (name, reports) in
        [("none", Vec::new()), ("one", many(1)), ("5000", many(5_000)), ("incident", incident())]
    {
        let mut stage = Stage::of(reports);
        for (width, height) in SIZES {
            golden(&format!("top-{name}-{width}x{height}.txt"), &stage.screen(width, height));
        }
    }
}

#[test]
fn the_pages_of_a_cause() {
    let mut stage = Stage::of(incident());
    stage.screen(80, 24);
    stage.press(&[Action::Sort(Sort::Sockets), Action::Open]);
    golden("top-sockets-80x24.txt", &stage.screen(80, 24));
    stage.press(&[Action::Last, Action::Open]);
    golden("top-stacks-80x24.txt", &stage.screen(80, 24));
    stage.press(&[Action::Last]);
    let end = stage.screen(80, 24);
    assert!(end.contains("next:"), "the last lines stay in sight:\n{end}");
    stage.press(&[Action::Help]);
    golden("top-help-80x24.txt", &stage.screen(80, 24));
}

#[test]
fn a_filter_and_a_pause_are_seen() {
    let mut stage = Stage::of(incident());
    stage.press(&[Action::Filter]);
    for c in "not_acc".chars() {
        stage.press(&[Action::Type(c)]);
    }
    let typed = stage.screen(80, 24);
    assert!(typed.contains("nginx[88]") && !typed.contains("java[") && typed.contains("/not_acc"), "{typed}");
    stage.press(&[Action::Accept, Action::Pause]);
    let paused = stage.screen(80, 24);
    assert!(paused.contains("PAUSED") && paused.contains("p go on"), "{paused}");
    // What comes now is not shown.
    let before = stage.shared.top.borrow().model.rows.len();
    stage.desk.all(many(9));
    stage.desk.tick(NOW + Duration::from_secs(9));
    assert_eq!(stage.shared.top.borrow().model.rows.len(), before);
    stage.press(&[Action::Pause, Action::Clear]);
    stage.desk.tick(NOW + Duration::from_secs(20));
    assert_eq!(stage.shared.top.borrow().model.rows.len(), before + 9);
}

#[test]
fn growth_is_what_changed_within_a_minute() {
    let mut stage = Stage::new();
    let leak = |id: u32, entered: u64| {
        let v = verdict(Code::EofIgnored, Confidence::High, Some(true), &[], "Close it.");
        let mut case = Case::new(id, 0, v).held(vec![holder(5, "a", "/bin/a", id)]);
        case.since = Since::Seen(ago(entered));
        case.report()
    };
    // Found at first; born long ago; born and over the threshold within the minute.
    for (id, entered) in [(1, 500), (2, 100), (3, 65), (4, 30), (5, 20)] {
        stage.desk.report(leak(id, entered), NOW);
    }
    let change = |stage: &mut Stage, now| {
        stage.desk.tick(now);
        let row = &stage.shared.top.borrow().model.rows[0];
        (row.sockets, row.change, row.born)
    };
    assert_eq!(change(&mut stage, NOW), (5, Some(3), 4));
    let ends = |id, entered: u64| {
        let mut ended = release(id, NOW, Fact::Known(Ending::Closed), Fact::unknown("not recorded"));
        if let Report::Released(release) = &mut ended {
            release.released.id = SocketId::from_parts(id, 1);
            release.released.since = Since::Seen(ago(entered));
            release.released.not_before = Some(ago(entered));
        }
        ended
    };
    // One of before the minute ended, and one that came within it.
    stage.desk.report(ends(1, 500), NOW);
    stage.desk.report(ends(5, 20), NOW);
    assert_eq!(change(&mut stage, NOW + Duration::from_secs(1)), (3, Some(1), 3));
    // A minute later nothing has changed for a minute.
    assert_eq!(change(&mut stage, NOW + Duration::from_secs(90)), (3, Some(0), 3));
    let stretches = stage.shared.top.borrow().history.stretches().to_vec();
    assert_eq!(stretches.iter().map(|it| it.births).sum::<u64>(), 4);
    assert_eq!(stretches.iter().map(|it| it.ends).sum::<u64>(), 2);
    assert_eq!(stretches.iter().map(|it| it.stuck).max(), Some(5));
}

#[test]
fn no_size_no_page_and_no_name_breaks_the_screen() {
    let mut reports = hostile();
    reports.extend(many(30));
    let notice = |text: &str| Report::Notice(Notice { level: Level::Warning, text: text.into(), hint: None });
    reports.push(notice("\u{1b}[2J\u{202e}\n"));
    reports.push(Report::FirstLook(FirstLook { watched: 1, young: 0 }));
    let mut stage = Stage::of(reports);
    for pages in [&[][..], &[Action::Open], &[Action::Open], &[Action::Help], &[Action::Help, Action::Filter]]
    {
        stage.press(pages);
        for (width, height) in (1..90).step_by(7).flat_map(|w| (1..30).step_by(3).map(move |h| (w, h))) {
            for unicode in [true, false] {
                let buffer = stage.buffer(width, height, Looks { color: true, unicode });
                let shown = text(&buffer);
                let inert = |c: char| c == '\n' || (!c.is_control() && (unicode || c.is_ascii()));
                assert!(shown.chars().all(inert), "{width}x{height}: {shown:?}");
                assert!(!shown.contains('\u{202e}'), "{width}x{height}");
            }
        }
    }
}

#[test]
fn without_colour_there_is_none_and_with_it_the_ground_stays_the_terminals() {
    for color in [false, true] {
        let buffer = Stage::of(incident()).buffer(80, 24, Looks { color, unicode: true });
        assert!(buffer.content().iter().all(|cell| cell.bg == Color::Reset));
        let colored = buffer.content().iter().any(|cell| cell.fg != Color::Reset);
        assert_eq!(colored, color);
        assert!(buffer.content().iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)));
    }
}

#[test]
fn what_all_its_processes_run_follows_their_number() {
    let stage = Stage::of(interpreted());
    let owners: Vec<_> = stage.shared.top.borrow().model.rows.iter().map(|row| row.owner.clone()).collect();
    assert!(owners.iter().any(|owner| owner == "python3[410] and 1 more orders_api.py"), "{owners:?}");
}
