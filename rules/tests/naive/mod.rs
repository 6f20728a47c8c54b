//! A small world of sessions, class lists and cards, and the rules over it read straight off the design's
//! section 2: every question is a scan of everything, every interval is tried millisecond by millisecond.
//!
//! Only plain data is shared with the crate under test: no index, no method that judges.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::subsequence;
use rollcall_rules::ids::{CardId, GroupId, HolderId, MembershipId, RoomId, SessionId};
use rollcall_rules::policy::{Overlap, Policy};
use rollcall_rules::session::{HeldIn, Session};
use rollcall_rules::time::{Instant, Span};
use rollcall_rules::timetable::{Card, CardKey, Item, ItemId, Membership, Timetable};
use rollcall_rules::verdict::{Considered, Reason};
use uuid::Uuid;

/// How many rooms, groups, holders and card keys the world has at most.
pub(crate) const ROOMS: u128 = 3;
pub(crate) const KEYS: u8 = 4;
const GROUPS: u128 = 3;
const HOLDERS: u128 = 3;

/// Everything happens after the first and before the last of these instants.
pub(crate) const FIRST: i64 = -60;
pub(crate) const LAST: i64 = 480;

pub(crate) fn room(n: u128) -> RoomId {
    RoomId(Uuid::from_u128(n))
}

pub(crate) fn key(n: u8) -> CardKey {
    CardKey([n; 32])
}

/// The final facts, in plain lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) sessions: Vec<Session>,
    pub(crate) memberships: Vec<Membership>,
    pub(crate) cards: Vec<Card>,
}

pub(crate) fn holder(n: u128) -> HolderId {
    HolderId(Uuid::from_u128(n))
}

pub(crate) fn id(n: u128) -> SessionId {
    SessionId(Uuid::from_u128(n))
}

pub(crate) fn span(from: i64, until: i64) -> Span {
    Span { from: Some(Instant(from)), until: Some(Instant(until)) }
}

/// A session in room 0 of the group with its own number, from 100 to 200, window from 70.
pub(crate) fn session(n: u128) -> Session {
    Session {
        id: id(n),
        starts_at: Instant(100),
        ends_at: Instant(200),
        cancelled: false,
        rooms: vec![HeldIn { room: room(0), span: Span::ALWAYS }],
        groups: vec![GroupId(Uuid::from_u128(n))],
        policy: Policy { opens_before_ms: 30, ..Policy::default() },
    }
}

pub(crate) fn stay(n: u128, group: u128, who: u128, span: Span) -> Membership {
    let (id, group) = (MembershipId(Uuid::from_u128(n)), GroupId(Uuid::from_u128(group)));
    Membership { id, group, holder: holder(who), span }
}

pub(crate) fn card(n: u128, who: u128, span: Span) -> Card {
    Card { id: CardId(Uuid::from_u128(n)), keys: vec![key(0)], holder: holder(who), span }
}

/// One student on the list of one session, with a card for ever.
pub(crate) fn simple() -> World {
    World {
        sessions: vec![session(0)],
        memberships: vec![stay(0, 0, 0, Span::ALWAYS)],
        cards: vec![card(0, 0, Span::ALWAYS)],
    }
}

/// The oracle's verdict at one instant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Naive {
    pub(crate) reason: Reason,
    pub(crate) credited: BTreeSet<SessionId>,
    pub(crate) card: Option<(CardId, HolderId)>,
    pub(crate) considered: BTreeMap<SessionId, Considered>,
}

impl Naive {
    /// What the swipe would be credited as: a mark belongs to a student at a session.
    pub(crate) fn marks(&self) -> BTreeSet<(HolderId, SessionId)> {
        let holder = self.card.map(|(_, holder)| holder);
        holder.into_iter().flat_map(|who| self.credited.iter().map(move |what| (who, *what))).collect()
    }
}

/// Half-open: `from` is in, `until` is out.
fn within(span: Span, at: Instant) -> bool {
    let after_from = match span.from {
        Some(from) => at.0 >= from.0,
        None => true,
    };
    let before_until = match span.until {
        Some(until) => at.0 < until.0,
        None => true,
    };
    after_from && before_until
}

/// First and last instant of a session's window; both count.
pub(crate) fn ends(session: &Session) -> (i64, i64) {
    let policy = session.policy;
    (session.starts_at.0 - policy.opens_before_ms, session.ends_at.0 + policy.closes_after_ms)
}

