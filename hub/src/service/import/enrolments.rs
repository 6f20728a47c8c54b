//! Enrolments by the ids that a source gives them: a difference names classes, students and enrolments by these alone, and one
//! whose first day is another now is the same enrolment still.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::super::memberships::SaveMembership;
use super::Work;
use crate::import::{Dropped, Facts, List};
use crate::store::StoreError;

/// Of which kind is kept which stay an enrolment was: id, group, student and first day.
const ENROLMENTS: &str = "enrolments";
/// And which it was when the source took it back: said again, that takes no other with it.
const ENDED: &str = "enrolments ended";

/// A stay by group, student and first day.
type Named = (String, String, String);

/// What the files say of stays, in our names.
pub(super) struct Enrolled<'a> {
    /// The stays.
    pub(super) list: Cow<'a, List<SaveMembership>>,
    /// Those that are to end.
    pub(super) dropped: Vec<(String, String, Option<String>)>,
    /// Those that enrolments were which now begin on another day, by group, student, first day and the day that it is now.
    pub(super) moved: Vec<(String, String, String, String)>,
}

impl Work<'_> {
    /// Puts the ids of a source into our names, and says what became of the stays that its enrolments were.
    pub(super) async fn enrolled<'a>(&mut self, facts: &'a Facts) -> Result<Enrolled<'a>, StoreError> {
        for kind in ["classes by id", "users by id"] {
            let ids = facts.ids.iter().filter(|(of, ..)| *of == kind);
            let ids = ids.map(|(_, id, name)| (id.as_str(), name.clone())).collect();
            self.keep_ids(kind, &ids, &[]).await?;
        }
        let mut list = Cow::Borrowed(&facts.memberships);
        let mut dropped = facts.dropped.clone();
        if !facts.by_id.is_empty() || dropped.iter().any(|stay| stay.by_id != (false, false)) {
            let classes = self.ids("classes by id").await?;
            let users = self.ids("users by id").await?;
            let ours = |(group, student): (&mut String, &mut String), by_id: (bool, bool)| {
                for (name, names, by_id) in [(group, &classes, by_id.0), (student, &users, by_id.1)] {
                    if let Some(ours) = names.get(name).filter(|_| by_id) {
                        name.clone_from(ours);
                    }
                }
            };
            for (index, by_id) in &facts.by_id {
                if let Some(stay) = list.to_mut().things.get_mut(*index) {
                    ours((&mut stay.group, &mut stay.student), *by_id);
                }
            }
            for stay in &mut dropped {
                ours((&mut stay.group, &mut stay.student), stay.by_id);
            }
        }
        let known = self.ids(ENROLMENTS).await?;
        let before = self.ids(ENDED).await?;
        let mut now: BTreeMap<&str, String> = BTreeMap::new();
        for (id, index) in &facts.enrolments {
            if let Some(stay) = list.things.get(*index) {
                now.insert(id, format!("{}\t{}\t{}", stay.group, stay.student, stay.from.0));
            }
        }
        // What another enrolment is, of this source or of another, is nothing that this one takes with it.
        let elsewhere = match now.is_empty() {
            true => BTreeSet::new(),
            false => self.tx.imported_by_others(&self.order.source, "memberships").await?,
        };
        let is_anothers = |id: &str, was: &str| {
            elsewhere.contains(was)
                || known
                    .iter()
                    .any(|(other, it)| other != id && !now.contains_key(other.as_str()) && it == was)
        };
        let (mut moved, mut ended) = (Vec::new(), Vec::new());
        for (id, is) in &now {
            let was = known.get(*id).filter(|was| *was != is);
            let Some(was) = was.filter(|was| !is_anothers(id, was)) else { continue };
            if let (Some((group, student, from)), Some(to)) = (named(was), named(is)) {
                if (&group, &student) == (&to.0, &to.1) {
                    moved.push((group, student, from, to.2));
                } else {
                    ended.push((group, student, Some(from)));
                }
            }
        }
        let mut over: BTreeMap<&str, String> = BTreeMap::new();
        for Dropped { id, group, student, .. } in &dropped {
            let was = id.as_ref().and_then(|id| known.get(id).or_else(|| before.get(id)));
            if let (Some(id), Some(was)) = (id, was) {
                over.insert(id, was.clone());
            }
            let was = was.and_then(|was| named(was)).filter(|was| (&was.0, &was.1) == (group, student));
            ended.push((group.clone(), student.clone(), was.map(|(.., from)| from)));
        }
        let mut gone: Vec<String> = over.keys().map(|id| (*id).to_owned()).collect();
        if facts.whole.contains(&"memberships") {
            gone.extend(known.keys().filter(|id| !now.contains_key(id.as_str())).cloned());
        }
        let back: Vec<String> = now.keys().map(|id| (*id).to_owned()).collect();
        self.keep_ids(ENROLMENTS, &now, &gone).await?;
        self.keep_ids(ENDED, &over, &back).await?;
        Ok(Enrolled { list, dropped: ended, moved })
    }

    /// What a source means by its ids of a kind.
    async fn ids(&mut self, kind: &str) -> Result<BTreeMap<String, String>, StoreError> {
        let names = self.tx.imported(&self.order.source, kind).await?;
        let parts = names.iter().filter_map(|name| name.split_once('\t'));
        Ok(parts.map(|(id, name)| (id.to_owned(), name.to_owned())).collect())
    }

    /// Keeps what a source means by ids of a kind, and forgets others.
    async fn keep_ids(
        &mut self,
        kind: &'static str,
        ids: &BTreeMap<&str, String>,
        over: &[String],
    ) -> Result<(), StoreError> {
        if ids.is_empty() && over.is_empty() {
            return Ok(());
        }
        let known = self.ids(kind).await?;
        let (mut fresh, mut stale) = (Vec::new(), Vec::new());
        for (id, name) in ids {
            let was = known.get(*id);
            if was != Some(name) {
                fresh.push(format!("{id}\t{name}"));
                stale.extend(was.map(|was| format!("{id}\t{was}")));
            }
        }
        let over = over.iter().filter(|id| !ids.contains_key(id.as_str()) && known.contains_key(id.as_str()));
        stale.extend(over.filter_map(|id| Some(format!("{id}\t{}", known.get(id)?))));
        self.tx.forget_imported(&self.order.source, kind, &stale).await?;
        self.tx.note_imported(&self.order.source, kind, &fresh.iter().collect::<Vec<_>>()).await
    }
}

fn named(text: &str) -> Option<Named> {
    let mut parts = text.split('\t').map(str::to_owned);
    Some((parts.next()?, parts.next()?, parts.next()?))
}
