//! OneRoster 1.2 CSV (1EdTech, "OneRoster CSV Binding"): a zip of tables, whole or as differences.
//!
//! Courses, classes (our groups), students and their enrolments are read. Users are known again by `identifier` where the
//! files have it, else by `username` or `sourcedId`. Of orgs only the departments
//! that give courses are read. Teachers are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read as _};
use std::sync::Arc;

use jiff::civil::Date;
use zip::ZipArchive;

use super::{Dropped, Facts, Place, Undated, User};
use crate::scalar::LocalDate;
use crate::service::bulk::Unsaid;
use crate::service::memberships::SaveMembership;
use crate::service::people::SaveStudent;
use crate::service::timetable::{SaveCourse, SaveGroup};
use crate::store::entity::{MembershipReason, SessionKind, StudentState};

/// The most that a zip may hold unpacked, in bytes, all tables together.
const MAX_UNPACKED: u64 = super::MAX_FILE_BYTES;

/// The tables that are read; all others are left out.
const TABLES: [&str; 7] = ["academicSessions", "orgs", "courses", "classes", "users", "roles", "enrollments"];

/// A table: each row by its headings.
struct Table {
    name: Arc<str>,
    headings: BTreeMap<String, usize>,
    rows: Vec<(u64, csv::StringRecord)>,
    delta: bool,
}

impl Table {
    fn cell<'a>(&self, row: &'a csv::StringRecord, heading: &str) -> Option<&'a str> {
        self.headings
            .get(heading)
            .and_then(|index| row.get(*index))
            .map(str::trim)
            .filter(|it| !it.is_empty())
    }

    /// The first of some headings that a row fills.
    fn first(&self, row: &csv::StringRecord, headings: &[&str]) -> String {
        headings.iter().find_map(|heading| self.cell(row, heading)).unwrap_or_default().to_owned()
    }

    fn place(&self, row: u64, column: Option<&str>) -> Place {
        Place { file: self.name.clone(), row, column: column.map(str::to_owned) }
    }

    fn gone(&self, row: &csv::StringRecord) -> bool {
        self.cell(row, "status").is_some_and(|status| status.eq_ignore_ascii_case("tobedeleted"))
    }
}

/// Reads a zip into `facts`. Groups go by the `sourcedId` of classes, or with `by_code` by their `classCode`.
pub fn read(facts: &mut Facts, file: &str, bytes: &[u8], by_code: bool) {
    let tables = match unpack(facts, file, bytes) {
        Ok(tables) => tables,
        Err(message) => {
            let place = Place { file: file.into(), row: 0, column: None };
            return facts.problems.add(place, message);
        }
    };
    let terms = terms(facts, &tables);
    let courses = courses(facts, &tables);
    facts.ids.extend(courses.iter().map(|(id, code)| ("courses by id", id.clone(), code.clone())));
    let (classes, gone) = classes(facts, &tables, &courses, by_code);
    let students = students(facts, &tables);
    enrolments(facts, &tables, &terms, &classes, &students);
    // A class that is gone may never have come here.
    facts.optional = gone;
    for (table, list) in
        [("courses", "courses"), ("classes", "groups"), ("users", "students"), ("enrollments", "memberships")]
    {
        // Without roles the users who are not enrolled may be students all the same.
        let told = |users: &Table| users.headings.contains_key("role") || tables.contains_key("roles");
        if tables.get(table).is_some_and(|found| !found.delta && (table != "users" || told(found))) {
            facts.whole.push(list);
        }
    }
    let named = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(field, column)| ((*field).to_owned(), (*column).to_owned())).collect()
    };
    facts.students.columns = named(&[("number", "identifier"), ("name", "givenName")]);
    facts.groups.columns = named(&[("code", "classCode"), ("course", "courseSourcedId")]);
    facts.memberships.columns = named(&[
        ("group", "classSourcedId"),
        ("student", "userSourcedId"),
        ("from", "beginDate"),
        ("until", "endDate"),
    ]);
}

