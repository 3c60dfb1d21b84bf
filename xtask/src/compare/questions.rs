//! What somebody asks who has a leak, and whether what a tool said answers it. The answers
//! are looked for in the tool's own words, and compared with what the programs of the scene
//! say that they did.

use super::{
    scene::{CONTAINER, Leak, Scene},
    tools::Said,
};

pub(super) struct Question {
    pub(super) asks: &'static str,
    pub(super) answer: fn(&Said, &Scene) -> Answer,
}

/// An answer, and what it rests on.
pub(super) enum Answer {
    Yes(String),
    Partly(String),
    No(String),
    Untried(String),
}

pub(super) const QUESTIONS: [Question; 10] = [
    Question { asks: "which sockets are stuck", answer: |said, scene| which(said, &said.now, scene) },
    Question {
        asks: "those from before it was started",
        answer: |said, scene| which(said, &said.later, scene),
    },
    Question { asks: "since when", answer: since },
    Question { asks: "the process that holds it, and its descriptor", answer: holder },
    Question { asks: "the code that opened it", answer: code },
    Question { asks: "why it is stuck", answer: why },
    Question { asks: "descriptors left on closed connections", answer: ghost },
    Question { asks: "the container", answer: container },
    Question { asks: "a gate: the exit status tells", answer: gate },
    Question { asks: "an alert: metrics", answer: alert },
];

impl Answer {
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Yes(_) => "yes",
            Self::Partly(_) => "partly",
            Self::No(_) => "no",
            Self::Untried(_) => "untried",
        }
    }

    /// On one line.
    pub(super) fn because(&self) -> String {
        let (Self::Yes(why) | Self::Partly(why) | Self::No(why) | Self::Untried(why)) = self;
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
        match why.char_indices().nth(160) {
            Some((at, _)) => format!("{}…", &why[..at]),
            None => why,
        }
    }
}

/// Whether it shows those that leaked, and no others.
fn which(said: &Said, text: &str, scene: &Scene) -> Answer {
    if let Some(why) = &said.missing {
        return Answer::Untried(why.clone());
    }
    // One tells of other states, too, and one only of this.
    let shown = |port: u16| {
        between(text, scene, port).iter().any(|row| said.name != "tcpstates" || row.contains("-> CLOSE_WAIT"))
    };
    let leaked = scene.leaks.iter().filter(|leak| shown(leak.port)).count();
    let closed = scene.closed.iter().filter(|port| shown(**port)).count();
    let counts = format!(
        "shows {leaked} of {} that leaked, {closed} of {} that were closed",
        scene.leaks.len(),
        scene.closed.len()
    );
    match (leaked == scene.leaks.len(), closed) {
        (true, 0) => Answer::Yes(counts),
        (true, _) => Answer::Partly(format!("{counts}: to pair its lines is left to the reader")),
        (false, _) => Answer::No(counts),
    }
}

/// Whether something is found in what it says of each socket that leaked: where it begins.
fn each(said: &Said, scene: &Scene, finds: impl Fn(&str, &Leak) -> Option<usize>) -> Answer {
    if let Some(why) = &said.missing {
        return Answer::Untried(why.clone());
    }
    let mut evidence = String::new();
    for leak in &scene.leaks {
        let rows = between(&said.now, scene, leak.port);
        let Some((row, at)) = rows.iter().find_map(|row| Some((row, finds(row, leak)?))) else {
            let edge = rows.iter().find(|row| row.contains("-> CLOSE_WAIT"));
            let row = edge.or(rows.first()).map_or("-", |row| row);
            return Answer::No(format!("not in it, e.g. {row}"));
        };
        // A line of JSON is long.
        let from = if row.len() < 400 { 0 } else { at };
        row.get(from..).unwrap_or(row).clone_into(&mut evidence);
    }
    Answer::Yes(evidence)
}

fn since(said: &Said, scene: &Scene) -> Answer {
    let tells = |row: &str| match said.name {
        "closewait-trace" => row.find("\"since\":\""),
        // With the time of day in front.
        "tcpstates" if row.as_bytes().get(2) == Some(&b':') => row.find("-> CLOSE_WAIT"),
        "bpftrace" => row.find("@since_ns["),
        _ => row.find("lastrcv:"),
    };
    match (each(said, scene, |row, _| tells(row)), said.name) {
        // The time since the last data or FIN, of which any later ACK makes less.
        (Answer::Yes(why), "ss") => Answer::Partly(why),
        (answer, _) => answer,
    }
}

