//! The things that have a table of their own, one struct each, and how they are read and written whole.
//!
//! A struct's fields are its table's columns, in order; the first is the id.

use uuid::Uuid;

use super::{Boxed, FromValue, Row, StoreError, Tx, Value};

/// A thing with a table of its own.
pub trait Entity: Sized + Clone + Send + Sync + 'static {
    /// The table.
    const TABLE: &'static str;
    /// Its columns, the id first, separated by commas.
    const COLUMNS: &'static str;
    /// The column by which people name it, unique.
    const KEY: &'static str;
    /// Reads it from a row of `COLUMNS`.
    ///
    /// # Errors
    /// When a column holds what this program never writes.
    fn read(row: &mut Row) -> Result<Self, StoreError>;
    /// Its values, in the order of `COLUMNS`.
    fn values(&self) -> Vec<Value>;
    /// Its id.
    fn id(&self) -> Uuid;
}

impl Tx {
    /// Reads things by id, in no order, leaving out what is not there.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn by_ids<'a, E: Entity>(
        &'a mut self,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Boxed<'a, Result<Vec<E>, StoreError>> {
        self.by_column("id", ids.into_iter().map(Value::from))
    }

    /// Reads things by the name that people use.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn by_keys<'a, 'k, E: Entity>(
        &'a mut self,
        keys: impl IntoIterator<Item = &'k str>,
    ) -> Boxed<'a, Result<Vec<E>, StoreError>> {
        self.by_column(E::KEY, keys.into_iter().map(Value::from))
    }

    /// Reads things by any column.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn by_column<'a, E: Entity>(
        &'a mut self,
        column: &'a str,
        values: impl IntoIterator<Item = Value>,
    ) -> Boxed<'a, Result<Vec<E>, StoreError>> {
        let values: Vec<Value> = values.into_iter().collect();
        Box::pin(async move {
            let sql = format!(
                "SELECT {} FROM {} WHERE {column} IN ({{}}) ORDER BY {}",
                E::COLUMNS,
                E::TABLE,
                E::KEY
            );
            self.fetch_in(&sql, &[], values).await?.iter_mut().map(E::read).collect()
        })
    }

    /// Reads all things of a kind, by key.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn all<E: Entity>(&mut self) -> Result<Vec<E>, StoreError> {
        let sql = format!("SELECT {} FROM {} ORDER BY {}", E::COLUMNS, E::TABLE, E::KEY);
        self.fetch(&sql, Vec::new()).await?.iter_mut().map(E::read).collect()
    }

    /// Writes things whole: new ones in, known ids over.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn put<E: Entity>(&mut self, things: &[E]) -> Result<(), StoreError> {
        let updates: Vec<String> =
            E::COLUMNS.split(", ").skip(1).map(|column| format!("{column} = excluded.{column}")).collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES {{}} ON CONFLICT (id) DO UPDATE SET {}",
            E::TABLE,
            E::COLUMNS,
            updates.join(", ")
        );
        self.insert(&sql, things.iter().map(Entity::values).collect()).await?;
        Ok(())
    }
}

macro_rules! entity {
    ($(#[$doc:meta])* $name:ident in $table:literal by $key:literal {
        $(#[$id_doc:meta])* id: Uuid,
        $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $(#[$id_doc])* pub id: Uuid,
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Entity for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static str = concat!("id", $(", ", stringify!($field)),*);
            const KEY: &'static str = $key;

            fn read(row: &mut Row) -> Result<Self, StoreError> {
                Ok(Self {
                    id: row.next(concat!($table, ".id"))?,
                    $($field: row.next(concat!($table, ".", stringify!($field)))?,)*
                })
            }

            fn values(&self) -> Vec<Value> {
                vec![self.id.into(), $(self.$field.clone().into()),*]
            }

            fn id(&self) -> Uuid {
                self.id
            }
        }
    };
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, async_graphql::Enum)]
        pub enum $name { $($(#[$word_doc])* $word,)* }

        impl $name {
            /// The word that is stored and sent.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$word => $text,)* }
            }

            /// From the word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($text => Some(Self::$word),)* _ => None }
            }
        }

        impl From<$name> for Value {
            fn from(value: $name) -> Self {
                value.word().into()
            }
        }

        impl FromValue for $name {
            fn from_value(value: Value) -> Result<Self, Value> {
                match &value {
                    Value::Text(word) => Self::from_word(word).ok_or(value),
                    _ => Err(value),
                }
            }
        }
    };
}

