//! [`CauseId`]: a name for "the same bug" that survives restarts and address
//! randomisation, so that a ticket, a dashboard and tomorrow's trace agree.
//!
//! In: a suspect, its evidence, the verdict's code. Out: 8 hex digits. Nothing
//! that changes from run to run (pid, fd, address, time) may enter.

use std::borrow::Cow;
use std::fmt;

use crate::fact::Fact;
use crate::stack::fold::of_program;
use crate::text::Text;
use crate::tracker::Suspect;
use crate::verdict::{Code, Evidence, Frame, Role};

use super::model::owner;

/// Names a cause: the low 32 bits xor the high 32 bits of the 64-bit FNV-1a hash
/// over its parts, each followed by a byte 0xff (which UTF-8 never contains):
/// owner's comm, exe and, where it has one, program without numbers ([`lasting_name`]; `ended` for a socket of a command that ended with its process or
/// was closed late), verdict code, role, remote service, the opener's frames from the
/// innermost (without those of an interpreter between functions of its program,
/// [`of_program`]); then, when the stack of a read of EOF is known, `EOF` and its frames.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CauseId(pub u32);

impl fmt::Display for CauseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl CauseId {
    /// The cause of a suspect that was found to be `code`.
    ///
    /// The remote service is, for a client, the remote address and port; for a
    /// server, the local port. A port from [`EPHEMERAL`] on does not count: a test or a
    /// passive FTP server gets another one each time. It is left out when the role is unknown: either
    /// port could then be a passing one, and make a cause of every socket.
    pub fn of(suspect: &Suspect, evidence: &Evidence, code: Code) -> Self {
        let mut hash = Fnv::new();
        match owner(evidence) {
            // Whether its holder could be looked up before it ended is chance; and
            // where ends are looked at, all processes are one command's.
            _ if evidence.ended.is_some() => hash.part("ended"),
            Fact::Known(holder) => {
                hash.part(&holder.comm);
                // After an upgrade the running file is shown as "PATH (deleted)".
                let exe = holder.exe.known().map_or("", Text::as_str);
                hash.part(exe.strip_suffix(" (deleted)").unwrap_or(exe));
                if let Some(program) = holder.told_program() {
                    hash.part(&lasting_name(program));
                }
            }
            Fact::Unknown(_) => {
                hash.part("?");
                hash.part(evidence.opener.known().map_or("", |o| &o.task.comm));
            }
        }
        hash.part(code.name());
        match evidence.role {
            Fact::Known(Role::Client) => {
                let remote = suspect.tuple.remote;
                hash.part("client");
                hash.part(&format!("{} {}", remote.ip.to_canonical(), lasting(remote.port)));
            }
            Fact::Known(Role::Server) => {
                hash.part("server");
                hash.part(&lasting(suspect.tuple.local.port).to_string());
            }
            Fact::Unknown(_) => hash.part("?"),
        }
        let opened = evidence.opener.known().and_then(|o| o.stack.known());
        for frame in of_program(opened.map_or(&[][..], |frames| frames)) {
            hash.part(&stable_name(frame));
        }
        let eof_read = evidence.eof_read.known().and_then(Option::as_ref);
        if let Some(stack) = eof_read.and_then(|read| read.stack.known()) {
            hash.part("EOF");
            for frame in of_program(stack) {
                hash.part(&stable_name(frame));
            }
        }
        Self(hash.fold())
    }
}

/// Ports from here on are given out by the kernel (`net.ipv4.ip_local_port_range`, unless
/// changed).
const EPHEMERAL: u16 = 32_768;

/// A service's port; 0 for one that changes from run to run.
const fn lasting(port: u16) -> u16 {
    if port < EPHEMERAL { port } else { 0 }
}

/// A frame's name without what changes from run to run.
fn stable_name(frame: &Frame) -> Cow<'_, str> {
    match (&frame.symbol, frame.module_name()) {
        (Some(symbol), _) => without_counters(symbol),
        (None, Some(module)) => format!("{module}+{:#x}", frame.offset).into(),
        (None, None) => "?".into(),
    }
}

/// Drops what runtimes put into the names of code they make as they run: the
/// counters and addresses of a JVM (`Foo$$Lambda$14/0x0000000800c8f440`,
/// `GeneratedMethodAccessor7`, `$Proxy12`), the tier marks of V8 (`JS:*name`).
fn without_counters(symbol: &str) -> Cow<'_, str> {
    if ["$$Lambda", "GeneratedMethodAccessor", "GeneratedConstructorAccessor", "$Proxy"]
        .iter()
        .any(|made| symbol.contains(made))
    {
        let mut words = symbol.split("0x");
        let mut name = words.next().unwrap_or_default().to_owned();
        for word in words {
            name.push_str(word.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
        }
        name.retain(|c| !c.is_ascii_digit());
        return name.into();
    }
    for kind in ["JS:", "LazyCompile:", "Function:"] {
        if let Some(rest) = symbol.strip_prefix(kind) {
            return rest.trim_start_matches(['*', '~', '^', '+']).into();
        }
    }
    symbol.into()
}

