//! Unwinding where something is in the way: the binary is gone, in another root,
//! stripped or broken; the copy ends too early; the thread is in the vDSO.

use std::fs;
use std::process::Command;

use closewait_trace::stack::capture::Capture;
use closewait_trace::stack::places::Processes;
use closewait_trace::stack::symbolize::Symbols;
use closewait_trace::verdict::How;

use crate::blocked::{Blocked, COPIED, Stopped, read_memory};
use crate::deep::{SIX, brief, build, build_c, check, named, source};
use crate::process::run;

#[test]
fn a_deleted_and_a_replaced_binary() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("six");
    build_c(&program);
    let mut blocked = Blocked::start(&program, &["one"]);
    fs::remove_file(&program).unwrap();
    check("C, binary deleted", &named(&blocked, &blocked.capture()), &SIX, &[], 6);
    fs::copy("/bin/true", &program).unwrap();
    check("C, binary upgraded on disk", &named(&blocked, &blocked.capture()), &SIX, &[], 6);

    // Seen once while it lived; a second stack of it comes when it has ended.
    let capture = blocked.capture();
    let mut processes = Processes::default();
    processes.unwind(&blocked.task, &capture).unwrap();
    blocked.end();
    let placed = processes.unwind(&blocked.task, &capture).unwrap();
    check("C, process ended before", &Symbols::default().stack(&placed), &SIX, &[], 6);
    drop(placed);
    // It is forgotten when it has been gone for a while.
    processes.forget();
    assert_eq!(processes.held().0, 1);
    processes.forget();
    assert_eq!(processes.held(), (0, 0));
    let error = processes.unwind(&blocked.task, &capture).unwrap_err();
    assert_eq!(error, format!("process {} exited before its maps could be read", blocked.task.pid));
}

#[test]
fn a_root_and_namespaces_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    build(&root.path().join("six"), "gcc", "six.c", &["-O2", "-static"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child"]);
    command.arg(format!("--root={}", root.path().display())).args(["/six", "one"]);
    let blocked = Blocked::spawn(command);
    assert_ne!(
        fs::read_link(format!("/proc/{}/root", blocked.task.pid)).unwrap(),
        fs::read_link("/proc/self/root").unwrap()
    );
    let stack = named(&blocked, &blocked.capture());
    check("C, in a root of its own", &stack, &SIX, &[], 6);
    let module = stack.frames[1].module.as_deref().unwrap();
    assert!(module.ends_with("/six"), "{module}");
}

#[test]
fn a_stripped_binary_can_be_named_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (program, unstripped) = (dir.path().join("six"), dir.path().join("six.debug"));
    build(&program, "gcc", "six.c", &["-O2", "-Wl,--build-id=0xc0ffee11"]);
    fs::copy(&program, &unstripped).unwrap();
    run(Command::new("strip").arg(&program));
    let blocked = Blocked::start(&program, &["one"]);
    let stack = named(&blocked, &blocked.capture());
    assert!(stack.frames[1..].iter().all(|frame| frame.how == How::Dwarf), "{}", brief(&stack));
    let own = stack.frames.iter().filter(|frame| frame.build_id.as_deref() == Some("c0ffee11"));
    let own: Vec<_> = own.inspect(|frame| assert_eq!(frame.symbol, None)).collect();
    // Another tool, given the file with symbols, names the six by module offset.
    let names = own.iter().map(|frame| {
        let asked = format!("{:#x}", frame.offset - 1);
        let answer = Command::new("addr2line").arg("-fe").arg(&unstripped).arg(asked).output().unwrap();
        String::from_utf8(answer.stdout).unwrap().lines().next().unwrap().to_owned()
    });
    assert_eq!(names.collect::<Vec<_>>()[..7], [&SIX[..], &["main"]].concat());
}

#[test]
fn debug_information_kept_apart_is_found_by_its_build_id() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("six");
    build(&program, "gcc", "six.c", &["-O2", "-g", "-Wl,--build-id=0xc0ffee22"]);
    let fetched = dir.path().join("c0ffee22");
    fs::create_dir(&fetched).unwrap();
    run(Command::new("objcopy").arg("--only-keep-debug").arg(&program).arg(fetched.join("debuginfo")));
    run(Command::new("strip").arg(&program));
    let blocked = Blocked::start(&program, &["one"]);
    let placed = Processes::default().unwind(&blocked.task, &blocked.capture()).unwrap();
    let stack = Symbols::with_fetched(dir.path()).stack(&placed);
    check("C, stripped, debug information apart", &stack, &SIX, &[], 6);
    let frame = stack.frames.iter().find(|frame| frame.symbol.as_deref() == Some("leak_here")).unwrap();
    let source = include_str!("deep/six.c");
    let line = source.lines().position(|line| line.contains("return (int)read")).unwrap() + 1;
    assert_eq!(frame.line, u32::try_from(line).ok(), "{frame:?}");
    // That of another build is not believed.
    fs::rename(&fetched, dir.path().join("c0ffee33")).unwrap();
    let other = dir.path().join("other");
    build(&other, "gcc", "six.c", &["-O2", "-s", "-Wl,--build-id=0xc0ffee33"]);
    let blocked = Blocked::start(&other, &["one"]);
    let placed = Processes::default().unwind(&blocked.task, &blocked.capture()).unwrap();
    let stack = Symbols::with_fetched(dir.path()).stack(&placed);
    assert!(
        stack.frames.iter().all(|frame| frame.symbol.as_deref() != Some("leak_here")),
        "{}",
        brief(&stack)
    );
}

