//! Half-closes with pauses: what was sent after the EOF is remembered.

use super::*;

const EOF: MonoNs = MonoNs(50_000_000_000);

fn after_eof(seconds: u64) -> MonoNs {
    EOF + Duration::from_secs(seconds)
}

/// A socket whose holder read the EOF and has since sent `bytes` in all, the last `ms` ago.
fn at(at: MonoNs, bytes: u64, ms: u64, retransmitted: u32) -> Evidence {
    let look = |at: MonoNs, ms: u64| {
        let mut socket = socket();
        socket.recv_q = 0;
        let tcp = tcp(&mut socket);
        tcp.last_data_sent_ms = Some(u32::try_from(ms).unwrap());
        tcp.total_retrans = Some(retransmitted);
        (tcp.bytes_sent, tcp.bytes_acked) = (Some(1000 + bytes), Some(1000 + bytes));
        Look { at, socket }
    };
    let read = EofRead { task: task("app", 7, 7), at: EOF, stack: Fact::unknown("test"), stack_note: None };
    Evidence {
        looks: vec![look(at - Duration::from_millis(400), ms.saturating_sub(400)), look(at, ms)],
        eof_read: Fact::Known(Some(read)),
        ..held()
    }
}

/// As the driver has it judged.
fn judged(rhythms: &mut Rhythms, evidence: Evidence) -> Told {
    let suspect = Suspect { since: Since::Seen(EOF), ..suspect() };
    let now = evidence.looks[1].at;
    rhythms.note(&suspect, &evidence);
    let evidence = Evidence { sent: rhythms.of(suspect.id), ..evidence };
    let Verdict { code, also, confidence, leak } = verdict(&suspect, &evidence, now, &Policy::default());
    let Words { evidence, missing, next } = words(&suspect, &evidence, now, now, &Policy::default());
    Told { code, also, confidence, leak, evidence, missing, next }
}

#[test]
fn a_row_every_seven_seconds_stays_a_half_close() {
    for retransmitted in [0, 3] {
        let mut rhythms = Rhythms::default();
        let mut told = Vec::new();
        for look in (10..=310).step_by(10) {
            let (rows, ago) = (look / 7, look % 7 * 1000);
            // At a retransmission the first look proves nothing.
            let verdict = judged(&mut rhythms, at(after_eof(look), rows * 64, ago, retransmitted));
            told.push((verdict.code, verdict.confidence, verdict.leak, verdict.also));
            if look == 310 {
                says(
                    &verdict.evidence,
                    "sent 2752 bytes in the last 5 min, the newest 2.0 s ago: after the EOF",
                );
            }
        }
        let first = usize::from(retransmitted > 0);
        let want = (Code::Sending, High, Some(false), vec![Code::EofIgnored]);
        assert!(told[first..].iter().all(|told| *told == want), "{told:?}");
    }
}

#[test]
fn one_that_fell_silent_is_stuck_by_and_by() {
    let mut rhythms = Rhythms::default();
    // Sent last 17 s after the EOF, after a pause of 14 s.
    judged(&mut rhythms, at(after_eof(10), 64, 7000, 0));
    let table = [
        (20, (Code::Sending, High, Some(false))),
        (77, (Code::Sending, High, Some(false))),
        (78, (Code::EofIgnored, Medium, None)),
        (616, (Code::EofIgnored, Medium, None)),
        (617, (Code::EofIgnored, Medium, Some(true))),
    ];
    for (look, want) in table {
        let verdict = judged(&mut rhythms, at(after_eof(look), 128, (look - 17) * 1000, 0));
        assert_eq!((verdict.code, verdict.confidence, verdict.leak), want, "{look} s after the EOF");
        says(&verdict.evidence, "after the EOF");
        if look > 77 {
            assert!(verdict.next.contains("more to send"), "{verdict:?}");
        }
    }
    // A longer rhythm is waited for longer.
    judged(&mut rhythms, at(after_eof(700), 192, 3000, 0));
    let paused =
        |rhythms: &mut Rhythms, look| judged(rhythms, at(after_eof(look), 192, (look - 697) * 1000, 0));
    assert_eq!(paused(&mut rhythms, 697 + 3 * 680).code, Code::Sending);
    assert_eq!(paused(&mut rhythms, 698 + 3 * 680).code, Code::EofIgnored);
}

#[test]
fn an_answer_or_a_goodbye_is_no_half_close_that_goes_on() {
    let mut rhythms = Rhythms::default();
    // Half a second after the EOF; and before it.
    for ago in [9500, 10_500] {
        let verdict = judged(&mut rhythms, at(after_eof(10), 24, ago, 0));
        assert_eq!((verdict.code, verdict.confidence, verdict.leak), (Code::EofIgnored, High, Some(true)));
    }
    // One look is enough where it was later, but not where it may have been sent again.
    let one = |evidence: Evidence| Evidence { looks: evidence.looks[1..].to_vec(), ..evidence };
    let now = |evidence| verdict(&suspect(), &evidence, NOW, &Policy::default());
    let sends = now(one(at(NOW, 24, 5000, 0)));
    assert_eq!((sends.code, sends.confidence, sends.leak), (Code::Sending, High, Some(false)));
    let again = now(one(at(NOW, 24, 5000, 1)));
    assert_eq!((again.code, again.confidence, again.leak), (Code::EofIgnored, Low, None));
    // Who is told the EOF after it has sent was told last.
    rhythms.forget(suspect().id);
    assert_eq!(rhythms.of(suspect().id), None);
}

#[test]
fn who_cannot_send_does_not_go_on() {
    let mut full = at(after_eof(10), 64, 3000, 0);
    for look in &mut full.looks {
        (look.socket.send_q, look.socket.timer) = (4096, Timer::Persist);
        tcp(&mut look.socket).snd_wnd = Some(0);
    }
    let verdict = judged(&mut Rhythms::default(), full);
    assert_eq!((verdict.code, verdict.leak), (Code::SendBlocked, None), "{verdict:?}");
}

/// A recording can say anything.
#[test]
fn a_pause_of_any_length_does_no_harm() {
    let evidence = at(after_eof(10), 64, 3000, 0);
    let sent = Sent { from: EOF, bytes: 1, last: after_eof(5), pause: Duration::MAX };
    let evidence = Evidence { sent: Some(sent), ..evidence };
    assert_eq!(verdict(&suspect(), &evidence, NOW, &Policy::default()).code, Code::Sending);
    let silent = Sent { pause: Duration::MAX / 3, ..sent };
    words(
        &suspect(),
        &Evidence { sent: Some(silent), ..evidence },
        MonoNs(u64::MAX),
        MonoNs(u64::MAX),
        &Policy::default(),
    );
}
