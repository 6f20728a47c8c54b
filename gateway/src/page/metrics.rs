//! The same for Prometheus, in the OpenMetrics text format.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::look::{LineLook, Look};

/// What it is sent as.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Number = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    reader: String,
}

#[expect(clippy::cast_precision_loss, reason = "bytes and counts, far below 2^53")]
pub(super) fn text(look: &Look) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("rollcall_gateway");
    let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: Option<f64>| {
        let Some(value) = value else { return };
        let number = Number::default();
        number.set(value);
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, number),
            None => registry.register(name, help, number),
        }
    };
    let (journal, cache, hub) = (&look.journal, &look.cache, &look.hub);
    let is = |it: bool| Some(f64::from(u8::from(it)));
    gauge("journal_used", "What the journal takes", Some(Unit::Bytes), Some(journal.used_bytes as f64));
    gauge("journal_quota", "What it may take", Some(Unit::Bytes), Some(journal.quota_bytes as f64));
    gauge("disk_free", "What is free on its disk", Some(Unit::Bytes), journal.free_bytes.map(|it| it as f64));
    gauge("journal_disk_full", "Its disk has no room for more", None, is(journal.disk_full));
    gauge(
        "journal_refusing",
        "Swipes are refused for want of room",
        None,
        is(journal.refusing_since.is_some()),
    );
    let damaged = journal.damaged_segments as f64;
    gauge("journal_damaged_segments", "Segments in which records were damaged", None, Some(damaged));
    gauge("cache_sessions", "Sessions of the timetable here", None, Some(cache.sessions as f64));
    gauge("cache_cards", "Cards that are known here", None, Some(cache.cards as f64));
    let age = cache.age_ms.map(|it| it as f64 / 1e3);
    gauge("cache_age", "Since when the timetable here may not be the hub's", Some(Unit::Seconds), age);
    gauge("hub_backlog", "Records that the hub does not have yet", None, Some(hub.backlog as f64));
    gauge("hub_failing", "The hub cannot be talked to at present", None, is(hub.failing.is_some()));
    let uncertainty = look.clock.uncertainty_ms.map(|it| it as f64 / 1e3);
    gauge(
        "clock_uncertainty",
        "Between the earliest and the latest that it may be",
        Some(Unit::Seconds),
        uncertainty,
    );
    gauge("clock_trusted", "The time is believed", None, is(look.clock.trust != "untrusted"));

    let online = Family::<Of, Number>::default();
    let reply = Family::<Of, Number>::default();
    let secured = Family::<Of, Number>::default();
    for reader in &look.readers {
        let of = Of { reader: reader.code.clone() };
        online.get_or_create(&of).set(f64::from(u8::from(reader.online)));
        if let Some(line) = &reader.line {
            reply.get_or_create(&of).set(line.reply_ms / 1e3);
            secured.get_or_create(&of).set(f64::from(u8::from(line.secured)));
        }
    }
    registry.register("reader_online", "The reader answers", online);
    registry.register("line_secured", "The reader is spoken to under a key of its own", secured);
    registry.register_with_unit("line_reply", "How long a reply takes, smoothed", Unit::Seconds, reply);
    let counts: [(&str, &str, fn(&LineLook) -> u64); 6] = [
        ("line_commands", "Commands sent on the reader's line, repeats included", |line| line.sent),
        ("line_replies", "Replies that came in time", |line| line.replies),
        ("line_repeats", "Commands sent again", |line| line.repeats),
        ("line_timeouts", "Replies that did not come in time", |line| line.timeouts),
        ("line_refusals", "Commands that the reader refused (NAK)", |line| line.naks),
        ("line_bad_replies", "Replies of another sequence, or malformed", |line| line.bad_replies),
    ];
    for (name, help, count) in counts {
        let family = Family::<Of, Counter>::default();
        for reader in &look.readers {
            if let Some(line) = &reader.line {
                family.get_or_create(&Of { reader: reader.code.clone() }).inc_by(count(line));
            }
        }
        registry.register(name, help, family);
    }
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}
