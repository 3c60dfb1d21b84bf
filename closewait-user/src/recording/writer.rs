//! Writing a recording without slowing the trace: entries are encoded where they arise,
//! compressed and written by a thread. When the disk cannot keep up, entries are dropped
//! and counted, in the recording and to the caller; memory stays bounded.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::entry::{Entry, Header, Line, Pair};
use super::frame::{Frame, Kind, MAGIC, MAX_PLAIN};
use super::redact::Redactor;
use crate::clock::{Clock, MonoNs};
use crate::files;
use crate::item::{Item, Snapshot};
use crate::privileges::{Work, settle_thread};

/// A frame is handed over when it holds this much,
const FRAME: usize = 256 << 10;
/// or when its first entry is this old: no more is lost when the machine dies.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// So many bytes may wait for the disk, in frames. Not so many frames: a few entries make one
/// where items and lines alternate, and a thread that waits for a CPU lets many pile up.
const WAITING_MAX: usize = 16 << 20;
/// What a frame takes beside its bytes, at most.
const FRAME_OVERHEAD: usize = 128;
/// A snapshot is recorded in parts of so many sockets, so that one fits a frame.
const SNAPSHOT_PART: usize = 4096;

/// Where entries are put.
pub struct Recorder {
    kind: Kind,
    at: MonoNs,
    buffer: Vec<u8>,
    entries: u64,
    queue: Sender<(Frame, u64)>,
    /// Bytes in the queue.
    waiting: Arc<AtomicUsize>,
    dropped: u64,
    /// Of `dropped`: said so in the recording.
    said: u64,
    redactor: Option<Redactor>,
    thread: JoinHandle<io::Result<Written>>,
}

/// What has been written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Entries.
    pub entries: u64,
    /// Bytes, all files together.
    pub bytes: u64,
    /// Entries that the disk was too slow for.
    pub dropped: u64,
}

/// How to record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
    /// Bytes that the file and its predecessor (`FILE.1`) may take together; no limit
    /// when `None`.
    pub max: Option<u64>,
    /// Take out addresses and command lines.
    pub redact: bool,
}

impl Recorder {
    /// Opens the file and starts the thread: see [`Opened::open`] and [`Recorder::start`].
    pub fn create(settings: &Settings, header: Header) -> io::Result<Self> {
        Self::start(Opened::open(&settings.path)?, settings, header)
    }

    /// Starts the thread, on the file of `settings` that was opened. What it was is gone.
    pub fn start(opened: Opened, settings: &Settings, header: Header) -> io::Result<Self> {
        let output = Output::create(opened, settings, header)?;
        let (queue, frames) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let done = Arc::clone(&waiting);
        let rotates = settings.max.is_some();
        let run = move || {
            settle_thread(Work::Record { rotates });
            output.run(&frames, &done)
        };
        let thread = std::thread::Builder::new().name("record".into()).spawn(run)?;
        Ok(Self {
            kind: Kind::Items,
            at: MonoNs(0),
            buffer: Vec::new(),
            entries: 0,
            queue,
            waiting,
            dropped: 0,
            said: 0,
            redactor: settings.redact.then(Redactor::default),
            thread,
        })
    }

    /// Records an item, except a call path: stacks are recorded with their names.
    pub fn item(&mut self, item: &Item, now: MonoNs) {
        match item {
            Item::Path(_) => {}
            Item::Snapshot(snapshot) if snapshot.sockets.len() > SNAPSHOT_PART => {
                for part in snapshot.sockets.chunks(SNAPSHOT_PART) {
                    let part = Snapshot { sockets: part.to_vec(), ..empty(snapshot) };
                    self.put_item(&Item::Snapshot(part), now);
                }
            }
            item => self.put_item(item, now),
        }
    }

    fn put_item(&mut self, item: &Item, now: MonoNs) {
        let redacted = self.redactor.as_mut().map(|redactor| redactor.item(item.clone()));
        self.begin(Kind::Items, now);
        let buffer = std::mem::take(&mut self.buffer);
        match postcard::to_extend(redacted.as_ref().unwrap_or(item), buffer) {
            Ok(buffer) => {
                self.buffer = buffer;
                self.entries += 1;
            }
            // Nothing in an item has a form that postcard lacks.
            Err(_) => self.dropped += 1 + std::mem::take(&mut self.entries),
        }
        self.hand_over_if_full();
    }

