//! The GraphQL socket: the graphql-transport-ws protocol over a WebSocket.
//!
//! One task a socket, and one for each operation: what holds a reader or the writer of the database never waits for a peer that
//! does not take its messages. Close codes are the protocol's own.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use async_graphql::Pos;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::stream::{AbortHandle, Abortable, SelectAll, Stream, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Shared;
use super::auth::{Refused, caller};
use super::request::from_json;
use super::response::body;
use crate::graphql::batch;
use crate::graphql::context::{INTERNAL, coded};
use crate::service::Caller;

/// The protocol's name.
const PROTOCOL: &str = "graphql-transport-ws";
/// How long a subscriber may take to take a message.
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// How long a client may take to introduce itself.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the hub asks whether the client is still there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long it may take to look a token up again.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);
/// How long the closing handshake may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// The most operations that one socket runs at once.
const MAX_OPERATIONS: usize = 100;
/// The largest message.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// Why a socket is closed, by the protocol's codes.
struct Close(u16, String);

/// What an operation has to say: its id and a response, or its end.
type Said = (String, Option<async_graphql::Response>);
type Running = Pin<Box<dyn Stream<Item = Said> + Send>>;

/// Opens the socket.
pub fn open(upgrade: WebSocketUpgrade, shared: Shared, token: Option<String>) -> Response {
    upgrade
        .protocols([PROTOCOL])
        .max_message_size(MAX_MESSAGE_BYTES)
        .on_upgrade(move |socket| async move { serve(socket, shared, token).await })
}

async fn serve(mut socket: WebSocket, shared: Shared, token: Option<String>) {
    if socket.protocol().is_none_or(|protocol| protocol != PROTOCOL) {
        let close = Close(4406, format!("this socket speaks {PROTOCOL}"));
        close_with(&mut socket, close).await;
        return;
    }
    match (Session { shared, token, caller: None, running: HashMap::new() }).run(&mut socket).await {
        Err(Some(close)) => close_with(&mut socket, close).await,
        Ok(()) | Err(None) => farewell(&mut socket).await,
    }
}

