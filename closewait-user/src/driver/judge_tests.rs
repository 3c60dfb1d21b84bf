use super::*;
use crate::decode::{EofReading, Memory, Opening};
use crate::interrupt::UNLOOKED;
use crate::item::{DiagSocket, Item, Netns, SkAddr, Snapshot, Task, Timer};
use crate::tcp::{Endpoint, State, Tuple};
use crate::verdict::{Holder, Look, OpenedVia, PackedLook, Process};

const THRESHOLD: Duration = Duration::from_secs(10);
const NOW: MonoNs = MonoNs(500_000_000_000);

fn socket(port: u16) -> DiagSocket {
    let end = |port| Endpoint { ip: [10, 0, 0, 1].into(), port };
    DiagSocket {
        tuple: Tuple { local: end(80), remote: end(port) },
        mptcp: false,
        state: State::CloseWait,
        inode: port.into(),
        cookie: None,
        uid: 0,
        recv_q: 1,
        send_q: 0,
        timer: Timer::Off,
        retrans: 0,
        tcp: None,
    }
}

fn holder(fd: u32) -> Holder {
    Holder { process: Process::unknown(7).into(), fd, cloexec: Fact::unknown("test") }
}

/// Two sockets that a snapshot has found, and of which nothing bounds the age.
fn found() -> (Tracker, Vec<Suspect>) {
    let mut tracker = Tracker::new(THRESHOLD);
    let sockets = vec![socket(1), socket(2)];
    let (began, netns, complete) = (NOW, Netns(1), true);
    let snapshot = Snapshot { began, ended: NOW, netns, complete, proves_absence: true, sockets };
    tracker.apply(&Item::Snapshot(snapshot), &mut Vec::new());
    let mut suspects = Vec::new();
    tracker.expire(NOW, &mut suspects);
    assert_eq!(suspects.len(), 2);
    (tracker, suspects)
}

fn ready(judge: &mut Judge, suspect: Suspect, opened: Option<MonoNs>) -> Pending {
    let look = Look { at: NOW, socket: socket(suspect.tuple.remote.port) };
    let evidence =
        Evidence { looks: vec![look], holders: Fact::Known(vec![holder(5)]), ..Evidence::unknown() };
    let opening = opened.map(|at| Opening {
        at,
        task: Task { pid: 7, tid: 7, comm: "app".into() },
        via: OpenedVia::Accept,
        fd: None,
        stack: Err(0),
    });
    let kept = judge.shared.keep(evidence, suspect.tuple);
    let memory = boxed(Memory { opening, ..Memory::default() });
    Pending { suspect, kept, threads: Fact::unknown("test"), memory, stage: Stage::Naming(NOW) }
}

#[test]
fn a_socket_that_turns_out_to_be_young_is_not_counted_among_the_stuck() {
    let (mut tracker, suspects) = found();
    let stacks = Stacks::spawn().unwrap();
    let mut judge = Judge::new(&[], THRESHOLD, NOW, false);
    let [young, old] = &suspects[..] else { panic!("{suspects:?}") };
    let mut is_young = |suspect: &Suspect, now| tracker.is_younger(suspect.id, suspect.not_before, now);
    let mut first = vec![ready(&mut judge, old.clone(), None)];
    judge.count(&mut first, &stacks, NOW, |suspect| is_young(suspect, NOW));
    assert_eq!(first.len(), 1);
    // It was accepted a second before it was found, as the kernel side remembers.
    let opened = MonoNs(NOW.0 - 1_000_000_000);
    let later = NOW + Duration::from_secs(2);
    let mut all = vec![ready(&mut judge, young.clone(), Some(opened)), ready(&mut judge, old.clone(), None)];
    judge.count(&mut all, &stacks, later, |suspect| is_young(suspect, later));
    assert_eq!(all.iter().map(|pending| pending.suspect.id).collect::<Vec<_>>(), [old.id]);
    judge.ended(young.id, later);
    let end = NOW + Duration::from_secs(61);
    let finding = judge.verdict(&all[0], &mut Outlooks::default(), &stacks, end);
    let growth = finding.evidence.growth.known().unwrap();
    assert_eq!((growth.births, growth.closes), (0, 0));
    assert!(tracker.suspect(young.id).is_none(), "it is put back until it is old enough");
}

