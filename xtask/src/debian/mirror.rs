//! Where this system gets its own packages from: the mirror to ask for more.
//!
//! In: apt's sources files. Out: the mirror of a suite. No host is written down
//! here, so that a site's own mirror is used; a system that is not Debian names
//! one in `CLOSEWAIT_DEBIAN_MIRROR`.

use anyhow::{Context, Result};
use std::{env, fs, path::PathBuf};

/// One line of a sources file, or one address and suite of a stanza.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    suite: String,
}

/// The mirror that has `suite`.
///
/// # Errors
/// When the sources name no Debian mirror.
pub(crate) fn mirror_of(suite: &str) -> Result<String> {
    let security = suite.ends_with("-security");
    if let Ok(mirror) = env::var("CLOSEWAIT_DEBIAN_MIRROR") {
        let mirror = mirror.trim_end_matches('/');
        return Ok(if security { format!("{mirror}-security") } else { mirror.to_owned() });
    }
    codename().and_then(|codename| pick(&sources(), &codename, security)).with_context(|| {
        format!("apt's sources here name no Debian mirror for {suite}: set CLOSEWAIT_DEBIAN_MIRROR to one")
    })
}

/// What this release of Debian is called; `None` on another system.
pub(crate) fn codename() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field =
        |name: &str| release.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_matches('"')));
    field("VERSION_CODENAME=").filter(|_| field("ID=") == Some("debian")).map(str::to_owned)
}

/// The mirror of our own release, or of its security updates.
fn pick(sources: &[Source], codename: &str, security: bool) -> Option<String> {
    let own = if security { format!("{codename}-security") } else { codename.to_owned() };
    // A mirror that carries only one of the two usually is a sibling of the other.
    Some(sources.iter().find(|source| source.suite == own)?.uri.clone())
}

fn sources() -> Vec<Source> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        sources.extend(if file.extension().is_some_and(|it| it == "sources") {
            stanzas(&text)
        } else {
            lines(&text)
        });
    }
    sources
}

/// The old format: `deb [options] URI SUITE COMPONENT...`
fn lines(text: &str) -> Vec<Source> {
    let parse = |line: &str| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let rest = if rest.starts_with('[') { rest.split_once(']')?.1 } else { rest };
        let mut words = rest.split_whitespace();
        Some(Source { uri: words.next()?.trim_end_matches('/').to_owned(), suite: words.next()?.to_owned() })
    };
    text.lines().filter_map(parse).collect()
}

/// The new format: stanzas of fields.
fn stanzas(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in lines.split(|line| line.trim().is_empty()) {
        let field = |name: &str| {
            let mut fields = stanza.iter().filter_map(|line| line.split_once(':'));
            fields.find(|(key, _)| *key == name).map_or("", |(_, value)| value.trim())
        };
        if !field("Types").split_whitespace().any(|kind| kind == "deb") {
            continue;
        }
        for uri in field("URIs").split_whitespace() {
            let source =
                |suite: &str| Source { uri: uri.trim_end_matches('/').to_owned(), suite: suite.to_owned() };
            sources.extend(field("Suites").split_whitespace().map(source));
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_name_the_mirror_and_its_security_sibling() {
        let new = stanzas(
            "Types: deb deb-src\n# a comment inside a stanza\nURIs: http://mirror.test/debian/\n\
             Suites: bookworm bookworm-updates\n\nTypes: deb\nURIs: http://mirror.test/sec\n\
             Suites: bookworm-security\n\nTypes: deb-src\nURIs: http://wrong.test\nSuites: bookworm\n",
        );
        let old = lines(
            "# deb http://wrong.test bookworm main\ndeb http://other.test nodistro main\n\
             deb [arch=amd64 signed-by=/k] http://mirror.test/debian bookworm main\n\
             deb http://mirror.test/sec bookworm-security main\n",
        );
        for sources in [new, old] {
            assert_eq!(pick(&sources, "bookworm", false).as_deref(), Some("http://mirror.test/debian"));
            assert_eq!(pick(&sources, "bookworm", true).as_deref(), Some("http://mirror.test/sec"));
            assert_eq!(pick(&sources, "trixie", false), None);
        }
    }
}
