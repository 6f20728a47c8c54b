//! Global ids: opaque to callers, a kind and a UUID to us; and the interface that all things with one share.

use async_graphql::{ID, Interface};
use uuid::Uuid;

use super::alert::Alert;
use super::attendance::AttendanceRecord;
use super::correction::CorrectionProposal;
use super::estate::{Building, Reader, Room};
use super::export::Export;
use super::gateway::Gateway;
use super::import::Import;
use super::people::{Card, Student};
use super::register::Register;
use super::session::{Course, Group, Session, StudentGroupMembership};
use super::source::CalendarSource;
use super::swipe::Swipe;
use super::webhook::{Webhook, WebhookDelivery};

/// Anything with a global id. Ids are opaque, stable for ever, and never re-used.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "Global id. Do not parse it."))]
pub enum Node {
    /// Something that a person should look at.
    Alert(Alert),
    /// One mark of one register.
    AttendanceRecord(AttendanceRecord),
    /// A building.
    Building(Building),
    /// A calendar that is fetched.
    CalendarSource(CalendarSource),
    /// A card.
    Card(Card),
    /// Corrections that wait for a second person.
    CorrectionProposal(CorrectionProposal),
    /// A course.
    Course(Course),
    /// An export.
    Export(Export),
    /// A gateway.
    Gateway(Gateway),
    /// A group.
    Group(Group),
    /// An import.
    Import(Import),
    /// A reader.
    Reader(Reader),
    /// A register.
    Register(Register),
    /// A room.
    Room(Room),
    /// A session.
    Session(Session),
    /// A student.
    Student(Student),
    /// A stay in a group.
    StudentGroupMembership(StudentGroupMembership),
    /// A swipe.
    Swipe(Swipe),
    /// A webhook.
    Webhook(Webhook),
    /// One event on its way to a webhook.
    WebhookDelivery(WebhookDelivery),
}

/// The kinds of things that have a global id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An alert.
    Alert,
    /// A mark.
    AttendanceRecord,
    /// A building.
    Building,
    /// A calendar that is fetched.
    CalendarSource,
    /// A card.
    Card,
    /// Corrections that wait for a second person.
    CorrectionProposal,
    /// A course.
    Course,
    /// An export.
    Export,
    /// A gateway.
    Gateway,
    /// A group.
    Group,
    /// An import.
    Import,
    /// A stay in a group.
    Membership,
    /// A reader.
    Reader,
    /// A register.
    Register,
    /// A room.
    Room,
    /// A session.
    Session,
    /// A student.
    Student,
    /// A swipe.
    Swipe,
    /// A file that came for an import.
    Upload,
    /// A webhook.
    Webhook,
    /// One event on its way to a webhook.
    WebhookDelivery,
}

impl Kind {
    const ALL: [(Self, &'static str); 21] = [
        (Self::Alert, "alt"),
        (Self::AttendanceRecord, "att"),
        (Self::Building, "bld"),
        (Self::CalendarSource, "cal"),
        (Self::Card, "crd"),
        (Self::CorrectionProposal, "cor"),
        (Self::Course, "crs"),
        (Self::Export, "exp"),
        (Self::Gateway, "gtw"),
        (Self::Group, "grp"),
        (Self::Import, "imp"),
        (Self::Membership, "mem"),
        (Self::Reader, "rdr"),
        (Self::Register, "reg"),
        (Self::Room, "rom"),
        (Self::Session, "ses"),
        (Self::Student, "stu"),
        (Self::Swipe, "swp"),
        (Self::Upload, "upl"),
        (Self::Webhook, "whk"),
        (Self::WebhookDelivery, "whd"),
    ];

    /// The global id of a thing of this kind.
    #[must_use]
    pub fn id(self, id: Uuid) -> ID {
        let prefix = Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, prefix)| prefix);
        ID(format!("{prefix}_{}", id.simple()))
    }

    /// What a global id names, `None` when it is none of ours.
    #[must_use]
    pub fn of(id: &str) -> Option<(Self, Uuid)> {
        let (prefix, rest) = id.split_once('_')?;
        let kind = Self::ALL.iter().find(|(_, word)| *word == prefix)?.0;
        (rest.len() == 32).then(|| Uuid::try_parse(rest).ok()).flatten().map(|id| (kind, id))
    }

    /// The UUIDs of the ids of this kind among `ids`; others name nothing.
    #[must_use]
    pub fn all_of(self, ids: &[ID]) -> Vec<Uuid> {
        ids.iter().filter_map(|id| self.named(id)).collect()
    }

    /// What a global id of this kind names, `None` when it is another's or none of ours.
    #[must_use]
    pub fn named(self, id: &str) -> Option<Uuid> {
        Self::of(id).filter(|(kind, _)| *kind == self).map(|(_, id)| id)
    }
}
