//! The same swipes, handed over in batches that are sent twice, in another order, in other pieces: what the hub then
//! holds, and every mark, is the same.

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Broken, Outcome, Run};
use crate::hub::{TestHub, at};
use crate::timetable::{Gateway, estate, session, students};

/// The defects that this suite can see.
pub const CONTROLS: [&str; 1] = ["no-dedup"];
/// How many swipes one world has.
const SWIPES: usize = 40;
/// How many cases are played on one hub before another is started.
pub const CASES_ON_HUB: u64 = 100;

/// Runs so many cases. A case is one batch: drawn, sent, sent again later.
///
/// # Errors
/// When the hub holds something twice or not at all, or a mark differs.
pub fn run(run: &Run) -> super::Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Broken { seed: run.seed, what: error.to_string() })?;
    runtime.block_on(async {
        let (mut left, mut seed, mut sent) = (run.cycles, run.seed, 0);
        while left > 0 {
            let cases = left.min(CASES_ON_HUB);
            super::begin(seed);
            sent += world(seed, cases, run.control.is_some()).await.map_err(|what| Broken { seed, what })?;
            left -= cases;
            seed += 1;
        }
        Ok(Outcome::Held(format!(
            "{} batches, {sent} swipes sent; each world's {SWIPES} swipes stand once at the hub, and the marks are the same",
            run.cycles
        )))
    })
}

/// A hub with two sessions that overlap in R1, and a class list of twelve of its twenty students.
async fn campus() -> (TestHub, Gateway) {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 20, 12).await;
    let sessions = [session("X", "09:00", "10:00"), session("Y", "09:40", "11:00")];
    hub.done("saveSessions", json!({"sessions": sessions})).await;
    let gateway = Gateway::start(&hub, "GW").await;
    hub.clock.set(&at("12:00"));
    (hub, gateway)
}

/// Everything that a session's register says, by student; of the swipes when they were.
async fn marks(hub: &TestHub, session: &str) -> Vec<Value> {
    let fields =
        "status source arrivedAt minutesLate sharedSwipe honoured student { number } swipes { swipedAt }";
    let query = format!(
        "{{ session(by: {{externalId: \"{session}\"}}) {{ register {{ entries(first: 100) {{ nodes {{ {fields} }} }} }} }} }}"
    );
    let mut entries = hub.read(&query).await["session"]["register"]["entries"]["nodes"].take();
    let mut entries = entries.as_array_mut().map(std::mem::take).unwrap_or_default();
    for entry in &mut entries {
        if let Some(swipes) = entry["swipes"].as_array_mut() {
            swipes.sort_by_key(Value::to_string);
        }
    }
    entries.sort_by_key(|entry| entry["student"]["number"].to_string());
    entries
}

/// One hub, its swipes, and so many batches of them. Gives how many swipes were sent.
async fn world(seed: u64, cases: u64, no_dedup: bool) -> Result<usize, String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (hub, mut gateway) = campus().await;
    let (in_order, mut other_gateway) = campus().await;
    let (mut swipes, mut once) = (Vec::new(), BTreeMap::new());
    let mut expected: [BTreeSet<usize>; 2] = Default::default();
    for _ in 0..SWIPES {
        let (student, minute) = (rng.random_range(0..20), rng.random_range(8 * 60 + 10..11 * 60 + 20));
        let door = rng.random_range(0..2);
        let when = at(&format!("{:02}:{:02}", minute / 60, minute % 60));
        let mut open = Vec::new();
        for (list, (starts, opens, closes)) in
            expected.iter_mut().zip([("09:00", 8 * 60 + 30, 10 * 60), ("09:40", 9 * 60 + 10, 11 * 60)])
        {
            if door == 0 && student < 12 && opens <= minute && minute <= closes {
                list.insert(student);
                open.push(starts);
            }
        }
        // Some doors have not heard of the class list yet, and show red.
        if rng.random_bool(0.3) {
            open.clear();
        }
        let shown = |gateway: &mut Gateway| {
            let held: Vec<String> = open.iter().map(|starts| gateway.session(starts).to_owned()).collect();
            let held: Vec<&str> = held.iter().map(String::as_str).collect();
            gateway.swipe(student, door, &when, &held)
        };
        swipes.push(shown(&mut gateway));
        once.insert((minute, once.len()), shown(&mut other_gateway));
    }
    let once: Vec<Value> = once.into_values().collect();
    other_gateway.submit(&in_order, &once, &at("08:00")).await;
    let mut sent = 0;
    let mut unsent: Vec<usize> = (0..SWIPES).collect();
    for case in 0..cases {
        let mut batch: Vec<Value> = Vec::new();
        let size = rng.random_range(1..=15);
        // The last batches bring in whatever no batch had.
        let last = case + 1 == cases;
        let mut picked: Vec<usize> = (0..size).map(|_| rng.random_range(0..SWIPES)).collect();
        if last {
            picked.append(&mut unsent);
        }
        picked.shuffle(&mut rng);
        for index in picked {
            let again = !unsent.contains(&index);
            unsent.retain(|it| *it != index);
            let mut swipe = swipes[index].clone();
            if no_dedup && again {
                swipe["swipeId"] = json!(Uuid::from_u128(rng.random()));
            }
            batch.push(swipe);
        }
        sent += batch.len();
        gateway.submit(&hub, &batch, &at("08:00")).await;
    }
    let mut found = BTreeSet::new();
    let query = "{ swipes(first: 200) { totalCount nodes { swipeId } } }";
    let stored = hub.read(query).await["swipes"].clone();
    for node in stored["nodes"].as_array().into_iter().flatten() {
        found.insert(node["swipeId"].as_str().unwrap_or_default().to_owned());
    }
    if stored["totalCount"] != json!(SWIPES) || found.len() != SWIPES {
        return Err(format!("{} swipes stand at the hub, {SWIPES} were made", stored["totalCount"]));
    }
    for (id, wanted) in ["X", "Y"].iter().zip(&expected) {
        let entries = marks(&hub, id).await;
        let present: BTreeSet<usize> = entries
            .iter()
            .filter(|entry| entry["status"] == "PRESENT")
            .filter_map(|entry| entry["student"]["number"].as_str()?[1..].parse().ok())
            .collect();
        if present != *wanted {
            return Err(format!("at {id} PRESENT are {present:?} where {wanted:?} belong"));
        }
        // Nor when they came, what counts for it, or anything else: as at a hub that got each once, in order, in one piece.
        let same = marks(&in_order, id).await;
        if entries.len() != same.len() {
            return Err(format!("at {id} stand {} marks where {} belong", entries.len(), same.len()));
        }
        if let Some((found, wanted)) = entries.iter().zip(&same).find(|(found, wanted)| found != wanted) {
            return Err(format!("at {id} stands {found} where {wanted} belongs"));
        }
    }
    Ok(sent)
}
