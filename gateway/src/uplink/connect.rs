//! Connections to the hub: by TLS with a given authority, or plain, which is private on loopback alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::trust::HubVerifier;
use crate::clock::Clock;

/// How long a connection may take to open.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The address is none.
    #[error("'{0}' is no address of a hub; say http://HOST:PORT or https://HOST:PORT")]
    Address(String),
    /// No authority was given for TLS.
    #[error("https needs the hub's certificate authority: say hub.ca_file")]
    NoAuthority,
    /// The authority's file cannot be used.
    #[error("{path} holds no certificate that can be used: {reason}")]
    Authority {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// It took too long.
    #[error("the hub did not answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// The network failed.
    #[error("the hub cannot be reached: {0}")]
    Network(#[from] std::io::Error),
    /// The hub does not prove who it is.
    #[error(
        "no TLS with the hub at {host}: {reason}; is its certificate for that name, and from the authority in \
         hub.ca_file?"
    )]
    Tls {
        /// The host.
        host: String,
        /// Why.
        reason: std::io::Error,
    },
}

/// A connection of either kind.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where the hub is and how to reach it.
#[derive(Clone)]
pub struct Address {
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
}

impl Address {
    /// Reads an address such as `https://hub.example:8443`.
    ///
    /// # Errors
    /// When it is none, or TLS cannot be set up.
    /// A certificate's validity is judged by `clock`, also while that does not know the time: see `trust`.
    pub fn new(url: &str, authority: Option<&Path>, clock: Arc<dyn Clock>) -> Result<Self, ConnectError> {
        let bad = || ConnectError::Address(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().ok_or_else(bad)?.to_owned();
        let (default, secure) = match uri.scheme_str() {
            Some("http") => (80, false),
            Some("https") => (443, true),
            _ => return Err(bad()),
        };
        let tls = match (secure, authority) {
            (false, _) => None,
            (true, None) => return Err(ConnectError::NoAuthority),
            (true, Some(path)) => Some(connector(path, clock)?),
        };
        Ok(Self { host, port: uri.port_u16().unwrap_or(default), tls })
    }

    /// Whether nobody on the way can read or change what is said: by TLS, or because it stays on this machine.
    #[must_use]
    pub fn is_private(&self) -> bool {
        let host = self.host.trim_matches(['[', ']']);
        let loopback = || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        self.tls.is_some() || host == "localhost" || loopback()
    }

    /// Host and port, for the `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When the hub cannot be reached or does not prove who it is.
    pub async fn connect(&self) -> Result<Box<dyn Stream>, ConnectError> {
        tokio::time::timeout(TIMEOUT, self.open()).await.map_err(|_| ConnectError::TimedOut)?
    }

    async fn open(&self) -> Result<Box<dyn Stream>, ConnectError> {
        let host = self.host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|_| ConnectError::Address(host.to_owned()))?;
                let opened = tls.connect(name, stream).await;
                Ok(Box::new(opened.map_err(|reason| ConnectError::Tls { host: self.host.clone(), reason })?))
            }
        }
    }
}

fn connector(path: &Path, clock: Arc<dyn Clock>) -> Result<TlsConnector, ConnectError> {
    let wrong = |reason: String| ConnectError::Authority { path: path.display().to_string(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds none".to_owned()));
    }
    let verifier = HubVerifier::new(roots, clock).map_err(wrong)?;
    let config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn plain_is_private_on_this_machine_alone() {
        for (url, private) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost", true),
            ("http://127.0.0.1.example.org", false),
            ("http://localhost.example.org", false),
            ("http://192.0.2.1:8080", false),
        ] {
            let address = Address::new(url, None, Arc::new(crate::clock::SystemClock::new("none".into())));
            assert_eq!(address.unwrap().is_private(), private, "{url}");
        }
    }
}
