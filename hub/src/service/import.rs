//! Imports: everything that some files say goes into one transaction, with what follows from it, and stays there or
//! not as a whole.
//!
//! A dry run does all of it and lets go of the transaction, so what it says of registers is what would happen.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_rules::card::CardRead;

use super::attempt::Attempt;
use super::bulk::{Put, Save, Tally};
use super::memberships::{lasting, leave, never_were};
use super::refusal::Check;
use super::{Caller, Hub, News, Touched};
use crate::import::{Facts, List, MAX_PROBLEMS, Place, Problems};
use crate::store::entity::{Session, Student};
use crate::store::{Boxed, StoreError, Tx};

mod cards;
mod enrolments;
mod sessions;

/// How an import is to be made.
#[derive(Debug, Clone)]
pub struct Order {
    /// Under which name this source is known: what it named before and does not name any more goes.
    pub source: String,
    /// Only say what would come of it.
    pub dry_run: bool,
    /// Let more than a tenth of what the source named before go.
    pub accept_removals: bool,
}

/// What came, or would come, of an import.
#[derive(Debug, Default)]
pub struct Report {
    /// What became of each kind, in the order of saving; kinds that do not occur are left out.
    pub kinds: Vec<(&'static str, Tally)>,
    /// How many registers it derived anew.
    pub registers: usize,
    /// How many marks that there were before are others now.
    pub marks_changed: usize,
    /// The registers that those stand in, by the start of their session: the first [`MOST_REGISTERS`].
    pub registers_changed: Vec<RegisterChanged>,
    /// What was left out.
    pub notes: Problems,
    /// What keeps it from being applied.
    pub problems: Problems,
    /// Whether it is in.
    pub applied: bool,
}

/// A register of which marks that there were are others by an import.
#[derive(Debug, Clone)]
pub struct RegisterChanged {
    /// Its session, as it is by the import.
    pub session: Session,
    /// How many marks.
    pub marks_changed: usize,
}

/// Of how many registers a report says that they change.
pub const MOST_REGISTERS: usize = 1000;

/// The part of what a source named before that may go unasked, as one in so many.
const REMOVALS_UNASKED: usize = 10;

/// Imports what some files say.
///
/// # Errors
/// When the store fails; nothing is changed then.
pub async fn import(
    hub: &Hub,
    caller: Option<&Caller>,
    facts: &Facts,
    order: &Order,
) -> Result<Report, StoreError> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let (ready, mut report) = prepare(attempt, caller, facts, order).await?;
            if let Some(ready) = ready.filter(|_| !order.dry_run) {
                ready.commit(hub).await?;
                report.applied = true;
            }
            Ok(report)
        })
    })
    .await
}

/// An import that is done but for the commit; dropped, it leaves nothing behind. Nobody else writes meanwhile.
pub(super) struct Ready {
    pub(super) tx: Tx,
    news: Vec<News>,
}

impl Ready {
    pub(super) async fn commit(self, hub: &Hub) -> Result<(), StoreError> {
        self.tx.commit().await?;
        hub.tell(self.news);
        Ok(())
    }
}

/// Does all of an import but the commit, if nothing keeps it from being applied.
pub(super) fn prepare<'a>(
    attempt: Attempt<'a>,
    caller: Option<&'a Caller>,
    facts: &'a Facts,
    order: &'a Order,
) -> Boxed<'a, Result<(Option<Ready>, Report), StoreError>> {
    Box::pin(prepare_all(attempt, caller, facts, order))
}

async fn prepare_all(
    attempt: Attempt<'_>,
    caller: Option<&Caller>,
    facts: &Facts,
    order: &Order,
) -> Result<(Option<Ready>, Report), StoreError> {
    let hub = attempt.hub();
    let report = Report { problems: facts.problems.clone(), ..Report::default() };
    if report.problems.count > 0 {
        return Ok((None, report));
    }
    let mut work = Work {
        hub,
        tx: attempt.write().await?,
        touched: Touched::default(),
        order,
        report,
        named_credentials: BTreeMap::new(),
    };
    work.save("buildings", &facts.buildings, |it| &it.code, facts).await?;
    work.save("rooms", &facts.rooms, |it| &it.code, facts).await?;
    work.save("readers", &facts.readers, |it| &it.code, facts).await?;
    work.save("courses", &facts.courses, |it| &it.code, facts).await?;
    let groups = work.with_courses(facts).await?;
    work.save("groups", &groups, |it| &it.code, facts).await?;
    let students = work.with_users(facts).await?;
    work.save("students", &students, |it| &it.number, facts).await?;
    let cards = work.cards_again(&facts.cards).await?;
    work.save("cards", &cards, |it| &it.code, facts).await?;
    work.save_memberships(facts).await?;
    work.save_sessions(facts).await?;
    let Work { mut tx, mut touched, mut report, .. } = work;
    touched.was.source = Some(order.source.clone());
    if report.problems.count > 0 {
        return Ok((None, report));
    }
    let news = hub.derive(&mut tx, touched, caller).await?;
    let mut changed = BTreeMap::new();
    for piece in &news {
        if let News::Register { session, marks_changed } = piece {
            report.registers += 1;
            report.marks_changed += marks_changed;
            changed.insert(*session, *marks_changed);
        }
    }
    changed.retain(|_, marks_changed| *marks_changed > 0);
    let mut sessions = tx.by_ids::<Session>(changed.keys().copied()).await?;
    sessions.sort_by_key(|session| (session.starts_at, session.id));
    sessions.truncate(MOST_REGISTERS);
    let told = |session: Session| {
        let marks_changed = changed.get(&session.id).copied().unwrap_or_default();
        RegisterChanged { session, marks_changed }
    };
    report.registers_changed = sessions.into_iter().map(told).collect();
    Ok((Some(Ready { tx, news }), report))
}

