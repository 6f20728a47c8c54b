//! Plays a plan: from instant to instant, each with its changes, its lights and its cards, and notes what the
//! readers showed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::time::Instant as Deadline;

use super::compare::{Differences, external_ids};
use super::timetable::{hex, instant};
use super::trace::Trace;
use super::view::View;
use super::world::World;
use crate::device::{DeviceEvent, Shown};
use crate::expected::{Answer, Expectation};
use crate::plan::{ChangeKind, Colour, FaultChange, Millis, Plan, ReaderKind};

/// How long readers may take to show what they must, in real time, before it counts as not shown.
const SHOWN_WITHIN: Duration = Duration::from_secs(90);
/// How long after the end of play gateways may take to hand everything over, in real time.
const DRAINED_WITHIN: Duration = Duration::from_secs(150);
/// Virtual time goes on this far behind the end, so that every window is closed and every watermark passes.
const RUN_OUT_MS: i64 = 130_000;

/// How often gateways are restarted while the hub is away.
const RESTART_EVERY_MS: i64 = 7 * 24 * 3_600_000;

/// Plays a plan in a world.
pub struct Player<'a> {
    plan: &'a Plan,
    wanted: &'a Expectation,
    world: &'a mut World,
    view: &'a mut View,
    trace: &'a mut Trace,
    speed: Option<f64>,
    /// The hub is away from the first instant until the last.
    hub_away: bool,
    rests: BTreeMap<String, Colour>,
    differences: Differences,
}

/// What happens at one instant: indices into the plan and the expectation.
#[derive(Default)]
struct Moment {
    faults: Vec<usize>,
    changes: Vec<usize>,
    lights: Vec<usize>,
    cards: Vec<usize>,
}

impl<'a> Player<'a> {
    /// A player; `speed` bounds virtual seconds in a real second. With `hub_away` the hub is gone while play lasts,
    /// and gateways are restarted now and then.
    pub fn new(
        plan: &'a Plan,
        wanted: &'a Expectation,
        world: &'a mut World,
        view: &'a mut View,
        trace: &'a mut Trace,
        speed: Option<f64>,
        hub_away: bool,
    ) -> Self {
        let rests = plan.readers.iter().map(|reader| (reader.code.clone(), Colour::Off)).collect();
        let differences = Differences::default();
        Self { plan, wanted, world, view, trace, speed, hub_away, rests, differences }
    }

    fn moments(&self) -> BTreeMap<Millis, Moment> {
        let mut moments: BTreeMap<Millis, Moment> = BTreeMap::new();
        for (index, change) in self.plan.changes.iter().enumerate() {
            moments.entry(change.at_ms).or_default().changes.push(index);
        }
        for (index, fault) in self.plan.faults.iter().enumerate() {
            moments.entry(fault.at_ms).or_default().faults.push(index);
        }
        for (index, light) in self.wanted.lights.iter().enumerate() {
            moments.entry(light.at_ms).or_default().lights.push(index);
        }
        for answer in
            self.wanted.answers.iter().enumerate().map(|(index, answer)| (index, answer.presentation))
        {
            moments.entry(self.plan.presentations[answer.1].at_ms).or_default().cards.push(answer.0);
        }
        moments
    }

    /// Plays everything; gives the differences found at the doors.
    ///
    /// # Errors
    /// When something of the world fails.
    pub async fn play(mut self) -> anyhow::Result<Differences> {
        let begun = Instant::now();
        // What readers showed while they came up is no part of the day.
        self.drain_before_play();
        if self.hub_away {
            self.world.hub_leaves().await?;
            self.view.say("the hub is away from now on")?;
        }
        self.step_to(self.plan.from_ms, begun).await?;
        let mut restart_at = self.plan.from_ms + RESTART_EVERY_MS;
        for (at, moment) in self.moments() {
            while self.hub_away && at > restart_at {
                self.step_to(restart_at, begun).await?;
                self.world.restart_gateways().await?;
                restart_at += RESTART_EVERY_MS;
            }
            self.step_to(at, begun).await?;
            self.spoil(at, &moment).await?;
            self.change(at, &moment).await?;
            self.await_lights(at, &moment).await?;
            self.present(at, &moment).await?;
        }
        self.step_to(self.plan.until_ms.max(self.world.clock.get()), begun).await?;
        self.drain().await?;
        Ok(self.differences)
    }

    fn drain_before_play(&mut self) {
        while let Ok(event) = self.world.events.try_recv() {
            if let DeviceEvent::Light { reader, shown: Shown::Base(colour), .. } = event {
                self.rests.insert(reader, colour);
            }
        }
    }

