//! All writes but the gateways' own: estate, people and timetable one by one and in bulk, and marks.
//!
//! A bulk is all or nothing. Things are named by what people call them (codes, numbers, external ids), so that
//! an integrator can write what the university's systems hold without asking for ids first.

use async_graphql::{Context, InputObject, Object, Result, SimpleObject};
use uuid::Uuid;

use super::attendance::AttendanceRecord;
use super::context::{DECIDERS, Needs, WRITERS, caller, fault, hub};
use super::estate::{Building, Reader, Room};
use super::gateway::Gateway;
use super::id::Kind;
use super::loader;
use super::payload::{UserError, user_errors};
use super::people::{Card, Student};
use super::register::Register;
use super::session::{Course, Group, Session, StudentGroupMembership};
use crate::service::bulk;
use crate::service::estate::{SaveBuilding, SaveGateway, SaveReader, SaveRoom};
use crate::service::marks::{self, AttendanceMark};
use crate::service::memberships::{self, RemoveMembership, SaveMembership};
use crate::service::people::{SaveCard, SaveStudent};
use crate::service::refusal::{Answer, Refusal};
use crate::service::timetable::{SaveCourse, SaveGroup, SaveSession};
use crate::store::entity::{self, Entity};

/// The most things that one bulk writes.
const MAX_BULK: usize = 10_000;

/// The part of the API that writes estate, people and timetable.
#[derive(Default)]
pub struct Saves;

/// What a write of one thing saved, read back; or why it was turned down.
async fn saved<E: Entity>(ctx: &Context<'_>, answer: Answer<Vec<Uuid>>) -> Result<(Vec<E>, Vec<UserError>)> {
    match answer.map_err(|error| fault(&error))? {
        Ok(ids) => Ok((loader::many(ctx, &ids).await?, Vec::new())),
        Err(refusals) => Ok((Vec::new(), user_errors(of_one(refusals)))),
    }
}

/// Refusals of a bulk of one, with paths into the one input: without the list's name and index.
fn of_one(mut refusals: Vec<Refusal>) -> Vec<Refusal> {
    for refusal in &mut refusals {
        refusal.path.drain(..refusal.path.len().min(2));
    }
    refusals
}

fn within_bulk(name: &str, length: usize) -> Result<()> {
    if length <= MAX_BULK {
        return Ok(());
    }
    let message = format!("'{name}' holds {MAX_BULK} at the most; send the rest in another bulk");
    Err(super::context::coded("BAD_USER_INPUT", message))
}

