//! HTTP to addresses that people name: no private ones unless that was allowed, no redirects, bounded in time and size.
//!
//! Knows nothing of what it carries. A name is looked up once, and what it stands for is looked at before a connection
//! is made to it, so that a name cannot be one address for the check and another for the connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use http::HeaderMap;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response, Url, redirect};

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a whole exchange may take, and one by which something large is fetched.
const WITHIN: Duration = Duration::from_secs(15);
const FETCHED_WITHIN: Duration = Duration::from_secs(60);

/// Why nothing came of it, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

/// An answer.
#[derive(Debug)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, or as much of it as was wanted.
    pub body: Vec<u8>,
}

/// The way out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    client: Client,
    private: bool,
}

impl Outgoing {
    /// A way out; `private` lets it reach addresses that only exist here, without TLS too.
    ///
    /// # Errors
    /// When TLS cannot be set up: no authority of this machine's can be read, for instance.
    pub fn new(private: bool) -> Result<Self, Failed> {
        let client = Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .timeout(WITHIN)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("rollcall-hub/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Public { private })
            .build()
            .map_err(|error| Failed(chain(&error)))?;
        Ok(Self { client, private })
    }

    /// Sends a body; gives the answer's status. What else the answer holds is not waited for.
    ///
    /// # Errors
    /// When there was no answer.
    pub async fn post(&self, url: &str, headers: HeaderMap, body: String) -> Result<u16, Failed> {
        let url = target(url, self.private).map_err(Failed)?;
        let sent = self.client.post(url).headers(headers).body(body).send().await;
        Ok(sent.map_err(|error| Failed(chain(&error)))?.status().as_u16())
    }

    /// Sends a body and reads the beginning of the answer, for people who want to know what was wrong.
    ///
    /// # Errors
    /// When there was no answer.
    pub async fn ask(
        &self,
        url: &str,
        headers: HeaderMap,
        body: String,
        most: usize,
    ) -> Result<Answered, Failed> {
        let url = target(url, self.private).map_err(Failed)?;
        let sent = self.client.post(url).headers(headers).body(body).send().await;
        answered(sent.map_err(|error| Failed(chain(&error)))?, most).await
    }

    /// Fetches what is there, at most so many bytes of it and one more, by which whoever asks sees that it was too much.
    ///
    /// # Errors
    /// When there was no answer.
    pub async fn get(&self, url: &str, headers: HeaderMap, most: usize) -> Result<Answered, Failed> {
        let url = target(url, self.private).map_err(Failed)?;
        let sent = self.client.get(url).headers(headers).timeout(FETCHED_WITHIN).send().await;
        answered(sent.map_err(|error| Failed(chain(&error)))?, most.saturating_add(1)).await
    }
}

async fn answered(response: Response, most: usize) -> Result<Answered, Failed> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut body = Vec::new();
    let mut pieces = response.bytes_stream();
    while body.len() < most
        && let Some(piece) = pieces.next().await
    {
        let piece = piece.map_err(|error| Failed(chain(&error)))?;
        body.extend_from_slice(&piece[..piece.len().min(most - body.len())]);
    }
    Ok(Answered { status, headers, body })
}

/// An error and what caused it: what matters is at the bottom. The address is left out, for it may hold a password.
fn chain(error: &reqwest::Error) -> String {
    let mut words = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    if error.is_timeout() {
        words.push("it took too long".to_owned());
    }
    if words.is_empty() { "the request failed".to_owned() } else { words.join(": ") }
}

/// Reads an address that may be gone to.
///
/// # Errors
/// Why it may not, for people.
pub fn target(text: &str, private: bool) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("this is no address ({error}): say https://HOST/PATH"))?;
    match url.scheme() {
        "https" => {}
        "http" if private => {}
        "http" => {
            let message =
                "only https:// is gone to; start the hub with --allow-private-addresses for http://";
            return Err(message.to_owned());
        }
        scheme => return Err(format!("'{scheme}:' cannot be gone to; say https://…")),
    }
    let host = url.host_str().unwrap_or_default();
    if host.is_empty() {
        return Err("this address has no host: say https://HOST/PATH".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address with a password in it would be kept and shown; leave that out".to_owned());
    }
    let literal: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    if let Some(address) = literal
        && !private
        && !is_public(address)
    {
        return Err(private_address(address));
    }
    Ok(url)
}

fn private_address(address: IpAddr) -> String {
    format!(
        "{address} is an address of this machine or of a private network; start the hub with \
         --allow-private-addresses if that is meant"
    )
}

/// Looks names up, and gives public addresses only.
struct Public {
    private: bool,
}

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (public, others): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|address| private || is_public(address.ip()));
            match (public.is_empty(), others.first()) {
                (true, Some(other)) => Err(private_address(other.ip()).into()),
                _ => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

/// Whether an address stands for one machine on the internet (IANA's registries of special-purpose addresses).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        // "This network", shared space of providers (RFC 6598), protocol assignments, benchmarks, what is reserved.
        || first == 0
        || (first == 100 && (64..128).contains(&second))
        || (first == 192 && second == 0 && third == 0)
        || (first == 198 && (18..20).contains(&second))
        || first >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // A mapped address, and those that carry one: a translator's (RFC 6052), a tunnel's (6to4).
        [0, 0, 0, 0, 0, 0xffff, high, low] => embedded(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // What is given out to machines is in 2000::/3; of that, not what is for protocols and for documents.
        [first, second, ..] => {
            (0x2000..0x4000).contains(&first)
                && !(first == 0x2001 && (second < 0x200 || second == 0xdb8))
                && !(first == 0x3fff && second < 0x1000)
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]
mod tests {
    use super::{is_public, target};

    #[test]
    fn only_addresses_of_machines_on_the_internet_are_public() {
        for public in ["8.8.8.8", "193.60.1.2", "100.128.0.1", "2a00:1450::1", "64:ff9b::808:808"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.5",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "fc00::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "fec0::1",
            "::7f00:1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }

    #[test]
    fn an_address_that_may_not_be_gone_to_is_refused_with_what_to_do() {
        assert!(target("https://example.org/hook?x=1", false).is_ok());
        for (bad, why) in [
            ("http://example.org/", "https"),
            ("ftp://example.org/", "ftp"),
            ("https://127.0.0.1/", "--allow-private-addresses"),
            ("https://2130706433/", "--allow-private-addresses"),
            ("https://0x7f.1/", "--allow-private-addresses"),
            ("https://[::ffff:10.0.0.1]/", "--allow-private-addresses"),
            ("https://me:secret@example.org/", "password"),
            ("nonsense", "no address"),
        ] {
            let message = target(bad, false).unwrap_err();
            assert!(message.contains(why), "{bad}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
        assert!(target("http://127.0.0.1:9/", true).is_ok());
    }
}