    async fn step_to(&mut self, at: Millis, begun: Instant) -> anyhow::Result<()> {
        if let Some(speed) = self.speed.filter(|speed| *speed > 0.0) {
            let virtual_s = (at - self.plan.from_ms) as f64 / 1_000.0;
            let due = begun + Duration::from_secs_f64((virtual_s / speed).max(0.0));
            tokio::time::sleep_until(due.into()).await;
        }
        // Anything shown between two moments is shown at the wrong time.
        while let Ok(event) = self.world.events.try_recv() {
            self.unexpected(event)?;
        }
        self.world.clock.set(at);
        self.view.progress(at, &self.rests)
    }

    /// Lets things go wrong at readers.
    async fn spoil(&mut self, at: Millis, moment: &Moment) -> anyhow::Result<()> {
        for index in &moment.faults {
            let fault = &self.plan.faults[*index];
            let reader = &self.plan.readers[fault.reader].code;
            self.world.spoil(reader, fault.what)?;
            let what = match fault.what {
                FaultChange::Begins(what) => json!({"begins": what.name()}),
                FaultChange::Ends(what) => json!({"ends": what.name()}),
                FaultChange::Reboot => json!("reboot"),
                FaultChange::Unplugged(true) => json!({"begins": "unplug"}),
                FaultChange::Unplugged(false) => json!({"ends": "unplug"}),
                FaultChange::ClockAhead(ms) => json!({"clockAheadMs": ms}),
            };
            self.trace.line(at, json!({"kind": "fault", "at": instant(at)?, "reader": reader, "what": what}));
            match fault.what {
                FaultChange::Reboot => self.await_back(at, reader).await?,
                FaultChange::Unplugged(unplugged) => {
                    if !unplugged {
                        self.await_back(at, reader).await?;
                    }
                    self.world.wait_until_known(reader, !unplugged).await?;
                }
                FaultChange::Begins(_) | FaultChange::Ends(_) | FaultChange::ClockAhead(_) => {}
            }
        }
        Ok(())
    }

    /// Waits until a reader that lost its power is spoken to again.
    async fn await_back(&mut self, at: Millis, reader: &str) -> anyhow::Result<()> {
        let deadline = Deadline::now() + SHOWN_WITHIN;
        loop {
            match tokio::time::timeout_at(deadline, self.world.events.recv()).await {
                Ok(Some(DeviceEvent::Online { reader: back })) if back == reader => return Ok(()),
                Ok(Some(event)) => self.unexpected(event)?,
                Ok(None) => anyhow::bail!("all devices have gone"),
                Err(_) => {
                    self.differences.add(format!("{}: reader {reader} does not come back", instant(at)?));
                    return Ok(());
                }
            }
        }
    }

    async fn change(&mut self, at: Millis, moment: &Moment) -> anyhow::Result<()> {
        for index in &moment.changes {
            let change = &self.plan.changes[*index];
            let world = &mut *self.world;
            world
                .published
                .apply(self.plan, change, &mut world.api)
                .await
                .with_context(|| format!("change {index} cannot be made"))?;
            self.world.wait_until_spread().await?;
            let mut line = json!({"kind": "change", "at": instant(at)?});
            if let (Some(line), Value::Object(what)) =
                (line.as_object_mut(), described(self.plan, &change.what)?)
            {
                line.extend(what);
            }
            self.trace.line(at, line);
        }
        Ok(())
    }

    /// Waits until the lights at rest are as they must be.
    async fn await_lights(&mut self, at: Millis, moment: &Moment) -> anyhow::Result<()> {
        let mut missing: BTreeMap<String, Colour> = BTreeMap::new();
        for light in moment.lights.iter().map(|index| &self.wanted.lights[*index]) {
            let reader = &self.plan.readers[light.reader].code;
            // A light that is so already when play begins needs no change.
            if self.rests.get(reader) != Some(&light.colour) {
                missing.insert(reader.clone(), light.colour);
            } else {
                self.differences.lights_seen += 1;
            }
        }
        let deadline = Deadline::now() + SHOWN_WITHIN;
        while !missing.is_empty() {
            match tokio::time::timeout_at(deadline, self.world.events.recv()).await {
                Ok(Some(DeviceEvent::Light { reader, shown: Shown::Base(colour), .. }))
                    if missing.get(&reader) == Some(&colour) =>
                {
                    missing.remove(&reader);
                    self.differences.lights_seen += 1;
                    self.view.light(&reader, colour);
                    self.trace_light(at, &reader, json!({"colour": colour, "expected": colour}))?;
                    self.rests.insert(reader, colour);
                }
                Ok(Some(event)) => self.unexpected(event)?,
                Ok(None) => anyhow::bail!("all devices have gone"),
                Err(_) => break,
            }
        }
        for (reader, colour) in missing {
            let is = self.rests.get(&reader);
            let text = format!("{}: reader {reader} rests {is:?} where {colour:?} belongs", instant(at)?);
            let line = json!({"colour": is, "expected": colour});
            self.differences.add(text);
            self.trace_light(at, &reader, line)?;
        }
        Ok(())
    }

