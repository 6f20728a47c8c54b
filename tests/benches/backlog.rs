//! A backlog of 100,000 swipes handed over to a hub in this process while swipes go on: how fast it drains, and how
//! long a swipe waits for the disk meanwhile, beside the same without a backlog and a bare append and fdatasync.
//!
//! Twice: with the hub's database on the journal's own disk, which each of its commits keeps busy, and with the
//! database in memory, since in a building the hub's disk is another machine's. The first says how fast it drains,
//! the second what the drain does to a swipe.
//!
//! `cargo bench -p rollcall-tests --bench backlog`. `BACKLOG=10000` makes it shorter.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement: it says what it found, or stops"
)]

use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use rollcall_gateway::clock::{Clock, Instant, Reading, Trust, Uuid};
use rollcall_gateway::journal::disk::Folder;
use rollcall_gateway::journal::log::{Limits, Log};
use rollcall_gateway::journal::record::{Record, SwipeRecord};
use rollcall_gateway::journal::writer::{Journal, Written};
use rollcall_gateway::uplink::client::HubClient;
use rollcall_gateway::uplink::connect::Address;
use rollcall_gateway::uplink::sender::{Handing, Noted, SenderTask, Status};
use rollcall_gateway::uplink::sign::SigningKey;
use rollcall_tests::hub::{TestHub, at, ms};
use rollcall_tests::timetable::{Gateway, estate, session, students};
use serde_json::json;
use tokio::sync::{mpsc, watch};

/// The sessions of the term, and how many swipes each has: more than it has students, as some come to the wrong one.
const SESSIONS: u64 = 800;
const SWIPES_EACH: u64 = 125;
/// How often a swipe is made while the backlog drains.
const SWIPE_EVERY: Duration = Duration::from_millis(5);

struct Fixed(i64);

impl Clock for Fixed {
    fn read(&self) -> Reading {
        Reading::exactly(self.0, Trust::Synced, 0)
    }
    fn boot_id(&self) -> Uuid {
        Uuid::nil()
    }
    fn sleep_until(&self, _: Instant) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

/// When a session starts: ten hours a day, day after day.
fn starts(session: u64) -> i64 {
    ms(&at("08:00")) + i64::try_from(session / 10 * 24 + session % 10).unwrap() * 3_600_000
}

fn record(gateway: &Gateway, number: u64, key: &str) -> Vec<u8> {
    let uuid = |value: &serde_json::Value| value.as_str().unwrap().parse().unwrap();
    let reader = &gateway.config["readers"][0];
    let when = starts(number / SWIPES_EACH % SESSIONS) + i64::try_from(number % SWIPES_EACH).unwrap() * 1_000;
    let swipe = SwipeRecord {
        id: Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + u128::from(number)),
        reader: uuid(&reader["readerId"]),
        code: "D1".to_owned(),
        room: Some(uuid(&reader["roomId"])),
        key: key.to_owned(),
        epoch: 1,
        bits: 56,
        holder: None,
        at: when,
        earliest: when,
        latest: when,
        boot: Uuid::from_u128(9),
        since_boot: 1,
        late: false,
        read: None,
        trust: "SYNCED".to_owned(),
        decision: "NOT_RECORDED".to_owned(),
        reason: "NOT_ON_CLASS_LIST".to_owned(),
        light: "RED".to_owned(),
        sessions: Vec::new(),
        basis: gateway.cursor.clone(),
        tag: None,
        considered: Vec::new(),
    };
    Record::Swipe(Box::new(swipe)).body().unwrap()
}

fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    (at(0.5), at(0.99))
}

/// Appends one record every five milliseconds until told; gives how long each took to be durable.
async fn swipes(
    journal: &Journal,
    heard: &mut mpsc::UnboundedReceiver<Written>,
    body: &[u8],
    durable: &watch::Sender<u64>,
    mut until: impl FnMut(usize) -> bool,
) -> Vec<Duration> {
    let (mut times, mut ticks) = (Vec::new(), tokio::time::interval(SWIPE_EVERY));
    while !until(times.len()) {
        ticks.tick().await;
        let begun = Moment::now();
        journal.append(1, body.to_vec()).await;
        let Some(Written::Durable(done)) = heard.recv().await else { panic!("not durable") };
        times.push(begun.elapsed());
        durable.send_replace(done[0].1);
    }
    times
}

fn raw(bytes: usize) -> Vec<Duration> {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("raw")).unwrap();
    file.write_all_at(&vec![0; 4 * 1024 * 1024], 0).unwrap();
    file.sync_all().unwrap();
    let body = vec![1u8; bytes];
    let append = |round: u64| {
        let begun = Moment::now();
        file.write_all_at(&body, round * body.len() as u64).unwrap();
        file.sync_data().unwrap();
        begun.elapsed()
    };
    (0..400).map(append).collect()
}

/// The hub stands on threads of its own that give way to the gateway's, as it stands on a machine of its own.
fn main() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let ours = runtime.enable_all().build().unwrap();
    let polite = || rustix::process::setpriority_process(None, 10).unwrap();
    let theirs = runtime.on_thread_start(polite).build().unwrap();
    println!("The hub's database on the same disk:");
    let hub = theirs.block_on(TestHub::start());
    ours.block_on(measure(hub, theirs.handle().clone()));
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() {
        println!("The hub's database in memory:");
        let hub = theirs.block_on(TestHub::start_in(tempfile::tempdir_in(memory).unwrap()));
        ours.block_on(measure(hub, theirs.handle().clone()));
    } else {
        println!("skipped: the hub's database in memory, as there is no /dev/shm");
    }
}

