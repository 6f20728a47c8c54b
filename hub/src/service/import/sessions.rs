//! Sessions of an import: which of their fields a source speaks of anew, what several sources share in, and what is called off.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::super::bulk::Unsaid;
use super::super::feed::to_hex;
use super::super::history::sessions_as_they_are;
use super::super::timetable::SaveSession;
use super::{Gone, Work};
use crate::import::calendar::series_of;
use crate::import::{Facts, List, Place};
use crate::scalar::DateTime;
use crate::store::StoreError;
use crate::store::entity::Session;
use crate::store::timetable::LONGEST_OPENING_MS;

/// Of more sessions than this it is quicker to read all that other sources named than to look for each.
const MANY_SESSIONS: usize = 200;

/// Of which kind names are kept of sessions that a source has called off by its own words: what a source took away it can give
/// back, and what a person took away it cannot.
const CALLED_OFF: &str = "sessions called off";
/// And what a source said last of each field of a session: what it says again is no news, and undoes nothing that a person has
/// changed since.
const WORDS: &str = "words of sessions";
/// And which groups and rooms of a session a source has a share in: a calendar of one group or room knows of no other.
const SHARES: [(&str, &str); 2] = [("groups", "groups of sessions"), ("rooms", "rooms of sessions")];

/// The fields of a session that a source may speak of, and what of them it says.
fn said(it: &SaveSession) -> [(&'static str, String); 7] {
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names.join("\n")
    };
    [
        ("times", format!("{} {}", it.starts_at.ms(), it.ends_at.ms())),
        ("rooms", sorted(&it.rooms)),
        ("groups", sorted(&it.groups)),
        ("title", it.title.clone()),
        ("course", it.course.clone().unwrap_or_default()),
        ("kind", format!("{:?}", it.kind)),
        ("cancelled", it.cancelled.to_string()),
    ]
}

/// How many characters stand for the word of a field.
const WORD: usize = 8;

/// What a source says of a session, field by field, in short.
fn words(it: &SaveSession) -> String {
    let word = |(field, text): (&str, String)| match it.unsaid.0.contains(&field) {
        true => "-".repeat(WORD),
        false => to_hex(&Sha256::digest(text.as_bytes())[..WORD / 2]),
    };
    said(it).map(word).concat()
}