fn unpack(facts: &mut Facts, file: &str, bytes: &[u8]) -> Result<BTreeMap<&'static str, Table>, String> {
    let mut zip = ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| format!("is no whole zip file ({error}); fetch it again"))?;
    let names: Vec<String> = zip.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let mut left = MAX_UNPACKED;
    let mut text = |name: &str| -> Result<Option<String>, String> {
        let Some(path) = names.iter().find(|path| path.rsplit('/').next() == Some(name)) else {
            return Ok(None);
        };
        let member = zip.by_name(path).map_err(|error| format!("{name}: {error}"))?;
        let mut bytes = Vec::new();
        member
            .take(left + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("{name} cannot be unpacked: {error}"))?;
        left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            format!("its tables are larger than {} MiB together", MAX_UNPACKED / 1024 / 1024)
        })?;
        Ok(Some(super::text::decode(&bytes, None).map_err(|error| format!("{name} {error}"))?.0))
    };
    let manifest = text("manifest.csv")?.unwrap_or_default();
    let mut lines = csv::ReaderBuilder::new();
    let mut lines = lines.has_headers(false).flexible(true).from_reader(manifest.as_bytes());
    let mut modes: BTreeMap<String, String> = BTreeMap::new();
    for line in lines.records() {
        let line = line.map_err(|error| format!("manifest.csv: {error}"))?;
        if let (Some(property), Some(value)) = (line.get(0), line.get(1)) {
            modes.insert(property.trim().to_owned(), value.trim().to_ascii_lowercase());
        }
    }
    let mut tables = BTreeMap::new();
    for table in TABLES {
        let mode = modes.get(format!("file.{table}").as_str()).map_or("bulk", String::as_str);
        let Some(text) = text(&format!("{table}.csv"))?.filter(|_| mode != "absent") else { continue };
        let name: Arc<str> = format!("{file}:{table}.csv").into();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let headings = reader.headers().map_err(|error| format!("{table}.csv: {error}"))?;
        let headings = headings.iter().enumerate().map(|(at, name)| (name.trim().to_owned(), at)).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            facts.rows += 1;
            if facts.rows > super::MAX_ROWS {
                return Err(format!(
                    "{table}.csv: with it the import has more than {} rows; split it",
                    super::MAX_ROWS
                ));
            }
            match record {
                Ok(record) => {
                    let row = super::text::row(&text, record.position());
                    match record.iter().any(|cell| super::text::swallowed(cell, record.len(), ',')) {
                        true => {
                            let place = Place { file: name.clone(), row, column: None };
                            facts.problems.add(place, super::text::SWALLOWED.to_owned());
                        }
                        false => rows.push((row, record)),
                    }
                }
                Err(error) => {
                    let row = super::text::row(&text, error.position());
                    facts.problems.add(Place { file: name.clone(), row, column: None }, error.to_string());
                }
            }
        }
        tables.insert(table, Table { name, headings, rows, delta: mode == "delta" });
    }
    if !["enrollments", "users", "classes", "courses"].iter().any(|table| tables.contains_key(table)) {
        return Err("holds none of courses.csv, classes.csv, users.csv and enrollments.csv: is it a OneRoster export?".to_owned());
    }
    Ok(tables)
}

fn date(facts: &mut Facts, table: &Table, row: &(u64, csv::StringRecord), heading: &str) -> Option<Date> {
    let text = table.cell(&row.1, heading)?;
    let date = text.parse().ok();
    if date.is_none() {
        let message = format!("'{text}' is not a date YYYY-MM-DD");
        facts.problems.add(table.place(row.0, Some(heading)), message);
    }
    date
}

/// First and last day of each academic session. OneRoster's `endDate` is excluded (section 4.1 of the binding).
fn terms(facts: &mut Facts, tables: &BTreeMap<&'static str, Table>) -> BTreeMap<String, (Date, Date)> {
    let Some(table) = tables.get("academicSessions") else { return BTreeMap::new() };
    let mut terms = BTreeMap::new();
    for row in &table.rows {
        let id = table.first(&row.1, &["sourcedId"]);
        let (from, until) = (date(facts, table, row, "startDate"), date(facts, table, row, "endDate"));
        if let (Some(from), Some(Ok(until))) = (from, until.map(Date::yesterday)) {
            terms.insert(id, (from, until));
        }
    }
    terms
}

