//! Stacks for people: `a <- b <- c`, the innermost frame of the program first.
//! What every stack has in common ([`crate::stack::fold`]) and what repeats is folded.

use std::sync::Arc;

use unicode_width::UnicodeWidthStr;

use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::report::escape::escape;
use crate::report::model::{Age, Finding, entered};
use crate::stack::fold::{bare_method, is_plumbing_module, of_program, own_frames};
use crate::verdict::{Frame, How};

use super::block;
use super::place::addresses;
use super::style::{age, shorten, span};

/// Widest a single symbol may be.
const SYMBOL: usize = 48;

/// One line of `width` columns, or up to `most` when the next earns it; what does not
/// fit is counted. An empty stack gives no line.
pub(crate) fn fold(frames: &[Frame], width: usize, most: usize) -> Vec<String> {
    let names = names(frames);
    let mut lines: Vec<String> = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let left = names.len() - i;
        // On the last line there must be room to say how many are left.
        let room = |lines: usize| if lines < most { 0 } else { more(left - 1).width() };
        let now = lines.len();
        match lines.last_mut() {
            None => lines.push(shorten(name, width - room(1))),
            Some(line) if line.width() + 4 + name.width() + room(now) <= width => {
                line.push_str(&format!(" <- {name}"));
            }
            Some(_) if now < most => {
                lines.push(format!("<- {}", shorten(name, width - 3 - room(now + 1))));
            }
            Some(line) => {
                line.push_str(&more(left));
                break;
            }
        }
    }
    lines
}

/// Every frame on a line of its own, the innermost first: its name, where that is in the source,
/// its module and how it was found. Names are escaped.
fn whole(frames: &[Frame]) -> Vec<String> {
    let line = |(i, frame): (usize, &Frame)| {
        let module = frame.module_name().map(|module| format!("{}+{:#x}", escape(module), frame.offset));
        let mut line = match (&frame.symbol, &module) {
            (Some(symbol), _) => escape(symbol).into_owned(),
            (None, Some(module)) => module.clone(),
            (None, None) => format!("{:#x}", frame.addr),
        };
        if frame.how == How::Scan {
            line.push('?');
        }
        if frame.inlined {
            line.push_str(" (inlined)");
        }
        if let Some(file) = &frame.file {
            let number = frame.line.map_or(String::new(), |line| format!(":{line}"));
            line.push_str(&format!("  {}{number}", escape(file)));
        }
        if let (Some(module), true) = (module, frame.symbol.is_some()) {
            line.push_str(&format!("  {module}"));
        }
        format!("{i:>3} {line}")
    };
    frames.iter().enumerate().map(line).collect()
}

/// Who opened it and who was told EOF, with every frame.
pub(crate) fn all(finding: &Finding, now: MonoNs) -> Vec<(String, Vec<String>)> {
    let evidence = &finding.evidence;
    let frames = |stack: &Fact<Arc<Vec<_>>>, note: &Option<String>| {
        let mut lines = match stack {
            Fact::Known(frames) if frames.is_empty() => vec!["no stack: it is empty".to_owned()],
            Fact::Known(frames) => whole(frames),
            Fact::Unknown(reason) => vec![format!("no stack: {}", escape(reason))],
        };
        lines.extend(note.as_deref().map(|note| format!("({})", escape(note))));
        lines
    };
    let of = addresses(finding.suspect.tuple, evidence.role.known().copied());
    let mut stacks = Vec::new();
    match &evidence.opener {
        Fact::Known(opener) => {
            let title = format!("opened by {}, {of}", block::name(&opener.task.comm, opener.task.pid));
            stacks.push((title, frames(&opener.stack, &opener.stack_note)));
        }
        Fact::Unknown(reason) => {
            stacks.push((format!("opened, {of}"), vec![format!("not known: {}", escape(reason))]));
        }
    }
    match &evidence.eof_read {
        Fact::Known(Some(read)) => {
            // What has ended grows no older.
            let at = if evidence.ended.is_some() { finding.at } else { now.max(finding.at) };
            let ago = Age::between(read.at, Some(read.at), at);
            let ago = age(ago);
            let (_, entered) = entered(&finding.suspect);
            let after = entered
                .map_or(String::new(), |entered| format!(", {} after the FIN", span(read.at.since(entered))));
            let title =
                format!("EOF read by {} {ago} ago{after}", block::name(&read.task.comm, read.task.pid));
            stacks.push((title, frames(&read.stack, &read.stack_note)));
        }
        Fact::Known(None) => {
            stacks.push(("EOF read".into(), vec!["nobody has read it".to_owned()]));
        }
        Fact::Unknown(reason) => {
            stacks.push(("EOF read".into(), vec![format!("not known: {}", escape(reason))]));
        }
    }
    stacks
}

