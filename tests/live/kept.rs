//! The tool with the capabilities that it keeps, and no others in reach: `CLOSEWAIT_KEPT_ONLY=1`
//! runs any of these tests so.
//!
//! It is started as `setcap` users start it: by a user who is not root, from a file that has the
//! capabilities of a service, which are the whole bounding set too. That takes most away. To root
//! with a small bounding set its own files would stay open (tracefs, directories of recordings,
//! other processes of root), and its /proc too: a process that got capabilities from its file
//! is not dumpable, and what is below /proc/self belongs to root.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use closewait_trace::privileges::{NEEDS, of_a_service};
use rustix::fs::{XattrFlags, setxattr};
use rustix::thread::{CapabilitySet, capabilities};
use tempfile::TempDir;

use super::netns::output;
use super::tool::executable;
use super::waiting::show;

/// Who starts it then: nobody.
const USER: u32 = 65534;

/// Whether the tool is to have no more.
pub(crate) fn is_asked_for() -> bool {
    std::env::var_os("CLOSEWAIT_KEPT_ONLY").is_some()
}

/// A copy of the tool, and what starts it: itself, unless that takes capabilities away first.
pub(crate) struct Copy {
    pub(crate) program: PathBuf,
    pub(crate) start: PathBuf,
}

impl Copy {
    /// One inside `dir`, of which it keeps the name.
    pub(crate) fn new(dir: &Path) -> Self {
        let (program, made) = (dir.join("closewait-trace"), dir.join(std::process::id().to_string()));
        fs::copy(executable(), &made).expect("a copy");
        fs::set_permissions(&made, PermissionsExt::from_mode(0o755)).expect("our file");
        let mut start = program.clone();
        if is_asked_for() {
            give(&made, of_a_service()).expect("a file system that keeps capabilities of files");
            start = dir.join("start");
            let words = setpriv().join(" ");
            fs::write(&start, format!("#!/bin/sh\nexec {words} '{}' \"$@\"\n", program.display()))
                .expect("our directory");
            fs::set_permissions(&start, PermissionsExt::from_mode(0o755)).expect("our file");
        }
        // In one step: another process of these tests may be starting it.
        fs::rename(made, &program).expect("our directory");
        Self { program, start }
    }
}

/// What starts the tool with no more than it keeps.
pub(crate) fn start() -> &'static Path {
    static START: OnceLock<PathBuf> = OnceLock::new();
    START.get_or_init(|| {
        let dir = open_to_others();
        let start = Copy::new(&dir).start;
        let tried = Command::new(&start).arg("--version").output().expect("it starts");
        assert!(
            tried.status.success(),
            "user {USER} cannot start the tool in {}, on a file system that must not be nosuid: {}",
            dir.display(),
            String::from_utf8_lossy(&tried.stderr)
        );
        start
    })
}

/// Where that user may start something: below target/, or where every directory is open to
/// others. (What is there is left there: these tests do not know which is the last.)
fn open_to_others() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kept");
    fs::create_dir_all(&dir).expect("a directory for tests");
    if is_open(&dir) {
        return dir;
    }
    let elsewhere = tempfile::tempdir().expect("a directory").keep();
    fs::set_permissions(&elsewhere, PermissionsExt::from_mode(0o755)).expect("our directory");
    elsewhere
}

/// Whether others may enter a directory.
pub(crate) fn is_open(dir: &Path) -> bool {
    let is = |dir: &Path| fs::metadata(dir).is_ok_and(|it| it.permissions().mode() & 0o001 != 0);
    dir.ancestors().all(is)
}

/// The words that come before a command of that user, who can reach no other capability.
pub(crate) fn setpriv() -> Vec<String> {
    let given = NEEDS.iter().filter(|need| of_a_service().contains(need.capability));
    let names = given.map(|need| format!("+{}", need.name.trim_start_matches("CAP_").to_lowercase()));
    let bounding = ["-all".to_owned()].into_iter().chain(names).collect::<Vec<_>>().join(",");
    let mut words: Vec<_> = ["setpriv", "--clear-groups", "--inh-caps=-all"].map(str::to_owned).into();
    words.extend([
        format!("--reuid={USER}"),
        format!("--regid={USER}"),
        format!("--bounding-set={bounding}"),
    ]);
    words
}

/// `program`, by whoever starts the tool.
pub(crate) fn by_its_user(program: impl AsRef<OsStr>) -> Command {
    if !is_asked_for() {
        return Command::new(program);
    }
    let words = setpriv();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(program);
    command
}

/// What the tool has when it starts.
pub(crate) fn in_reach() -> CapabilitySet {
    if is_asked_for() { of_a_service() } else { capabilities(None).expect("our own").permitted }
}

/// Whoever executes `file` has these capabilities, as by `setcap`.
pub(crate) fn give(file: &Path, to_have: CapabilitySet) -> rustix::io::Result<()> {
    // struct vfs_cap_data of include/uapi/linux/capability.h, revision 2, effective.
    let to_have = to_have.bits();
    let words = [0x0200_0001, to_have & 0xffff_ffff, 0, to_have >> 32, 0];
    let bytes: Vec<u8> =
        words.iter().flat_map(|&word| u32::try_from(word).expect("32 bits").to_le_bytes()).collect();
    setxattr(file, "security.capability", &bytes, XattrFlags::empty())
}

/// A directory that the tool may write to.
pub(crate) fn dir() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    hand_over(dir.path());
    dir
}

/// Gives what is ours to whoever starts the tool.
pub(crate) fn hand_over(path: &Path) {
    if is_asked_for() {
        chown(path, Some(USER), Some(USER)).expect("it is ours");
    }
}

/// A test of what takes more than the kept capabilities, `why`: with these alone it has to fail,
/// and to say `how`. `grep -r takes_more` is the list of all that does not work then.
pub(crate) fn takes_more(why: &str, how: &str, test: impl FnOnce()) {
    if !is_asked_for() {
        return test();
    }
    let Err(failed) = catch_unwind(AssertUnwindSafe(test)) else {
        panic!("it passes with the kept capabilities: it is none of those that take more ({why})")
    };
    let said = failed.downcast_ref::<String>().map_or("", String::as_str);
    assert!(said.contains(how), "it failed, but not for want of a capability ({why}): {said}");
    show(&format!("not with the kept capabilities: {why}"));
}

#[test]
fn that_user_has_nothing_of_his_own() {
    let mut command = by_its_user("grep");
    let status = output(command.args(["-E", "^(Cap(Eff|Bnd)|Uid)", "/proc/self/status"]));
    let bounding = format!("CapBnd:\t{:016x}", of_a_service().bits());
    assert_eq!(status.contains(&bounding), is_asked_for(), "{status}");
    assert_eq!(status.contains("CapEff:\t0000000000000000"), is_asked_for(), "{status}");
}
