//! `--config FILE`: the options of live tracing in TOML, by their long names; the command line
//! wins. In: arguments, and the text of the file. Out: one [`Cli`], as if all had been
//! written on the command line, and where each value came from. The definition of the
//! command line is all there is: an option it has can be in the file, and nothing else.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use toml::de::{DeTable, DeValue};

use crate::cli::{Cli, THRESHOLD};
use crate::error::Failure;
use crate::files;

/// Larger than any that people write.
const FILE_MAX: u64 = 1 << 20;

/// What cannot stand in the file: it is about the file, or ends the program.
const NOT_IN_FILE: [&str; 4] = ["config", "check-config", "help", "version"];

/// Options that can be changed while it runs: the filters.
pub const RELOADED: [&str; 9] =
    ["pid", "comm", "local-port", "remote-port", "netns", "cgroup", "exclude-comm", "exclude-port", "config"];

/// The command line and the file, together.
#[derive(Debug)]
pub struct Config {
    /// As it is obeyed.
    pub cli: Cli,
    /// What is used of live tracing's options, in the order of `--help`.
    pub used: Vec<Used>,
}

/// An option that is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Used {
    /// Its long name.
    pub name: String,
    /// Its value, as TOML.
    pub value: String,
    /// Where it is from.
    pub from: Origin,
}

/// Where a value is from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The command line.
    CommandLine,
    /// A line of the file.
    File(PathBuf, usize),
    /// Nobody gave one.
    Default,
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  # ", self.name, self.value)?;
        match &self.from {
            Origin::CommandLine => f.write_str("command line"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// Why there is none.
#[derive(Debug)]
pub enum Refused {
    /// The command line; or help was asked for.
    Usage(clap::Error),
    /// The file.
    File(Failure),
}

/// Reads the command line, and the file that it names.
pub fn read(args: &[OsString]) -> Result<Config, Refused> {
    let matches = Cli::command().try_get_matches_from(args).map_err(Refused::Usage)?;
    let path = match matches.subcommand_name() {
        None => matches.get_one::<PathBuf>("config"),
        Some(_) => None,
    };
    let Some(path) = path else { return together(args, &[], Path::new("")) };
    let text = files::obeyed("--config", path, FILE_MAX).map_err(Refused::File)?;
    let text = text.ok_or_else(|| missing(path))?;
    let settings = settings(&text).map_err(|(line, what)| wrong(path, &format!("line {line}: {what}")))?;
    let given = |name: &str| {
        let option = Cli::command()
            .get_arguments()
            .find(|arg| arg.get_long() == Some(name))
            .map(|arg| arg.get_id().clone());
        option.is_some_and(|id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine))
    };
    let settings: Vec<_> = settings.into_iter().filter(|setting| !given(&setting.name)).collect();
    together(args, &settings, path)
}

fn missing(path: &Path) -> Refused {
    let failure = Failure::new(format!("--config {}: there is no such file", path.display()));
    Refused::File(
        failure.hint("give the path of a file that there is, or leave --config out: it has no default"),
    )
}

fn wrong(path: &Path, what: &str) -> Refused {
    let failure = Failure::new(format!("--config {}: {what}", path.display()));
    Refused::File(
        failure.hint(
            "an option as --help names it, without dashes: threshold = \"30s\", local-port = [80, 443]",
        ),
    )
}

/// One line of the file, as words of a command line.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Setting {
    name: String,
    line: usize,
    words: Vec<OsString>,
}

/// What the file says. An error: the line, and what is wrong there.
fn settings(text: &str) -> Result<Vec<Setting>, (usize, String)> {
    let line_at = |offset: usize| 1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count();
    let table = DeTable::parse(text)
        .map_err(|error| (line_at(error.span().map_or(0, |span| span.start)), error.message().to_owned()))?;
    let command = Cli::command();
    let mut all = Vec::new();
    for (key, value) in table.get_ref() {
        let (name, line) = (key.get_ref().to_string(), line_at(key.span().start));
        let option = command.get_arguments().find(|arg| arg.get_long() == Some(&name));
        let option = option.filter(|_| !NOT_IN_FILE.contains(&name.as_str()));
        let option = option.ok_or_else(|| (line, format!("{name} is no option of live tracing")))?;
        let words = words(option, &name, value.get_ref()).map_err(|what| (line, format!("{name} {what}")))?;
        // What is wrong with one value is told with its line; what is wrong with all
        // together is told when they are put together.
        let alone =
            command.clone().try_get_matches_from([OsString::from("closewait-trace")].iter().chain(&words));
        if let Err(error) = alone
            && matches!(
                error.kind(),
                clap::error::ErrorKind::ValueValidation | clap::error::ErrorKind::InvalidValue
            )
        {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            return Err((line, first.trim_start_matches("error: ").to_owned()));
        }
        all.push(Setting { name, line, words });
    }
    Ok(all)
}

