//! The gateway's configuration: a TOML file, checked whole; unknown keys are refused.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use figment::Figment;
use figment::providers::{Env, Format, Toml};
use serde::Deserialize;

mod ascii;

pub use ascii::{
    AsciiByteOrder, AsciiChecksum, AsciiConfig, AsciiDigits, AsciiLight, AsciiModel, AsciiTemplate,
};

use crate::mqtt::topic::is_code;
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
    /// The status page.
    #[serde(default)]
    pub page: PageConfig,
    /// Serial lines with OSDP readers.
    #[serde(default, rename = "bus")]
    pub buses: Vec<BusConfig>,
    /// Serial readers that just print card numbers, each on a line of its own.
    #[serde(default)]
    pub ascii: Vec<AsciiConfig>,
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
    /// Whether its time is believed though it comes without TLS from another machine.
    #[serde(default)]
    pub time_without_tls: bool,
}

/// The embedded broker.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    /// Where it listens: loopback only.
    pub listen: SocketAddr,
    /// The door for readers on the network; none when all readers are on this machine.
    pub gate: Option<GateConfig>,
}

/// The door of the broker: TLS, and a password or a certificate for each reader.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateConfig {
    /// Where it listens, usually `0.0.0.0:8883`.
    pub listen: SocketAddr,
    /// By which names and addresses readers call this machine: they stand in its certificate.
    #[serde(default)]
    pub names: Vec<String>,
    /// A certificate of the institution's own authority, instead of one from the gateway's.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// An authority of the institution's whose certificates let readers in: each holds for the reader whose code is a DNS
    /// name in it. Those that `rollcall-gateway reader certificate` makes need none.
    pub client_ca_file: Option<PathBuf>,
    /// How many connections an address may have.
    #[serde(default = "default_per_address")]
    pub per_address: usize,
}

fn default_per_address() -> usize {
    64
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

/// The status page.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PageConfig {
    /// Whether there is one.
    pub enabled: bool,
    /// Where it listens; beyond loopback only with a password.
    pub listen: SocketAddr,
    /// File with the password that the page asks for, whatever the name.
    pub password_file: Option<PathBuf>,
}

impl Default for PageConfig {
    fn default() -> Self {
        Self { enabled: true, listen: SocketAddr::from(([127, 0, 0, 1], 9080)), password_file: None }
    }
}

impl PageConfig {
    /// No page.
    #[must_use]
    pub fn none() -> Self {
        Self { enabled: false, ..Self::default() }
    }

    /// Where it listens, if there is one.
    #[must_use]
    pub fn listen(&self) -> Option<SocketAddr> {
        self.enabled.then_some(self.listen)
    }