    /// Holds cards to readers and waits until each has shown its answer.
    async fn present(&mut self, at: Millis, moment: &Moment) -> anyhow::Result<()> {
        let mut waiting: BTreeMap<String, usize> = BTreeMap::new();
        for index in &moment.cards {
            let answer = &self.wanted.answers[*index];
            let card = &self.plan.presentations[answer.presentation];
            let reader = &self.plan.readers[card.reader].code;
            self.world.present(reader, &card.credential)?;
            waiting.insert(reader.clone(), *index);
        }
        let mut shown: BTreeMap<String, Colour> = BTreeMap::new();
        // MQTT readers are told besides what became of the swipe, or they would send it again.
        let mut acknowledged: BTreeMap<String, String> = BTreeMap::new();
        let by_mqtt: BTreeSet<String> = waiting
            .values()
            .map(|index| self.plan.presentations[self.wanted.answers[*index].presentation].reader)
            .filter(|reader| self.plan.readers[*reader].kind == ReaderKind::Mqtt)
            .map(|reader| self.plan.readers[reader].code.clone())
            .collect();
        let deadline = Deadline::now() + SHOWN_WITHIN;
        while shown.len() < waiting.len() || by_mqtt.iter().any(|reader| !acknowledged.contains_key(reader)) {
            match tokio::time::timeout_at(deadline, self.world.events.recv()).await {
                Ok(Some(DeviceEvent::Light { reader, shown: Shown::Flash(colour), .. }))
                    if waiting.contains_key(&reader) && !shown.contains_key(&reader) =>
                {
                    shown.insert(reader, colour);
                }
                Ok(Some(DeviceEvent::Acknowledged { reader, result, .. })) => {
                    acknowledged.insert(reader, result);
                }
                Ok(Some(event)) => self.unexpected(event)?,
                Ok(None) => anyhow::bail!("all devices have gone"),
                Err(_) => break,
            }
        }
        for (reader, index) in waiting {
            let wanted = &self.wanted.answers[index];
            let colour = shown.get(&reader).copied();
            if by_mqtt.contains(&reader) {
                let result = acknowledged.get(&reader).map(String::as_str);
                let belongs = match wanted.colour {
                    Colour::Green => "recorded",
                    Colour::Amber => "kept",
                    _ => "not_recorded",
                };
                if result != Some(belongs) {
                    let at = instant(at)?;
                    let text = format!("{at}: reader {reader} was told {result:?} where {belongs} belongs");
                    self.differences.add(text);
                }
            }
            self.judge(at, &reader, wanted, colour).await?;
        }
        Ok(())
    }

    async fn judge(
        &mut self,
        at: Millis,
        reader: &str,
        wanted: &Answer,
        shown: Option<Colour>,
    ) -> anyhow::Result<()> {
        self.differences.lights_seen += 1;
        self.view.swipe(reader, shown);
        let card = &self.plan.presentations[wanted.presentation];
        let student = card.student.map(|student| self.plan.students[student].number.as_str());
        if shown != Some(wanted.colour) {
            let text = format!(
                "{}: reader {reader} showed {shown:?} where {:?} belongs ({}, {}, {})",
                instant(at)?,
                wanted.colour,
                wanted.reason,
                student.unwrap_or("nobody known"),
                card.why
            );
            self.differences.add(text);
        }
        if self.trace.wanted() {
            let room = &self.plan.rooms[self.plan.readers[card.reader].room];
            let line = json!({
                "kind": "swipe",
                "presented": instant(at)?,
                "reader": reader,
                "room": room.code,
                "card": {"bits": card.credential.bits, "raw": hex(&card.credential.raw)},
                "student": student,
                "why": card.why,
                "cursor": self.world.basis(room.building).await,
                "colour": shown,
                "expected": {
                    "colour": wanted.colour,
                    "reason": wanted.reason,
                    "credited": external_ids(self.plan, &wanted.credited),
                },
            });
            self.trace.swipe(reader, at, line);
        }
        Ok(())
    }

