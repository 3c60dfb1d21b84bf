//! Tracepoint ids and record layouts from tracefs. A process that was started by
//! `ip netns exec` sees a fresh /sys without tracefs; then a tracefs of our own is
//! opened as a detached mount, which appears in nobody's mount table.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

const TRACEFS_MAGIC: i64 = 0x7472_6163;

/// An open tracefs.
#[derive(Debug)]
pub struct Tracefs {
    root: OwnedFd,
    /// How it was reached.
    pub place: Place,
}

/// Where a tracefs was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Mounted at this path.
    Mounted(&'static str),
    /// Not mounted anywhere visible: a detached mount of our own.
    Detached,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mounted(path) => write!(f, "mounted at {path}"),
            Self::Detached => f.write_str("not mounted here; opened as a detached mount of our own"),
        }
    }
}

impl Tracefs {
    /// Opens the mounted tracefs, or a detached one.
    pub fn open() -> io::Result<Self> {
        for path in ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"] {
            let Ok(root) = rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else {
                continue;
            };
            let is_tracefs = rustix::fs::fstatfs(&root).is_ok_and(|fs| fs.f_type == TRACEFS_MAGIC);
            if is_tracefs {
                return Ok(Self { root, place: Place::Mounted(path) });
            }
        }
        let context = rustix::mount::fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(&context)?;
        let root = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        Ok(Self { root, place: Place::Detached })
    }

    fn read(&self, path: &str) -> io::Result<String> {
        let fd = rustix::fs::openat(&self.root, path, OFlags::CLOEXEC, Mode::empty())?;
        let mut text = String::new();
        std::fs::File::from(fd).take(1 << 20).read_to_string(&mut text)?;
        Ok(text)
    }

    /// The id and the record layout of a tracepoint; `NotFound` when this kernel has no such event.
    pub fn event(&self, category: &str, name: &str) -> io::Result<Event> {
        let format = self.read(&format!("events/{category}/{name}/format"))?;
        Event::parse(&format).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("no id in the format of {category}:{name}"))
        })
    }
}

/// A tracepoint as its `format` file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The id by which perf knows it.
    pub id: u32,
    fields: Vec<(String, u16)>,
}

impl Event {
    /// Parses a `format` file; `None` when it names no id.
    pub fn parse(format: &str) -> Option<Self> {
        let id = format.lines().find_map(|line| line.strip_prefix("ID:")?.trim().parse().ok())?;
        let fields = format.lines().filter_map(field).collect();
        Some(Self { id, fields })
    }

    /// Byte offset of a field in the record.
    pub fn offset(&self, field: &str) -> Option<u16> {
        self.fields.iter().find(|(name, _)| name == field).map(|&(_, offset)| offset)
    }
}

/// `field:__u8 saddr[4]; offset:32; size:4; signed:0;` -> `("saddr", 32)`
fn field(line: &str) -> Option<(String, u16)> {
    let mut parts = line.trim().strip_prefix("field:")?.split(';');
    let declaration = parts.next()?;
    let offset = parts.find_map(|part| part.trim().strip_prefix("offset:")?.parse().ok())?;
    let declarator = declaration.rsplit(|c: char| c.is_whitespace() || c == '*').find(|w| !w.is_empty())?;
    let name = declarator.split('[').next()?;
    Some((name.to_owned(), offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_file_gives_the_id_and_the_offset_of_each_field() {
        let event = Event::parse(
            "name: inet_sock_set_state\nID: 2287\nformat:\n\
             \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
             \tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;\n\
             \tfield:void *req;\toffset:16;\tsize:8;\tsigned:0;\n\
             \tfield:__u8 saddr[4];\toffset:32;\tsize:4;\tsigned:0;\n\n\
             print fmt: \"family=%s\", REC->family\n",
        )
        .unwrap();
        assert_eq!(event.id, 2287);
        let table = [
            ("common_type", Some(0)),
            ("skaddr", Some(8)),
            ("req", Some(16)),
            ("saddr", Some(32)),
            ("x", None),
        ];
        for (name, offset) in table {
            assert_eq!(event.offset(name), offset, "{name}");
        }
    }

    #[test]
    fn a_file_without_an_id_is_refused() {
        assert_eq!(Event::parse("name: x\nformat:\n"), None);
        assert_eq!(Event::parse(""), None);
    }
}
