//! Takes addresses and command lines out of what is recorded. An address becomes the
//! same other address everywhere in one recording, so that grouping by remote still
//! works: IPv4 from 240.0.0.0/4, IPv6 from 2001:db8::/32, neither of which is anybody's.
//! Loopback and unspecified addresses stay: they name nobody. What an interpreter runs is of
//! a command line, and holders are told apart by it: each becomes a number. Names of processes
//! and files stay, and stacks: without them a recording would tell nothing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use crate::item::Item;
use crate::tcp::Tuple;
use crate::verdict::redacted_program;

/// What stands in place of a command line.
const REDACTED: &str = "taken out of the recording";

/// Remembers what each address became.
#[derive(Default)]
pub(super) struct Redactor {
    known: HashMap<IpAddr, IpAddr>,
    programs: HashMap<String, usize>,
}

impl Redactor {
    /// An item without addresses.
    pub(super) fn item(&mut self, mut item: Item) -> Item {
        match &mut item {
            Item::Transition(transition) => self.tuple(&mut transition.tuple),
            Item::Snapshot(snapshot) => {
                for socket in &mut snapshot.sockets {
                    self.tuple(&mut socket.tuple);
                }
            }
            Item::Ghosts(look) => {
                for ghost in &mut look.ghosts {
                    self.tuple(&mut ghost.tuple);
                }
            }
            Item::Destroyed(_) | Item::Ended(_) | Item::Path(_) | Item::Gap(_) => {}
        }
        item
    }

    /// JSON without addresses, also within sentences, and without command lines.
    pub(super) fn json(&mut self, mut value: Value) -> Value {
        self.walk(&mut value);
        value
    }

    fn walk(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.walk(value)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    if let (true, Value::String(program)) = (name == "program", &mut *value) {
                        *program = self.program(program);
                        continue;
                    }
                    match value.get_mut("known") {
                        Some(_) if name == "cmdline" => *value = serde_json::json!({ "unknown": REDACTED }),
                        // Names in programs: `dead::beef` is none of an address.
                        _ if matches!(name.as_str(), "symbol" | "module" | "file") => {}
                        _ => self.walk(value),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn program(&mut self, program: &str) -> String {
        let number = self.programs.len() + 1;
        let number = *self.programs.entry(program.to_owned()).or_insert(number);
        redacted_program(number)
    }

    fn tuple(&mut self, tuple: &mut Tuple) {
        tuple.local.ip = self.ip(tuple.local.ip);
        tuple.remote.ip = self.ip(tuple.remote.ip);
    }

    /// A text with every address in it replaced.
    fn text(&mut self, text: &str) -> String {
        let of_word = |c: char| c.is_alphanumeric() || matches!(c, ':' | '.' | '_');
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(of_word) {
            let (before, from) = rest.split_at(start);
            let (word, after) = from.split_at(from.find(|c| !of_word(c)).unwrap_or(from.len()));
            out.push_str(before);
            match self.word(word) {
                Some(other) => out.push_str(&other),
                None => out.push_str(word),
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// An address, `address:port`, or either at the end of a sentence.
    fn word(&mut self, word: &str) -> Option<String> {
        let (bare, stop) = match word.strip_suffix(['.', ':']) {
            Some(bare) if !bare.ends_with(':') => word.split_at(bare.len()),
            _ => (word, ""),
        };
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Some(format!("{}{stop}", self.ip(ip)));
        }
        let (address, port) = bare.rsplit_once(':')?;
        let ip: Ipv4Addr = address.parse().ok()?;
        Some(format!("{}:{port}{stop}", self.ip(ip.into())))
    }

    fn ip(&mut self, ip: IpAddr) -> IpAddr {
        if let IpAddr::V6(v6) = ip
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            let IpAddr::V4(other) = self.ip(v4.into()) else { return ip };
            return other.to_ipv6_mapped().into();
        }
        if ip.is_loopback() || ip.is_unspecified() {
            return ip;
        }
        if let Some(other) = self.known.get(&ip) {
            return *other;
        }
        let number = u32::try_from(self.known.len() + 1).unwrap_or(u32::MAX);
        let other = match ip {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(0xF000_0000 | number & 0x0FFF_FFFF)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number))),
        };
        self.known.insert(ip, other);
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_in_sentences_are_replaced_and_the_rest_is_left() {
        let mut redactor = Redactor::default();
        for (text, want) in [
            ("nothing listens on 10.1.2.3:80, and it", "nothing listens on 240.0.0.1:80, and it"),
            ("[2a00:1450::5]:443 and 10.1.2.3.", "[2001:db8::2]:443 and 240.0.0.1."),
            ("::ffff:10.1.2.3", "::ffff:240.0.0.1"),
            ("127.0.0.1:80 or [::1]:80", "127.0.0.1:80 or [::1]:80"),
            ("read() 12 s ago; 3 of 4: face, std::io::Read", "read() 12 s ago; 3 of 4: face, std::io::Read"),
        ] {
            assert_eq!(redactor.text(text), want);
        }
    }

    #[test]
    fn command_lines_go_and_names_stay() {
        let mut redactor = Redactor::default();
        let holder = json!({"comm": "java", "cmdline": {"known": "java -Dpassword=x"}, "ip": "10.0.0.9"});
        let want = json!({"comm": "java", "cmdline": {"unknown": REDACTED}, "ip": "240.0.0.1"});
        assert_eq!(redactor.json(holder), want);
        let programs = |of: [&str; 3]| json!(of.map(|of| json!({"comm": "python3", "program": of})));
        let redacted =
            redactor.json(programs(["python3 orders.py", "python3 users.py", "python3 orders.py"]));
        assert_eq!(redacted, programs(["program 1", "program 2", "program 1"]), "told apart still");
    }
}
