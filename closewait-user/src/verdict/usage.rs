//! Whether those who hold a socket have used it, or can know of it at all. Pure.
//!
//! The kernel does not tell who has read or written. But what never happened, or had
//! happened before a holder began, it did not do; and a program that was started with a
//! descriptor it was never told of does not use it.

use std::time::Duration;

use super::case::{Case, name};
use super::{Doing, Holder, Target};
use crate::clock::MonoNs;
use crate::fact::Fact;

/// The kernel keeps times of a socket, and when a process began, in ticks of at most this.
const TICK: Duration = Duration::from_millis(10);

/// What is known of that.
pub(super) enum Use {
    /// No holder has read or written it.
    Unused(String),
    /// No holder was told of it.
    Unaware(String),
    /// One has, this one.
    Used(String),
    /// It cannot be told.
    Unknown(String),
}

/// Whether a holder has read or written the socket.
pub(super) fn used(case: &Case) -> Use {
    if let Fact::Known(Some(read)) = &case.evidence.eof_read {
        let held = case.holders().iter().any(|holder| holder.pid == read.task.pid);
        let reader = name(&read.task);
        return if held {
            Use::Used(case.say(reader))
        } else {
            Use::Unused(case.say(format_args!("{reader} read the EOF and is no holder any more")))
        };
    }
    let why = match untouched(case) {
        Ok(why) => return Use::Unused(why),
        Err(why) => why,
    };
    if let Some(holder) = unaware(case) {
        Use::Unaware(case.say(format_args!(
            "{holder} is a program of its own that was started with the descriptor, and neither its arguments \
             nor its threads refer to it"
        )))
    } else if was_answered(case).is_some_and(|answered| answered) {
        Use::Unaware(case.say(format_args!(
            "what had come was answered before {} began, and nothing has come since",
            case.who()
        )))
    } else {
        Use::Unknown(why.into())
    }
}

/// Whether bytes show that no holder touched it; else why they do not.
fn untouched(case: &Case) -> Result<String, &'static str> {
    let look = case.looks.last();
    let told = look.and_then(|look| {
        let tcp = look.socket.tcp?;
        Some((look, tcp.bytes_received?, tcp.bytes_sent?, tcp.last_data_sent_ms?))
    });
    let Some((look, received, sent, sent_ms)) = told else {
        return Err("this source tells nothing of bytes");
    };
    // Both count the FIN (tcp_rcv_nxt_update).
    if received != u64::from(look.socket.recv_q) {
        return Err("somebody has read it, and the kernel does not tell who");
    }
    if sent == 0 && look.socket.send_q == 0 {
        return Ok("nobody ever read or wrote it".into());
    }
    let last_sent = look.at - Duration::from_millis(sent_ms.into());
    if look.socket.send_q == 0 && all_began_after(case, last_sent) {
        return Ok(format!("nobody ever read it, and nothing was sent since {} began", case.who()));
    }
    Err("somebody has written to it, and the kernel does not tell who")
}

/// Whether data came, was answered, and only then the holders began: they are copies of
/// who has dealt with it.
fn was_answered(case: &Case) -> Option<bool> {
    let look = case.looks.last()?;
    let tcp = look.socket.tcp?;
    let (sent_ms, received_ms) = (tcp.last_data_sent_ms?, tcp.last_data_recv_ms?);
    let answered = tcp.bytes_sent? > 0 && sent_ms < received_ms && look.socket.send_q == 0;
    let last_sent = look.at - Duration::from_millis(sent_ms.into());
    Some(answered && all_began_after(case, last_sent))
}

fn all_began_after(case: &Case, at: MonoNs) -> bool {
    let later = |holder: &Holder| holder.began.known().is_some_and(|began| *began >= at + TICK);
    case.holders().iter().all(later)
}

/// The first holder, when none of them can know that it has the descriptor.
fn unaware<'a>(case: &Case<'a>) -> Option<&'a Holder> {
    let since = existed(case)?;
    let holders = case.holders();
    holders.iter().all(|holder| is_unaware(case, holder, since)).then_some(holders.first()?)
}

/// A time at which the socket was there already: it was opened, or data came.
fn existed(case: &Case) -> Option<MonoNs> {
    if let Fact::Known(opener) = &case.evidence.opener {
        return Some(opener.at);
    }
    let look = case.looks.last()?;
    Some(look.at - Duration::from_millis(look.socket.tcp?.last_data_recv_ms?.into()))
}

/// Whether `holder` was started, with the descriptor left open by chance, after `since`.
fn is_unaware(case: &Case, holder: &Holder, since: MonoNs) -> bool {
    let is = |fact: &Fact<bool>, want| fact.known() == Some(&want);
    // A copy of the parent goes on with what it was doing; what is close-on-exec came
    // otherwise than by exec, or was made so by one who knows it.
    let got_it_by_exec = is(&holder.execed, true) && is(&holder.cloexec, false);
    // One that was there before got it over a unix socket, so it knows.
    let began_later = holder.began.known().is_some_and(|began| *began + TICK + TICK >= since);
    let moved = case.evidence.opener.known().is_some_and(|opener| {
        // Socket activation; or moved to a number that was agreed on.
        opener.task.pid == 1 || opener.fd.is_some_and(|fd| fd != holder.fd)
    });
    let fd = holder.fd.to_string();
    let told = holder
        .cmdline
        .known()
        .is_none_or(|cmdline| cmdline.split(|c: char| !c.is_ascii_digit()).any(|number| number == fd));
    let works_on_it = case.evidence.threads.known().is_some_and(|threads| {
        threads.pid == holder.pid && threads.seen.iter().any(|thread| works_on(&thread.doing, holder.fd))
    });
    got_it_by_exec && began_later && holder.fd > 2 && !moved && !told && !works_on_it
}

fn works_on(doing: &Doing, fd: u32) -> bool {
    let Doing::Call { on: Some(Target::Tcp { fd: on, .. } | Target::File { fd: on, .. }), .. } = doing else {
        return false;
    };
    *on == fd
}