macro_rules! saves {
    ($(
        $one:ident, $many:ident, $plural:ident: $input:ty => $node:ident of $entity:ty,
        $(#[$one_doc:meta])* $one_payload:ident { $one_field:ident },
        $(#[$many_input_doc:meta])* $many_input:ident,
        $(#[$many_doc:meta])* $many_payload:ident;
    )*) => {
        $(
            $(#[$one_doc])*
            #[derive(SimpleObject)]
            pub struct $one_payload {
                /// As it now is; null when it was turned down.
                $one_field: Option<$node>,
                /// Why it was turned down; empty exactly when it took effect.
                errors: Vec<UserError>,
            }

            $(#[$many_input_doc])*
            #[derive(InputObject)]
            pub struct $many_input {
                /// The things to save, 10000 at the most: all of them or none.
                $plural: Vec<$input>,
            }

            $(#[$many_doc])*
            #[derive(SimpleObject)]
            pub struct $many_payload {
                /// How many were saved; 0 when the bulk was turned down.
                saved: i32,
                /// As they now are, the first 1000, in the order given.
                $plural: Vec<$node>,
                /// Why the bulk was turned down; empty exactly when it took effect.
                errors: Vec<UserError>,
            }
        )*

        #[Object]
        impl Saves {
            $(
                $(#[$one_doc])*
                #[graphql(guard = "Needs(WRITERS)")]
                async fn $one(&self, ctx: &Context<'_>, #[graphql(desc = "What to save.")] input: $input) -> Result<$one_payload> {
                    let answer = bulk::save(hub(ctx)?, caller(ctx)?, &[input]).await;
                    let (things, errors) = saved::<$entity>(ctx, answer).await?;
                    Ok($one_payload { $one_field: things.into_iter().next().map($node), errors })
                }

                $(#[$many_doc])*
                #[graphql(guard = "Needs(WRITERS)")]
                async fn $many(&self, ctx: &Context<'_>, #[graphql(desc = "What to save.")] input: $many_input) -> Result<$many_payload> {
                    within_bulk(stringify!($plural), input.$plural.len())?;
                    let answer = bulk::save(hub(ctx)?, caller(ctx)?, &input.$plural).await;
                    let answer = answer.map_err(|error| fault(&error))?;
                    let saved = answer.as_ref().map_or(0, |ids| i32::try_from(ids.len()).unwrap_or(i32::MAX));
                    let (things, errors) = match answer {
                        Ok(ids) if ctx.look_ahead().field(stringify!($plural)).exists() => {
                            let shown = &ids[..ids.len().min(1000)];
                            (loader::many::<$entity>(ctx, shown).await?, Vec::new())
                        }
                        Ok(_) => (Vec::new(), Vec::new()),
                        Err(refusals) => (Vec::new(), user_errors(refusals)),
                    };
                    Ok($many_payload { saved, $plural: things.into_iter().map($node).collect(), errors })
                }
            )*

            /// Takes stays in groups back that were entered by mistake, all of them or none. A stay that is over is
            /// saved with its last day instead. Marks are derived anew; what a door has promised keeps counting.
            #[graphql(guard = "Needs(WRITERS)")]
            async fn remove_memberships(&self, ctx: &Context<'_>, #[graphql(desc = "The stays.")] input: RemoveMembershipsInput) -> Result<RemoveMembershipsPayload> {
                within_bulk("memberships", input.memberships.len())?;
                let answer = memberships::remove_memberships(hub(ctx)?, caller(ctx)?, &input.memberships).await;
                Ok(match answer.map_err(|error| fault(&error))? {
                    Ok(gone) => RemoveMembershipsPayload { removed: i32::try_from(gone.len()).unwrap_or(i32::MAX), errors: Vec::new() },
                    Err(refusals) => RemoveMembershipsPayload { removed: 0, errors: user_errors(refusals) },
                })
            }
        }
    };
}

/// Stays to take back.
#[derive(InputObject)]
pub struct RemoveMembershipsInput {
    /// The stays, 10000 at the most: all of them or none.
    memberships: Vec<RemoveMembership>,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct RemoveMembershipsPayload {
    /// How many were taken back; 0 when the bulk was turned down.
    removed: i32,
    /// Why the bulk was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

saves! {
    save_building, save_buildings, buildings: SaveBuilding => Building of entity::Building,
    /// Saves a building, by its code.
    SaveBuildingPayload { building },
    /// Buildings to save.
    SaveBuildingsInput,
    /// Saves buildings, by their codes.
    SaveBuildingsPayload;

    save_room, save_rooms, rooms: SaveRoom => Room of entity::Room,
    /// Saves a room, by its code.
    SaveRoomPayload { room },
    /// Rooms to save.
    SaveRoomsInput,
    /// Saves rooms, by their codes.
    SaveRoomsPayload;

    save_gateway, save_gateways, gateways: SaveGateway => Gateway of entity::Gateway,
    /// Saves a gateway, by its code.
    SaveGatewayPayload { gateway },
    /// Gateways to save.
    SaveGatewaysInput,
    /// Saves gateways, by their codes.
    SaveGatewaysPayload;

    save_reader, save_readers, readers: SaveReader => Reader of entity::Reader,
    /// Saves a reader, by its code.
    SaveReaderPayload { reader },
    /// Readers to save.
    SaveReadersInput,
    /// Saves readers, by their codes.
    SaveReadersPayload;

    save_student, save_students, students: SaveStudent => Student of entity::Student,
    /// Saves a student, by their number.
    SaveStudentPayload { student },
    /// Students to save.
    SaveStudentsInput,
    /// Saves students, by their numbers.
    SaveStudentsPayload;

    save_card, save_cards, cards: SaveCard => Card of entity::Card,
    /// Saves a card, by its code.
    SaveCardPayload { card },
    /// Cards to save.
    SaveCardsInput,
    /// Saves cards, by their codes.
    SaveCardsPayload;

    save_course, save_courses, courses: SaveCourse => Course of entity::Course,
    /// Saves a course, by its code.
    SaveCoursePayload { course },
    /// Courses to save.
    SaveCoursesInput,
    /// Saves courses, by their codes.
    SaveCoursesPayload;

    save_group, save_groups, groups: SaveGroup => Group of entity::Group,
    /// Saves a group, by its code.
    SaveGroupPayload { group },
    /// Groups to save.
    SaveGroupsInput,
    /// Saves groups, by their codes.
    SaveGroupsPayload;

    save_membership, save_memberships, memberships: SaveMembership => StudentGroupMembership of entity::Membership,
    /// Saves a stay in a group, by group, student and first day.
    SaveMembershipPayload { membership },
    /// Stays to save.
    SaveMembershipsInput,
    /// Saves stays in groups, by group, student and first day.
    SaveMembershipsPayload;

    save_session, save_sessions, sessions: SaveSession => Session of entity::Session,
    /// Saves a session, by its external id.
    SaveSessionPayload { session },
    /// Sessions to save.
    SaveSessionsInput,
    /// Saves sessions, by their external ids.
    SaveSessionsPayload;
}

/// New statuses for entries of one register.
#[derive(InputObject)]
pub struct MarkAttendanceInput {
    /// The register.
    register_id: async_graphql::ID,
    /// The register's revision that the caller read; turned down when it has changed since.
    expected_revision: Option<i64>,
    /// The marks, all of them or none.
    marks: Vec<AttendanceMark>,
    /// Why; stays in the record's history.
    reason: String,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct MarkAttendancePayload {
    /// The register as it now is; null when it was turned down.
    register: Option<Register>,
    /// The marks as they now are.
    records: Vec<AttendanceRecord>,
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

/// Entries of one register of which the rules are to decide again.
#[derive(InputObject)]
pub struct ClearMarksInput {
    /// The register.
    register_id: async_graphql::ID,
    /// The register's revision that the caller read; turned down when it has changed since.
    expected_revision: Option<i64>,
    /// The students of whom a person decided, all of them or none.
    student_ids: Vec<async_graphql::ID>,
    /// Why; stays in the record's history.
    reason: String,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct ClearMarksPayload {
    /// The register as it now is; null when it was turned down.
    register: Option<Register>,
    /// The marks as the rules have them; students who are not on the class list have none.
    records: Vec<AttendanceRecord>,
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

/// The part of the API that corrects registers.
#[derive(Default)]
pub struct Marks;

#[Object]
impl Marks {
    /// Corrects some entries of a register, all of them or none, with a reason that stays in the record's
    /// history.
    #[graphql(guard = "Needs(DECIDERS)")]
    async fn mark_attendance(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The marks.")] input: MarkAttendanceInput,
    ) -> Result<MarkAttendancePayload> {
        let register = Kind::Register.named(&input.register_id);
        let marks: Vec<(Option<Uuid>, &AttendanceMark)> =
            input.marks.iter().map(|mark| (Kind::Student.named(&mark.student_id), mark)).collect();
        let answer =
            marks::mark(hub(ctx)?, caller(ctx)?, register, input.expected_revision, &marks, &input.reason)
                .await;
        Ok(match answer.map_err(|error| fault(&error))? {
            Ok((session, records)) => MarkAttendancePayload {
                register: Some(Register(session)),
                records: records.into_iter().map(AttendanceRecord::of).collect(),
                errors: Vec::new(),
            },
            Err(refusals) => {
                MarkAttendancePayload { register: None, records: Vec::new(), errors: user_errors(refusals) }
            }
        })
    }

    /// Takes back what persons decided of some entries of a register, all of them or none: the rules decide of them
    /// again. Who took it back and why stays in the records' history.
    #[graphql(guard = "Needs(DECIDERS)")]
    async fn clear_marks(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The entries.")] input: ClearMarksInput,
    ) -> Result<ClearMarksPayload> {
        let register = Kind::Register.named(&input.register_id);
        let students: Vec<Option<Uuid>> =
            input.student_ids.iter().map(|id| Kind::Student.named(id)).collect();
        let (revision, reason) = (input.expected_revision, &input.reason);
        let answer = marks::clear(hub(ctx)?, caller(ctx)?, register, revision, &students, reason).await;
        Ok(match answer.map_err(|error| fault(&error))? {
            Ok((session, records)) => ClearMarksPayload {
                register: Some(Register(session)),
                records: records.into_iter().map(AttendanceRecord::of).collect(),
                errors: Vec::new(),
            },
            Err(refusals) => {
                ClearMarksPayload { register: None, records: Vec::new(), errors: user_errors(refusals) }
            }
        })
    }
}
