//! The simulator's own client of the hub's API, over real HTTP: it asks as any integrator would.

use anyhow::{Context, bail};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// How many things go into one bulk.
const BULK: usize = 5_000;

/// A client that shows a token.
pub struct Api {
    address: SocketAddr,
    token: String,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Api {
    /// A client of the hub at an address.
    #[must_use]
    pub fn new(address: SocketAddr, token: String) -> Self {
        Self { address, token, connection: None }
    }

    /// Asks; gives `data`.
    ///
    /// # Errors
    /// When the hub cannot be reached, or answers with errors.
    pub async fn ask(&mut self, query: &str, variables: Value) -> anyhow::Result<Value> {
        let body = json!({"query": query, "variables": variables}).to_string();
        let (status, mut answer) = self.post("/graphql", "application/json", body.into()).await?;
        if !answer["errors"].is_null() {
            bail!("the hub answered {status}: {}", answer["errors"]);
        }
        Ok(answer["data"].take())
    }

    /// Uploads a file; gives its id.
    ///
    /// # Errors
    /// When the hub does not take it.
    pub async fn upload(&mut self, name: &str, bytes: Vec<u8>) -> anyhow::Result<String> {
        let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let path = format!("/uploads?name={name}");
        let (status, answer) = self.post(&path, "application/octet-stream", bytes.into()).await?;
        let id = answer["uploadId"].as_str().map(str::to_owned);
        id.with_context(|| format!("the hub answered {status} to a file: {answer}"))
    }

    async fn post(&mut self, path: &str, media: &str, body: Bytes) -> anyhow::Result<(StatusCode, Value)> {
        let usable = match &mut self.connection {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            let stream = TcpStream::connect(self.address).await.context("the hub cannot be reached")?;
            stream.set_nodelay(true)?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            self.connection = Some(sender);
        }
        let connection = self.connection.as_mut().context("no connection")?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, media)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::new(body))?;
        let response = connection.send_request(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        let answer = serde_json::from_slice(&bytes)
            .with_context(|| format!("the hub answered {status} and no JSON"))?;
        Ok((status, answer))
    }

    /// Writes by a mutation with one `input`; its `errors` must be empty.
    ///
    /// # Errors
    /// When the hub turns it down.
    pub async fn write(&mut self, mutation: &str, input_type: &str, input: Value) -> anyhow::Result<()> {
        let query = format!(
            "mutation($input: {input_type}!) {{ {mutation}(input: $input) {{ errors {{ code message path }} }} }}"
        );
        let answer = self.ask(&query, json!({ "input": input })).await?;
        let errors = &answer[mutation]["errors"];
        if errors.as_array().is_none_or(|errors| !errors.is_empty()) {
            bail!("{mutation} was turned down: {errors}");
        }
        Ok(())
    }
}

/// Saves many things by a mutation that takes a list of them.
///
/// # Errors
/// When the hub turns them down.
pub async fn bulk(
    api: &mut Api,
    mutation: &str,
    kind: &str,
    list: &str,
    things: Vec<Value>,
) -> anyhow::Result<()> {
    for chunk in things.chunks(BULK) {
        api.write(mutation, kind, json!({ list: chunk })).await?;
    }
    Ok(())
}
