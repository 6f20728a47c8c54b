//! The simulated reader as a person sees it: drawn in a terminal, with keys.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use rollcall_tests::programs::binary;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{Winsize, tcsetwinsize};

/// A terminal of 80 by 24: its own end, and the program's.
fn terminal() -> (File, File) {
    let own = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    rustix::pty::grantpt(&own).unwrap();
    rustix::pty::unlockpt(&own).unwrap();
    let name = rustix::pty::ptsname(&own, Vec::new()).unwrap();
    let theirs = rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    tcsetwinsize(&theirs, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    (own.into(), theirs.into())
}

/// Reads until this word stands there. (What is blank is not drawn: there are no spaces to look for.)
fn until(screen: &mut File, seen: &mut String, word: &str) {
    let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
    let mut buffer = [0; 4_096];
    while !seen.contains(word) {
        let ready = poll(&mut [PollFd::new(screen, PollFlags::IN)], Some(&patience)).unwrap();
        assert!(ready > 0, "no '{word}' in {seen}");
        let count = screen.read(&mut buffer).unwrap();
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}

#[test]
fn in_a_terminal_the_reader_is_drawn_and_obeys_keys() {
    let (mut screen, theirs) = terminal();
    let mut reader = Command::new(binary("reader-sim"))
        .args(["reader", "--osdp", "new", "--code", "D1", "--card", "uid 04A1B2C3D40001"])
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs)
        .stderr(Stdio::null())
        .env("TERM", "xterm")
        .spawn()
        .unwrap();
    let mut seen = String::new();
    until(&mut screen, &mut seen, "/dev/pts/");
    until(&mut screen, &mut seen, "04A1B2C3D40001");
    for (key, word) in [(b"n", "noise"), (b"1", "04A1B2C3D40001")] {
        seen.clear();
        screen.write_all(key).unwrap();
        until(&mut screen, &mut seen, word);
    }
    screen.write_all(b"q").unwrap();
    // The other end must be read empty, or the program waits to say its last.
    let rest = std::thread::spawn(move || while screen.read(&mut [0; 4_096]).is_ok_and(|count| count > 0) {});
    assert!(reader.wait().unwrap().success());
    rest.join().unwrap();
}
