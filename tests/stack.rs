//! Stacks of real processes: alive, gone, their binary deleted or replaced, in a
//! root of their own; compiled from C, Go and Rust, with and without symbols.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "stack/blocked.rs"]
mod blocked;
#[path = "stack/captures.rs"]
mod captures;
#[path = "stack/costs.rs"]
mod costs;
#[path = "stack/deep.rs"]
mod deep;
#[path = "stack/edges.rs"]
mod edges;
#[path = "stack/go_table.rs"]
mod go_table;
#[path = "stack/hostile.rs"]
mod hostile;
#[path = "stack/java_map.rs"]
mod java_map;
#[path = "stack/perf_map.rs"]
mod perf_map;
#[path = "stack/process.rs"]
mod process;
#[path = "stack/random.rs"]
mod random;
#[path = "stack/waiting.rs"]
mod waiting;
#[path = "stack/worker.rs"]
mod worker;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use closewait_trace::item::Task;
use closewait_trace::stack::Stack;
use closewait_trace::stack::places::Processes;
use closewait_trace::stack::symbolize::Symbols;
use closewait_trace::verdict::Frame;
use process::{NO_ARGS, Target, build_c, build_go, build_rust};
use rustix::thread::CapabilitySet;

/// Places and names a stack at once.
fn stack_of(task: &Task, addrs: &[u64]) -> Stack {
    let placed = Processes::default().place(task, addrs).unwrap();
    Symbols::default().stack(&placed)
}

fn symbols(stack: &Stack) -> Vec<(&str, bool)> {
    stack.frames.iter().map(|f| (f.symbol.as_deref().unwrap_or("?"), f.inlined)).collect()
}

#[track_caller]
fn assert_in_module(frame: &Frame, program: &Path) {
    assert_eq!(frame.module.as_deref(), program.to_str());
}

/// What a C program without debug information must give.
#[track_caller]
fn assert_is_c_path(stack: &Stack) {
    assert_eq!(symbols(stack)[..2], [("serve", false), ("main", false)], "{stack:#?}");
    assert_eq!(stack.note, None, "{stack:#?}");
}

#[test]
fn c_with_debug_information_has_inlined_calls_and_lines() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("server");
    build_c(&program, &["-g"]);
    let target = Target::start(&program, &NO_ARGS);
    let stack = stack_of(&target.task, &target.addrs);
    assert_eq!(symbols(&stack)[..3], [("take", true), ("serve", false), ("main", false)], "{stack:#?}");
    let source = include_str!("stack/target.c");
    for frame in &stack.frames[..3] {
        assert_in_module(frame, &program);
        assert!(frame.file.as_ref().unwrap().ends_with("tests/stack/target.c"), "{frame:?}");
        let mark = format!("/* line of {} */", frame.symbol.as_ref().unwrap());
        let line = source.lines().position(|line| line.contains(&mark)).unwrap() + 1;
        assert_eq!(frame.line, u32::try_from(line).ok(), "{frame:?}");
    }
    assert_eq!(stack.frames[1].addr, target.addrs[0], "the address is kept as it was on the stack");
    // The call is serve's last instruction: looked up as it is, the address names what follows.
    let after = stack_of(&target.task, &[target.addrs[0] + 1]);
    assert_eq!(symbols(&after), [("follower", false)]);
}

#[test]
fn c_without_debug_information_has_names() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("server");
    build_c(&program, &[]);
    let target = Target::start(&program, &NO_ARGS);
    let stack = stack_of(&target.task, &target.addrs);
    assert_is_c_path(&stack);
    assert_in_module(&stack.frames[0], &program);
    assert_eq!((&stack.frames[0].file, stack.frames[0].line), (&None, None));
    // `nm` is the witness for the offset into the function.
    let nm = Command::new("nm").arg(&program).output().unwrap().stdout;
    let nm = String::from_utf8(nm).unwrap();
    let start = |name: &str| {
        let line = nm.lines().find(|line| line.ends_with(&format!(" T {name}"))).unwrap();
        u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
    };
    assert_eq!(stack.frames[0].offset, start("follower") - start("serve"));
}

