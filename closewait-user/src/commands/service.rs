//! Live tracing as a service: what systemd is told (sd_notify), filters read again at SIGHUP,
//! and `--check-config`. It attends the driver and decides nothing about sockets.

use std::convert::Infallible;
use std::io::{self, Write};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::reporting::{filter_here, say};
use crate::cli::TraceArgs;
use crate::clock::Clock;
use crate::config::{self, Config, Refused, Used};
use crate::driver::{Attendant, Attended, attended};
use crate::error::Failure;
use crate::exit::Exit;
use crate::filter::Filter;
use crate::item::Netns;

/// Prints what would be used, if it can be.
pub fn check(args: &TraceArgs, used: &[Used]) -> Result<Exit, Failure> {
    filter_here(&args.report.filter)?;
    let mut out = io::stdout().lock();
    for used in used {
        match writeln!(out, "{used}") {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written.map_err(|error| Failure::new(format!("cannot write to stdout: {error}")))?,
        }
    }
    Ok(Exit::Fine)
}

/// The attendant.
pub(super) struct Service {
    attendant: Attendant,
    used: Vec<Used>,
    /// The namespace that the programs in the kernel were told to look at, for good.
    only_netns: Option<Netns>,
    filter: Filter,
    hang_up: Option<Signal>,
    stops: [Signal; 2],
    watchdog: Option<Duration>,
    /// That it ends has been told.
    ends: bool,
}

impl Service {
    /// The attendant and the end that it attends. SIGHUP is taken over only with a file to
    /// read again: else it ends the program, as when its terminal goes.
    pub(super) fn new(args: &TraceArgs, used: &[Used], filter: &Filter) -> io::Result<(Self, Attended)> {
        let (driver, attendant) = attended();
        let hang_up = args.config.as_ref().map(|_| signal(SignalKind::hangup())).transpose()?;
        let service = Self {
            attendant,
            used: used.to_vec(),
            only_netns: filter.only_netns(),
            filter: filter.clone(),
            hang_up,
            stops: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?],
            watchdog: sd_notify::watchdog_enabled(),
            ends: false,
        };
        Ok((service, driver))
    }

    /// It ends.
    pub(super) fn stopping(&mut self) {
        if !std::mem::replace(&mut self.ends, true) {
            notify(&[NotifyState::Stopping]);
        }
    }

    /// Attends until it is dropped; to be called when everything is attached.
    pub(super) async fn run(&mut self) -> Infallible {
        notify(&[NotifyState::Ready, NotifyState::Status("watching")]);
        // Half of what systemd allows, as sd_watchdog_enabled(3) recommends.
        let every = self.watchdog.map(|allowed| allowed / 2);
        let mut next = every.map(tokio::time::interval);
        loop {
            let [interrupt, terminate] = &mut self.stops;
            tokio::select! {
                Some(()) = received(self.hang_up.as_mut()) => self.reload(),
                _ = interrupt.recv() => self.stopping(),
                _ = terminate.recv() => self.stopping(),
                () = tick(next.as_mut()) => self.beat(),
            }
        }
    }

    /// Tells the watchdog that it goes on, if it does: a driver that stands still is not
    /// spoken for.
    fn beat(&self) {
        let silent = Clock::mono_now().since(self.attendant.last_beat());
        if self.watchdog.is_some_and(|allowed| silent < allowed / 2) {
            notify(&[NotifyState::Watchdog]);
        }
    }

    /// Reads the file again; a broken one changes nothing.
    fn reload(&mut self) {
        let began = NotifyState::monotonic_usec_now().ok();
        notify(&began.into_iter().chain([NotifyState::Reloading]).collect::<Vec<_>>());
        let args: Vec<_> = std::env::args_os().collect();
        let status = match read_again(&args) {
            Ok((filter, used)) => self.take(filter, used),
            Err(why) => {
                say(&format!("not reloaded, the filters stay as they were: {why}"));
                "watching; the last reload failed"
            }
        };
        notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    fn take(&mut self, filter: Filter, used: Vec<Used>) -> &'static str {
        let (filter, netns_stays) = with_netns(&self.filter, filter, self.only_netns);
        let mut stay = config::fixed(&self.used, &used);
        stay.extend(netns_stays.then(|| "netns".to_owned()));
        if stay.is_empty() {
            say("reloaded: the filters");
        } else {
            say(&format!("reloaded: the filters; a restart is needed for: {}", stay.join(", ")));
        }
        // What was not taken is compared with again.
        self.used.retain(|before| !config::RELOADED.contains(&before.name.as_str()));
        self.used.extend(used.into_iter().filter(|after| config::RELOADED.contains(&after.name.as_str())));
        self.filter = filter.clone();
        self.attendant.give(filter);
        "watching; reloaded"
    }
}

/// A filter to use instead of `before`, and whether its namespaces had to be left as they
/// were: programs that were told to look at one see no other.
fn with_netns(before: &Filter, mut after: Filter, only: Option<Netns>) -> (Filter, bool) {
    let stays = only.is_some() && after.only_netns() != only;
    if stays {
        after.netns = before.netns.clone();
    }
    (after, stays)
}

fn read_again(args: &[std::ffi::OsString]) -> Result<(Filter, Vec<Used>), String> {
    let Config { cli, used } = config::read(args).map_err(|refused| match refused {
        Refused::Usage(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
        Refused::File(failure) => failure.what,
    })?;
    let filter = filter_here(&cli.trace.report.filter).map_err(|failure| failure.what)?;
    Ok((filter, used))
}

/// Tells systemd, if it wants to be told (NOTIFY_SOCKET).
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("systemd cannot be told: {error}");
    }
}

async fn received(signal: Option<&mut Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

async fn tick(interval: Option<&mut tokio::time::Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::netns::{NetnsFilter, NetnsRef};
    use std::collections::BTreeMap;

    #[test]
    fn a_namespace_that_the_programs_were_told_stays() {
        let own = NetnsRef::own().unwrap();
        let only = Filter {
            netns: NetnsFilter::Only(BTreeMap::from([(own.netns(), own.clone())])),
            ..Filter::default()
        };
        let ports = |netns| Filter { local_ports: vec![80], netns, ..Filter::default() };
        let (filter, stays) = with_netns(&only, ports(NetnsFilter::All), Some(own.netns()));
        assert!(stays && filter.only_netns() == Some(own.netns()) && filter.local_ports == [80]);
        let (filter, stays) = with_netns(&only, ports(only.netns.clone()), Some(own.netns()));
        assert!(!stays && filter.only_netns() == Some(own.netns()));
        let (filter, stays) = with_netns(&Filter::default(), ports(only.netns.clone()), None);
        assert!(!stays && filter.only_netns() == Some(own.netns()));
    }
}
