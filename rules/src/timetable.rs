//! The timetable held in memory: sessions by room, class lists by group, cards by key.
//!
//! Filled by the gateway from its cache, by the hub from its store for the swipes at hand. It is the only
//! thing that verdict and light at rest read. Facts go in and out one by one ([`Timetable::upsert`],
//! [`Timetable::remove`]), so one moved session costs one change.

use std::collections::BTreeMap;
use std::fmt;

use crate::ids::{CardId, GroupId, HolderId, MembershipId, RoomId, SessionId};
use crate::session::Session;
use crate::time::{Instant, Span, Window};

/// A card as it may be looked up: HMAC-SHA-256 of its bits under a building's key, never the bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CardKey(pub [u8; 32]);

impl fmt::Debug for CardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CardKey(…)")
    }
}

/// One person's card for one stretch of time. All credentials that it may be seen as lead to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Card {
    /// Its name.
    pub id: CardId,
    /// The keys of its credentials.
    pub keys: Vec<CardKey>,
    /// Who holds it.
    pub holder: HolderId,
    /// From when until when it is valid.
    pub span: Span,
}

/// One stay of one holder in one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Membership {
    /// Its name.
    pub id: MembershipId,
    /// The group.
    pub group: GroupId,
    /// Who is in it.
    pub holder: HolderId,
    /// From when until when.
    pub span: Span,
}

/// One fact of the timetable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A session.
    Session(Session),
    /// A stay in a group.
    Membership(Membership),
    /// A card.
    Card(Card),
}

/// The name of one fact of the timetable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ItemId {
    /// A session.
    Session(SessionId),
    /// A stay in a group.
    Membership(MembershipId),
    /// A card.
    Card(CardId),
}

impl Item {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> ItemId {
        match self {
            Self::Session(session) => ItemId::Session(session.id),
            Self::Membership(membership) => ItemId::Membership(membership.id),
            Self::Card(card) => ItemId::Card(card.id),
        }
    }
}

/// The sessions of one room, by the instant at which their window opens.
#[derive(Default, Clone, Debug)]
struct RoomPlan {
    by_opening: BTreeMap<(Instant, SessionId), Instant>,
    /// Never shorter than the longest window in the room; bounds how far back a search must look.
    longest_ms: i64,
}

/// Sessions, class lists and cards, indexed for the questions that a swipe asks.
#[derive(Default, Clone, Debug)]
pub struct Timetable {
    sessions: BTreeMap<SessionId, Session>,
    rooms: BTreeMap<RoomId, RoomPlan>,
    memberships: BTreeMap<MembershipId, Membership>,
    members: BTreeMap<GroupId, BTreeMap<HolderId, Vec<(MembershipId, Span)>>>,
    cards: BTreeMap<CardId, Card>,
    /// What a key may stand for, with all that a swipe asks of it: one look-up in place of two.
    keys: BTreeMap<CardKey, Vec<Keyed>>,
}

/// A card as its key leads to it.
#[derive(Clone, Copy, Debug)]
struct Keyed {
    card: CardId,
    holder: HolderId,
    span: Span,
}

/// What a card key stands for at an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// A card that is valid.
    Valid(CardId, HolderId),
    /// A card that was valid once.
    Ended(CardId, HolderId),
    /// No card, or one that is not valid yet.
    Unknown,
}

impl Timetable {
    /// An empty timetable.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a fact in, in place of what had its name.
    pub fn upsert(&mut self, item: Item) {
        self.remove(item.id());
        match item {
            Item::Session(session) => {
                let Window { opens, closes } = session.window();
                for held in &session.rooms {
                    let plan = self.rooms.entry(held.room).or_default();
                    plan.by_opening.insert((opens, session.id), closes);
                    plan.longest_ms = plan.longest_ms.max(closes.since_ms(opens));
                }
                self.sessions.insert(session.id, session);
            }
            Item::Membership(membership) => {
                let stays = self.members.entry(membership.group).or_default();
                stays.entry(membership.holder).or_default().push((membership.id, membership.span));
                self.memberships.insert(membership.id, membership);
            }
            Item::Card(card) => {
                let keyed = Keyed { card: card.id, holder: card.holder, span: card.span };
                for key in &card.keys {
                    self.keys.entry(*key).or_default().push(keyed);
                }
                self.cards.insert(card.id, card);
            }
        }
    }