/// What a process runs without what changes from run to run, or from one version to the next
/// (`surefirebooter20261128.jar`, a UUID, `shop-1.4.2.jar`): `#` stands for runs of digits and
/// for words that are hex numbers, one for several of them.
fn lasting_name(program: &str) -> String {
    let mut name = String::with_capacity(program.len());
    let divides = |c: char| !c.is_ascii_alphanumeric();
    for piece in program.split_inclusive(divides) {
        let word = piece.trim_end_matches(divides);
        let joint = &piece[word.len()..];
        let goes_on = [".", "-", "_"].iter().any(|joint| name.ends_with(&format!("#{joint}")));
        let in_uuid = goes_on && joint == "-" && word.len() == 4;
        if is_number(word) || in_uuid && is_hex(word) {
            if goes_on {
                name.pop();
            } else {
                name.push('#');
            }
        } else {
            for c in word.chars() {
                if !c.is_ascii_digit() {
                    name.push(c);
                } else if !name.ends_with('#') {
                    name.push('#');
                }
            }
        }
        name.push_str(joint);
    }
    name
}

/// Decimal, or hex that is no word: `e2e` and `facade` are names, `9a05a1c` is a commit.
fn is_number(word: &str) -> bool {
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    let decimal = has_digit && word.bytes().all(|byte| byte.is_ascii_digit());
    decimal || is_hex(word) && (has_digit && word.len() >= 6 || word.len() >= 8)
}

fn is_hex(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// 64-bit FNV-1a.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn part(&mut self, text: &str) {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn fold(&self) -> u32 {
        u32::try_from((self.0 ^ (self.0 >> 32)) & 0xffff_ffff).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        // The published vector for "foobar" is 0x85944171f73967e8; one more byte, 0xff, ends a part.
        let mut hash = Fnv::new();
        hash.part("foobar");
        assert_eq!(hash.0, (0x8594_4171_f739_67e8_u64 ^ 0xff).wrapping_mul(0x0100_0000_01b3));
    }

    #[test]
    fn names_made_at_run_time_lose_their_counters() {
        for (name, stable) in [
            ("Pool$$Lambda$14/0x0000000800c8f440::run", "Pool$$Lambda$/::run"),
            ("Pool$$Lambda$977/0x00007f11e0c01c00::run", "Pool$$Lambda$/::run"),
            (
                "jdk.internal.reflect.GeneratedMethodAccessor12::invoke",
                "jdk.internal.reflect.GeneratedMethodAccessor::invoke",
            ),
            ("JS:*handle /srv/app.js:10:3", "handle /srv/app.js:10:3"),
            ("JS:~handle /srv/app.js:10:3", "handle /srv/app.js:10:3"),
            ("Foo::~Foo", "Foo::~Foo"),
            ("http2_read0x", "http2_read0x"),
        ] {
            assert_eq!(without_counters(name), stable, "{name}");
        }
    }

    #[test]
    fn what_a_process_runs_is_the_same_in_every_run_and_version() {
        for (program, lasting) in [
            ("java -jar surefirebooter20261128104501_3.jar", "java -jar surefirebooter#.jar"),
            ("bash 1b4e28ba-2fa1-feed-883f-fabacedfaced.sh", "bash #.sh"),
            ("bash ffffffff-2fa1-11d2-883f-b9a76b36cf7e.sh", "bash #.sh"),
            ("java -jar shop-1.4.2.jar", "java -jar shop-#.jar"),
            ("java -jar shop-1.10.jar", "java -jar shop-#.jar"),
            ("node main.9a05a1c.js", "node main.#.js"),
            ("python3.11 -m shop.api", "python# -m shop.api"),
            ("php8.2 artisan", "php# artisan"),
            // Names are told apart.
            ("python3 facade.py", "python# facade.py"),
            ("python3 feed.py", "python# feed.py"),
            ("python3 e2e.py", "python# e#e.py"),
            ("gunicorn shop.wsgi:app", "gunicorn shop.wsgi:app"),
            ("python3 é-7…x.py", "python# é-#…x.py"),
            ("", ""),
        ] {
            assert_eq!(lasting_name(program), lasting, "{program}");
        }
    }
}