/// A value as words of a command line, or what it should have been.
fn words(option: &Arg, name: &str, value: &DeValue<'_>) -> Result<Vec<OsString>, &'static str> {
    let flag = || OsString::from(format!("--{name}"));
    let with = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(OsString::from(format!("--{name}={text}"))),
        DeValue::Integer(number) => Some(OsString::from(format!("--{name}={number}"))),
        _ => None,
    };
    match (option.get_action(), value) {
        (ArgAction::SetTrue, DeValue::Boolean(so)) => Ok(if *so { vec![flag()] } else { Vec::new() }),
        (ArgAction::SetTrue, _) => Err("is true or false"),
        (ArgAction::Count, DeValue::Integer(number)) => match number.to_string().parse() {
            Ok(times @ 0..=9) => Ok(std::iter::repeat_n(flag(), times).collect()),
            _ => Err("is a small number"),
        },
        (ArgAction::Count, _) => Err("is a number"),
        (ArgAction::Append, DeValue::Array(values)) => {
            values.iter().map(|value| with(value.get_ref()).ok_or("is a list of texts or numbers")).collect()
        }
        (ArgAction::Append, one) => Ok(vec![with(one).ok_or("is a text or a number, or a list of them")?]),
        (_, one) => Ok(vec![with(one).ok_or("is a text or a number")?]),
    }
}

/// All of it, as one command line.
fn together(args: &[OsString], settings: &[Setting], path: &Path) -> Result<Config, Refused> {
    let own = args.split_first();
    let words = own.iter().map(|(name, _)| *name);
    let words = words.chain(settings.iter().flat_map(|setting| &setting.words));
    let words: Vec<_> = words.chain(own.iter().flat_map(|(_, rest)| *rest)).collect();
    let matches = Cli::command().try_get_matches_from(words).map_err(Refused::Usage)?;
    let used = used(&Cli::command(), &matches, settings, path);
    let cli = Cli::from_arg_matches(&matches).map_err(Refused::Usage)?;
    Ok(Config { cli, used })
}

fn used(command: &Command, matches: &ArgMatches, settings: &[Setting], path: &Path) -> Vec<Used> {
    if matches.subcommand_name().is_some() {
        return Vec::new();
    }
    let one = |option: &Arg| {
        let name = option.get_long().filter(|name| !["check-config", "help", "version"].contains(name))?;
        let id = option.get_id().as_str();
        let Some(source) = matches.value_source(id) else {
            let value = || toml_text(&humantime::format_duration(THRESHOLD).to_string());
            let used = || Used { name: name.to_owned(), value: value(), from: Origin::Default };
            return (name == "threshold").then(used);
        };
        let value = match option.get_action() {
            ArgAction::SetTrue => matches.get_flag(id).then(|| "true".to_owned())?,
            ArgAction::Count => match matches.get_count(id) {
                0 => return None,
                times => times.to_string(),
            },
            action => {
                let texts: Vec<_> =
                    matches.get_raw(id)?.map(|raw| toml_text(&raw.to_string_lossy())).collect();
                match action {
                    ArgAction::Append => format!("[{}]", texts.join(", ")),
                    _ => texts.into_iter().next()?,
                }
            }
        };
        let setting = settings.iter().find(|setting| setting.name == name);
        let from = match (source, setting) {
            (ValueSource::DefaultValue, _) => Origin::Default,
            (_, Some(setting)) => Origin::File(path.to_owned(), setting.line),
            _ => Origin::CommandLine,
        };
        Some(Used { name: name.to_owned(), value, from })
    };
    command.get_arguments().filter_map(one).collect()
}

/// A number as it is, else a basic string, which JSON's strings are, too.
fn toml_text(text: &str) -> String {
    match text.parse::<u64>() {
        Ok(number) => number.to_string(),
        Err(_) => serde_json::Value::from(text).to_string(),
    }
}