async fn close_with(socket: &mut WebSocket, Close(code, reason): Close) {
    // A peer that is gone already needs no reason.
    let _ = send_frame(socket, Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
    farewell(socket).await;
}

/// Carries the closing handshake to its end: a socket dropped before it, or with messages unread, takes the
/// close frame with it, and the peer learns no code.
async fn farewell(socket: &mut WebSocket) {
    let rest = async { while let Some(Ok(_)) = socket.recv().await {} };
    // A peer that never answers is left behind.
    let _ = tokio::time::timeout(FAREWELL, rest).await;
}

struct Session {
    shared: Shared,
    token: Option<String>,
    caller: Option<Caller>,
    running: HashMap<String, AbortHandle>,
}

/// An operation in a task of its own, which ends when nobody listens any more.
struct Operation {
    answers: mpsc::Receiver<async_graphql::Response>,
    task: JoinHandle<()>,
}

impl Operation {
    fn start(responses: impl Stream<Item = async_graphql::Response> + Send + 'static) -> Self {
        let (say, answers) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let mut responses = std::pin::pin!(responses);
            while let Some(response) = responses.next().await {
                if say.send(response).await.is_err() {
                    return;
                }
            }
        });
        Self { answers, task }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `Err(None)`: the peer closes, or has gone.
type Step<T = ()> = Result<T, Option<Close>>;

fn close<T>(code: u16, reason: impl Into<String>) -> Step<T> {
    Err(Some(Close(code, reason.into())))
}

async fn send(socket: &mut WebSocket, message: Value) -> Step {
    send_frame(socket, Message::Text(message.to_string().into())).await
}

/// Sends, or gives the socket up: while this waits nothing else of the socket is heard or said.
async fn send_frame(socket: &mut WebSocket, message: Message) -> Step {
    match tokio::time::timeout(SEND_WITHIN, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(None),
    }
}

impl Session {
    async fn run(&mut self, socket: &mut WebSocket) -> Step {
        let mut streams: SelectAll<Running> = SelectAll::new();
        // An empty set of streams is at its end at once; one that never ends keeps the loop waiting.
        streams.push(Box::pin(futures_util::stream::pending()));
        let init = tokio::time::sleep(INIT_TIMEOUT);
        tokio::pin!(init);
        let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING_EVERY, PING_EVERY);
        loop {
            tokio::select! {
                message = socket.recv() => match message {
                    Some(Ok(Message::Text(text))) => self.heard(socket, text.as_bytes(), &mut streams).await?,
                    Some(Ok(Message::Binary(_))) => return close(4400, "messages must be text"),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(None),
                },
                said = streams.next() => {
                    if let Some((id, response)) = said {
                        self.say(socket, id, response).await?;
                    }
                }
                () = &mut init, if self.caller.is_none() => return close(4408, "Connection initialisation timeout"),
                _ = ping.tick() => {
                    self.still_known().await?;
                    send_frame(socket, Message::Ping(Bytes::new())).await?;
                }
            }
        }
    }

    /// A token may be taken back while a subscription runs. A store that is busy just now is asked another time.
    async fn still_known(&self) -> Step {
        if self.caller.is_none() {
            return Ok(());
        }
        let hub = self.shared.hub.at_once();
        let known = caller(&hub, self.token.as_deref());
        match tokio::time::timeout(KNOWN_WITHIN, known).await {
            Ok(Err(Refused::Missing | Refused::Unknown)) => close(4403, "Forbidden"),
            _ => Ok(()),
        }
    }

    async fn heard(&mut self, socket: &mut WebSocket, text: &[u8], streams: &mut SelectAll<Running>) -> Step {
        let Ok(Value::Object(message)) = serde_json::from_slice::<Value>(text) else {
            return close(4400, "Invalid message received");
        };
        let id = message.get("id").and_then(Value::as_str);
        match (message.get("type").and_then(Value::as_str), id) {
            (Some("connection_init"), _) => self.init(socket, message.get("payload")).await,
            (Some("ping"), _) => send(socket, json!({"type": "pong"})).await,
            (Some("pong"), _) => Ok(()),
            (Some("subscribe"), Some(id)) => {
                let payload = message.get("payload").cloned().unwrap_or(Value::Null);
                self.subscribe(socket, id, &payload, streams).await
            }
            (Some("complete"), Some(id)) => {
                if let Some(handle) = self.running.remove(id) {
                    handle.abort();
                }
                Ok(())
            }
            _ => close(4400, "Invalid message received"),
        }
    }

    async fn init(&mut self, socket: &mut WebSocket, payload: Option<&Value>) -> Step {
        if self.caller.is_some() {
            return close(4429, "Too many initialisation requests");
        }
        let field = |name: &str| payload.and_then(|payload| payload.get(name)).and_then(Value::as_str);
        let told = field("token").or_else(|| {
            let header = field("authorization").or_else(|| field("Authorization"))?;
            header.strip_prefix("Bearer ").or(Some(header))
        });
        self.token = told.map(str::to_owned).or_else(|| self.token.take());
        match caller(&self.shared.hub.at_once(), self.token.as_deref()).await {
            Ok(caller) => self.caller = Some(caller),
            Err(Refused::Fault(_)) => return close(4500, "the hub failed; its log says why. Try again"),
            Err(_) => return close(4403, "Forbidden"),
        }
        send(socket, json!({"type": "connection_ack"})).await
    }

    async fn subscribe(
        &mut self,
        socket: &mut WebSocket,
        id: &str,
        payload: &Value,
        streams: &mut SelectAll<Running>,
    ) -> Step {
        let Some(known) = self.caller.clone() else { return close(4401, "Unauthorized") };
        // A token may have been taken back since.
        let caller = match caller(&self.shared.hub.at_once(), self.token.as_deref()).await {
            Ok(caller) => caller,
            Err(Refused::Fault(_)) => known,
            Err(_) => return close(4403, "Forbidden"),
        };
        if self.running.contains_key(id) {
            return close(4409, format!("Subscriber for {id} already exists"));
        }
        let request = match from_json(payload.to_string().as_bytes()) {
            Ok(request) => request,
            Err(message) => return close(4400, message),
        };
        if self.running.len() >= MAX_OPERATIONS {
            let message = format!("a socket runs {MAX_OPERATIONS} operations at once at the most");
            return send(socket, json!({"type": "error", "id": id, "payload": [{"message": message}]})).await;
        }
        let hub = self.shared.hub_for(&caller);
        let request = request.data(caller).data(self.shared.schema.clone());
        let (handle, registration) = AbortHandle::new_pair();
        let name = id.to_owned();
        let end = (name.clone(), None);
        let responses = batch::execute_stream(&self.shared.schema, request, hub);
        let answers = futures_util::stream::unfold(Some(Operation::start(responses)), async |running| {
            let mut operation = running?;
            if let Some(response) = operation.answers.recv().await {
                return Some((response, Some(operation)));
            }
            // One that failed has not said all there was to say.
            let failed = (&mut operation.task).await.is_err();
            let error = coded(INTERNAL, "the hub failed; its log says why").into_server_error(Pos::default());
            failed.then(|| (async_graphql::Response::from_errors(vec![error]), None))
        });
        let answers = answers.map(move |response| (name.clone(), Some(response)));
        let whole = answers.chain(futures_util::stream::iter([end]));
        streams.push(Box::pin(Abortable::new(whole, registration)));
        self.running.insert(id.to_owned(), handle);
        Ok(())
    }

    async fn say(
        &mut self,
        socket: &mut WebSocket,
        id: String,
        response: Option<async_graphql::Response>,
    ) -> Step {
        if !self.running.contains_key(&id) {
            return Ok(());
        }
        let Some(response) = response else {
            self.running.remove(&id);
            return send(socket, json!({"type": "complete", "id": id})).await;
        };
        let (body, refused) = body(&response);
        if refused {
            if let Some(handle) = self.running.remove(&id) {
                handle.abort();
            }
            return send(socket, json!({"type": "error", "id": id, "payload": body["errors"]})).await;
        }
        send(socket, json!({"type": "next", "id": id, "payload": body})).await
    }
}
