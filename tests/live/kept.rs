//! The tool with the capabilities that it keeps, and no others in reach: `CLOSEWAIT_KEPT_ONLY=1`
//! runs any of these tests so.
//!
//! It is started as `setcap` users start it: by a user who is not root, from a file that has the
//! capabilities of a service, which are the whole bounding set too. That takes most away. To root
//! with a small bounding set its own files would stay open (tracefs, directories of recordings,
//! other processes of root), and its /proc too: a process that got capabilities from its file
//! is not dumpable, and what is below /proc/self belongs to root.

use std::ffi::OsStr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::{fs, io};

use closewait_trace::privileges::{NEEDS, of_a_service};
use rustix::fs::{XattrFlags, setxattr};
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities};
use tempfile::TempDir;

use super::netns::output;
use super::tool::{binary, executable};
use super::waiting::{show, until};

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
    /// One inside `dir`, which nobody else writes to. It keeps its name.
    pub(crate) fn new(dir: &Path) -> Self {
        let program = dir.join("closewait-trace");
        fs::copy(executable(), &program).expect("a copy");
        only_for_its_user(&program);
        let mut start = program.clone();
        if is_asked_for() {
            // The last step: a change of the owner takes capabilities away.
            give(&program, of_a_service()).expect("a file system that keeps capabilities of files");
            start = dir.join("start");
            let words = setpriv().join(" ");
            fs::write(&start, format!("#!/bin/sh\nexec {words} '{}' \"$@\"\n", program.display()))
                .expect("our directory");
            only_for_its_user(&start);
        }
        let tried = not_busy(|| Command::new(&start).arg("--version").env("LC_ALL", "C").output());
        assert!(
            tried.status.success(),
            "the tool cannot be started in {} (by user {USER} with CLOSEWAIT_KEPT_ONLY, who needs a file \
             system that is not nosuid): {}",
            dir.display(),
            String::from_utf8_lossy(&tried.stderr)
        );
        Self { program, start }
    }
}

/// What came of a program that we have written. Until then another thread may have forked: its
/// child has the file open for writing until it executes something else (ETXTBSY). Once it has
/// been started nobody has.
fn not_busy(mut run: impl FnMut() -> io::Result<Output>) -> Output {
    until("nobody has the program open for writing", || match run() {
        Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => None,
        // Whatever was to execute it says so.
        Ok(ended) if String::from_utf8_lossy(&ended.stderr).contains("Text file busy") => None,
        ended => Some(ended.expect("it can be executed")),
    })
}

/// What starts the tool with no more than it keeps.
pub(crate) fn start() -> &'static Path {
    static START: OnceLock<PathBuf> = OnceLock::new();
    START.get_or_init(|| {
        let place = place();
        // SAFETY: the function does not unwind, and is there until the process ends.
        let is_kept = unsafe { libc::atexit(at_the_end) } == 0;
        assert!(is_kept, "nothing would remove the copy in {}", place.display());
        Copy::new(&own_part(&place)).start
    })
}

/// Where that user may start something: below target/, or where every directory is open to
/// others. A place for all runs of these tests, so that not more and more is left if they are killed.
fn place() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(target).expect("a directory for tests");
    if is_open(target) { target.join("kept") } else { std::env::temp_dir().join("closewait-kept") }
}

extern "C" fn at_the_end() {
    remove_part(&place(), std::process::id());
}

/// The part of `place` that is this process's. What processes have left that were killed goes.
fn own_part(place: &Path) -> PathBuf {
    let own = std::process::id();
    // Another process may end, and remove an empty place, between two of these steps.
    let part = until("a directory of our own", || {
        let _ = make(place);
        let found = fs::symlink_metadata(place).ok()?;
        // In a directory that everybody may write to somebody else may have been faster.
        assert!(
            found.is_dir() && found.uid() == geteuid().as_raw(),
            "{} is no directory of ours: remove it",
            place.display()
        );
        let names = fs::read_dir(place).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        for pid in names.filter_map(|name| name.parse::<u32>().ok()) {
            if pid == own || !Path::new("/proc").join(pid.to_string()).exists() {
                let _ = fs::remove_dir_all(place.join(pid.to_string()));
            }
        }
        let part = place.join(own.to_string());
        match make(&part) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            made => Some(made.map(|()| part).expect("a directory for tests")),
        }
    });
    only_for_its_user(place);
    only_for_its_user(&part);
    part
}

