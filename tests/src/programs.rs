//! The built programs, run as people run them: started, listened to, spoken to, stopped.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up should stop at once, and say where")]

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout_at};

pub mod site;

/// How long anything may take on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How long between two looks at something that no event tells.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What a program said is read within this once it has ended; what it started may hold its outputs open.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);

/// The binary of a program, next to the test programs.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

/// A port on loopback that is free now.
#[must_use]
pub fn free_port() -> u16 {
    reader_sim::ports::free_port().unwrap().port()
}

/// So many lines are told of a program whose test failed.
const LAST_WORDS: usize = 60;

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it said besides: logs and errors.
    pub err: String,
}

impl Ended {
    /// What there is to say of a program that has ended.
    #[must_use]
    pub fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A line that a program said.
enum Line {
    Printed(String),
    Logged(String),
}

/// What every program of this process's tests said, the newest lines of each: where one says nothing, another may say why.
static SAID: Mutex<Vec<(String, Arc<Mutex<VecDeque<String>>>)>> = Mutex::new(Vec::new());
/// So many lines of each are kept for that.
const LINES_KEPT: usize = 80;

/// What all programs said last.
fn all_said() -> String {
    let mut text = String::new();
    for (name, lines) in SAID.lock().unwrap().iter() {
        text += &format!("-- {name} said last:\n");
        lines.lock().unwrap().iter().for_each(|line| text += &format!("{line}\n"));
    }
    text
}

/// A program that runs; killed when dropped.
pub struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: UnboundedReceiver<Line>,
    unread: VecDeque<String>,
    heard: Vec<String>,
    printed: Option<String>,
}

fn command<A: AsRef<OsStr>>(name: &str, arguments: &[A]) -> Command {
    let mut command = Command::new(binary(name));
    command
        .args(arguments)
        .env("NO_COLOR", "1")
        .env("RUST_LOG", "info,rollcall_gateway=debug")
        .kill_on_drop(true);
    // Settings of whoever runs the tests are none of theirs.
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("ROLLCALL_")) {
        command.env_remove(key);
    }
    command
}

/// Runs a program that ends by itself.
pub async fn run<A: AsRef<OsStr>>(name: &str, arguments: &[A]) -> Ended {
    run_with(name, arguments, &[]).await
}

/// Runs a program that ends by itself, with variables of the environment.
pub async fn run_with<A: AsRef<OsStr>>(name: &str, arguments: &[A], environment: &[(&str, &str)]) -> Ended {
    let mut command = command(name, arguments);
    let ended = command.envs(environment.iter().copied()).stdin(Stdio::null()).output();
    let ended = tokio::time::timeout(PATIENCE, ended).await;
    let ended = ended.unwrap_or_else(|_| panic!("{name} did not end within {PATIENCE:?}")).unwrap();
    Ended::of(ended)
}

async fn listen(
    from: impl AsyncRead + Unpin,
    kind: fn(String) -> Line,
    to: UnboundedSender<Line>,
    said: Arc<Mutex<VecDeque<String>>>,
) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        {
            let mut said = said.lock().unwrap();
            said.push_back(line.clone());
            if said.len() > LINES_KEPT {
                said.pop_front();
            }
        }
        if to.send(kind(line)).is_err() {
            return;
        }
    }
}

impl Program {
    /// Starts a program. Everything that it prints or says is heard, line by line.
    pub fn start<A: AsRef<OsStr>>(name: &str, arguments: &[A]) -> Self {
        Self::start_in(name, arguments, None)
    }

    /// The same, in a folder.
    pub fn start_in<A: AsRef<OsStr>>(name: &str, arguments: &[A], folder: Option<&std::path::Path>) -> Self {
        let mut command = command(name, arguments);
        if let Some(folder) = folder {
            command.current_dir(folder);
        }
        Self::spawn(name, command)
    }

    /// Starts a program with variables of the environment.
    pub fn start_with<A: AsRef<OsStr>>(
        name: &str,
        arguments: &[A],
        environment: &[(String, String)],
    ) -> Self {
        let mut command = command(name, arguments);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Self::spawn(name, command)
    }

