//! The man pages and the completions, from the definitions that `--help`, `explain` and
//! the schema are made of. They are committed, compared here, and written by
//! `cargo xtask generate`.

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};
use closewait_trace::cli::Cli;
use closewait_trace::metrics::{SERIES_BOUND, families};
use closewait_trace::privileges::NEEDS;
use closewait_trace::report::schema::schema;
use closewait_trace::verdict::{Code, explain};
use serde_json::Value;

use crate::desk::same_as_file;

const NAME: &str = "closewait-trace";

/// What is said of cost has been measured by `cargo xtask bench`, whose table the sentences
/// name; figures belong to the machine they were measured on.
const OVERHEAD: &[&str] = &[
    "A healthy connection costs two small records, read by a timer at most ten times a second. Stacks are copied \
     for the first few connections of each call path only. A receive that returns data costs one test.",
    "On the return of a system call a program is attached only where the kernel refuses trampolines and kprobes \
     (`closewait-trace doctor` says so: sys_exit_accept): it costs every system call of the host some nanoseconds.",
    "Memory: 182 MiB with 200,000 stuck sockets, 446 MiB with 877,000. At most half of what the process may have \
     (what the host has available, the limits of its cgroup, RLIMIT_DATA) is for stuck sockets, 1 KiB each, and \
     never for more than 1,000,000 of them; there is room for 10,000 in any case.",
    "When there is too much of everything, things give way in this order, and each is said or counted (a notice, \
     `degraded` of the summary, closewait_degraded). 1: looks at all sockets, and at all descriptors, take a \
     tenth of a CPU each at most, so they become rarer, and what no record told of is found later. 2: stuck \
     sockets are looked at in rounds of 100,000 to 250,000, those first that became old enough first; new ones \
     take half of a CPU at most, those that are looked at again a tenth. 3: stacks are copied later \
     (closewait_stack_copies_total). 4: what the ring has no room for is counted as lost, by kind, and found by \
     the next look. 5: netlink sockets are kept for 1,024 network namespaces, and for a quarter of the descriptors \
     that the process may have at most; the others are entered anew at each look, and what cannot be entered for \
     want of descriptors, or not before the end of a snapshot, is counted (closewait_unread_namespaces, \
     totals.unread_namespaces and totals.unreached_namespaces). 6: sockets for which there is no room in memory are only counted \
     (closewait_unreported_sockets, totals.only_counted of the JSON summary), and told one by one as others end.",
    "`cargo xtask bounds` measures that beside as much as the machine allows. On two cores with Linux 6.18: \
     200,000 stuck sockets were all reported after 6.5 s, 8.4 s of CPU in 30 s; of 1,000,000, 877,000 were \
     reported within 105 s, the first after 9.4 s, with 67 s of CPU; 10,000 processes with 20,000,000 descriptors \
     (as many as 100,000 processes have with 200 each) took 10 MiB and 16 s of CPU in the first 30 s, and the \
     first report came after 11.5 s; with RLIMIT_DATA of 300 MiB, 153,600 of 200,000 were reported and 46,400 \
     only counted.",
    "The summary ends with what the tool itself has used. `cargo xtask bench` measures a connection storm with and \
     without the tool, beside its peers.",
];

const CAVEATS: &[&str] = &[
    "Of a socket that was opened before the trace began neither the opener nor its stack is known, nor whether EOF \
     was read; its age is an interval unless the kernel's own times of it tell.",
    "An age is time that the machine was awake: while it is suspended the kernel's TCP timers stand still, too. The \
     time of day at which something happened counts the sleep; of what happened within the last 100 ms before, it may \
     be given as after it.",
    "A stack is copied up to 16 KiB: one with larger buffers ends early, and says so.",
    "Names in stripped programs cannot be shown: module, offset and build id are, so that they can be named elsewhere.",
    "Why a ghost that is older than the trace closed is not known: its error may have been fetched by its program.",
    "Whether an idle client pool grows is not known before it has been watched for a minute.",
    "Reads of EOF by splice(2) and on MPTCP sockets are not seen.",
    "Verdicts whose evidence has to change take two looks at least 400 ms apart.",
];

