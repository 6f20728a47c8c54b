//! Enrolments by the ids that a source gives them: a difference names classes, students and enrolments by these alone, and one
//! whose first day is another now is the same enrolment still.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::super::memberships::SaveMembership;
use super::super::people::SaveStudent;
use super::super::timetable::SaveGroup;
use super::Work;
use crate::import::oneroster::{BEGINS_NEVER, NO_STUDENT, TERMS, TERMS_OF_CLASSES};
use crate::import::{Dropped, Facts, List, Place};
use crate::scalar::LocalDate;
use crate::store::StoreError;

/// Of which kind is kept which stay an enrolment was: id, group, student and first day.
const ENROLMENTS: &str = "enrolments";
/// And which it was when the source took it back: said again, that takes no other with it.
const ENDED: &str = "enrolments ended";

/// What a source calls courses and students by.
const COURSES: &str = "courses by id";
const USERS: &str = "users by id";
/// And which last day it gave a stay, where it gave one: group, student, first and last day.
const ENDS: &str = "ends of memberships";

/// A stay by group, student and first day.
type Named = (String, String, String);

/// What the files say of stays, in our names.
pub(super) struct Enrolled<'a> {
    /// The stays.
    pub(super) list: Cow<'a, List<SaveMembership>>,
    /// Those that are to end.
    pub(super) dropped: Vec<(String, String, Option<String>)>,
    /// What the source names no more, whether it ends or is somebody else's stay too.
    pub(super) forgotten: Vec<String>,
    /// Those that enrolments were which now begin on another day, by group, student, first day and the day that it is now.
    pub(super) moved: Vec<(String, String, String, String)>,
}

