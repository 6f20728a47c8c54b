//! The clock: in step with a time server, and with a battery for the day without network.

use std::path::Path;

use rollcall_rules::time::Instant;

use super::Finding;
use crate::clock::{max_error_ms, set_by_chip};

/// A larger error than this counts in what is decided at the door, in milliseconds.
const COUNTS_MS: i64 = 1_000;
/// Where the kernel shows clock chips.
const CHIP: &str = "/sys/class/rtc/rtc0";

pub(super) fn check(say: &mut impl FnMut(Finding)) {
    let server = "let systemd-timesyncd or chrony keep it: timedatectl set-ntp true";
    say(match max_error_ms() {
        Some(error) if error < COUNTS_MS => Finding::pass("clock", format!("in step, within {error} ms")),
        Some(error) => {
            let found = format!(
                "the kernel gives an error of up to {:.1} s: nothing keeps it in step",
                error as f64 / 1e3
            );
            Finding::warn("clock", found, format!("{server}; until then the hub's answers tell the time"))
        }
        None => Finding::warn("clock", "the kernel says nothing of its error", server),
    });
    let wall = Instant(jiff::Timestamp::now().as_millisecond());
    say(if set_by_chip(Path::new(CHIP), wall) {
        Finding::pass(
            "clock",
            "there is a clock chip, and it set the clock at the start (after a start without network it is believed where it \
             was right when the time was last known)",
        )
    } else if Path::new(CHIP).exists() {
        Finding::warn(
            "clock",
            "there is a clock chip, but it did not set the clock at the start, or shows another time: it is not believed",
            "give it its battery, let hwclock --systohc set it once the time is right, then restart; and name its overlay in \
             config.txt",
        )
    } else {
        Finding::warn(
            "clock",
            "there is no clock chip: after a power cut without network lights are amber",
            "add a DS3231, or the battery of a Pi 5",
        )
    });
}