const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "Fine."),
    ("1", "Stuck sockets were found, with --fail-on-stuck; with run, the command ended with 0 and leaked."),
    ("2", "Usage or runtime error; with kill, a socket that could not be destroyed."),
    ("77", "Tracing was required (run, doctor, --require-trace) and cannot run here."),
    (
        "other",
        "With run, that of the command if it is not 0; 128 and the number of the signal that killed it.",
    ),
];

const EXAMPLES: &[(&str, &str)] = &[
    ("sudo closewait-trace", "What is stuck already, then what becomes stuck, until Ctrl-C."),
    (
        "sudo closewait-trace snapshot --threshold 1m",
        "One look, without BPF, at what has been stuck for a minute.",
    ),
    ("sudo closewait-trace --pid 4711 --interval 10s", "One process; the whole screen every ten seconds."),
    ("sudo closewait-trace top", "The same on a live screen; ? shows its keys."),
    (
        "sudo closewait-trace -o json -d 60s | jq 'select(.kind==\"stuck\")'",
        "A minute, as one JSON object per line.",
    ),
    ("sudo closewait-trace run --junit leaks.xml -- make test", "Fail when a test suite leaks a socket."),
    (
        "sudo closewait-trace --record night.cwt --record-max 1G",
        "Write down what happens, to be looked at later.",
    ),
    ("closewait-trace replay night.cwt --from 2h --threshold 5m", "The same reports from it, without root."),
    ("closewait-trace replay night.cwt --html night.html", "All of it as one page, to be passed on."),
    ("sudo closewait-trace --metrics-listen 9435", "For Prometheus: scrape http://localhost:9435/metrics."),
    (
        "closewait-trace --config /etc/closewait-trace.toml --check-config",
        "What a service would use, and where each value is from.",
    ),
    (
        "sudo closewait-trace kill --comm java --remote 192.0.2.7:443 --older-than 1h",
        "Which sockets would be destroyed; with --yes they are. Their descriptors stay.",
    ),
    (
        "closewait-trace explain EOF_IGNORED",
        "What a verdict means, its proof, the fix, and what does not help.",
    ),
];

#[test]
fn the_committed_man_pages_are_the_ones_the_code_writes() {
    let command = command();
    let page = page(&command);
    same_as_file(&path("man", &format!("{NAME}.1")), &page);
    // A word in one of the fixed paragraphs that is no option any more would mislead.
    for option in [
        "--fail-on-stuck",
        "--require-trace",
        "--record-max",
        "--junit",
        "--from",
        "--interval",
        "--metrics-listen",
    ] {
        assert!(page.contains(&option.replace('-', "\\-")), "{option}");
    }
    for sub in command.get_subcommands() {
        let name = format!("{NAME}-{}", sub.get_name());
        let mut text = Vec::new();
        Man::new(sub.clone().display_name(&name)).title(&name).render(&mut text).unwrap();
        same_as_file(&path("man", &format!("{name}.1")), &String::from_utf8(text).unwrap());
    }
}

#[test]
fn the_committed_completions_are_the_ones_the_code_writes() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command(), NAME, &mut text);
        let file = clap_complete::Generator::file_name(&shell, NAME);
        same_as_file(&path("completions", &file), &String::from_utf8(text).unwrap());
    }
}

fn path(dir: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(dir).join(file)
}

/// The command line, without the identity of the BPF object in its version.
fn command() -> Command {
    let version = env!("CARGO_PKG_VERSION");
    let mut command = Cli::command().version(version).long_version(version).disable_help_subcommand(true);
    command.build();
    command
}

/// The main page: what clap makes of the options, and the sections that people look for.
fn page(command: &Command) -> String {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render_title(&mut text).unwrap();
    man.render_name_section(&mut text).unwrap();
    man.render_synopsis_section(&mut text).unwrap();
    man.render_description_section(&mut text).unwrap();
    man.render_options_section(&mut text).unwrap();
    man.render_subcommands_section(&mut text).unwrap();
    let mut roff = Roff::new();
    verdicts(&mut roff);
    fields(&mut roff);
    metrics(&mut roff);
    paragraphs(&mut roff, "OVERHEAD", OVERHEAD);
    paragraphs(&mut roff, "CAVEATS", CAVEATS);
    needs(&mut roff);
    roff.control("SH", ["EXIT STATUS"]);
    for &(code, meaning) in EXIT_STATUS {
        entry(&mut roff, code, meaning);
    }
    roff.control("SH", ["EXAMPLES"]);
    for &(line, meaning) in EXAMPLES {
        entry(&mut roff, line, meaning);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("ss"), roman("(8), "), bold("tcp"), roman("(7), "), bold("bpf"), roman("(2)")]);
    roff.to_writer(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn entry(roff: &mut Roff, name: &str, meaning: &str) {
    roff.control("TP", []).text([bold(name)]).text([roman(meaning)]);
}

fn paragraphs(roff: &mut Roff, title: &str, texts: &[&str]) {
    roff.control("SH", [title]);
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*text)]);
    }
}