/// The orgs that are departments, by what they are called.
fn departments(tables: &BTreeMap<&'static str, Table>) -> BTreeMap<String, String> {
    let Some(table) = tables.get("orgs") else { return BTreeMap::new() };
    let rows = table.rows.iter().map(|(_, record)| record).filter(|record| !table.gone(record));
    rows.filter(|record| {
        table.cell(record, "type").is_some_and(|kind| kind.eq_ignore_ascii_case("department"))
    })
    .map(|record| (table.first(record, &["sourcedId"]), table.first(record, &["identifier", "name"])))
    .filter(|(_, name)| !name.is_empty())
    .collect()
}

fn courses(facts: &mut Facts, tables: &BTreeMap<&'static str, Table>) -> BTreeMap<String, String> {
    let Some(table) = tables.get("courses") else { return BTreeMap::new() };
    let departments = departments(tables);
    let mut codes = BTreeMap::new();
    for (row, record) in &table.rows {
        let code = table.first(record, &["courseCode", "sourcedId"]);
        let department = table.cell(record, "orgSourcedId").and_then(|org| departments.get(org)).cloned();
        let title = table.cell(record, "title").unwrap_or(&code).to_owned();
        codes.insert(table.first(record, &["sourcedId"]), code.clone());
        if table.gone(record) {
            continue;
        }
        let said = department.is_some() || (tables.contains_key("orgs") && !table.delta);
        let unsaid = Unsaid(if said { Vec::new() } else { vec!["department"] });
        facts.courses.push(SaveCourse { code, title, department, unsaid }, &table.name, *row);
    }
    codes
}

/// A class: its code, and the academic sessions that it runs in.
type Classes = BTreeMap<String, (String, Vec<String>)>;

fn classes(
    facts: &mut Facts,
    tables: &BTreeMap<&'static str, Table>,
    courses: &BTreeMap<String, String>,
    by_code: bool,
) -> (Classes, BTreeSet<String>) {
    let Some(table) = tables.get("classes") else { return Default::default() };
    let (mut classes, mut gone) = (BTreeMap::new(), BTreeSet::new());
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    let there = table.rows.iter().filter(|(_, record)| !table.gone(record));
    for code in there.filter_map(|(_, record)| table.cell(record, "classCode")) {
        *uses.entry(code).or_default() += 1;
    }
    for (row, record) in &table.rows {
        let id = table.first(record, &["sourcedId"]);
        let code =
            table.cell(record, "classCode").filter(|_| by_code).map_or_else(|| id.clone(), str::to_owned);
        if by_code && uses.get(code.as_str()).is_some_and(|count| *count > 1) {
            let message = format!("'{code}' is the code of several classes; let groups go by sourcedId");
            facts.problems.add(table.place(*row, Some("classCode")), message);
            continue;
        }
        if table.gone(record) {
            // Another class may have taken its code over.
            if !by_code || !uses.contains_key(code.as_str()) {
                gone.insert(code.clone());
            }
            classes.insert(id, (code, Vec::new()));
            continue;
        }
        let course = table.first(record, &["courseSourcedId"]);
        let course = match courses.get(&course) {
            Some(code) => code.clone(),
            // A difference does not bring along what has not changed.
            None if table.delta => {
                facts.courses_by_id.insert(facts.groups.things.len());
                course
            }
            None => {
                let message = format!("there is no course '{course}' in courses.csv");
                facts.problems.add(table.place(*row, Some("courseSourcedId")), message);
                continue;
            }
        };
        let terms = table.first(record, &["termSourcedIds"]);
        let terms =
            terms.split(',').map(str::trim).filter(|term| !term.is_empty()).map(str::to_owned).collect();
        classes.insert(id, (code.clone(), terms));
        let title = table.cell(record, "title").map(str::to_owned);
        let group =
            SaveGroup { code, title, course, kind: SessionKind::Lecture, unsaid: Unsaid(vec!["kind"]) };
        facts.groups.push(group, &table.name, *row);
    }
    (classes, gone)
}