/// Whether it is held in the room at the instant and its window holds it, called off or not.
fn held_now(session: &Session, room: RoomId, at: Instant) -> bool {
    let (opens, closes) = ends(session);
    let here = session.rooms.iter().any(|held| held.room == room && within(held.span, at));
    here && opens <= at.0 && at.0 <= closes
}

impl World {
    pub(crate) fn items(&self) -> Vec<Item> {
        let sessions = self.sessions.iter().cloned().map(Item::Session);
        let memberships = self.memberships.iter().copied().map(Item::Membership);
        sessions.chain(memberships).chain(self.cards.iter().cloned().map(Item::Card)).collect()
    }

    /// The timetable under test, filled once, in order.
    pub(crate) fn timetable(&self) -> Timetable {
        let mut timetable = Timetable::new();
        self.items().into_iter().for_each(|item| timetable.upsert(item));
        timetable
    }

    pub(crate) fn blue(&self, room: RoomId, at: Instant) -> bool {
        self.sessions.iter().any(|session| !session.cancelled && held_now(session, room, at))
    }

    /// Whether no swipe of this card can ever count here: no such card, or no such room.
    pub(crate) fn never(&self, room: RoomId, key: CardKey) -> bool {
        let held = |session: &Session| session.rooms.iter().any(|held| held.room == room);
        !self.sessions.iter().any(held) || !self.cards.iter().any(|card| card.keys.contains(&key))
    }

    /// By opening, those with the room among theirs (whenever) and a window that meets `[first, last]`.
    pub(crate) fn near(&self, room: RoomId, first: Instant, last: Instant) -> Vec<SessionId> {
        let here = |session: &&Session| session.rooms.iter().any(|held| held.room == room);
        let mut found: Vec<(i64, SessionId)> = Vec::new();
        for session in self.sessions.iter().filter(here) {
            let (opens, closes) = ends(session);
            if (opens..=closes).any(|at| first.0 <= at && at <= last.0) {
                found.push((opens, session.id));
            }
        }
        found.sort();
        found.into_iter().map(|(_, id)| id).collect()
    }

    fn listed(&self, session: &Session, holder: HolderId, at: Instant) -> bool {
        self.memberships.iter().any(|stay| {
            session.groups.contains(&stay.group) && stay.holder == holder && within(stay.span, at)
        })
    }

    fn has_list(&self, session: &Session, at: Instant) -> bool {
        self.memberships.iter().any(|stay| session.groups.contains(&stay.group) && within(stay.span, at))
    }

    /// The verdict at one instant, sentence by sentence.
    pub(crate) fn verdict(&self, room: RoomId, key: CardKey, at: Instant) -> Naive {
        let of_key = || self.cards.iter().filter(|card| card.keys.contains(&key));
        let valid = of_key().find(|card| within(card.span, at));
        let ended = of_key()
            .filter(|card| card.span.until.is_some_and(|until| until.0 <= at.0))
            .max_by_key(|card| card.span.until.map(|until| until.0));
        let mut considered = BTreeMap::new();
        for session in self.sessions.iter().filter(|session| held_now(session, room, at)) {
            let entry = Considered {
                session: session.id,
                cancelled: session.cancelled,
                window_open: !session.cancelled,
                has_class_list: self.has_list(session, at),
                on_class_list: valid.is_some_and(|card| self.listed(session, card.holder, at)),
                credited: false,
            };
            considered.insert(session.id, entry);
        }
        let open: Vec<Considered> = considered.values().filter(|it| !it.cancelled).copied().collect();
        let mut credited = BTreeSet::new();
        let reason = if valid.is_none() {
            if ended.is_some() { Reason::CardCancelled } else { Reason::CardUnknown }
        } else if open.is_empty() {
            if considered.is_empty() { Reason::NoOpenSession } else { Reason::SessionCancelled }
        } else if !open.iter().any(|it| it.on_class_list) {
            let lists = open.iter().any(|it| it.has_class_list);
            if lists { Reason::NotOnClassList } else { Reason::NoClassList }
        } else {
            let listed: BTreeSet<SessionId> =
                open.iter().filter(|it| it.on_class_list).map(|it| it.session).collect();
            credited = self.credits(&listed, at);
            Reason::Recorded
        };
        for (id, entry) in &mut considered {
            entry.credited = credited.contains(id);
        }
        let card = valid.or(ended).map(|card| (card.id, card.holder));
        Naive { reason, credited, card, considered }
    }

