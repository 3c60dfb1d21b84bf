//! What is on the screen, as values: made of the ledger each time that it is looked at.
//! Pure. Names from the system are escaped here, so that everything behind this is inert.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::report::Member;
use crate::report::counts::{Apart, ByLeak};
use crate::report::escape::escape;
use crate::report::ledger::{Cause, Same};
use crate::report::text::style::{Style, count, plural, span};
use crate::report::text::{block, outlook, place, stack, totals};
use crate::report::{Age, CauseId, Finding, Moment, Release};
use crate::text::Text;
use crate::tracker::SuspectKind;
use crate::verdict::{Code, Nofile, Role};

/// Growth is what has changed within so long.
const WINDOW: Duration = Duration::from_mins(1);
/// Ends kept to tell that; with more, it is not known.
const ENDS: usize = 65_536;
/// Sockets of one cause that are listed; the rest are counted.
const LISTED: usize = 1_000;

/// Everything about all causes.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Wall time.
    pub time: String,
    /// A socket counts as stuck after so long.
    pub threshold: Duration,
    /// For how long it was watched.
    pub watched: Duration,
    /// Within how long what is called growth came about.
    pub window: Duration,
    /// Stuck now.
    pub stuck: ByLeak,
    /// Of these, those whose TCP connection is gone.
    pub ghosts: u64,
    /// Were reported and have ended.
    pub ended: u64,
    /// What is in none of these.
    pub apart: Apart,
    /// The causes.
    pub rows: Vec<Row>,
}

/// One cause.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Its name.
    pub id: CauseId,
    /// Whose it is.
    pub owner: String,
    /// The same in a few columns: of `python3[7] orders.py` what tells most, `orders.py[7]`.
    pub brief: String,
    /// Where that runs; empty outside of containers.
    pub container: String,
    /// Why it is stuck.
    pub code: Code,
    /// Whether that is a leak.
    pub leak: Option<bool>,
    /// Stuck now.
    pub sockets: u64,
    /// How many got stuck within the window, less those of before it that ended in it; `None`:
    /// too many have ended to tell. (One that turned ghost is new there.)
    pub change: Option<i64>,
    /// Of those stuck now, got stuck while it was watched.
    pub born: u64,
    /// Of the oldest that is stuck now.
    pub oldest: Option<Age>,
    /// Descriptors of the process that has the fewest left.
    pub nofile: Option<Nofile>,
    /// How fast the sockets of its only process become more, and when that is full.
    pub rate: String,
    /// What its sockets have in common.
    pub place: String,
    /// The same in a few columns: `:8080`, `-> 10.4.0.9:443`; empty where that is not one.
    pub port: String,
}

impl Row {
    /// The share of descriptors that are used, in thousandths.
    pub fn fullness(&self) -> Option<u64> {
        let nofile = self.nofile.filter(|nofile| nofile.soft != u64::MAX)?;
        Some(nofile.used.saturating_mul(1000) / nofile.soft.max(1))
    }

    /// Whether all words of a filter are somewhere in what is shown of it.
    pub fn fits(&self, filter: &str) -> bool {
        let (leak, _) = block::leak_word(self.leak);
        let text =
            format!("{} {} {} {leak} {} {}", self.owner, self.container, self.code, self.place, self.id);
        let text = text.to_lowercase();
        filter.to_lowercase().split_whitespace().all(|word| text.contains(word))
    }
}

/// Everything about one cause.
#[derive(Clone, Debug)]
pub struct Detail {
    /// Which.
    pub id: CauseId,
    /// For so many columns.
    pub columns: u16,
    /// Who opened its sockets, where that is known.
    pub role: Option<Role>,
    /// Its owner, and why, where and what to do.
    pub lines: Vec<String>,
    /// Its sockets, the oldest first.
    pub sockets: Vec<Socket>,
    /// Sockets that are not listed.
    pub unlisted: u64,
    /// Its stacks, whole: a title and lines.
    pub stacks: Vec<(String, Vec<String>)>,
}

/// One socket.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Socket {
    /// How long it has been stuck.
    pub age: Age,
    /// Its ends.
    pub tuple: crate::tcp::Tuple,
    /// Its owner, and the owner's descriptor.
    pub owner: Option<(u32, u32)>,
    /// Its network namespace.
    pub netns: crate::item::Netns,
}