impl Work<'_> {
    pub(super) async fn save_sessions(&mut self, facts: &Facts) -> Result<(), StoreError> {
        let kind = "sessions";
        let whole = facts.whole.contains(&kind);
        let nothing = facts.sessions.things.is_empty() && facts.series.is_empty() && !whole;
        if nothing {
            return Ok(());
        }
        if self.report.problems.count > 0 {
            return self.look(kind, &facts.sessions).await;
        }
        tracing::info!("{} {kind}", facts.sessions.things.len());
        let names = facts.sessions.things.iter().map(|it| it.external_id.clone()).collect();
        let mut list = self.without_invented(facts).await?;
        self.leave_as_said(&mut list).await?;
        self.join_shares(&mut list).await?;
        // What this source calls off, by its words or by not naming it, is on again once it says so; what people call off
        // stays so.
        let mut off = self.tx.imported(&self.order.source, CALLED_OFF).await?;
        // Also what another source left out that this one has taken over.
        let ids: Vec<String> = list.things.iter().map(|it| it.external_id.clone()).collect();
        let named = self.tx.imported_by_any(kind, &ids).await?;
        let left_out = self.tx.imported_by_any(CALLED_OFF, &ids).await?;
        let taken_over: Vec<String> = left_out.into_iter().filter(|name| !named.contains(name)).collect();
        self.tx.forget_imported_by_all(CALLED_OFF, &taken_over).await?;
        off.extend(taken_over);
        for session in list.things.iter_mut().filter(|it| !it.cancelled && off.contains(&it.external_id)) {
            session.unsaid.0.retain(|field| *field != "cancelled");
        }
        let (called_off, on): (Vec<&SaveSession>, Vec<&SaveSession>) =
            list.things.iter().partition(|it| it.cancelled);
        let [called_off, on] = [called_off, on].map(|some| some.iter().map(|it| &it.external_id).collect());
        self.remember(CALLED_OFF, &called_off, &on).await?;
        let mut put = self.put(kind, &list).await?;
        let gone = self.gone(kind, names, |name| whole || facts.is_of_series(name)).await?;
        let (removed, of) = self.call_off(&gone).await?;
        self.take_shares_back(&gone).await?;
        self.forget_words().await?;
        put.tally.removed = removed;
        if whole {
            self.guard(kind, &gone, removed, of);
        }
        self.report.kinds.push((kind, put.tally));
        Ok(())
    }

    /// The sessions without weeks that are over and that a known series never had: whoever moves a series in the middle of
    /// a term moves what is to come. Nobody was at the times that its past would now have had.
    async fn without_invented(&mut self, facts: &Facts) -> Result<List<SaveSession>, StoreError> {
        let known: BTreeSet<String> = self
            .tx
            .imported(&self.order.source, "sessions")
            .await?
            .iter()
            .map(|name| series_of(name).to_owned())
            .collect();
        let now = self.hub.now().0;
        let over = |it: &SaveSession| {
            it.ends_at.ms() <= now
                && facts.is_of_series(&it.external_id)
                && known.contains(series_of(&it.external_id))
        };
        let all = &facts.sessions;
        let asked = all.things.iter().filter(|it| over(it)).map(|it| it.external_id.as_str());
        let there: BTreeSet<String> =
            self.tx.by_keys::<Session>(asked).await?.into_iter().filter_map(|it| it.external_id).collect();
        let mut list = List { columns: all.columns.clone(), ..List::default() };
        for (thing, (file, row)) in all.things.iter().zip(&all.places) {
            if over(thing) && !there.contains(&thing.external_id) {
                let place = Place { file: file.clone(), row: *row, column: None };
                let message = format!(
                    "'{}' is left out: it is over, and its series did not have it",
                    thing.external_id
                );
                self.report.notes.add(place, message);
            } else {
                list.push(thing.clone(), file, *row);
            }
        }
        Ok(list)
    }

    /// Calls sessions off that have not begun; what was held stays. Gives how many, and of how many.
    async fn call_off(&mut self, gone: &Gone) -> Result<(usize, usize), StoreError> {
        let now = self.hub.now().0;
        let mut sessions = self.tx.by_keys::<Session>(gone.before.iter().map(String::as_str)).await?;
        sessions.retain(|session| session.starts_at > now && !session.cancelled);
        let of = sessions.len();
        let names: BTreeSet<&String> = gone.names.iter().collect();
        sessions.retain(|session| session.external_id.as_ref().is_some_and(|id| names.contains(id)));
        self.touched.was.extend(sessions_as_they_are(&mut self.tx, &sessions).await?);
        for session in &mut sessions {
            session.cancelled = true;
            session.revision += 1;
        }
        self.tx.put(&sessions).await?;
        let off: BTreeSet<&String> = sessions.iter().filter_map(|it| it.external_id.as_ref()).collect();
        self.remember(CALLED_OFF, &off, &BTreeSet::new()).await?;
        let ids: Vec<Uuid> = sessions.iter().map(|session| session.id).collect();
        self.touched.sessions.extend(&ids);
        self.touched.feed_sessions.extend(&ids);
        if self.tx.any_swipe().await? {
            let sessions: BTreeMap<Uuid, &Session> = sessions.iter().map(|it| (it.id, it)).collect();
            // Windows may be open already.
            for room in self.tx.session_rooms(&ids).await? {
                let Some(session) = sessions.get(&room.session_id) else { continue };
                let opens = session.starts_at - LONGEST_OPENING_MS;
                let swipes = self.tx.swipes_in_room(room.room_id, opens, session.closes_at).await?;
                self.touched.swipes.extend(swipes);
            }
            self.touched.sessions.extend(self.tx.sessions_sharing(&ids).await?);
        }
        Ok((ids.len(), of))
    }

    /// Takes what a source says of a session as it said it last for no news.
    async fn leave_as_said(&mut self, list: &mut List<SaveSession>) -> Result<(), StoreError> {
        let source = &self.order.source;
        let known = self.tx.imported(source, WORDS).await?;
        let before: BTreeMap<&str, &str> = known.iter().filter_map(|name| name.rsplit_once('\t')).collect();
        let (mut fresh, mut stale) = (BTreeSet::new(), Vec::new());
        for session in &mut list.things {
            let now = words(session);
            let before = before.get(session.external_id.as_str()).copied();
            if before != Some(&now) {
                fresh.insert(format!("{}\t{now}", session.external_id));
                stale.extend(before.map(|before| format!("{}\t{before}", session.external_id)));
            }
            for (index, (field, _)) in said(session).into_iter().enumerate() {
                let word = |words: &str| words.get(index * WORD..(index + 1) * WORD).map(str::to_owned);
                if before.and_then(word) == word(&now) && !session.unsaid.0.contains(&field) {
                    session.unsaid.0.push(field);
                }
            }
        }
        self.tx.forget_imported(source, WORDS, &stale).await?;
        self.tx.note_imported(source, WORDS, &fresh.iter().collect::<Vec<_>>()).await
    }

    /// Forgets what the source said of sessions that it does not name any more: named again, all of it is news.
    async fn forget_words(&mut self) -> Result<(), StoreError> {
        let source = &self.order.source;
        let named = self.tx.imported(source, "sessions").await?;
        let words = self.tx.imported(source, WORDS).await?;
        let is_named = |name: &String| name.rsplit_once('\t').is_some_and(|(id, _)| named.contains(id));
        let gone: Vec<String> = words.into_iter().filter(|name| !is_named(name)).collect();
        self.tx.forget_imported(source, WORDS, &gone).await
    }

    /// Notes which groups and rooms this source has a share in, and adds those that others have.
    async fn join_shares(&mut self, list: &mut List<SaveSession>) -> Result<(), StoreError> {
        for (field, kind) in SHARES {
            let shares = |it: &SaveSession| it.shares.contains(&field);
            let before = self.tx.imported(&self.order.source, kind).await?;
            if before.is_empty() && !list.things.iter().any(shares) {
                continue;
            }
            let ids = list.things.iter().filter(|it| shares(it)).map(|it| it.external_id.clone()).collect();
            let others = self.shares_of_others(kind, &ids).await?;
            let mut own = BTreeSet::new();
            for session in list.things.iter_mut().filter(|it| shares(it)) {
                let id = session.external_id.clone();
                let names = if field == "groups" { &mut session.groups } else { &mut session.rooms };
                own.extend(names.iter().map(|name| format!("{id}\t{name}")));
                for name in others.get(&id).into_iter().flatten() {
                    if !names.contains(name) {
                        names.push(name.clone());
                    }
                }
            }
            let ids: BTreeSet<&str> = list.things.iter().map(|it| it.external_id.as_str()).collect();
            let of_these = |name: &String| name.rsplit_once('\t').is_some_and(|(id, _)| ids.contains(id));
            let gone: Vec<String> = before.difference(&own).filter(|name| of_these(name)).cloned().collect();
            let fresh: Vec<&String> = own.difference(&before).collect();
            self.tx.forget_imported(&self.order.source, kind, &gone).await?;
            self.tx.note_imported(&self.order.source, kind, &fresh).await?;
        }
        Ok(())
    }

    /// The names that other sources have a share in, by session: of some sessions, or, where these are many, of all.
    async fn shares_of_others(
        &mut self,
        kind: &str,
        ids: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError> {
        let mut shares: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let source = &self.order.source;
        let names = match ids.len() > MANY_SESSIONS {
            true => self.tx.imported_by_others(source, kind).await?,
            false => self.tx.imported_by_others_of(source, kind, ids).await?,
        };
        for name in names {
            if let Some((id, name)) = name.rsplit_once('\t') {
                shares.entry(id.to_owned()).or_default().insert(name.to_owned());
            }
        }
        Ok(shares)
    }

    /// What this source had a share in, of sessions that it does not name any more and others do, is theirs alone.
    async fn take_shares_back(&mut self, gone: &Gone) -> Result<(), StoreError> {
        let ids: BTreeSet<&str> = gone.names.iter().chain(&gone.elsewhere).map(String::as_str).collect();
        for (field, kind) in SHARES {
            let own = self.tx.imported(&self.order.source, kind).await?;
            let of_these = |name: &&String| name.rsplit_once('\t').is_some_and(|(id, _)| ids.contains(id));
            let lost: Vec<String> = own.iter().filter(of_these).cloned().collect();
            if lost.is_empty() {
                continue;
            }
            self.tx.forget_imported(&self.order.source, kind, &lost).await?;
            let ids =
                lost.iter().filter_map(|name| name.rsplit_once('\t')).map(|(id, _)| id.to_owned()).collect();
            let others = self.shares_of_others(kind, &ids).await?;
            let left = lost.iter().filter_map(|name| name.rsplit_once('\t')).map(|(id, _)| id);
            let left: BTreeSet<&str> = left.filter(|id| others.contains_key(*id)).collect();
            let zone = self.hub.zone();
            // What was held stays as it was held.
            let mut stored = self.tx.by_keys::<Session>(left.iter().copied()).await?;
            stored.retain(|session| session.starts_at > self.hub.now().0);
            let mut list = List::default();
            for session in stored {
                let Some(id) = session.external_id else { continue };
                let names: Vec<String> = others.get(&id).into_iter().flatten().cloned().collect();
                let (groups, rooms) =
                    if field == "groups" { (names, Vec::new()) } else { (Vec::new(), names) };
                let other = if field == "groups" { "rooms" } else { "groups" };
                let unsaid = Unsaid(vec!["times", "title", "course", "kind", "cancelled", other]);
                let it = SaveSession {
                    external_id: id,
                    title: session.title,
                    kind: session.kind,
                    course: None,
                    starts_at: DateTime::new(session.starts_at, zone),
                    ends_at: DateTime::new(session.ends_at, zone),
                    rooms,
                    groups,
                    cancelled: session.cancelled,
                    old_rooms_until: None,
                    unsaid,
                    shares: Vec::new(),
                };
                list.push(it, &"sessions".into(), 0);
            }
            if !list.things.is_empty() {
                self.put("sessions", &list).await?;
            }
        }
        Ok(())
    }
}
