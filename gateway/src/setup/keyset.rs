//! `rollcall-gateway reader keyset`: gives an OSDP reader a key of its own.
//!
//! For as long as it takes, and no longer than was said, the reader is talked to by the key that everybody knows. The
//! new key is on the disk before the reader hears of it, so that nothing that happens in between locks anybody out.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

use super::{Talk, place};
use crate::config::{BusConfig, Config};
use crate::keys::ReaderKeys;
use crate::osdp::bus::Keyed;
use crate::osdp::panel::Event;
use crate::osdp::secure_channel::{Key, SecureError};

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
    let _lock = crate::app::lock(&config.data).await?;
    let mut keys = ReaderKeys::load(&config.data)?;
    let until = Instant::now() + within;
    let known = keys.known(code);

    // One that was interrupted may have worked.
    for pending in known.pending.into_iter().rev() {
        tell("an earlier attempt did not end: asking whether the reader took that key");
        if let Tried::Has = attempt(bus, address, Keyed::Under(pending.clone()), until, false).await? {
            keys.finish(code, pending)?;
            tell("it did; the key is kept");
            return Ok(());
        }
    }
    let new = Key::new(crate::random::bytes());
    if let Some(present) = known.key {
        keys.begin(code, new.clone())?;
        tell("giving the reader a new key over the one that it has");
        let change = Keyed::Change { from: present, to: new.clone() };
        if let Tried::Has = attempt(bus, address, change, until, false).await? {
            keys.finish(code, new)?;
            tell("the reader speaks under its new key");
            return Ok(());
        }
        tell("it does not take the key that this gateway has for it: was it exchanged, or reset?");
    } else {
        keys.begin(code, new.clone())?;
    }
    tell(&format!(
        "install mode: for {} s the reader may speak by the key that everybody knows; switch it on now if its maker says so",
        until.duration_since(Instant::now()).as_secs()
    ));
    match attempt(bus, address, Keyed::Change { from: Key::DEFAULT, to: new.clone() }, until, true).await? {
        Tried::Has => {
            keys.finish(code, new)?;
            tell("the reader speaks under its own key; from now on nothing else is taken from it");
            Ok(())
        }
        Tried::Refused(error) => bail!(
            "{code}: {error}. If it has a key of another gateway, reset it to install mode as its maker says, then try \
             again; a reader that knows no secure channel cannot have a key"
        ),
    }
}

/// Talks to the reader until it is known whether it has the key; a patient one waits for it until the time is over, for it
/// may yet be put into install mode.
async fn attempt(
    bus: &BusConfig,
    address: u8,
    keyed: Keyed,
    until: Instant,
    patient: bool,
) -> anyhow::Result<Tried> {
    let mut changes = matches!(keyed, Keyed::Change { .. });
    let mut talk = Talk::begin(bus, bus.baud, address, Some(keyed), until, patient);
    let mut refused = None;
    let tried = loop {
        match talk.next().await {
            Ok(Event::Insecure(error)) if patient => refused = Some(error),
            Ok(Event::Insecure(error)) => break Ok(Tried::Refused(error)),
            Ok(Event::KeySet(_)) => changes = false,
            Ok(Event::Online(_)) if !changes => break Ok(Tried::Has),
            Ok(_) => {}
            Err(error) => break refused.map(Tried::Refused).ok_or(error),
        }
    };
    talk.end().await;
    tried
}