/// Ends of sockets within the window.
#[derive(Debug, Default)]
pub struct Ends {
    recent: VecDeque<End>,
    /// When one was last left out.
    left_out: Option<MonoNs>,
}

#[derive(Debug)]
struct End {
    at: MonoNs,
    cause: CauseId,
    /// Not stuck before; `None`: it may always have been.
    earliest: Option<MonoNs>,
}

impl Ends {
    /// One has ended.
    pub fn add(&mut self, release: &Release, now: MonoNs) {
        let Some(cause) = release.cause else { return };
        let (_, earliest) = crate::report::model::bounds(release.released.since, release.released.not_before);
        self.recent.push_back(End { at: now, cause, earliest });
        if self.recent.len() > ENDS {
            self.recent.pop_front();
            self.left_out = Some(now);
        }
    }

    /// Of each cause, how many of those that were stuck at `then` have ended since; `None`
    /// when that cannot be told.
    fn since(&mut self, then: MonoNs, threshold: Duration) -> Option<HashMap<CauseId, i64>> {
        while self.recent.front().is_some_and(|end| end.at < then) {
            self.recent.pop_front();
        }
        if self.left_out.is_some_and(|at| at >= then) {
            return None;
        }
        let mut ended = HashMap::new();
        for end in &self.recent {
            if end.earliest.is_none_or(|earliest| earliest + threshold < then) {
                *ended.entry(end.cause).or_default() += 1;
            }
        }
        Some(ended)
    }
}

impl Model {
    /// What there is now. `began`: when watching began.
    pub fn new(
        at: Moment<'_>,
        causes: &[Cause<'_>],
        began: MonoNs,
        threshold: Duration,
        ends: &mut Ends,
    ) -> Self {
        let watched = at.now.since(began);
        let window = watched.min(WINDOW);
        let ended = ends.since(at.now - window, threshold);
        let mut born = HashMap::<CauseId, (i64, u64)>::new();
        for member in at.ledger.sockets() {
            if let Some(earliest) = member.entered.1.filter(|&earliest| earliest >= began) {
                let (young, all) = born.entry(member.cause).or_default();
                *young += i64::from(earliest + threshold >= at.now - window);
                *all += 1;
            }
        }
        let mut model = Self {
            time: totals::time(at),
            threshold,
            watched,
            window,
            ended: at.ledger.endings().total(),
            apart: at.ledger.apart(),
            ..Self::default()
        };
        for cause in causes {
            model.stuck.yes += cause.now.yes;
            model.stuck.unclear += cause.now.unclear;
            model.stuck.no += cause.now.no;
            if matches!(cause.exemplar.suspect.kind, SuspectKind::Ghost { .. }) {
                model.ghosts += cause.now.total();
            }
            let (young, all) = born.get(&cause.id).copied().unwrap_or_default();
            let gone = ended.as_ref().map(|ended| ended.get(&cause.id).copied().unwrap_or_default());
            model.rows.push(row(cause, gone.map(|gone| young - gone), all, at.now));
        }
        model
    }
}

fn row(cause: &Cause<'_>, change: Option<i64>, born: u64, now: MonoNs) -> Row {
    let finding = cause.exemplar;
    let (owner, brief, container) = match finding.owner() {
        Fact::Known(holder) => {
            let others = cause.processes.len().saturating_sub(1);
            let pid = cause.processes.keys().next().copied().unwrap_or(holder.pid);
            let more = if others > 0 { format!(" and {others} more") } else { String::new() };
            let container = holder.container.as_deref().map(escape).unwrap_or_default();
            let program = holder.told_program().map(Text::as_str);
            let name = block::name(&holder.comm, pid);
            let owner = format!("{name}{more}{}", block::running(&holder.comm, program));
            let brief = program.map_or(&*holder.comm, |program| brief(&holder.comm, program));
            let brief = format!("{}{more}", block::name(brief, pid));
            (owner, brief, container.into_owned())
        }
        Fact::Unknown(_) => (nobody(finding), nobody(finding), String::new()),
    };
    let used = |nofile: &Nofile| nofile.used.saturating_mul(1000) / nofile.soft.max(1);
    let rate = match cause.processes.values().next() {
        Some(only) if cause.processes.len() == 1 => outlook::rate(only.growth, only.nofile),
        _ => String::new(),
    };
    Row {
        id: cause.id,
        owner,
        brief,
        container,
        code: finding.verdict.code,
        leak: cause.leak(),
        sockets: cause.now.total(),
        change,
        born,
        oldest: cause.oldest.map(|(latest, earliest)| Age::between(latest, earliest, now)),
        nofile: cause.processes.values().filter_map(|process| process.nofile).max_by_key(used),
        rate: rate.trim_start().to_owned(),
        place: place::of_cause(cause),
        port: match (&finding.evidence.role, cause.local_port) {
            (Fact::Known(Role::Client), _) => format!("-> {}", finding.suspect.tuple.remote),
            (_, Same::One(port)) => format!(":{port}"),
            _ => String::new(),
        },
    }
}

/// What tells most of a program: the file of `-jar shop.jar`, the module of `-m shop.api`.
fn brief<'a>(comm: &str, program: &'a str) -> &'a str {
    let part = block::own_part(comm, program);
    match (part.starts_with('-'), part.split_once(' ')) {
        (true, Some((_, file))) => file,
        // Of `-c` there is no more.
        (true, None) => program,
        (false, _) => part,
    }
}

