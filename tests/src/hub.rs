//! A hub in this process, over real HTTP, with a clock that stands still until it is told.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up should stop at once, and say where")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rollcall_hub::app::{self, RunningHub};
use rollcall_hub::clock::Clock;
use rollcall_hub::config::{Config, Database};
use rollcall_hub::service::access::{self, Role};
use rollcall_rules::time::Instant;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};
use tempfile::TempDir;

/// A clock that stands still.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    /// Puts it to an instant, in milliseconds since the epoch.
    pub fn set_ms(&self, at: i64) {
        self.0.store(at, Ordering::SeqCst);
    }

    /// Puts it to an instant, RFC 3339.
    pub fn set(&self, at: &str) {
        self.0.store(ms(at), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        Instant(self.0.load(Ordering::SeqCst))
    }
}

/// Milliseconds of an RFC 3339 instant.
#[must_use]
pub fn ms(at: &str) -> i64 {
    at.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// An instant of the day that all tests play on, Monday 5 October 2026, in UTC.
#[must_use]
pub fn at(time: &str) -> String {
    format!("2026-10-05T{time}:00Z")
}

/// A hub that listens on a free port, with its data in a folder that goes when it goes.
pub struct TestHub {
    /// Its clock; 08:00 of the day at first.
    pub clock: Arc<TestClock>,
    /// The running hub.
    pub running: RunningHub,
    /// Where its data lies.
    pub folder: TempDir,
    /// A token with the role ADMINISTRATOR.
    pub admin: String,
    /// A token with the role INTEGRATION.
    pub integration: String,
}

/// The folder of the PostgreSQL server's socket, where the tests are to run on one (`with-postgres`).
#[must_use]
pub fn postgres() -> Option<String> {
    std::env::var("ROLLCALL_TEST_POSTGRES").ok()
}

/// Whether the tests run on PostgreSQL: what is only true of a SQLite file says so and is left out.
#[must_use]
pub fn only_on_sqlite() -> bool {
    if postgres().is_some() {
        eprintln!("left out: this is about SQLite's file");
    }
    postgres().is_none()
}

/// The name of a folder's database on the server.
fn name_of(folder: &std::path::Path) -> String {
    let name = folder.file_name().unwrap().to_string_lossy();
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| format!("{:x}", u32::from(c)))
        .collect::<String>()
}

/// A hub's configuration with its data in a folder, or on the server under the folder's name.
#[must_use]
pub fn config(folder: &std::path::Path) -> Config {
    let database = match postgres() {
        None => Database::Sqlite(folder.join("hub.sqlite")),
        Some(socket) => {
            Database::Postgres(reader_sim::postgres::url(&socket, &format!("t{}", name_of(folder))))
        }
    };
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        database,
        tls: None,
        zone: jiff::tz::TimeZone::get("Europe/London").unwrap(),
        console: false,
        graphiql: None,
        allow_private: true,
    }
}

/// Makes a folder's empty database, where that is one on the server; a file makes itself.
pub async fn make_database(folder: &std::path::Path) {
    if let Some(socket) = postgres() {
        let server = reader_sim::postgres::url(&socket, "rollcall");
        let mut server = sqlx::PgConnection::connect(&server).await.unwrap();
        let sql = format!("CREATE DATABASE t{}", name_of(folder));
        server.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    }
}

/// A clock that stands at 08:00 of the day.
#[must_use]
pub fn clock() -> Arc<TestClock> {
    Arc::new(TestClock(AtomicI64::new(ms(&at("08:00")))))
}