    /// Of the listed open sessions, those that count: each under `EveryOpen`; of those under `NearestStart`
    /// the one whose start is nearest, the earlier on a tie (of two with one start, the first by name).
    fn credits(&self, listed: &BTreeSet<SessionId>, at: Instant) -> BTreeSet<SessionId> {
        let mut credited = BTreeSet::new();
        let mut nearest: Option<&Session> = None;
        let mut by_name: Vec<&Session> = self.sessions.iter().filter(|it| listed.contains(&it.id)).collect();
        by_name.sort_by_key(|session| session.id);
        for session in by_name {
            if session.policy.overlap == Overlap::EveryOpen {
                credited.insert(session.id);
                continue;
            }
            let away = |other: &Session| (other.starts_at.0 - at.0).abs();
            let better = match nearest {
                None => true,
                Some(best) if away(session) == away(best) => session.starts_at.0 < best.starts_at.0,
                Some(best) => away(session) < away(best),
            };
            if better {
                nearest = Some(session);
            }
        }
        credited.extend(nearest.map(|session| session.id));
        credited
    }

    /// Instants worth trying: every edge there is and its neighbours. Where to look, not what to expect.
    pub(crate) fn instants(&self) -> Vec<Instant> {
        let mut edges = vec![FIRST, LAST];
        let mut spans: Vec<Span> = self.memberships.iter().map(|stay| stay.span).collect();
        spans.extend(self.cards.iter().map(|card| card.span));
        for session in &self.sessions {
            let (opens, closes) = ends(session);
            edges.extend([opens, closes, session.starts_at.0, session.ends_at.0]);
            edges.extend(self.sessions.iter().map(|it| (it.starts_at.0 + session.starts_at.0) / 2));
            spans.extend(session.rooms.iter().map(|held| held.span));
        }
        edges.extend(spans.iter().flat_map(|span| [span.from, span.until]).flatten().map(|at| at.0));
        let around = edges.into_iter().flat_map(|at| [at - 1, at, at + 1]);
        around.collect::<BTreeSet<_>>().into_iter().map(Instant).collect()
    }
}

/// A span that may be unbounded on either side, empty, or the wrong way round.
fn any_span() -> impl Strategy<Value = Span> {
    let side = || prop::option::of((0i64..400).prop_map(Instant));
    prop_oneof![2 => Just(Span::ALWAYS), 3 => (side(), side()).prop_map(|(from, until)| Span { from, until })]
}

fn any_rooms() -> impl Strategy<Value = Vec<HeldIn>> {
    let held = |room, span| HeldIn { room, span };
    let one = || (0..ROOMS).prop_map(room);
    let moved = (one(), one(), 0i64..400).prop_map(move |(old, new, at)| {
        let (until, from) = (Some(Instant(at)), Some(Instant(at)));
        vec![held(old, Span { from: None, until }), held(new, Span { from, until: None })]
    });
    prop_oneof![
        4 => one().prop_map(move |it| vec![held(it, Span::ALWAYS)]),
        2 => moved,
        2 => prop::collection::vec((one(), any_span()).prop_map(move |(it, span)| held(it, span)), 0..4),
    ]
}

fn any_session(n: u128, mode: u8) -> impl Strategy<Value = Session> {
    let starts = prop_oneof![(0i64..32).prop_map(|tens| tens * 10), 0i64..320];
    let groups = subsequence((0..GROUPS).map(|n| GroupId(Uuid::from_u128(n))).collect::<Vec<_>>(), 0..3);
    let times = (starts, 1i64..80, 0i64..50, prop_oneof![3 => Just(0i64), 1 => 1i64..20]);
    let nearest = any::<bool>().prop_map(move |it| if mode == 2 { it } else { mode == 1 });
    (times, any_rooms(), groups, prop::bool::weighted(0.15), nearest).prop_map(
        move |((start, length, opens_before_ms, closes_after_ms), rooms, groups, cancelled, nearest)| {
            let overlap = if nearest { Overlap::NearestStart } else { Overlap::EveryOpen };
            Session {
                id: SessionId(Uuid::from_u128(n)),
                starts_at: Instant(start),
                ends_at: Instant(start + length),
                cancelled,
                rooms,
                groups,
                policy: Policy { opens_before_ms, closes_after_ms, overlap, ..Policy::default() },
            }
        },
    )
}

fn any_membership(n: u128) -> impl Strategy<Value = Membership> {
    (0..GROUPS, 0..HOLDERS, any_span()).prop_map(move |(group, holder, span)| Membership {
        id: MembershipId(Uuid::from_u128(n)),
        group: GroupId(Uuid::from_u128(group)),
        holder: HolderId(Uuid::from_u128(holder)),
        span,
    })
}

