//! The hub: reachable, sure to be the right one, willing to let this gateway in; and its readers beside ours.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use cynic::QueryBuilder;

use super::Finding;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::uplink::client::{HubClient, UplinkError};
use crate::uplink::connect::{Address, ConnectError};
use crate::uplink::operations::check::{KnownReader, Me, ReaderKind, WhoAmI};

pub(super) async fn check(config: &Config, say: &mut impl FnMut(Finding)) {
    let url = &config.hub.url;
    let token = match config.token() {
        Ok(token) => token,
        Err(error) => {
            say(Finding::fail("hub", format!("{error:#}"), "put the token that it prints into that file"));
            return;
        }
    };
    let mode = std::fs::metadata(&config.hub.token_file).map(|it| it.permissions().mode() & 0o077);
    if mode.is_ok_and(|mode| mode != 0) {
        let file = config.hub.token_file.display();
        say(Finding::warn("hub", format!("others may read {file}"), format!("chmod 600 {file}")));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(config.data.join("clock.json")));
    let asked = match Address::new(url, config.hub.ca_file.as_deref(), clock) {
        Ok(address) => HubClient::new(address, token).ask(WhoAmI::build(())).await,
        Err(error) => Err(error.into()),
    };
    match asked {
        Ok(WhoAmI { gateway_self: Some(me) }) => known(config, &me, say),
        Ok(WhoAmI { gateway_self: None }) => say(Finding::fail(
            "hub",
            format!("{url} answers, and the token in hub.token_file speaks for no gateway"),
            format!("rollcall-hub token create --name {0} --role GATEWAY --gateway {0}", config.gateway),
        )),
        Err(error) => {
            let advice = match &error {
                UplinkError::Connect(ConnectError::Network(_) | ConnectError::TimedOut) => {
                    "is the hub up, and may this machine reach it? curl -k URL/health; a firewall may be between"
                }
                UplinkError::Connect(ConnectError::Tls { .. }) => {
                    "openssl s_client -connect HOST:PORT shows the certificate that the hub has"
                }
                UplinkError::NotLetIn(_) => "put the new token into hub.token_file",
                _ => "look at the hub's log",
            };
            say(Finding::fail("hub", format!("{url}: {error}"), advice));
        }
    }
}

fn known(config: &Config, me: &Me, say: &mut impl FnMut(Finding)) {
    let (url, code) = (&config.hub.url, &me.gateway.code);
    if *code != config.gateway {
        say(Finding::fail(
            "hub",
            format!("the token speaks for gateway {code}, the configuration is of {}", config.gateway),
            "use the token of this gateway, or mend 'gateway' in the configuration",
        ));
    } else {
        say(Finding::pass(
            "hub",
            format!("{url} lets gateway {code} in and knows {} readers", me.config.readers.len()),
        ));
    }
    let at_hub: BTreeMap<&str, &KnownReader> =
        me.config.readers.iter().map(|reader| (reader.code.as_str(), reader)).collect();
    let osdp = config
        .buses
        .iter()
        .flat_map(|bus| &bus.readers)
        .map(|reader| (reader.code.as_str(), ReaderKind::Osdp));
    let ascii = config.ascii.iter().map(|reader| (reader.code.as_str(), ReaderKind::Ascii));
    let here: BTreeMap<&str, ReaderKind> = osdp.chain(ascii).collect();
    for (code, kind) in &here {
        say(match at_hub.get(code) {
            None => Finding::fail(
                "reader",
                format!("{code} hangs on a line here, and the hub does not know it"),
                "save it at the hub (mutation saveReader), or mend its code here",
            ),
            Some(reader) if reader.kind != *kind => Finding::fail(
                "reader",
                format!(
                    "{code} hangs on an {} line here, and is {} at the hub",
                    word(*kind),
                    word(reader.kind)
                ),
                "make both say the same",
            ),
            Some(reader) if reader.room_id.is_none() => Finding::warn(
                "reader",
                format!("{code} is at no room's door: its light stays off"),
                "say its room at the hub (mutation saveReader)",
            ),
            Some(_) => Finding::pass("reader", format!("{code} is known to the hub and at a door")),
        });
    }
    for reader in me.config.readers.iter().filter(|reader| reader.enabled) {
        if reader.kind != ReaderKind::Mqtt && !here.contains_key(reader.code.as_str()) {
            say(Finding::warn(
                "reader",
                format!("{} is {} at the hub, and on no line here", reader.code, word(reader.kind)),
                "add it with its code: [[bus.reader]] for an OSDP one, [[ascii]] for one that prints numbers",
            ));
        }
        if reader.kind == ReaderKind::Mqtt && config.mqtt.is_none() {
            say(Finding::fail(
                "reader",
                format!("{} is MQTT at the hub, and this gateway has no broker", reader.code),
                "add [mqtt] listen = \"127.0.0.1:1883\"",
            ));
        }
    }
}

fn word(kind: ReaderKind) -> &'static str {
    match kind {
        ReaderKind::Osdp => "OSDP",
        ReaderKind::Ascii => "ASCII",
        ReaderKind::Mqtt => "MQTT",
    }
}
