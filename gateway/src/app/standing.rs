//! How the gateway stands, for the hub and for the page.

use std::collections::BTreeMap;

use rollcall_rules::light::Colour;
use rollcall_rules::time::Instant;

use super::channels::pace;
use super::hands::{Hands, Seen};
use crate::clock::BUILT_AFTER;
use crate::uplink::operations::ReaderKind;
use crate::uplink::sender::{ReaderStatus, Status, Unassigned};

impl Hands {
    /// Readers that are here and that the hub does not know; an MQTT reader once it has spoken.
    pub(super) fn unassigned(&self) -> Vec<Unassigned> {
        let serial = self.places.keys().map(|code| (code, ReaderKind::Osdp));
        let all = serial.chain(self.ascii.keys().map(|code| (code, ReaderKind::Ascii)));
        let heard = self.seen.keys().map(|code| (code, ReaderKind::Mqtt));
        let mut found: BTreeMap<&String, ReaderKind> = heard.collect();
        found.extend(all);
        let unknown = found.into_iter().filter(|(code, _)| self.mind.reader(code).is_none());
        let described = unknown.map(|(code, kind)| {
            let Seen { online, serial, firmware, .. } = self.seen.get(code).cloned().unwrap_or_default();
            Unassigned { code: code.clone(), kind, online, serial, firmware }
        });
        described.collect()
    }

    pub(super) fn status(&self) -> Status {
        let now = self.clock.read();
        let rests = self.mind.rests();
        let (heartbeat_ms, max_batch) = pace(&self.configured);
        Status {
            now,
            durable_before: self
                .notes
                .untold_since()
                .into_iter()
                .fold(self.mind.durable_before(now.when.earliest.max(BUILT_AFTER)), Instant::min),
            last_durable: self.last_durable,
            basis: self.mind.basis().to_owned(),
            readers: self
                .mind
                .readers()
                .map(|reader| {
                    let seen = self.seen.get(&reader.code).cloned().unwrap_or_default();
                    ReaderStatus {
                        id: reader.id,
                        code: reader.code.clone(),
                        online: seen.online,
                        light: rests.get(&reader.code).copied().unwrap_or(Colour::Off),
                        firmware: seen.firmware,
                        last_swipe: seen.last_swipe,
                        line: seen.line,
                    }
                })
                .collect(),
            unassigned: self.unassigned(),
            current_at: self.current_at,
            heartbeat_ms,
            max_batch,
        }
    }
}
