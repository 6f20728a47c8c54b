//! Enrolments by the ids that a source gives them: a difference names classes, students and enrolments by these alone, and one
//! whose first day is another now is the same enrolment still.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::memberships::SaveMembership;
use super::Work;
use crate::import::{Dropped, Facts, List};
use crate::store::StoreError;

/// Of which kind is kept which stay an enrolment was: id, group, student and first day.
const ENROLMENTS: &str = "enrolments";

/// A stay by group, student and first day.
pub(super) type Named = (String, String, String);

/// What the files say of stays, in our names.
pub(super) struct Enrolled<'a> {
    /// The stays.
    pub(super) list: Cow<'a, List<SaveMembership>>,
    /// Those that are to end.
    pub(super) dropped: Vec<(String, String, Option<String>)>,
    /// Those that enrolments were which now begin on another day: they were never so.
    pub(super) moved: Vec<Named>,
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
        if facts.named_by_id {
            let classes = self.ids("classes by id").await?;
            let users = self.ids("users by id").await?;
            let ours = |names: &BTreeMap<String, String>, name: &mut String| {
                if let Some(ours) = names.get(name) {
                    name.clone_from(ours);
                }
            };
            for stay in &mut list.to_mut().things {
                ours(&classes, &mut stay.group);
                ours(&users, &mut stay.student);
            }
            for stay in &mut dropped {
                ours(&classes, &mut stay.group);
                ours(&users, &mut stay.student);
            }
        }
        let known = self.ids(ENROLMENTS).await?;
        let (mut now, mut moved, mut ended) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (id, index) in &facts.enrolments {
            let Some(stay) = list.things.get(*index) else { continue };
            let is = format!("{}\t{}\t{}", stay.group, stay.student, stay.from.0);
            if let Some((group, student, from)) =
                known.get(id).filter(|was| **was != is).and_then(|was| named(was))
            {
                if (group.as_str(), student.as_str()) == (stay.group.as_str(), stay.student.as_str()) {
                    moved.push((group, student, from));
                } else {
                    ended.push((group, student, Some(from)));
                }
            }
            now.insert(id.as_str(), is);
        }
        let mut over = Vec::new();
        for Dropped { id, group, student } in dropped {
            let was = id.as_ref().and_then(|id| known.get(id)).and_then(|was| named(was));
            let from = was.filter(|was| (&was.0, &was.1) == (&group, &student)).map(|(.., from)| from);
            over.extend(id.filter(|id| known.contains_key(id)));
            ended.push((group, student, from));
        }
        self.keep_ids(ENROLMENTS, &now, &over).await?;
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
        let over = over.iter().filter(|id| !ids.contains_key(id.as_str()));
        stale.extend(over.filter_map(|id| Some(format!("{id}\t{}", known.get(id)?))));
        self.tx.forget_imported(&self.order.source, kind, &stale).await?;
        self.tx.note_imported(&self.order.source, kind, &fresh.iter().collect::<Vec<_>>()).await
    }
}

fn named(text: &str) -> Option<Named> {
    let mut parts = text.split('\t').map(str::to_owned);
    Some((parts.next()?, parts.next()?, parts.next()?))
}
