//! The sockets that are stuck, in a table that can be searched.

use std::io::{self, Write};

use hashbrown::HashMap;

use super::causes::is_told;
use super::markup::{inert, text};
use crate::report::Member;
use crate::report::ledger::Cause;
use crate::report::text::block::{leak_word, running};
use crate::report::text::style::{age, count};
use crate::report::{Age, Moment};
use crate::text::Text;

/// Sockets that are listed.
const LISTED: usize = 2_000;

pub(super) fn write(out: &mut dyn Write, causes: &[Cause<'_>], at: Moment<'_>) -> io::Result<()> {
    let all = at.ledger.sockets().len();
    writeln!(out, "<h2>Sockets</h2>")?;
    if all == 0 {
        return writeln!(out, "<p>None is stuck now.</p>");
    }
    if all > LISTED {
        let (listed, all) = (count(LISTED as u64), count(all as u64));
        writeln!(
            out,
            "<p class=\"left-out\">{listed} of {all} sockets are listed: those of the worst causes, the oldest \
             first. JSON has them all.</p>"
        )?;
    }
    let place: HashMap<_, _> = causes.iter().enumerate().map(|(n, cause)| (cause.id, n)).collect();
    let key = |member: &&Member| {
        let place = place.get(&member.cause).copied().unwrap_or(usize::MAX);
        (place, member.entered, member.tuple.remote, member.tuple.local)
    };
    let mut members: Vec<_> = at.ledger.sockets().collect();
    if all > LISTED {
        members.select_nth_unstable_by_key(LISTED, key);
        members.truncate(LISTED);
    }
    members.sort_unstable_by_key(key);
    // The script shows it, and without one it would be of no use.
    writeln!(
        out,
        "<p id=\"search\" hidden=\"hidden\"><label>Search <input id=\"words\" type=\"search\"/></label> \
         <span id=\"shown\"></span></p>"
    )?;
    writeln!(out, "<div class=\"wide\"><table class=\"list\" id=\"sockets\"><thead><tr>")?;
    for head in ["Age", "Local", "Remote", "Owner", "Fd", "Verdict", "Leak", "Namespace", "Cause"] {
        write!(out, "<th>{head}</th>")?;
    }
    writeln!(out, "</tr></thead><tbody>")?;
    for member in members {
        let cause = place.get(&member.cause).map(|&n| &causes[n]);
        let owner = cause.and_then(|cause| cause.exemplar.owner().known().copied());
        // All sockets of a cause are of processes of a name that run the same, but for those that
        // ended with their process: these are of any.
        let owner = owner.filter(|_| cause.is_none_or(|cause| cause.exemplar.evidence.ended.is_none()));
        let program = owner
            .map(|holder| running(&holder.comm, holder.told_program().map(Text::as_str)))
            .unwrap_or_default();
        let (owner, fd) = match member.pid.zip(member.fd) {
            Some((pid, fd)) => {
                let who = owner.map(|holder| format!("{}[{pid}]", inert(&holder.comm)));
                let who = who.unwrap_or_else(|| format!("pid {pid}"));
                (who + &text(&program), fd.to_string())
            }
            None => ("unknown".into(), "?".into()),
        };
        let id = member.cause;
        let link = match place.get(&id) {
            Some(&place) if is_told(place) => format!("<a href=\"#cause-{id}\">{id}</a>"),
            _ => id.to_string(),
        };
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{owner}</td><td>{fd}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{link}</td></tr>",
            text(&age(Age::between(member.entered.0, member.entered.1, at.now))),
            member.tuple.local,
            member.tuple.remote,
            cause.map_or("", |cause| cause.exemplar.verdict.code.name()),
            leak_word(member.leak).0,
            member.netns.0,
        )?;
    }
    writeln!(out, "</tbody></table></div>\n<p class=\"print\">Print shows the first hundred.</p>")
}