impl Work<'_> {
    /// Puts the ids of a source into our names, and says what became of the stays that its enrolments were.
    pub(super) async fn enrolled<'a>(&mut self, facts: &'a Facts) -> Result<Enrolled<'a>, StoreError> {
        for kind in ["classes by id", USERS, TERMS, TERMS_OF_CLASSES] {
            self.keep_ids_of(kind, facts).await?;
        }
        let mut list = Cow::Borrowed(&facts.memberships);
        if !facts.undated.is_empty() {
            self.date_by_class(facts, list.to_mut()).await?;
        }
        let mut dropped = facts.dropped.clone();
        if !facts.by_id.is_empty() || dropped.iter().any(|stay| stay.by_id != (false, false)) {
            let classes = self.ids("classes by id").await?;
            let users = self.ids(USERS).await?;
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
                now.insert(id, name_of(stay));
            }
        }
        // What another enrolment is, of this source or of another, is nothing that this one takes with it.
        let elsewhere = match now.is_empty() && dropped.is_empty() {
            true => BTreeSet::new(),
            false => self.tx.imported_by_others(&self.order.source, "memberships").await?,
        };
        let over: BTreeSet<&str> = dropped.iter().filter_map(|it| it.id.as_deref()).collect();
        let stays_as_it_was = |id: &str| !now.contains_key(id) && !over.contains(id);
        let others = known.iter().filter(|(id, _)| stays_as_it_was(id));
        let others: BTreeSet<&str> = others.map(|(_, it)| it.as_str()).collect();
        let is_anothers = |was: &str| elsewhere.contains(was) || others.contains(was);
        let (mut moved, mut ended, mut forgotten) = (Vec::new(), Vec::new(), Vec::new());
        for (id, is) in &now {
            let Some(was) = known.get(*id).filter(|was| *was != is && !others.contains(was.as_str())) else {
                continue;
            };
            forgotten.push(was.clone());
            if is_anothers(was) {
                continue;
            }
            if let (Some((group, student, from)), Some(to)) = (named(was), named(is)) {
                if (&group, &student) == (&to.0, &to.1) {
                    moved.push((group, student, from, to.2));
                } else {
                    ended.push((group, student, Some(from)));
                }
            }
        }
        let mut over: BTreeMap<&str, String> = BTreeMap::new();
        let mut nameless: Vec<(&String, &String)> = Vec::new();
        for Dropped { id, group, student, .. } in &dropped {
            // No stay begins on such a day: but whether there are such a group and student is looked up.
            ended.push((group.clone(), student.clone(), Some(String::new())));
            match id.as_ref().map(|id| (id, known.get(id).or_else(|| before.get(id)))) {
                Some((id, Some(was))) => {
                    over.insert(id, was.clone());
                    if !others.contains(was.as_str()) {
                        forgotten.push(was.clone());
                    }
                    if let Some((group, student, from)) = named(was).filter(|_| !is_anothers(was)) {
                        ended.push((group, student, Some(from)));
                    }
                }
                // One that came before its ids were kept.
                Some((_, None)) => nameless.push((group, student)),
                None => ended.push((group.clone(), student.clone(), None)),
            }
        }
        if !nameless.is_empty() {
            let ours = self.tx.imported(&self.order.source, "memberships").await?;
            for (group, student) in nameless {
                let prefix = format!("{group}\t{student}\t");
                let of_both = ours.range(prefix.clone()..).take_while(|name| name.starts_with(&prefix));
                let none_else = of_both.filter(|name| !is_anothers(name)).filter_map(|name| named(name));
                for (group, student, from) in none_else {
                    forgotten.push(format!("{group}\t{student}\t{from}"));
                    ended.push((group, student, Some(from)));
                }
            }
        }
        let mut gone: Vec<String> = over.keys().map(|id| (*id).to_owned()).collect();
        if facts.whole.contains(&"memberships") {
            gone.extend(known.keys().filter(|id| !now.contains_key(id.as_str())).cloned());
        }
        let back: Vec<String> = now.keys().map(|id| (*id).to_owned()).collect();
        self.keep_ids(ENROLMENTS, &now, &gone).await?;
        self.keep_ids(ENDED, &over, &back).await?;
        Ok(Enrolled { list, dropped: ended, forgotten, moved })
    }

    /// Gives stays the days of their classes, by the academic sessions that the source has named by now.
    async fn date_by_class(
        &mut self,
        facts: &Facts,
        list: &mut List<SaveMembership>,
    ) -> Result<(), StoreError> {
        let terms = self.ids(TERMS).await?;
        let of_classes = self.ids(TERMS_OF_CLASSES).await?;
        let term = |id: &str| {
            let (first, last) = terms.get(id)?.split_once('/')?;
            Some((LocalDate(first.parse().ok()?), LocalDate(last.parse().ok()?)))
        };
        for (index, undated) in &facts.undated {
            let Some(stay) = list.things.get_mut(*index) else { continue };
            // Where not all are known, nobody knows when it begins or ends.
            let days = of_classes.get(&undated.class).and_then(|ids| ids.split(',').map(term).collect());
            let days: Vec<(LocalDate, LocalDate)> = days.unwrap_or_default();
            if undated.begins {
                let Some(first) = days.iter().map(|(first, _)| *first).min() else {
                    let (file, row) = facts.memberships.places.get(*index).cloned().unwrap_or_default();
                    let place = Place { file, row, column: Some("beginDate".to_owned()) };
                    self.report.problems.add(place, BEGINS_NEVER);
                    continue;
                };
                stay.from = first;
            }
            let last = days.iter().map(|(_, last)| *last).max();
            stay.until = stay.until.or(last.filter(|last| *last >= stay.from));
        }
        Ok(())
    }

    /// The stays of which the source says something new, and how many others there are: those it says as it did before stay as they
    /// are, whatever a person has made of them since.
    pub(super) async fn said_anew<'a>(
        &mut self,
        list: &'a List<SaveMembership>,
    ) -> Result<(Cow<'a, List<SaveMembership>>, usize), StoreError> {
        let before = self.tx.imported(&self.order.source, "memberships").await?;
        let ends = self.tx.imported(&self.order.source, ENDS).await?;
        let ends: BTreeMap<&str, &str> = ends.iter().filter_map(|end| end.rsplit_once('\t')).collect();
        let mut uses: BTreeMap<String, usize> = BTreeMap::new();
        list.things.iter().for_each(|stay| *uses.entry(name_of(stay)).or_default() += 1);
        let (mut fresh, mut stale, mut same) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
        for (index, stay) in list.things.iter().enumerate() {
            let name = name_of(stay);
            let (is, was) = (stay.until.map(|until| until.0.to_string()), ends.get(name.as_str()).copied());
            if is.as_deref() != was {
                fresh.extend(is.map(|is| format!("{name}\t{is}")));
                stale.extend(was.map(|was| format!("{name}\t{was}")));
            } else if before.contains(&name) && uses.get(&name) == Some(&1) {
                same.insert(index);
            }
        }
        self.tx.forget_imported(&self.order.source, ENDS, &stale).await?;
        self.tx.note_imported(&self.order.source, ENDS, &fresh.iter().collect::<Vec<_>>()).await?;
        if same.is_empty() {
            return Ok((Cow::Borrowed(list), 0));
        }
        let mut anew = List { columns: list.columns.clone(), ..List::default() };
        let said = list.things.iter().zip(&list.places).enumerate();
        for (_, (stay, (file, row))) in said.filter(|(index, _)| !same.contains(index)) {
            anew.push(stay.clone(), file, *row);
        }
        Ok((Cow::Owned(anew), same.len()))
    }

    /// Forgets that the source named stays which it has taken back since: said again, they are news.
    pub(super) async fn forget_stays(&mut self, taken_back: Vec<String>) -> Result<(), StoreError> {
        self.tx.forget_imported(&self.order.source, "memberships", &taken_back).await
    }

    /// The groups, with courses by our names.
    pub(super) async fn with_courses<'a>(
        &mut self,
        facts: &'a Facts,
    ) -> Result<Cow<'a, List<SaveGroup>>, StoreError> {
        self.keep_ids_of(COURSES, facts).await?;
        let mut groups = Cow::Borrowed(&facts.groups);
        if !facts.courses_by_id.is_empty() {
            let courses = self.ids(COURSES).await?;
            for index in &facts.courses_by_id {
                if let Some(group) = groups.to_mut().things.get_mut(*index)
                    && let Some(code) = courses.get(&group.course)
                {
                    group.course.clone_from(code);
                }
            }
        }
        Ok(groups)
    }

    /// The students of some files: those of a difference as the source's ids name them, without users who never were students.
    pub(super) async fn with_users<'a>(
        &mut self,
        facts: &'a Facts,
    ) -> Result<Cow<'a, List<SaveStudent>>, StoreError> {
        if facts.users.is_empty() {
            return Ok(Cow::Borrowed(&facts.students));
        }
        let known = self.ids(USERS).await?;
        let mut list = List { columns: facts.students.columns.clone(), ..List::default() };
        for (index, student) in facts.students.things.iter().enumerate() {
            let Some((file, row)) = facts.students.places.get(index) else { continue };
            let mut student = student.clone();
            if let Some(user) = facts.users.get(&index) {
                match known.get(&user.id) {
                    Some(number) if user.by_id => student.number.clone_from(number),
                    None if !user.studies => {
                        let place = Place { file: file.clone(), row: *row, column: None };
                        self.report.notes.add(place, NO_STUDENT);
                        continue;
                    }
                    _ => {}
                }
            }
            list.push(student, file, *row);
        }
        Ok(Cow::Owned(list))
    }

    /// Keeps what the files say of ids of a kind.
    async fn keep_ids_of(&mut self, kind: &'static str, facts: &Facts) -> Result<(), StoreError> {
        let ids = facts.ids.iter().filter(|(of, ..)| *of == kind);
        let ids = ids.map(|(_, id, name)| (id.as_str(), name.clone())).collect();
        self.keep_ids(kind, &ids, &[]).await
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

/// The names among `before` of all stays of groups and students that end.
pub(super) fn taken_back(
    before: &BTreeSet<String>,
    ended: &[(String, String, Option<String>)],
) -> Vec<String> {
    let whole = ended.iter().filter(|(.., from)| from.is_none());
    let names = whole.flat_map(|(group, student, _)| {
        let name = format!("{group}\t{student}\t");
        before.range(name.clone()..).take_while(move |it| it.starts_with(&name)).cloned()
    });
    names.collect()
}

/// The name of a stay, as sources give it.
pub(super) fn name_of(stay: &SaveMembership) -> String {
    format!("{}\t{}\t{}", stay.group, stay.student, stay.from.0)
}

fn named(text: &str) -> Option<Named> {
    let mut parts = text.split('\t').map(str::to_owned);
    Some((parts.next()?, parts.next()?, parts.next()?))
}
