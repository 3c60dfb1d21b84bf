//! The matrix: every situation a socket can be left in, and what is right to say of it.
//! One row per way; `matrix` makes them true and compares.

/// One situation.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The program in tests/scenarios and what it is asked for.
    pub(crate) program: &'static str,
    pub(crate) args: &'static [&'static str],
    /// So many sockets.
    pub(crate) count: usize,
    pub(crate) holder: Holder,
    /// What is right when the trace began before the situation.
    pub(crate) live: Answer,
    /// When the situation is older than the trace.
    pub(crate) older: Answer,
    /// By one look without a trace.
    pub(crate) snapshot: Answer,
    /// How they leave when the program is told to close.
    pub(crate) ends: Option<End>,
}

/// What is right to say.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) kind: Kind,
    /// Any of these is right, the first is best.
    pub(crate) verdicts: &'static [Says],
    /// Why, and where, the tool does not say it yet. Such an answer must be wrong, or the
    /// test fails, so that this is removed when it has become right.
    pub(crate) known_wrong: Option<(&'static str, Where)>,
}

/// On which machines something holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    Everywhere,
    /// Reads of EOF are seen, by whichever hook.
    EofSeen,
    EofUnseen,
    /// The descriptors of every process can be read.
    AllReadable,
    SomeUnreadable,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stuck,
    Ghost,
    /// No line at all.
    Nothing,
    /// The situation cannot be, or is not tried, in this mode; why.
    NotRun(&'static str),
}

/// A verdict: its code, its `leak`, codes that must be in its `also`, and words that must
/// be in its evidence.
#[derive(Clone, Copy)]
pub(crate) struct Says {
    pub(crate) code: &'static str,
    pub(crate) leak: Option<bool>,
    pub(crate) also: &'static [&'static str],
    pub(crate) evidence: &'static str,
    /// Where it is right.
    pub(crate) place: Where,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Who the program says.
    Told,
    /// The listener's holder; the socket itself has none.
    Listener,
    Nobody,
}

/// An end that is asked for.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub(crate) how: &'static str,
    pub(crate) known_wrong: Option<(&'static str, Where)>,
}

impl Row {
    pub(crate) fn expects_nothing(&self) -> bool {
        self.live.kind == Kind::Nothing
    }
}

const fn says(code: &'static str, leak: Option<bool>) -> Says {
    Says { code, leak, also: &[], evidence: "", place: Where::Everywhere }
}

const fn stuck(verdicts: &'static [Says]) -> Answer {
    Answer { kind: Kind::Stuck, verdicts, known_wrong: None }
}

const fn ghost(verdicts: &'static [Says]) -> Answer {
    Answer { kind: Kind::Ghost, verdicts, known_wrong: None }
}

const fn not_run(why: &'static str) -> Answer {
    Answer { kind: Kind::NotRun(why), verdicts: &[], known_wrong: None }
}

const fn end(how: &'static str) -> End {
    End { how, known_wrong: None }
}

const LEAKS: Option<bool> = Some(true);
const HARMLESS: Option<bool> = Some(false);

const NOT_READING: Answer = stuck(&[says("NOT_READING", LEAKS)]);
const EOF_IGNORED: Answer = stuck(&[
    Says { place: Where::EofSeen, ..says("EOF_IGNORED", LEAKS) },
    Says { place: Where::EofUnseen, ..says("EOF_CONSUMED", None) },
]);
const EOF_CONSUMED: Answer = stuck(&[says("EOF_CONSUMED", None)]);
const SLOW_READER: Answer = stuck(&[says("SLOW_READER", HARMLESS)]);
const SENDING: Answer = stuck(&[says("SENDING", HARMLESS)]);
const SEND_BLOCKED: Answer = stuck(&[says("SEND_BLOCKED", None)]);
const PEER_GONE: Answer = stuck(&[says("PEER_GONE", HARMLESS)]);
const NOT_ACCEPTED: Answer = stuck(&[says("NOT_ACCEPTED", LEAKS)]);
const INHERITED: Answer = stuck(&[says("INHERITED", LEAKS)]);
/// On a slow machine the minute passes after which it is known to be bounded.
const IDLE_POOL: Answer = stuck(&[says("IDLE_POOL", None), says("IDLE_POOL", HARMLESS)]);
/// How long an older socket had been idle is known only as well as its age is.
const IDLE_POOL_OR_NOT: Answer =
    stuck(&[says("IDLE_POOL", None), says("IDLE_POOL", HARMLESS), says("NOT_READING", None)]);