/// Whom to name where nobody holds it, or where that is not known.
fn nobody(finding: &Finding) -> String {
    let evidence = &finding.evidence;
    match (&evidence.ended, evidence.opener.known(), evidence.holders.known()) {
        (Some(end), ..) => block::name(&end.task.comm, end.task.pid),
        (None, Some(opener), _) => format!("opened by {}", block::name(&opener.task.comm, opener.task.pid)),
        (None, None, Some(_)) => "held by nobody".into(),
        (None, None, None) => "owner unknown".into(),
    }
}

impl Detail {
    /// What there is to say of a cause, in lines of `columns`.
    pub fn new(id: CauseId, columns: u16, at: Moment<'_>, causes: &[Cause<'_>]) -> Self {
        let Some(cause) = causes.iter().find(|cause| cause.id == id) else {
            let lines = vec![format!("Cause {id} is not there any more: its sockets have ended or moved.")];
            let (role, sockets, stacks) = (None, Vec::new(), Vec::new());
            return Self { id, columns, role, lines, sockets, unlisted: 0, stacks };
        };
        let style = Style { color: false, width: usize::from(columns) };
        let mut lines = block::owner_lines(&[cause], &style);
        lines.extend(block::cause_lines(cause, 0, at.now, &style));
        let mut members: Vec<&Member> = at.ledger.sockets().filter(|member| member.cause == id).collect();
        let oldest = |member: &&Member| (member.entered, member.tuple.remote.port, member.tuple.local.port);
        let unlisted = members.len().saturating_sub(LISTED);
        if unlisted > 0 {
            members.select_nth_unstable_by_key(LISTED, oldest);
            members.truncate(LISTED);
        }
        members.sort_unstable_by_key(oldest);
        let socket = |member: &&Member| Socket {
            age: Age::between(member.entered.0, member.entered.1, at.now),
            tuple: member.tuple,
            owner: member.pid.zip(member.fd),
            netns: member.netns,
        };
        Self {
            id,
            columns,
            role: cause.exemplar.evidence.role.known().copied(),
            lines,
            sockets: members.iter().map(socket).collect(),
            unlisted: unlisted as u64,
            stacks: stack::all(cause.exemplar, at.now),
        }
    }
}

/// `4,941 stuck >=10s: 4,812 leaked, 3 unclear, 126 harmless`
pub fn headline(model: &Model) -> String {
    let total = model.stuck.total();
    if total == 0 {
        return match (model.apart.has_unfit(), model.apart.unseen()) {
            (false, 0) => "nothing is stuck".into(),
            (false, _) => "nothing is stuck where it could be looked".into(),
            (true, _) => {
                let left_out = totals::unfit_sockets(model.apart);
                format!("nothing that fits the filter is stuck; {left_out} left out")
            }
        };
    }
    let ghosts = match model.ghosts {
        0 => String::new(),
        n => format!(" ({})", plural(n, "ghost")),
    };
    let leaks = totals::leaks(model.stuck);
    format!("{} stuck >={}: {leaks}{ghosts}", count(total), span(model.threshold))
}
