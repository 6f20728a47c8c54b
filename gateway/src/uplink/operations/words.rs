//! The words that gateway and hub say to each other.

use super::schema;

macro_rules! enums {
    ($($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(cynic::Enum, Debug, Clone, Copy, PartialEq, Eq)]
        #[cynic(schema = "hub")]
        pub enum $name { $($(#[$word_doc])* $word),* }
    )*};
}

enums! {
    /// Degrees of belief in a clock.
    ClockTrust {
        /// Runs free.
        Holdover,
        /// In step.
        Synced,
        /// Only a lower bound is known.
        Untrusted,
    }
    /// Where a clock gets its time.
    ClockSource {
        /// The hub's answers.
        Hub,
        /// Nowhere.
        None,
        /// Network time.
        Ntp,
        /// Precision time protocol.
        Ptp,
        /// A clock chip.
        Rtc,
    }
    /// How a reader talks.
    ReaderKind {
        /// It prints card numbers.
        Ascii,
        /// An MQTT client.
        Mqtt,
        /// On a serial bus.
        Osdp,
    }
    /// What happened to a reader itself.
    ReaderEventKind {
        /// Another reader answers at its address.
        DuplicateAddress,
        /// What hangs on one of its inputs became active.
        InputActive,
        /// It is so no more.
        InputOver,
        /// It did not speak under its key.
        Insecure,
        /// It was given a key.
        KeySet,
        /// It was switched on.
        PowerUp,
        /// It was opened.
        Tamper,
        /// It was closed again.
        TamperOver,
    }
    /// Why a door could not record.
    OutageCause {
        /// The gateway was off.
        GatewayDown,
        /// Records were damaged.
        JournalDamaged,
        /// There was no room.
        JournalRefused,
        /// The reader did not answer.
        ReaderUnreachable,
        /// The disk was empty.
        StorageLost,
        /// Swipes were refused, and whose they were is not known any more.
        SwipesRefused,
    }
    /// What became of a swipe.
    SwipeDecision {
        /// Counts for none.
        NotRecorded,
        /// Decided later.
        Pending,
        /// Counts.
        Recorded,
    }
    /// Why.
    SwipeReason {
        /// Credited before.
        AlreadyRecorded,
        /// Ended card.
        CardCancelled,
        /// Random UID.
        CardRandomUid,
        /// Unknown card.
        CardUnknown,
        /// No card.
        CardUnreadable,
        /// Clock cannot tell.
        ClockUntrusted,
        /// Not listed.
        NotOnClassList,
        /// No list.
        NoClassList,
        /// No window.
        NoOpenSession,
        /// Credited.
        Recorded,
        /// Called off.
        SessionCancelled,
        /// Not durable.
        StoreFault,
    }
    /// Colours.
    LightColour {
        /// Kept.
        Amber,
        /// Open.
        Blue,
        /// Recorded.
        Green,
        /// Dark.
        Off,
        /// Not recorded.
        Red,
    }
    /// Receipts.
    ReceiptOutcome {
        /// Had it.
        Duplicate,
        /// Malformed.
        Rejected,
        /// New.
        Stored,
    }
    /// What a feed event says.
    GatewayFeedKind {
        /// All sent.
        CaughtUp,
        /// Configuration.
        Config,
        /// Take a snapshot.
        FeedReset,
        /// Alive.
        KeepAlive,
        /// Left the slice.
        Remove,
        /// Is now as given.
        Upsert,
    }
    /// Overlap rules.
    OverlapRule {
        /// Every open one.
        EveryOpen,
        /// The nearest.
        NearestStart,
    }
}
