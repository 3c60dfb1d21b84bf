//! Where an incident happens: a network namespace of its own, gone at the end with
//! every process that is left in it, and what `ss` sees there.

use super::judge::Ends;
use crate::{command, netns::Netns};
use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

pub(super) struct Room(Netns);

impl Room {
    pub(super) fn new() -> Result<Self> {
        Ok(Self(Netns::new("corpus")?))
    }

    /// The namespace.
    pub(super) fn netns(&self) -> &Netns {
        &self.0
    }

    /// The sockets in CLOSE_WAIT, and the processes of each: its holders, or while
    /// nobody has accepted it those of the listener on its port.
    pub(super) fn close_wait(&self) -> Result<BTreeMap<Ends, BTreeSet<u32>>> {
        let listening = self.ss(&["-l"])?;
        let listener = |port: u16| {
            let of_port = listening.iter().filter(|((local, _), _)| *local == port);
            of_port.flat_map(|(_, pids)| pids.iter().copied()).collect()
        };
        let stuck = self.ss(&["state", "close-wait"])?;
        Ok(stuck
            .into_iter()
            .map(|(ends, pids)| (ends, if pids.is_empty() { listener(ends.0) } else { pids }))
            .collect())
    }

    fn ss(&self, what: &[&str]) -> Result<BTreeMap<Ends, BTreeSet<u32>>> {
        let rows = command::output(self.0.inside("ss")?.args(["-H", "-t", "-n", "-p"]).args(what))?;
        rows.lines()
            .map(|row| parse(row).with_context(|| format!("cannot read what ss says: {row}")))
            .collect()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Only what was started for this case can be inside.
        for pid in self.0.pids().unwrap_or_default() {
            let _ = Command::new("kill").args(["-9", "--", &pid]).output();
        }
    }
}

/// A row as in `[CLOSE-WAIT] 1 0 127.0.0.1:80 [::1]:5000 users:(("a",pid=7,fd=3))`. Ports only:
/// all addresses are loopback's.
fn parse(row: &str) -> Option<(Ends, BTreeSet<u32>)> {
    // A process may call itself anything.
    let (row, users) = row.split_once("users:").unwrap_or((row, ""));
    let addresses: Vec<&str> = row.split_whitespace().filter(|word| word.contains(':')).collect();
    let [local, remote] = addresses.as_slice() else { return None };
    let port = |address: &str| address.rsplit(':').next()?.parse().ok();
    let pids = users.split("pid=").skip(1).filter_map(|rest| rest.split(',').next()?.parse().ok()).collect();
    // A listener's remote port is `*`.
    Some(((port(local)?, port(remote).unwrap_or(0)), pids))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_ss_are_read() {
        let table = [
            (
                r#"1 0 127.0.0.1:80 127.0.0.1:5000 users:(("a: [b:c]",pid=7,fd=3),("x",pid=8,fd=3))"#,
                ((80, 5000), vec![7, 8]),
            ),
            ("2      0      [::1]:80      [::1]:5000", ((80, 5000), vec![])),
            (r#"LISTEN 0 5 *:8080 *:* users:(("java",pid=9,fd=4))"#, ((8080, 0), vec![9])),
        ];
        for (row, (ends, pids)) in table {
            assert_eq!(parse(row), Some((ends, pids.into_iter().collect())), "{row}");
        }
        assert_eq!(parse("Recv-Q Send-Q"), None);
    }
}
