//! A line of the tool against the truth. What is wrong comes out as a complaint: it may be
//! late, and it may say that it does not know, but what it says must have been so.

use std::collections::BTreeMap;
use std::time::Duration;

use closewait_trace::clock::{Clock, MonoNs};
use serde_json::Value;

use super::super::age::is_emulated;
use super::super::situation::ends;
use super::super::tool::THRESHOLD_MS;
use super::truth::{Hold, Moment, Stay, Told, Truth};

/// How far a time may be off.
fn slack() -> Duration {
    Duration::from_millis(if is_emulated() { 1500 } else { 200 })
}

/// A look may be so old when its line is written: it looks twice, and what the tool was
/// stopped for, or had to wait for its turn, comes on top.
fn of_a_look() -> Duration {
    Duration::from_secs(if is_emulated() { 60 } else { 12 })
}

/// What must be said has been said by then: what was lost is found by a reconcile, every
/// 10 s, and looked at twice.
pub(crate) fn in_time() -> Duration {
    Duration::from_secs(if is_emulated() { 120 } else { 30 })
}

/// What was found, by kind of complaint.
#[derive(Default)]
pub(crate) struct Judge {
    pub(crate) complaints: BTreeMap<&'static str, Vec<String>>,
    /// Lines held against the truth.
    pub(crate) lines: BTreeMap<String, u64>,
    /// What was said of sockets with these ports.
    said: BTreeMap<(u16, u16), Vec<String>>,
}

/// The age in a line: its beginning was between these.
struct Began(Option<MonoNs>, MonoNs);

impl Began {
    fn of(line: &Value, ts: MonoNs) -> Option<Self> {
        let min = Duration::from_millis(line["age_ms"]["min"].as_u64()?);
        let max = line["age_ms"]["max"].as_u64().map(Duration::from_millis);
        Some(Self(max.map(|max| ts - max - slack()), ts - min + slack()))
    }

    fn fits(&self, truth: &Moment) -> bool {
        truth.from <= self.1 && self.0.is_none_or(|earliest| truth.to >= earliest)
    }
}

/// When a line says that it was written.
pub(crate) fn written(line: &Value) -> MonoNs {
    let ts = line["ts"].as_str().and_then(|ts| humantime::parse_rfc3339(ts).ok()).expect("a time");
    let (now, clock) = (Clock::mono_now(), Clock::read());
    now - clock.wall(now).duration_since(ts).unwrap_or_default()
}

impl Judge {
    /// `ends`: of the socket that it is about.
    pub(crate) fn complain(&mut self, what: &'static str, ends: (u16, u16), text: &str) {
        let said = self.said.get(&ends).map(Vec::as_slice).unwrap_or_default();
        let said = said[said.len().saturating_sub(8)..].join("\n    ");
        self.complaints.entry(what).or_default().push(format!("{text}\n  said of these ports:\n    {said}"));
    }

    /// Holds one line against the truth, which has been told up to then.
    pub(crate) fn judge(&mut self, line: &Value, truth: &mut Truth) {
        let kind = line["kind"].as_str().unwrap_or_default().to_owned();
        *self.lines.entry(kind.clone()).or_default() += 1;
        if matches!(kind.as_str(), "stuck" | "ghost" | "released") {
            self.said.entry(ends(line)).or_default().push(short(line));
        }
        match kind.as_str() {
            "stuck" | "ghost" => self.about_a_socket(line, truth, kind == "ghost"),
            "released" => self.released(line, truth),
            _ => {}
        }
    }

