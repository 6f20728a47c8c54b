//! Compares what the hub holds at the end, asked through its API, with what the oracle expects.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::api::Api;
use super::timetable::instant;
use super::trace::Trace;
use crate::expected::{Expectation, ExpectedEntry, ExpectedRegister};
use crate::plan::{Millis, Plan};

/// How many differences are kept word for word.
const MAX_KEPT: usize = 1_000;

/// The differences between what was and what the oracle expects.
#[derive(Debug, Default)]
pub struct Differences {
    first: Vec<String>,
    count: usize,
    /// How many lights were compared.
    pub lights_seen: usize,
}

impl Differences {
    /// Adds one.
    pub fn add(&mut self, text: String) {
        self.count += 1;
        if self.first.len() < MAX_KEPT {
            self.first.push(text);
        }
    }

    /// The first ones, word for word.
    #[must_use]
    pub fn first(&self) -> &[String] {
        &self.first
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

/// What a register came to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterTotals {
    /// The session.
    pub session: String,
    /// The register's state.
    pub state: String,
    /// Who was there.
    pub present: usize,
    /// Of them late.
    pub late: usize,
    /// Who was not.
    pub absent: usize,
    /// Of whom nothing can be said.
    pub no_register: usize,
    /// Who need not come.
    pub other: usize,
}

impl fmt::Display for RegisterTotals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, state, present, late, absent, no_register, other } = self;
        write!(f, "{session:<22} {state:<13} {present:>7} {late:>6} {absent:>6} {no_register:>9} {other:>6}")
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub struct Totals {
    /// The registers, by their sessions' start.
    pub registers: Vec<RegisterTotals>,
    /// Marks compared.
    pub marks: usize,
    /// Of them present.
    pub present: usize,
    /// Of them absent.
    pub absent: usize,
    /// Swipes at the hub.
    pub swipes: usize,
    /// Lights compared here.
    pub lights: usize,
}

const SESSIONS: &str = "query($from: DateTime!, $until: DateTime!, $after: String) {
  sessions(filter: {startsIn: {from: $from, until: $until}}, first: 50, after: $after) {
    nodes { externalId register { state entries(first: 200) {
      nodes { student { number } status source arrivedAt minutesLate sharedSwipe honoured }
      pageInfo { hasNextPage endCursor }
    } } }
    pageInfo { hasNextPage endCursor }
  }
}";

const MORE_ENTRIES: &str = "query($id: String!, $after: String) {
  session(by: {externalId: $id}) { register { entries(first: 200, after: $after) {
    nodes { student { number } status source arrivedAt minutesLate sharedSwipe honoured }
    pageInfo { hasNextPage endCursor }
  } } }
}";

const SWIPES: &str = "query($from: DateTime!, $until: DateTime!, $after: String) {
  swipes(filter: {swipedIn: {from: $from, until: $until}}, first: 200, after: $after) {
    nodes { swipeId swipedAt earliestAt latestAt reader { code } shown { light reason sessions { externalId } } }
    pageInfo { hasNextPage endCursor }
  }
}";

const OUTAGES: &str = "query($after: String) {
  gateways(first: 20, after: $after) {
    nodes { code outages(first: 200) { nodes { cause from until reader { code } } } }
    pageInfo { hasNextPage endCursor }
  }
}";

