//! `rollcall-gateway support-bundle`: everything that somebody far away needs to help, and nothing about anybody.
//!
//! No card, name, key, password or token goes in: the configuration holds none (it names the files that do), records of the
//! journal are counted and not shown, and of the last swipes that the status page knows none is taken.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::check;
use crate::config::Config;
use crate::journal::tool;

/// How many lines of the system's log go in.
const LOG_LINES: &str = "5000";
/// A page that does not answer within this is left out.
const PAGE_WITHIN: Duration = Duration::from_secs(5);
/// What the machine says of itself, and the files that say it.
const MACHINE: [&str; 6] = [
    "/etc/os-release",
    "/proc/version",
    "/proc/uptime",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/device-tree/model",
];

/// Makes the bundle. `tell` hears of each part.
///
/// # Errors
/// When the configuration cannot be used, or the file cannot be written. A part that cannot be had says so in its place.
pub async fn bundle(config: &Path, output: &Path, mut tell: impl FnMut(&str)) -> anyhow::Result<()> {
    let found = Config::load(config)?;
    let file = File::create_new(output)
        .with_context(|| format!("{} cannot be made; say another --output", output.display()))?;
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let mut put = |name: &str, text: &str| -> anyhow::Result<()> {
        tell(name);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("rollcall-support/{name}"), text.as_bytes())
            .with_context(|| format!("{} cannot be written", output.display()))
    };
    put("version.txt", concat!("rollcall-gateway ", env!("CARGO_PKG_VERSION"), "\n"))?;
    put("gateway.toml", &or_why(std::fs::read_to_string(config)))?;
    put("check.jsonl", &findings(config).await)?;
    put("status.json", &without_swipes(&page_of(&found, "/status.json").await))?;
    put("metrics.txt", &page_of(&found, "/metrics").await)?;
    put("health.txt", &page_of(&found, "/health").await)?;
    put("journal.txt", &journal(&found.data))?;
    put("files.txt", &files(&found.data))?;
    put("machine.txt", &machine())?;
    put("serial-ports.txt", &files(Path::new("/dev/serial/by-id")))?;
    let logs = ["-u", "rollcall-gateway", "-n", LOG_LINES, "--no-pager", "-o", "short-iso"];
    put("log.txt", &said_by("journalctl", &logs))?;
    let done = tar.into_inner().and_then(GzEncoder::finish).and_then(|mut file| {
        file.flush()?;
        file.sync_all()
    });
    done.with_context(|| format!("{} cannot be written", output.display()))
}

fn or_why<E: std::fmt::Display>(found: Result<String, E>) -> String {
    found.unwrap_or_else(|error| format!("not to be had: {error}\n"))
}

async fn findings(config: &Path) -> String {
    let mut lines = String::new();
    check::all(config, |finding| {
        lines.push_str(&serde_json::to_string(finding).unwrap_or_default());
        lines.push('\n');
    })
    .await;
    lines
}

/// What the page of the gateway that runs here says.
async fn page_of(config: &Config, path: &str) -> String {
    let Some(listen) = config.page.listen() else { return "the page is turned off\n".into() };
    let password = config.page.password().ok().flatten().unwrap_or_default();
    let login = format!("Basic {}", BASE64_STANDARD.encode(format!("support:{password}")));
    let asked = async {
        let stream = TcpStream::connect(listen).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = http::Request::get(path)
            .header("host", listen.to_string())
            .header("authorization", login)
            .body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        anyhow::Ok(String::from_utf8_lossy(&body).into_owned())
    };
    match tokio::time::timeout(PAGE_WITHIN, asked).await {
        Ok(answer) => or_why(answer.map_err(|error| format!("{listen}: {error:#}; does the gateway run?"))),
        Err(_) => format!("{listen} did not answer within 5 s\n"),
    }
}

/// Who held a card to which door when is nobody's business here.
fn without_swipes(status: &str) -> String {
    match serde_json::from_str::<Value>(status) {
        Ok(mut value) => {
            if let Some(fields) = value.as_object_mut() {
                fields.remove("swipes");
            }
            serde_json::to_string_pretty(&value).unwrap_or_default()
        }
        Err(_) => status.to_owned(),
    }
}

fn journal(data: &Path) -> String {
    let mut said = Vec::new();
    let verified = tool::verify_to(data, &mut said);
    let mut text = String::from_utf8_lossy(&said).into_owned();
    if let Err(error) = verified {
        let _ = writeln!(text, "{error:#}");
    }
    text
}

/// Names, sizes and rights of what lies in a folder, to the second level; never what it holds.
fn files(folder: &Path) -> String {
    let mut lines = String::new();
    list(folder, 2, &mut lines);
    if lines.is_empty() {
        let _ = writeln!(lines, "nothing in {}", folder.display());
    }
    lines
}

fn list(folder: &Path, levels: u32, lines: &mut String) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let Ok(about) = path.symlink_metadata() else { continue };
        let target = std::fs::read_link(&path).map(|to| format!(" -> {}", to.display())).unwrap_or_default();
        let (mode, owner, size) = (about.mode(), about.uid(), about.len());
        let _ = writeln!(lines, "{mode:06o} uid {owner} {size:>12} {}{target}", path.display());
        if about.is_dir() && levels > 1 {
            list(&path, levels - 1, lines);
        }
    }
}

fn machine() -> String {
    let mut text = String::new();
    for path in MACHINE {
        let _ = writeln!(text, "== {path}\n{}", or_why(std::fs::read_to_string(path)).trim_end_matches('\0'));
    }
    for (program, arguments) in
        [("df", &["-h"][..]), ("timedatectl", &["show"]), ("vcgencmd", &["get_throttled"])]
    {
        let _ = writeln!(text, "== {program} {}\n{}", arguments.join(" "), said_by(program, arguments));
    }
    text
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    or_why(Command::new(program).args(arguments).output().map(|done| {
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)
    }))
}
