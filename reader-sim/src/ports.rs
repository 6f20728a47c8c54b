//! Ports for servers that must be told which one they are to listen on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context;

/// Below those that Linux gives out by itself (32768 to 60999), so that nobody is given one between now and its use.
const FIRST: u16 = 16_384;
const COUNT: u16 = 16_384;
/// So many lie between the first ports of two processes that began one after the other.
const APART: u16 = 41;

/// A port on loopback that nothing listens on, another one each time.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<SocketAddr> {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0).wrapping_mul(APART);
    for _ in 0..COUNT {
        let nth = begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + nth));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    None.context("no port is free")
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_port_is_given_twice_and_none_that_is_in_use() {
        let ports: Vec<_> = (0..20).filter_map(|_| super::free_port().ok()).collect();
        let different: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!((ports.len(), different.len()), (20, 20));
        assert!(ports.iter().all(|port| port.ip().is_loopback() && (16_384..32_768).contains(&port.port())));
        assert!(ports.iter().all(|port| std::net::TcpListener::bind(port).is_ok()), "free: {ports:?}");
    }
}
