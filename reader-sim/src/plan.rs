//! The plan of a run: a campus, its timetable, what changes on the day, and every card presented.
//!
//! Made by `generate` (invented campus), `itc2019` (a real university's term) and `scenario` (cards at
//! exact instants); read by the driver in `campus`, which plays it, and by the oracle in `expected`, which
//! says what must come of it. All instants are milliseconds since 1970-01-01T00:00:00Z. Indices are
//! positions in the plan's own vectors. This file knows neither the gateway's nor the hub's code.

use jiff::civil::Date;
use serde::Serialize;

use crate::device::fault::Fault;

/// Milliseconds since the Unix epoch, UTC.
pub type Millis = i64;

/// Everything that a run needs to know, in advance.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The seed that everything random was drawn from.
    pub seed: u64,
    /// IANA name of the institution's time zone, for instance `Europe/London`.
    pub zone: String,
    /// How long before its start a session's window opens.
    pub opens_before_ms: i64,
    /// The buildings; each has one gateway, whose code is `GW-` and the building's code.
    pub buildings: Vec<Building>,
    /// The rooms.
    pub rooms: Vec<Room>,
    /// The readers beside the doors.
    pub readers: Vec<Reader>,
    /// The students.
    pub students: Vec<Student>,
    /// The cards that the hub is told of before the day begins, ended ones too.
    pub cards: Vec<Card>,
    /// The courses.
    pub courses: Vec<Course>,
    /// The class groups.
    pub groups: Vec<Group>,
    /// Who is in which group, and when.
    pub memberships: Vec<Membership>,
    /// The sessions as first published.
    pub sessions: Vec<Session>,
    /// The files that the hub is to import buildings, rooms, students, courses, groups, memberships and sessions from;
    /// `None` where they are entered one by one.
    pub term: Option<TermFiles>,
    /// What changes while the day is played, sorted by instant.
    pub changes: Vec<Change>,
    /// What goes wrong at readers and their lines, sorted by instant. None of it changes what must come of the plan.
    pub faults: Vec<ReaderFault>,
    /// Every card presented to a reader, sorted by instant, then reader.
    pub presentations: Vec<Presentation>,
    /// Play starts here.
    pub from_ms: Millis,
    /// Play ends here; every session that starts in `[from_ms, until_ms)` also ends before it.
    pub until_ms: Millis,
}

/// A term in the competition's format: two files, each with its name, and what they do not say.
#[derive(Debug, Clone)]
pub struct TermFiles {
    /// What there is.
    pub problem: (String, Vec<u8>),
    /// When and where each class is held, and who attends.
    pub solution: (String, Vec<u8>),
    /// The first day of week 0.
    pub start: Date,
    /// How many buildings the rooms are dealt to.
    pub buildings: usize,
}

/// Something goes wrong at a reader, or is well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderFault {
    /// When.
    pub at_ms: Millis,
    /// Index into `readers`.
    pub reader: usize,
    /// What.
    pub what: FaultChange,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultChange {
    /// From here on it is so.
    Begins(Fault),
    /// From here on it is not.
    Ends(Fault),
    /// It loses its power for a moment.
    Reboot,
    /// It is taken off its line and its power, or put back.
    Unplugged(bool),
    /// The clock of an MQTT reader goes ahead by so many milliseconds.
    ClockAhead(u64),
}

/// A building.
#[derive(Debug, Clone)]
pub struct Building {
    /// Short code, unique.
    pub code: String,
    /// Name for people.
    pub name: String,
}

/// A room.
#[derive(Debug, Clone)]
pub struct Room {
    /// Short code, unique in the campus.
    pub code: String,
    /// Index into `buildings`.
    pub building: usize,
    /// Seats.
    pub capacity: u32,
}

/// How a reader talks to its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReaderKind {
    /// An OSDP peripheral device on a serial bus.
    Osdp,
    /// An MQTT client over TCP.
    Mqtt,
}

/// A reader beside a door.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Short code, unique in the campus.
    pub code: String,
    /// Index into `rooms`.
    pub room: usize,
    /// How it talks.
    pub kind: ReaderKind,
}

/// A student.
#[derive(Debug, Clone)]
pub struct Student {
    /// Student number, unique.
    pub number: String,
    /// Invented name.
    pub name: String,
}