    /// Something that a device did and that nothing called for.
    fn unexpected(&mut self, event: DeviceEvent) -> anyhow::Result<()> {
        let DeviceEvent::Light { reader, shown, .. } = event else { return Ok(()) };
        let at = self.world.clock.get();
        let (does, colour) = match shown {
            Shown::Base(colour) => {
                let was = self.rests.insert(reader.clone(), colour);
                if was == Some(colour) {
                    return Ok(());
                }
                self.trace_light(at, &reader, json!({"colour": colour, "expected": was}))?;
                ("rests", colour)
            }
            Shown::Flash(colour) => {
                self.trace_light(at, &reader, json!({"flash": colour, "expected": null}))?;
                ("flashes", colour)
            }
        };
        let at = instant(at)?;
        self.differences.add(format!("{at}: reader {reader} {does} {colour:?}, which nothing calls for"));
        Ok(())
    }

    /// What a light did, and what it should have done.
    fn trace_light(&mut self, at: Millis, reader: &str, more: Value) -> anyhow::Result<()> {
        let hangs = self.plan.readers.iter().find(|it| it.code == reader);
        let room = hangs.map(|it| &self.plan.rooms[it.room].code);
        let mut line = json!({"kind": "light", "at": instant(at)?, "reader": reader, "room": room});
        if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
            line.extend(more);
        }
        self.trace.line(at, line);
        Ok(())
    }

    /// Lets time run out until every gateway's watermark is past the end.
    async fn drain(&mut self) -> anyhow::Result<()> {
        let end = self.world.clock.get();
        while let Ok(event) = self.world.events.try_recv() {
            self.unexpected(event)?;
        }
        self.world.clock.set(end + RUN_OUT_MS);
        if self.hub_away {
            self.world.hub_returns().await?;
            self.view.say("the hub is back")?;
        }
        let query = "{ gateways(first: 200) { nodes { code health { backlog watermark } } } }";
        let deadline = Instant::now() + DRAINED_WITHIN;
        loop {
            let answer = self.world.api.ask(query, json!({})).await?;
            let nodes = answer["gateways"]["nodes"].as_array().cloned().unwrap_or_default();
            let behind: Vec<String> = nodes
                .iter()
                .filter(|node| {
                    let watermark: Option<jiff::Timestamp> =
                        node["health"]["watermark"].as_str().and_then(|text| text.parse().ok());
                    watermark.is_none_or(|at| at.as_millisecond() <= end)
                })
                .map(|node| node["code"].as_str().unwrap_or("?").to_owned())
                .collect();
            if behind.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                self.differences.add(format!("gateways that did not hand everything over: {behind:?}"));
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Nobody holds a card any more, and no window opens, unless one does just after midnight.
        let mut opens = self.plan.sessions.iter().map(|it| it.start_ms - self.plan.opens_before_ms);
        let opens = opens.any(|at| (end..=end + RUN_OUT_MS).contains(&at));
        while let Ok(event) = self.world.events.try_recv() {
            if !(opens && matches!(event, DeviceEvent::Light { shown: Shown::Base(_), .. })) {
                self.unexpected(event)?;
            }
        }
        Ok(())
    }
}

/// A change by the names that the hub knows.
fn described(plan: &Plan, what: &ChangeKind) -> anyhow::Result<Value> {
    let session = |index: &usize| &plan.sessions[*index].external_id;
    Ok(match what {
        ChangeKind::Cancel { session: it } => json!({"what": "cancel", "session": session(it)}),
        ChangeKind::Reinstate { session: it } => json!({"what": "reinstate", "session": session(it)}),
        ChangeKind::Move { session: it, rooms } => {
            let rooms: Vec<&String> = rooms.iter().map(|room| &plan.rooms[*room].code).collect();
            json!({"what": "move", "session": session(it), "rooms": rooms})
        }
        ChangeKind::Reschedule { session: it, start_ms, end_ms } => {
            let (start, end) = (instant(*start_ms)?, instant(*end_ms)?);
            json!({"what": "reschedule", "session": session(it), "startsAt": start, "endsAt": end})
        }
        ChangeKind::Join(stay) => json!({
            "what": "join", "group": plan.groups[stay.group].code, "student": plan.students[stay.student].number,
            "from": stay.from, "until": stay.until,
        }),
        ChangeKind::Reissue { student, credential } => json!({
            "what": "newCard", "student": plan.students[*student].number, "bits": credential.bits,
            "raw": hex(&credential.raw),
        }),
    })
}