    /// Takes a fact out; nothing happens when there is none of that name.
    pub fn remove(&mut self, id: ItemId) {
        match id {
            ItemId::Session(id) => {
                let Some(session) = self.sessions.remove(&id) else { return };
                let opens = session.window().opens;
                for held in &session.rooms {
                    if let Some(plan) = self.rooms.get_mut(&held.room) {
                        plan.by_opening.remove(&(opens, id));
                        if plan.by_opening.is_empty() {
                            self.rooms.remove(&held.room);
                        }
                    }
                }
            }
            ItemId::Membership(id) => {
                let Some(membership) = self.memberships.remove(&id) else { return };
                let Some(stays) = self.members.get_mut(&membership.group) else { return };
                if let Some(spans) = stays.get_mut(&membership.holder) {
                    spans.retain(|(stay, _)| *stay != id);
                    if spans.is_empty() {
                        stays.remove(&membership.holder);
                    }
                }
                if stays.is_empty() {
                    self.members.remove(&membership.group);
                }
            }
            ItemId::Card(id) => {
                let Some(card) = self.cards.remove(&id) else { return };
                for key in &card.keys {
                    if let Some(cards) = self.keys.get_mut(key) {
                        cards.retain(|other| other.card != id);
                        if cards.is_empty() {
                            self.keys.remove(key);
                        }
                    }
                }
            }
        }
    }

    /// The session of this name.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// All sessions, by name.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// All facts, sessions first.
    pub fn items(&self) -> impl Iterator<Item = Item> + '_ {
        let sessions = self.sessions.values().cloned().map(Item::Session);
        let memberships = self.memberships.values().copied().map(Item::Membership);
        sessions.chain(memberships).chain(self.cards.values().cloned().map(Item::Card))
    }

    /// How many sessions, memberships and cards it holds.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.sessions.len(), self.memberships.len(), self.cards.len())
    }

    /// The sessions that have `room` among theirs and a window that meets the closed range `[first, last]`,
    /// called off or not, by the instant at which their window opens.
    pub fn near(&self, room: RoomId, first: Instant, last: Instant) -> impl Iterator<Item = &Session> {
        self.rooms.get(&room).into_iter().flat_map(move |plan| {
            let from = (first.plus_ms(-plan.longest_ms), SessionId(uuid::Uuid::nil()));
            // A time whose ends are the wrong way round is met by nothing; it must not panic.
            let to = (last.max(from.0), SessionId(uuid::Uuid::max()));
            plan.by_opening
                .range(from..=to)
                .filter(move |(_, closes)| **closes >= first)
                .filter_map(|((_, id), _)| self.sessions.get(id))
        })
    }

    /// The first instant after `after` at which some window in `room` opens, closes, or is moved in or out.
    #[must_use]
    pub fn next_change(&self, room: RoomId, after: Instant) -> Option<Instant> {
        let plan = self.rooms.get(&room)?;
        let edges = |session: &Session| {
            let window = session.window();
            let spans = session.rooms.iter().filter(move |held| held.room == room);
            let moves = spans.flat_map(|held| [held.span.from, held.span.until]).flatten();
            [window.opens, window.closes.plus_ms(1)]
                .into_iter()
                .chain(moves)
                .filter(move |at| *at > after)
                .min()
        };
        let running = self.near(room, after, after).filter_map(edges).min();
        let coming = plan.by_opening.range((after.plus_ms(1), SessionId(uuid::Uuid::nil()))..).next();
        running.into_iter().chain(coming.map(|((opens, _), _)| *opens)).min()
    }

    /// What a card key stands for at an instant: a valid card before an ended one.
    #[must_use]
    pub fn holder(&self, key: &CardKey, at: Instant) -> Holder {
        let cards = self.keys.get(key).map_or(&[][..], Vec::as_slice);
        if let Some(it) = cards.iter().filter(|it| it.span.holds(at)).min_by_key(|it| it.card) {
            return Holder::Valid(it.card, it.holder);
        }
        let ended = cards.iter().filter(|it| it.span.ended(at)).max_by_key(|it| (it.span.until, it.card));
        ended.map_or(Holder::Unknown, |it| Holder::Ended(it.card, it.holder))
    }

    /// The instants in `[first, last]` at which what a card key stands for may change.
    pub(crate) fn card_edges<'a>(&'a self, key: &CardKey) -> impl Iterator<Item = Instant> + 'a {
        let cards = self.keys.get(key).into_iter().flatten();
        cards.flat_map(|it| [it.span.from, it.span.until]).flatten()
    }

    /// The instants at which a holder's membership in a group may change.
    pub(crate) fn stay_edges(&self, group: GroupId, holder: HolderId) -> impl Iterator<Item = Instant> + '_ {
        let stays = self.members.get(&group).and_then(|stays| stays.get(&holder));
        stays.into_iter().flatten().flat_map(|(_, span)| [span.from, span.until]).flatten()
    }

    /// Whether a holder is on the class list of a session at an instant.
    #[must_use]
    pub fn listed(&self, session: &Session, holder: HolderId, at: Instant) -> bool {
        session.groups.iter().any(|group| {
            let stays = self.members.get(group).and_then(|stays| stays.get(&holder));
            stays.is_some_and(|spans| spans.iter().any(|(_, span)| span.holds(at)))
        })
    }

    /// Whether a session has a class list at all at an instant: somebody is in one of its groups.
    #[must_use]
    pub fn has_list(&self, session: &Session, at: Instant) -> bool {
        session.groups.iter().any(|group| {
            let stays = self.members.get(group);
            stays.is_some_and(|stays| stays.values().flatten().any(|(_, span)| span.holds(at)))
        })
    }
}
