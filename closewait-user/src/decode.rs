//! Wire records -> Items. Pure: bytes in, an [`Item`] or a typed refusal out. It
//! must never panic, whatever the bytes are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{Buf, Bytes, TryGetError};
use closewait_ebpf as wire;

use crate::clock::MonoNs;
use crate::item::{By, Destroyed, Ended, Item, Netns, Path, SkAddr, StackId, StackRef, Task, Transition};
use crate::stack::capture::{Capture, Regs};
use crate::stack::python::Walk;
use crate::tcp::{Endpoint, State, Tuple};
use crate::text::Text;
use crate::verdict::OpenedVia;

/// Why a record could not be decoded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than its kind.
    #[error("record ends early: {0}")]
    Short(#[from] TryGetError),
    /// A kind this build does not know.
    #[error("unknown record kind {0}")]
    Kind(u32),
    /// A state number this build does not know.
    #[error("unknown TCP state {0}")]
    State(u8),
    /// Neither IPv4 nor IPv6.
    #[error("unknown address family {0}")]
    Family(u16),
}

/// Decodes one record. The addresses of a [`Path`] without a copy are left empty: they
/// are in the stack map, which is the source's to read.
pub fn decode(record: &[u8]) -> Result<Item, DecodeError> {
    let mut buf = record;
    let kind = { record }.try_get_u32_ne()?;
    match kind {
        wire::kind::ENTER => Ok(Item::Transition(transition(&wire::Edge::read(&mut buf)?, None)?)),
        wire::kind::LEAVE => {
            let record = wire::TaskEdge::read(&mut buf)?;
            let by = By {
                task: task(&record.task),
                stack: stack_ref(record.stack_id),
                exiting: exiting(record.about),
                error: (record.about & wire::about::ERROR_READ != 0).then_some(record.error.into()),
            };
            Ok(Item::Transition(transition(&record.edge, Some(by))?))
        }
        wire::kind::DESTROY => {
            let record = wire::Destroy::read(&mut buf)?;
            #[expect(clippy::cast_possible_truncation, reason = "bits")]
            let exiting = exiting(record.about as u16);
            Ok(Item::Destroyed(Destroyed { at: MonoNs(record.at_ns), sk: SkAddr(record.skaddr), exiting }))
        }
        wire::kind::PATH => {
            let record = wire::Path::read(&mut buf)?;
            let stack = StackId(u32::try_from(record.stack_id).unwrap_or(0));
            Ok(Item::Path(Path {
                at: MonoNs(record.at_ns),
                task: task(&record.task),
                stack,
                addrs: Vec::new(),
                copy: None,
                python: None,
            }))
        }
        wire::kind::COPIED => {
            let record = wire::Copied::read(&mut buf)?;
            let len = usize::try_from(record.len).unwrap_or(usize::MAX);
            // The room in the ring is larger than what was read.
            let stack = buf.get(..len).ok_or(TryGetError { requested: len, available: buf.len() })?;
            let python = python(&record, buf)?;
            let regs = Regs {
                ip: record.ip,
                sp: record.sp,
                fp: record.fp,
                lr: (record.lr != 0).then_some(record.lr),
            };
            // More than that is there only if the last page of the room was.
            let truncated = len > wire::STACK_LONG;
            Ok(Item::Path(Path {
                at: MonoNs(record.at_ns),
                task: task(&record.task),
                stack: StackId(u32::try_from(record.stack_id).unwrap_or(0)),
                addrs: Vec::new(),
                copy: Some(Capture { regs, stack: Bytes::copy_from_slice(stack), truncated }),
                python,
            }))
        }
        wire::kind::ENDED => {
            let record = wire::Ended::read(&mut buf)?;
            let mut remembered = Vec::new();
            record.remembered.write(&mut remembered);
            Ok(Item::Ended(Box::new(Ended {
                at: MonoNs(record.at_ns),
                sk: SkAddr(record.skaddr),
                by: task(&record.task),
                exiting: record.about & u32::from(wire::about::EXITING) != 0,
                inode: record.inode.into(),
                unread: record.unread,
                unsent: record.unsent,
                written: record.written,
                remembered,
            })))
        }
        other => Err(DecodeError::Kind(other)),
    }
}

