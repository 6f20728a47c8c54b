//! The words that columns hold and the API shows.

use crate::store::{FromValue, Value};

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
words! {
    /// What happened to a reader itself.
    ReaderEventKind {
        /// Another reader on its line answers at its address; `detail` has both serial numbers.
        DuplicateAddress = "DUPLICATE_ADDRESS",
        /// What hangs on one of its inputs, such as a door's contact, became active; `detail` says which.
        InputActive = "INPUT_ACTIVE",
        /// It is active no more.
        InputOver = "INPUT_OVER",
        /// It has a key and did not speak under it: it was exchanged, or somebody is at its line.
        Insecure = "INSECURE",
        /// It was given a key of its own.
        KeySet = "KEY_SET",
        /// It was switched on.
        PowerUp = "POWER_UP",
        /// It was opened, or taken off the wall.
        Tamper = "TAMPER",
        /// It was closed again.
        TamperOver = "TAMPER_OVER",
    }
}
words! {
    /// Why a door could not record.
    OutageCause {
        /// The gateway was off, or its program.
        GatewayDown = "GATEWAY_DOWN",
        /// Records of the journal were damaged: swipes that were shown green may be lost.
        JournalDamaged = "JOURNAL_DAMAGED",
        /// The journal was full, or could not be written: swipes were refused.
        JournalRefused = "JOURNAL_REFUSED",
        /// The gateway could not talk to the reader.
        ReaderUnreachable = "READER_UNREACHABLE",
        /// The gateway began with an empty disk, or its card was put back from an image: swipes that were shown green may be lost.
        StorageLost = "STORAGE_LOST",
        /// Swipes were refused by a fault of ours, and whose they were is not known any more.
        SwipesRefused = "SWIPES_REFUSED",
    }
}

impl ReaderEventKind {
    /// Whether a person should look at once.
    #[must_use]
    pub fn alarms(self) -> bool {
        matches!(self, Self::DuplicateAddress | Self::Insecure | Self::Tamper)
    }
}

impl OutageCause {
    /// Whether somebody's swipe may be gone who was there: then no tolerance holds.
    #[must_use]
    pub fn loses(self) -> bool {
        matches!(self, Self::JournalDamaged | Self::StorageLost | Self::SwipesRefused)
    }
}
words! {
    /// What an import's files are.
    ImportKind {
        /// Tables, read by a mapping.
        Csv = "CSV",
        /// Calendars (RFC 5545).
        Icalendar = "ICALENDAR",
        /// A term in the format of the International Timetabling Competition 2019: problem and solution.
        Itc2019 = "ITC_2019",
        /// OneRoster 1.2 CSV.
        OneRoster = "ONE_ROSTER",
    }
}
words! {
    /// How far an import is.
    ImportState {
        /// It took effect.
        Applied = "APPLIED",
        /// It is being applied, or waits for its turn.
        Applying = "APPLYING",
        /// It was checked, and may be applied.
        Checked = "CHECKED",
        /// It is being checked, or waits for its turn.
        Checking = "CHECKING",
        /// The hub could not work on it; nothing was changed.
        Failed = "FAILED",
        /// Something is wrong with its files; nothing was changed.
        Refused = "REFUSED",
    }
}
words! {
    /// How an export's rows are written.
    ExportFormat {
        /// A table with headings: a field within an object is named by its path, lists are joined by semicolons.
        Csv = "CSV",
        /// One JSON object in each line.
        Jsonl = "JSONL",
    }
}
words! {
    /// How far an export is.
    ExportState {
        /// Somebody stopped it.
        Cancelled = "CANCELLED",
        /// Its file can be fetched.
        Done = "DONE",
        /// Its file has gone.
        Expired = "EXPIRED",
        /// It could not be made.
        Failed = "FAILED",
        /// It is being made, or waits for its turn.
        Running = "RUNNING",
    }
}
