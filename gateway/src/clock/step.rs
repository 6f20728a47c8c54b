//! Notices at once when somebody sets the machine's clock.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::sync::watch;

/// When the timer would ring: far beyond any use.
const NEVER_S: i64 = 1 << 40;

fn arm(timer: &OwnedFd) -> Result<(), Errno> {
    let never = Timespec { tv_sec: NEVER_S, tv_nsec: 0 };
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(timer, flags, &Itimerspec { it_interval: zero, it_value: never })?;
    Ok(())
}

/// A count that grows whenever the clock is set, told by a timer that never rings but is cancelled then
/// (`TFD_TIMER_CANCEL_ON_SET`, `timerfd_create(2)`). It stands still where the kernel cannot tell.
pub(super) fn watch_steps() -> watch::Receiver<u64> {
    let (steps, seen) = watch::channel(0);
    let Ok(timer) = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC) else { return seen };
    if arm(&timer).is_err() {
        return seen;
    }
    let wait = move || {
        let mut count = [0u8; 8];
        while let Err(Errno::CANCELED | Errno::INTR) = rustix::io::read(&timer, &mut count) {
            steps.send_modify(|count| *count += 1);
            if steps.is_closed() || arm(&timer).is_err() {
                return;
            }
        }
    };
    // Without the thread a step is noticed a second later.
    drop(std::thread::Builder::new().name("clock-steps".to_owned()).spawn(wait));
    seen
}
