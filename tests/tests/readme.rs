//! The README's walk-through, "Run the parts alone", done as it stands there: its lines in a shell, its programs
//! started as written. Put in besides: free ports, the pty that was printed, today's times, the token that was printed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rollcall_tests::programs::{PATIENCE, Program, binary, free_port, until};
use serde_json::Value;
use tokio::process::Command;

/// The shell blocks of the walk-through, in order, without their indentation.
fn blocks() -> Vec<Vec<String>> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let part = text.split("## Run the parts alone").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut blocks = Vec::new();
    let mut block: Option<Vec<String>> = None;
    for line in part.lines() {
        match (line.trim(), &mut block) {
            ("```sh", _) => block = Some(Vec::new()),
            ("```", Some(_)) => blocks.extend(block.take()),
            (_, Some(lines)) => lines.push(line.strip_prefix("   ").unwrap_or(line).to_owned()),
            _ => {}
        }
    }
    blocks
}

/// A shell that keeps what earlier lines defined.
struct Shell {
    folder: tempfile::TempDir,
    so_far: String,
}

impl Shell {
    /// Runs lines; gives what they printed.
    async fn run(&mut self, lines: &str) -> String {
        let path = binary("rollcall-hub").parent().unwrap().display().to_string();
        let script = format!("set -euo pipefail\nPATH={path}:$PATH\n{}\n{lines}", self.so_far);
        let ended = Command::new("bash").arg("-c").arg(&script).current_dir(self.folder.path()).output();
        let ended = tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
        let words = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{lines}\nfailed: {words}");
        String::from_utf8(ended.stdout).unwrap()
    }

    /// Starts a program as a line says, in the shell's folder.
    fn start(&self, line: &str) -> Program {
        let line = line.split('#').next().unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        Program::start_in(words[0], &words[1..], Some(self.folder.path()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_walk_through_of_the_readme_works_as_it_stands_there() {
    let blocks = blocks();
    let [hub_block, data, reader_block, gateway_block, question] = &blocks[..] else {
        panic!("the walk-through has {} blocks", blocks.len())
    };
    let address = format!("127.0.0.1:{}", free_port());
    let mut shell = Shell { folder: tempfile::tempdir().unwrap(), so_far: String::new() };

    let serve = hub_block[0].replace("serve", &format!("serve --listen {address}"));
    let mut hub = shell.start(&serve);
    hub.line_with("serving http://").await;
    let token = shell.run(&hub_block[1]).await.lines().last().unwrap().to_owned();
    let rest = hub_block[2..].join("\n").replace("rollcall_…", &token).replace("127.0.0.1:8080", &address);
    shell.so_far = rest;

    let now = Timestamp::now();
    let hour = |hours: i64| (now + SignedDuration::from_hours(hours)).to_string();
    let mut data = data.join("\n");
    let times: Vec<String> = data
        .split('"')
        .filter(|word| word.len() == 20 && word.ends_with('Z') && !word.starts_with("2026-01-01"))
        .map(str::to_owned)
        .collect();
    assert_eq!(times.len(), 2, "the session's start and end: {times:?}");
    data = data.replace(&times[0], &hour(-1)).replace(&times[1], &hour(2));
    let saved = shell.run(&data).await;
    assert!(!saved.contains("message"), "{saved}");

    let mut reader = shell.start(&reader_block[0]);
    let pty = reader.line_with("pty ").await.strip_prefix("pty ").unwrap().to_owned();
    let (run, lines) = gateway_block.split_last().unwrap();
    let lines = lines.join("\n").replace("/dev/pts/7", &pty).replace("127.0.0.1:8080", &address);
    shell.run(&lines).await;
    let mut gateway = shell.start(run);
    reader.line_with("light blue").await;
    reader.say("h10301 42 12345").await;
    assert_eq!(reader.line_with("flash ").await, "flash green");

    let query = question.join("\n");
    let shell = tokio::sync::Mutex::new(shell);
    let present = until(
        "the register",
        || async { serde_json::from_str::<Value>(&shell.lock().await.run(&query).await).unwrap() },
        |answer| {
            let entries = &answer["data"]["session"]["register"]["entries"]["nodes"];
            entries[0]["status"] == "PRESENT" && entries[0]["student"]["number"] == "S1"
        },
    );
    present.await;
    for program in [&mut gateway, &mut reader, &mut hub] {
        assert_eq!(program.interrupt().await, Some(0), "{}", program.all());
    }
}
