//! The JSON lines and their schema.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use closewait_trace::report::schema::{schema, schema_file};
use closewait_trace::report::{JsonSink, Reporter};

use crate::desk::{Desk, Page, assert_valid, golden, same_as_file, totals};
use crate::made::{NOW, endings, hostile, incident, leak, one_of_each, talk};

#[test]
fn json_lines_are_the_contract() {
    let mut desk = Desk::json(false);
    desk.all(one_of_each());
    desk.all(endings());
    desk.all(talk());
    desk.finish(totals(NOW));
    let lines = desk.out.take();
    let kinds: BTreeSet<_> =
        assert_valid(&lines).iter().map(|l| l["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["ghost", "loss", "notice", "released", "stuck", "summary"]
    );
    golden("lines.jsonl", &lines);
}

#[test]
fn json_by_cause() {
    let mut desk = Desk::json(true);
    desk.all(incident());
    desk.finish(totals(NOW));
    let lines = desk.out.take();
    let parsed = assert_valid(&lines);
    assert!(parsed.iter().all(|l| l["kind"] == "cause" || l["kind"] == "summary"));
    golden("causes.jsonl", &lines);
}

#[test]
fn every_json_line_is_valid_whatever_the_names_and_however_many() {
    let mut desk = Desk::json(false);
    desk.all(hostile());
    desk.all(incident());
    desk.finish(totals(NOW));
    let lines = desk.out.take();
    assert!(lines.chars().all(|c| c == '\n' || !c.is_control()), "raw control characters");
    assert!(!lines.contains('\u{202e}'), "raw bidi controls");
    let parsed = assert_valid(&lines);
    assert_eq!(parsed.len(), hostile().len() + incident().len() + 1);
    let names: Vec<_> = parsed.iter().filter_map(|l| l["holders"][0]["comm"].as_str()).collect();
    assert!(names.contains(&"\u{202e}gpj.exe\u{202c}"), "escaped in JSON, the same when parsed");

    // "pids with more than 10 stuck sockets", as jq would answer it.
    let mut pids = BTreeMap::new();
    for line in parsed.iter().filter(|l| l["kind"] == "stuck") {
        for holder in line["holders"].as_array().unwrap() {
            *pids.entry(holder["pid"].as_u64().unwrap()).or_insert(0) += 1;
        }
    }
    pids.retain(|_, n| *n > 10);
    assert_eq!(pids.into_iter().collect::<Vec<_>>(), [(21_773, 4_924)]);
}

#[test]
fn a_json_line_waits_for_no_more_than_the_next_tick() {
    let page = Page::default();
    let mut desk = Desk::json(false);
    let out = io::BufWriter::with_capacity(1 << 20, page.clone());
    desk.reporter = Reporter::new(vec![Box::new(JsonSink::new(Box::new(out), false))]);
    assert_eq!(desk.reporter.deadline(), None);
    desk.all(leak(0, 100, 1));
    assert_eq!(page.take(), "");
    assert_eq!(desk.reporter.deadline(), Some(NOW), "due at once");
    desk.tick(NOW);
    assert_eq!(assert_valid(&page.take()).len(), 100);
    assert_eq!(desk.reporter.deadline(), None);
}

#[test]
fn the_committed_schema_is_the_one_the_code_writes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/closewait-trace.schema.json");
    same_as_file(&path, &schema_file());
}

#[test]
fn the_schema_refuses_what_is_not_a_line() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut desk = Desk::json(false);
    desk.all(leak(0, 1, 70));
    let line = assert_valid(&desk.out.take()).remove(0);
    assert!(validator.is_valid(&line));
    for (pointer, value) in [
        ("/schema", serde_json::json!(2)),
        ("/kind", serde_json::json!("gone")),
        ("/verdict/code", serde_json::json!("NOT_A_CODE")),
        ("/holders", serde_json::Value::Null),
        ("/socket/local/port", serde_json::json!(65_536)),
        ("/age_ms", serde_json::json!(7)),
    ] {
        let mut wrong = line.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        assert!(!validator.is_valid(&wrong), "{pointer}");
    }
    let mut more = line.clone();
    more["surprise"] = 1.into();
    assert!(!validator.is_valid(&more), "a field the schema does not know");
    let mut less = line;
    less.as_object_mut().unwrap().remove("cause");
    assert!(!validator.is_valid(&less), "a field left out");
}