    /// Records what happened.
    pub fn entry(&mut self, entry: Entry, now: MonoNs, clock: &Clock) {
        let line = Line { now, clock: Pair::of(clock), entry };
        let written = match &mut self.redactor {
            Some(redactor) => serde_json::to_value(&line).map(|value| redactor.json(value).to_string()),
            None => serde_json::to_string(&line),
        };
        match written {
            Ok(text) if text.len() < MAX_PLAIN - FRAME => {
                self.begin(Kind::Lines, now);
                self.buffer.extend_from_slice(text.as_bytes());
                self.buffer.push(b'\n');
                self.entries += 1;
            }
            _ => self.dropped += 1,
        }
        self.hand_over_if_full();
    }

    /// Hands over what has waited long enough.
    pub fn tick(&mut self, now: MonoNs) {
        if !self.buffer.is_empty() && now.since(self.at) >= FLUSH_EVERY {
            self.hand_over();
        }
    }

    /// Why the recording has stopped, once it has: the disk is full, say.
    pub fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Writes what is left and waits for the disk.
    pub fn finish(mut self) -> io::Result<Written> {
        self.hand_over();
        let Self { queue, thread, dropped, .. } = self;
        drop(queue);
        let written =
            thread.join().map_err(|_| io::Error::other("the thread that writes it has panicked"))??;
        Ok(Written { dropped, ..written })
    }

    /// Begins a frame of `kind`, unless one is open.
    fn begin(&mut self, kind: Kind, now: MonoNs) {
        if self.kind != kind {
            self.hand_over();
        }
        if self.buffer.is_empty() {
            (self.kind, self.at) = (kind, now);
        }
    }

    fn hand_over_if_full(&mut self) {
        if self.buffer.len() >= FRAME {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let frame = Frame { kind: self.kind, at: self.at, plain: std::mem::take(&mut self.buffer) };
        let entries = std::mem::take(&mut self.entries);
        let bytes = frame.plain.len() + FRAME_OVERHEAD;
        // Only this thread adds.
        let fits = self.waiting.load(Ordering::Relaxed) + bytes <= WAITING_MAX;
        self.waiting.fetch_add(if fits { bytes } else { 0 }, Ordering::Relaxed);
        if !fits || self.queue.send((frame, entries)).is_err() {
            self.dropped += entries;
        }
    }

    /// How many entries were dropped and not said to be.
    pub fn newly_dropped(&mut self) -> u64 {
        let new = self.dropped - self.said;
        self.said = self.dropped;
        new
    }
}

fn empty(snapshot: &Snapshot) -> Snapshot {
    let Snapshot { began, ended, netns, complete, proves_absence, .. } = *snapshot;
    Snapshot { began, ended, netns, complete, proves_absence, sockets: Vec::new() }
}

/// The file, in the thread that writes it.
struct Output {
    path: PathBuf,
    max: Option<u64>,
    header: Header,
    file: File,
    in_file: u64,
    written: Written,
}

impl Output {
    fn create(opened: Opened, settings: &Settings, header: Header) -> io::Result<Self> {
        let file = opened.emptied()?;
        let (path, max) = (settings.path.clone(), settings.max);
        let mut output = Self { path, max, header, file, in_file: 0, written: Written::default() };
        output.write_header()?;
        Ok(output)
    }

    fn run(mut self, frames: &Receiver<(Frame, u64)>, waiting: &AtomicUsize) -> io::Result<Written> {
        while let Ok((frame, entries)) = frames.recv() {
            let packed = frame.pack();
            waiting.fetch_sub(frame.plain.len() + FRAME_OVERHEAD, Ordering::Relaxed);
            // Two files share what may be taken.
            if self.max.is_some_and(|max| self.in_file + packed.len() as u64 > max / 2) {
                self.rotate()?;
            }
            self.write(&packed)?;
            self.written.entries += entries;
        }
        self.file.sync_data()?;
        Ok(self.written)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let before = predecessor(&self.path);
        // Again: it may have come since this recording began.
        has_recording(&before)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", before.display())))?;
        std::fs::rename(&self.path, &before)?;
        self.file = Opened::open(&self.path)?.emptied()?;
        self.in_file = 0;
        self.header.part += 1;
        self.write_header()
    }