#[test]
fn a_stripped_program_gives_module_offset_and_build_id() {
    let dir = tempfile::tempdir().unwrap();
    let (program, unstripped) = (dir.path().join("server"), dir.path().join("server.debug"));
    // A text segment that is not at its file offset: the two numbers must not be mixed up.
    build_c(&program, &["-Wl,--build-id=0xc0ffee11", "-Wl,-Ttext-segment=0x200000"]);
    fs::copy(&program, &unstripped).unwrap();
    let strip = Command::new("strip").arg(&program).status().unwrap();
    assert!(strip.success());
    let target = Target::start(&program, &NO_ARGS);
    let stack = stack_of(&target.task, &target.addrs);
    let frame = &stack.frames[0];
    assert_in_module(frame, &program);
    assert_eq!((frame.symbol.as_deref(), frame.build_id.as_deref()), (None, Some("c0ffee11")));
    // Another tool finds the function at that offset in the file that has symbols.
    let asked = format!("{:#x}", frame.offset - 1);
    let answer = Command::new("addr2line").arg("-fe").args([&unstripped]).arg(asked).output().unwrap();
    assert_eq!(String::from_utf8(answer.stdout).unwrap().lines().next(), Some("serve"));
}

#[test]
fn names_survive_the_process_and_its_binary() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("a server\nof two lines");
    build_c(&program, &[]);
    let mut target = Target::start(&program, &NO_ARGS);
    let mut processes = Processes::default();

    // Deleted and replaced by another program before anything was looked at.
    fs::remove_file(&program).unwrap();
    fs::copy("/bin/true", &program).unwrap();
    assert_is_c_path(&Symbols::default().stack(&processes.place(&target.task, &target.addrs).unwrap()));

    // A stack that comes when the process has exited, but had been seen before.
    target.end();
    let placed = processes.place(&target.task, &target.addrs).unwrap();
    let stack = Symbols::default().stack(&placed);
    assert_is_c_path(&stack);
    assert_in_module(&stack.frames[0], &program);

    // One that had not been seen: unknown, with the reason.
    let pid = target.task.pid;
    assert_eq!(
        Processes::default().place(&target.task, &target.addrs).unwrap_err(),
        format!("process {pid} exited before its maps could be read")
    );
}

#[test]
fn a_module_not_opened_before_the_exit_is_said_to_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("server");
    build_c(&program, &[]);
    let mut target = Target::start(&program, &NO_ARGS);
    let libc = *target.addrs.last().unwrap();
    let mut processes = Processes::default();
    processes.place(&target.task, &target.addrs[..1]).unwrap();
    target.end();
    let placed = processes.place(&target.task, &[target.addrs[0], libc]).unwrap();
    let stack = Symbols::default().stack(&placed);
    assert_eq!(symbols(&stack), [("serve", false), ("?", false)]);
    let note = stack.note.unwrap();
    assert!(note.starts_with("no symbols of ") && note.contains("its process exited before"), "{note}");
}

#[test]
fn a_file_written_to_in_place_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("server");
    build_c(&program, &[]);
    let mut target = Target::start(&program, &NO_ARGS);
    let placed = Processes::default().place(&target.task, &target.addrs[..1]).unwrap();
    target.end();
    // A running program cannot be written to (ETXTBSY); once it has exited it can.
    fs::write(&program, b"something else").unwrap();
    let stack = Symbols::default().stack(&placed);
    assert_eq!(symbols(&stack), [("?", false)]);
    assert!(stack.note.unwrap().contains("was written to after it was mapped"));
}

