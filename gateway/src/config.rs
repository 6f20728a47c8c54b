//! The gateway's configuration: a TOML file, checked whole; unknown keys are refused.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use figment::Figment;
use figment::providers::{Env, Format, Toml};
use serde::Deserialize;

use crate::osdp::frame::MAX_ADDRESS;

/// What a gateway is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The gateway's code, as the hub knows it.
    pub gateway: String,
    /// The folder for journal and cache.
    pub data: PathBuf,
    /// The hub.
    pub hub: HubConfig,
    /// The embedded MQTT broker; none when there are no MQTT readers.
    pub mqtt: Option<MqttConfig>,
    /// The journal.
    #[serde(default)]
    pub journal: JournalConfig,
    /// Serial lines with OSDP readers.
    #[serde(default, rename = "bus")]
    pub buses: Vec<BusConfig>,
}

/// Where the hub is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubConfig {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub url: String,
    /// File with the gateway's token.
    pub token_file: PathBuf,
    /// File with the authority that the hub's certificate comes from; needed for https.
    pub ca_file: Option<PathBuf>,
}

/// The embedded broker.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    /// Where it listens: loopback only.
    pub listen: SocketAddr,
}

/// The journal.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalConfig {
    /// How much of the disk it may take, in MiB; warnings come at 50, 80 and 95 %. Beyond it new swipes are refused.
    #[serde(default = "default_journal_mib")]
    pub max_mib: u64,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self { max_mib: default_journal_mib() }
    }
}

/// 4 GiB: some six million swipes.
fn default_journal_mib() -> u64 {
    4_096
}

/// A serial line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusConfig {
    /// The port, best by `/dev/serial/by-id/…`, which does not move.
    pub port: PathBuf,
    /// Its speed.
    #[serde(default = "default_baud")]
    pub baud: u32,
    /// The readers on it.
    #[serde(rename = "reader")]
    pub readers: Vec<BusReader>,
}

/// A reader on a serial line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusReader {
    /// Its code, as the hub knows it.
    pub code: String,
    /// Its OSDP address, 0 to 126.
    pub address: u8,
}

/// The speeds of OSDP.
pub const BAUDS: [u32; 6] = [9_600, 19_200, 38_400, 57_600, 115_200, 230_400];

fn default_baud() -> u32 {
    BAUDS[0]
}

impl Config {
    /// Reads a file; `ROLLCALL_GATEWAY_…` variables of the environment stand above it
    /// (`ROLLCALL_GATEWAY_HUB__URL`).
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        ensure!(path.exists(), "there is no file {}; deploy/gateway.toml is an example", path.display());
        let config: Self = Figment::new()
            .merge(Toml::file(path))
            // ROLLCALL_GATEWAY_CONFIG names the file itself.
            .merge(Env::prefixed("ROLLCALL_GATEWAY_").ignore(&["config"]).split("__"))
            .extract()
            .with_context(|| format!("{} cannot be used", path.display()))?;
        config.check().with_context(|| format!("{} cannot be used", path.display()))?;
        Ok(config)
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check(&self) -> anyhow::Result<()> {
        for (name, code) in std::iter::once(("gateway", self.gateway.as_str())).chain(
            self.buses
                .iter()
                .flat_map(|bus| &bus.readers)
                .map(|reader| ("bus.reader.code", reader.code.as_str())),
        ) {
            ensure!(
                !code.is_empty() && !code.contains(['/', '+', '#']),
                "{name}: '{code}' must not be empty nor hold / + #"
            );
        }
        ensure!(
            self.journal.max_mib >= 16,
            "journal.max_mib: {} is too little; 16 at least",
            self.journal.max_mib
        );
        let mut codes = BTreeSet::new();
        let mut ports = BTreeSet::new();
        for (index, bus) in self.buses.iter().enumerate() {
            ensure!(BAUDS.contains(&bus.baud), "bus {index}: baud {} is none of {BAUDS:?}", bus.baud);
            ensure!(ports.insert(&bus.port), "bus {index}: {} stands twice", bus.port.display());
            ensure!(!bus.readers.is_empty(), "bus {index}: has no reader; add [[bus.reader]]");
            let mut addresses = BTreeSet::new();
            for reader in &bus.readers {
                if reader.address > MAX_ADDRESS {
                    bail!(
                        "bus {index}, reader {}: address {} is above {MAX_ADDRESS}",
                        reader.code,
                        reader.address
                    );
                }
                ensure!(
                    addresses.insert(reader.address),
                    "bus {index}, reader {}: address {} stands twice on this bus",
                    reader.code,
                    reader.address
                );
                ensure!(codes.insert(&reader.code), "reader {} stands twice", reader.code);
            }
        }
        if let Some(mqtt) = &self.mqtt {
            ensure!(
                mqtt.listen.ip().is_loopback(),
                "mqtt.listen: {} is not loopback; use 127.0.0.1",
                mqtt.listen
            );
        }
        Ok(())
    }

    /// The gateway's token.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn token(&self) -> anyhow::Result<String> {
        let path = &self.hub.token_file;
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "hub.token_file {} cannot be read; 'rollcall-hub token create --role GATEWAY --gateway {}' makes a token",
                path.display(),
                self.gateway
            )
        })?;
        let token = text.trim().to_owned();
        ensure!(!token.is_empty(), "hub.token_file {} is empty", path.display());
        Ok(token)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn load(text: &str) -> anyhow::Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    const GOOD: &str =
        "gateway = 'GW-A'\ndata = 'd'\n[hub]\nurl = 'http://127.0.0.1:8080'\ntoken_file = 't'\n";

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        assert!(load(GOOD).is_ok());
        let error = format!("{:#}", load(&format!("{GOOD}colour = 'blue'\n")).unwrap_err());
        assert!(error.contains("colour") && error.contains("gateway.toml"), "{error}");
    }

    #[test]
    fn two_readers_of_one_address_are_refused_by_name() {
        let bus = "[[bus]]\nport = '/dev/x'\n[[bus.reader]]\ncode = 'A'\naddress = 1\n[[bus.reader]]\ncode = 'B'\naddress = 1\n";
        let error = format!("{:#}", load(&format!("{GOOD}{bus}")).unwrap_err());
        assert!(error.contains("reader B: address 1 stands twice"), "{error}");
    }

    #[test]
    fn a_broker_for_the_whole_network_is_refused() {
        let error = format!("{:#}", load(&format!("{GOOD}[mqtt]\nlisten = '0.0.0.0:1883'\n")).unwrap_err());
        assert!(error.contains("not loopback"), "{error}");
    }
}
