//! Sockets and processes that are there while something is measured: tests/scenarios/pile.c,
//! as many processes of it as descriptors ask for.

use super::process;
use crate::netns::Netns;
use anyhow::{Context, Result, ensure};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
};

/// Descriptors that one process may use; hard limits of 20,000 are found on small machines.
const PER_PROCESS: u32 = 16_000;
/// Memory that a CLOSE_WAIT socket takes with all around it, bytes: a generous guess, by
/// which a pile is refused that would not fit.
const PER_SOCKET: u64 = 8 << 10;

/// How much of what.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Heap {
    pub(super) stuck: u32,
    pub(super) healthy: u32,
    pub(super) children: u32,
}

/// Kept until it is dropped.
pub(super) struct Pile(Vec<Child>);

impl Pile {
    /// Makes all of it inside `net`.
    ///
    /// # Errors
    /// When memory or descriptors do not allow it.
    pub(super) fn new(net: &Netns, program: &Path, heap: Heap) -> Result<Self> {
        let sockets = u64::from(heap.stuck) + 2 * u64::from(heap.healthy);
        let wanted = (sockets * PER_SOCKET) >> 20;
        if let Some(free) = process::memory_available() {
            ensure!(free > wanted + 512, "{sockets} sockets want {wanted} MiB, {free} MiB are free");
        }
        let mut pile = Self(Vec::new());
        for part in parts(heap) {
            let mut command = net.inside(program)?;
            for (option, value) in
                [("--stuck", part.stuck), ("--healthy", part.healthy), ("--children", part.children)]
            {
                command.args([option, &value.to_string()]);
            }
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let mut said = BufReader::new(child.stdout.take().context("it has no stdout")?).lines();
            pile.0.push(child);
            let ready = said.by_ref().map_while(Result::ok).any(|it| it.starts_with("ready "));
            // It has a last word, for which somebody has to listen.
            std::thread::spawn(move || said.map_while(Result::ok).for_each(drop));
            ensure!(ready, "the pile of {part:?} did not come about");
        }
        Ok(pile)
    }
}

impl Drop for Pile {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // The end of its input ends it, and its children with it.
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// What each process is to make.
fn parts(heap: Heap) -> Vec<Heap> {
    let processes = heap.stuck.div_ceil(PER_PROCESS).max((2 * heap.healthy).div_ceil(PER_PROCESS)).max(1);
    let share = |all: u32, n: u32| all / processes + u32::from(n < all % processes);
    let part = |n| Heap {
        stuck: share(heap.stuck, n),
        healthy: share(heap.healthy, n),
        children: share(heap.children, n),
    };
    (0..processes).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heap_is_shared_out_without_loss() {
        for heap in [
            Heap { stuck: 100_001, ..Heap::default() },
            Heap { healthy: 20_011, children: 7, ..Heap::default() },
            Heap::default(),
        ] {
            let parts = parts(heap);
            let sum = |of: fn(&Heap) -> u32| parts.iter().map(of).sum::<u32>();
            assert_eq!(
                (sum(|it| it.stuck), sum(|it| it.healthy), sum(|it| it.children)),
                (heap.stuck, heap.healthy, heap.children)
            );
            assert!(parts.iter().all(|it| it.stuck <= PER_PROCESS && 2 * it.healthy <= PER_PROCESS + 2));
        }
    }
}
