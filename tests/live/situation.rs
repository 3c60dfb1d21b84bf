//! A situation: a scenario program that has put so many sockets into the same state,
//! and said when it did.

use closewait_trace::clock::MonoNs;
use serde_json::Value;

use super::netns::{Netns, output};
use super::rows::Row;
use super::scenario::Scenario;
use super::veth::{SERVER_IP, Veth};

/// A row of the matrix that has been made true.
pub(crate) struct Situation {
    pub(crate) row: &'static Row,
    pub(crate) scenario: Scenario,
    /// The port that its server listens on.
    pub(crate) port: u16,
    pub(crate) sockets: Vec<Socket>,
    /// Why it could not be made here.
    pub(crate) not_run: Option<String>,
}

/// One socket of it.
pub(crate) struct Socket {
    /// The port of the client's end.
    pub(crate) client: u16,
    /// Who has it, as which descriptor; the listener's, of one not accepted.
    pub(crate) pid: u32,
    pub(crate) fd: u32,
    /// Who else has it.
    pub(crate) also: Option<u32>,
    /// It entered CLOSE_WAIT, or became a ghost, between these.
    pub(crate) from: MonoNs,
    pub(crate) to: MonoNs,
}

/// What a program waits for.
#[derive(PartialEq, Eq)]
enum Heard {
    Asks(String),
    Done,
}

impl Situation {
    /// Makes all of `rows` true in `net`, whose wire is `wire`.
    pub(crate) fn make(rows: &[&'static Row], net: &Netns, wire: Option<&Veth>) -> Vec<Self> {
        let mut all: Vec<_> = rows.iter().map(|row| Self::start(row, net, wire)).collect();
        let heard: Vec<_> = all.iter_mut().map(Self::hear).collect();
        let asked = |word: &str| heard.iter().any(|heard| *heard == Heard::Asks(word.into()));
        if asked("cut") {
            wire.expect("only over a wire").cut();
        }
        for (situation, heard) in all.iter_mut().zip(heard) {
            let Heard::Asks(word) = heard else { continue };
            if word == "destroy" && !situation.destroy(net) {
                situation.not_run = Some("this kernel destroys no sockets (ss -K)".into());
                continue;
            }
            situation.scenario.tell("go");
            assert!(situation.hear() == Heard::Done, "{} asks twice", situation.row.name);
        }
        for situation in &all {
            let made = if situation.row.expects_nothing() || situation.not_run.is_some() {
                0
            } else {
                situation.row.count
            };
            assert_eq!(situation.sockets.len(), made, "{}", situation.row.name);
        }
        all
    }

    fn start(row: &'static Row, net: &Netns, wire: Option<&Veth>) -> Self {
        let count = row.count.to_string();
        let far = wire.map(|wire| wire.client.path());
        let mut args = [row.args, &["--count", &count]].concat();
        if let Some(far) = &far {
            args.extend(["--far-in", far, "--bind", SERVER_IP, "--to", SERVER_IP]);
        }
        let scenario = Scenario::start(net, row.program, &args);
        Self { row, scenario, port: 0, sockets: Vec::new(), not_run: None }
    }

    /// Listens until everything has happened, or the program asks for something.
    fn hear(&mut self) -> Heard {
        loop {
            let said = self.scenario.hear();
            match said.word.as_str() {
                "ready" => self.port = u16::try_from(said.number("port")).expect("a port"),
                "leak" => self.sockets.push(Socket {
                    client: u16::try_from(said.number("port")).expect("a port"),
                    pid: said.number("pid"),
                    fd: said.number("fd"),
                    also: None,
                    from: said.moment("from"),
                    to: said.moment("to"),
                }),
                "also" => self.sockets.last_mut().expect("a leak").also = Some(said.number("pid")),
                "refused" => {
                    self.not_run = Some(format!("refused by this kernel, errno {}", said.number("errno")));
                    return Heard::Done;
                }
                "done" => return Heard::Done,
                asks => return Heard::Asks(asks.to_owned()),
            }
        }
    }

    /// Destroys the sockets of its server; `false` when the kernel does not.
    fn destroy(&self, net: &Netns) -> bool {
        let mine = format!("sport = :{}", self.port);
        let ss = |options: &[&str]| output(net.command("ss").args(options).arg(&mine));
        ss(&["-K", "-t", "state", "close-wait"]);
        ss(&["-H", "-t", "-n", "state", "close-wait"]).is_empty()
    }

    /// The lines of this kind about a socket of this situation.
    pub(crate) fn lines<'a>(
        &'a self,
        socket: &'a Socket,
        kind: &'a str,
        reports: &'a [Value],
    ) -> impl Iterator<Item = &'a Value> {
        reports.iter().filter(move |line| line["kind"] == kind && self.is_about(socket, line))
    }

    /// Whether a line is about this socket. One closed before it was first seen has lost
    /// the number of its remote port: then it is known by its descriptor.
    fn is_about(&self, socket: &Socket, line: &Value) -> bool {
        let holder = &line["holders"][0];
        match ends(line) {
            (local, 0) => local == self.port && holder["pid"] == socket.pid && holder["fd"] == socket.fd,
            ends => [(self.port, socket.client), (socket.client, self.port)].contains(&ends),
        }
    }

    /// Whether a line is about any of its sockets.
    pub(crate) fn has(&self, line: &Value) -> bool {
        self.sockets.iter().any(|socket| self.is_about(socket, line))
    }
}

/// (local port, remote port) of a line about a socket.
pub(crate) fn ends(line: &Value) -> (u16, u16) {
    let port = |end: &str| line["socket"][end]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    (port("local").unwrap_or_default(), port("remote").unwrap_or_default())
}
