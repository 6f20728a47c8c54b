//! Readers at a gateway that runs already: which they are, how they come in, and which cards are held to them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::device::Events;
use crate::device::mqtt::{Credentials, MqttReader, Proof};
use crate::plan::Credential;
use crate::reader::{BrokerAddress, wallet};

/// A gateway that runs already.
#[derive(Debug, clap::Args)]
pub(super) struct There {
    /// MQTT readers at the gateway whose broker, or door for readers on the network, is here, instead of one that is started: those
    /// that --reader names. Any answer to a card is one
    #[arg(long, value_name = "mqtt[s]://HOST:PORT", group = "readers", conflicts_with_all = ["mqtt", "osdp"],
          requires_all = ["gateway_code", "reader"])]
    pub(super) gateway: Option<BrokerAddress>,
    /// That gateway's code
    #[arg(long, requires = "gateway")]
    pub(super) gateway_code: Option<String>,
    /// A reader of that gateway, by its code; may be said several times
    #[arg(long, requires = "gateway")]
    pub(super) reader: Vec<String>,
    /// A card to hold to them, as `reader-sim reader` has it: 'uid 04A2B3C4D5E680'; several take turns, and cards of nobody come
    /// where none is said
    #[arg(long, value_name = "CARD", requires = "gateway")]
    pub(super) card: Vec<String>,
    /// File with the authority that the gateway's certificate comes from (mqtts only)
    #[arg(long, value_name = "FILE", requires = "gateway")]
    pub(super) ca_file: Option<PathBuf>,
    /// Folder with the readers' certificates and keys, which `rollcall-gateway reader certificate --out` made (mqtts only)
    #[arg(long, value_name = "FOLDER", requires = "gateway")]
    pub(super) certificates: Option<PathBuf>,
}

impl There {
    /// The readers, on their way to the gateway.
    pub(super) async fn readers(
        &self,
        gate: &BrokerAddress,
        events: &Events,
    ) -> anyhow::Result<Vec<(String, MqttReader)>> {
        let mut readers = Vec::new();
        for code in &self.reader {
            let (code, of) = (code.clone(), self.gateway_code.clone().unwrap_or_default());
            let (host, port, events) = (gate.host.clone(), gate.port, events.clone());
            let reader = match (&self.ca_file, &self.certificates) {
                (Some(authority), Some(folder)) => {
                    let pem = |ending| read(&folder.join(format!("{code}.{ending}")));
                    let proof = Proof::Certificate(pem("pem")?, pem("key")?);
                    let by = Credentials { authority: read(authority)?, proof };
                    MqttReader::connect_secured(code.clone(), of, host, port, by, events).await?
                }
                _ => {
                    ensure!(!gate.tls, "mqtts:// needs --ca-file and --certificates");
                    MqttReader::connect(code.clone(), of, host, port, events).await?
                }
            };
            readers.push((code, reader));
        }
        Ok(readers)
    }

    /// The cards that take turns.
    pub(super) fn cards(&self) -> anyhow::Result<Vec<Credential>> {
        wallet(&self.card)
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}