/// What is kept of academic sessions, by id: the first and the last day.
pub const TERMS: &str = "academic sessions by id";
/// And which of them a class runs in.
pub const TERMS_OF_CLASSES: &str = "academic sessions of classes";
/// Stands for a first day that is not known yet.
const SOME_DAY: Date = jiff::civil::date(2000, 1, 1);
/// What is said of an enrolment that nothing gives a first day.
pub const BEGINS_NEVER: &str = "is empty, and the class runs in no academic session that says when it begins";
/// What is said of a user of whom nothing is known but that there is one.
pub const NO_STUDENT: &str = "left out: nothing says that this is a student; roles.csv would";

fn students(facts: &mut Facts, tables: &BTreeMap<&'static str, Table>) -> BTreeMap<String, String> {
    let Some(table) = tables.get("users") else { return BTreeMap::new() };
    // Who is a student stands with the user (1.1), in a table of its own (1.2), or follows from an enrolment.
    let mut enrolled: BTreeSet<String> = BTreeSet::new();
    for roles in ["enrollments", "roles"].iter().filter_map(|table| tables.get(table)) {
        let students = roles.rows.iter().map(|(_, row)| row).filter(|row| is_student(roles, row));
        enrolled.extend(students.map(|row| roles.first(row, &["userSourcedId"])));
    }
    let told = table.headings.contains_key("role") || tables.contains_key("roles");
    let mut unsaid = Unsaid(vec!["expected_at_door", "programme"]);
    if !table.headings.contains_key("email") {
        unsaid.0.push("email");
    }
    let mut numbers = BTreeMap::new();
    for (row, record) in &table.rows {
        let id = table.first(record, &["sourcedId"]);
        let role = table.cell(record, "role");
        // Who teaches may study too.
        let studies = role.is_some_and(|role| role.eq_ignore_ascii_case("student")) || enrolled.contains(&id);
        // A difference brings no role along that has not changed.
        if !studies && (role.is_some() || !table.delta) {
            if !told {
                facts.notes.add(table.place(*row, None), NO_STUDENT);
            }
            continue;
        }
        let number = table.first(record, &["identifier", "username", "sourcedId"]);
        let names = [table.cell(record, "givenName"), table.cell(record, "familyName")];
        let name = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let out = table.gone(record)
            || table.cell(record, "enabledUser").is_some_and(|it| it.eq_ignore_ascii_case("false"));
        if table.delta {
            let user = User { id: id.clone(), studies, by_id: number == id };
            facts.users.insert(facts.students.things.len(), user);
        }
        let mut unsaid = unsaid.clone();
        if table.delta && name.is_empty() {
            unsaid.0.push("name");
        }
        if studies {
            numbers.insert(id, number.clone());
        }
        let student = SaveStudent {
            name: if name.is_empty() { number.clone() } else { name },
            number,
            email: table.cell(record, "email").map(str::to_owned),
            state: if out { StudentState::Withdrawn } else { StudentState::Active },
            expected_at_door: None,
            expected_at_door_from: None,
            programme: None,
            unsaid,
        };
        facts.students.push(student, &table.name, *row);
    }
    numbers
}

fn is_student(table: &Table, row: &csv::StringRecord) -> bool {
    table.cell(row, "role").is_some_and(|role| role.eq_ignore_ascii_case("student"))
}

