//! Naming stacks off the event path: call paths in, named stacks out later.
//!
//! Two threads. The first reads maps, opens files and unwinds, quickly, because
//! the process may be about to exit; the second reads symbols, which can take long.
//! Both queues are bounded: a full one costs the stack, which is counted and
//! said, never the caller's time.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;

use super::Stack;
use super::named::NamedStacks;
use super::places::{Placed, Processes};
use super::python::Interpreters;
use super::renaming::{Kept, Renaming};
use super::symbolize::Symbols;
use crate::fact::Fact;
use crate::item::{Path, StackId};
use crate::privileges::{Work, settle_thread};

/// Stacks that may wait to be placed, and again to be named. A stack waits here
/// once per call path of a process, not once per socket; 256 copies are 4 MB, and
/// that is twice as many as the kernel side makes in a second.
pub const MAX_WAITING: usize = 256;

/// Parsed symbols and unwind tables are dropped after this long without a new stack: they are the
/// largest thing the tool holds, and can be read again.
pub(super) const FORGET_AFTER: Duration = Duration::from_secs(10);

/// A stack that can be shared by all the sockets it opened.
pub type Named = Fact<Arc<Stack>>;

/// Names stacks in the background.
#[derive(Debug)]
pub struct Stacks {
    queue: SyncSender<Job>,
    results: Arc<Results>,
    /// With `--jit-maps`.
    renaming: Option<Renaming>,
}

/// What became of stacks so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Asked for.
    pub asked: u64,
    /// Named.
    pub named: u64,
    /// Not named, because the process was gone, for example.
    pub unknown: u64,
    /// Given up because too many waited already.
    pub dropped: u64,
    /// Named, and forgotten since to make room.
    pub forgotten: u64,
}

#[derive(Debug)]
struct Job {
    path: Path,
    key: Key,
}

/// A process and one of its stacks.
pub(super) type Key = (u32, StackId);

/// What is known of stacks so far.
#[derive(Debug)]
pub(super) struct Results {
    stacks: Mutex<NamedStacks<Key>>,
    changed: Notify,
    asked: AtomicU64,
    named: AtomicU64,
    unknown: AtomicU64,
    dropped: AtomicU64,
}

impl Stacks {
    /// Starts the threads; they end when the value is dropped.
    pub fn spawn() -> io::Result<Self> {
        Self::spawn_with(false)
    }

    /// The same; with `jit_maps`, JVMs can be asked for the names of their methods.
    pub fn spawn_with(jit_maps: bool) -> io::Result<Self> {
        Self::spawn_naming(jit_maps, None)
    }

