//! The files of the image: the executable, the libraries that it asks the loader for, with
//! their licences, and nothing else: no shell, no package manager, nobody's passwords.

use super::{EXECUTABLE, NAME, emptied};
use crate::{command, workspace};
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Fills `root`.
///
/// # Errors
/// When a library, or its licence, is not found.
pub(super) fn stage(binary: &Path, root: &Path) -> Result<()> {
    emptied(root)?;
    put(binary, root, EXECUTABLE, 0o755)?;
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        put(&workspace::root().join(licence), root, &format!("/usr/share/doc/{NAME}/{licence}"), 0o644)?;
    }
    for library in libraries(binary)? {
        let path = library.to_str().context("the path of a library is text")?;
        put(&library, root, path, 0o755)?;
        let copyright = format!("/usr/share/doc/{}/copyright", package(path)?);
        put(Path::new(&copyright), root, &copyright, 0o644)?;
    }
    Ok(())
}

/// Copies a file to `path` in the image, without what the umask of who builds it makes of it.
fn put(from: &Path, root: &Path, path: &str, mode: u32) -> Result<()> {
    let to = root.join(path.trim_start_matches('/'));
    let mut dirs: Vec<_> = to.ancestors().skip(1).take_while(|dir| dir.starts_with(root)).collect();
    dirs.reverse();
    for dir in dirs {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    }
    fs::copy(from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    fs::set_permissions(&to, Permissions::from_mode(mode))?;
    Ok(())
}

/// What the loader would bring, itself included; none for a static executable.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let listed = Command::new("ldd").arg(binary).env("LC_ALL", "C").output().context("cannot run ldd")?;
    let said = [listed.stdout, listed.stderr].concat();
    paths(&String::from_utf8_lossy(&said), listed.status.success())
}

/// The paths in what `ldd` says.
fn paths(said: &str, succeeded: bool) -> Result<Vec<PathBuf>> {
    if said.contains("not a dynamic executable") || said.contains("statically linked") {
        return Ok(Vec::new());
    }
    if !succeeded || said.contains("not found") {
        bail!("ldd does not find all libraries:\n{said}");
    }
    // `libc.so.6 => /lib/.../libc.so.6 (0x...)`, `/lib64/ld-linux-x86-64.so.2 (0x...)`, and
    // the kernel's own, which has no path.
    let path = |line: &str| {
        let (file, _) = line.rsplit_once(" (")?;
        let file = file.rsplit(" => ").next()?.trim();
        file.starts_with('/').then(|| file.into())
    };
    Ok(said.lines().filter_map(path).collect())
}

/// The Debian package that a library is of: its licence must go with it.
fn package(path: &str) -> Result<String> {
    let real = fs::canonicalize(path)?.display().to_string();
    let merged = real.strip_prefix("/usr").unwrap_or(&real).to_owned();
    let owner = |path: &String| {
        // `libc6:amd64: /lib/x86_64-linux-gnu/libc.so.6`
        let said = command::output(Command::new("dpkg-query").args(["-S", path])).ok()?;
        Some(said.split([':', ',']).next()?.to_owned())
    };
    [path.to_owned(), real, merged].iter().find_map(owner).with_context(|| {
        format!("no Debian package has {path}, so its licence is not known: give a static --binary")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ldd_says_is_understood() {
        let dynamic = "\tlinux-vdso.so.1 (0x00007f44f0d60000)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f44f021e000)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f44f0d62000)\n";
        let libraries = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(paths(dynamic, true).unwrap(), libraries.map(PathBuf::from));
        for (none, succeeded) in [("\tnot a dynamic executable\n", false), ("\tstatically linked\n", true)] {
            assert_eq!(paths(none, succeeded).unwrap(), Vec::<PathBuf>::new());
        }
        assert!(paths("\tlibx.so.1 => not found\n", true).is_err());
        assert!(paths("ldd: no such file\n", false).is_err());
    }
}