#[test]
fn users_files_are_never_mapped() {
    // A mapped file that its owner truncates would end the tool by SIGBUS.
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("a name that is nowhere else");
    build(&program, "gcc", "six.c", &["-O2", "-g"]);
    let blocked = Blocked::start(&program, &["one"]);
    let mut symbols = Symbols::default();
    let placed = Processes::default().unwind(&blocked.task, &blocked.capture()).unwrap();
    check("C -O2 -g", &symbols.stack(&placed), &SIX, &[], 6);
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.contains("closewait-symbols"), "what is mapped is a copy");
    assert!(!maps.contains("a name that is nowhere else"), "{maps}");
}

#[test]
fn a_copy_that_ends_too_early_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("six");
    build_c(&program);
    let blocked = Blocked::start(&program, &["frames", "4000"]);
    let stack = named(&blocked, &blocked.copy(64 << 10));
    check("C, frames of 4 KB, 64 KiB copied", &stack, &SIX, &[], 6);
    let stack = named(&blocked, &blocked.capture());
    check("C, frames of 4 KB, 16 KiB copied", &stack, &SIX[..4], &[], 4);
    assert_eq!(stack.note.as_deref(), Some("ends early: only the innermost 16 KiB of the stack were copied"));
    assert!(stack.frames[1..].iter().all(|frame| frame.how == How::Dwarf), "{}", brief(&stack));
    // As little as there can be.
    for len in [0, 1, 8, 64] {
        let stack = named(&blocked, &blocked.copy(len));
        assert!(stack.frames.iter().all(|frame| frame.how != How::Scan), "{}", brief(&stack));
        assert!(stack.note.unwrap().starts_with("ends early: only the innermost 0 KiB"), "{len}");
    }
}

#[test]
fn the_vdso_is_left_by_its_own_tables() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("clock");
    build(&program, "gcc", "clock.c", &["-O2"]);
    let blocked = Blocked::start(&program, &["one"]);
    let maps = fs::read_to_string(format!("/proc/{}/maps", blocked.task.pid)).unwrap();
    let line = maps.lines().find(|line| line.ends_with("[vdso]")).unwrap();
    let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
    let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());

    let stopped = Stopped::attach(blocked.task.tid);
    blocked.feed();
    // Out of the system call, through main, and some way into the vDSO.
    let mut inside = 0;
    while inside < 20 {
        stopped.step();
        inside += u32::from((start..end).contains(&stopped.registers().ip));
    }
    let regs = stopped.registers();
    let stack = read_memory(blocked.task.pid, regs.sp, COPIED);
    let capture = Capture { regs, truncated: stack.len() == COPIED, stack: stack.into() };
    let stack = named(&blocked, &capture);
    assert_eq!(stack.frames[0].module.as_deref(), Some("[vdso]"));
    check("C, in the vDSO", &stack, &["tell", "main"], &[], 2);
    assert!(stack.frames[1..].iter().all(|frame| frame.how == How::Dwarf), "{}", brief(&stack));
}

#[test]
fn a_broken_eh_frame_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("six");
    build_c(&program);
    let whole = fs::read(&program).unwrap();
    let headers = Command::new("readelf").arg("-SW").arg(&program).output().unwrap().stdout;
    let headers = String::from_utf8(headers).unwrap();
    let at = |name: &str| {
        let line = headers.lines().find(|line| line.split_whitespace().any(|word| word == name)).unwrap();
        let mut words = line.split_whitespace().skip_while(|word| *word != name).skip(3);
        let mut next = || usize::from_str_radix(words.next().unwrap(), 16).unwrap();
        (next(), next())
    };
    let mut chaos = 1_u64;
    let mut random = || {
        // xorshift64
        chaos ^= chaos << 13;
        chaos ^= chaos >> 7;
        chaos ^= chaos << 17;
        usize::try_from(chaos >> 32).unwrap()
    };
    // Each once wholly, and some bytes of it many times.
    for name in [".eh_frame", ".eh_frame_hdr"] {
        let (offset, size) = at(name);
        for round in 0..12 {
            let mut bytes = whole.clone();
            let section = &mut bytes[offset..offset + size];
            if round == 0 {
                section.fill_with(|| random().to_le_bytes()[0]);
            } else {
                for _ in 0..round * 4 {
                    let at = random() % size;
                    section[at] = random().to_le_bytes()[0];
                }
            }
            let broken = dir.path().join(format!("broken{name}{round}"));
            fs::write(&broken, bytes).unwrap();
            fs::set_permissions(&broken, fs::metadata(&program).unwrap().permissions()).unwrap();
            let blocked = Blocked::start(&broken, &["one"]);
            let stack = named(&blocked, &blocked.capture());
            assert!(stack.frames.len() >= 2, "{}", brief(&stack));
        }
    }
}

#[test]
fn a_c_library_without_tables_is_left_by_scanning() {
    // musl's has neither tables nor frame pointers; a wrapper like its stands in for it.
    let dir = tempfile::tempdir().unwrap();
    let (library, program) = (dir.path().join("libbare.so"), dir.path().join("six"));
    let bare = [
        "-O2",
        "-shared",
        "-fPIC",
        "-fomit-frame-pointer",
        "-fno-asynchronous-unwind-tables",
        "-fno-unwind-tables",
    ];
    build(&library, "gcc", "bare.c", &bare);
    let library_dir = format!("-L{}", dir.path().display());
    let path = format!("-Wl,-rpath,{}", dir.path().display());
    run(Command::new("gcc")
        .args(["-O2", "-Dread=bare_read"])
        .arg(source("six.c"))
        .args([&library_dir, &path, "-lbare"])
        .arg("-o")
        .arg(&program));
    let blocked = Blocked::start(&program, &["one"]);
    let stack = named(&blocked, &blocked.capture());
    check("C, wrappers without tables", &stack, &SIX, &[], 6);
    assert!(stack.frames.iter().any(|frame| frame.how == How::Scan), "{}", brief(&stack));
}
