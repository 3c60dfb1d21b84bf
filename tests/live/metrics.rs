//! The endpoint of --metrics-listen: what it says is what the reports say, and whoever
//! connects to it cannot hurt the trace.
#![expect(clippy::float_cmp, clippy::cast_precision_loss, reason = "counts, which are exact")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use closewait_trace::clock::Clock;
use closewait_trace::metrics::server::{HEAD_TIME, MAX_CONNECTIONS, MAX_HEAD};
use rustix::process::Signal;
use serde_json::Value;

use super::netns::Netns;
use super::tool::{Ended, THRESHOLD_MS, Tool, binary, json_of};
use super::waiting::until;
use super::workload::{CLIENT, SERVER, Workload};

/// Longer than the endpoint waits for anything.
const PATIENCE: Duration = Duration::from_mins(2);

/// A tool that traces `net` as JSON and serves metrics, and where.
fn serving(net: &Netns) -> (Tool, SocketAddr) {
    serving_with(net, &[])
}

/// The same with more options.
pub(crate) fn serving_with(net: &Netns, more: &[&str]) -> (Tool, SocketAddr) {
    let (mut tool, address) = started(net, more);
    tool.attached();
    (tool, address)
}

/// It may not be attached yet.
fn started(net: &Netns, more: &[&str]) -> (Tool, SocketAddr) {
    let mut command = Command::new(binary());
    command.args(json_of(net)).args(["--metrics-listen", "127.0.0.1:0"]).args(more);
    let mut tool = Tool::spawn(&mut command);
    let said = tool.says("closewait-trace: metrics at http://127.0.0.1:");
    let address = said.trim_start_matches("closewait-trace: metrics at http://").trim_end_matches("/metrics");
    let address = address.parse().unwrap_or_else(|_| panic!("no address in {said:?}"));
    (tool, address)
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("the endpoint listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// All that comes back; a reset counts as the end.
fn rest(mut stream: TcpStream) -> String {
    let (mut all, mut some) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut some) {
            Ok(0) => break,
            Ok(read) => all.extend_from_slice(&some[..read]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            // With a timeout the kernel does not go on by itself after a stop (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
    }
    String::from_utf8(all).expect("text")
}

/// The answer to a request: its head and its body.
fn ask(to: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = connect(to);
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {to}\r\n\r\n").expect("it reads");
    let answer = rest(stream);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (head.to_owned(), body.to_owned())
}

/// A scrape: values by name and labels.
pub(crate) fn scrape(from: SocketAddr) -> BTreeMap<String, f64> {
    let body = exposition(from);
    let series = body.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    series.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}

/// The same as text.
pub(crate) fn exposition(from: SocketAddr) -> String {
    let (head, body) = ask(from, "GET", "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(body.ends_with("\n# EOF\n"), "{body}");
    body
}

/// What the reports say is stuck now, as the series that are to say it.
fn expected(ended: &Ended) -> BTreeMap<String, f64> {
    let mut last: BTreeMap<String, &Value> = BTreeMap::new();
    for report in &ended.reports {
        let socket = format!("{} {}", report["socket"]["local"], report["socket"]["remote"]);
        match report["kind"].as_str() {
            Some("stuck") => _ = last.insert(socket, report),
            Some("released") => _ = last.remove(&socket),
            _ => {}
        }
    }
    let mut series = BTreeMap::new();
    for report in last.values() {
        let role = report["socket"]["role"].as_str().expect("a role");
        let port =
            if role == "server" { report["socket"]["local"]["port"].to_string() } else { String::new() };
        let holder = &report["holders"][0];
        let (code, comm) = (report["verdict"]["code"].as_str(), holder["comm"].as_str());
        let name = format!(
            "closewait_stuck_sockets{{verdict=\"{}\",comm=\"{}\",container=\"{}\",local_port=\"{port}\",role=\"{role}\"}}",
            code.expect("a code"),
            comm.expect("a name"),
            holder["container"].as_str().unwrap_or_default(),
        );
        *series.entry(name).or_default() += 1.0;
    }
    series
}

#[test]
fn a_scrape_says_what_the_reports_say() {
    let net = Netns::new();
    let (mut tool, address) = serving(&net);
    let before = scrape(address);
    assert_eq!((before["closewait_tracing"], before["closewait_births_total"]), (1.0, 0.0));
    assert!(before.keys().all(|name| !name.starts_with("closewait_stuck_sockets")), "{before:?}");

    let server = Workload { leak: 7, close: 5, ..SERVER }.run(&net, &net);
    let client = CLIENT.run(&net, &net);
    let all = server.leaks.len() + client.leaks.len();
    tool.has_reported("stuck", all);
    // A text is kept for a second.
    let after = until("a scrape counts what was reported", || {
        let series = scrape(address);
        (series["closewait_births_total"] == all as f64).then_some(series)
    });
    // Closed late: they are gone, and nothing but a count is left of them.
    let clients = client.leaks.len();
    drop(client);
    tool.has_reported("released", clients);
    let last = until("a scrape counts what has ended", || {
        let series = scrape(address);
        (series["closewait_releases_total{how=\"exited\"}"] == clients as f64).then_some(series)
    });
    let ended = tool.signal(Signal::INT);
    ended.exits(0);

    let stuck = |series: &BTreeMap<String, f64>| -> BTreeMap<String, f64> {
        let those = series.iter().filter(|(name, _)| name.starts_with("closewait_stuck_sockets{"));
        those.map(|(name, value)| (name.clone(), *value)).collect()
    };
    assert_eq!(stuck(&last), expected(&ended));
    assert_eq!(stuck(&after).values().sum::<f64>(), all as f64, "{after:?}");
    let by_leak = |leak| last[&format!("closewait_reported_sockets{{leak=\"{leak}\"}}")];
    let summary = ended.reports.last().expect("a summary");
    assert_eq!(summary["kind"], "summary");
    assert_eq!(
        Some(by_leak("true") + by_leak("null") + by_leak("false")),
        summary["totals"]["stuck"].as_f64()
    );
    // Those that were closed in time are counted, too.
    assert!(last["closewait_close_latency_seconds_count"] >= 5.0, "{last:?}");
    assert_eq!(last["closewait_lost_total{kind=\"enter\"}"], 0.0);
    assert_eq!(last["closewait_threshold_seconds"], THRESHOLD_MS as f64 / 1e3);
    assert!(last["closewait_last_reconcile_timestamp_seconds"] >= last["closewait_start_time_seconds"] - 1.0);
    assert!(last["closewait_cpu_seconds_total"] > 0.0 && last["closewait_resident_memory_bytes"] > 1e6);
    assert_eq!(last["closewait_series"], last.len() as f64);
}

#[test]
fn snapshots_are_counted_too_and_what_they_cannot_tell_is_absent() {
    let net = Netns::new();
    let server = SERVER.run(&net, &net);
    let (mut tool, address) = started(&net, &["--btf", "/no/such/btf"]);
    tool.has_reported("stuck", server.leaks.len());
    let series = until("a scrape counts what was reported", || {
        let series = scrape(address);
        (series["closewait_births_total"] == server.leaks.len() as f64).then_some(series)
    });
    tool.signal(Signal::INT).exits(0);
    assert_eq!((series["closewait_tracing"], series["closewait_degraded"]), (0.0, 1.0), "{series:?}");
    for absent in
        ["closewait_lost_total", "closewait_close_latency", "closewait_stack_copies", "closewait_bpf"]
    {
        assert!(series.keys().all(|name| !name.starts_with(absent)), "{absent}: {series:?}");
    }
}

#[test]
fn other_requests_are_told_where_the_metrics_are() {
    let net = Netns::new();
    let (tool, address) = serving(&net);
    let table = [
        ("GET", "/", "200", true),
        ("HEAD", "/metrics", "200", false),
        ("HEAD", "/", "200", false),
        ("POST", "/metrics", "405", true),
        ("DELETE", "/", "405", true),
        ("GET", "/metrics/", "404", true),
        ("GET", "/../etc/passwd", "404", true),
        ("GET", "/metrics?x=1", "200", true),
    ];
    for (method, path, status, has_body) in table {
        let (head, body) = ask(address, method, path);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {head}");
        assert_eq!(!body.is_empty(), has_body, "{method} {path}: {body}");
        assert!(head.to_lowercase().contains("connection: close"), "{head}");
    }
    // Compressed for whoever takes that, as Prometheus does.
    for (accepts, is_packed) in [("gzip", true), ("deflate, GZIP;q=0.5", true), ("gzip;q=0, br", false)] {
        let mut stream = connect(address);
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {accepts}\r\n\r\n")
            .expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let (head, body) = (String::from_utf8_lossy(&answer[..end]), &answer[end + 4..]);
        assert_eq!(head.contains("content-encoding: gzip"), is_packed, "{accepts}: {head}");
        let mut text = String::new();
        let read = if is_packed {
            flate2::read::GzDecoder::new(body).read_to_string(&mut text)
        } else {
            { body }.read_to_string(&mut text)
        };
        assert!(read.is_ok() && text.ends_with("\n# EOF\n"), "{accepts}: {read:?} {text}");
    }
    tool.signal(Signal::INT).exits(0);
}

#[test]
fn whoever_connects_cannot_hurt_the_trace() {
    let net = Netns::new();
    let (tool, address) = serving(&net);

    // A head that is too large is refused, whether it ends or not.
    for headers in [
        "x".repeat(4 * MAX_HEAD),
        "a: b\r\n".repeat(MAX_HEAD),
        format!("a: {}\r\n", "y".repeat(2 * MAX_HEAD)),
    ] {
        let mut stream = connect(address);
        // It may close before everything was sent.
        let _ = write!(stream, "GET /metrics HTTP/1.1\r\n{headers}\r\n\r\n");
        let answer = rest(stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(!answer.contains("closewait_"), "{answer}");
    }
    // Garbage.
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\r\n\r\n",
        b"\r\n\r\n\r\n\r\n!",
        b"GET\r\n\r\n",
    ] {
        let mut stream = connect(address);
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        assert!(!rest(stream).contains("closewait_"));
    }

    // 200 at once that send the beginning of a request and no more: some are closed for
    // others, and those when their time is over, without an answer.
    let mut slow: Vec<_> = (0..200).map(|_| connect(address)).collect();
    for stream in &mut slow {
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n");
    }
    // Who comes to ask is answered all the same, long before their time is over.
    let before = Clock::mono_now();
    for _ in 0..3 {
        assert_eq!(scrape(address)["closewait_tracing"], 1.0);
    }
    assert!(Clock::mono_now().since(before) < HEAD_TIME, "it waited for the slow ones");
    let mut timed_out = 0;
    for stream in slow {
        let answer = rest(stream);
        assert!(!answer.contains("closewait_"), "{answer}");
        timed_out += usize::from(answer.contains(" 408 "));
    }
    assert!(timed_out <= MAX_CONNECTIONS, "{timed_out}");
    // All places are free again.
    for _ in 0..3 {
        assert_eq!(scrape(address)["closewait_tracing"], 1.0);
    }

    // Connected, asked, and never read: that costs a place until the time is over.
    let mut unread: Vec<_> = (0..MAX_CONNECTIONS).map(|_| connect(address)).collect();
    for stream in &mut unread {
        let _ = write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    // The trace has gone on.
    let ended = SERVER.is_reported_by(tool, &net);
    assert_eq!(ended.of_kind("stuck").count(), SERVER.leak);
}

#[test]
fn an_address_that_is_taken_ends_it_at_once() {
    let net = Netns::new();
    let (tool, address) = serving(&net);
    let mut command = Command::new(binary());
    let second =
        Tool::spawn(command.args(json_of(&net)).args(["--metrics-listen", &address.to_string()])).end();
    second
        .exits(2)
        .said(&format!("cannot listen on {address} for --metrics-listen"))
        .said("hint: give another port");
    let refused = Tool::spawn(Command::new(binary()).args(["--metrics-listen", "localhost:99999"])).end();
    refused.exits(2).said("write a port (9435, for this machine only)");
    tool.signal(Signal::INT).exits(0);
}
