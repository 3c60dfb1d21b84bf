//! The page of `--html`: well-formed, bounded, compared with a file, and without anything in
//! it that a name could have brought.

use closewait_trace::fact::Fact;
use closewait_trace::item::Task;
use closewait_trace::report::escape::is_hidden;
use closewait_trace::report::{HtmlSink, Report};
use closewait_trace::verdict::{Code, Confidence, OpenedVia, ProcessEnd};
use roxmltree::{Document, ParsingOptions};
use sha2::{Digest, Sha256};

use crate::desk::{Desk, golden, totals};
use crate::flame::hostile_case;
use crate::made::{Case, NOW, ago, fds, holder, hostile, incident, of, stack, verdict};

fn page(reports: Vec<Report>) -> String {
    let mut desk = Desk::with(|out, _| Box::new(HtmlSink::new(Box::new(out))));
    desk.tick(ago(120));
    desk.all(reports);
    desk.finish(totals(NOW));
    desk.out.take()
}

fn parsed(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).unwrap_or_else(|error| panic!("{error}\n{page}"))
}

/// `sockets` of `causes` causes.
fn many(causes: u32, sockets: u32) -> Vec<Report> {
    let ignored = verdict(Code::EofIgnored, Confidence::High, Some(true), &["0 bytes unread"], "Close it.");
    let one = |id: u32| {
        let kind = id % causes;
        let remote = format!("10.9.{}.{}", kind / 250, kind % 250);
        let h = fds(holder(4_711, "crawler", "/usr/bin/crawler", 5 + id), 5_100, 20_000);
        let function = format!("fetch_{}@fetch.c:40", kind % 700);
        let frames = stack(&[&function, "crawl", "main"]);
        let case =
            Case::new(id, 10 + u64::from(id % 500), ignored.clone()).client(&remote, 443).held(vec![h]);
        case.opened(4_711, "crawler", OpenedVia::Connect, Fact::Known(frames)).report()
    };
    (0..sockets).map(one).collect()
}

/// A few of each kind.
fn few() -> Vec<Report> {
    let mut seen = std::collections::HashMap::<_, usize>::new();
    let mut kept = |report: &Report| match report {
        Report::Stuck(finding) | Report::Ghost(finding) => {
            let times = seen.entry(finding.cause).or_default();
            *times += 1;
            *times <= 3
        }
        _ => true,
    };
    incident().into_iter().filter(|report| kept(report)).collect()
}

#[test]
fn the_page_of_a_small_incident() {
    let page = page(few());
    // Its version is not what is compared.
    let version = closewait_trace::version::short();
    golden("page.html", &page.replace(version, "VERSION"));
}

#[test]
fn whatever_names_hold_the_page_is_well_formed_and_has_only_its_own_script() {
    let mut all = hostile();
    all.push(hostile_case().report());
    for reports in [Vec::new(), few(), all] {
        let page = page(reports);
        let document = parsed(&page);
        let scripts = document.descendants().filter(|node| node.tag_name().name() == "script").count();
        assert_eq!(scripts, 1, "the one that searches");
        for attribute in document.descendants().flat_map(|node| node.attributes()) {
            let (name, value) = (attribute.name(), attribute.value());
            assert!(!name.starts_with("on"), "{name}={value}");
            if matches!(name, "href" | "src" | "action") {
                assert!(value.starts_with('#'), "{name}={value}");
            }
        }
        let hidden = |c: char| c != '\n' && is_hidden(c);
        assert!(!page.contains(hidden), "{:?}", page.find(hidden).map(|at| &page[at.saturating_sub(40)..at]));
        let names = page.matches("=\"http://").count();
        assert_eq!(page.matches("://").count(), names, "nothing is fetched: these are names of XML");
        links_lead_somewhere(&document);
    }
}

fn links_lead_somewhere(document: &Document<'_>) {
    let mut names: Vec<_> = document.descendants().filter_map(|node| node.attribute("id")).collect();
    let links: Vec<_> = document.descendants().filter_map(|node| node.attribute("href")).collect();
    assert!(links.iter().all(|link| names.contains(&&link[1..])));
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "no two things have one name");
}

#[test]
fn the_policy_allows_the_script_that_is_there() {
    let page = page(Vec::new());
    let (_, script) = page.rsplit_once("<script>").unwrap();
    let (script, _) = script.split_once("</script>").unwrap();
    assert!(!script.contains(['<', '&']), "it is XML, too");
    let allowed = format!("script-src 'sha256-{}'", base64(&Sha256::digest(script)));
    assert!(page.contains(&allowed), "the page should say {allowed}");
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().chain([&0; 2]).take(3).fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        for n in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * n) & 63]);
            text.push(if n <= three.len() { digit } else { '=' });
        }
    }
    text
}

#[test]
fn its_size_is_bounded_and_what_is_left_out_is_said() {
    let page = page(many(5_000, 5_000));
    assert!(page.len() < 2 << 20, "{} bytes", page.len());
    for words in [
        "The 100 worst of 5,000 causes are told whole here",
        "Left out: 3,900 more causes with 3,900 sockets: 3,900 leaked.",
        "2,000 of 5,000 sockets are listed",
        "[500 other stacks]",
        "500 stacks with the fewest sockets are drawn as one",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let document = parsed(&page);
    let rows = |id: &str| {
        let table = document.descendants().find(|node| node.attribute("id") == Some(id)).unwrap();
        table.descendants().filter(|node| node.tag_name().name() == "tr").count() - 1
    };
    assert_eq!(rows("sockets"), 2_000);
    links_lead_somewhere(&document);
}

#[test]
fn sockets_that_ended_with_their_processes_have_no_program_of_another() {
    let ignored = verdict(Code::EofIgnored, Confidence::High, Some(true), &["0 bytes unread"], "Close it.");
    let table = |ended: bool| {
        let mut process = holder(4_711, "python3", "/usr/bin/python3", 5);
        of(&mut process).program = Some("python3 orders.py".into());
        let mut finding = Case::new(1, 20, ignored.clone()).held(vec![process]).finding();
        finding.evidence.ended = ended.then(|| ProcessEnd {
            task: Task { pid: 4_711, tid: 4_711, comm: "python3".into() },
            closed_after: None,
            clean_up: None,
            written: Fact::Known(0),
        });
        let page = page(vec![Report::Stuck(Box::new(finding))]);
        page.split_once("id=\"sockets\"").unwrap().1.to_owned()
    };
    assert!(table(false).contains("<td>python3[4711] orders.py</td>"), "{}", table(false));
    assert!(table(true).contains("<td>pid 4711</td>"), "{}", table(true));
}