    /// The password, if one is asked for.
    ///
    /// # Errors
    /// When its file cannot be read, or is empty.
    pub fn password(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.password_file else { return Ok(None) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("page.password_file {} cannot be read", path.display()))?;
        let password = text.trim().to_owned();
        ensure!(!password.is_empty(), "page.password_file {} is empty", path.display());
        Ok(Some(password))
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
    /// A file that everything on the line is written to while the gateway runs (OSDPCAP; cards masked), for finding faults.
    pub capture: Option<PathBuf>,
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

/// What the environment variables begin with that stand above the file.
const ENV: &str = "ROLLCALL_GATEWAY_";

impl Config {
    /// Reads a file; `ROLLCALL_GATEWAY_…` variables of the environment stand above it
    /// (`ROLLCALL_GATEWAY_HUB__URL`).
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        ensure!(path.exists(), "there is no file {}; deploy/gateway.toml is an example", path.display());
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let config: Self = Figment::new()
            .merge(Toml::string(&text))
            // ROLLCALL_GATEWAY_CONFIG names the file itself.
            .merge(Env::prefixed(ENV).ignore(&["config"]).split("__"))
            .extract()
            .map_err(|error| match toml::from_str::<Self>(&text) {
                // With the line and what stands there.
                Err(place) => anyhow!("{}: {}", path.display(), place.to_string().trim_end()),
                Ok(_) => {
                    let variable = format!("{ENV}{}", error.path.join("__").to_uppercase());
                    anyhow!("the environment variable {variable}: {}", error.kind)
                }
            })?;
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
                .map(|reader| ("bus.reader.code", reader.code.as_str()))
                .chain(self.ascii.iter().map(|reader| ("ascii.code", reader.code.as_str()))),
        ) {
            ensure!(
                is_code(code),
                "{name}: {code:?} must have 1 to 64 letters, none of them / + # $ or a space"
            );
        }
        ensure!(
            self.journal.max_mib >= 16,
            "journal.max_mib: {} is too little; 16 at least",
            self.journal.max_mib
        );
        ensure!(
            !self.page.enabled || self.page.listen.ip().is_loopback() || self.page.password_file.is_some(),
            "page.listen: {} can be seen from outside; say page.password_file too, or use 127.0.0.1",
            self.page.listen
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
        for reader in &self.ascii {
            let code = &reader.code;
            ensure!(codes.insert(code), "reader {code} stands twice");
            ensure!(ports.insert(&reader.port), "ascii {code}: {} stands twice", reader.port.display());
            ensure!(reader.baud > 0, "ascii {code}: baud 0 is none");
            reader.settings().with_context(|| format!("ascii {code}"))?;
        }
        if let Some(mqtt) = &self.mqtt {
            ensure!(
                mqtt.listen.ip().is_loopback(),
                "mqtt.listen: {} is not loopback; use 127.0.0.1, and [mqtt.gate] for readers on the network",
                mqtt.listen
            );
            if let Some(gate) = &mqtt.gate {
                ensure!(
                    gate.cert_file.is_some() == gate.key_file.is_some(),
                    "mqtt.gate: cert_file and key_file go together"
                );
                ensure!(
                    gate.cert_file.is_some() || !gate.names.is_empty(),
                    "mqtt.gate.names: say by which names or addresses readers call this machine, such as \
                     [\"192.0.2.7\"]"
                );
            }
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
                "hub.token_file {} cannot be read; 'rollcall-hub token create --name {1} --role GATEWAY --gateway {1}' makes a token",
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
        assert!(error.contains("line 6, column 1") && !error.contains("default"), "{error}");
        let error = format!("{:#}", load(&GOOD.replace("'http://127.0.0.1:8080'", "8080")).unwrap_err());
        assert!(error.contains("line 4, column 7") && error.contains("8080"), "{error}");
    }

    #[test]
    fn two_readers_of_one_address_are_refused_by_name() {
        let bus = "[[bus]]\nport = '/dev/x'\n[[bus.reader]]\ncode = 'A'\naddress = 1\n[[bus.reader]]\ncode = 'B'\naddress = 1\n";
        let error = format!("{:#}", load(&format!("{GOOD}{bus}")).unwrap_err());
        assert!(error.contains("reader B: address 1 stands twice"), "{error}");
    }

    #[test]
    fn a_serial_reader_that_cannot_work_is_refused_by_code_and_field() {
        let ascii = |rest: &str| load(&format!("{GOOD}[[ascii]]\ncode = 'A1'\nport = '/dev/x'\n{rest}"));
        assert!(ascii("model = 'rdm6300'\n").is_ok());
        assert!(
            ascii("model = 'template'\n[ascii.template]\nend = '0d'\ndigits = 'decimal'\nbits = 26\n")
                .is_ok()
        );
        let error = |rest: &str| format!("{:#}", ascii(rest).unwrap_err());
        for (rest, wanted) in [
            ("model = 'template'\n", "ascii A1: template: is missing"),
            ("model = 'id-12'\n[ascii.light]\nblue = '4'\n", "ascii A1: light.blue: '4' is not bytes"),
            (
                "model = 'template'\n[ascii.template]\nend = ''\ndigits = 'decimal'\nbits = 26\n",
                "ascii A1: template.end: is empty",
            ),
            ("model = 'rdm6301'\n", "rdm6301"),
        ] {
            assert!(error(rest).contains(wanted), "{}", error(rest));
        }
    }

    #[test]
    fn a_broker_for_the_whole_network_is_refused() {
        let error = format!("{:#}", load(&format!("{GOOD}[mqtt]\nlisten = '0.0.0.0:1883'\n")).unwrap_err());
        assert!(error.contains("not loopback"), "{error}");
    }
}
