//! The storm: slices of it, with and without a tracer, in turn.

use super::{
    Args,
    budget::{Line, Measured},
    pile::{Heap, Pile},
    spread::{Spread, shown, some},
    tracer::{Cost, Running, Tracer},
};
use crate::netns::Netns;
use anyhow::{Context, Result};
use serde::Serialize;
use std::{
    fmt,
    fmt::Write as _,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Stdio},
};

/// What the slices of every storm need.
pub(super) struct Storm<'a> {
    pub(super) net: &'a Netns,
    /// Compiled tests/scenarios
    pub(super) scenarios: &'a Path,
    pub(super) args: &'a Args,
    /// CPUs that its threads are put on in turn; 0 leaves them free
    pub(super) pin: usize,
}

/// One kind of storm.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Kind {
    pub(super) closes: String,
    pub(super) pairs: u32,
    pub(super) stuck: u32,
    /// Messages that go to and fro in each connection
    pub(super) talk: u32,
}

/// What one tracer did to the storm.
#[derive(Serialize)]
pub(super) struct Row {
    name: String,
    storm: Kind,
    /// Why it was not run.
    missing: Option<String>,
    per_second: Option<Spread>,
    /// Against the bare slices beside it, pair by pair.
    ratio: Option<Spread>,
    /// CPU of its process, % of a core
    cpu: Option<Spread>,
    /// Voluntary context switches of its process, each second
    wakeups: Option<Spread>,
    /// MiB
    rss_anon: Option<Spread>,
    /// Records lost in all slices; `None`: it does not say.
    lost: Option<u64>,
}

/// One slice.
struct Slice {
    per_second: f64,
    seconds: f64,
    cost: Option<Cost>,
}

/// What a storm says at its end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Blown {
    pub(super) connections: f64,
    pub(super) seconds: f64,
}

impl Blown {
    pub(super) fn per_second(self) -> f64 {
        self.connections / self.seconds
    }
}

/// The port of the storm's server.
pub(super) const PORT: u16 = 970;

impl Default for Kind {
    fn default() -> Self {
        Self { closes: "client".to_owned(), pairs: 1, stuck: 0, talk: 0 }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { closes, pairs, stuck, talk } = self;
        write!(f, "{closes} closes first, {pairs} pair{}", if *pairs == 1 { "" } else { "s" })?;
        if *talk > 0 {
            write!(f, ", {talk} messages to and fro before")?;
        }
        if *stuck > 0 { write!(f, ", {stuck} stuck") } else { Ok(()) }
    }
}

/// The storms of a run: the first one that is asked for in every way, each other one by
/// all that is asked for.
pub(super) fn kinds(args: &Args) -> Vec<Kind> {
    let Args { closes, pairs, stuck, talk, product, .. } = args;
    let mut kinds = Vec::new();
    let mut add = |closes: &String, pairs: &u32, stuck: &u32, talk: &u32| {
        let kind = Kind { closes: closes.clone(), pairs: *pairs, stuck: *stuck, talk: *talk };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    };
    let (Some(first_pairs), Some(first_stuck), Some(first_talk)) =
        (pairs.first(), stuck.first(), talk.first())
    else {
        return kinds;
    };
    for closes in closes {
        for pairs in pairs {
            add(closes, pairs, first_stuck, first_talk);
        }
    }
    // With sockets stuck, or connections that live, who closes first and how many pairs matter no
    // more than without.
    for closes in if *product { closes } else { &closes[..closes.len().min(1)] } {
        for pairs in if *product { pairs } else { std::slice::from_ref(first_pairs) } {
            for stuck in stuck {
                add(closes, pairs, stuck, first_talk);
            }
            for talk in talk {
                add(closes, pairs, first_stuck, talk);
            }
        }
    }
    kinds
}