use enrolments::{Enrolled, name_of, taken_back};

/// What a source named and does not name any more.
#[derive(Default)]
struct Gone {
    names: Vec<String>,
    /// What another source still names.
    elsewhere: BTreeSet<String>,
    /// What it named.
    before: BTreeSet<String>,
}

struct Work<'a> {
    hub: &'a Hub,
    tx: Tx,
    touched: Touched,
    order: &'a Order,
    report: Report,
    /// From when the cards that the files name are known by a credential.
    named_credentials: BTreeMap<CardRead, Vec<i64>>,
}

impl Work<'_> {
    async fn save<S: Save>(
        &mut self,
        kind: &'static str,
        list: &List<S>,
        name: fn(&S) -> &str,
        facts: &Facts,
    ) -> Result<(), StoreError> {
        let whole = facts.whole.contains(&kind);
        if list.things.is_empty() && !whole {
            return Ok(());
        }
        if self.report.problems.count > 0 {
            return self.look(kind, list).await;
        }
        tracing::info!("{} {kind}", list.things.len());
        let names = list.things.iter().map(|thing| name(thing).to_owned()).collect();
        let gone = self.gone(kind, names, |_| whole).await?;
        // Before the rest: what a card that has gone was known by may be another's by now.
        let (removed, of) = match kind {
            "students" => self.withdraw(&gone).await?,
            "cards" => self.end_cards(&gone).await?,
            // A place, a course or a group that is not named any more harms nobody, and history rests on it.
            _ => (0, 0),
        };
        let mut put = self.put(kind, list).await?;
        put.tally.removed = removed;
        if self.report.problems.count == 0 {
            self.guard(kind, &gone, removed, of);
        }
        self.report.kinds.push((kind, put.tally));
        Ok(())
    }

    async fn save_memberships(&mut self, facts: &Facts) -> Result<(), StoreError> {
        let kind = "memberships";
        let whole = facts.whole.contains(&kind);
        let nothing = facts.memberships.things.is_empty() && facts.dropped.is_empty() && facts.ids.is_empty();
        if nothing && !whole {
            return Ok(());
        }
        if self.report.problems.count > 0 {
            return self.look(kind, &facts.memberships).await;
        }
        let Enrolled { list, dropped, forgotten, moved } = self.enrolled(facts).await?;
        if self.report.problems.count > 0 {
            return self.look(kind, &facts.memberships).await;
        }
        if list.things.is_empty() && dropped.is_empty() && !whole {
            return Ok(());
        }
        let list = &*list;
        tracing::info!("{} {kind}", list.things.len());
        let (anew, as_before) = self.said_anew(list).await?;
        let mut put = self.put(kind, &anew).await?;
        put.tally.unchanged += as_before;
        let names: BTreeSet<String> = list.things.iter().map(name_of).collect();
        let gone = self.gone(kind, names.clone(), |_| whole).await?;
        let mut stays: Vec<(&str, &str, Option<&str>)> = Vec::new();
        for name in &gone.names {
            let mut parts = name.split('\t');
            if let (Some(group), Some(student), from) = (parts.next(), parts.next(), parts.next()) {
                stays.push((group, student, from));
            }
        }
        let of = lasting(self.hub, &mut self.tx, &gone.before).await?;
        let kept: BTreeSet<(&str, &str, String)> = list
            .things
            .iter()
            .map(|stay| (stay.group.as_str(), stay.student.as_str(), stay.from.0.to_string()))
            .collect();
        // Before those that are named no more end: of an enrolment that now begins on another day nothing was ever so.
        let (touched, never) = never_were(&mut self.tx, &moved, &kept).await?;
        self.touched.extend(touched);
        let left = leave(self.hub, &mut self.tx, &stays, &kept).await?;
        self.guard(kind, &gone, left.count, of);
        let stays: Vec<(&str, &str, Option<&str>)> = dropped
            .iter()
            .map(|(group, student, from)| (group.as_str(), student.as_str(), from.as_deref()))
            .collect();
        let back = taken_back(&gone.before, &dropped).into_iter().chain(forgotten);
        let back = back.filter(|name| !names.contains(name)).collect();
        self.forget_stays(back).await?;
        let dropped = leave(self.hub, &mut self.tx, &stays, &kept).await?;
        for (group, student) in dropped.unknown.iter().filter(|(group, _)| !facts.optional.contains(group)) {
            let place = Place { file: kind.into(), row: 0, column: None };
            let message = format!(
                "the stay of '{student}' in '{group}' is to be taken back, and one of them is not there"
            );
            self.report.problems.add(place, message);
        }
        self.touched.extend(left.touched);
        self.touched.extend(dropped.touched);
        put.tally.removed = left.count + dropped.count + never;
        self.report.kinds.push((kind, put.tally));
        Ok(())
    }

    async fn put<S: Save>(&mut self, kind: &str, list: &List<S>) -> Result<Put, StoreError> {
        self.put_checked(kind, list, Check::listing(MAX_PROBLEMS)).await
    }

    /// Looks for what is wrong with some things though others, on which they may rest, were refused already.
    async fn look<S: Save>(&mut self, kind: &str, list: &List<S>) -> Result<(), StoreError> {
        self.put_checked(kind, list, Check::listing(MAX_PROBLEMS).alone()).await.map(drop)
    }

    async fn put_checked<S: Save>(
        &mut self,
        kind: &str,
        list: &List<S>,
        mut check: Check,
    ) -> Result<Put, StoreError> {
        let mut put = S::put(self.hub, &mut self.tx, &mut check, &list.things).await?;
        self.touched.extend(std::mem::take(&mut put.touched));
        self.report.problems.count += check.unlisted();
        for refusal in check.refusals().unwrap_or_default() {
            let (index, field) = (refusal.path.get(1), refusal.path.get(2));
            let at =
                index.and_then(|index| index.parse::<usize>().ok()).and_then(|index| list.places.get(index));
            let column = field.map(|field| list.columns.get(field).unwrap_or(field).clone());
            let place = match at {
                Some((file, row)) => Place { file: file.clone(), row: *row, column },
                None => Place { file: kind.into(), row: 0, column },
            };
            self.report.problems.add(place, refusal.message);
        }
        Ok(put)
    }

    /// What the source named before and does not name any more, as far as that is complete; and keeps what it names now.
    /// What another source still names stays.
    async fn gone(
        &mut self,
        kind: &'static str,
        names: BTreeSet<String>,
        complete: impl Fn(&str) -> bool,
    ) -> Result<Gone, StoreError> {
        if self.report.problems.count > 0 {
            return Ok(Gone::default());
        }
        let source = &self.order.source;
        let before = self.tx.imported(source, kind).await?;
        let fresh: Vec<&String> = names.difference(&before).collect();
        self.tx.note_imported(source, kind, &fresh).await?;
        let mut gone: Vec<String> =
            before.difference(&names).filter(|name| complete(name)).cloned().collect();
        self.tx.forget_imported(source, kind, &gone).await?;
        let elsewhere = self.tx.imported_by_any(kind, &gone).await?;
        gone.retain(|name| !elsewhere.contains(name));
        Ok(Gone { names: gone, elsewhere, before })
    }

    /// Keeps names of a kind, and forgets others.
    async fn remember(
        &mut self,
        kind: &'static str,
        names: &BTreeSet<&String>,
        others: &BTreeSet<&String>,
    ) -> Result<(), StoreError> {
        let known = self.tx.imported(&self.order.source, kind).await?;
        let fresh: Vec<&String> = names.iter().copied().filter(|name| !known.contains(*name)).collect();
        self.tx.note_imported(&self.order.source, kind, &fresh).await?;
        let gone: Vec<String> =
            others.iter().copied().filter(|name| known.contains(*name)).cloned().collect();
        self.tx.forget_imported(&self.order.source, kind, &gone).await
    }

    /// Refuses an import by which more than a tenth goes of what the source named and could go.
    fn guard(&mut self, kind: &'static str, gone: &Gone, removed: usize, of: usize) {
        if removed * REMOVALS_UNASKED <= of || self.order.accept_removals {
            return;
        }
        let some =
            gone.names.iter().take(3).map(|name| name.replace('\t', " / ")).collect::<Vec<_>>().join(", ");
        let message = format!(
            "{removed} of {} {kind} that '{}' named before are not in it any more ({some}, …) and would go; say \
             --accept-removals (acceptRemovals over the API) if that is meant",
            of, self.order.source
        );
        self.report.problems.add(Place { file: kind.into(), row: 0, column: None }, message);
    }

    async fn withdraw(&mut self, gone: &Gone) -> Result<(usize, usize), StoreError> {
        use crate::store::entity::StudentState::{Active, Withdrawn};
        let mut students = self.tx.by_keys::<Student>(gone.before.iter().map(String::as_str)).await?;
        students.retain(|student| student.state == Active);
        let of = students.len();
        let names: BTreeSet<&String> = gone.names.iter().collect();
        students.retain(|student| names.contains(&student.number));
        students.iter_mut().for_each(|student| student.state = Withdrawn);
        self.tx.put(&students).await?;
        Ok((students.len(), of))
    }
}