    fn write_header(&mut self) -> io::Result<()> {
        let clock = Clock::read();
        let now = Clock::mono_now();
        let line = Line { now, clock: Pair::of(&clock), entry: Entry::Header(self.header.clone()) };
        let mut plain = serde_json::to_vec(&line)?;
        plain.push(b'\n');
        self.write(MAGIC)?;
        self.write(&Frame { kind: Kind::Lines, at: now, plain }.pack())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.in_file += bytes.len() as u64;
        self.written.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// The file that a recording becomes when it is full: `FILE.1`.
pub fn predecessor(path: &Path) -> PathBuf {
    let mut before = path.as_os_str().to_owned();
    before.push(".1");
    before.into()
}

/// Whether there is a recording at `path`, which something may take the place of. An error:
/// something else is there, or another one records to it.
pub fn has_recording(path: &Path) -> io::Result<bool> {
    match files::replaceable(path)? {
        // It is open for reading only, for which NFS has no exclusive lock (flock(2): EBADF). A
        // shared one is refused just as well while somebody records.
        Some(mut file) => Ok(!begins(&mut file, File::try_lock_shared)?.is_empty()),
        None => Ok(false),
    }
}

/// Locks the file and reads how it begins; an error unless that is a recording's, or nothing.
fn begins(file: &mut File, lock: fn(&File) -> Result<(), TryLockError>) -> io::Result<Vec<u8>> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    match lock(file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::other(
                "another closewait-trace records to it: give each a file of its own",
            ));
        }
        // A file system without locks: whoever records there has to see to it.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut start = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut start)?;
    // A recording may have been cut short at any byte.
    if !MAGIC.starts_with(&start) {
        let what = "it is there, and is no recording: give another name, or remove it";
        return Err(io::Error::other(what));
    }
    Ok(start)
}

/// A file that is to become a recording, and is nobody else's as long as it is open. What was
/// in it is there still; one that was not there is gone again unless it becomes a recording.
#[derive(Debug)]
pub struct Opened {
    // Before the file, which holds the lock: nobody else has it when it is removed.
    made: Made,
    file: File,
    /// It holds a recording, which will be lost.
    pub replaces: bool,
}

/// Where a file was made that is empty still.
#[derive(Debug)]
struct Made(Option<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // It would say that something was recorded. If it cannot be removed, it is empty.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Opened {
    /// Opens the file, or creates it, and locks it. An error: it is no regular file or a
    /// symbolic link, another one records to it, or it holds something else than a recording.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::locked(files::create_over(path, 0o600)?, path)
    }

    fn locked(created: files::Created, path: &Path) -> io::Result<Self> {
        let files::Created { mut file, is_new } = created;
        let replaces = !begins(&mut file, File::try_lock)?.is_empty();
        // Before it was locked, another run may have recorded to it, removed it or renamed it.
        let (held, named) = (file.metadata()?, std::fs::metadata(path)?);
        if (held.dev(), held.ino()) != (named.dev(), named.ino()) {
            return Err(io::Error::other("it was replaced while it was opened: try again"));
        }
        let made = Made((is_new && !replaces).then(|| path.to_path_buf()));
        Ok(Self { made, file, replaces })
    }

    fn emptied(self) -> io::Result<File> {
        let Self { mut file, mut made, .. } = self;
        made.0 = None;
        file.set_len(0)?;
        file.rewind()?;
        // Whatever the mode was that an older file had.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Gap;

    fn header() -> Header {
        Header {
            tool: "test".into(),
            kernel: "test".into(),
            began: MonoNs(0),
            threshold: Duration::ZERO,
            degraded: Vec::new(),
            redacted: false,
            part: 0,
        }
    }

    #[test]
    fn one_recorder_has_a_file_and_only_a_recording_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { path: dir.path().join("recording"), max: None, redact: false };
        let recorder = Recorder::create(&settings, header()).unwrap();
        let second = Opened::open(&settings.path).unwrap_err();
        assert!(second.to_string().contains("another closewait-trace records to it"), "{second}");
        recorder.finish().unwrap();
        let first = std::fs::read(&settings.path).unwrap();
        assert!(first.starts_with(MAGIC));

        let again = Opened::open(&settings.path).unwrap();
        assert!(again.replaces);
        assert_eq!(std::fs::read(&settings.path).unwrap(), first, "opened, but not begun");
        Recorder::start(again, &settings, header()).unwrap().finish().unwrap();
        assert!(std::fs::read(&settings.path).unwrap().starts_with(MAGIC));

        for (content, ours) in [("", true), ("closewait-trace rec", true), ("root:x:0:0", false), ("c", true)]
        {
            std::fs::write(&settings.path, content).unwrap();
            let opened = Opened::open(&settings.path);
            assert_eq!(opened.is_ok(), ours, "{content:?}: {opened:?}");
            assert_eq!(std::fs::read_to_string(&settings.path).unwrap(), content, "it is as it was");
        }
    }