    fn about_a_socket(&mut self, line: &Value, truth: &mut Truth, is_ghost: bool) {
        let ts = written(line);
        let Some(at) = find(line, truth, ts, is_ghost) else {
            let text = format!("{}; {}", short(line), near_misses(line, truth));
            self.complain("no such socket", ends(line), &text);
            return;
        };
        let stay = &truth.stays[at];
        let mut complaints = Vec::new();
        let mut complain = |what, text: String| complaints.push((what, text));
        let tells = if is_ghost { Told::Ghost } else { Told::Stuck };
        if stay.told.contains(&tells) && line["update"] != true {
            complain("said twice", String::new());
        }
        for wrong in wrong_holders(line, stay, truth, ts) {
            complain("wrong owner", wrong);
        }
        let opener = &line["opener"]["pid"];
        if !opener.is_null() && *opener != stay.opener {
            complain("wrong opener", format!("{} opened it", stay.opener));
        }
        let reader = &line["eof_read"]["pid"];
        if !reader.is_null() && *reader != stay.reader {
            complain("wrong reader", format!("{} was told EOF", stay.reader));
        }
        match line["verdict"]["leak"].as_bool() {
            Some(true) if !stay.is_leak() => complain("false leak", String::new()),
            Some(false) if stay.is_leak() => complain("a leak called harmless", String::new()),
            _ => {}
        }
        for (what, text) in complaints {
            self.complain(what, stay.ends, &format!("{text}; {}; in truth {stay:?}", short(line)));
        }
        truth.stays[at].told.insert(tells);
    }

    fn released(&mut self, line: &Value, truth: &mut Truth) {
        let ts = written(line);
        let began = Began::of(line, ts);
        let began = |moment: &Moment| began.as_ref().is_none_or(|began| began.fits(moment));
        // Of the ghost that came of it, or of the stay itself. That has two ends where its
        // own was lost, and it was found a ghost later.
        let ends_what = |stay: &Stay| {
            let buried = stay.ghost.as_ref().is_some_and(began) && stay.told.contains(&Told::Ghost);
            [(buried, Told::Buried), (began(&stay.born), Told::Released)]
                .into_iter()
                .find_map(|(fits, told)| (fits && !stay.told.contains(&told)).then_some(told))
        };
        let candidates: Vec<_> =
            truth.between(ends(line)).filter(|at| ends_what(&truth.stays[*at]).is_some()).collect();
        let Some(&at) = candidates.last() else {
            let text = format!("{}; {}", short(line), near_misses(line, truth));
            self.complain("no such end", ends(line), &text);
            return;
        };
        let stay = &mut truth.stays[at];
        let told = ends_what(stay).unwrap_or(Told::Released);
        stay.told.insert(told);
        let how = line["how"].as_str();
        let left = if told == Told::Buried { stay.gone } else { stay.left() };
        let right = match (how, left) {
            // Its end was not seen, and that is said; or it was reset, or shut down, of which
            // the report as a ghost comes later.
            (None | Some("closed" | "destroyed"), Some(left))
                if stay.ghost.is_some() && told == Told::Released =>
            {
                ts + slack() >= left.from
            }
            (None, Some(left)) => ts + slack() >= left.from,
            (Some(how), Some(left)) => {
                let by_exit = how == "exited";
                let was_held = !stay.holds.is_empty();
                stay.gone.is_some() && ts + slack() >= left.from && (by_exit == stay.exited || !was_held)
            }
            (_, None) => false,
        };
        if !right {
            let text = format!("{how:?}; {}; in truth {stay:?}", short(line));
            self.complain("wrong end", ends(line), &text);
        }
    }