/// The names of options that differ and cannot be changed while it runs.
pub fn fixed(before: &[Used], after: &[Used]) -> Vec<String> {
    let value =
        |all: &[Used], name: &str| all.iter().find(|used| used.name == name).map(|used| used.value.clone());
    let mut names: Vec<_> = before.iter().chain(after).map(|used| used.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| !RELOADED.contains(&name.as_str()) && value(before, name) != value(after, name));
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::time::Duration;

    fn with_file(text: &str, args: &[&str]) -> Result<Config, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let path = file.path().as_os_str().to_owned();
        let words = ["closewait-trace".into(), "--config".into(), path];
        let all: Vec<_> = words.into_iter().chain(args.iter().map(OsString::from)).collect();
        read(&all).map_err(|refused| match refused {
            Refused::Usage(error) => error.to_string(),
            Refused::File(failure) => failure.to_string(),
        })
    }

    #[test]
    fn the_file_says_what_the_command_line_does_not() {
        let text = "threshold = \"30s\"\nlocal-port = [80, 443]\ncomm = \"java\"\nfail-on-stuck = true\n\
                    jit-maps = false\nverbose = 2\noutput = \"json\"\nlimit = 7\n";
        let config = with_file(text, &["--local-port", "8080", "--output=text"]).unwrap();
        let trace = &config.cli.trace;
        assert_eq!(trace.report.threshold, Some(Duration::from_secs(30)));
        assert_eq!(trace.report.filter.local_port, [8080]);
        assert_eq!(trace.report.filter.comm, ["java"]);
        assert!(trace.report.fail_on_stuck && !trace.jit_maps);
        assert_eq!((trace.report.verbose, trace.report.limit), (2, 7));
        assert_eq!(trace.report.output, crate::cli::OutputFormat::Text);
        let lines: Vec<_> = config.used.iter().map(ToString::to_string).collect();
        let line = |start: &str| {
            lines.iter().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{lines:?}"))
        };
        assert!(line("threshold = \"30s\"  # ").ends_with(":1"));
        assert!(line("local-port = [8080]  # ").ends_with("command line"));
        assert!(line("comm = [\"java\"]  # ").ends_with(":3"));
        assert!(line("stacks = \"auto\"  # ").ends_with("default"));
        assert!(line("verbose = 2  # ").ends_with(":6"));
        assert!(!lines.iter().any(|line| line.starts_with("jit-maps")), "{lines:?}");
        let bare = with_file("", &[]).unwrap();
        let threshold = bare.used.iter().find(|used| used.name == "threshold").map(ToString::to_string);
        assert_eq!(threshold.as_deref(), Some("threshold = \"10s\"  # default"));
        assert_eq!(bare.cli.trace.report.threshold(), THRESHOLD);
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        let first = with_file("comm = [\"a\\\"b\", \"7\"]\nthreshold = \"2m\"", &["--pid", "7"]).unwrap();
        let used = first.used.iter().filter(|used| used.name != "config");
        let text = used.map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let second = with_file(&text, &[]).unwrap();
        assert_eq!(second.cli.trace.report.filter.comm, ["a\"b", "7"]);
        assert_eq!(second.cli.trace.report.filter.pid, [7]);
        assert_eq!(second.cli.trace.report.threshold, Some(Duration::from_mins(2)));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, words) in [
            ("\nthreshhold = \"1s\"", "line 2: threshhold is no option"),
            ("config = \"x\"", "line 1: config is no option"),
            ("\n\nthreshold = \"1x\"", "line 3: invalid value '1x' for '--threshold"),
            ("threshold = 1.5", "line 1: threshold is a text or a number"),
            ("pid = [1, true]", "line 1: pid is a list"),
            ("fail-on-stuck = 1", "line 1: fail-on-stuck is true or false"),
            ("limit = [1]", "line 1: limit is a text or a number"),
            ("comm = \"a\"\n\n[filter]\npid = 1", "line 3: filter is no option"),
            ("comm = \"a\"\ncomm = \"b\"", "line 2: "),
            ("comm = ", "line 1: "),
            ("yes = true", "yes is no option"),
        ] {
            let error = with_file(text, &[]).unwrap_err();
            assert!(error.contains(words), "{text:?}: {error}");
        }
        // Wrong only together with others.
        assert!(with_file("record-max = \"1G\"", &[]).unwrap_err().contains("--record"));
        assert!(with_file("record-max = \"1G\"", &["--record", "x"]).is_ok());
    }

    #[test]
    fn without_a_file_nothing_changes_and_commands_have_none() {
        let words = |args: &[&str]| args.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(read(&words(&["closewait-trace", "--threshold", "3s"])).is_ok());
        assert!(read(&words(&["closewait-trace", "snapshot"])).unwrap().used.is_empty());
        let missing = read(&words(&["closewait-trace", "--config", "/no/such/file"])).unwrap_err();
        assert!(matches!(missing, Refused::File(failure)
            if failure.what.contains("no such file") && failure.hint.as_ref().unwrap().contains("path of a file")));
    }

    #[test]
    fn the_files_of_the_service_are_understood() {
        let text = include_str!("../systemd/closewait-trace.toml");
        assert_eq!(with_file(text, &[]).unwrap().cli.trace.report.threshold, Some(Duration::from_mins(1)));
        // What is commented out is right, too.
        let bare =
            |line: &'static str| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line);
        let all = text.lines().map(bare).collect::<Vec<_>>().join("\n");
        assert_eq!(with_file(&all, &[]).unwrap().cli.trace.report.filter.local_port, [80, 443]);
        let unit = include_str!("../systemd/closewait-trace.service");
        let runs = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let words: Vec<_> = runs.split(' ').map(OsString::from).collect();
        let matches = Cli::command().try_get_matches_from(words).unwrap();
        assert_eq!(matches.get_one::<PathBuf>("config").unwrap(), Path::new("/etc/closewait-trace.toml"));
    }

    #[test]
    fn what_cannot_be_changed_while_it_runs_is_named() {
        let of = |text: &str| with_file(text, &[]).unwrap().used;
        let before = of("threshold = \"3s\"\npid = 1");
        assert_eq!(
            fixed(&before, &of("threshold = \"3s\"\npid = [1, 2]\ncomm = \"x\"")),
            Vec::<String>::new()
        );
        assert_eq!(fixed(&before, &of("threshold = \"4s\"\nlimit = 3")), ["limit", "threshold"]);
    }
}
