//! The file system of a test machine, made of files of this one: busybox, a few
//! tools, the payload, the shared libraries all of these need, and the modules.

use super::{
    cpio::Archive,
    kernel::{self, Unpacked},
    payload::Payload,
};
use crate::{command, workspace};
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Programs that are this machine's own: busybox lacks them, or has a lesser one.
/// Its shell and its timeout are among these because they would run busybox's own
/// `ip` whatever PATH says.
const TOOLS: [&str; 6] = ["sh", "timeout", "ip", "ss", "nsenter", "jq"];

const DIRECTORIES: [&str; 17] = [
    "bin",
    "sbin",
    "usr",
    "usr/bin",
    "usr/sbin",
    "lib",
    "lib64",
    "etc",
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "root",
    "scenarios",
    "modules",
    "var",
];

/// What all kernels share.
///
/// # Errors
/// When a program is not on this machine.
pub(crate) fn common(payload: &Payload, deadline_s: u64) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in DIRECTORIES {
        archive.directory(directory);
    }
    // The kernel opens this one for PID 1 before anything is mounted.
    archive.device("dev/console", 5, 1);
    archive.file("init", &read(&workspace::root().join("tests/vm/init.sh"))?);
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n");
    archive.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n");
    let line = |test: &super::payload::Test| format!("{} {deadline_s} {}\n", test.name, test.command);
    archive.file("tests", payload.tests.iter().map(line).collect::<String>().as_bytes());

    let busybox = program("busybox")?;
    archive.file("bin/busybox", &read(&busybox)?);
    let applets = command::output(Command::new(&busybox).arg("--list"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox" && !TOOLS.contains(applet)) {
        archive.symlink(&format!("bin/{applet}"), "busybox");
    }
    archive.symlink("bin/sh", "/usr/bin/sh");

    let mut libraries: BTreeSet<PathBuf> = libraries_of(&busybox).into_iter().collect();
    let tools = TOOLS.iter().map(|tool| Ok((format!("usr/bin/{tool}"), program(tool)?)));
    let tools: Vec<(String, PathBuf)> = tools.collect::<Result<_>>()?;
    for (path, file) in tools.iter().chain(&payload.files) {
        archive.file(path, &read(file)?);
        libraries.extend(libraries_of(file));
    }
    let mut made: BTreeSet<PathBuf> = DIRECTORIES.iter().map(PathBuf::from).collect();
    for library in libraries {
        let path = library.strip_prefix("/").unwrap_or(&library);
        let ancestors: Vec<&Path> =
            path.ancestors().skip(1).filter(|it| !it.as_os_str().is_empty()).collect();
        for directory in ancestors.into_iter().rev() {
            if made.insert(directory.to_path_buf()) {
                archive.directory(&directory.to_string_lossy());
            }
        }
        archive.file(&path.to_string_lossy(), &read(&library)?);
    }
    Ok(archive.finish())
}

/// The modules of one kernel, to be appended to the common archive.
///
/// # Errors
/// When a module cannot be read or unpacked.
pub(crate) fn modules(unpacked: &Unpacked, wanted: &[String]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    let mut order = Vec::new();
    for file in kernel::module_files(&unpacked.modules, wanted)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // busybox's insmod takes plain modules only.
        let (name, unpack) = match name.rsplit_once(".ko.") {
            None => (name, None),
            Some((stem, "xz")) => (format!("{stem}.ko"), Some("xz")),
            Some((stem, "zst")) => (format!("{stem}.ko"), Some("zstd")),
            Some(_) => bail!("{} is packed in a way this chore does not know", file.display()),
        };
        let content = match unpack {
            None => read(&file)?,
            Some(program) => unpacked_by(program, &file)?,
        };
        archive.file(&format!("modules/{name}"), &content);
        order.push(name + "\n");
    }
    archive.file("modules/order", order.concat().as_bytes());
    Ok(archive.finish())
}

fn unpacked_by(program: &str, file: &Path) -> Result<Vec<u8>> {
    let done = Command::new(program).args(["-dc"]).arg(file).output();
    let done = done.with_context(|| format!("cannot start {program}: run `cargo xtask setup`"))?;
    if !done.status.success() {
        bail!("{program} cannot unpack {}: {}", file.display(), String::from_utf8_lossy(&done.stderr));
    }
    Ok(done.stdout)
}

/// Absolute paths of the loader and the shared libraries; none for a static program.
fn libraries_of(executable: &Path) -> Vec<PathBuf> {
    let listed = command::output(Command::new("ldd").arg(executable)).unwrap_or_default();
    listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

fn program(name: &str) -> Result<PathBuf> {
    command::find_system(name).with_context(|| format!("no {name} on this machine: run `cargo xtask setup`"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