    /// What should have been said before `now`, and was not.
    pub(crate) fn find_missing(&mut self, truth: &mut Truth, now: MonoNs) {
        let stuck_for = Duration::from_millis(THRESHOLD_MS) + in_time();
        for at in 0..truth.stays.len() {
            let stay = &truth.stays[at];
            if stay.is_settled {
                continue;
            }
            let until = |end: Option<Moment>| end.map_or(now, |end| end.from.min(now));
            let was_due = |began: MonoNs, end| until(end).since(began) > stuck_for;
            let mut missing = Vec::new();
            if was_due(stay.born.to, stay.left()) && !stay.told.contains(&Told::Stuck) {
                missing.push("a stuck socket was missed");
            }
            if stay.ghost.is_some_and(|ghost| was_due(ghost.to, stay.gone))
                && !stay.told.contains(&Told::Ghost)
            {
                missing.push("a ghost was missed");
            }
            let is_over = stay.gone.is_some_and(|gone| now.since(gone.to) > in_time());
            let has_ended = [Told::Released, Told::Buried].iter().any(|told| stay.told.contains(told));
            let is_buried = !stay.told.contains(&Told::Ghost) || stay.told.contains(&Told::Buried);
            if is_over && !stay.told.is_empty() && !(has_ended && is_buried) {
                missing.push("an end was missed");
            }
            let (ends, text) = (stay.ends, format!("{stay:?}"));
            truth.stays[at].is_settled = is_over || !missing.is_empty();
            for what in missing {
                self.complain(what, ends, &text);
            }
        }
    }
}

/// The stay that a line is about.
fn find(line: &Value, truth: &Truth, ts: MonoNs, is_ghost: bool) -> Option<usize> {
    let began = Began::of(line, ts)?;
    let fits = |stay: &Stay| {
        let (birth, end) = if is_ghost { (stay.ghost, stay.gone) } else { (Some(stay.born), stay.left()) };
        birth.is_some_and(|birth| began.fits(&birth)) && end.is_none_or(|end| end.to + of_a_look() >= ts)
    };
    let ends = ends(line);
    if ends.1 != 0 {
        return truth.between(ends).filter(|at| fits(&truth.stays[*at])).last();
    }
    // Found closed, without its ports: known by its descriptor.
    let holder = &line["holders"][0];
    let has = |hold: &Hold| holder["pid"] == hold.pid && holder["fd"] == hold.fd;
    truth.stays.iter().rposition(|stay| fits(stay) && stay.holds.iter().any(has))
}

/// Every process that is named must have had it at some time of the look; and who had it all
/// the time must be named, unless it says why not.
fn wrong_holders(line: &Value, stay: &Stay, truth: &Truth, ts: MonoNs) -> Vec<String> {
    let from = ts - of_a_look();
    let named = line["holders"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut wrong = Vec::new();
    for holder in named {
        let pid = holder["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default();
        let had = |hold: &Hold| {
            hold.pid == pid
                && holder["fd"] == hold.fd
                && hold.began.from <= ts + slack()
                && hold.ended.is_none_or(|ended| ended.to >= from)
        };
        if !stay.holds.iter().any(had) && !truth.is_transient(pid, from, ts + slack()) {
            wrong.push(format!("{pid} did not hold it"));
        }
    }
    for hold in &stay.holds {
        let all_along = hold.began.to <= from && hold.ended.is_none_or(|ended| ended.from > ts + slack());
        let is_named = named.iter().any(|holder| holder["pid"] == hold.pid);
        if all_along && !is_named && line["holders_unknown"].is_null() {
            wrong.push(format!("{} held it", hold.pid));
        }
    }
    wrong
}

fn short(line: &Value) -> String {
    let holders: Vec<_> = line["holders"].as_array().into_iter().flatten().collect();
    let holders: Vec<_> = holders.iter().map(|it| format!("{}:{}", it["pid"], it["fd"])).collect();
    format!(
        "{} {} {:?} age {} holders {holders:?} opener {} {} leak {} how {} update {}",
        line["kind"],
        line["ts"],
        ends(line),
        line["age_ms"],
        line["opener"]["pid"],
        line["verdict"]["code"],
        line["verdict"]["leak"],
        line["how"],
        line["update"],
    )
}

/// What there is of the same ports.
fn near_misses(line: &Value, truth: &Truth) -> String {
    let stays: Vec<_> = truth.between(ends(line)).map(|at| &truth.stays[at]).collect();
    let last = &stays[stays.len().saturating_sub(2)..];
    format!("written at {:?}; the last of these ports: {last:?}", written(line))
}