/// The Python frames of a copied stack; `rest` is what follows the record.
fn python(record: &wire::Copied, rest: &[u8]) -> Result<Option<Walk>, DecodeError> {
    if record.python == 0 {
        return Ok(None);
    }
    let mut frames = rest.get(wire::STACK_ROOM..).unwrap_or_default();
    let most = u32::try_from(wire::PYTHON_FRAMES).unwrap_or(0);
    let frames = (0..record.python.min(most)).map(|_| wire::PythonFrame::read(&mut frames));
    Ok(Some(Walk {
        runtime: record.python_runtime,
        layout: record.python_layout,
        frames: frames.collect::<Result<_, _>>()?,
        more: record.python_more != 0,
    }))
}

/// What the kernel side remembers of a socket.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Memory {
    /// Who opened it; `None` when that was not seen.
    pub opening: Option<Opening>,
    /// Who was first told EOF; `None` when nobody was seen to be.
    pub eof: Option<EofReading>,
    /// The error the kernel last reported for it, an errno.
    pub error: Option<u32>,
}

/// Who opened a socket.
#[derive(Clone, PartialEq, Debug)]
pub struct Opening {
    /// When.
    pub at: MonoNs,
    /// Who.
    pub task: Task,
    /// By accept or by connect.
    pub via: OpenedVia,
    /// The descriptor, where the hook could know it.
    pub fd: Option<u32>,
    /// The user stack.
    pub stack: StackRef,
}

/// The first read that returned EOF.
#[derive(Clone, PartialEq, Debug)]
pub struct EofReading {
    /// When.
    pub at: MonoNs,
    /// Who.
    pub task: Task,
    /// The user stack.
    pub stack: StackRef,
    /// How many such reads there were.
    pub reads: u32,
}

/// Decodes a value of the `SOCKETS` map. `None` when the entry belongs to another
/// socket than `tuple`: a stale entry.
pub fn memory(value: &[u8], tuple: &Tuple) -> Option<Memory> {
    let value = wire::Remembered::read(&mut { value }).ok()?;
    let opened = value.opened;
    let via = match opened.via {
        wire::via::NONE => None,
        wire::via::CONNECT => Some(OpenedVia::Connect),
        _ => Some(OpenedVia::Accept),
    };
    let same = opened.dport == tuple.remote.port && (opened.sport == 0 || opened.sport == tuple.local.port);
    if via.is_some() && !same {
        return None;
    }
    Some(Memory {
        opening: via.map(|via| Opening {
            at: MonoNs(opened.at_ns),
            task: task(&opened.task),
            via,
            fd: u32::try_from(opened.fd).ok(),
            stack: stack_ref(opened.stack_id),
        }),
        eof: (value.eof.at_ns != 0).then(|| EofReading {
            at: MonoNs(value.eof.at_ns),
            task: task(&value.eof.task),
            stack: stack_ref(value.eof.stack_id),
            reads: value.eof.reads,
        }),
        error: (value.error != 0).then_some(value.error),
    })
}

/// When a socket that ended at `end` had entered CLOSE_WAIT, by a value of the `SOCKETS` map: up to
/// a unit too late, never too early. `None` when that was not seen, or the entry belongs to
/// another socket than `tuple`.
pub fn entered(value: &[u8], end: MonoNs, tuple: &Tuple) -> Option<MonoNs> {
    memory(value, tuple)?;
    let entered = wire::Remembered::read(&mut { value }).ok()?.entered;
    if entered == 0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "it wraps, and so does what is compared with it")]
    let units = ((end.0 >> ENTERED_UNIT) as u32).wrapping_sub(entered);
    let unit = (end.0 >> ENTERED_UNIT).checked_sub(units.into())?;
    Some(MonoNs((((unit + 1) << ENTERED_UNIT) - 1).min(end.0)))
}

/// [`wire::Remembered::entered`] counts units of so many bits of nanoseconds.
const ENTERED_UNIT: u32 = 20;

fn transition(edge: &wire::Edge, by: Option<By>) -> Result<Transition, DecodeError> {
    let state = |n| State::from_kernel(n).ok_or(DecodeError::State(n));
    let ip = |bytes| address(edge.family, bytes).ok_or(DecodeError::Family(edge.family));
    Ok(Transition {
        at: MonoNs(edge.at_ns),
        sk: SkAddr(edge.skaddr),
        from: state(edge.oldstate)?,
        to: state(edge.newstate)?,
        tuple: Tuple {
            local: Endpoint { ip: ip(edge.saddr)?, port: edge.sport },
            remote: Endpoint { ip: ip(edge.daddr)?, port: edge.dport },
        },
        netns: Netns(edge.netns),
        mptcp: edge.protocol == wire::tcp_state::IPPROTO_MPTCP,
        has_socket: edge.flags & wire::edge_flags::HAS_SOCKET != 0,
        inode: edge.inode.into(),
        by,
    })
}

