//! The names of things: one type for each kind, so that a room is never taken for a reader.

use std::fmt;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )*};
}

ids! {
    /// A room, the place where a session is held and a reader hangs.
    RoomId,
    /// A session: one meeting of one or more groups.
    SessionId,
    /// A group: the students who go to the same sessions.
    GroupId,
    /// Whoever holds a card. At the hub it is the student; at a gateway an opaque pseudonym.
    HolderId,
    /// A card record: one person's card for one stretch of time.
    CardId,
    /// One stay of one holder in one group.
    MembershipId,
    /// One presentation of one card to one reader, named by the gateway (UUID version 7).
    SwipeId,
}

/// The id of the outage that a hole in a journal is: records before `end` are on no disk any more. The gateway that
/// finds the hole and the hub that sees it in what is handed over name it alike, so that it is one.
#[must_use]
pub fn hole(journal: Uuid, end: u64) -> Uuid {
    Uuid::new_v5(&journal, &end.to_be_bytes())
}