    #[test]
    fn what_is_made_and_not_begun_is_gone_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recording");
        let opened = Opened::open(&path).unwrap();
        assert!(path.exists(), "it is nobody else's");
        drop(opened);
        assert!(!path.exists());
        for content in ["", "closewait-trace rec"] {
            std::fs::write(&path, content).unwrap();
            drop(Opened::open(&path).unwrap());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content, "it was there");
        }
    }

    #[test]
    fn what_another_run_was_faster_to_record_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { path: dir.path().join("recording"), max: None, redact: false };
        let made = || files::create_over(&settings.path, 0o600).unwrap();
        let slow = made();
        assert!(slow.is_new);
        let fast = Recorder::create(&settings, header()).unwrap();
        let error = Opened::locked(slow, &settings.path).unwrap_err().to_string();
        assert!(error.contains("another closewait-trace records to it"), "{error}");
        fast.finish().unwrap();
        assert!(std::fs::read(&settings.path).unwrap().starts_with(MAGIC));

        // It has even ended.
        std::fs::remove_file(&settings.path).unwrap();
        let slow = made();
        Recorder::create(&settings, header()).unwrap().finish().unwrap();
        let opened = Opened::locked(slow, &settings.path).unwrap();
        assert!(opened.replaces);
        drop(opened);
        assert!(std::fs::read(&settings.path).unwrap().starts_with(MAGIC));

        // It has become the predecessor of another.
        let renamed = made();
        std::fs::rename(&settings.path, predecessor(&settings.path)).unwrap();
        std::fs::write(&settings.path, "").unwrap();
        let error = Opened::locked(renamed, &settings.path).unwrap_err().to_string();
        assert!(error.contains("replaced while it was opened"), "{error}");
    }

    #[test]
    fn whether_there_is_a_recording_is_asked_with_a_lock_for_readers() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { path: dir.path().join("recording"), max: None, redact: false };
        let recorder = Recorder::create(&settings, header()).unwrap();
        let error = has_recording(&settings.path).unwrap_err().to_string();
        assert!(error.contains("another closewait-trace records to it"), "{error}");
        recorder.finish().unwrap();
        let reader = File::open(&settings.path).unwrap();
        reader.lock_shared().unwrap();
        assert!(has_recording(&settings.path).unwrap());
    }

    #[test]
    fn a_full_recording_takes_the_place_of_a_recording_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recording");
        let before = predecessor(&path);
        assert_eq!(before, dir.path().join("recording.1"));
        let settings = Settings { path: path.clone(), max: Some(64), redact: false };
        let record = || {
            let mut recorder = Recorder::create(&settings, header()).unwrap();
            recorder.entry(Entry::Dropped(0), MonoNs(1), &Clock::read());
            recorder.finish()
        };
        // It comes while it is recorded.
        std::fs::write(&before, "precious").unwrap();
        assert!(has_recording(&before).unwrap_err().to_string().contains("is no recording"));
        let error = record().unwrap_err().to_string();
        assert!(error.contains("recording.1") && error.contains("is no recording"), "{error}");
        assert_eq!(std::fs::read_to_string(&before).unwrap(), "precious");

        std::fs::remove_file(&before).unwrap();
        assert!(!has_recording(&before).unwrap());
        for _ in 0..2 {
            record().unwrap();
            assert!(has_recording(&before).unwrap());
        }
        std::fs::remove_file(&before).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &before).unwrap();
        assert!(has_recording(&before).unwrap_err().to_string().contains("symbolic link"));
    }

    #[test]
    fn many_small_frames_wait_for_a_thread_that_waits_for_its_cpu() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { path: dir.path().join("recording"), max: None, redact: false };
        let mut recorder = Recorder::create(&settings, header()).unwrap();
        let clock = Clock::read();
        // An item and a line in turn: each is a frame of its own.
        for _ in 0..20_000 {
            recorder.item(&Item::Gap(Gap::default()), MonoNs(1));
            recorder.entry(Entry::Dropped(0), MonoNs(1), &clock);
        }
        let Written { entries, dropped, .. } = recorder.finish().unwrap();
        assert_eq!((entries, dropped), (40_000, 0));
    }
}
