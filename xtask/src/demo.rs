//! `cargo xtask demo`: the tool finds a leak made for it.
//!
//! A server that forgets to close lives in a network namespace without a name, so
//! there is nothing to clean up: the namespace ends with its last process, and the
//! server ends when our end of its stdin does, however we end.

use crate::{
    build::{self, Executables},
    privilege, workspace,
};
use anyhow::{Context, Result, bail};
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Stdio},
};

/// Connections that the server forgets, among others that it closes.
const LEAKED: &str = "7";
const CLOSED: &str = "23";
const ALL: &str = "30";

/// Shows the report of a trace of about five seconds.
///
/// # Errors
/// When something cannot be built or started.
pub(crate) fn run() -> Result<()> {
    let built = Executables::build(&["build", "--bin", "closewait-trace"], None)?;
    let scenarios = workspace::target_dir().join("scenarios");
    build::scenarios(&scenarios)?;

    let mut unshare = privilege::command("unshare")?;
    unshare.args(["--net", "sh", "-c", "echo pid=$$; ip link set lo up && exec \"$@\"", "sh"]);
    unshare.arg(scenarios.join("leaky_server")).args(["--leak", LEAKED, "--close", CLOSED]);
    let mut server =
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start unshare")?;
    let shown = show(&mut server, &built, &scenarios.join("leaky_client"));
    drop(server.stdin.take());
    server.wait().context("cannot wait for the server")?;
    shown
}

fn show(server: &mut Child, built: &Executables, client: &std::path::Path) -> Result<()> {
    let mut said = BufReader::new(server.stdout.take().context("the server has no stdout")?);
    let pid = number(&mut said, "pid=")?;
    let port = number(&mut said, "port=")?;
    eprintln!(
        "demo: a server (pid {pid}, port {port}) will accept {ALL} connections and forget to close {LEAKED}; \
         tracing for 5 s"
    );
    let mut trace = privilege::command(built.get("closewait-trace")?)?;
    trace.args(["--netns", &pid, "--threshold", "1s", "--duration", "5s"]);
    let mut tool =
        trace.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot start the tool")?;
    let mut talk =
        BufReader::new(tool.stderr.take().context("the tool has no stderr")?).lines().map_while(Result::ok);
    // The client may start when the programs are attached, or when the tool has given up.
    for line in talk.by_ref() {
        eprintln!("{line}");
        if line.contains("tracing") {
            break;
        }
    }

    let mut nsenter = privilege::command("nsenter")?;
    nsenter.arg(format!("--net=/proc/{pid}/ns/net")).arg(client);
    nsenter.args(["--port", &port, "--first", "--close", ALL, "--send", "100"]);
    let mut client =
        nsenter.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().context("cannot start nsenter")?;
    for line in talk {
        eprintln!("{line}");
    }
    drop(client.stdin.take());
    client.wait().context("cannot wait for the client")?;
    let status = tool.wait().context("cannot wait for the tool")?;
    if !status.success() {
        bail!("the tool failed: {status}");
    }
    Ok(())
}

/// The value behind `key` in the next line that has it.
fn number(said: &mut BufReader<ChildStdout>, key: &str) -> Result<String> {
    for line in said.by_ref().lines() {
        let line = line.context("cannot read what the server says")?;
        if let Some((_, value)) = line.split_once(key) {
            return Ok(value.split_whitespace().next().unwrap_or_default().to_owned());
        }
    }
    bail!("the server ended before it said {key}: is this user allowed to make network namespaces?")
}
