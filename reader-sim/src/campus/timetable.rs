//! A plan as the API takes it: inputs for the first load, and for what changes on the day.

use anyhow::Context;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::api::{Api, bulk};
use crate::plan::{Card, Change, ChangeKind, Credential, Membership, Millis, Plan, ReaderKind, Session};

/// An instant as the API takes it.
pub(super) fn instant(ms: Millis) -> anyhow::Result<String> {
    Ok(format!("{:.3}", Timestamp::from_millisecond(ms).context("an instant outside the calendar")?))
}

/// Bytes as hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn credential(credential: &Credential) -> Value {
    json!({"bits": credential.bits, "raw": hex(&credential.raw)})
}

/// The plan's timetable as it now stands at the hub: sessions and cards change while the day is played.
pub struct Published {
    sessions: Vec<Session>,
    cards: Vec<Card>,
}

impl Published {
    /// The plan as first published.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self { sessions: plan.sessions.clone(), cards: plan.cards.clone() }
    }

    fn session(&self, plan: &Plan, index: usize) -> anyhow::Result<Value> {
        let session = &self.sessions[index];
        Ok(json!({
            "externalId": session.external_id,
            "title": session.title,
            "course": plan.courses[session.course].code,
            "startsAt": instant(session.start_ms)?,
            "endsAt": instant(session.end_ms)?,
            "rooms": session.rooms.iter().map(|room| &plan.rooms[*room].code).collect::<Vec<_>>(),
            "groups": session.groups.iter().map(|group| &plan.groups[*group].code).collect::<Vec<_>>(),
            "cancelled": session.cancelled,
        }))
    }

    fn card(&self, plan: &Plan, index: usize) -> anyhow::Result<Value> {
        let card = &self.cards[index];
        Ok(json!({
            "code": format!("CARD-{index}"),
            "student": plan.students[card.student].number,
            "credentials": [credential(&card.credential)],
            "from": instant(card.from_ms)?,
            "until": card.until_ms.map(instant).transpose()?,
        }))
    }

    /// Loads everything into an empty hub.
    ///
    /// # Errors
    /// When the hub turns something down.
    pub async fn load(&self, plan: &Plan, api: &mut Api) -> anyhow::Result<()> {
        match &plan.term {
            Some(term) => super::term::import(api, term).await?,
            None => self.enter(plan, api).await?,
        }
        let gateways =
            plan.buildings.iter().map(|it| json!({"code": gateway_code(&it.code), "building": it.code}));
        bulk(api, "saveGateways", "SaveGatewaysInput", "gateways", gateways.collect()).await?;
        let readers = plan.readers.iter().map(|reader| {
            let room = &plan.rooms[reader.room];
            json!({
                "code": reader.code,
                "gateway": gateway_code(&plan.buildings[room.building].code),
                "room": room.code,
                "kind": match reader.kind { ReaderKind::Osdp => "OSDP", ReaderKind::Mqtt => "MQTT" },
            })
        });
        bulk(api, "saveReaders", "SaveReadersInput", "readers", readers.collect()).await?;
        let cards =
            (0..self.cards.len()).map(|index| self.card(plan, index)).collect::<anyhow::Result<_>>()?;
        bulk(api, "saveCards", "SaveCardsInput", "cards", cards).await
    }

    /// Enters people, places and timetable one by one.
    async fn enter(&self, plan: &Plan, api: &mut Api) -> anyhow::Result<()> {
        let buildings = plan.buildings.iter().map(|it| json!({"code": it.code, "name": it.name})).collect();
        bulk(api, "saveBuildings", "SaveBuildingsInput", "buildings", buildings).await?;
        let rooms = plan.rooms.iter().map(|room| {
            json!({"code": room.code, "building": plan.buildings[room.building].code, "capacity": room.capacity})
        });
        bulk(api, "saveRooms", "SaveRoomsInput", "rooms", rooms.collect()).await?;
        let students = plan.students.iter().map(|it| json!({"number": it.number, "name": it.name})).collect();
        bulk(api, "saveStudents", "SaveStudentsInput", "students", students).await?;
        let courses = plan.courses.iter().map(|it| json!({"code": it.code, "title": it.title})).collect();
        bulk(api, "saveCourses", "SaveCoursesInput", "courses", courses).await?;
        let groups =
            plan.groups.iter().map(|it| json!({"code": it.code, "course": plan.courses[it.course].code}));
        bulk(api, "saveGroups", "SaveGroupsInput", "groups", groups.collect()).await?;
        let stays = plan.memberships.iter().map(|stay| membership(plan, stay)).collect();
        bulk(api, "saveMemberships", "SaveMembershipsInput", "memberships", stays).await?;
        let sessions =
            (0..self.sessions.len()).map(|index| self.session(plan, index)).collect::<anyhow::Result<_>>()?;
        bulk(api, "saveSessions", "SaveSessionsInput", "sessions", sessions).await
    }

    /// Does what the timetable office does.
    ///
    /// # Errors
    /// When the hub turns it down.
    pub async fn apply(&mut self, plan: &Plan, change: &Change, api: &mut Api) -> anyhow::Result<()> {
        let session = match &change.what {
            ChangeKind::Cancel { session } => {
                self.sessions[*session].cancelled = true;
                *session
            }
            ChangeKind::Reinstate { session } => {
                self.sessions[*session].cancelled = false;
                *session
            }
            ChangeKind::Move { session, rooms } => {
                self.sessions[*session].rooms.clone_from(rooms);
                *session
            }
            ChangeKind::Reschedule { session, start_ms, end_ms } => {
                self.sessions[*session].start_ms = *start_ms;
                self.sessions[*session].end_ms = *end_ms;
                *session
            }
            ChangeKind::Join(stay) => {
                return api.write("saveMembership", "MembershipInput", membership(plan, stay)).await;
            }
            ChangeKind::Reissue { student, credential } => {
                return self.reissue(plan, *student, credential, change.at_ms, api).await;
            }
        };
        api.write("saveSession", "SessionInput", self.session(plan, session)?).await
    }

    async fn reissue(
        &mut self,
        plan: &Plan,
        student: usize,
        credential: &Credential,
        at: Millis,
        api: &mut Api,
    ) -> anyhow::Result<()> {
        let mut changed = Vec::new();
        for (index, card) in self.cards.iter_mut().enumerate() {
            let valid = card.from_ms <= at && card.until_ms.is_none_or(|until| at < until);
            if card.student == student && valid {
                card.until_ms = Some(at);
                changed.push(index);
            }
        }
        changed.push(self.cards.len());
        self.cards.push(Card { student, credential: credential.clone(), from_ms: at, until_ms: None });
        let cards =
            changed.into_iter().map(|index| self.card(plan, index)).collect::<anyhow::Result<Vec<_>>>()?;
        api.write("saveCards", "SaveCardsInput", json!({ "cards": cards })).await
    }
}

/// The code of a building's gateway.
#[must_use]
pub fn gateway_code(building: &str) -> String {
    format!("GW-{building}")
}

fn membership(plan: &Plan, stay: &Membership) -> Value {
    json!({
        "group": plan.groups[stay.group].code,
        "student": plan.students[stay.student].number,
        "from": stay.from,
        "until": stay.until,
    })
}
