//! `rollcall-gateway reader set-address`: moves an OSDP reader to another address or speed (COMSET).

use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::time::Instant;

use super::{Talk, place};
use crate::config::{BAUDS, Config};
use crate::keys::ReaderKeys;
use crate::osdp::bus::{BusOrder, Keyed};
use crate::osdp::frame::MAX_ADDRESS;
use crate::osdp::panel::Event;

/// All of it takes no longer.
const WITHIN: Duration = Duration::from_secs(40);

/// Moves the reader of this code to an address and a speed; those that it has where they are left out. `tell` hears what
/// happens, in words.
///
/// # Errors
/// When there is no such reader, the place is taken, the reader does not answer or refuses, or is not found there afterwards.
pub async fn run(
    config: &Config,
    code: &str,
    to: Option<u8>,
    baud: Option<u32>,
    mut tell: impl FnMut(&str),
) -> anyhow::Result<()> {
    let (bus, address) = place(config, code)?;
    let (to, baud) = (to.unwrap_or(address), baud.unwrap_or(bus.baud));
    ensure!(to <= MAX_ADDRESS, "address {to} is above {MAX_ADDRESS}");
    ensure!(BAUDS.contains(&baud), "baud {baud} is none of {BAUDS:?}");
    ensure!((to, baud) != (address, bus.baud), "{code} is there already: address {to}, {baud} baud");
    if let Some(other) = bus.readers.iter().find(|reader| reader.address == to && reader.code != code) {
        bail!("address {to} is that of {} on the same line", other.code);
    }
    let _lock = crate::app::lock(&config.data).await?;
    let keys = ReaderKeys::load(&config.data)?;
    let keyed = || keys.key(code).map(|key| Keyed::Under(key.clone()));
    let until = Instant::now() + WITHIN;

    // Where somebody answers already, two would from then on.
    tell("asking whether the new address is free");
    let mut there = Talk::begin(bus, baud, to, None, Instant::now() + Duration::from_secs(2), false);
    let taken = to != address && matches!(there.next().await, Ok(Event::Online(_)));
    there.end().await;
    ensure!(!taken, "somebody answers at address {to} already; rollcall-gateway scan says who");

    let mut talk = Talk::begin(bus, bus.baud, address, keyed(), until, false);
    let moved = moved(&mut talk, address, to, baud).await;
    talk.end().await;
    moved?;
    tell("the reader has taken it; looking for it there");
    let mut talk = Talk::begin(bus, baud, to, keyed(), until, false);
    let found = online(&mut talk).await;
    talk.end().await;
    found?;
    tell(&format!("it answers at address {to}, {baud} baud: say so in [[bus]] of the configuration"));
    if baud != bus.baud {
        tell("all readers of a line have one speed: move the others too before the gateway starts");
    }
    Ok(())
}

async fn moved(talk: &mut Talk, address: u8, to: u8, baud: u32) -> anyhow::Result<()> {
    online(talk).await?;
    talk.orders.send(BusOrder::Reconfigure { address, to, baud }).await?;
    loop {
        match talk.next().await? {
            Event::Reconfigured { address, baud: at } if (address, at) == (to, baud) => return Ok(()),
            Event::Reconfigured { address, baud } => {
                bail!(
                    "the reader chose address {address} and {baud} baud itself: say these in the configuration"
                )
            }
            Event::NotReconfigured => {
                bail!("the reader does not let its address and speed be set; see its maker's tool")
            }
            _ => {}
        }
    }
}

async fn online(talk: &mut Talk) -> anyhow::Result<()> {
    loop {
        match talk.next().await? {
            Event::Online(_) => return Ok(()),
            Event::Insecure(error) => bail!("{error}; rollcall-gateway reader keyset gives it another key"),
            _ => {}
        }
    }
}
