//! A network namespace with one wire to the machine, and the rules of what passes in it.
//!
//! Everything in it ends with it. Never changes a rule, an address or a route of the machine's own network, besides
//! its end of the wire.

use std::net::Ipv4Addr;
use std::process::Command;

use crate::chaos::process::tool;

/// A namespace; removed when dropped.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
    outer: String,
    third: u8,
}

impl Namespace {
    /// Makes one with a wire to it.
    pub(super) async fn new() -> Result<Self, String> {
        let id = std::process::id();
        let third = u8::try_from(id % 250).unwrap_or_default();
        let (outer, inner) = (format!("rco{id}"), format!("rci{id}"));
        let space = Self { name: format!("rollcall{id}"), outer: outer.clone(), third };
        let name = space.name.clone();
        tool("ip", &["netns", "add", &name]).await?;
        tool("ip", &["link", "add", &outer, "type", "veth", "peer", "name", &inner, "netns", &name]).await?;
        tool("ip", &["addr", "add", &format!("{}/30", space.at(1)), "dev", &outer]).await?;
        tool("ip", &["link", "set", &outer, "up"]).await?;
        space.run(&["ip", "addr", "add", &format!("{}/30", space.at(2)), "dev", &inner]).await?;
        space.run(&["ip", "link", "set", &inner, "up"]).await?;
        space.run(&["ip", "link", "set", "lo", "up"]).await?;
        space.rules("numgen random mod 100 < 0 drop", "meta l4proto tcp reject with tcp reset").await?;
        space.rules("", "").await?;
        Ok(space)
    }

    /// The hub's address in it.
    pub(super) fn hub(&self) -> Ipv4Addr {
        self.at(2)
    }

    /// The words that start a program inside.
    pub(super) fn inside(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }

    /// Replaces all rules: for what comes in, and for what goes out.
    pub(super) async fn rules(&self, coming: &str, going: &str) -> Result<(), String> {
        let text = format!(
            "add table inet rollcall\ndelete table inet rollcall\ntable inet rollcall {{\n\
             chain coming {{\ntype filter hook input priority 0;\n{coming}\n}}\n\
             chain going {{\ntype filter hook output priority 0;\n{going}\n}}\n}}\n"
        );
        self.run(&["nft", &text]).await.map(|_| ())
    }

    /// The ports of all connections to the hub that stand, as it sees them.
    pub(super) async fn ports(&self) -> Result<Vec<String>, String> {
        let told = self.run(&["ss", "-tnH", "state", "established"]).await?;
        let port = |line: &str| line.split_whitespace().nth(3)?.rsplit(':').next().map(str::to_owned);
        Ok(told.lines().filter_map(port).collect())
    }

    async fn run(&self, words: &[&str]) -> Result<String, String> {
        let before = ["netns", "exec", &self.name];
        tool("ip", &[&before[..], words].concat()).await
    }

    fn at(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.third, last)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Connections that nobody closes would keep it, and the wire, alive for minutes.
        let _ = Command::new("ip").args(["link", "del", &self.outer]).status();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}