/// What a reader sees of a card: a count of bits, and those bits left-justified and zero-padded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Credential {
    /// How many bits of `raw` carry meaning: 26, 34, 37 (Wiegand), or 32 / 56 (a UID of 4 / 7 bytes).
    pub bits: u16,
    /// The bits, most significant first, `bits.div_ceil(8)` bytes.
    pub raw: Vec<u8>,
}

/// A card that the hub knows.
#[derive(Debug, Clone)]
pub struct Card {
    /// Index into `students`.
    pub student: usize,
    /// What readers see.
    pub credential: Credential,
    /// Valid from here (included).
    pub from_ms: Millis,
    /// Valid until here (excluded); `None` while it lasts.
    pub until_ms: Option<Millis>,
}

/// A course.
#[derive(Debug, Clone)]
pub struct Course {
    /// Short code, unique.
    pub code: String,
    /// Title.
    pub title: String,
}

/// A class group.
#[derive(Debug, Clone)]
pub struct Group {
    /// Short code, unique.
    pub code: String,
    /// Index into `courses`.
    pub course: usize,
}

/// A student's stay in a group. Dates are local; the stay runs from local midnight of `from` until local
/// midnight after `until` (the `until` day is included).
#[derive(Debug, Clone)]
pub struct Membership {
    /// Index into `groups`.
    pub group: usize,
    /// Index into `students`.
    pub student: usize,
    /// First day, `YYYY-MM-DD`.
    pub from: String,
    /// Last day, `YYYY-MM-DD`; `None` while it lasts.
    pub until: Option<String>,
}

/// A session as first published.
#[derive(Debug, Clone)]
pub struct Session {
    /// The id in the timetabling system, unique.
    pub external_id: String,
    /// Title.
    pub title: String,
    /// Index into `courses`.
    pub course: usize,
    /// Start.
    pub start_ms: Millis,
    /// End, after the start.
    pub end_ms: Millis,
    /// Indices into `rooms`; empty when it needs none.
    pub rooms: Vec<usize>,
    /// Indices into `groups`; empty when it has no class list.
    pub groups: Vec<usize>,
    /// Published as cancelled.
    pub cancelled: bool,
}

/// Something that the timetable office does while the day is played.
#[derive(Debug, Clone)]
pub struct Change {
    /// When it takes effect at the hub; the driver waits until every gateway has it before time runs on.
    pub at_ms: Millis,
    /// What is done.
    pub what: ChangeKind,
}

/// What may change.
#[derive(Debug, Clone)]
pub enum ChangeKind {
    /// The session is cancelled.
    Cancel {
        /// Index into `sessions`.
        session: usize,
    },
    /// A cancelled session takes place after all.
    Reinstate {
        /// Index into `sessions`.
        session: usize,
    },
    /// From `at_ms` on the session is held in other rooms (in the old ones until then).
    Move {
        /// Index into `sessions`.
        session: usize,
        /// Indices into `rooms`.
        rooms: Vec<usize>,
    },
    /// The session gets other times.
    Reschedule {
        /// Index into `sessions`.
        session: usize,
        /// New start.
        start_ms: Millis,
        /// New end.
        end_ms: Millis,
    },
    /// A membership is entered (it may begin earlier in the day, or in the past).
    Join(Membership),
    /// A new card is handed out: every card of the student that is still valid ends at `at_ms`, and this one
    /// is valid from then.
    Reissue {
        /// Index into `students`.
        student: usize,
        /// What readers see of the new card.
        credential: Credential,
    },
}

/// One card held to one reader.
#[derive(Debug, Clone)]
pub struct Presentation {
    /// When.
    pub at_ms: Millis,
    /// Index into `readers`.
    pub reader: usize,
    /// What the reader sees.
    pub credential: Credential,
    /// Who holds it, for the trace: index into `students`; `None` for a visitor.
    pub student: Option<usize>,
    /// Why it happens, for the trace: `on-time`, `late`, `twice`, `wrong-room`, `old-card`, `visitor`, …
    pub why: &'static str,
}

/// Colours that a reader's light can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Colour {
    /// Dark.
    Off,
    /// A window is open.
    Blue,
    /// Recorded.
    Green,
    /// Not recorded.
    Red,
    /// Kept, undecided.
    Amber,
}
