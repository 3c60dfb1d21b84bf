//! Starts one machine, reads its serial console until the verdict, the end of the
//! machine or the deadline, and ends it.

use super::{console::Console, matrix::Machine};
use crate::stopwatch::Stopwatch;
use anyhow::{Context, Result};
use std::{
    env,
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// All that can be emulated but cmpxchg16b: an interrupt right behind one finds
/// garbage in EFLAGS (QEMU 7.2, TCG), and the guest dies of a double fault in its
/// allocator, minutes or milliseconds after boot. Kernels do without it.
const PROCESSOR: &str = "max,cx16=off";

/// Errors and worse on the console; a panic ends the machine (`-no-reboot`). An emulated
/// timer that has to wait for its CPU is late, not broken: without `no_timer_check` a busy
/// host makes the guest panic ("IO-APIC + timer doesn't work!").
const KERNEL_OPTIONS: &str = "console=ttyS0 loglevel=4 panic=-1 mitigations=off no_timer_check rdinit=/init";

/// Boots `image` with `initrd`; everything it prints goes into `log` too, and each line to `hear`.
///
/// # Errors
/// When QEMU cannot be started or the log not be written. A machine that dies or
/// hangs is no error here: its console has no verdict.
pub(crate) fn boot(
    image: &Path,
    initrd: &Path,
    machine: &Machine,
    log: &Path,
    hear: impl Fn(&str),
) -> Result<Console> {
    let clock = Stopwatch::start();
    let limit = Duration::from_secs(machine.deadline_s);
    let mut log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(["-accel", &accelerator(), "-cpu", PROCESSOR, "-smp", &machine.cpus.to_string()])
        .args(["-m", &format!("{}M", machine.memory_mib), "-nic", "none", "-no-reboot"])
        .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
        .args(["-append", KERNEL_OPTIONS])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(initrd)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start qemu-system-x86_64: run `cargo xtask setup`")?;

    let (send, lines) = mpsc::channel();
    let streams = [qemu.stdout.take().map(Stream::Out), qemu.stderr.take().map(Stream::Err)];
    for stream in streams.into_iter().flatten() {
        let send = send.clone();
        thread::spawn(move || stream.lines(|line| send.send(line).is_ok()));
    }
    drop(send);

    let mut console = Console::default();
    // The channel ends when the machine has powered off.
    while let Ok(line) = lines.recv_timeout(clock.left_of(limit)) {
        writeln!(log, "{line}").context("cannot write the machine's log")?;
        console.read(&line);
        hear(&line);
    }
    if console.verdict.is_none() && clock.left_of(limit).is_zero() {
        console.read(&format!("no verdict within {} s, ended from outside", limit.as_secs()));
    }
    // Ends a machine that hangs; one that has powered off is gone already.
    let _ = qemu.kill();
    qemu.wait().context("cannot wait for QEMU")?;
    Ok(console)
}

/// Emulation works everywhere; a host whose KVM runs guests is faster with
/// `CLOSEWAIT_VM_ACCEL=kvm`. All CPUs of a machine take turns on one thread: with a
/// thread each, a CPU may still run the breakpoint by which the kernel patches its code
/// after the patch is complete ("Oops: int3" where a tracepoint is switched, 1 run of 9),
/// and two machines at a time fill two cores anyway.
fn accelerator() -> String {
    env::var("CLOSEWAIT_VM_ACCEL").unwrap_or_else(|_| "tcg,thread=single".to_owned())
}

enum Stream {
    Out(std::process::ChildStdout),
    Err(std::process::ChildStderr),
}

impl Stream {
    /// Hands on line after line, whatever bytes they have, until `take` is false.
    fn lines(self, mut take: impl FnMut(String) -> bool) {
        let mut reader: Box<dyn BufRead> = match self {
            Self::Out(out) => Box::new(BufReader::new(out)),
            Self::Err(err) => Box::new(BufReader::new(err)),
        };
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if !take(String::from_utf8_lossy(&line).trim_end().to_owned()) {
                break;
            }
            line.clear();
        }
    }
}
