//! The network between gateways and hub: what they say to each other, and how it gets there.

use cynic::MutationBuilder;
use rand::Rng;
use rollcall_gateway::uplink::client::UplinkError;
use rollcall_gateway::uplink::handover::{More, Step};
use rollcall_gateway::uplink::operations::{
    DateTime, GatewayHeartbeatPayload, GatewaySubmitSwipesPayload, Heartbeat, HeartbeatVariables,
    SubmitSwipes, SubmitVariables,
};
use serde_json::Value;
use uuid::Uuid;

use super::{Event, Message, World};

/// A call that is not answered is given up after this.
const TIMEOUT_MS: i64 = 20_000;

impl World {
    pub(super) fn uplink(&mut self, index: usize) {
        if self.calling[index] {
            return;
        }
        let now = self.now;
        let Some((status, standing)) = self.gateways[index].status(now) else { return };
        let Some((handover, _)) = self.gateways[index].uplink() else { return };
        let step = handover.step(&status, &standing);
        let stored = match step {
            Step::Read { from, limit, .. } => self.gateways[index].read(from, limit, now),
            _ => None,
        };
        let Some((handover, _)) = self.gateways[index].uplink() else { return };
        let message = match step {
            Step::Heartbeat => {
                let input = handover.heartbeat(&status, &standing, More::default());
                Message::Heartbeat(Box::new(HeartbeatVariables { input }), Box::new((status, standing)))
            }
            Step::Read { journal, from, .. } => {
                let Some(stored) = stored else { return };
                match handover.batch((journal, from), stored, &status, &standing, None, None) {
                    Some(mut sent) => {
                        if self.eager {
                            sent.input.watermark = DateTime(status.durable_before.0);
                        }
                        self.last_submitted = now;
                        Message::Submit(Box::new(sent), Box::new(standing))
                    }
                    None => return self.at(1, Event::Uplink(index)),
                }
            }
            Step::Wait(_) => return self.at(2_000, Event::Uplink(index)),
        };
        self.calling[index] = true;
        let (life, sent) = (self.lives[index], now);
        if self.rng.random_range(0..100) < self.loss.0 {
            let answer = Err(UplinkError::TimedOut);
            return self.at(TIMEOUT_MS, Event::Answer { gateway: index, life, sent, message, answer });
        }
        let delay = if self.rng.random_bool(0.1) { self.rng.random_range(0..8_000) } else { 20 };
        let again = !self.healed && self.rng.random_bool(0.1);
        self.at(delay, Event::Arrive { gateway: index, life, sent, message, again });
    }

    pub(super) async fn arrive(&mut self, index: usize, life: u64, sent: i64, message: Message, again: bool) {
        let (query, variables) = match &message {
            Message::Heartbeat(variables, _) => {
                let operation = Heartbeat::build(HeartbeatVariables::clone(variables));
                (operation.query, serde_json::to_value(operation.variables))
            }
            Message::Submit(submission, _) => {
                let operation = SubmitSwipes::build(SubmitVariables { input: submission.input.clone() });
                (operation.query, serde_json::to_value(operation.variables))
            }
        };
        let variables = variables.unwrap_or_default();
        let id = self.gateways[index].id;
        if again {
            // The network gives it twice, the second time much later, behind others.
            let late = self.rng.random_range(100..120_000);
            let mut request = serde_json::json!({"query": query.clone(), "variables": variables.clone()});
            if !self.dedup {
                for swipe in request["variables"]["input"]["swipes"].as_array_mut().into_iter().flatten() {
                    swipe["swipeId"] = Value::String(Uuid::from_u128(self.rng.random()).to_string());
                }
            }
            self.at(late, Event::Echo(index, request));
        }
        let answer = if self.up && self.turns_down(index, &message) {
            Err(UplinkError::Refused("this record can't be taken".to_owned()))
        } else if self.up {
            self.hub.carry_out(id, &query, variables).await
        } else {
            Err(UplinkError::TimedOut)
        };
        let lost = self.rng.random_range(0..100) < self.loss.1;
        let (answer, delay) = if lost { (Err(UplinkError::TimedOut), TIMEOUT_MS) } else { (answer, 20) };
        self.at(delay, Event::Answer { gateway: index, life, sent, message, answer });
    }

    pub(super) fn answer(
        &mut self,
        index: usize,
        life: u64,
        sent: i64,
        message: Message,
        answer: Result<Value, UplinkError>,
    ) {
        if self.lives[index] != life {
            return;
        }
        self.calling[index] = false;
        let done = answer.and_then(|data| self.learn(index, sent, message, data));
        let wait = match done {
            Ok(()) => 10,
            Err(error) => {
                let Some((handover, _)) = self.gateways[index].uplink() else { return };
                if handover.failed(&error) { 10 } else { self.rng.random_range(500..20_000) }
            }
        };
        self.at(wait, Event::Uplink(index));
    }

    fn learn(&mut self, index: usize, sent: i64, message: Message, data: Value) -> Result<(), UplinkError> {
        let bad = |error: serde_json::Error| UplinkError::BadAnswer(error.to_string());
        let now = self.now;
        let fresh = Uuid::from_u128(self.rng.random());
        let gateway = &mut self.gateways[index];
        tracing::info!(at = now, gateway = index, %data, "answered");
        match message {
            Message::Heartbeat(_, taken) => {
                let answer: Heartbeat = serde_json::from_value(data).map_err(bad)?;
                let answer: GatewayHeartbeatPayload = answer.gateway_heartbeat;
                gateway.hub_says(answer.received_at.0, sent, now);
                let (status, standing) = *taken;
                let Some((handover, log)) = gateway.uplink() else { return Ok(()) };
                for has in &answer.handed_over {
                    let found = handover
                        .wanted(&standing, has)
                        .and_then(|wanted| log.read(wanted, 1).ok())
                        .and_then(|found| found.into_iter().next());
                    // A name was drawn here once: without it seeds that broke something would be other worlds.
                    let _: u128 = self.rng.random();
                    if handover.learn(&standing, has, found.as_ref(), fresh) {
                        log.renew(fresh);
                    }
                }
                handover.heartbeat_answered(&status, &standing, &answer)
            }
            Message::Submit(submission, standing) => {
                let answer: SubmitSwipes = serde_json::from_value(data).map_err(bad)?;
                let answer: GatewaySubmitSwipesPayload = answer.gateway_submit_swipes;
                gateway.hub_says(answer.committed_at.0, sent, now);
                let Some((handover, log)) = gateway.uplink() else { return Ok(()) };
                if handover.submitted(&submission, &answer, &standing)? {
                    log.renew(fresh);
                }
                Ok(())
            }
        }
    }
}
