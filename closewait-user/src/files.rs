//! Files that are named on the command line: those whose words are obeyed, and those that are
//! written. The tool is root as a rule, and who may write to the directory can put something
//! in the way: a file of theirs is not obeyed, and a link of theirs is not followed.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::Failure;
use crate::privileges::as_caller;

/// The file that a command names, as execvp(3) looks for it: itself where it has a slash, whether it
/// is there or not, else the first of that name in `PATH`.
pub fn of_command(name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(name.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Whose files are trusted: users, each with a group.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Trusted(Vec<(u32, u32)>);

impl Trusted {
    /// Root, and who called: this user, and who called sudo.
    fn now() -> Self {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mut all = vec![(0, 0), (uid, gid)];
        let number = |name| std::env::var(name).ok()?.parse().ok();
        if let (0, Some(uid), Some(gid)) = (uid, number("SUDO_UID"), number("SUDO_GID")) {
            all.push((uid, gid));
        }
        Self(all)
    }

    fn has_user(&self, uid: u32) -> bool {
        self.0.iter().any(|trusted| trusted.0 == uid)
    }

    /// Why a file with this owner, group and mode is not to be obeyed, and what to do.
    fn refuses(&self, uid: u32, gid: u32, mode: u32) -> Option<(String, &'static str)> {
        if mode & 0o002 != 0 {
            return Some(("everybody may write to it".into(), "chmod o-w the file: what it says is obeyed"));
        }
        if mode & 0o020 != 0 && !self.0.iter().any(|trusted| trusted.1 == gid) {
            let what = format!("group {gid}, which is not yours, may write to it");
            return Some((what, "chmod g-w the file: what it says is obeyed"));
        }
        if !self.has_user(uid) {
            let what = format!("it belongs to user {uid}, who is neither root nor the caller");
            return Some((what, "chown the file, or give a copy of your own: what it says is obeyed"));
        }
        None
    }
}

/// What the file says that `option` names, if it can be trusted; `None` when there is none.
/// `max` bytes are larger than any that people write.
pub fn obeyed(option: &str, path: &Path, max: u64) -> Result<Option<String>, Failure> {
    let cannot = |what: String| Failure::new(format!("{option} {}: {what}", path.display()));
    // Nobody may keep it waiting, but who passes a descriptor on.
    let wait = if is_descriptor(path) { 0 } else { libc::O_NONBLOCK };
    let file = match as_caller(|| OpenOptions::new().read(true).custom_flags(wait).open(path)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(error.to_string())),
    };
    let metadata = file.metadata().map_err(|error| cannot(error.to_string()))?;
    if let Some((what, hint)) = Trusted::now().refuses(metadata.uid(), metadata.gid(), metadata.mode()) {
        return Err(cannot(what).hint(hint));
    }
    if wait != 0 && !metadata.is_file() {
        return Err(cannot("it is not a file".into()));
    }
    let mut text = String::new();
    let read = file.take(max + 1).read_to_string(&mut text);
    if read.map_err(|error| cannot(error.to_string()))? as u64 > max {
        return Err(cannot(format!("it is larger than {} KiB", max >> 10)));
    }
    Ok(Some(text))
}

/// A file to be written from its beginning.
#[derive(Debug)]
pub struct Created {
    /// It.
    pub file: File,
    /// It was not there before.
    pub is_new: bool,
}

/// Opens a file to write it anew; a new one has `mode`, less the umask. What was there must
/// belong to root, to the caller or to user `also`; a symbolic link is not followed, but for
/// descriptors of this process (/dev/stdout, /dev/fd/3).
pub fn create(path: &Path, mode: u32, also: Option<u32>) -> io::Result<Created> {
    let created = as_caller(|| open(path, OpenOptions::new().write(true), mode, also))?;
    if !created.is_new && !is_descriptor(path) && created.file.metadata()?.is_file() {
        created.file.set_len(0)?;
    }
    Ok(created)
}

/// The same, but what was there stays until the caller has read what it is.
pub fn create_over(path: &Path, mode: u32) -> io::Result<Created> {
    as_caller(|| open(path, OpenOptions::new().read(true).write(true), mode, None))
}

/// The file whose name another one is to take, if there is one: to be read, and not ours to take
/// unless it belongs to root or to the caller. Another name that it has stays, and is no reason.
pub fn replaceable(path: &Path) -> io::Result<Option<File>> {
    // Nobody may keep it waiting at the other end of a pipe.
    let mut how = OpenOptions::new();
    how.read(true).custom_flags(libc::O_NONBLOCK);
    match as_caller(|| Existing::at(path, None)?.open(&how)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is at a path, and is ours: found, but not opened. To open a named pipe is to wait for its
/// other end, and to open a device may do something: not before it is known whose it is.
struct Existing {
    /// Leads to it, whatever becomes of its name.
    found: File,
    metadata: Metadata,
}

impl Existing {
    fn at(path: &Path, also: Option<u32>) -> io::Result<Self> {
        let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let found = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let metadata = found.metadata()?;
        if metadata.is_symlink() {
            return Err(io::Error::other("it is a symbolic link, which is not followed"));
        }
        match not_ours(&metadata, &Trusted::now(), also) {
            Some(why) => Err(io::Error::other(why)),
            None => Ok(Self { found, metadata }),
        }
    }

    fn open(&self, how: &OpenOptions) -> io::Result<File> {
        how.open(format!("/proc/self/fd/{}", self.found.as_raw_fd()))
    }
}

fn open(path: &Path, how: &OpenOptions, mode: u32, also: Option<u32>) -> io::Result<Created> {
    if is_descriptor(path) {
        return Ok(Created { file: how.open(path)?, is_new: false });
    }
    match how.clone().create_new(true).mode(mode).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path)
    {
        Ok(file) => return Ok(Created { file, is_new: true }),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let there = Existing::at(path, also)?;
    if there.metadata.is_file() && there.metadata.nlink() > 1 {
        let why = "it is there, and has another name too (a hard link): remove it, or give another name";
        return Err(io::Error::other(why));
    }
    Ok(Created { file: there.open(how)?, is_new: false })
}

/// Why a file that was there is not ours to do away with.
fn not_ours(metadata: &Metadata, trusted: &Trusted, also: Option<u32>) -> Option<String> {
    let uid = metadata.uid();
    (!trusted.has_user(uid) && also != Some(uid))
        .then(|| format!("it is there, and belongs to user {uid}: remove it, or give another name"))
}

/// A name for one of this process' own descriptors.
fn is_descriptor(path: &Path) -> bool {
    ["/dev/stdout", "/dev/stderr"].iter().any(|name| path == Path::new(name))
        || path.starts_with("/dev/fd")
        || path.starts_with("/proc/self/fd")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_what_root_and_the_caller_wrote_is_obeyed() {
        let trusted = Trusted(vec![(0, 0), (1000, 1000)]);
        for (uid, gid, mode, want) in [
            (0, 0, 0o644, None),
            (1000, 1000, 0o600, None),
            (1000, 1000, 0o664, None),
            (1000, 50, 0o644, None),
            (1000, 1000, 0o646, Some("everybody may write")),
            (0, 0, 0o602, Some("everybody may write")),
            (1000, 50, 0o664, Some("group 50")),
            (1001, 1000, 0o644, Some("user 1001")),
            (65534, 65534, 0o444, Some("user 65534")),
        ] {
            let refused = trusted.refuses(uid, gid, mode).map(|(what, _)| what);
            match (refused, want) {
                (None, None) => {}
                (Some(what), Some(words)) if what.contains(words) => {}
                (refused, _) => panic!("{uid} {gid} {mode:o}: {refused:?}"),
            }
        }
    }

    #[test]
    fn what_is_in_the_way_is_not_followed_and_what_is_ours_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let made = create(&at("new"), 0o600, None).unwrap();
        assert!(made.is_new);
        assert_eq!(made.file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(at("new"), "old words").unwrap();
        let again = create(&at("new"), 0o600, None).unwrap();
        assert!(!again.is_new && again.file.metadata().unwrap().len() == 0);

        std::fs::write(at("victim"), "precious").unwrap();
        symlink(at("victim"), at("link")).unwrap();
        std::fs::hard_link(at("victim"), at("hard")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        for (name, words) in [
            ("link", "symbolic link"),
            ("dangling", "symbolic link"),
            ("hard", "hard link"),
            ("no/dir", "No such"),
        ] {
            let error = create(&at(name), 0o600, None).unwrap_err().to_string();
            assert!(error.contains(words), "{name}: {error}");
        }
        assert_eq!(std::fs::read_to_string(at("victim")).unwrap(), "precious");
        assert!(!at("nowhere").exists());
        create(Path::new("/dev/null"), 0o600, None).unwrap();
        create(Path::new("/proc/self/fd/2"), 0o600, None).unwrap();
    }

    #[test]
    fn a_file_of_somebody_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("theirs");
        std::fs::write(&path, "old words").unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        let nobody = Trusted(vec![(metadata.uid() + 1, 0)]);
        assert!(not_ours(&metadata, &nobody, None).unwrap().contains("belongs to user"));
        assert_eq!(not_ours(&metadata, &nobody, Some(metadata.uid())), None);
    }

    /// Nobody reads from it: to open it would last for ever.
    #[test]
    fn a_pipe_of_somebody_else_keeps_nobody_waiting() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        let (told, done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let all = [create(&path, 0o600, None), create_over(&path, 0o600)];
            told.send(all.map(|made| made.unwrap_err().to_string())).unwrap();
        });
        let errors = done.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits for a reader");
        assert!(errors.iter().all(|error| error.contains("belongs to user 65534")), "{errors:?}");
    }

    #[test]
    fn words_come_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("words");
        assert_eq!(obeyed("--x", &path, 8).unwrap(), None);
        std::fs::write(&path, "12345678").unwrap();
        assert_eq!(obeyed("--x", &path, 8).unwrap().as_deref(), Some("12345678"));
        std::fs::write(&path, "123456789").unwrap();
        assert!(obeyed("--x", &path, 8).unwrap_err().what.contains("larger"));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        let refused = obeyed("--x", &path, 99).unwrap_err();
        assert!(refused.what.contains("everybody") && refused.hint.is_some());
    }
}