    /// Starts a program as systemd does that is to be notified at a socket, and fed by a watchdog within so long.
    pub fn start_notifying<A: AsRef<OsStr>>(
        name: &str,
        arguments: &[A],
        socket: &std::path::Path,
        within: Duration,
    ) -> Self {
        let mut command = Command::new("sh");
        // It must know that it is the one who is watched.
        command.args(["-c", "export WATCHDOG_PID=$$; exec \"$0\" \"$@\""]).arg(binary(name)).args(arguments);
        command.env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", within.as_micros().to_string());
        command.kill_on_drop(true);
        Self::spawn(name, command)
    }

    fn spawn(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (to, lines) = unbounded_channel();
        let said = Arc::new(Mutex::new(VecDeque::new()));
        SAID.lock().unwrap().push((name.to_owned(), said.clone()));
        tokio::spawn(listen(child.stdout.take().unwrap(), Line::Printed, to.clone(), said.clone()));
        tokio::spawn(listen(child.stderr.take().unwrap(), Line::Logged, to, said));
        let input = child.stdin.take();
        let (unread, heard) = (VecDeque::new(), Vec::new());
        Self { name: name.to_owned(), child, input, lines, unread, heard, printed: None }
    }

    /// Waits for the next line that holds a text and takes it out; other lines stay to be waited for.
    pub async fn line_with(&mut self, text: &str) -> String {
        self.line_within(text, PATIENCE).await
    }

    /// The same, with a deadline of its own.
    pub async fn line_within(&mut self, text: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(at) = self.unread.iter().position(|line| line.contains(text)) {
                return self.unread.remove(at).unwrap();
            }
            match timeout_at(deadline, self.lines.recv()).await {
                Ok(Some(line)) => self.hear(line),
                Ok(None) => panic!("{} ended without '{text}'; it said:\n{}", self.name, self.all()),
                Err(_) => {
                    let all = self.all();
                    panic!(
                        "{} did not say '{text}' in {patience:?}; it said:\n{all}\n{}",
                        self.name,
                        all_said()
                    )
                }
            }
        }
    }

    /// Leaves all lines behind that were said before now.
    pub fn forget(&mut self) {
        while let Ok(line) = self.lines.try_recv() {
            self.hear(line);
        }
        self.unread.clear();
    }

    /// Takes all lines that hold a text and were said before now.
    pub fn take_with(&mut self, text: &str) -> Vec<String> {
        while let Ok(line) = self.lines.try_recv() {
            self.hear(line);
        }
        let (found, rest) = self.unread.drain(..).partition(|line| line.contains(text));
        self.unread = rest;
        Vec::from_iter::<VecDeque<String>>(found)
    }

    /// Types a line.
    pub async fn say(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        input.flush().await.unwrap();
    }

    /// Closes its input, as the end of a script does.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Presses Ctrl-C and waits for its end; gives the exit code, none when the signal itself ended it.
    pub async fn interrupt(&mut self) -> Option<i32> {
        self.signal("-INT").await;
        self.ended().await
    }

    /// Sends a signal by its name, such as `-STOP`.
    pub async fn signal(&self, name: &str) {
        let pid =
            self.child.id().unwrap_or_else(|| panic!("{} has ended; it said:\n{}", self.name, self.all()));
        let sent = Command::new("kill").args([name, &pid.to_string()]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Waits for its end; gives the exit code, none when a signal ended it.
    pub async fn ended(&mut self) -> Option<i32> {
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => {
                let code = status.unwrap().code();
                // What it said last is heard too: its outputs are closed now.
                while let Ok(Some(line)) = timeout_at(Instant::now() + CLOSED_WITHIN, self.lines.recv()).await
                {
                    self.hear(line);
                }
                code
            }
            Err(_) => panic!("{} did not end within {PATIENCE:?}; it said:\n{}", self.name, self.all()),
        }
    }

    /// Ends it as a power cut does, with SIGKILL.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Everything that it said so far.
    #[must_use]
    pub fn all(&self) -> String {
        self.heard.join("\n")
    }

    /// Waits until it has closed its outputs; gives the last line that it printed, logs aside.
    pub async fn last_line(&mut self, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            match timeout_at(deadline, self.lines.recv()).await {
                Ok(Some(line)) => self.hear(line),
                Ok(None) => return self.printed.take().unwrap_or_default(),
                Err(_) => panic!("{} still runs after {patience:?}; it said:\n{}", self.name, self.all()),
            }
        }
    }

    fn hear(&mut self, line: Line) {
        let line = match line {
            Line::Printed(line) => {
                self.printed = Some(line.clone());
                line
            }
            Line::Logged(line) => line,
        };
        self.heard.push(line.clone());
        self.unread.push_back(line);
    }
}

