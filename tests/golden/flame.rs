//! Flame graphs: what was reported, by stack; nothing that a name holds is markup.

use closewait_trace::fact::Fact;
use closewait_trace::report::flame::Form;
use closewait_trace::report::{Ending, FlameSink, Report};
use closewait_trace::verdict::{Code, Confidence, How, OpenedVia};
use roxmltree::{Document, ParsingOptions};

use crate::desk::{Desk, golden, totals};
use crate::made::{Case, NOW, eof_read, holder, hostile, incident, release, stack, verdict};

fn drawn(form: Form, reports: Vec<Report>) -> String {
    let mut desk = Desk::with(|out, _| Box::new(FlameSink::new(Box::new(out), form)));
    desk.all(reports);
    desk.finish(totals(NOW));
    desk.out.take()
}

/// Names that would be markup, a script, two frames, a number of sockets or two lines.
const NAMES: [&str; 8] = [
    "</title></g><script>alert(1)</script>",
    "\" onload=\"alert(1)",
    "]]>&amp;<!--",
    "Ljava/util/List;::get",
    "wide 4711 12",
    "two\nlines 5\u{1b}[31m\u{fffe}",
    "# comment",
    " ",
];

pub(crate) fn hostile_case() -> Case {
    let ignored = verdict(Code::EofIgnored, Confidence::High, Some(true), &[], "Close it.");
    let mut frames = stack(&NAMES);
    frames[1].how = How::Scan;
    let mut unnamed = stack(&["x", "y"]);
    (unnamed[0].symbol, unnamed[0].module) = (None, Some("/opt/a;b <c>/lib&d.so".into()));
    (unnamed[1].symbol, unnamed[1].module) = (None, None);
    frames.extend(unnamed);
    let mut case = Case::new(9_000, 60, ignored).held(vec![holder(1, NAMES[0], "/bin/x", 3)]).opened(
        1,
        NAMES[0],
        OpenedVia::Accept,
        Fact::Known(frames),
    );
    case.eof_read = Fact::Known(Some(eof_read(NAMES[3])));
    case
}

fn everything() -> Vec<Report> {
    let mut reports = incident();
    // Three of the causes' sockets have ended.
    let ended = |id| release(id, NOW, Fact::Known(Ending::Closed), Fact::unknown("not recorded"));
    reports.extend([7_000, 7_001, 7_500].map(ended));
    reports.push(hostile_case().report());
    reports
}

#[test]
fn each_socket_is_counted_once_under_its_stacks() {
    let reports = everything();
    let folded = drawn(Form::Folded, reports.clone());
    golden("stacks.folded", &folded);
    let count = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap();
    let sockets = reports.iter().filter(|report| !matches!(report, Report::Released(_))).count();
    assert_eq!(folded.lines().map(count).sum::<usize>(), sockets);
}

#[test]
fn whatever_names_hold_the_image_is_xml_and_they_are_text() {
    for reports in [everything(), hostile(), Vec::new()] {
        let svg = drawn(Form::Svg, reports.clone());
        let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        let document =
            Document::parse_with_options(&svg, options).unwrap_or_else(|err| panic!("{err}\n{svg}"));
        let elements = |name: &str| document.descendants().filter(|node| node.has_tag_name(name)).count();
        // The one that a flame graph brings along to zoom and search, and what starts it.
        let own = usize::from(!reports.is_empty());
        assert_eq!(elements("script"), own);
        let attributes = document.descendants().flat_map(|node| node.attributes());
        let handlers = attributes.filter(|attribute| attribute.name().starts_with("on"));
        let handlers: Vec<_> = handlers.map(|attribute| attribute.value()).collect();
        assert_eq!(handlers, ["init(evt)"][..own]);
    }
    let mut commented = hostile_case();
    commented.id += 1;
    commented = commented.held(vec![holder(1, "# a comment", "/bin/x", 3)]);
    let svg = drawn(Form::Svg, vec![hostile_case().report(), commented.report()]);
    assert!(svg.contains("all (2 sockets, 100%)"), "{svg}");
    assert!(svg.contains("&lt;script&gt;alert(1)&lt;/script&gt; (1 sockets, 50.00%)"), "{svg}");
}

#[test]
fn the_name_of_the_file_says_what_is_written() {
    for (name, form) in [
        ("a.svg", Form::Svg),
        ("stuck.folded", Form::Folded),
        ("b.svg.txt", Form::Folded),
        ("folded", Form::Svg),
        ("/dev/shm/x", Form::Svg),
    ] {
        assert_eq!(Form::of(name.as_ref()), form, "{name}");
    }
}