#[test]
fn what_waits_is_told_as_it_was_gathered() {
    let (_, suspects) = found();
    let mut judge = Judge::new(&[], THRESHOLD, NOW, false);
    let mut pending = ready(&mut judge, suspects[0].clone(), None);
    assert!(pending.unheld_inode().is_none() && !pending.was_not_accepted());
    let tuple = pending.suspect.tuple;
    let second = Look { at: NOW + Duration::from_secs(1), socket: DiagSocket { inode: 9, ..socket(1) } };
    pending.kept.push(PackedLook::new(second.clone(), tuple));
    let evidence = pending.evidence();
    assert_eq!(evidence.holders, Fact::Known(vec![holder(5)]));
    assert_eq!(evidence.looks, [Look { at: NOW, socket: socket(1) }, second]);
    judge.shared.change(&mut pending.kept, |evidence| evidence.holders = Fact::Known(Vec::new()));
    assert_eq!(pending.unheld_inode(), Some(9));
}

#[test]
fn an_eof_that_was_read_since_the_first_look_is_learned_of_once() {
    let (_, suspects) = found();
    let mut judge = Judge::new(&[], THRESHOLD, NOW, false);
    let suspect = Suspect { sk: Some(SkAddr(9)), ..suspects[0].clone() };
    let mut pending = ready(&mut judge, suspect, Some(NOW));
    let tuple = pending.suspect.tuple;
    let look = |recv_q| {
        let socket = DiagSocket { recv_q, ..socket(1) };
        PackedLook::new(Look { at: NOW + Duration::from_secs(1), socket }, tuple)
    };
    let opening = pending.memory.as_ref().and_then(|memory| memory.opening.clone());
    let task = Task { pid: 7, tid: 7, comm: "app".into() };
    let eof = EofReading { at: NOW, task, stack: Err(0), reads: 1 };
    let read =
        |_: SkAddr, _: &Tuple| Some(Memory { opening: opening.clone(), eof: Some(eof.clone()), error: None });
    let unread = |_: SkAddr, _: &Tuple| Some(Memory { opening: opening.clone(), ..Memory::default() });
    let asked = |_: SkAddr, _: &Tuple| -> Option<Memory> { panic!("nobody can have read the FIN") };

    assert!(!pending.learns_of_eof(&look(1), asked));
    for nothing_new in [pending.learns_of_eof(&look(0), unread), pending.learns_of_eof(&look(0), |_, _| None)]
    {
        assert!(!nothing_new);
    }
    assert!(pending.opener().is_some(), "what was known is known still");
    assert!(pending.learns_of_eof(&look(0), read));
    assert!(pending.memory.as_ref().is_some_and(|memory| memory.eof.as_ref() == Some(&eof)));
    assert!(!pending.learns_of_eof(&look(0), asked), "the first read is the one that counts");
    pending.kept.restart(look(0));
    pending.kept.push(look(0));
    assert_eq!(pending.evidence().looks.len(), 2);
}

/// Whether anybody tells of reads, or not: a program that has just been told EOF may close.
#[test]
fn what_was_read_to_its_end_since_the_first_look_is_looked_at_once_more() {
    let (_, suspects) = found();
    let mut judge = Judge::new(&[], THRESHOLD, NOW, true);
    let mut pending = ready(&mut judge, suspects[0].clone(), None);
    let tuple = pending.suspect.tuple;
    let look = |recv_q| {
        let socket = DiagSocket { recv_q, ..socket(1) };
        PackedLook::new(Look { at: NOW + Duration::from_secs(1), socket }, tuple)
    };
    assert!(!pending.is_read_by(&look(1)));
    assert!(pending.is_read_by(&look(0)));
    pending.kept.restart(look(0));
    assert!(!pending.is_read_by(&look(0)), "once");
}

#[test]
fn what_a_descriptor_told_of_where_a_socket_is_stays_known() {
    let (tracker, suspects) = found();
    let mut judge = Judge::new(&[], THRESHOLD, NOW, false);
    let told = Suspect { sk: Some(SkAddr(9)), ..suspects[0].clone() };
    let pending = ready(&mut judge, told, None);
    judge.pending.push(pending);
    judge.refresh(&tracker);
    assert_eq!(judge.pending[0].suspect, Suspect { sk: Some(SkAddr(9)), ..suspects[0].clone() });
}

#[test]
fn what_an_interrupt_has_cut_short_is_told_from_what_failed() {
    let (_, suspects) = found();
    let mut judge = Judge::new(&[], THRESHOLD, NOW, false);
    let mut pending = ready(&mut judge, suspects[0].clone(), None);
    assert!(!pending.was_cut_short());
    judge.shared.change(&mut pending.kept, |evidence| evidence.look_failed = Some("no descriptors".into()));
    assert!(!pending.was_cut_short(), "it failed without an interrupt");
    judge.shared.change(&mut pending.kept, |evidence| evidence.look_failed = Some(UNLOOKED.to_owned()));
    assert!(pending.was_cut_short());
    judge.shared.change(&mut pending.kept, |evidence| {
        evidence.look_failed = None;
        evidence.holders = Fact::unknown(UNLOOKED);
    });
    assert!(pending.was_cut_short());
}