impl TestHub {
    /// Starts one with an empty database.
    pub async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap()).await
    }

    /// Starts one with an empty database in this folder.
    pub async fn start_in(folder: TempDir) -> Self {
        Self::start_as(folder, |_| {}).await
    }

    /// Starts one with an empty database and another configuration than is usual here.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_as(TempDir::new().unwrap(), change).await
    }

    /// Starts one over an empty database of its own.
    pub async fn on(database: Database) -> Self {
        let mut config = config(std::path::Path::new("none"));
        config.database = database;
        Self::start_over(TempDir::new().unwrap(), config).await
    }

    async fn start_as(folder: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(folder.path());
        change(&mut config);
        make_database(folder.path()).await;
        Self::start_over(folder, config).await
    }

    /// Starts one over the database of a folder, which is there already.
    pub async fn over(folder: TempDir) -> Self {
        let config = config(folder.path());
        Self::start_over(folder, config).await
    }

    async fn start_over(folder: TempDir, config: Config) -> Self {
        // Another test of this process may have been first.
        let logs = tracing_subscriber::fmt().with_env_filter("error").with_test_writer();
        let _ = logs.try_init();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = clock();
        let running = app::start(&config, clock.clone()).await.unwrap();
        let admin = token(&running, "admin", Role::Administrator, None).await;
        let integration = token(&running, "timetable-sync", Role::Integration, None).await;
        Self { clock, running, folder, admin, integration }
    }

    /// Where GraphQL is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/graphql", self.running.address)
    }

    /// A token for one gateway.
    pub async fn gateway_token(&self, code: &str) -> String {
        token(&self.running, code, Role::Gateway, Some(code)).await
    }

    /// Posts a request; gives the status and the body.
    pub async fn post(&self, token: Option<&str>, query: &str, variables: Value) -> (u16, Value) {
        let body = json!({"query": query, "variables": variables}).to_string();
        let mut request = hyper::Request::post("/graphql")
            .header("host", "hub")
            .header("content-type", "application/json")
            .header("accept", "application/graphql-response+json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let (status, body) = self.send(request).await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Gets a page; gives the status and the text.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let request = hyper::Request::get(path).header("host", "hub").body(Full::default()).unwrap();
        let (status, body) = self.send(request).await;
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Sends a file for an import; gives the status and the body.
    pub async fn upload(&self, token: &str, name: &str, bytes: impl Into<Bytes>) -> (u16, Value) {
        upload_to(self.running.address, token, name, bytes).await
    }

    /// Fetches a file, or a stretch of it; gives the status, which stretch it is, and the bytes.
    pub async fn fetch(&self, token: &str, path: &str, range: Option<&str>) -> (u16, String, Bytes) {
        fetch_from(self.running.address, token, path, range).await
    }

    /// Announces a file of so many bytes and sends none of them; gives the status.
    pub async fn announce_upload(&self, size: u64) -> u16 {
        use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
        let mut stream = BufReader::new(tokio::net::TcpStream::connect(self.running.address).await.unwrap());
        let head = format!(
            "POST /uploads?name=big HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {}\r\ncontent-length: {size}\r\n\r\n",
            self.integration
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Sends a file that does not say how large it is, until it is answered or so many bytes are sent; gives the answer's status
    /// and how many bytes were sent.
    pub async fn pour_upload(&self, at_most: u64) -> (u16, u64) {
        use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
        let stream = tokio::net::TcpStream::connect(self.running.address).await.unwrap();
        let (from, mut to) = stream.into_split();
        let head = format!(
            "POST /uploads?name=big HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {}\r\ntransfer-encoding: \
             chunked\r\n\r\n",
            self.integration
        );
        to.write_all(head.as_bytes()).await.unwrap();
        let piece = [b"100000\r\n".as_slice(), &vec![b'x'; 0x10_0000], b"\r\n"].concat();
        let mut sent = 0;
        let mut line = String::new();
        let mut answer = BufReader::new(from);
        let pour = async {
            // A hub that has heard enough closes the connection.
            while sent < at_most && to.write_all(&piece).await.is_ok() {
                sent += 0x10_0000;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            read = answer.read_line(&mut line) => drop(read.unwrap()),
            () = pour => {}
        }
        (line.split(' ').nth(1).unwrap().parse().unwrap(), sent)
    }

    async fn send(&self, request: hyper::Request<Full<Bytes>>) -> (u16, Bytes) {
        send(self.running.address, request).await
    }

    /// Posts a request that must be answered without errors; gives its data.
    pub async fn data(&self, token: &str, query: &str, variables: Value) -> Value {
        let (status, mut body) = self.post(Some(token), query, variables).await;
        assert!(status == 200 && body.get("errors").is_none(), "{query}\nwas answered {status}: {body}");
        body["data"].take()
    }

    /// Reads, as an integration.
    pub async fn read(&self, query: &str) -> Value {
        self.data(&self.integration, query, json!({})).await
    }

    /// Carries one mutation out as an integration; gives its payload, refusals included.
    pub async fn write(&self, mutation: &str, input: Value) -> Value {
        self.write_as(&self.integration, mutation, input).await
    }

    /// Carries one mutation out; gives its payload, refusals included.
    pub async fn write_as(&self, token: &str, mutation: &str, input: Value) -> Value {
        let (name, shape) = mutation.split_once(' ').unwrap_or((mutation, ""));
        let mut kind = name[..1].to_uppercase() + &name[1..];
        kind = match kind.as_str() {
            "MarkAttendance"
            | "GatewayHeartbeat"
            | "GatewaySubmitSwipes"
            | "StartImport"
            | "ApplyImport"
            | "StartExport"
            | "CancelExport"
            | "DeleteWebhook"
            | "DeleteCalendarSource"
            | "DeleteAttendancePolicy"
            | "ProposeCorrections"
            | "DecideCorrections" => {
                format!("{kind}Input")
            }
            "SaveAttendancePolicy" => "AttendancePolicyInput".to_owned(),
            many if many.ends_with('s') => format!("{many}Input"),
            one => format!("{}Input", one.trim_start_matches("Save")),
        };
        let query = format!(
            "mutation($input: {kind}!) {{ {name}(input: $input) {{ errors {{ code message path }} {shape} }} }}"
        );
        self.data(token, &query, json!({"input": input})).await[name].take()
    }

    /// Carries one mutation out that must take effect; gives its payload.
    pub async fn done(&self, mutation: &str, input: Value) -> Value {
        let payload = self.write(mutation, input).await;
        assert_eq!(payload["errors"], json!([]), "{mutation} was turned down");
        payload
    }
}

async fn send(address: SocketAddr, request: hyper::Request<Full<Bytes>>) -> (u16, Bytes) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

/// Sends a file for an import to any hub; gives the status and the body.
pub async fn upload_to(
    address: SocketAddr,
    token: &str,
    name: &str,
    bytes: impl Into<Bytes>,
) -> (u16, Value) {
    let request = hyper::Request::post(format!("/uploads?name={name}"))
        .header("host", "hub")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(bytes.into()))
        .unwrap();
    let (status, body) = send(address, request).await;
    (status, serde_json::from_slice(&body).unwrap())
}

/// Fetches a file from any hub, or a stretch of it; gives the status, which stretch it is, and the bytes.
pub async fn fetch_from(
    address: SocketAddr,
    token: &str,
    path: &str,
    range: Option<&str>,
) -> (u16, String, Bytes) {
    let mut request =
        hyper::Request::get(path).header("host", "hub").header("authorization", format!("Bearer {token}"));
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let stretch = response.headers().get("content-range").map(|value| value.to_str().unwrap().to_owned());
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, stretch.unwrap_or_default(), bytes)
}

/// Posts a request to any hub; `None` when it breaks off before it is answered.
pub async fn post_to(address: SocketAddr, token: &str, query: &str, variables: Value) -> Option<Value> {
    let stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let request = hyper::Request::post("/graphql")
        .header("host", "hub")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(Bytes::from(json!({"query": query, "variables": variables}).to_string())))
        .unwrap();
    let response = sender.send_request(request).await.ok()?;
    serde_json::from_slice(&response.into_body().collect().await.ok()?.to_bytes()).ok()
}

/// Gets a page of any server.
pub async fn get_from(address: SocketAddr, path: &str) -> Bytes {
    let request = hyper::Request::get(path).header("host", "server").body(Full::default()).unwrap();
    send(address, request).await.1
}

async fn token(running: &RunningHub, name: &str, role: Role, gateway: Option<&str>) -> String {
    access::create_token(&running.hub, name, &[role], gateway, None).await.unwrap().unwrap()
}

/// The refusals of a payload as `CODE path`, in order.
#[must_use]
pub fn refusals(payload: &Value) -> Vec<String> {
    let list = payload["errors"].as_array().unwrap().iter();
    list.map(|error| {
        let path = error["path"].as_array().map_or(&[][..], Vec::as_slice);
        let path: Vec<&str> = path.iter().filter_map(Value::as_str).collect();
        format!("{} {}", error["code"].as_str().unwrap(), path.join("."))
    })
    .collect()
}
