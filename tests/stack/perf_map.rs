//! Code made at run time: named by a perf map, when it can be believed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{Target, build_c};
use crate::{stack_of, symbols};

/// A process in a root and a pid namespace of its own, with one JIT frame.
struct Jit {
    root: tempfile::TempDir,
    target: Target,
}

impl Jit {
    fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        build_c(&root.path().join("server"), &["-static"]);
        fs::create_dir(root.path().join("tmp")).unwrap();
        let option = format!("--root={}", root.path().display());
        let args = ["--mount", "--pid", "--fork", &option, "/server", "jit"];
        let target = Target::start_unshared(&args.map(AsRef::as_ref));
        Self { root, target }
    }

    /// Where its JIT would write: it is process 1 of its namespace.
    fn map(&self) -> PathBuf {
        self.root.path().join("tmp/perf-1.map")
    }

    /// The frame's name, or the note that stands for it.
    fn name(&self) -> Result<String, String> {
        let stack = stack_of(&self.target.task, &self.target.addrs);
        assert_eq!(stack.frames.len(), 1);
        assert_eq!(stack.frames[0].module.as_deref(), Some("[anon]"));
        match symbols(&stack)[0].0 {
            "?" => Err(stack.note.unwrap_or_default()),
            name => Ok(name.to_owned()),
        }
    }

    /// A line that covers the frame.
    fn line(&self, prefix: &str) -> String {
        format!("{prefix}{:x} {prefix}20 int Shop::cart(int)\n", self.target.addrs[0] - 0x11)
    }
}

#[test]
fn a_map_is_read_in_the_root_and_by_the_id_of_its_process() {
    let jit = Jit::start();
    assert!(jit.name().unwrap_err().contains("there is no /tmp/perf-1.map"), "{:?}", jit.name());
    for prefix in ["", "0x"] {
        fs::write(jit.map(), jit.line(prefix)).unwrap();
        assert_eq!(jit.name().as_deref(), Ok("int Shop::cart(int)"));
    }
    fs::write(jit.map(), [b"\xff\x00 garbage\n".as_slice(), jit.line("").as_bytes()].concat()).unwrap();
    assert_eq!(jit.name().as_deref(), Ok("int Shop::cart(int)"), "garbage costs no more than its line");
    fs::write(jit.map(), "1 2 elsewhere\n").unwrap();
    assert!(jit.name().is_err());
}

#[test]
fn a_map_that_grew_is_read_again() {
    let jit = Jit::start();
    fs::write(jit.map(), "1 2 elsewhere\n").unwrap();
    let mut processes = closewait_trace::stack::places::Processes::default();
    let mut known = closewait_trace::stack::symbolize::Symbols::default();
    let mut look = || {
        let placed = processes.place(&jit.target.task, &jit.target.addrs).unwrap();
        known.stack(&placed).frames[0].symbol.clone()
    };
    assert_eq!(look(), None);
    fs::write(jit.map(), format!("1 2 elsewhere\n{}", jit.line(""))).unwrap();
    assert_eq!(look().as_deref(), Some("int Shop::cart(int)"));
}

#[test]
fn a_map_that_others_may_have_written_is_refused() {
    let jit = Jit::start();
    let lies = jit.root.path().join("lies");
    fs::write(&lies, jit.line("")).unwrap();
    let refuse = |why: &str, make: &dyn Fn(&Path)| {
        make(&jit.map());
        let note = jit.name().unwrap_err();
        assert!(note.contains(why), "{note:?} does not say {why:?}");
        fs::remove_file(jit.map()).unwrap();
    };
    refuse("belongs to user 54321", &|map| {
        fs::write(map, jit.line("")).unwrap();
        std::os::unix::fs::chown(map, Some(54321), None).unwrap();
    });
    refuse("can be written to by everybody", &|map| {
        fs::write(map, jit.line("")).unwrap();
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(map, everybody).unwrap();
    });
    refuse("is not a regular file", &|map| std::os::unix::fs::symlink("/lies", map).unwrap());
    refuse("is not a regular file", &|map| {
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, map, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    });
    refuse("is larger than 64 MiB", &|map| {
        fs::File::create(map).unwrap().set_len((64 << 20) + 1).unwrap();
    });
    // The control: the same line in a file of the process's own user.
    fs::copy(&lies, jit.map()).unwrap();
    assert_eq!(jit.name().as_deref(), Ok("int Shop::cart(int)"));
}

#[test]
fn a_symlink_cannot_lead_out_of_the_root() {
    let jit = Jit::start();
    let outside = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(outside.path().join("perf-1.map"), jit.line("")).unwrap();
    fs::remove_dir(jit.root.path().join("tmp")).unwrap();
    std::os::unix::fs::symlink(outside.path(), jit.root.path().join("tmp")).unwrap();
    assert!(jit.name().unwrap_err().contains("there is no"), "{:?}", jit.name());
}