fn make(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o750).create(dir)
}

/// The place goes with the last part.
fn remove_part(place: &Path, pid: u32) {
    let _ = fs::remove_dir_all(place.join(pid.to_string()));
    let _ = fs::remove_dir(place);
}

/// Who executes it gets capabilities: that is for us and that user, nobody else.
fn only_for_its_user(path: &Path) {
    fs::set_permissions(path, PermissionsExt::from_mode(0o750)).expect("it is ours");
    chown(path, None, Some(USER)).expect("it is ours");
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

#[test]
fn nobody_else_can_execute_its_copy() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("our directory");
    let place = dir.path().join("place");
    let part = own_part(&place);
    let program = Copy::new(&part).program;
    // Not even where the directories would let them.
    for open in [vec![], vec![place.clone(), part.clone()]] {
        for dir in &open {
            fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).expect("our directory");
        }
        let by = |user| Command::new(&program).arg("--version").uid(user).gid(user).output();
        let stranger = by(USER - 1).map_err(|error| error.kind());
        assert_eq!(stranger.map(|_| ()), Err(io::ErrorKind::PermissionDenied), "{open:?}");
        assert!(by(USER).expect("it starts").status.success(), "{open:?}");
    }
}

#[test]
fn what_was_left_by_the_killed_is_removed_and_what_is_in_use_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("place");
    let mut ended = Command::new("true").spawn().expect("it starts");
    ended.wait().expect("our own child");
    // Pid 1 runs.
    for pid in [ended.id(), 1] {
        fs::create_dir_all(place.join(pid.to_string()).join("more")).expect("our directory");
    }
    let part = own_part(&place);
    let there = || {
        let names =
            fs::read_dir(&place).ok()?.map(|entry| PathBuf::from(entry.expect("an entry").file_name()));
        Some(names.collect::<std::collections::BTreeSet<_>>())
    };
    let own = PathBuf::from(part.file_name().expect("a name"));
    assert_eq!(there(), Some([own, "1".into()].into()));
    remove_part(&place, std::process::id());
    assert_eq!(there(), Some(["1".into()].into()));
    remove_part(&place, 1);
    assert_eq!(there(), None);
}

#[test]
fn a_program_that_is_open_for_writing_is_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("script");
    let inside = ["-c", "exec \"$0\"", script.to_str().expect("text")];
    for (program, words) in [(script.as_os_str(), &[][..]), ("sh".as_ref(), &inside)] {
        fs::write(&script, "#!/bin/sh\necho started\n").expect("our directory");
        fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("our file");
        let (mut written, mut tries) = (Some(fs::File::options().append(true).open(&script)), 0);
        let ended = not_busy(|| {
            tries += 1;
            let ended = Command::new(program).args(words).env("LC_ALL", "C").output();
            drop(written.take());
            ended
        });
        assert_eq!(String::from_utf8_lossy(&ended.stdout), "started\n");
        assert!(tries > 1, "it was started while it was open");
    }
}

#[test]
fn it_can_be_started() {
    assert!(output(Command::new(binary()).arg("--version")).starts_with("closewait-trace "));
}

/// (Only the tool that has no more than it keeps is a copy.)
#[test]
fn its_copy_goes_with_the_tests() {
    let mut tests = Command::new(std::env::current_exe().expect("our own path"));
    tests.args(["--exact", "live::kept::it_can_be_started"]).stdout(Stdio::piped());
    let tests = tests.spawn().expect("it starts");
    let own = place().join(tests.id().to_string());
    let ended = tests.wait_with_output().expect("our own child");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
    assert!(!own.exists(), "{} is left", own.display());
}
