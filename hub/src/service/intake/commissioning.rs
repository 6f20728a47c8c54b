//! What installers saw and heard at doors: kept as it was reported, changes nothing else.

use std::collections::BTreeSet;

use async_graphql::{Enum, InputObject, SimpleObject};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::refusal::{Answer, Check, Code};
use super::super::{Hub, Touched};
use crate::scalar::{DateTime, UuidScalar};
use crate::store::entity::Commissioning;

/// The most doors in one report.
const MAX_DOORS: usize = 200;
/// The most steps at one door.
const MAX_STEPS: usize = 20;
/// The longest note, in letters.
const MAX_NOTE: usize = 500;

/// What an installer is asked at a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CommissioningStepKind {
    /// The light flashes amber.
    Amber,
    /// The light is blue.
    Blue,
    /// The reader beeps.
    Buzzer,
    /// A card is read, and answered.
    Card,
    /// The light flashes green.
    Green,
    /// The light flashes red.
    Red,
}

/// What the installer said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CommissioningResult {
    /// It did not.
    Failed,
    /// It did.
    Passed,
    /// It was not tried.
    Skipped,
}

/// One step at a door.
#[derive(Debug, Clone, Serialize, Deserialize, InputObject, SimpleObject)]
#[graphql(name = "CommissioningStep", input_name = "CommissioningStepInput")]
pub struct CommissioningStep {
    /// What was tried.
    pub step: CommissioningStepKind,
    /// What came of it.
    pub result: CommissioningResult,
    /// More of it, in words: 500 letters at the most.
    pub note: Option<String>,
}

/// What was seen and heard at one door.
#[derive(Debug, Clone, InputObject)]
pub struct DoorCommissioningInput {
    /// Its id; sent again it is the same.
    pub commissioning_id: UuidScalar,
    /// The reader's code, as in the gateway's configuration.
    pub reader: String,
    /// When it was done.
    pub at: DateTime,
    /// The reader's firmware, as it says itself.
    pub firmware: Option<String>,
    /// What was tried, 20 at the most.
    pub steps: Vec<CommissioningStep>,
}

/// An installer's report.
#[derive(Debug, Clone, InputObject)]
pub struct GatewaySubmitCommissioningInput {
    /// Who stood at the doors.
    pub installer: String,
    /// What was seen and heard, door by door; 200 at the most.
    pub doors: Vec<DoorCommissioningInput>,
}

/// Keeps a report: all of it or nothing. What is kept already is passed over. Gives how many doors it tells of.
///
/// # Errors
/// When the store fails.
pub async fn submit(hub: &Hub, gateway: Uuid, input: &GatewaySubmitCommissioningInput) -> Answer<usize> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut check = Check::default();
            check.code("installer", &input.installer);
            if input.doors.len() > MAX_DOORS {
                check.refuse(Code::TooLong, "doors", format!("holds {MAX_DOORS} at the most"));
            }
            for (index, door) in input.doors.iter().enumerate().take(MAX_DOORS) {
                let path = format!("doors.{index}");
                check.code(&format!("{path}.reader"), &door.reader);
                if let Some(firmware) = &door.firmware {
                    check.code(&format!("{path}.firmware"), firmware);
                }
                if door.steps.is_empty() || door.steps.len() > MAX_STEPS {
                    check.refuse(
                        Code::Invalid,
                        &format!("{path}.steps"),
                        format!("must be from 1 to {MAX_STEPS} steps"),
                    );
                }
                for (at, step) in door.steps.iter().enumerate().take(MAX_STEPS) {
                    if step.note.as_ref().is_some_and(|note| note.chars().count() > MAX_NOTE) {
                        let message = format!("must have {MAX_NOTE} letters at the most");
                        check.refuse(Code::TooLong, &format!("{path}.steps.{at}.note"), message);
                    }
                }
            }
            if let Some(refusals) = check.refusals() {
                return Ok(Err(refusals));
            }
            let mut tx = attempt.write().await?;
            let known =
                tx.by_ids::<Commissioning>(input.doors.iter().map(|door| door.commissioning_id.0)).await?;
            let mut known: BTreeSet<Uuid> = known.into_iter().map(|it| it.id).collect();
            let mut fresh = Vec::new();
            for door in &input.doors {
                if known.insert(door.commissioning_id.0) {
                    fresh.push(Commissioning {
                        id: door.commissioning_id.0,
                        gateway_id: gateway,
                        reader_code: door.reader.clone(),
                        installer: input.installer.clone(),
                        at: door.at.ms(),
                        passed: door.steps.iter().all(|step| step.result == CommissioningResult::Passed),
                        firmware: door.firmware.clone(),
                        // Made of enums and strings: it cannot fail.
                        steps: serde_json::to_string(&door.steps).unwrap_or_default(),
                        received_at: hub.now().0,
                    });
                }
            }
            tx.put(&fresh).await?;
            hub.settle(tx, Touched::default(), None).await?;
            Ok(Ok(input.doors.len()))
        })
    })
    .await
}