async fn measure(hub: TestHub, theirs: tokio::runtime::Handle) {
    let backlog: u64 = std::env::var("BACKLOG").ok().and_then(|it| it.parse().ok()).unwrap_or(100_000);
    estate(&hub).await;
    students(&hub, 200, 100).await;
    let instant = |ms: i64| jiff::Timestamp::from_millisecond(ms).unwrap().to_string();
    let sessions: Vec<serde_json::Value> = (0..SESSIONS)
        .map(|number| {
            let mut held = session(&format!("X{number}"), "10:00", "11:00");
            held["startsAt"] = json!(instant(starts(number)));
            held["endsAt"] = json!(instant(starts(number) + 3_600_000));
            held
        })
        .collect();
    hub.done("saveSessions", json!({"sessions": sessions})).await;
    let end = starts(SESSIONS) + 24 * 3_600_000;
    hub.clock.set(&instant(end));
    let gateway = Gateway::start(&hub, "GW").await;
    let keys: Vec<String> = (0..200).map(|it| gateway.key(it)).collect();
    let folder = tempfile::tempdir().unwrap();
    let disk = Folder::open(folder.path().to_path_buf()).unwrap();
    let (mut log, _) = Log::open(disk, Uuid::from_u128(1), Limits::quota(1 << 33), |_| {}).unwrap();
    let numbers: Vec<u64> = (0..backlog).collect();
    for chunk in numbers.chunks(1_000) {
        let bodies: Vec<Vec<u8>> = chunk
            .iter()
            .map(|number| record(&gateway, *number, &keys[usize::try_from(*number).unwrap() % keys.len()]))
            .collect();
        log.append(&bodies).unwrap();
    }
    let (written, mut heard) = mpsc::unbounded_channel();
    let journal = Journal::start(log, written).unwrap();
    let body = record(&gateway, backlog + 1, &keys[0]);
    let (durable, seen) = watch::channel(backlog);
    let (idle50, idle99) =
        percentiles(swipes(&journal, &mut heard, &body, &durable, |done| done >= 400).await);
    let (raw50, raw99) = percentiles(raw(body.len() + 56));

    let clock: Arc<dyn Clock> = Arc::new(Fixed(end));
    let (status, mut asks) = mpsc::channel::<tokio::sync::oneshot::Sender<Status>>(16);
    let now = clock.read();
    tokio::spawn(async move {
        while let Some(ask) = asks.recv().await {
            let status = Status {
                now,
                durable_before: now.at,
                last_durable: 0,
                basis: String::new(),
                readers: Vec::new(),
                unassigned: Vec::new(),
                current_at: None,
                heartbeat_ms: 60_000,
                max_batch: 0,
            };
            drop(ask.send(status));
        }
    });
    let (_stop, stopping) = watch::channel(false);
    let address = Address::new(&format!("http://{}", hub.running.address), None, clock.clone()).unwrap();
    let (_doors, readers) = watch::channel(0);
    let sender = SenderTask {
        client: HubClient::new(address, gateway.token.clone()),
        journal: journal.clone(),
        key: Some(SigningKey::load(&folder.path().join("signing.key")).unwrap()),
        durable: seen,
        readers,
        status,
        clock,
        data: folder.path().to_path_buf(),
        time_is_the_hubs: true,
        acknowledged: Noted::load(folder.path()),
        cache_damaged: false,
        handing: watch::channel(Handing::default()).0,
        stop: stopping,
    };
    let begun = Moment::now();
    let sending = tokio::spawn(sender.run());
    let service = hub.running.hub.clone();
    let (done, finished) = watch::channel(None);
    theirs.spawn(async move {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        loop {
            looks.tick().await;
            let mut tx = service.read().await.unwrap();
            let row = tx.fetch_one("SELECT COUNT(*) FROM swipe", Vec::new()).await.unwrap();
            let count: i64 = row.unwrap().next("count").unwrap();
            if count >= i64::try_from(backlog).unwrap() {
                done.send_replace(Some(begun.elapsed()));
                return;
            }
        }
    });
    // The same record again and again: the hub has it once.
    let busy = swipes(&journal, &mut heard, &body, &durable, |_| finished.borrow().is_some()).await;
    let took = finished.borrow().unwrap();
    sending.abort();
    let made = busy.len();
    let (busy50, busy99) = percentiles(busy);
    println!(
        "  a backlog of {backlog} swipes drained in {:.1} s: {:.0}/s (wanted 5,000/s)",
        took.as_secs_f64(),
        backlog as f64 / took.as_secs_f64()
    );
    println!("  swipe → durable, idle:          p50 {idle50:>6.2} ms  p99 {idle99:>6.2} ms");
    println!(
        "  swipe → durable, while it drains: p50 {busy50:>6.2} ms  p99 {busy99:>6.2} ms  ({made} swipes; p99 {:+.2} ms, wanted at most +5)",
        busy99 - idle99
    );
    println!("  bare append + fdatasync:        p50 {raw50:>6.2} ms  p99 {raw99:>6.2} ms");
}
