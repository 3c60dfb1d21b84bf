//! What was meant by a command line that is none: options of other tools, words that lack an
//! option before them. Pure: from the parser's error and the words to one hint.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What to write instead, if that can be guessed.
pub fn hint(error: &clap::Error, args: &[OsString]) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let words: Vec<_> = args.iter().map(|word| word.to_string_lossy()).collect();
    let command = words.get(1).map_or("", |word| word);
    if let Some(duration) = split_duration(&words) {
        return Some(format!("write the duration as one word: {duration}"));
    }
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let word = text(ContextKind::InvalidArg)?;
            if word.starts_with('-') { of_another_tool(word) } else { without_option(word, command) }
        }
        // Options of live tracing stand alone; a command has its own.
        ErrorKind::ArgumentConflict => {
            let command = text(ContextKind::InvalidSubcommand)?;
            Some(format!("write options after `{command}`"))
        }
        ErrorKind::InvalidSubcommand => without_option(text(ContextKind::InvalidSubcommand)?, ""),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let (option, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
            let is_name = value.parse::<i64>().is_err() && is_word(value);
            match option.split(' ').next()? {
                "--pid" if is_name => Some(format!("--pid takes a number; by name: --comm {value}")),
                "--local-port" | "--remote-port" | "--exclude-port" if value.contains('-') => {
                    Some("ranges of ports are not known: give each, as in 7003,8080".into())
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// What an option is called here.
fn of_another_tool(option: &str) -> Option<String> {
    let name = option.split('=').next().unwrap_or(option);
    let meant = match name {
        "--port" | "--sport" | "--dport" => {
            "--local-port N is this side's port (a server's own), --remote-port N the other side's"
        }
        "--json" | "-j" => "JSON is -o json",
        "--verdict" => {
            "--verdict is an option of kill; in reports, choose by the field verdict.code of -o json"
        }
        "--name" | "--process" | "--command" => {
            "processes go by name with --comm NAME, by number with --pid PID"
        }
        "--container" | "--pod" => "a container is chosen by its cgroup (--cgroup PATH) or --netns PID",
        "--namespace" | "-n" => "a network namespace is --netns NS: self, a pid, or a path",
        "--older-than" | "--min-age" => "how long a socket has been stuck at least is --threshold DUR",
        "--timeout" | "--time" => "how long to trace is --duration DUR",
        _ => return None,
    };
    Some(meant.into())
}

/// What a word is that stands where none may.
fn without_option(word: &str, command: &str) -> Option<String> {
    let before = match command {
        "kill" | "snapshot" | "top" => format!("{command} "),
        _ => String::new(),
    };
    if word.parse::<u32>().is_ok() {
        return Some(format!("a process is chosen by `closewait-trace {before}--pid {word}`"));
    }
    if command == "kill" && word.parse::<std::net::SocketAddr>().is_ok() {
        return Some(format!("connections are chosen by `closewait-trace kill --remote {word}`"));
    }
    let is_name = is_word(word) && !before.is_empty();
    is_name.then(|| format!("processes are chosen by name with `closewait-trace {before}--comm {word}`"))
}

/// Letters that need no escape in a message, nor quotes in a shell.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_alphanumeric() || "-_.+".contains(c))
        && !text.starts_with('-')
}

/// `10 s` of `--threshold 10 s`, as it should be.
fn split_duration(words: &[std::borrow::Cow<'_, str>]) -> Option<String> {
    const UNITS: [&str; 9] = ["ms", "s", "sec", "seconds", "m", "min", "minutes", "h", "hours"];
    let options = ["-t", "--threshold", "-d", "--duration", "--interval", "--older-than"];
    words.windows(3).find_map(|three| match three {
        [option, number, unit]
            if options.contains(&&**option) && number.parse::<u32>().is_ok() && UNITS.contains(&&**unit) =>
        {
            Some(format!("{option} {number}{unit}"))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    #[test]
    fn what_newcomers_type_is_told_right() {
        let table = [
            ("snapshot --port 80", Some("--local-port N")),
            ("--port=80", Some("--remote-port N")),
            ("snapshot --json", Some("-o json")),
            ("kill 3940", Some("`closewait-trace kill --pid 3940`")),
            ("kill 10.0.0.1:443", Some("kill --remote 10.0.0.1:443")),
            ("3940", Some("`closewait-trace --pid 3940`")),
            ("snapshot nginx", Some("snapshot --comm nginx")),
            ("snapshot --verdict EOF_IGNORED", Some("verdict.code")),
            ("--pid nginx", Some("--comm nginx")),
            ("--pid -5", None),
            ("--pid a\u{1b}b", None),
            ("--threshold 10 s", Some("--threshold 10s")),
            ("snapshot -t 10 s", Some("-t 10s")),
            ("--local-port 7003-7010", Some("7003,8080")),
            ("--netns /run/netns/blue snapshot", Some("write options after `snapshot`")),
            ("--threshold 5s --comm java kill", Some("write options after `kill`")),
            ("--no-such-option", None),
            ("no-such-command", None),
            ("--limit many", None),
        ];
        for (line, part) in table {
            let args: Vec<OsString> =
                std::iter::once("closewait-trace").chain(line.split(' ')).map(Into::into).collect();
            let error = Cli::try_parse_from(&args).unwrap_err();
            let hint = hint(&error, &args);
            match part {
                Some(part) => {
                    let fits = hint.as_deref().is_some_and(|hint| hint.contains(part));
                    assert!(fits, "{line}: {hint:?}");
                }
                None => assert_eq!(hint, None, "{line}"),
            }
        }
    }

    #[test]
    fn numbers_may_be_separated_by_commas() {
        let line = ["closewait-trace", "--local-port", "7003,8080", "--pid", "1,2", "--local-port", "9"];
        let filter = Cli::try_parse_from(line).unwrap().trace.report.filter;
        assert_eq!((filter.local_port, filter.pid), (vec![7003, 8080, 9], vec![1, 2]));
    }
}