impl Storm<'_> {
    /// Rows for each kind of storm: after the control, all tracers in the first kind, and
    /// ours in the others unless tracers were named.
    pub(super) fn measure(&self, tracers: &[Tracer], kinds: &[Kind]) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (number, kind) in kinds.iter().enumerate() {
            let heap = Heap { stuck: kind.stuck, ..Heap::default() };
            let pile = (kind.stuck > 0).then(|| Pile::new(self.net, &self.program("pile"), heap));
            let _pile = match pile.transpose() {
                Ok(pile) => pile,
                Err(error) => {
                    rows.push(Row::missing("all", kind, &format!("{error:#}")));
                    continue;
                }
            };
            // The budgets are of the first kind; of the others it is enough to see whether they differ.
            let rounds = if number == 0 { self.args.rounds } else { self.args.rounds.div_ceil(3) };
            let row = |name: &str, tracer| self.row(name, kind, rounds, tracer, None);
            rows.push(row("bare (control)", None)?);
            let wanted = |tracer: &&Tracer| {
                number == 0
                    || !self.args.only.is_empty()
                    || ["closewait-trace", "empty"].contains(&tracer.name)
            };
            for tracer in tracers.iter().filter(wanted) {
                rows.push(match tracer.missing() {
                    Some(why) => Row::missing(tracer.name, kind, why),
                    None => match row(tracer.name, Some(tracer)) {
                        Ok(row) => row,
                        Err(error) if tracer.is_peer() => {
                            Row::missing(tracer.name, kind, &format!("{error:#}"))
                        }
                        Err(error) => return Err(error),
                    },
                });
            }
        }
        let named = |name| tracers.iter().find(|tracer| tracer.name == name);
        if let (Some(tracing), Some(recording), Some(kind)) =
            (named("closewait-trace"), named("record"), kinds.first())
        {
            let name = "record, against closewait-trace";
            rows.push(self.row(name, kind, self.args.rounds, Some(recording), Some(tracing))?);
        }
        Ok(rows)
    }

    /// A compiled scenario program.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.scenarios.join(name)
    }

    /// `beside`: what it is compared with, instead of nothing.
    fn row(
        &self,
        name: &str,
        kind: &Kind,
        rounds: u32,
        tracer: Option<&Tracer>,
        beside: Option<&Tracer>,
    ) -> Result<Row> {
        let (mut rates, mut ratios, mut lost) = (Vec::new(), Vec::new(), None);
        let (mut cpu, mut wakeups, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            eprintln!("bench: {kind}: {name}, round {} of {rounds}", round + 1);
            let order = [beside, tracer, tracer, beside].map(|tracer| self.slice(kind, tracer));
            let [before, first, second, after] = order;
            let (before, after) = (before?.per_second, after?.per_second);
            for (traced, beside) in [(first?, before), (second?, after)] {
                rates.push(traced.per_second);
                ratios.push(traced.per_second / beside);
                let Some(cost) = traced.cost else { continue };
                cpu.push(cost.used.cpu.as_secs_f64() / traced.seconds * 100.0);
                #[expect(clippy::cast_precision_loss, reason = "a count of seconds")]
                wakeups.push(cost.used.wakeups as f64 / traced.seconds);
                memory.extend(cost.rss_anon);
                if let Some(more) = cost.lost {
                    *lost.get_or_insert(0) += more;
                }
            }
        }
        Ok(Row {
            name: name.to_owned(),
            storm: kind.clone(),
            missing: None,
            per_second: Spread::of(&rates),
            ratio: Spread::of(&ratios),
            cpu: Spread::of(&cpu).filter(|_| !memory.is_empty()),
            wakeups: Spread::of(&wakeups).filter(|_| !memory.is_empty()),
            rss_anon: Spread::of(&memory),
            lost,
        })
    }

    fn slice(&self, kind: &Kind, tracer: Option<&Tracer>) -> Result<Slice> {
        let mut running = tracer.map(|tracer| tracer.start(self.net, PORT)).transpose()?;
        if let Some(running) = running.as_mut().filter(|_| kind.stuck > 0) {
            // What it takes to report them is measured in another room.
            running.settle();
        }
        let blown = self.blow(kind, self.args.seconds, 0)?;
        let cost = running.map(Running::stop).transpose()?;
        Ok(Slice { per_second: blown.per_second(), seconds: blown.seconds, cost })
    }

    /// Runs the storm once; `stay` of its own connections stay in CLOSE_WAIT.
    pub(super) fn blow(&self, kind: &Kind, seconds: u32, stay: u32) -> Result<Blown> {
        let mut command = self.net.inside(self.program("storm"))?;
        command.args(["--closes", &kind.closes]).args(["--port", &PORT.to_string()]);
        command.args(["--pin", &self.pin.to_string()]);
        for (option, value) in
            [("--seconds", seconds), ("--pairs", kind.pairs), ("--stay", stay), ("--talk", kind.talk)]
        {
            command.args([option, &value.to_string()]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start the storm")?;
        let said = done(&mut child);
        let status = child.wait().context("cannot wait for the storm")?;
        said.with_context(|| format!("the storm ended with {status} and no figures"))
    }
}

fn done(child: &mut Child) -> Option<Blown> {
    let stdout: ChildStdout = child.stdout.take()?;
    let line = BufReader::new(stdout).lines().map_while(Result::ok).find(|line| line.starts_with("done "))?;
    let ms: f64 = number(&line, "ms=")?;
    Some(Blown { connections: number(&line, "connections=")?, seconds: ms / 1000.0 })
}

/// The value of `key` in a line that a scenario program says.
pub(super) fn number(line: &str, key: &str) -> Option<f64> {
    let (_, value) = line.split_once(key)?;
    value.split_whitespace().next()?.parse().ok()
}

/// What the first kind of storm says of the budgets.
pub(super) fn measured(rows: &[Row]) -> Result<Vec<Measured>> {
    let first = rows.first().map(|row| row.storm.clone());
    let named = |name: &str| rows.iter().find(|row| row.name == name && Some(&row.storm) == first.as_ref());
    let Some(ours) = named("closewait-trace") else { return Ok(Vec::new()) };
    let control = named("bare (control)").and_then(|row| row.ratio);
    let beside = |mut found: Measured, of: fn(&Row) -> Option<Spread>| {
        for peer in ["tcpstates", "tcplife", "bpftrace"] {
            if let Some(row) = named(peer).filter(|row| row.missing.is_some() || of(row).is_some()) {
                found = found.beside(peer, of(row));
            }
        }
        found
    };
    let mut found = Vec::new();
    if let Some(ratio) = ours.ratio {
        let line = Measured { control: control.map(Spread::width), ..Measured::new(Line::StormRatio, ratio) };
        let empty = named("empty").and_then(|row| row.ratio);
        let line = line.beside("control", control).floor("an empty program", empty);
        found.push(beside(line, |row| row.ratio));
    }
    if let Some(cpu) = ours.cpu {
        found.push(beside(Measured::new(Line::StormCpu, cpu), |row| row.cpu));
    }
    // Of all storms: not one may lose a record.
    let lost: Vec<u64> = rows.iter().filter(|row| row.is_ours()).filter_map(|row| row.lost).collect();
    if !lost.is_empty() {
        #[expect(clippy::cast_precision_loss, reason = "a count of records")]
        let sum = lost.iter().sum::<u64>() as f64;
        found.push(Measured::new(Line::StormLost, some(&[sum])?));
    }
    Ok(found)
}

impl Row {
    fn missing(name: &str, storm: &Kind, why: &str) -> Self {
        Self {
            name: name.to_owned(),
            storm: storm.clone(),
            missing: Some(why.to_owned()),
            per_second: None,
            ratio: None,
            cpu: None,
            wakeups: None,
            rss_anon: None,
            lost: None,
        }
    }

    fn is_ours(&self) -> bool {
        ["closewait-trace", "no-stacks", "record"].contains(&self.name.as_str())
    }
}

/// A table for each kind of storm.
pub(super) fn markdown(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut last = None;
    for row in rows {
        if last != Some(&row.storm) {
            let _ = writeln!(
                text,
                "\n**Storm, {}**\n\n| tracer | connections/s | against bare, pair by pair | its CPU, % of a core | \
                 wake-ups/s | RssAnon, MiB | lost |\n|---|---|---|---|---|---|---|",
                row.storm
            );
            last = Some(&row.storm);
        }
        let Row { name, per_second, ratio, cpu, wakeups, rss_anon, lost, .. } = row;
        if let Some(why) = &row.missing {
            let _ = writeln!(text, "| {name} | not run: {why} | | | | | |");
            continue;
        }
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} |",
            shown(*per_second, 0),
            shown(*ratio, 3),
            shown(*cpu, 1),
            shown(*wakeups, 0),
            shown(*rss_anon, 1),
            lost.map_or_else(|| "-".into(), |lost| lost.to_string())
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuck_sockets_are_beside_the_first_kind_only_unless_all_is_asked_for() {
        use clap::Parser as _;
        let shown = |product: &[&str]| {
            let asked =
                ["bench", "--closes", "client,server", "--pairs", "1,2", "--stuck", "0,10", "--talk", "0,9"];
            let args = Asked::parse_from(asked.iter().chain(product)).args;
            let kinds = kinds(&args);
            let short = |it: &Kind| format!("{}{}-{}-{}", it.closes, it.pairs, it.stuck, it.talk);
            kinds.iter().map(short).collect::<Vec<_>>()
        };
        let six = ["client1-0-0", "client2-0-0", "server1-0-0", "server2-0-0", "client1-10-0", "client1-0-9"];
        assert_eq!(shown(&[]), six);
        assert_eq!(shown(&["--product"]).len(), 12);
    }

    #[derive(clap::Parser)]
    struct Asked {
        #[command(flatten)]
        args: Args,
    }

    fn row(name: &str, ratio: f64, lost: u64) -> Row {
        Row {
            missing: None,
            ratio: Spread::of(&[ratio, ratio, ratio + 0.04]),
            lost: Some(lost),
            ..Row::missing(name, &Kind::default(), "")
        }
    }

    #[test]
    fn the_budgets_are_measured_in_the_first_storm_and_losses_in_all() {
        let mut rows =
            vec![row("bare (control)", 1.0, 0), row("closewait-trace", 0.9, 0), row("tcpstates", 0.3, 9)];
        rows.push(Row { storm: Kind { pairs: 2, ..Kind::default() }, ..row("closewait-trace", 0.5, 2) });
        let found = measured(&rows).unwrap();
        assert_eq!(found[0].line, Line::StormRatio);
        assert!((found[0].value.median - 0.9).abs() < 1e-9 && found[0].control.is_some());
        assert_eq!(found[0].beside.len(), 2, "control and tcpstates");
        assert_eq!(found[1].line, Line::StormLost);
        assert!((found[1].value.median - 2.0).abs() < 1e-9, "a peer's losses are its own");
    }

    #[test]
    fn a_storm_says_its_figures_in_a_line() {
        assert_eq!(number("done connections=17 ms=5", "connections="), Some(17.0));
        assert_eq!(number("done connections=17 ms=5", "calls="), None);
    }
}
