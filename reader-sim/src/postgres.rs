//! A PostgreSQL server for as long as it is wanted: in a folder of its own, reached by a socket in it, with everything
//! that a real one makes durable made durable.
//!
//! Used by `campus --database postgres`, and by the tests that run on both engines.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use tempfile::TempDir;

/// A running server; it stops when it is dropped, and its data goes with it.
pub struct TemporaryPostgres {
    folder: TempDir,
    programs: PathBuf,
}

/// The account that the server runs under where we are root, which it refuses to be.
const ACCOUNT: &str = "postgres";

impl TemporaryPostgres {
    /// Starts a server with an empty database `rollcall`.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not come up.
    pub fn start() -> anyhow::Result<Self> {
        let server = Self::in_its_folder()?;
        server.run(
            "initdb",
            &["--username", ACCOUNT, "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "-D"],
            &[&server.data()],
        )?;
        server.go("start", &[])?;
        server.run("createdb", &["--host", &server.socket(), "--username", ACCOUNT, "rollcall"], &[])?;
        Ok(server)
    }

    fn in_its_folder() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("rollcall-postgres-").tempdir()?;
        if rustix::process::geteuid().is_root() {
            let given = Command::new("chown").arg(ACCOUNT).arg(folder.path()).status()?;
            if !given.success() {
                bail!(
                    "there is no account '{ACCOUNT}' to run PostgreSQL under; install it: apt-get install postgresql"
                );
            }
        }
        Ok(Self { folder, programs: programs()? })
    }

    /// Starts a second server that follows this one, which from then on commits nothing that the other has not on its
    /// disk (`synchronous_standby_names`, PostgreSQL manual, 27.2.8).
    ///
    /// # Errors
    /// When it cannot be copied, or does not come up.
    pub fn standby(&self) -> anyhow::Result<Self> {
        let other = Self::in_its_folder()?;
        let from = [
            "--host",
            &self.socket(),
            "--username",
            ACCOUNT,
            "--checkpoint",
            "fast",
            "--write-recovery-conf",
            "-D",
        ];
        other.run("pg_basebackup", &from, &[&other.data()])?;
        other.go("start", &[])?;
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")?;
        self.sql("SELECT pg_reload_conf()")?;
        Ok(other)
    }

    /// Makes a server that follows another one the one that is written to; waits until it is. It waits for no other one.
    ///
    /// # Errors
    /// When it follows none.
    pub fn promote(&self) -> anyhow::Result<()> {
        self.run("pg_ctl", &["promote", "--wait", "--silent", "-D"], &[&self.data()])
    }

    /// Stops the server at once, as a crash does.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.run("pg_ctl", &["stop", "--mode", "immediate", "--silent", "-D"], &[&self.data()])
    }

    fn sql(&self, statement: &str) -> anyhow::Result<()> {
        let words =
            ["--host", &self.socket(), "--username", ACCOUNT, "--quiet", "--command", statement, "rollcall"];
        self.run("psql", &words, &[])
    }

    /// Stops the server at once, as a crash does, and starts it again over what was on the disk.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn crash(&self) -> anyhow::Result<()> {
        self.go("restart", &["--mode", "immediate"])
    }

    fn go(&self, act: &str, how: &[&str]) -> anyhow::Result<()> {
        let options = format!("-c listen_addresses='' -c max_connections=200 -k {}", self.socket());
        let mut words = vec![act, "--wait", "--silent", "--options", &options];
        words.extend(how);
        words.push("-D");
        self.run("pg_ctl", &words, &[&self.data(), Path::new("--log"), &self.folder.path().join("log")])
    }

    /// The folder that its socket is in.
    #[must_use]
    pub fn socket(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// The address of a database on it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        url(&self.socket(), database)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run(&self, program: &str, arguments: &[&str], paths: &[&Path]) -> anyhow::Result<()> {
        let path = self.programs.join(program);
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", ACCOUNT, "--regid", ACCOUNT, "--clear-groups", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        // pg_ctl's server would hold a pipe open for as long as it runs.
        let said = self.folder.path().join(format!("{program}.said"));
        let file = std::fs::File::create(&said)?;
        let command = command.args(arguments).args(paths).current_dir("/").stdin(Stdio::null());
        let status = command.stdout(file.try_clone()?).stderr(file).status();
        let status = status.with_context(|| format!("{program} cannot be started"))?;
        if !status.success() {
            bail!("{program} failed: {}", std::fs::read_to_string(&said).unwrap_or_default().trim());
        }
        Ok(())
    }
}

impl Drop for TemporaryPostgres {
    fn drop(&mut self) {
        // Its file of the running process is gone where it was stopped before.
        if self.data().join("postmaster.pid").exists()
            && let Err(error) = self.kill()
        {
            eprintln!("PostgreSQL in {} could not be stopped: {error}", self.socket());
        }
    }
}

/// The address of a database on the server whose socket is in a folder.
#[must_use]
pub fn url(socket: &str, database: &str) -> String {
    format!("postgres:///{database}?host={socket}&user={ACCOUNT}")
}

/// Where the newest PostgreSQL's programs are.
fn programs() -> anyhow::Result<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin")))
        })
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().map(|(_, bin)| bin).context("PostgreSQL is not installed: apt-get install postgresql")
}