/// Each capability that there is use for; `doctor` prints the same.
fn needs(roff: &mut Roff) {
    paragraphs(
        roff,
        "CAPABILITIES",
        &[
            "Root has them all. Once all is attached the tool keeps those that watching takes (the first five), each \
           thread only what its own work takes, and cannot get any back. Another user can have them by \
           setcap(8). CAP_SYS_ADMIN does for CAP_BPF, CAP_PERFMON and CAP_CHECKPOINT_RESTORE.",
        ],
    );
    for need in &NEEDS {
        entry(roff, need.name, &format!("{}. Without it is lost: {}.", need.used_for, need.lost));
    }
}

fn verdicts(roff: &mut Roff) {
    roff.control("SH", ["VERDICTS"]);
    roff.text([roman("Why a socket is stuck. "), bold("explain"), roman(" says the same at the terminal.")]);
    for &code in Code::value_variants() {
        let explanation = explain(code);
        entry(roff, &code.to_string(), explanation.meaning);
        for (name, text) in [
            ("Proof: ", explanation.proof),
            ("Fix: ", explanation.fix),
            ("Does not help: ", explanation.no_help),
        ] {
            roff.control("IP", []).text([italic(name), roman(text)]);
        }
    }
}

/// The fields of every kind of JSON line, as the schema describes them.
fn fields(roff: &mut Roff) {
    let schema = schema();
    roff.control("SH", ["FIELDS"]);
    let about = schema["description"].as_str().unwrap().replace('\n', " ");
    roff.text([roman(format!("With --output json. {about}"))]);
    for kind in schema["oneOf"].as_array().unwrap() {
        let name = kind["properties"]["kind"]["const"].as_str().unwrap();
        roff.control("SS", [name]);
        roff.text([roman(text(&kind["description"]))]);
        if name == "ghost" {
            roff.text([roman("Its fields are those of stuck.")]);
            continue;
        }
        let known: &[&str] = if name == "released" { &stuck_fields(&schema) } else { &[] };
        if !known.is_empty() {
            roff.text([roman("The fields of stuck, and:")]);
        }
        for (field, value) in properties(&schema, kind) {
            if !known.contains(&field.as_str()) {
                entry(roff, field, &text(&value["description"]));
            }
        }
    }
}

/// Every family, as the exposition itself describes it.
fn metrics(roff: &mut Roff) {
    roff.control("SH", ["METRICS"]);
    roff.text([roman(format!(
        "With --metrics-listen, in the OpenMetrics format, made at most once a second. There are at most {SERIES_BOUND} \
         series, whatever is stuck. What is not known has no series, and is never 0. An empty comm or container is \
         one that is not known, or none. Names of processes and containers may hold anything: characters that cannot \
         be seen are written as in the reports, and what is longer than 128 characters is cut off."
    ))]);
    for family in families::ALL {
        let labels = family.labels.join(",");
        let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
        let names: Vec<_> = family.series().iter().map(|name| format!("{name}{labels}")).collect();
        // A histogram goes by its buckets.
        entry(roff, &names[0], family.help);
    }
}

fn stuck_fields(schema: &Value) -> Vec<&str> {
    schema["$defs"]["Stuck"]["properties"].as_object().unwrap().keys().map(String::as_str).collect()
}

fn properties<'a>(schema: &'a Value, kind: &'a Value) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let name = kind["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
    schema["$defs"][name]["properties"].as_object().unwrap().iter()
}

/// One line of a description; a field whose name says it all has none.
fn text(description: &Value) -> String {
    description.as_str().unwrap_or("See the schema.").replace('\n', " ")
}