/// Cards that follow each other under the keys `2n` and `2n + 1`, never two at once, one after the other or
/// with a gap between, the first perhaps since ever, the last perhaps for ever.
fn any_cards(n: u8) -> impl Strategy<Value = Vec<Card>> {
    let gap = prop_oneof![2 => Just(0i64), 1 => 1i64..50];
    let card = (gap, 1i64..200, 0..HOLDERS, prop::sample::select(vec![vec![0], vec![1], vec![0, 1]]));
    (any::<bool>(), any::<bool>(), prop::collection::vec(card, 0..4)).prop_map(
        move |(since_ever, for_ever, cards)| {
            let (mut at, count) = (0, cards.len());
            let mut made = Vec::new();
            for (index, (gap, length, holder, keys)) in cards.into_iter().enumerate() {
                let from = Some(Instant(at + gap)).filter(|_| index > 0 || !since_ever);
                at += gap + length;
                let until = Some(Instant(at)).filter(|_| index + 1 < count || !for_ever);
                made.push(Card {
                    id: CardId(Uuid::from_u128(u128::from(n) * 10 + index as u128)),
                    keys: keys.into_iter().map(|it| key(2 * n + it)).collect(),
                    holder: HolderId(Uuid::from_u128(holder)),
                    span: Span { from, until },
                });
            }
            made
        },
    )
}

pub(crate) fn any_world() -> impl Strategy<Value = World> {
    let sessions = (0u8..3, 0u128..7)
        .prop_flat_map(|(mode, count)| (0..count).map(|n| any_session(n, mode).boxed()).collect::<Vec<_>>());
    let memberships =
        (0u128..9).prop_flat_map(|count| (0..count).map(|n| any_membership(n).boxed()).collect::<Vec<_>>());
    (sessions, memberships, any_cards(0), any_cards(1)).prop_map(
        |(sessions, memberships, mut cards, more)| {
            cards.extend(more);
            World { sessions, memberships, cards }
        },
    )
}

/// The same in one room, for one student in one group, in a third of the time: much begins and ends within one interval.
pub(crate) fn any_crowded_world() -> impl Strategy<Value = World> {
    any_world().prop_map(|mut world| {
        let early = |at: Option<Instant>| at.map(|at| Instant(at.0 / 3));
        let squeeze = |span: Span| match (early(span.from), early(span.until)) {
            (Some(from), Some(until)) => Span { from: Some(from.min(until)), until: Some(from.max(until)) },
            (from, until) => Span { from, until },
        };
        let group = GroupId(Uuid::from_u128(0));
        world.memberships.truncate(2);
        for session in &mut world.sessions {
            let length = (session.ends_at.0 - session.starts_at.0) / 2 + 1;
            session.starts_at = Instant(session.starts_at.0 / 3);
            session.ends_at = session.starts_at.plus_ms(length);
            session.groups = vec![group];
            for held in &mut session.rooms {
                *held = HeldIn { room: room(0), span: squeeze(held.span) };
            }
        }
        for stay in &mut world.memberships {
            *stay = Membership { group, holder: holder(0), span: squeeze(stay.span), ..*stay };
        }
        for card in &mut world.cards {
            card.holder = holder(0);
        }
        world
    })
}

/// One change of a timetable.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(Item),
    Take(ItemId),
}

/// A world, and changes that end in it: other facts under the same names come first, are put, taken and put
/// again in any order, and each change that leads to the final facts comes once or twice.
pub(crate) fn any_history() -> impl Strategy<Value = (World, Vec<Change>)> {
    (any_world(), any_world()).prop_flat_map(|(before, after)| {
        let mut early: Vec<Change> = before.items().into_iter().map(Change::Put).collect();
        early.extend(after.items().into_iter().map(Change::Put));
        early.extend(before.items().iter().map(|item| Change::Take(item.id())));
        let kept: BTreeSet<ItemId> = after.items().iter().map(Item::id).collect();
        let mut late: Vec<Change> = after.items().into_iter().map(Change::Put).collect();
        late.extend(before.items().iter().map(Item::id).filter(|id| !kept.contains(id)).map(Change::Take));
        let count = late.len();
        let again = subsequence(late.clone(), 0..=count);
        let late = again.prop_map(move |again| late.iter().cloned().chain(again).collect::<Vec<_>>());
        (Just(after), Just(early).prop_shuffle(), late.prop_shuffle())
            .prop_map(|(after, early, late)| (after, early.into_iter().chain(late).collect()))
    })
}