const NOTHING: Answer = Answer { kind: Kind::Nothing, verdicts: &[], known_wrong: None };
const LEAVES_NOTHING: Answer = not_run("it is over before the tool starts");

/// The same answer in every mode.
const fn always(
    name: &'static str,
    program: &'static str,
    args: &'static [&'static str],
    answer: Answer,
) -> Row {
    Row {
        name,
        program,
        args,
        count: 3,
        holder: Holder::Told,
        live: answer,
        older: answer,
        snapshot: answer,
        ends: None,
    }
}

/// The EOF was read, which only a trace that began before can tell.
const fn eof(name: &'static str, args: &'static [&'static str], live: Answer) -> Row {
    Row { older: EOF_CONSUMED, snapshot: EOF_CONSUMED, live, ..always(name, "receiving", args, EOF_CONSUMED) }
}

const fn nothing(name: &'static str, args: &'static [&'static str]) -> Row {
    Row {
        count: 7,
        older: LEAVES_NOTHING,
        snapshot: LEAVES_NOTHING,
        ..always(name, "receiving", args, NOTHING)
    }
}

/// By one look it cannot be told how TCP ended, nor, when that look was short, whether it
/// is about to be closed.
const SOME_GHOST: Answer = ghost(&[says("GHOST_RESET", None), says("GHOST_RESET", LEAKS)]);

const fn haunts(name: &'static str, args: &'static [&'static str], answer: Answer) -> Row {
    Row { snapshot: SOME_GHOST, ends: Some(end("closed")), ..always(name, "ghosts", args, answer) }
}

/// Nothing is read from an accepted socket.
const fn unread(name: &'static str, args: &'static [&'static str], ends: &'static str) -> Row {
    Row { ends: Some(end(ends)), ..always(name, "receiving", args, NOT_READING) }
}

/// The kernel has a reference, no process a descriptor. By /proc that is known only
/// where every process could be looked into: a snapshot does not see more.
const fn unheld(row: &Row, answer: Answer, snapshot: Answer) -> Row {
    Row { holder: Holder::Nobody, live: answer, older: answer, snapshot, ..*row }
}

const fn if_readable(says: Says) -> Says {
    Says { place: Where::AllReadable, ..says }
}

const fn if_not(says: Says) -> Says {
    Says { place: Where::SomeUnreadable, ..says }
}

const BLOCKED: Says = Says { also: &["UNHELD"], ..says("SEND_BLOCKED", None) };
const IN_FLIGHT: Says = Says { evidence: "in flight to ", ..says("UNHELD", None) };
/// Old kernels (5.10) list the files of a ring without their inodes.
const UNHELD: Says = says("UNHELD", None);
const REGISTERED: Says = Says { evidence: "registered with the io_uring of ", ..says("UNHELD", None) };

/// Over loopback, all in one namespace.
pub(crate) const ROWS: &[Row] = &[
    // Those that leave nothing come first: when the others are reported, their time has passed.
    nothing("closed in time", &["in-time"]),
    nothing("aborted with data unread", &["abort"]),
    nothing("aborted by linger time 0", &["abort-linger"]),
    nothing("process killed", &["killed"]),
    Row {
        holder: Holder::Listener,
        count: 5,
        ..always("never accepted", "receiving", &["queue"], NOT_ACCEPTED)
    },
    unread("unread FIN", &["unread-fin"], "closed"),
    unread("n bytes and FIN unread", &["unread-data"], "aborted"),
    unread("unread, linger time 0", &["linger"], "aborted"),
    unread("MSG_PEEK only", &["peek"], "aborted"),
    unread("SHUT_RD", &["shut-rd"], "closed"),
    Row {
        ends: Some(end("aborted")),
        ..always("slow but living reader", "receiving", &["slow"], SLOW_READER)
    },
    Row { ends: Some(end("closed")), ..eof("EOF read and ignored", &["eof"], EOF_IGNORED) },
    eof("the same over IPv6", &["eof", "--bind", "::1", "--to", "::1"], EOF_IGNORED),
    eof("the same, v4-mapped", &["eof", "--bind", "::"], EOF_IGNORED),
    eof("the same, peer half-closed", &["eof-half"], stuck(&[says("EOF_IGNORED", None)])),
    eof("one recv() for bytes and FIN", &["once"], EOF_CONSUMED),
    Row {
        count: 11,
        live: IDLE_POOL,
        ..always("idle pool of a client", "receiving", &["pool"], IDLE_POOL_OR_NOT)
    },
    Row { count: 5, ..eof("idle pool, EOF read", &["pool-read"], EOF_IGNORED) },
    Row { ends: Some(end("exited")), ..always("forked child holds it", "receiving", &["child"], INHERITED) },
    always("the same, after a greeting", "receiving", &["greeted"], INHERITED),
    eof(
        "forked child holds it too",
        &["shared"],
        stuck(&[
            Says { place: Where::EofSeen, also: &["INHERITED"], ..says("EOF_IGNORED", LEAKS) },
            Says { place: Where::EofUnseen, also: &["INHERITED"], ..says("EOF_CONSUMED", None) },
        ]),
    ),
    always("half-close, still sending", "sending", &["trickle"], SENDING),
    always("peer's window is zero", "sending", &["window"], SEND_BLOCKED),
    unheld(
        &always("blocked in send() after close", "sending", &["blocked"], SEND_BLOCKED),
        stuck(&[BLOCKED]),
        stuck(&[if_readable(BLOCKED), if_not(says("SEND_BLOCKED", None))]),
    ),
    unheld(
        &always("in flight (SCM_RIGHTS)", "unheld", &["flight"], EOF_CONSUMED),
        stuck(&[IN_FLIGHT]),
        stuck(&[if_readable(IN_FLIGHT), if_not(says("EOF_CONSUMED", None))]),
    ),
    unheld(
        &always("io_uring registered", "unheld", &["uring"], EOF_CONSUMED),
        stuck(&[REGISTERED, UNHELD]),
        stuck(&[if_readable(REGISTERED), if_readable(UNHELD), if_not(says("EOF_CONSUMED", None))]),
    ),
    Row {
        live: not_run("seen only by a trace of all namespaces: live::unknown"),
        older: not_run("nobody can list the sockets of such a namespace"),
        snapshot: not_run("nobody can list the sockets of such a namespace"),
        ..always("UNKNOWN: its namespace is lost", "receiving", &["adrift"], NOTHING)
    },
    unread("MPTCP", &["unread-data", "--mptcp"], "aborted"),
    haunts("ghost by RST", &["reset"], ghost(&[says("GHOST_RESET", LEAKS)])),
    haunts("ghost by shutdown()", &["shutdown"], ghost(&[says("GHOST_SHUTDOWN", LEAKS)])),
    haunts("ghost by SOCK_DESTROY", &["destroyed"], ghost(&[says("GHOST_DESTROYED", LEAKS)])),
];

/// Over a wire that is cut.
pub(crate) const WIRE_ROWS: &[Row] = &[
    always("peer vanished", "sending", &["vanished"], PEER_GONE),
    haunts("ghost by keepalive", &["keepalive"], ghost(&[says("GHOST_TIMEOUT", LEAKS)])),
    haunts("ghost by user timeout", &["timeout"], ghost(&[says("GHOST_TIMEOUT", LEAKS)])),
];
