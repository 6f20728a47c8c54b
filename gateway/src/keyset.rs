//! `rollcall-gateway reader keyset`: gives an OSDP reader a key of its own.
//!
//! For as long as it takes, and no longer than was said, the reader is talked to by the key that everybody knows. The
//! new key is on the disk before the reader hears of it, so that nothing that happens in between locks anybody out.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::config::{BusConfig, Config};
use crate::keys::ReaderKeys;
use crate::osdp::bus::{self, BusSettings, Keyed, random_seed};
use crate::osdp::panel::Event;
use crate::osdp::secure_channel::{Key, SecureError};

/// A reader gets this long to answer at all.
const SILENT_AFTER: Duration = Duration::from_secs(10);

/// How trying a key went.
enum Tried {
    /// The reader has the key that it was to have at the end.
    Has,
    /// It does not take this key.
    Refused(SecureError),
}

/// Gives the reader of this code a new key within some time. `tell` hears what happens, in words.
///
/// # Errors
/// When there is no such reader, a gateway runs here, the reader does not answer, or it takes none of the keys that may
/// be its.
pub async fn run(
    config: &Config,
    code: &str,
    within: Duration,
    mut tell: impl FnMut(&str),
) -> anyhow::Result<()> {
    let (bus, address) = place(config, code)?;
    let _lock = crate::app::lock(&config.data)?;
    let mut keys = ReaderKeys::load(&config.data)?;
    let until = Instant::now() + within;
    let known = keys.known(code);
    let tries = |keyed| attempt(bus, address, keyed, until);

    // One that was interrupted may have worked.
    if let Some(pending) = known.pending {
        tell("an earlier attempt did not end: asking whether the reader took that key");
        if let Tried::Has = tries(Keyed::Under(pending)).await? {
            keys.finish(code)?;
            tell("it did; the key is kept");
            return Ok(());
        }
    }
    let new = Key::new(random_seed());
    if let Some(present) = known.key {
        keys.begin(code, new.clone())?;
        tell("giving the reader a new key over the one that it has");
        if let Tried::Has = tries(Keyed::Change { from: present, to: new.clone() }).await? {
            keys.finish(code)?;
            tell("the reader speaks under its new key");
            return Ok(());
        }
        tell("it does not take the key that this gateway has for it: was it exchanged, or reset?");
    }
    tell(&format!(
        "install mode: for {} s the reader may speak by the key that everybody knows",
        until.duration_since(Instant::now()).as_secs()
    ));
    keys.begin(code, new.clone())?;
    match tries(Keyed::Change { from: Key::DEFAULT, to: new }).await? {
        Tried::Has => {
            keys.finish(code)?;
            tell("the reader speaks under its own key; from now on nothing else is taken from it");
            Ok(())
        }
        Tried::Refused(error) => bail!(
            "{code}: {error}. If it has a key of another gateway, reset it to install mode as its maker says, then try \
             again; a reader that knows no secure channel cannot have a key"
        ),
    }
}

fn place<'a>(config: &'a Config, code: &str) -> anyhow::Result<(&'a BusConfig, u8)> {
    let all = || config.buses.iter().flat_map(|bus| bus.readers.iter().map(move |reader| (bus, reader)));
    let found = all().find(|(_, reader)| reader.code == code).map(|(bus, reader)| (bus, reader.address));
    let known: Vec<&str> = all().map(|(_, reader)| reader.code.as_str()).collect();
    found.with_context(|| {
        format!("no OSDP reader {code} in this configuration; there are: {}", known.join(", "))
    })
}

/// Talks to the reader until it is known whether it has the key.
async fn attempt(bus: &BusConfig, address: u8, keyed: Keyed, until: Instant) -> anyhow::Result<Tried> {
    let mut changes = matches!(keyed, Keyed::Change { .. });
    let settings = BusSettings {
        port: bus.port.clone(),
        baud: bus.baud,
        addresses: vec![address],
        keys: [(address, keyed)].into(),
    };
    let (_orders, ordered) = mpsc::channel(1);
    let (events, mut heard) = mpsc::channel(16);
    let (stop, stopped) = watch::channel(false);
    let speaking = tokio::spawn(bus::run(settings, ordered, events, stopped));
    let silent = (Instant::now() + SILENT_AFTER).min(until);
    let tried = loop {
        let Ok(event) = timeout_at(silent, heard.recv()).await else {
            break Err(anyhow::anyhow!(
                "no answer from address {address} on {} at {} baud; is it powered, and is this its address? \
                 rollcall-gateway scan",
                bus.port.display(),
                bus.baud
            ));
        };
        match event {
            Some((_, Event::Insecure(error))) => break Ok(Tried::Refused(error)),
            Some((_, Event::KeySet(_))) => changes = false,
            Some((_, Event::Online(_))) if !changes => break Ok(Tried::Has),
            Some(_) => {}
            None => break Err(anyhow::anyhow!("the line {} is lost", bus.port.display())),
        }
    };
    stop.send_replace(true);
    // It ends at once, and the port with it.
    let _ = speaking.await;
    tried
}
