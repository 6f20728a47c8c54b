//! The built programs as processes that are attacked: started in front of any tool, killed at any moment.
//!
//! Unlike `programs` it keeps what they say in a file, because under load that is much, and it gives errors of the
//! machine's own tools (`mount`, `nft`, …) back as words. Never ends a process that it did not start.

#![expect(clippy::unwrap_used, reason = "a suite that cannot be set up should stop at once, and say where")]

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

/// A program of ours, beside or one folder above the running one.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.exists());
    beside.unwrap_or_else(|| panic!("{name} is missing beside {}: run `cargo build` first", this.display()))
}

/// What a program is started behind, and with which variables of the environment.
#[derive(Debug, Clone, Default)]
pub struct Wrap {
    /// Words before the program: `ip netns exec NAME`.
    pub before: Vec<String>,
    /// Variables.
    pub environment: Vec<(String, String)>,
}

/// The environment that the unit of a program sets: (name, value).
fn of_unit(program: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let unit = match program {
        "rollcall-gateway" => include_str!("../../../deploy/rollcall-gateway.service"),
        "rollcall-hub" => include_str!("../../../deploy/rollcall-hub.service"),
        _ => "",
    };
    unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts one, with the environment that its unit gives it; what it says is added to the file `log`.
    #[must_use]
    pub fn start(name: &str, arguments: &[&str], wrap: &Wrap, log: &Path) -> Self {
        let program = binary(name);
        let mut words = wrap.before.iter().map(std::ffi::OsString::from).collect::<Vec<_>>();
        words.push(program.into_os_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(arguments).env("NO_COLOR", "1").env_remove("RUST_LOG");
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("ROLLCALL_"))
        {
            command.env_remove(key);
        }
        command.envs(of_unit(name));
        command.envs(wrap.environment.iter().map(|(key, value)| (key, value)));
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).kill_on_drop(true);
        Self { child: command.spawn().unwrap() }
    }

    /// Ends it at once (SIGKILL) and waits until it is gone.
    pub async fn kill(&mut self) {
        // It may have ended by itself; gone is gone.
        let _ = self.child.start_kill();
        self.child.wait().await.unwrap();
    }

    /// It has not ended.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The memory that it holds, its text with it, in KiB; none when it has ended, or runs behind a tool that forks.
    #[must_use]
    pub fn resident_kib(&self) -> Option<u64> {
        self.status_kib("VmRSS:")
    }

    /// The memory that it holds without what it reads from files, in KiB; none as with `resident_kib`.
    #[must_use]
    pub fn anonymous_kib(&self) -> Option<u64> {
        self.status_kib("RssAnon:")
    }

    fn status_kib(&self, what: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with(what))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Asks it to end (SIGINT) and waits for that.
    pub async fn interrupt(&mut self) {
        if let Some(pid) = self.child.id() {
            // When it ends meanwhile nobody hears the signal.
            let _ = tool("kill", &["-INT", &pid.to_string()]).await;
        }
        self.child.wait().await.unwrap();
    }
}

/// Runs a tool of the machine; gives what it printed, or what it said when it failed.
///
/// # Errors
/// When it is not there, or failed.
pub async fn tool(name: &str, arguments: &[&str]) -> Result<String, String> {
    let ended = Command::new(name).args(arguments).stdin(Stdio::null()).output().await;
    let ended = ended.map_err(|error| format!("{name}: {error}"))?;
    if ended.status.success() {
        Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&ended.stderr);
        Err(format!("{name} {}: {}", arguments.join(" "), said.trim()))
    }
}