/// The build ids of the program's own modules that have no names for frames of this stack: with
/// one, and the offset, they can be named on another machine. Not escaped yet.
pub(crate) fn build_ids(frames: &[Frame]) -> Option<String> {
    let mut ids: Vec<String> = Vec::new();
    for frame in of_program(own_frames(frames)).filter(|frame| frame.symbol.is_none()) {
        if let (Some(module), Some(id)) = (&frame.module, &frame.build_id)
            && !is_plumbing_module(module)
        {
            let id = format!("{}, build id {id}", frame.module_name().unwrap_or(module));
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    (!ids.is_empty()).then(|| format!("without symbols: {}", ids.join("; ")))
}

fn more(frames: usize) -> String {
    if frames == 0 { String::new() } else { format!(" <- … {frames} more") }
}

/// What to print for each frame, repeats folded.
fn names(frames: &[Frame]) -> Vec<String> {
    // The innermost frames (accept4, its cancellation wrapper, a runtime's poller) are in every stack.
    let own = of_program(own_frames(frames));
    let mut names: Vec<(String, usize)> = Vec::new();
    for (i, frame) in own.enumerate() {
        // Where the program did it: worth a place in its source.
        let name = name(frame, i == 0);
        match names.last_mut() {
            Some((last, times)) if *last == name => *times += 1,
            _ => names.push((name, 1)),
        }
    }
    names.into_iter().map(|(name, times)| if times > 1 { format!("{name} x{times}") } else { name }).collect()
}

fn name(frame: &Frame, with_source: bool) -> String {
    let mut name = match (&frame.symbol, frame.module_name()) {
        (Some(symbol), _) => shorten(&escape(bare(symbol)), SYMBOL),
        (None, Some(module)) => shorten(&format!("{}+{:#x}", escape(module), frame.offset), SYMBOL),
        (None, None) => format!("{:#x}", frame.addr),
    };
    // Found by scanning: it may be a left-over of an earlier call.
    if frame.how == How::Scan {
        name.push('?');
    }
    if with_source && let Some(file) = &frame.file {
        let file = file.rsplit('/').next().unwrap_or(file);
        let line = frame.line.map_or(String::new(), |l| format!(":{l}"));
        name.push_str(&format!(" ({}{line})", shorten(&escape(file), SYMBOL / 2)));
    }
    name
}

/// A C++ symbol without its arguments: `pool::take(std::string const&)` is `pool::take`; a Java
/// method without its types.
fn bare(symbol: &str) -> &str {
    match symbol.find('(') {
        Some(at)
            if at > 0
                && symbol.ends_with([')', 't'])
                && symbol.contains("::")
                && !symbol.starts_with('<') =>
        {
            &symbol[..at]
        }
        _ => bare_method(symbol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(symbol: &str, module: &str) -> Frame {
        Frame {
            addr: 0x55d0_0000_1234,
            symbol: (!symbol.is_empty()).then(|| symbol.to_owned()),
            module: (!module.is_empty()).then(|| module.to_owned()),
            offset: 0x1a2,
            build_id: None,
            file: None,
            line: None,
            inlined: false,
            how: How::Dwarf,
        }
    }

    #[test]
    fn libc_is_skipped_repeats_are_folded_and_the_rest_is_counted() {
        let frames = [
            frame("accept4", "/lib/x86_64-linux-gnu/libc.so.6"),
            frame("serve", "/usr/bin/app"),
            frame("step", "/usr/bin/app"),
            frame("step", "/usr/bin/app"),
            frame("step", "/usr/bin/app"),
            frame("", "/usr/bin/app"),
            frame("", ""),
        ];
        assert_eq!(fold(&frames, 80, 2), ["serve <- step x3 <- app+0x1a2 <- 0x55d000001234"]);
        assert_eq!(fold(&frames, 36, 2), ["serve <- step x3 <- app+0x1a2", "<- 0x55d000001234"]);
        assert_eq!(fold(&frames, 28, 2), ["serve <- step x3", "<- app+0x1a2 <- … 1 more"]);
        assert_eq!(fold(&frames[..1], 80, 2), ["accept4"]);
        assert_eq!(fold(&[], 80, 2), Vec::<String>::new());
    }

    #[test]
    fn a_stripped_module_is_told_with_its_build_id_once() {
        let with = |symbol, module, id: &str| Frame { build_id: Some(id.into()), ..frame(symbol, module) };
        let libc = "/lib/x86_64-linux-gnu/libc.so.6";
        let frames = [
            with("accept4", libc, "11"),
            with("", "/usr/bin/app", "c0ffee"),
            with("", "/usr/bin/app", "c0ffee"),
            with("named", "/usr/lib/libnamed.so", "22"),
            with("", "/usr/lib/libbare.so", "33"),
            with("", libc, "11"),
        ];
        let want = "without symbols: app, build id c0ffee; libbare.so, build id 33";
        assert_eq!(build_ids(&frames).as_deref(), Some(want));
        assert_eq!(build_ids(&frames[..1]), None);
        assert_eq!(build_ids(&[frame("", "/usr/bin/app")]), None, "it has none");
    }

    #[test]
    fn no_width_and_no_stack_makes_a_line_too_long() {
        let long = "a::very::long::name::".repeat(9);
        for n in 0..40 {
            let frames: Vec<_> = (0..n).map(|i| frame(&format!("{long}{i}"), "m")).collect();
            for (width, most) in (26..120).flat_map(|width| [1, 2, 7].map(|most| (width, most))) {
                let lines = fold(&frames, width, most);
                assert!(lines.len() <= most);
                assert!(lines.iter().all(|l| l.width() <= width), "{n} frames, {width}: {lines:?}");
            }
        }
    }

    #[test]
    fn the_place_in_the_source_follows_the_first_frame_of_the_program() {
        let mut first = frame("handle_conn", "/usr/bin/app");
        first.file = Some("/src/server.c".into());
        first.line = Some(88);
        let mut guess = first.clone();
        guess.how = How::Scan;
        assert_eq!(fold(&[first, guess], 80, 2), ["handle_conn (server.c:88) <- handle_conn?"]);
    }

    #[test]
    fn arguments_are_dropped_from_cpp_and_java_symbols_only() {
        for (symbol, want) in [
            ("pool::take(std::string const&)", "pool::take"),
            ("pool::size() const", "pool::size"),
            ("int shop.Cart.add(int, java.lang.String)", "shop.Cart.add"),
            ("main.(*Server).Serve", "main.(*Server).Serve"),
            ("net/http.(*conn).serve.func1", "net/http.(*conn).serve.func1"),
            ("<app::Pool as core::ops::Drop>::drop", "<app::Pool as core::ops::Drop>::drop"),
            (
                "serve_forever (/usr/lib/python3.12/socketserver.py)",
                "serve_forever (/usr/lib/python3.12/socketserver.py)",
            ),
        ] {
            assert_eq!(bare(symbol), want);
        }
    }
}