words! {
    /// How a reader talks to its gateway.
    ReaderKind {
        /// A serial reader that prints card numbers.
        Ascii = "ASCII",
        /// An MQTT client inside the building.
        Mqtt = "MQTT",
        /// A peripheral device on a serial bus (SIA OSDP v2.2).
        Osdp = "OSDP",
    }
}
words! {
    /// Whether a student is expected in class.
    StudentState {
        /// Is studying.
        Active = "ACTIVE",
        /// Has finished.
        Completed = "COMPLETED",
        /// Has paused.
        Interrupted = "INTERRUPTED",
        /// Has left.
        Withdrawn = "WITHDRAWN",
    }
}
words! {
    /// What a session is.
    SessionKind {
        /// An examination.
        Examination = "EXAMINATION",
        /// A laboratory class.
        Laboratory = "LABORATORY",
        /// A lecture.
        Lecture = "LECTURE",
        /// Something else.
        Other = "OTHER",
        /// A seminar.
        Seminar = "SEMINAR",
        /// A tutorial.
        Tutorial = "TUTORIAL",
        /// A workshop.
        Workshop = "WORKSHOP",
    }
}
words! {
    /// Why somebody is in a group.
    MembershipReason {
        /// Enrolled in the course.
        Enrolment = "ENROLMENT",
        /// Came with an import.
        Import = "IMPORT",
        /// Moved from another group.
        Transfer = "TRANSFER",
        /// Visits for a while.
        Visitor = "VISITOR",
    }
}
words! {
    /// Which sessions one swipe is credited to when several windows are open in the room.
    OverlapRule {
        /// Each one whose class list has the student.
        EveryOpen = "EVERY_OPEN",
        /// Of those, only the one whose start is nearest.
        NearestStart = "NEAREST_START",
    }
}
words! {
    /// What became of a swipe.
    SwipeDecision {
        /// It counts for no session.
        NotRecorded = "NOT_RECORDED",
        /// It is kept, and decided later.
        Pending = "PENDING",
        /// It counts for at least one session.
        Recorded = "RECORDED",
    }
}
words! {
    /// Why. Grows over time: treat unknown ones by their decision.
    SwipeReason {
        /// Credited, and every session credited already was.
        AlreadyRecorded = "ALREADY_RECORDED",
        /// The card was valid once and is not any more.
        CardCancelled = "CARD_CANCELLED",
        /// The card shows another number each time (a random UID).
        CardRandomUid = "CARD_RANDOM_UID",
        /// No card of this number is known, or it is not valid yet.
        CardUnknown = "CARD_UNKNOWN",
        /// The reader gave something that is no card.
        CardUnreadable = "CARD_UNREADABLE",
        /// The gateway's clock could not tell which.
        ClockUntrusted = "CLOCK_UNTRUSTED",
        /// None of the open sessions has the student on its class list.
        NotOnClassList = "NOT_ON_CLASS_LIST",
        /// None of the open sessions has a class list.
        NoClassList = "NO_CLASS_LIST",
        /// No session's window was open in the room.
        NoOpenSession = "NO_OPEN_SESSION",
        /// Credited to at least one session.
        Recorded = "RECORDED",
        /// Only a session that was called off would have been open.
        SessionCancelled = "SESSION_CANCELLED",
        /// The gateway could not make the swipe durable.
        StoreFault = "STORE_FAULT",
    }
}
words! {
    /// Colours of the light. BLUE, steady: a session's window is open, swipe now. GREEN, flashed: attendance
    /// recorded. RED, flashed: not recorded. AMBER, flashed: the swipe is kept and will be decided later,
    /// because the gateway cannot trust its clock. OFF: no window is open.
    LightColour {
        /// Kept, decided later.
        Amber = "AMBER",
        /// A window is open.
        Blue = "BLUE",
        /// Recorded.
        Green = "GREEN",
        /// Dark.
        Off = "OFF",
        /// Not recorded.
        Red = "RED",
    }
}
words! {
    /// Degrees of belief in a clock. HOLDOVER: it was in step and runs free since. UNTRUSTED: its times are
    /// kept as said, marked, and not used to decide lateness.
    ClockTrust {
        /// Runs free since it was last in step.
        Holdover = "HOLDOVER",
        /// In step.
        Synced = "SYNCED",
        /// Only a lower bound is known.
        Untrusted = "UNTRUSTED",
    }
}
words! {
    /// Attendance. EXPECTED: not yet decided, because the session has not ended or a gateway has not yet
    /// reported past its end. NOT_REQUIRED: on the list and excepted. NO_REGISTER: attendance could not be
    /// taken, so nobody is absent. CANCELLED: the session did not take place.
    AttendanceStatus {
        /// Was not there.
        Absent = "ABSENT",
        /// Excused.
        AuthorisedAbsence = "AUTHORISED_ABSENCE",
        /// The session did not take place.
        Cancelled = "CANCELLED",
        /// Not yet decided.
        Expected = "EXPECTED",
        /// On the list, and excepted.
        NotRequired = "NOT_REQUIRED",
        /// Attendance could not be taken.
        NoRegister = "NO_REGISTER",
        /// Was there.
        Present = "PRESENT",
    }
}
words! {
    /// What set the status.
    AttendanceSource {
        /// An authorised absence.
        Absence = "ABSENCE",
        /// A person.
        Manual = "MANUAL",
        /// A swipe that was shown green at the door.
        Reader = "READER",
        /// A swipe that was shown red or amber, and put right later.
        Reconciled = "RECONCILED",
        /// The rules.
        Rule = "RULE",
    }
}
words! {
    /// What is stored of a register's life; the rest follows from the time.
    StoredState {
        /// Called off.
        Cancelled = "CANCELLED",
        /// All swipes are in.
        Final = "FINAL",
        /// Could not be taken.
        NoRegister = "NO_REGISTER",
        /// Not over, or not all swipes are in.
        Pending = "PENDING",
    }
}

