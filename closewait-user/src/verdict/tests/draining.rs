//! Slow readers with pauses: what was read after the FIN is remembered.

use super::*;

const FROM: MonoNs = MonoNs(50_000_000_000);

fn after(seconds: u64) -> MonoNs {
    FROM + Duration::from_secs(seconds)
}

/// A socket of which `unread` bytes are left at two looks, the newest `at` then.
fn left(at: MonoNs, unread: u32) -> Evidence {
    let look = |at: MonoNs| {
        let mut socket = DiagSocket { recv_q: unread, ..socket() };
        // Nothing was sent since before the FIN.
        tcp(&mut socket).last_data_sent_ms = u32::try_from(at.since(FROM).as_millis() + 5000).ok();
        Look { at, socket }
    };
    Evidence { looks: vec![look(at - Duration::from_millis(400)), look(at)], ..held() }
}

/// As the driver has it judged.
fn judged(rhythms: &mut Rhythms, evidence: Evidence) -> Told {
    let suspect = Suspect { since: Since::Seen(FROM), ..suspect() };
    let now = evidence.looks[1].at;
    rhythms.note(&suspect, &evidence);
    let evidence = Evidence { drained: rhythms.drained(suspect.id), ..evidence };
    let Verdict { code, also, confidence, leak } = verdict(&suspect, &evidence, now, &Policy::default());
    let Words { evidence, missing, next } = words(&suspect, &evidence, now, now, &Policy::default());
    Told { code, also, confidence, leak, evidence, missing, next }
}

#[test]
fn a_read_every_seven_seconds_stays_a_slow_reader() {
    let mut rhythms = Rhythms::default();
    let unread = |look: u64| 90_001 - u32::try_from(look / 7).unwrap() * 1000;
    let first = judged(&mut rhythms, left(after(10), unread(10)));
    assert_eq!((first.code, first.leak), (Code::NotReading, Some(true)), "nothing was seen to be read yet");
    for look in (20..=300).step_by(10) {
        let told = judged(&mut rhythms, left(after(look), unread(look)));
        let what = (told.code, told.confidence, told.leak, told.also);
        assert_eq!(what, (Code::SlowReader, High, Some(false), vec![]), "{look}");
        if look == 300 {
            says(&told.evidence, "41000 bytes were read in the last 4 min, none in the last 400 ms");
        }
    }
    rhythms.forget(suspect().id);
    assert_eq!(rhythms.drained(suspect().id), None);
}

#[test]
fn who_has_stopped_reading_is_told_so_when_the_pause_is_long_for_it() {
    let mut rhythms = Rhythms::default();
    judged(&mut rhythms, left(after(10), 9000));
    assert_eq!(judged(&mut rhythms, left(after(20), 8000)).code, Code::SlowReader);
    assert_eq!(judged(&mut rhythms, left(after(79), 8000)).code, Code::SlowReader, "a minute");
    let stopped = judged(&mut rhythms, left(after(80), 8000));
    assert_eq!((stopped.code, stopped.confidence, stopped.leak), (Code::NotReading, Medium, Some(true)));
    says(&stopped.evidence, "1000 bytes were read in the last 70.4 s, none in the last 60.4 s");
    // It goes on after all: three times as long a pause is none that is long for it.
    judged(&mut rhythms, left(after(110), 7000));
    assert_eq!(judged(&mut rhythms, left(after(379), 7000)).code, Code::SlowReader);
    assert_eq!(judged(&mut rhythms, left(after(380), 7000)).code, Code::NotReading);
    // With the FIN all is read.
    assert_eq!(judged(&mut rhythms, left(after(390), 0)).code, Code::EofConsumed);
}

#[test]
fn the_fin_alone_and_what_is_never_read_is_no_reading() {
    let mut rhythms = Rhythms::default();
    for (look, unread) in [(10, 1), (20, 1), (30, 0)] {
        assert_ne!(judged(&mut rhythms, left(after(look), unread)).code, Code::SlowReader);
    }
    assert_eq!(rhythms.drained(suspect().id), None);
}

/// In a gate: it was late because it read slowly, not because it forgot to close.
#[test]
fn a_slow_reader_that_closes_at_the_eof_has_not_ignored_it() {
    let from = after(10);
    let drained = Drained { from, bytes: 3000, last: after(20), pause: Duration::ZERO };
    let read = |at| EofRead { task: task("app", 7, 7), at, stack: Fact::unknown("test"), stack_note: None };
    let closed = |drained, eof, closed_after: Option<Duration>| {
        let mut evidence = left(after(20), 1001);
        evidence.looks.push(Look { at: after(25), socket: DiagSocket { recv_q: 0, tcp: None, ..socket() } });
        let (task, written) = (task("app", 7, 7), Fact::Known(0));
        let end = ProcessEnd { task, closed_after, clean_up: None, written };
        short(&Evidence { ended: Some(end), drained, eof_read: Fact::Known(Some(read(eof))), ..evidence })
    };
    let late = Some(Duration::from_secs(25));
    let (code, _, leak) = closed(Some(drained), after(25), late);
    assert_eq!((code, leak), (Code::SlowReader, Some(false)));
    for (drained, eof, closed_after, why) in [
        (None, after(25), late, "nobody read it for so long"),
        (Some(drained), after(23), late, "the EOF was told two seconds before"),
        (Some(drained), after(25), None, "it was not closed"),
    ] {
        let (code, _, leak) = closed(drained, eof, closed_after);
        assert_eq!((code, leak), (Code::EofIgnored, Some(true)), "{why}");
    }
}

/// In a gate: what was read once, and then left open until its process ended, was not being read.
#[test]
fn who_ends_in_a_pause_was_reading_only_if_it_had_paused_so_long_before() {
    let ended = |pause, silent| {
        let mut evidence = left(after(40), 1001);
        let last = after(45) - Duration::from_secs(silent);
        let pause = Duration::from_secs(pause);
        evidence.drained = Some(Drained { from: after(10), bytes: 3000, last, pause });
        evidence.looks.push(Look {
            at: after(45),
            socket: DiagSocket { tcp: None, ..evidence.looks[1].socket.clone() },
        });
        let end = ProcessEnd {
            task: task("app", 7, 7),
            closed_after: None,
            clean_up: None,
            written: Fact::Known(0),
        };
        let suspect = Suspect { since: Since::Seen(FROM), ..suspect() };
        let evidence = Evidence { ended: Some(end), ..evidence };
        let Verdict { code, leak, .. } = verdict(&suspect, &evidence, after(45), &Policy::default());
        (code, leak)
    };
    for (pause, silent, want) in [
        (10, 5, (Code::SlowReader, Some(false))),
        (10, 25, (Code::SlowReader, Some(false))),
        (5, 25, (Code::NotReading, Some(true))),
        (0, 25, (Code::NotReading, Some(true))),
    ] {
        assert_eq!(ended(pause, silent), want, "paused for {pause} s, silent for {silent}");
    }
}
