//! The timetable changes while it is in use, and gateways get to know of it, each in its time.

use rand::Rng;
use rollcall_rules::light::Colour;

use super::super::{DOORS, facts_of};
use super::{Event, World};

/// Nobody looks at a light so close to the edge of a window: what counts as exact may be off by a second.
const EDGE_MS: i64 = 2_500;
/// How often a gateway that cannot ask tries again.
const AGAIN_MS: i64 = 20_000;

impl World {
    /// A person changes the timetable, at a hub that is there.
    pub(super) async fn change(&mut self) {
        if self.healed {
            return;
        }
        let next = self.plan_rng.random_range(300_000..2_400_000);
        self.at(next, Event::Change);
        if !self.up {
            return;
        }
        let plan = self.plans[self.plan].changed(&mut self.plan_rng, self.base.day, self.now);
        let query =
            "mutation ($input: SaveSessionsInput!) { saveSessions(input: $input) { errors { message } } }";
        let variables = serde_json::json!({"input": plan.input()});
        // Anybody's token does: the simulation's callers may do everything.
        let done = self.hub.carry_out(self.gateways[0].id, query, variables).await;
        match done {
            Ok(said) if said["saveSessions"]["errors"] == serde_json::json!([]) => {
                tracing::info!(at = self.now, ?plan, "the timetable changes");
                self.plans.push(plan);
                self.plan = self.plans.len() - 1;
                self.tell_all();
            }
            other => self.broken.push(format!("the timetable could not be changed: {other:?}")),
        }
    }

    /// Each gateway hears of the hub's timetable, most at once, some much later.
    pub(super) fn tell_all(&mut self) {
        for gateway in 0..self.gateways.len() {
            let slow = self.plan_rng.random_bool(0.3);
            let after = self.plan_rng.random_range(20..if slow { 900_000 } else { 1_000 });
            self.at(after, Event::Told(gateway));
        }
    }

    /// A gateway asks for the timetable that it was told of, and keeps it.
    pub(super) async fn told(&mut self, gateway: usize) {
        if self.has[gateway] == self.plan && !self.gateways[gateway].cache_lost {
            return;
        }
        let lost = self.plan_rng.random_range(0..100) < self.loss.0.max(self.loss.1);
        if !self.up || lost || !self.gateways[gateway].runs() {
            return self.at(AGAIN_MS, Event::Told(gateway));
        }
        let facts = facts_of(&self.hub, self.gateways[gateway].id).await;
        let heard = |door: &usize| match self.readers.iter().find(|it| it.door == *door) {
            Some(reader) => reader.connected,
            None => self.service[*door].answers,
        };
        let mine = (0..DOORS.len()).filter(|door| DOORS[*door].gateway == gateway);
        let online = mine.filter(heard).map(|door| DOORS[door].reader).collect();
        self.gateways[gateway].learn(facts.items, &online, self.now);
        self.at(1, Event::Write(gateway));
        self.has[gateway] = self.plan;
        self.rests(gateway);
    }

    /// Every light at rest is that of the timetable that the gateway has: blue only where a window is open.
    pub(super) fn rests(&mut self, gateway: usize) {
        if self.gateways[gateway].cache_lost {
            return;
        }
        let Some((rests, when)) = self.gateways[gateway].rests(self.now) else { return };
        let (day, now) = (self.base.day, self.now);
        let plan = &self.plans[self.has[gateway]];
        if plan.near_edge(day, now, EDGE_MS) {
            return;
        }
        for door in DOORS.iter().filter(|door| door.gateway == gateway) {
            let open = plan.open(day, door.room, now);
            let surely = plan.open_through(day, door.room, when.earliest.0, when.latest.0);
            let shown = rests.get(door.reader).copied().unwrap_or(Colour::Off);
            let right = match shown {
                Colour::Blue => open,
                Colour::Off => !open || !(when.is_exact() || surely),
                _ => false,
            };
            if !right {
                let what = format!("WRONG LIGHT AT REST at {} at {now}: {shown:?}, by {plan:?}", door.reader);
                self.broken.push(what);
            }
        }
    }
}