/// Compares all registers and swipes of the days played.
///
/// # Errors
/// When the hub cannot be asked.
pub async fn registers(
    plan: &Plan,
    wanted: &Expectation,
    api: &mut Api,
    trace: &mut Trace,
    differences: &mut Differences,
) -> anyhow::Result<Totals> {
    let mut totals = Totals::default();
    let mut expected: BTreeMap<&str, &ExpectedRegister> =
        wanted.registers.iter().map(|it| (plan.sessions[it.session].external_id.as_str(), it)).collect();
    let range = json!({"from": instant(plan.from_ms)?, "until": instant(plan.until_ms)?});
    let mut after = Value::Null;
    loop {
        let mut variables = range.clone();
        variables["after"] = after;
        let page = api.ask(SESSIONS, variables).await?["sessions"].take();
        for node in page["nodes"].as_array().into_iter().flatten() {
            let id = node["externalId"].as_str().unwrap_or("");
            let Some(register) = expected.remove(id) else {
                differences.add(format!("session {id}: the hub has it and the oracle does not"));
                continue;
            };
            let found = entries(api, id, &node["register"]["entries"]).await?;
            compare(plan, id, register, &node["register"]["state"], &found, &mut totals, differences);
        }
        if page["pageInfo"]["hasNextPage"] != json!(true) {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    for id in expected.keys() {
        differences.add(format!("session {id}: the oracle has it and the hub does not"));
    }
    swipes(plan, wanted, api, trace, &mut totals, differences).await?;
    if trace.wanted() {
        outages(api, trace).await?;
    }
    Ok(totals)
}

/// Tells the trace of the outages that gateways reported, 200 of each at the most.
async fn outages(api: &mut Api, trace: &mut Trace) -> anyhow::Result<()> {
    let mut after = Value::Null;
    loop {
        let page = api.ask(OUTAGES, json!({ "after": after })).await?["gateways"].take();
        for gateway in page["nodes"].as_array().into_iter().flatten() {
            for outage in gateway["outages"]["nodes"].as_array().into_iter().flatten() {
                // A gateway that is new was never good before.
                let from = outage["from"].as_str().map(str::parse::<Timestamp>).transpose()?;
                let line = json!({
                    "kind": "outage",
                    "at": outage["from"],
                    "until": outage["until"],
                    "gateway": gateway["code"],
                    "reader": outage["reader"]["code"],
                    "cause": outage["cause"],
                });
                trace.line(from.map_or(0, Timestamp::as_millisecond), line);
            }
        }
        if page["pageInfo"]["hasNextPage"] != json!(true) {
            return Ok(());
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
}

async fn entries(api: &mut Api, id: &str, first: &Value) -> anyhow::Result<Vec<Value>> {
    let mut found: Vec<Value> = first["nodes"].as_array().cloned().unwrap_or_default();
    let mut info = first["pageInfo"].clone();
    while info["hasNextPage"] == json!(true) {
        let answer = api.ask(MORE_ENTRIES, json!({"id": id, "after": info["endCursor"]})).await?;
        let page = &answer["session"]["register"]["entries"];
        found.extend(page["nodes"].as_array().cloned().unwrap_or_default());
        info = page["pageInfo"].clone();
    }
    Ok(found)
}

fn compare(
    plan: &Plan,
    id: &str,
    register: &ExpectedRegister,
    state: &Value,
    found: &[Value],
    totals: &mut Totals,
    differences: &mut Differences,
) {
    if state != register.state {
        differences.add(format!("session {id}: register {state} where {} belongs", register.state));
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut late = 0;
    let mut by_number: BTreeMap<&str, &Value> =
        found.iter().filter_map(|entry| Some((entry["student"]["number"].as_str()?, entry))).collect();
    if by_number.len() < found.len() {
        let more = found.len() - by_number.len();
        differences.add(format!("session {id}: {more} marks of students who have one already, or of none"));
    }
    for entry in &register.entries {
        let number = plan.students[entry.student].number.as_str();
        totals.marks += 1;
        let Some(mark) = by_number.remove(number) else {
            differences
                .add(format!("session {id}, student {number}: no mark where {} belongs", entry.status));
            continue;
        };
        *counts.entry(entry.status).or_default() += 1;
        late += usize::from(entry.minutes_late.is_some_and(|minutes| minutes > 0));
        if let Some(text) = mark_differs(mark, entry) {
            differences.add(format!("session {id}, student {number}: {text}"));
        }
    }
    for number in by_number.keys() {
        differences.add(format!("session {id}, student {number}: a mark where none belongs"));
    }
    let count = |status: &str| counts.get(status).copied().unwrap_or(0);
    totals.present += count("PRESENT");
    totals.absent += count("ABSENT");
    totals.registers.push(RegisterTotals {
        session: id.to_owned(),
        state: register.state.to_string(),
        present: count("PRESENT"),
        late,
        absent: count("ABSENT"),
        no_register: count("NO_REGISTER"),
        other: count("NOT_REQUIRED") + count("CANCELLED"),
    });
}

fn mark_differs(mark: &Value, wanted: &ExpectedEntry) -> Option<String> {
    let arrived: Option<Millis> = mark["arrivedAt"]
        .as_str()
        .and_then(|text| text.parse::<Timestamp>().ok())
        .map(|at| at.as_millisecond());
    let is = json!([
        mark["status"],
        mark["source"],
        arrived,
        mark["minutesLate"],
        mark["sharedSwipe"],
        mark["honoured"]
    ]);
    let should = json!([
        wanted.status,
        wanted.source,
        wanted.arrived_at_ms,
        wanted.minutes_late,
        wanted.shared_swipe,
        wanted.honoured
    ]);
    (is != should)
        .then(|| format!("{is} where {should} belongs (status, source, arrival, late, shared, honoured)"))
}

/// The external ids of some of the plan's sessions, sorted.
#[must_use]
pub fn external_ids<'a>(plan: &'a Plan, sessions: &[usize]) -> Vec<&'a str> {
    let mut ids: Vec<&str> =
        sessions.iter().map(|index| plan.sessions[*index].external_id.as_str()).collect();
    ids.sort_unstable();
    ids
}

/// Compares the swipes: each card presented is there exactly once, with what was shown for it.
async fn swipes(
    plan: &Plan,
    wanted: &Expectation,
    api: &mut Api,
    trace: &mut Trace,
    totals: &mut Totals,
    differences: &mut Differences,
) -> anyhow::Result<()> {
    let mut expected: BTreeMap<(String, Millis), &crate::expected::Answer> = wanted
        .answers
        .iter()
        .map(|answer| {
            let card = &plan.presentations[answer.presentation];
            ((plan.readers[card.reader].code.clone(), card.at_ms), answer)
        })
        .collect();
    let range =
        json!({"from": instant(plan.from_ms - 86_400_000)?, "until": instant(plan.until_ms + 86_400_000)?});
    let mut after = Value::Null;
    loop {
        let mut variables = range.clone();
        variables["after"] = after;
        let page = api.ask(SWIPES, variables).await?["swipes"].take();
        for node in page["nodes"].as_array().into_iter().flatten() {
            totals.swipes += 1;
            totals.lights += 1;
            let reader = node["reader"]["code"].as_str().unwrap_or("");
            let at = node["swipedAt"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
            let at = at.map_or(0, |at| at.as_millisecond());
            let Some(answer) = expected.remove(&(reader.to_owned(), at)) else {
                differences
                    .add(format!("swipe {} at {reader}, {at}: nobody presented a card", node["swipeId"]));
                continue;
            };
            let mut credited: Vec<&str> = node["shown"]["sessions"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|session| session["externalId"].as_str())
                .collect();
            credited.sort_unstable();
            let is = json!([node["shown"]["light"], node["shown"]["reason"], credited]);
            let should = json!([answer.colour, answer.reason, external_ids(plan, &answer.credited)]);
            let stamped = json!({
                "swipeId": node["swipeId"],
                "stamped": node["swipedAt"],
                "earliest": node["earliestAt"],
                "latest": node["latestAt"],
                "credited": credited,
            });
            trace.stamped(reader, at, stamped);
            if is != should {
                differences.add(format!(
                    "swipe at {reader}, {at}: the hub says {is} was shown where {should} belongs"
                ));
            }
        }
        if page["pageInfo"]["hasNextPage"] != json!(true) {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    for (reader, at) in expected.keys() {
        differences.add(format!("a card presented at {reader}, {at} is not at the hub"));
    }
    Ok(())
}