    /// The same; with `interpreters`, the functions of Python programs are named.
    pub fn spawn_naming(jit_maps: bool, interpreters: Option<Interpreters>) -> io::Result<Self> {
        let results = Arc::new(Results {
            stacks: Mutex::default(),
            changed: Notify::new(),
            asked: AtomicU64::new(0),
            named: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let (queue, jobs) = sync_channel(MAX_WAITING);
        let (placed, to_name) = sync_channel(MAX_WAITING);
        let renaming = jit_maps.then(|| Renaming::spawn(placed.clone(), Arc::clone(&results))).transpose()?;
        let kept = renaming.as_ref().map(Renaming::kept);
        let (one, two) = (Arc::clone(&results), Arc::clone(&results));
        let place = move || {
            settle_thread(Work::Places);
            place_all(&jobs, &placed, &one, kept.as_ref(), Processes::naming_python(interpreters));
        };
        thread::Builder::new().name("stack-places".into()).spawn(place)?;
        let name = move || {
            settle_thread(Work::Symbols);
            name_all(&to_name, &two);
        };
        thread::Builder::new().name("stack-symbols".into()).spawn(name)?;
        Ok(Self { queue, results, renaming })
    }

    /// Asks for the stack of a call path that was just seen for the first time.
    /// Never blocks: when too many wait already, the stack is given up.
    pub fn remember(&self, path: Path) {
        let key = (path.task.pid, path.stack);
        {
            let mut stacks = self.results.lock();
            // A path is copied more than once, in case that a copy cannot be used. But
            // the id of an address list may come again from a later process.
            if path.copy.is_some() && matches!(stacks.get(&key), Some(None | Some(Fact::Known(_)))) {
                return;
            }
        }
        self.results.begin(key);
        match self.queue.try_send(Job { path, key }) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => self.results.give_up(job.key),
            Err(TrySendError::Disconnected(job)) => {
                self.results.settle(job.key, Fact::unknown("not symbolised: the worker has stopped"));
            }
        }
    }

    /// A socket with this stack is stuck: asks its process for names, if it is a JVM and that
    /// is wanted. Never blocks; once for each stack.
    pub fn name_methods(&self, pid: u32, stack: StackId) {
        if let Some(renaming) = &self.renaming {
            renaming.name_again((pid, stack), &self.results);
        }
    }

    /// The stack of a call path, as far as it is known now.
    pub fn get(&self, pid: u32, stack: StackId) -> Named {
        self.results.known((pid, stack)).unwrap_or_else(|| Fact::unknown("not symbolised yet"))
    }

    /// Whether the stack of a call path is still being worked on.
    pub fn is_pending(&self, pid: u32, stack: StackId) -> bool {
        self.results.known((pid, stack)).is_none()
    }

    /// The stack of a call path; waits for it at most `timeout` if it is being worked on.
    pub async fn wait(&self, pid: u32, stack: StackId, timeout: Duration) -> Named {
        let known = async {
            loop {
                let mut changed = std::pin::pin!(self.results.changed.notified());
                // Listen first, look then: a change between the two is not missed.
                changed.as_mut().enable();
                if let Some(known) = self.results.known((pid, stack)) {
                    return known;
                }
                changed.await;
            }
        };
        tokio::time::timeout(timeout, known).await.unwrap_or_else(|_| self.get(pid, stack))
    }

    /// What became of stacks so far.
    pub fn counts(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let results = &self.results;
        Counts {
            asked: get(&results.asked),
            named: get(&results.named),
            unknown: get(&results.unknown),
            dropped: get(&results.dropped),
            forgotten: results.lock().dropped(),
        }
    }
}

impl Results {
    fn lock(&self) -> MutexGuard<'_, NamedStacks<Key>> {
        // Nothing panics while it is held; a map is whole between any two calls anyway.
        self.stacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is being worked on from now on.
    pub(super) fn begin(&self, key: Key) {
        self.lock().insert(key, None);
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// `None` while it is being worked on.
    pub(super) fn known(&self, key: Key) -> Option<Named> {
        let mut stacks = self.lock();
        if let Some(entry) = stacks.get(&key) {
            return entry.clone();
        }
        Some(Fact::unknown(match stacks.dropped() {
            0 => "its call path was not recorded".to_owned(),
            n => format!("its call path was not recorded, or is one of {n} forgotten to make room"),
        }))
    }

    /// What came of it.
    pub(super) fn settle(&self, key: Key, named: Named) {
        let counter = if named.known().is_some() { &self.named } else { &self.unknown };
        counter.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(key, Some(named));
        self.changed.notify_waiters();
    }

    fn give_up(&self, key: Key) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.settle(key, Fact::unknown(format!("not symbolised: {MAX_WAITING} stacks were waiting already")));
    }
}

fn place_all(
    jobs: &Receiver<Job>,
    out: &SyncSender<(Placed, Key)>,
    results: &Results,
    kept: Option<&Kept>,
    mut processes: Processes,
) {
    loop {
        let Job { path, key } = match jobs.recv_timeout(FORGET_AFTER) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                processes.forget();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let placed = processes.locate(&path);
        if let Some(kept) = kept
            && processes.runs_java(key.0)
        {
            kept.keep(key, path);
        }
        match placed {
            Err(reason) => results.settle(key, Fact::unknown(reason)),
            Ok(placed) => match out.try_send((placed, key)) {
                Ok(()) => {}
                Err(TrySendError::Full((_, key))) => results.give_up(key),
                Err(TrySendError::Disconnected((_, key))) => {
                    results.settle(key, Fact::unknown("not symbolised: the worker has stopped"));
                }
            },
        }
    }
}

fn name_all(placed: &Receiver<(Placed, Key)>, results: &Results) {
    let mut symbols = Symbols::default();
    loop {
        match placed.recv_timeout(FORGET_AFTER) {
            Ok((placed, key)) => results.settle(key, name(&mut symbols, &placed)),
            Err(RecvTimeoutError::Timeout) => symbols.forget(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn name(symbols: &mut Symbols, placed: &Placed) -> Named {
    if placed.places.is_empty() {
        return Fact::unknown(match placed.not_code {
            // The first address is where the kernel was entered, always code.
            Some((addr, _)) => {
                format!(
                    "{addr:#x} is not in the code of its process, which has executed another program since"
                )
            }
            None => "kernel gave an empty stack".to_owned(),
        });
    }
    Fact::Known(Arc::new(symbols.stack(placed)))
}
