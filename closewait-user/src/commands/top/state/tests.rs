//! What keys change.

use super::*;
use crate::report::Age;
use crate::verdict::{Code, Nofile};

fn row(id: u32, owner: &str, leak: Option<bool>, sockets: u64, change: i64, minutes: u64, used: u64) -> Row {
    let age = Duration::from_mins(minutes);
    Row {
        id: CauseId(id),
        brief: String::new(),
        owner: owner.into(),
        container: String::new(),
        code: Code::EofIgnored,
        leak,
        sockets,
        change: Some(change),
        born: 0,
        oldest: Some(Age { min: age, max: Some(age) }),
        nofile: Some(Nofile { used, soft: 1000 }),
        rate: String::new(),
        place: "accepted on 10.0.0.1:8080 from 10.0.0.2".into(),
        port: ":8080".into(),
    }
}

fn four() -> Top {
    let mut top = Top::new("test");
    top.update(Model {
        rows: vec![
            row(1, "java[1]", Some(true), 90, 0, 30, 100),
            row(2, "nginx[2]", Some(true), 10, 7, 20, 900),
            row(3, "curl[3]", None, 50, -2, 60, 300),
            row(4, "pool[4]", Some(false), 500, 9, 90, 990),
        ],
        ..Model::default()
    });
    top
}

fn shown(top: &Top) -> Vec<u32> {
    top.rows().map(|row| row.id.0).collect()
}

#[test]
fn the_harmless_come_last_whatever_is_sorted_by() {
    let mut top = four();
    for (action, want) in [
        (Action::Sort(Sort::Growth), [2, 1, 3, 4]),
        (Action::Sort(Sort::Sockets), [1, 3, 2, 4]),
        (Action::NextSort, [3, 1, 2, 4]),
        (Action::NextSort, [2, 3, 1, 4]),
    ] {
        top.act(action);
        assert_eq!(shown(&top), want, "{action:?}");
    }
}

#[test]
fn a_filter_is_typed_and_taken_back() {
    let mut top = four();
    top.act(Action::Filter);
    for c in "NGI".chars() {
        top.act(Action::Type(c));
    }
    assert_eq!(shown(&top), [2]);
    top.act(Action::Erase);
    top.act(Action::Accept);
    assert!(!top.typing);
    assert_eq!((top.filter.as_str(), shown(&top)), ("NG", vec![2]));
    top.act(Action::Back);
    assert_eq!((top.filter.as_str(), shown(&top).len()), ("", 4));
    for c in "8080 leak".chars() {
        top.act(Action::Type(c));
    }
    assert_eq!(shown(&top), [2, 1], "all words must fit");
    top.act(Action::Type('x'));
    assert_eq!((shown(&top).len(), top.selected()), (0, None));
    assert_eq!(top.asks(), None);
    top.act(Action::Open);
    assert_eq!(top.page, Page::Causes, "there is nothing to open");
}

#[test]
fn the_selection_stays_with_its_cause() {
    let mut top = four();
    top.act(Action::Move(1));
    assert_eq!(top.asks(), Some((CauseId(1), 80)));
    top.act(Action::Sort(Sort::Age));
    assert_eq!((top.cursor(), top.asks()), (1, Some((CauseId(1), 80))));
    top.act(Action::Last);
    assert_eq!(top.cursor(), 3);
    top.act(Action::Move(5));
    assert_eq!(top.cursor(), 3);
    top.act(Action::First);
    assert_eq!(top.cursor(), 0);
    top.act(Action::Page(-1));
    assert_eq!(top.cursor(), 0);
    top.act(Action::Sort(Sort::Sockets));
    assert_eq!(top.asks(), Some((CauseId(1), 80)), "the first line is whatever comes first");
    top.act(Action::Last);
    // The selected one is not there any more.
    let model = Model { rows: top.model.rows[..2].to_vec(), ..Model::default() };
    top.update(model);
    assert_eq!(top.cursor(), 0);
}

#[test]
fn pages_open_into_each_other_and_back() {
    let mut top = four();
    for (action, page) in [
        (Action::Open, Page::Sockets),
        (Action::Open, Page::Stacks),
        (Action::Open, Page::Stacks),
        (Action::Help, Page::Help),
        (Action::Help, Page::Stacks),
        (Action::Back, Page::Sockets),
        (Action::Filter, Page::Sockets),
        (Action::Help, Page::Help),
        (Action::Back, Page::Sockets),
        (Action::Back, Page::Causes),
        (Action::Back, Page::Causes),
    ] {
        assert_eq!(top.act(action), None);
        assert_eq!((top.page, top.typing), (page, false), "{action:?}");
    }
    assert_eq!(top.act(Action::Step(-1)), Some(Wish::Step(-1)));
    assert_eq!(top.act(Action::Quit), Some(Wish::Quit));
}

#[test]
fn notices_are_bounded() {
    let mut top = Top::new("test");
    (0..1000).for_each(|n| top.notice(n.to_string()));
    assert_eq!((top.notices.len(), top.notices.back().map(String::as_str)), (NOTICES, Some("999")));
}
