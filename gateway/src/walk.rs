//! The door that a running gateway opens for `rollcall-gateway walk`: a socket in its data folder, a line of JSON for
//! each question and each answer.
//!
//! Only who may read the data folder may ask (mode 0600). An installer's lights are no answer to a card: swipes go
//! their usual way meanwhile, and what they show comes from the disk as ever.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rollcall_rules::light::Colour;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::core::words::colour_word;
use crate::page::look::Recent;

/// The longest question, in bytes.
const MAX_QUESTION: u64 = 1_024;
/// How many installers may be at it at once.
const MAX_CONNECTIONS: usize = 4;
/// How long to wait when the machine has no connection to give.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "camelCase", deny_unknown_fields)]
pub enum Ask {
    /// Which readers are there?
    Readers,
    /// Flash at a reader, and beep so often where it can.
    Flash {
        /// Its code.
        reader: String,
        /// `green`, `red`, `amber` or `blue`.
        colour: String,
        /// How often to beep.
        beeps: u8,
        /// Also while a session's window is open there.
        teaching: bool,
    },
    /// Shine steadily, until `rest`.
    Shine {
        /// The reader's code.
        reader: String,
        /// The colour.
        colour: String,
        /// Also while a session's window is open there.
        teaching: bool,
    },
    /// Show again what is to be shown.
    Rest {
        /// The reader's code.
        reader: String,
    },
    /// Which swipes were there lately?
    Swipes {
        /// The reader's code.
        reader: String,
    },
}

/// A reader, as an installer must know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorFacts {
    /// Its code.
    pub code: String,
    /// `osdp`, `ascii` or `mqtt`.
    pub kind: String,
    /// It answers.
    pub online: bool,
    /// The hub knows it, and at which door it hangs.
    pub assigned: bool,
    /// Its firmware, as it says itself.
    pub firmware: Option<String>,
    /// Its serial number, as it says itself.
    pub serial: Option<u32>,
    /// What it shows at rest.
    pub light: String,
}

/// An answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Answered {
    /// Why it was not done; none when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The readers, by code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readers: Vec<DoorFacts>,
    /// The last swipes at the reader, the last one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub swipes: Vec<Recent>,
}

impl Answered {
    /// It was not done.
    #[must_use]
    pub fn error(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }
}

/// A question on its way to the one who owns the mind.
pub struct WalkAsk {
    /// What is asked.
    pub ask: Ask,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answered>,
}

/// A colour by its word.
#[must_use]
pub fn colour(word: &str) -> Option<Colour> {
    [Colour::Blue, Colour::Green, Colour::Red, Colour::Amber]
        .into_iter()
        .find(|colour| colour_word(*colour).eq_ignore_ascii_case(word))
}

/// Where the socket lies.
#[must_use]
pub fn socket(data: &Path) -> PathBuf {
    data.join("walk.sock")
}

/// Opens the socket; what an earlier program left there goes.
///
/// # Errors
/// When the folder does not take it.
pub fn open(data: &Path) -> std::io::Result<UnixListener> {
    let path = socket(data);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Hears installers until told to stop.
pub async fn serve(listener: UnixListener, asks: mpsc::Sender<WalkAsk>, mut stop: watch::Receiver<bool>) {
    let mut talking = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if talking.len() < MAX_CONNECTIONS => {
                    talking.spawn(talk(stream, asks.clone()));
                }
                Ok(_) => tracing::debug!("one installer too many"),
                Err(error) => {
                    tracing::warn!("nobody can come in for 'walk' just now: {error}");
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            },
            Some(_) = talking.join_next() => {}
            () = crate::stop::told(&mut stop) => return,
        }
    }
}

async fn talk(stream: UnixStream, asks: mpsc::Sender<WalkAsk>) {
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    let mut touched = BTreeSet::new();
    loop {
        let mut line = Vec::new();
        match (&mut reading).take(MAX_QUESTION).read_until(b'\n', &mut line).await {
            Ok(read) if read > 0 && line.ends_with(b"\n") => {}
            _ => break,
        }
        let answered = match serde_json::from_slice::<Ask>(&line) {
            Ok(ask) => {
                match &ask {
                    Ask::Shine { reader, .. } => drop(touched.insert(reader.clone())),
                    Ask::Rest { reader } => drop(touched.remove(reader)),
                    _ => {}
                }
                match put(&asks, ask).await {
                    Some(answered) => answered,
                    None => break,
                }
            }
            Err(error) => Answered::error(format!("not understood: {error}")),
        };
        let Ok(mut bytes) = serde_json::to_vec(&answered) else { break };
        bytes.push(b'\n');
        if writing.write_all(&bytes).await.is_err() {
            break;
        }
    }
    // Whoever hangs up leaves no light behind.
    for reader in touched {
        put(&asks, Ask::Rest { reader }).await;
    }
}

async fn put(asks: &mpsc::Sender<WalkAsk>, ask: Ask) -> Option<Answered> {
    let (reply, answer) = oneshot::channel();
    asks.send(WalkAsk { ask, reply }).await.ok()?;
    answer.await.ok()
}
