//! A real Prometheus on loopback, from Debian's package, which need not be installed.

use crate::{
    command,
    debian::{self, Suite},
    stopwatch::Stopwatch,
    workspace,
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// The suite to ask where this system is not Debian.
const SUITE: &str = "bookworm";
/// To start, and to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The programs of the package.
pub(crate) struct Programs {
    dir: PathBuf,
}

impl Programs {
    /// Those that are installed, else those of the package, fetched once.
    ///
    /// # Errors
    /// When they are not installed and the package cannot be had.
    pub(crate) fn find() -> Result<Self> {
        let installed = command::find("prometheus").filter(|_| command::find("promtool").is_some());
        if let Some(dir) = installed.as_deref().and_then(Path::parent) {
            return Ok(Self { dir: dir.to_owned() });
        }
        let cache = workspace::target_dir().join("fleet");
        let codename = debian::codename();
        let suite = Suite::open(codename.as_deref().unwrap_or(SUITE), "amd64", &cache)?;
        let package = suite.package("prometheus")?;
        let dir = cache.join("prometheus").join(&package.sha256);
        debian::unpack(&suite, &[package], &dir, |_| Ok(()))?;
        Ok(Self { dir: dir.join("usr/bin") })
    }

    /// Those in `dir`, where another process has found them.
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Where they are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Checks the rules, and what is to come of them.
    ///
    /// # Errors
    /// What promtool says.
    pub(crate) fn check_rules(&self) -> Result<()> {
        let promtool = self.dir.join("promtool");
        command::run(Command::new(&promtool).args(["check", "rules"]).arg(rules()))?;
        let tests = rules().with_extension("test.yml");
        command::run(Command::new(&promtool).args(["test", "rules"]).arg(tests))
    }
}

/// The alert rules of the repository.
pub(crate) fn rules() -> PathBuf {
    workspace::root().join("closewait-user/prometheus/closewait.rules.yml")
}

/// One that runs; killed, and its files removed, when dropped.
pub(crate) struct Prometheus {
    child: Child,
    address: String,
    dir: PathBuf,
}

impl Prometheus {
    /// Starts one that scrapes `targets` every second as the job `closewait`, in a new
    /// directory `dir`.
    ///
    /// # Errors
    /// When it does not become ready, with the end of what it says.
    pub(crate) fn start(
        programs: &Programs,
        dir: PathBuf,
        targets: &[String],
        rules: Option<&str>,
    ) -> Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        let mut config =
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n".to_owned();
        if let Some(rules) = rules {
            fs::write(dir.join("rules.yml"), rules)?;
            config.push_str("rule_files: [rules.yml]\n");
        }
        config.push_str("scrape_configs:\n  - job_name: closewait\n    static_configs:\n      - targets: ");
        config.push_str(&serde_json::to_string(targets)?);
        config.push('\n');
        fs::write(dir.join("prometheus.yml"), config)?;
        // It does not tell which port it was given; whoever takes this one meanwhile fails the start.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let log = File::create(dir.join("log"))?;
        // It ends with us, also when we are killed.
        let mut prometheus = Command::new("setpriv");
        prometheus
            .args(["--pdeathsig", "KILL", "--"])
            .arg(programs.dir.join("prometheus"))
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-admin-api");
        let child = prometheus
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start prometheus")?;
        let mut started = Self { child, address, dir };
        let clock = Stopwatch::start();
        while started.get("/-/ready").is_err() {
            if started.child.try_wait()?.is_some() || clock.left_of(PATIENCE).is_zero() {
                let log = fs::read_to_string(started.dir.join("log")).unwrap_or_default();
                bail!(
                    "prometheus is not ready:\n{}",
                    log.lines().rev().take(5).collect::<Vec<_>>().join("\n")
                );
            }
            pause();
        }
        Ok(started)
    }

    /// The results of a query: labels and value.
    ///
    /// # Errors
    /// When it refuses the query.
    pub(crate) fn query(&self, query: &str) -> Result<Vec<(Value, f64)>> {
        let answer = self.json("GET", &format!("/api/v1/query?query={}", encoded(query)))?;
        let results = answer["data"]["result"].as_array().context("no result")?;
        let value = |result: &Value| result["value"][1].as_str()?.parse().ok();
        Ok(results.iter().filter_map(|result| Some((result["metric"].clone(), value(result)?))).collect())
    }

    /// The only value of a query; 0 when there is none.
    ///
    /// # Errors
    /// When it refuses the query.
    pub(crate) fn value(&self, query: &str) -> Result<f64> {
        Ok(self.query(query)?.first().map_or(0.0, |(_, value)| *value))
    }

    /// Writes what it has in memory to disk, as it would after two hours; where.
    ///
    /// # Errors
    /// When it cannot.
    pub(crate) fn snapshot(&self) -> Result<PathBuf> {
        let answer = self.json("POST", "/api/v1/admin/tsdb/snapshot")?;
        let name = answer["data"]["name"].as_str().context("the snapshot has no name")?;
        Ok(self.dir.join("data/snapshots").join(name))
    }

    /// Looks until `query` has a result, and returns its labels.
    ///
    /// # Errors
    /// When it has none within `limit`.
    pub(crate) fn comes_to(&self, query: &str, limit: Duration) -> Result<Value> {
        let clock = Stopwatch::start();
        loop {
            if let Some((labels, _)) = self.query(query)?.into_iter().next() {
                return Ok(labels);
            }
            ensure!(!clock.left_of(limit).is_zero(), "after {limit:?} Prometheus has nothing for {query}");
            pause();
        }
    }

    fn json(&self, method: &str, path: &str) -> Result<Value> {
        let answer: Value =
            serde_json::from_str(&self.request(method, path)?).context("Prometheus answers no JSON")?;
        ensure!(answer["status"] == "success", "Prometheus: {}", answer["error"]);
        Ok(answer)
    }

    fn get(&self, path: &str) -> Result<String> {
        self.request("GET", path)
    }

    fn request(&self, method: &str, path: &str) -> Result<String> {
        let (head, body) = request(&self.address, method, path, "")?;
        ensure!(head.starts_with("HTTP/1.0 200 "), "{path}: {}", head.lines().next().unwrap_or_default());
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// One HTTP request, as old as can be, so that the answer ends with the connection.
///
/// # Errors
/// When there is no answer.
pub(super) fn request(address: &str, method: &str, path: &str, headers: &str) -> Result<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {address}\r\n{headers}Content-Length: 0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").context("no HTTP answer")?;
    let body = answer.split_off(end + 4);
    Ok((String::from_utf8_lossy(&answer).into_owned(), body))
}

/// For a URL.
fn encoded(query: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    query.bytes().map(byte).collect()
}

/// Between two looks, inside a deadline.
#[expect(clippy::disallowed_methods, reason = "polling another program, which gives no other sign")]
pub(super) fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}
