//! Whom the command runs as: tracing needs root, tests should not run as root.

use std::ffi::{CString, OsString};
use std::io;

use nix::unistd::{self, Gid, Uid};

use crate::error::Failure;

/// A user to become.
pub(super) struct User {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    /// As the password database knows it.
    entry: Option<unistd::User>,
}

impl User {
    /// By name or by number.
    pub(super) fn named(word: &str) -> Result<Self, Failure> {
        let unknown = || Failure::new(format!("--user {word}: there is no such user"));
        let found = match word.parse() {
            Ok(uid) => unistd::User::from_uid(Uid::from_raw(uid)),
            Err(_) => unistd::User::from_name(word),
        };
        let entry =
            found.map_err(|error| Failure::new(format!("--user {word}: {error}")))?.ok_or_else(unknown)?;
        Self::new(entry.uid, entry.gid, Some(entry))
    }

    /// The user who called sudo; `None` when there is none, or it is root.
    pub(super) fn behind_sudo() -> Result<Option<Self>, Failure> {
        let number = |name| std::env::var(name).ok()?.parse().ok();
        let (Some(uid), Some(gid)) = (number("SUDO_UID"), number("SUDO_GID")) else { return Ok(None) };
        if uid == 0 || !unistd::geteuid().is_root() {
            return Ok(None);
        }
        let uid = Uid::from_raw(uid);
        let entry = unistd::User::from_uid(uid).ok().flatten();
        Self::new(uid, Gid::from_raw(gid), entry).map(Some)
    }

    fn new(uid: Uid, gid: Gid, entry: Option<unistd::User>) -> Result<Self, Failure> {
        let name = entry.as_ref().and_then(|entry| CString::new(entry.name.as_str()).ok());
        let groups = match name {
            Some(name) => unistd::getgrouplist(&name, gid)
                .map_err(|error| Failure::new(format!("cannot read the groups of uid {uid}: {error}")))?,
            None => vec![gid],
        };
        Ok(Self { uid, gid, groups, entry })
    }

    /// Its number.
    pub(super) fn uid(&self) -> u32 {
        self.uid.as_raw()
    }

    /// What its environment says of who it is.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let Some(entry) = &self.entry else { return Vec::new() };
        let name = OsString::from(&entry.name);
        vec![
            ("HOME", entry.dir.clone().into()),
            ("USER", name.clone()),
            ("LOGNAME", name),
            ("SHELL", entry.shell.clone().into()),
        ]
    }

    /// Becomes this user; to be called in the child only.
    pub(super) fn switch(&self) -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
        let (uid, gid, groups) = (self.uid, self.gid, self.groups.clone());
        move || {
            unistd::setgroups(&groups)?;
            unistd::setresgid(gid, gid, gid)?;
            unistd::setresuid(uid, uid, uid)?;
            Ok(())
        }
    }

    /// Gives it a file that was made for it.
    pub(super) fn own(&self, file: &std::fs::File) -> io::Result<()> {
        std::os::unix::fs::fchown(file, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
    }
}
