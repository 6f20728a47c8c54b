//! How the gateway's tasks speak to the one that owns the mind.

use tokio::sync::{mpsc, watch};

use super::QUEUE;
use crate::ascii::line as ascii;
use crate::core::Input;
use crate::journal::writer::Written;
use crate::mqtt::client::ReaderSaid;
use crate::osdp::panel::Event;
use crate::page::DoorsAsk;
use crate::timetable::item::CachedConfig;
use crate::uplink::sender::StatusAsk;
use crate::walk::WalkAsk;

/// The ends that tasks send to.
pub(super) struct Channels {
    pub(super) bus: mpsc::Sender<(usize, u8, Event)>,
    pub(super) ascii: mpsc::Sender<(String, ascii::Event)>,
    pub(super) mqtt: mpsc::Sender<ReaderSaid>,
    pub(super) written: mpsc::UnboundedSender<Written>,
    pub(super) input: mpsc::Sender<Input>,
    pub(super) status: mpsc::Sender<StatusAsk>,
    pub(super) doors: mpsc::Sender<DoorsAsk>,
    pub(super) walk: mpsc::Sender<WalkAsk>,
    pub(super) broken: mpsc::Sender<String>,
}

/// The ends that the main task hears.
pub(super) struct Hearing {
    pub(super) bus: mpsc::Receiver<(usize, u8, Event)>,
    pub(super) ascii: mpsc::Receiver<(String, ascii::Event)>,
    pub(super) mqtt: mpsc::Receiver<ReaderSaid>,
    pub(super) written: mpsc::UnboundedReceiver<Written>,
    pub(super) input: mpsc::Receiver<Input>,
    pub(super) status: mpsc::Receiver<StatusAsk>,
    pub(super) doors: mpsc::Receiver<DoorsAsk>,
    pub(super) walk: mpsc::Receiver<WalkAsk>,
    pub(super) broken: mpsc::Receiver<String>,
    _keep: Keep,
}

/// Keeps channels open whose tasks may not exist, so that hearing them waits rather than ends.
struct Keep {
    _bus: mpsc::Sender<(usize, u8, Event)>,
    _ascii: mpsc::Sender<(String, ascii::Event)>,
    _mqtt: mpsc::Sender<ReaderSaid>,
    _doors: mpsc::Sender<DoorsAsk>,
    _walk: mpsc::Sender<WalkAsk>,
    _broken: mpsc::Sender<String>,
}

impl Channels {
    pub(super) fn new() -> (Self, Hearing) {
        let (bus, bus_heard) = mpsc::channel(QUEUE);
        let (ascii, ascii_heard) = mpsc::channel(QUEUE);
        let (mqtt, mqtt_heard) = mpsc::channel(QUEUE);
        let (written, written_heard) = mpsc::unbounded_channel();
        let (input, input_heard) = mpsc::channel(QUEUE);
        let (status, status_heard) = mpsc::channel(QUEUE);
        let (doors, doors_heard) = mpsc::channel(QUEUE);
        let (walk, walk_heard) = mpsc::channel(4);
        let (broken, broken_heard) = mpsc::channel(4);
        let keep = Keep {
            _bus: bus.clone(),
            _ascii: ascii.clone(),
            _mqtt: mqtt.clone(),
            _doors: doors.clone(),
            _walk: walk.clone(),
            _broken: broken.clone(),
        };
        let hearing = Hearing {
            bus: bus_heard,
            ascii: ascii_heard,
            mqtt: mqtt_heard,
            written: written_heard,
            input: input_heard,
            status: status_heard,
            doors: doors_heard,
            walk: walk_heard,
            broken: broken_heard,
            _keep: keep,
        };
        (Self { bus, ascii, mqtt, written, input, status, doors, walk, broken }, hearing)
    }
}

/// How often the hub is told, in milliseconds, and how many swipes at once. Both by one look: whoever looks a second time while the
/// first look lasts waits for whoever wants to write in between, who waits for him.
pub(super) fn pace(configured: &watch::Receiver<CachedConfig>) -> (i64, usize) {
    let configured = configured.borrow();
    (configured.heartbeat_ms, configured.max_batch)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn whoever_reads_the_pace_and_whoever_sets_it_never_wait_for_each_other() {
        let (sets, reads) = watch::channel(CachedConfig::default());
        let (ended, waits) = std::sync::mpsc::channel();
        let other = ended.clone();
        std::thread::spawn(move || {
            for number in 0..300_000 {
                sets.send_replace(CachedConfig { heartbeat_ms: number, ..CachedConfig::default() });
            }
            other.send(0).unwrap();
            // Kept until the reader has ended.
            std::thread::park();
        });
        std::thread::spawn(move || {
            let highest = (0..300_000).map(|_| pace(&reads).0).max();
            ended.send(highest.unwrap()).unwrap();
        });
        for _ in 0..2 {
            let told = waits.recv_timeout(std::time::Duration::from_secs(60));
            assert!(told.is_ok_and(|number| number < 300_000), "they wait for each other");
        }
    }
}
