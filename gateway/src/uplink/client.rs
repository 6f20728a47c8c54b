//! Asks the hub: one GraphQL operation, one answer, over a connection that is kept while it works.

use std::time::Duration;

use bytes::Bytes;
use cynic::{GraphQlResponse, Operation};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::connect::{Address, ConnectError};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum UplinkError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection failed on the way.
    #[error("the connection to the hub failed: {0}")]
    Http(String),
    /// It took too long.
    #[error("the hub did not answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// The hub does not let this gateway in.
    #[error(
        "the hub refuses this gateway's token ({0}); make one with 'rollcall-hub token create --name CODE --role GATEWAY --gateway CODE'"
    )]
    NotLetIn(StatusCode),
    /// Something between here and the hub takes no request of this size, whatever is in it.
    #[error("the hub, or a proxy before it, takes no request of this size (413); let it take 8 MiB")]
    TooLarge,
    /// The hub turned the request down; sending the same again will not help.
    #[error("the hub turned the request down: {0}")]
    Refused(String),
    /// The hub failed, and may again at the same.
    #[error("the hub failed: {0}")]
    Failed(String),
    /// The hub can do nothing now, whatever is asked of it.
    #[error("the hub cannot do it now: {0}")]
    Unavailable(String),
    /// The answer is not what was asked for.
    #[error("the hub's answer cannot be read: {0}")]
    BadAnswer(String),
}

/// What an error of the hub's carries beside its words.
#[derive(Debug, serde::Deserialize)]
struct Coded {
    code: Option<String>,
}

impl UplinkError {
    /// What errors of the hub's mean, by their codes: faults of its own, and a role that is wrong, come as errors too, and are not
    /// what it was sent.
    #[must_use]
    pub fn told<'a>(words: String, codes: impl IntoIterator<Item = &'a str>) -> Self {
        let codes: Vec<&str> = codes.into_iter().collect();
        if codes.contains(&"UNAVAILABLE") || codes.contains(&"FORBIDDEN") {
            Self::Unavailable(words)
        } else if codes.contains(&"INTERNAL") {
            Self::Failed(words)
        } else {
            Self::Refused(words)
        }
    }
}

/// A client of the hub.
pub struct HubClient {
    address: Address,
    token: String,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl HubClient {
    /// A client that shows this token.
    #[must_use]
    pub fn new(address: Address, token: String) -> Self {
        Self { address, token, connection: None }
    }

    /// Asks.
    ///
    /// # Errors
    /// When there is no answer; the connection is then opened anew next time.
    pub async fn ask<Q, V>(&mut self, operation: Operation<Q, V>) -> Result<Q, UplinkError>
    where
        Q: DeserializeOwned + 'static,
        V: Serialize,
    {
        // Something in it cannot be said at all: as one that the hub does not take, it holds up no other.
        let body = serde_json::to_vec(&operation).map_err(|error| UplinkError::Refused(error.to_string()))?;
        let answer = tokio::time::timeout(TIMEOUT, self.post(body)).await;
        let (status, bytes) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                self.connection = None;
                return Err(error);
            }
            Err(_) => {
                self.connection = None;
                return Err(UplinkError::TimedOut);
            }
        };
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(UplinkError::NotLetIn(status)),
            StatusCode::PAYLOAD_TOO_LARGE => return Err(UplinkError::TooLarge),
            // Of what a proxy says for it nobody knows whether it was done.
            StatusCode::INTERNAL_SERVER_ERROR => return Err(UplinkError::Failed(status.to_string())),
            status if status.is_server_error() => return Err(UplinkError::Unavailable(status.to_string())),
            _ => {}
        }
        let response: GraphQlResponse<Q, Coded> =
            serde_json::from_slice(&bytes).map_err(|error| UplinkError::BadAnswer(error.to_string()))?;
        match (response.data, response.errors) {
            (Some(data), None) => Ok(data),
            (_, Some(errors)) => {
                let codes: Vec<String> =
                    errors.iter().filter_map(|error| error.extensions.as_ref()?.code.clone()).collect();
                let words: Vec<String> = errors.into_iter().map(|error| error.message).collect();
                Err(UplinkError::told(words.join("; "), codes.iter().map(String::as_str)))
            }
            (None, None) => Err(UplinkError::BadAnswer("neither data nor errors".to_owned())),
        }
    }

    async fn post(&mut self, body: Vec<u8>) -> Result<(StatusCode, Bytes), UplinkError> {
        let failed = |error: hyper::Error| UplinkError::Http(error.to_string());
        let ready = match &mut self.connection {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        if !ready {
            let stream = self.address.connect().await?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!("connection to the hub ended: {error}");
                }
            });
            self.connection = Some(sender);
        }
        let Some(connection) = &mut self.connection else {
            return Err(UplinkError::Http("no connection".to_owned()));
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri("/graphql")
            .header(HOST, self.address.authority())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/graphql-response+json, application/json")
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| UplinkError::Http(error.to_string()))?;
        let response = connection.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let bytes = body.map_err(|error| UplinkError::Http(error.to_string()))?.to_bytes();
        Ok((status, bytes))
    }
}