entity! {
    /// A credential of a program or person. The token itself is never stored.
    Token in "access_token" by "name" {
        /// Its id.
        id: Uuid,
        /// Who uses it.
        name: String,
        /// SHA-256 of the token.
        hash: Vec<u8>,
        /// Roles, separated by commas.
        roles: String,
        /// The gateway that it speaks for.
        gateway_id: Option<Uuid>,
        /// When it was made.
        created_at: i64,
        /// When it ends.
        expires_at: Option<i64>,
        /// When it was taken back.
        revoked_at: Option<i64>,
    }
}
entity! {
    /// A building, with the secret under which its gateways look cards up.
    Building in "building" by "code" {
        /// Its id.
        id: Uuid,
        /// Its code.
        code: String,
        /// Its name.
        name: String,
        /// Which of the building's keys is in force.
        key_epoch: i64,
        /// The key: 32 bytes. Never in a log.
        key_secret: Vec<u8>,
        /// The revision of the building's last feed event.
        feed_revision: i64,
    }
}
entity! {
    /// A room.
    Room in "room" by "code" {
        /// Its id.
        id: Uuid,
        /// Its code.
        code: String,
        /// Its name.
        name: String,
        /// Where it is.
        building_id: Uuid,
        /// Its seats.
        capacity: Option<i64>,
    }
}
entity! {
    /// A gateway and what it last said.
    Gateway in "gateway" by "code" {
        /// Its id.
        id: Uuid,
        /// Its code.
        code: String,
        /// Where it is.
        building_id: Uuid,
        /// When it first spoke to the hub.
        enrolled_at: Option<i64>,
        /// Its software.
        software_version: Option<String>,
        /// All its swipes before this instant are handed over.
        watermark: Option<i64>,
        /// When it said so, by its own clock.
        reported_at: Option<i64>,
        /// When it said so, by the hub's clock.
        received_at: Option<i64>,
        /// The rest of what it said, as JSON.
        report: Option<String>,
    }
}
entity! {
    /// A reader at a door and how it last was.
    Reader in "reader" by "code" {
        /// Its id.
        id: Uuid,
        /// Its code.
        code: String,
        /// The gateway that it hangs on.
        gateway_id: Uuid,
        /// The room whose door it is at.
        room_id: Option<Uuid>,
        /// How it talks.
        kind: ReaderKind,
        /// Whether it is in use.
        enabled: bool,
        /// Whether the gateway can talk to it.
        online: Option<bool>,
        /// What it shows.
        light: Option<LightColour>,
        /// Its firmware.
        firmware: Option<String>,
        /// When its gateway last spoke of it.
        last_seen_at: Option<i64>,
        /// When a card was last held to it.
        last_swipe_at: Option<i64>,
    }
}
entity! {
    /// A student.
    Student in "student" by "number" {
        /// Their id.
        id: Uuid,
        /// Their student number.
        number: String,
        /// Their name.
        name: String,
        /// Their address.
        email: Option<String>,
        /// Whether they study.
        state: StudentState,
        /// Whether they are expected at the door (distance learners and placements are not).
        at_door: bool,
    }
}
entity! {
    /// One student's card for one stretch of time.
    Card in "card" by "code" {
        /// Its id.
        id: Uuid,
        /// The name that the card office gave it.
        code: String,
        /// Whose it is.
        student_id: Uuid,
        /// Valid from here.
        from_at: i64,
        /// Valid until here, excluded.
        until_at: Option<i64>,
    }
}
entity! {
    /// A course.
    Course in "course" by "code" {
        /// Its id.
        id: Uuid,
        /// Its code.
        code: String,
        /// Its title.
        title: String,
    }
}
entity! {
    /// A group.
    Group in "class_group" by "code" {
        /// Its id.
        id: Uuid,
        /// Its code.
        code: String,
        /// Its title.
        title: Option<String>,
        /// Its course.
        course_id: Uuid,
        /// What its sessions are.
        kind: SessionKind,
    }
}
entity! {
    /// A stay in a group.
    Membership in "membership" by "id" {
        /// Its id.
        id: Uuid,
        /// The group.
        group_id: Uuid,
        /// The student.
        student_id: Uuid,
        /// The first day.
        from_on: String,
        /// The last day.
        until_on: Option<String>,
        /// Local midnight of the first day.
        from_at: i64,
        /// Local midnight after the last day.
        until_at: Option<i64>,
        /// Why.
        reason: MembershipReason,
    }
}
entity! {
    /// The institution's policy from an instant on.
    Policy in "policy" by "from_at" {
        /// Its id.
        id: Uuid,
        /// In force from here.
        from_at: i64,
        /// How long before the start the window opens.
        opens_before_ms: i64,
        /// How long after the end it closes.
        closes_after_ms: i64,
        /// Which sessions a swipe is credited to.
        overlap: OverlapRule,
        /// How much outage is borne.
        outage_tolerance_ms: i64,
        /// How long a silent gateway is waited for.
        settle_limit_ms: i64,
    }
}
entity! {
    /// A session and where its register stands.
    Session in "session" by "external_id" {
        /// Its id.
        id: Uuid,
        /// Its id in the timetabling system.
        external_id: Option<String>,
        /// What it is.
        kind: SessionKind,
        /// Its title.
        title: String,
        /// Its course.
        course_id: Option<Uuid>,
        /// Its start.
        starts_at: i64,
        /// Its end.
        ends_at: i64,
        /// Called off.
        cancelled: bool,
        /// Room or time were changed after it was published.
        moved: bool,
        /// Grows with each change.
        revision: i64,
        /// The id of its register.
        register_id: Uuid,
        /// Where its register stands.
        register_state: StoredState,
        /// Grows with each change of the register.
        register_revision: i64,
        /// When its window closes.
        closes_at: i64,
        /// When the register became final.
        final_at: Option<i64>,
    }
}
entity! {
    /// Whether one student was at one session.
    Attendance in "attendance" by "id" {
        /// Its id.
        id: Uuid,
        /// The session.
        session_id: Uuid,
        /// The student.
        student_id: Uuid,
        /// The status.
        status: AttendanceStatus,
        /// What set it.
        source: AttendanceSource,
        /// When the student came.
        arrived_at: Option<i64>,
        /// Whole minutes after the start.
        minutes_late: Option<i64>,
        /// The deciding swipe also counted for another session.
        shared_swipe: bool,
        /// Rests on a promise made at the door.
        honoured: bool,
        /// Grows with each change.
        revision: i64,
        /// When it last changed.
        updated_at: i64,
    }
}
entity! {
    /// A swipe as the gateway sent it, and the decision that now holds.
    Swipe in "swipe" by "id" {
        /// Its id at the hub: the gateway's, unless that was taken by another body.
        id: Uuid,
        /// The id that the gateway minted.
        claimed_id: Uuid,
        /// Which gateway.
        gateway_id: Uuid,
        /// Which journal.
        journal_id: Uuid,
        /// Its number in the journal.
        sequence: i64,
        /// Which reader.
        reader_id: Uuid,
        /// The room that the reader hung at when it came in.
        room_id: Option<Uuid>,
        /// The building, under whose key the card was looked up.
        building_id: Uuid,
        /// The card, as a key; none for what is no card.
        card_key: Option<Vec<u8>>,
        /// How many bits it had.
        card_bits: i64,
        /// The card record that the hub takes it for.
        card_id: Option<Uuid>,
        /// The student that the hub takes it for.
        student_id: Option<Uuid>,
        /// The student that the gateway took it for.
        shown_student_id: Option<Uuid>,
        /// The gateway's time of the swipe.
        swiped_at: i64,
        /// Not before.
        earliest_at: i64,
        /// Not after.
        latest_at: i64,
        /// When the hub took it over.
        received_at: i64,
        /// How far the gateway's clock could be believed.
        clock_trust: ClockTrust,
        /// What became of it, by what the hub knows now.
        decision: SwipeDecision,
        /// Why.
        reason: SwipeReason,
        /// When that was decided.
        decided_at: i64,
        /// What was shown at the door, as JSON.
        shown: String,
        /// SHA-256 of the facts that the gateway sent of it.
        body: Vec<u8>,
        /// The start of the gateway's machine that it fell into.
        boot_id: Option<Uuid>,
        /// Milliseconds since that start.
        since_boot: Option<i64>,
        /// The reader handed it in later: `since_boot` is when it came to the gateway.
        late: bool,
        /// The pseudonym of whom the gateway took the card to be.
        holder: Option<Uuid>,
        /// The record as it stands in the gateway's journal, JSON.
        record: Option<String>,
    }
}
entity! {
    /// Something that a person should look at.
    Alarm in "alarm" by "id" {
        /// Its id.
        id: Uuid,
        /// When it was raised.
        at: i64,
        /// What it is about, as a word.
        kind: String,
        /// The gateway that it is about.
        gateway_id: Option<Uuid>,
        /// In words.
        detail: String,
    }
}
