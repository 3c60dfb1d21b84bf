//! The driver's timer. A timer of the runtime lies in a wheel and wakes the loop twice for
//! each time of more than 64 ms; a descriptor of the kernel's wakes it once, which is half
//! of all wake-ups of a tool that waits on an idle machine.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Rings once, after what it was last set to.
pub(super) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// One that is not set. Must be called inside a tokio runtime.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: the descriptor is the timer's, which is owned until it is dropped with this
        // AsyncFd; it is never replaced.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
        Ok(Self(timer.map_err(io::Error::from)?))
    }

    /// Waits for `time`. May be dropped before; the next call sets it anew.
    pub(super) async fn after(&mut self, time: Duration) -> io::Result<()> {
        // A time of zero would switch it off (timerfd_create(2)).
        let time = Timespec::try_from(time.max(Duration::from_nanos(1))).map_err(io::Error::other)?;
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval: zero, it_value: time };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut rung = [0; 8];
            // What was said to be ready may be the ring that nobody waited for: it was set
            // anew since, and is read when it rings again.
            let read = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut rung)?));
            if let Ok(read) = read {
                return read.map(drop);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn it_rings_not_before_its_time_also_when_it_was_dropped_and_set_anew() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut alarm = Alarm::new().unwrap();
            // The first ring comes when nobody waits: readiness of it must not end the second.
            tokio::select! {
                biased;
                _ = alarm.after(Duration::from_millis(1)) => panic!("before its time"),
                () = std::future::ready(()) => {}
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
            for ms in [20, 0, 1] {
                let (began, time) = (Clock::mono_now(), Duration::from_millis(ms));
                alarm.after(time).await.unwrap();
                assert!(Clock::mono_now().since(began) >= time);
            }
        });
    }
}