fn enrolments(
    facts: &mut Facts,
    tables: &BTreeMap<&'static str, Table>,
    terms: &BTreeMap<String, (Date, Date)>,
    classes: &Classes,
    students: &BTreeMap<String, String>,
) {
    for (term, (first, last)) in terms {
        facts.ids.push((TERMS, term.clone(), format!("{first}/{last}")));
    }
    // What a difference does not say of a class was said before.
    let all_said = tables.get("classes").is_some_and(|table| !table.delta);
    for (class, (_, ids)) in classes.iter().filter(|(_, (_, ids))| all_said || !ids.is_empty()) {
        facts.ids.push((TERMS_OF_CLASSES, class.clone(), ids.join(",")));
    }
    for (name, kind) in [("classes", "classes by id"), ("users", "users by id")] {
        let Some(table) = tables.get(name) else { continue };
        for (_, row) in table.rows.iter().filter(|(_, row)| !table.gone(row)) {
            let id = table.first(row, &["sourcedId"]);
            let ours = match name {
                "classes" => classes.get(&id).map(|(code, _)| code.clone()),
                _ => students.get(&id).cloned(),
            };
            // A difference may leave out what a name is made of.
            if let Some(ours) = ours.filter(|ours| !table.delta || *ours != id) {
                facts.ids.push((kind, id, ours));
            }
        }
    }
    let Some(table) = tables.get("enrollments") else { return };
    for row in &table.rows {
        if !is_student(table, &row.1) {
            if table.cell(&row.1, "role").is_none() {
                let message = "left out: does not say that it is a student's";
                facts.notes.add(table.place(row.0, Some("role")), message);
            }
            continue;
        }
        let (class, user) =
            (table.first(&row.1, &["classSourcedId"]), table.first(&row.1, &["userSourcedId"]));
        // A difference may name a class or a student that it does not bring along: what the source meant by the id before, it
        // means still; and one that never came goes by the id itself.
        let known = |found: Option<String>, id: &str| found.or_else(|| table.delta.then(|| id.to_owned()));
        let by_id = (!classes.contains_key(&class), !students.contains_key(&user));
        let group = known(classes.get(&class).map(|(code, _)| code.clone()), &class);
        let student = known(students.get(&user).cloned(), &user);
        let (Some(group), Some(student)) = (group, student) else {
            let (what, id, column) = if classes.contains_key(&class) {
                ("user", &user, "userSourcedId")
            } else {
                ("class", &class, "classSourcedId")
            };
            let message = format!("there is no {what} '{id}' in the other tables");
            facts.problems.add(table.place(row.0, Some(column)), message);
            continue;
        };
        if table.gone(&row.1) {
            let id = table.cell(&row.1, "sourcedId").map(str::to_owned);
            facts.dropped.push(Dropped { id, group, student, by_id });
            continue;
        }
        let ids = classes.get(&class).map_or(&[][..], |(_, ids)| ids);
        // Of what a difference has not all, all that is known by now is asked for.
        let later = table.delta && (ids.is_empty() || !ids.iter().all(|id| terms.contains_key(id)));
        let spans = ids.iter().filter(|_| !later).filter_map(|id| terms.get(id));
        let (first, last) =
            spans.fold((None, None), |(first, last): (Option<Date>, Option<Date>), (from, until)| {
                (
                    Some(first.map_or(*from, |it| it.min(*from))),
                    Some(last.map_or(*until, |it| it.max(*until))),
                )
            });
        let from = date(facts, table, row, "beginDate").or(first);
        let until = date(facts, table, row, "endDate").map(|end| end.yesterday().unwrap_or(end)).or(last);
        if later && (from.is_none() || until.is_none()) {
            let undated = Undated { class: class.clone(), begins: from.is_none() };
            facts.undated.insert(facts.memberships.things.len(), undated);
        } else if from.is_none() {
            facts.problems.add(table.place(row.0, Some("beginDate")), BEGINS_NEVER);
            continue;
        }
        if from.zip(until).is_some_and(|(from, until)| until < from) {
            let message = "left out: the enrolment ends on the day on which it begins, or before";
            facts.notes.add(table.place(row.0, Some("endDate")), message);
            continue;
        }
        let until = until.map(LocalDate);
        let stay = SaveMembership {
            group,
            student,
            // Until it is known; nothing is written by it.
            from: LocalDate(from.or(until.map(|it| it.0)).unwrap_or(SOME_DAY)),
            until,
            from_at: None,
            until_at: None,
            reason: MembershipReason::Import,
        };
        if let Some(id) = table.cell(&row.1, "sourcedId") {
            facts.enrolments.push((id.to_owned(), facts.memberships.things.len()));
        }
        if by_id != (false, false) {
            facts.by_id.insert(facts.memberships.things.len(), by_id);
        }
        facts.memberships.push(stay, &table.name, row.0);
    }
}