/// Both ends of a socket that the iterator over descriptors shows; `None` when its
/// family is neither IPv4 nor IPv6.
pub fn held_tuple(held: &wire::Held) -> Option<Tuple> {
    let end = |ip, port| Some(Endpoint { ip: address(held.family, ip)?, port });
    Some(Tuple { local: end(held.saddr, held.sport)?, remote: end(held.daddr, held.dport)? })
}

fn address(family: u16, bytes: [u8; 16]) -> Option<IpAddr> {
    match family {
        2 => Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        10 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

fn task(task: &wire::Task) -> Task {
    let comm = task.comm.split(|&byte| byte == 0).next().unwrap_or_default();
    Task { pid: task.tgid, tid: task.tid, comm: Text::of(&String::from_utf8_lossy(comm)) }
}

/// Whether the task of a record was ending, of the bits `about` it.
fn exiting(about: u16) -> Option<bool> {
    (about & wire::about::EXITING_READ != 0).then_some(about & wire::about::EXITING != 0)
}

/// A stack id of the wire. "Not asked for" becomes errno 0.
fn stack_ref(id: i32) -> StackRef {
    match u32::try_from(id) {
        Ok(id) => Ok(StackId(id)),
        Err(_) if id == wire::NO_STACK => Err(0),
        Err(_) => Err(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edge(kind: u32, family: u16) -> wire::Edge {
        let mut saddr = [0; 16];
        saddr[..4].copy_from_slice(&[10, 0, 0, 1]);
        let mut daddr = [0; 16];
        daddr[..4].copy_from_slice(&[10, 0, 0, 2]);
        wire::Edge {
            kind,
            oldstate: 1,
            newstate: 8,
            family,
            at_ns: 5,
            skaddr: 0xffff_8881_0000_4711,
            netns: 4_026_531_840,
            sport: 8080,
            dport: 51_334,
            saddr,
            daddr,
            protocol: 6,
            flags: 1,
            inode: 0,
        }
    }

    fn bytes(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes);
        bytes
    }

    #[test]
    fn an_entry_has_no_task_and_the_addresses_of_its_family() {
        let Ok(Item::Transition(v4)) = decode(&bytes(|b| edge(wire::kind::ENTER, 2).write(b))) else {
            panic!("not a transition");
        };
        assert_eq!((v4.from, v4.to, v4.by), (State::Established, State::CloseWait, None));
        assert_eq!(v4.tuple.to_string(), "10.0.0.1:8080 <- 10.0.0.2:51334");
        let Ok(Item::Transition(v6)) = decode(&bytes(|b| edge(wire::kind::ENTER, 10).write(b))) else {
            panic!("not a transition");
        };
        assert_eq!(v6.tuple.local.to_string(), "[a00:1::]:8080");
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_number() {
        let strange = |change: fn(&mut wire::Edge)| {
            let mut record = edge(wire::kind::ENTER, 2);
            change(&mut record);
            decode(&bytes(|b| record.write(b))).unwrap_err()
        };
        assert_eq!(strange(|e| e.kind = 99), DecodeError::Kind(99));
        assert_eq!(strange(|e| e.newstate = 77), DecodeError::State(77));
        assert_eq!(strange(|e| e.family = 1), DecodeError::Family(1));
        assert!(matches!(decode(&[1, 0]), Err(DecodeError::Short(_))));
    }

    #[test]
    fn a_stale_opening_lends_its_owner_to_nobody() {
        let tuple = Tuple {
            local: Endpoint { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 8080 },
            remote: Endpoint { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 50_000 },
        };
        let value = |sport, dport, via| {
            let mut entry = wire::Remembered::EMPTY;
            entry.opened.task = wire::Task { tgid: 7, tid: 8, comm: *b"a\xffb\0junk\0\0\0\0\0\0\0\0" };
            (entry.opened.sport, entry.opened.dport, entry.opened.via) = (sport, dport, via);
            entry.error = 32;
            bytes(|b| entry.write(b))
        };
        let accepted = memory(&value(8080, 50_000, wire::via::ACCEPT_FENTRY), &tuple).unwrap();
        let opening = accepted.opening.unwrap();
        assert_eq!(opening.task.comm, "a\u{fffd}b");
        assert_eq!((opening.fd, opening.stack, accepted.error), (None, Err(0), Some(32)));
        assert!(memory(&value(0, 50_000, wire::via::CONNECT), &tuple).is_some(), "port not bound yet");
        assert_eq!(memory(&value(8080, 50_001, wire::via::ACCEPT_FENTRY), &tuple), None);
        assert_eq!(memory(&value(8081, 50_000, wire::via::ACCEPT_FENTRY), &tuple), None);
        assert_eq!(memory(&value(8080, 50_000, wire::via::CONNECT)[..40], &tuple), None);
        let unseen = memory(&value(0, 0, wire::via::NONE), &tuple).unwrap();
        assert_eq!((unseen.opening, unseen.eof, unseen.error), (None, None, Some(32)));
    }

    #[test]
    fn when_it_entered_is_told_by_what_is_remembered_and_never_too_early() {
        let tuple = Tuple {
            local: Endpoint { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 8080 },
            remote: Endpoint { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 50_000 },
        };
        let told = |entered, end, sport| {
            let mut entry = wire::Remembered { entered, ..wire::Remembered::EMPTY };
            (entry.opened.via, entry.opened.sport, entry.opened.dport) =
                (wire::via::ACCEPT_FENTRY, sport, 50_000);
            super::entered(&bytes(|b| entry.write(b)), MonoNs(end), &tuple)
        };
        let ms = |ms: u64| ms * 1_000_000;
        for (entered, end) in [(ms(5000), ms(9000)), (ms(5000), ms(5000)), (ms(1 << 33), ms((1 << 33) + 7))] {
            #[expect(clippy::cast_possible_truncation, reason = "as the kernel side does")]
            let at = told((entered >> 20) as u32, end, 8080).unwrap().0;
            assert!((entered..=end.min(entered + (1 << 20))).contains(&at), "{entered} {end} {at}");
        }
        // The units have begun again since.
        let wrap = 1_u64 << 52;
        assert_eq!(told(u32::MAX, wrap + ms(10), 8080), Some(MonoNs(wrap - 1)));
        assert_eq!(told(0, ms(9000), 8080), None, "it was not seen");
        assert_eq!(told(5000, ms(9000), 8081), None, "of another socket");
        assert_eq!(told(9000, ms(5), 8080), None, "no moment of this clock");
    }

    #[test]
    fn of_a_copied_stack_only_what_was_read_is_taken_and_no_more_is_believed() {
        let copied = |len, room: usize| {
            bytes(|b| {
                let task = wire::Task { tgid: 7, tid: 8, comm: *b"server\0\0\0\0\0\0\0\0\0\0" };
                let (ip, sp, fp) = (0x55d0, 0x7ffc_0000, 3);
                let (kind, stack_id) = (wire::kind::COPIED, 4711);
                let (python, python_runtime, python_layout, python_more) = (0, 0, 0, 0);
                wire::Copied {
                    kind,
                    stack_id,
                    at_ns: 5,
                    task,
                    ip,
                    sp,
                    fp,
                    lr: 0,
                    len,
                    python,
                    python_runtime,
                    python_layout,
                    python_more,
                }
                .write(b);
                b.extend((0..room).map(|at| u8::try_from(at % 251).unwrap()));
            })
        };
        let Ok(Item::Path(path)) = decode(&copied(64, wire::STACK_ROOM)) else { panic!("a path") };
        assert_eq!((path.task.pid, path.stack, path.addrs.len()), (7, StackId(4711), 0));
        let copy = path.copy.unwrap();
        assert_eq!(copy.regs, Regs { ip: 0x55d0, sp: 0x7ffc_0000, fp: 3, lr: None });
        assert_eq!((copy.stack.len(), copy.stack[63], copy.truncated), (64, 63, false));

        let long = u32::try_from(wire::STACK_LONG).unwrap();
        for (len, goes_on) in [(long, false), (long + 1, true)] {
            let Ok(Item::Path(path)) = decode(&copied(len, wire::STACK_ROOM)) else { panic!("a path") };
            assert_eq!(path.copy.unwrap().truncated, goes_on, "{len}");
        }
        assert!(matches!(decode(&copied(65, 64)), Err(DecodeError::Short(_))));
        assert!(matches!(decode(&copied(u32::MAX, 64)), Err(DecodeError::Short(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(record in proptest::collection::vec(any::<u8>(), 0..200), kind in 0_u8..7) {
            let mut record = record;
            if record.len() >= 4 {
                record[..4].copy_from_slice(&u32::from(kind).to_ne_bytes());
            }
            let _ = decode(&record);
        }
    }
}