fn holder(said: &Said, scene: &Scene) -> Answer {
    let process = each(said, scene, |row, leak| match said.name {
        "closewait-trace" => row.find(&format!("\"holders\":[{{\"pid\":{},", leak.pid)),
        "tcpstates" => row.find("-> CLOSE_WAIT").filter(|_| has(row, leak.pid)),
        "bpftrace" => row.find("@pid[").filter(|_| has(row, leak.pid)),
        _ => has(row, leak.pid).then_some(0),
    });
    match (process, each(said, scene, |row, leak| find_descriptor(row, leak.fd))) {
        (Answer::Yes(process), Answer::No(_)) => Answer::Partly(format!("no descriptor: {process}")),
        (process, _) => process,
    }
}

fn find_descriptor(row: &str, fd: u32) -> Option<usize> {
    [format!("\"fd\":{fd},"), format!("fd={fd})"), format!(" {fd}u ")].iter().find_map(|text| row.find(text))
}

/// A function of the server that accepts.
fn code(said: &Said, scene: &Scene) -> Answer {
    each(said, scene, |row, _| row.find("accept_and_forget"))
}

fn why(said: &Said, scene: &Scene) -> Answer {
    each(said, scene, |row, _| row.find("EOF_IGNORED"))
}

fn container(said: &Said, scene: &Scene) -> Answer {
    each(said, scene, |row, _| row.find(&CONTAINER[..12]))
}

fn ghost(said: &Said, scene: &Scene) -> Answer {
    if let Some(why) = &said.missing {
        return Answer::Untried(why.clone());
    }
    let Leak { port, pid, fd } = scene.ghost;
    let is_told = |row: &&String| has(row, pid) && find_descriptor(row, fd).is_some();
    let now = rows(&said.now, port);
    if let Some(row) = now.iter().find(|row| is_told(row) && row.contains("GHOST_")) {
        let at = row.find("GHOST_").unwrap_or_default();
        return Answer::Yes(row.get(at..).unwrap_or(row).to_owned());
    }
    let all = chunks(&said.descriptors);
    match all.iter().find(|row| is_told(row) && row.contains("protocol: TCP")) {
        Some(row) => Answer::Partly(row.clone()),
        None => Answer::No("not in it".to_owned()),
    }
}

fn gate(said: &Said, _: &Scene) -> Answer {
    let (leak, none) = said.status;
    let statuses = format!("exits {leak} where something leaks, {none} where nothing does");
    match (&said.missing, leak != none, leak) {
        (Some(why), ..) => Answer::Untried(why.clone()),
        (_, true, 1) => Answer::Yes(statuses),
        (_, true, _) => Answer::Partly(format!("{statuses}; what is harmless counts as well")),
        (_, false, _) => Answer::No(statuses),
    }
}

fn alert(said: &Said, _: &Scene) -> Answer {
    if let Some(why) = &said.missing {
        return Answer::Untried(why.clone());
    }
    match said.metrics.lines().find(|line| line.starts_with("closewait_stuck_sockets{")) {
        Some(line) => Answer::Yes(line.to_owned()),
        None if said.listens => Answer::Partly("it listens on a port".to_owned()),
        None => Answer::No("it listens on no port".to_owned()),
    }
}

/// What is said together: a line and those below it that are further in.
fn chunks(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in text.lines() {
        match all.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) || line.is_empty() => {
                last.push('\n');
                last.push_str(line);
            }
            _ => all.push(line.to_owned()),
        }
    }
    all
}

/// Of these, the ones about a port.
fn rows(text: &str, port: u16) -> Vec<String> {
    chunks(text).into_iter().filter(|chunk| has(chunk, port.into())).collect()
}

/// Of these, the ones about the server and this client: tracers tell of the whole host, where
/// another may have the same port.
fn between(text: &str, scene: &Scene, client: u16) -> Vec<String> {
    let mut rows = rows(text, client);
    rows.retain(|row| has(row, scene.port.into()));
    rows
}

/// Whether a number stands in a text by itself.
fn has(text: &str, number: u32) -> bool {
    text.split(|c: char| !c.is_ascii_digit()).any(|word| word.parse() == Ok(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_by_itself() {
        for (text, is_in) in
            [("127.0.0.1:8080", true), ("pid=8080,", true), ("18080", false), ("80801", false)]
        {
            assert_eq!(has(text, 8080), is_in, "{text}");
        }
    }

    #[test]
    fn what_is_further_in_belongs_to_the_line_above() {
        let text = "@pid[8080, 7]: 3\n@stack[8080, 7]:\n        f+1\n\n        g+2\n@pid[9, 9]: 4\n";
        let rows = rows(text, 8080);
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(rows[1].contains("g+2") && !rows[1].contains("9, 9"), "{rows:?}");
    }

    #[test]
    fn descriptors_are_told_in_three_ways() {
        for row in ["\"fd\":4,\"cloexec\"", "users:((\"x\",pid=1,fd=4))", "x 1 root 4u IPv4"] {
            assert!(find_descriptor(row, 4).is_some() && find_descriptor(row, 14).is_none(), "{row}");
        }
    }
}
