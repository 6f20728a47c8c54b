//! The gateway's own page, for who stands before the machine: how doors, journal, clock and hub are, live, without the
//! internet; the same as JSON, as Prometheus metrics, and in a word for watchdogs.
//!
//! Called by `app`. Only looks, and never decides anything. A page that cannot be served costs nobody an attendance.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::serve::Listener;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::{Stream, stream};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::journal::writer::Journal;
use crate::uplink::sender::Handing;

mod few;
pub mod look;
mod metrics;

use few::Few;
use look::{Doors, Look};

/// How often a page that is open hears how things are.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// The gateway's main loop answers within this, or something is wrong.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Whoever is connected says within this what it wants to see.
const ASKS_WITHIN: Duration = Duration::from_secs(15);

/// Asks the gateway's mind how the doors are.
pub type DoorsAsk = oneshot::Sender<Doors>;

/// What the page looks at.
#[derive(Clone)]
pub struct Windows {
    /// The gateway's code.
    pub gateway: String,
    /// Where the data lies, for its free space.
    pub data: PathBuf,
    /// The mind.
    pub doors: mpsc::Sender<DoorsAsk>,
    /// The journal.
    pub journal: Journal,
    /// How handing over goes.
    pub handing: watch::Receiver<Handing>,
}

impl Windows {
    /// How everything is; `None` when the gateway does not answer.
    async fn look(&self) -> Option<Look> {
        let ask = async {
            let (reply, answer) = oneshot::channel();
            self.doors.send(reply).await.ok()?;
            let doors = answer.await.ok()?;
            Some((doors, self.journal.standing().await?))
        };
        let (doors, standing) = tokio::time::timeout(ANSWERS_WITHIN, ask).await.ok()??;
        let free = rustix::fs::statvfs(&self.data).ok().map(|disk| disk.f_bavail * disk.f_frsize);
        Some(Look::new(&self.gateway, doors, &standing, &self.handing.borrow(), free))
    }
}

#[derive(Clone)]
struct Shared {
    windows: Windows,
    stop: watch::Receiver<bool>,
    /// SHA-256 of the password that is asked for.
    password: Option<Arc<[u8; 32]>>,
}

/// Serves the page until told to stop.
pub async fn serve(
    listener: TcpListener,
    windows: Windows,
    password: Option<String>,
    stop: watch::Receiver<bool>,
) {
    let password = password.map(|it| Arc::new(Sha256::digest(it.as_bytes()).into()));
    let mut stopping = stop.clone();
    let shared = Shared { windows, stop, password };
    let router = Router::new()
        .route("/", get(|| asset("text/html; charset=utf-8", include_str!("page/page.html"))))
        .route("/page.css", get(|| asset("text/css; charset=utf-8", include_str!("page/page.css"))))
        .route("/page.js", get(|| asset("text/javascript; charset=utf-8", include_str!("page/page.js"))))
        .route("/status.json", get(status))
        .route("/events", get(events))
        .route("/metrics", get(measured))
        .layer(middleware::from_fn_with_state(shared.clone(), guarded))
        // Asked by watchdogs, which know no password; it says nothing but how it is.
        .route("/health", get(health))
        .with_state(shared);
    talk(Few::new(listener), router, ASKS_WITHIN, &mut stopping).await;
}

/// Answers until told to stop. Whoever has not said within `patience` what it wants is hung up on: there are few places.
async fn talk(mut few: Few, router: Router, patience: Duration, stop: &mut watch::Receiver<bool>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience);
    let (mut talking, hanging_up) = (JoinSet::new(), GracefulShutdown::new());
    loop {
        tokio::select! {
            (stream, from) = few.accept() => {
                let service = TowerToHyperService::new(router.clone());
                let talk = hanging_up.watch(http.serve_connection(TokioIo::new(stream), service));
                talking.spawn(async move {
                    if let Err(error) = talk.await {
                        tracing::debug!(%from, "the status page was not heard out: {error}");
                    }
                });
            }
            Some(_) = talking.join_next() => {}
            () = crate::stop::told(stop) => break,
        }
    }
    hanging_up.shutdown().await;
}

async fn asset(kind: &'static str, body: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'self'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body).into_response()
}

async fn guarded(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let Some(password) = &shared.password else { return next.run(request).await };
    if given(request.headers()).is_some_and(|given| Sha256::digest(given).as_slice() == password.as_slice()) {
        return next.run(request).await;
    }
    let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"Rollcall gateway\", charset=\"UTF-8\"")];
    (StatusCode::UNAUTHORIZED, ask, "the page asks for the password of page.password_file\n").into_response()
}

/// The password that a browser sent, whatever the name.
fn given(headers: &HeaderMap) -> Option<Vec<u8>> {
    let said = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let mut said = BASE64_STANDARD.decode(said).ok()?;
    let colon = said.iter().position(|byte| *byte == b':')?;
    Some(said.split_off(colon + 1))
}

fn silent() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the gateway does not answer\n").into_response()
}

async fn status(State(shared): State<Shared>) -> Response {
    match shared.windows.look().await {
        Some(look) => Json(look).into_response(),
        None => silent(),
    }
}

async fn measured(State(shared): State<Shared>) -> Response {
    let text = match shared.windows.look().await {
        Some(look) => metrics::text(&look),
        None => return silent(),
    };
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// 200 while swipes can be recorded, 503 with the reasons when they cannot.
async fn health(State(shared): State<Shared>) -> Response {
    let Some(look) = shared.windows.look().await else { return silent() };
    let problems = look.problems();
    let code = if problems.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(serde_json::json!({"healthy": problems.is_empty(), "problems": problems}))).into_response()
}

async fn events(State(shared): State<Shared>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let begin = (shared.windows, shared.stop, tokio::time::interval(TELL_EVERY));
    let told = stream::unfold(begin, |(windows, mut stop, mut ticks)| async move {
        tokio::select! {
            _ = ticks.tick() => {}
            // An open page must not keep the gateway from stopping.
            () = crate::stop::told(&mut stop) => return None,
        }
        let event = match windows.look().await {
            Some(look) => Event::default().json_data(look).unwrap_or_default(),
            None => Event::default().event("silent"),
        };
        Some((Ok(event), (windows, stop, ticks)))
    });
    Sse::new(told).keep_alive(KeepAlive::default())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn who_does_not_say_what_it_wants_gives_its_place_to_another() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, mut stop) = watch::channel(false);
        let router = Router::new().route("/", get(|| async { "here" }));
        let served = tokio::spawn(async move {
            talk(Few::new(listener), router, Duration::from_millis(200), &mut stop).await;
        });
        let mut silent = Vec::new();
        for _ in 0..few::CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HT").await.unwrap();
            silent.push(stream);
        }
        let mut last = TcpStream::connect(address).await.unwrap();
        last.write_all(b"GET / HTTP/1.1\r\nhost: door\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let heard = tokio::time::timeout(Duration::from_secs(60), last.read_to_string(&mut answer)).await;
        assert!(heard.is_ok() && answer.ends_with("here"), "no place came free: {answer:?}");
        tell.send_replace(true);
        tokio::time::timeout(Duration::from_secs(60), served).await.unwrap().unwrap();
    }
}