impl Drop for Program {
    /// A test that fails tells what its programs said last: some failures never come again.
    #[expect(clippy::print_stderr, reason = "beside the test's own words")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.forget();
            let from = self.heard.len().saturating_sub(LAST_WORDS);
            eprintln!("-- {} said last:\n{}", self.name, self.heard[from..].join("\n"));
        }
    }
}

/// Looks until something is as wanted; gives what was then found, or panics with what was found last.
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F, wanted: impl Fn(&T) -> bool) -> T
where
    T: std::fmt::Debug,
    F: Future<Output = T>,
{
    let deadline = Instant::now() + PATIENCE;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let found = look().await;
        if wanted(&found) {
            return found;
        }
        let said = if Instant::now() < deadline { continue } else { all_said() };
        panic!("{what}: not within {PATIENCE:?}; last seen: {found:#?}\n{said}");
    }
}

/// What an HTTP server answers to GET: status, headers, body.
pub async fn get(address: SocketAddr, path: &str, authorization: Option<&str>) -> (u16, String, String) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = hyper::Request::get(path).header("host", address.to_string());
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let response = sender.send_request(request.body(Full::new(Bytes::new())).unwrap()).await.unwrap();
    let (status, kind) = (response.status().as_u16(), response.headers().get("content-type").cloned());
    let kind = kind.map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = response.into_body();
    let body = if kind.starts_with("text/event-stream") {
        // It never ends: the first piece will do.
        let mut body = body;
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    } else {
        body.collect().await.unwrap().to_bytes()
    };
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

/// How often a client tries to connect, and how long it waits each time.
const CONNECTS: u32 = 10;
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// A client of a hub's GraphQL.
#[derive(Debug, Clone)]
pub struct Client {
    /// Where the hub listens, without TLS.
    pub address: SocketAddr,
    /// The token to show.
    pub token: String,
}

impl Client {
    /// Asks what must be answered without errors; gives the data.
    pub async fn ask(&self, query: &str, variables: Value) -> Value {
        let body = json!({"query": query, "variables": variables}).to_string();
        let stream = self.connect().await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::post("/graphql")
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .header("accept", "application/graphql-response+json")
            .header("authorization", format!("Bearer {}", self.token))
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let mut body: Value = serde_json::from_slice(&bytes).unwrap();
        assert!(status == 200 && body.get("errors").is_none(), "{query}\nwas answered {status}: {body}");
        body["data"].take()
    }

    /// A new connection. Where a suite has made a port of this machine's deaf that a connection had once, one that happens to
    /// come by that port again is given up for the next.
    async fn connect(&self) -> tokio::net::TcpStream {
        for _ in 0..CONNECTS {
            let stream = tokio::net::TcpStream::connect(self.address);
            if let Ok(connected) = tokio::time::timeout(CONNECTED_WITHIN, stream).await {
                return connected.unwrap();
            }
        }
        panic!("{}: {CONNECTS} connections came to nothing, each in {CONNECTED_WITHIN:?}", self.address)
    }

    /// Saves many things of one kind, which must take effect: `save("rooms", …)` is `saveRooms`.
    pub async fn save(&self, kind: &str, things: Value) {
        let name = kind[..1].to_uppercase() + &kind[1..];
        let query = format!(
            "mutation($input: Save{name}Input!) {{ save{name}(input: $input)
                {{ errors {{ message path }} }} }}"
        );
        let answer = self.ask(&query, json!({"input": {kind: things}})).await;
        assert_eq!(answer[format!("save{name}")]["errors"], json!([]), "{kind} were turned down");
    }
}
