//! Stacks of JVMs, named again once the JVM has named its compiled methods (`--jit-maps`).
//!
//! A JVM is asked when a socket of it is found stuck, not before, so the stacks taken until
//! then are kept as they came. Asking takes time: it has a thread of its own.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};

use super::Stack;
use super::attach::write_perf_map;
use super::lru::Lru;
use super::places::{Placed, Processes};
use super::worker::{FORGET_AFTER, Key, Named, Results};
use crate::clock::{Clock, MonoNs};
use crate::fact::Fact;
use crate::item::Path;
use crate::privileges::{Work, settle_thread};

/// Stacks kept: 256 copies are 4 MB.
const MAX_KEPT: usize = 256;

/// JVMs whose answer is remembered.
const MAX_JVMS: usize = 64;

/// A JVM is asked again after this long: it has compiled more since.
const ASK_AGAIN: Duration = Duration::from_mins(1);

/// Stacks of JVMs as they came, by what they are known under.
#[derive(Clone, Debug)]
pub(super) struct Kept(Arc<Mutex<Lru<Key, Path>>>);

impl Kept {
    /// Keeps a stack.
    pub(super) fn keep(&self, key: Key, path: Path) {
        self.with(|kept| {
            kept.insert(key, path);
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Lru<Key, Path>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Asks JVMs, in a thread that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Renaming {
    kept: Kept,
    queue: SyncSender<Job>,
}

#[derive(Debug)]
struct Job {
    path: Path,
    key: Key,
    /// As it was named without the JVM.
    before: Named,
}

impl Renaming {
    /// Starts the thread; stacks placed anew go to `placed`.
    pub(super) fn spawn(placed: SyncSender<(Placed, Key)>, results: Arc<Results>) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(MAX_KEPT);
        let rename = move || {
            settle_thread(Work::Jvms);
            rename_all(&jobs, &placed, &results);
        };
        thread::Builder::new().name("jit-maps".into()).spawn(rename)?;
        Ok(Self { kept: Kept(Arc::new(Mutex::new(Lru::new(MAX_KEPT)))), queue })
    }

    /// Where to keep the stacks.
    pub(super) fn kept(&self) -> Kept {
        self.kept.clone()
    }

    /// Has a stack named again, if it was kept; once.
    pub(super) fn name_again(&self, key: Key, results: &Results) {
        // Before it was named for the first time there is nothing to name again.
        let Some(before) = results.known(key) else { return };
        let Some(path) = self.kept.with(|kept| kept.remove(&key)) else { return };
        results.begin(key);
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) =
            self.queue.try_send(Job { path, key, before })
        {
            results.settle(key, with_note(job.before, "too many stacks of JVMs wait already"));
        }
    }
}

fn rename_all(jobs: &Receiver<Job>, placed: &SyncSender<(Placed, Key)>, results: &Results) {
    let mut processes = Processes::default();
    let mut answers: Lru<u32, (MonoNs, Result<(), String>)> = Lru::new(MAX_JVMS);
    loop {
        let Job { path, key, before } = match jobs.recv_timeout(FORGET_AFTER) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                processes.forget();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let pid = path.task.pid;
        let known = answers.get(&pid).filter(|(at, _)| Clock::mono_now().since(*at) < ASK_AGAIN);
        let known = known.map(|(_, answer)| answer.clone());
        let answer = known.unwrap_or_else(|| {
            let answer = write_perf_map(pid);
            answers.insert(pid, (Clock::mono_now(), answer.clone()));
            answer
        });
        let again = answer.and_then(|()| processes.locate(&path));
        let failed = match again.map(|again| placed.try_send((again, key))) {
            Ok(Ok(())) => continue,
            Ok(Err(_)) => "too many stacks wait already".to_owned(),
            Err(why) => why,
        };
        results.settle(key, with_note(before, &failed));
    }
}

/// The stack as it was, and why it is no better.
fn with_note(before: Named, why: &str) -> Named {
    let Fact::Known(stack) = before else { return before };
    let mut notes: Vec<_> = stack.note.clone().into_iter().collect();
    notes.push(format!("the JVM gave no map of its methods: {why}"));
    Fact::Known(Arc::new(Stack { frames: stack.frames.clone(), note: Some(notes.join("; ")) }))
}