/// `go test -o` touches the program that it runs.
#[test]
fn a_file_with_another_time_is_believed_where_its_build_id_is_what_it_was() {
    let (dir, touched) = (tempfile::tempdir().unwrap(), SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    let named = |name: &str, build: &dyn Fn(&Path), write: &dyn Fn(&File, u64)| {
        let program = dir.path().join(name);
        build(&program);
        let mut target = Target::start(&program, &NO_ARGS);
        let placed = Processes::default().place(&target.task, &target.addrs[..1]).unwrap();
        target.end();
        let file = File::options().read(true).write(true).open(&program).unwrap();
        write(&file, file.metadata().unwrap().len());
        file.set_modified(touched).unwrap();
        let stack = Symbols::default().stack(&placed);
        let is_named = stack.frames[0].symbol.is_some();
        assert_ne!(is_named, stack.note.unwrap_or_default().contains("was written to"), "{name}");
        is_named
    };
    let c: &dyn Fn(&Path) = &|program| build_c(program, &[]);
    assert!(named("touched", c, &|_, _| ()));
    assert!(named("touched-go", &build_go, &|_, _| ()));
    assert!(!named("longer", c, &|file, len| file.set_len(len + 1).unwrap()));
    assert!(!named("without", &|program| build_c(program, &["-Wl,--build-id=none"]), &|_, _| ()));
    // One byte of the id is another one.
    let another = |file: &File, _| {
        let mut start = vec![0; 4096];
        file.read_exact_at(&mut start, 0).unwrap();
        let note = start.windows(8).position(|bytes| bytes == b"\x03\0\0\0GNU\0").unwrap();
        let at = note + 8;
        file.write_all_at(&[!start[at]], at as u64).unwrap();
    };
    assert!(!named("another", c, &another));
}

#[test]
fn a_process_in_a_root_of_its_own_is_named() {
    let root = tempfile::tempdir().unwrap();
    build_c(&root.path().join("server"), &["-static"]);
    let root_option = format!("--root={}", root.path().display());
    let target =
        Target::start_unshared(&["--mount", "--pid", "--fork", &root_option, "/server"].map(AsRef::as_ref));
    let stack = stack_of(&target.task, &target.addrs);
    assert_is_c_path(&stack);

    assert_is_c_path(&without_map_files(&target));

    // By its path, a replaced file must not lend its symbols.
    fs::remove_file(root.path().join("server")).unwrap();
    fs::copy("/bin/true", root.path().join("server")).unwrap();
    assert_is_c_path(&stack_of(&target.task, &target.addrs));
    let stack = without_map_files(&target);
    assert_eq!(symbols(&stack)[0], ("?", false));
    assert!(stack.note.as_ref().unwrap().ends_with("replaced on disk"), "{stack:#?}");
}

/// The stack as a thread sees it that lacks the capabilities for map_files.
fn without_map_files(target: &Target) -> Stack {
    let (task, addrs) = (target.task.clone(), target.addrs.clone());
    let thread = std::thread::spawn(move || {
        let mut sets = rustix::thread::capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::SYS_ADMIN | CapabilitySet::CHECKPOINT_RESTORE);
        rustix::thread::set_capabilities(None, sets).unwrap();
        let mut links = fs::read_dir(format!("/proc/{}/map_files", task.pid)).unwrap();
        let first = links.next().unwrap().unwrap().path();
        assert!(File::open(first).is_err(), "this kernel would not refuse");
        stack_of(&task, &addrs)
    });
    thread.join().unwrap()
}

#[test]
fn a_thread_that_outlives_the_main_thread_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("server");
    build_c(&program, &[]);
    let target = Target::start(&program, &["thread"]);
    assert_ne!(target.task.pid, target.task.tid);
    let stack = stack_of(&target.task, &target.addrs);
    assert_eq!(symbols(&stack)[..2], [("serve", false), ("thread", false)], "{stack:#?}");
}

#[test]
fn a_stack_ends_where_the_addresses_are_no_code() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("server");
    build_c(&program, &[]);
    let target = Target::start(&program, &NO_ARGS);
    let stack = stack_of(&target.task, &[target.addrs[0], 0x1234, target.addrs[1]]);
    assert_eq!(symbols(&stack), [("serve", false)]);
    let note = stack.note.unwrap();
    assert!(note.contains("0x1234 is not code, 2 dropped"), "{note}");
    // A pointer to a function is code, but nothing returns there.
    let function = target.addrs[1] & !0xfff;
    let stack = stack_of(&target.task, &[target.addrs[0], function + 1, target.addrs[1]]);
    assert_eq!(symbols(&stack), [("serve", false)]);
    let note = stack.note.unwrap();
    assert!(note.contains(&format!("no call stands before {:#x}, 2 dropped", function + 1)), "{note}");
    // Padding with zeros is how a short stack is stored.
    assert_eq!(stack_of(&target.task, &[target.addrs[0], 0, 0]).note, None);
}

#[test]
fn go_functions_have_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("server");
    build_go(&program);
    let target = Target::start(&program, &NO_ARGS);
    let stack = stack_of(&target.task, &target.addrs);
    let named: Vec<_> =
        symbols(&stack).into_iter().filter(|(_, inlined)| !inlined).map(|(name, _)| name).collect();
    assert_eq!(
        named,
        ["main.leak", "main.serve", "main.main", "runtime.main", "runtime.goexit"],
        "{stack:#?}"
    );
    assert!(stack.frames[0].file.as_ref().unwrap().ends_with("target.go"));
    assert!(stack.frames[0].line.is_some());
}

#[test]
fn rust_functions_are_demangled() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("server");
    build_rust(&program);
    let target = Target::start(&program, &NO_ARGS);
    let stack = stack_of(&target.task, &target.addrs);
    let names = symbols(&stack);
    assert_eq!(names[0], ("target::server::Listener::accept", false), "{stack:#?}");
    assert!(names.contains(&("target::main", false)), "{stack:#?}");
}
