//! A term in the competition's format: its two files come in as one import, again change nothing, and another solution
//! changes what it moves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::civil::{date, time};
use jiff::{Timestamp, ToSpan as _};
use rollcall_hub::import::Facts;
use rollcall_hub::import::itc2019::{Options, Term};
use rollcall_hub::import::recipe::Recipe;
use rollcall_tests::hub::TestHub;
use rollcall_tests::import::{counts, imported, order, problems};
use serde_json::{Value, json};
use uuid::Uuid;

const PROBLEM: &str = r#"<?xml version="1.0"?>
<problem name="small" nrDays="7" slotsPerDay="288" nrWeeks="2">
  <rooms>
    <room id="1" capacity="20"><travel room="2" value="30"/></room>
    <room id="2" capacity="30"/>
  </rooms>
  <courses><course id="7"><config id="1"><subpart id="1">
    <class id="12" limit="9">
      <time days="1010000" start="108" length="12" weeks="11" penalty="0"/>
      <time days="0101000" start="108" length="12" weeks="11" penalty="0"/>
    </class>
  </subpart></config></course></courses>
  <students><student id="596"/><student id="597"/></students>
</problem>"#;

const SOLUTION: &str = r#"<?xml version="1.0"?>
<solution name="small">
  <class id="12" days="1010000" start="108" weeks="11" room="2"><student id="596"/><student id="597"/></class>
</solution>"#;

fn facts(files: [&str; 2]) -> Facts {
    let zone = jiff::tz::TimeZone::get("Europe/London").unwrap();
    let recipe = Recipe::Itc2019 { term_start: "2027-02-15".to_owned(), buildings: 2 };
    let mut reading = recipe.begin(&zone, 0).unwrap();
    for (name, text) in ["problem.xml", "solution.xml"].iter().zip(files) {
        reading.read(name, text.as_bytes());
    }
    reading.facts()
}

async fn sessions(hub: &TestHub) -> Value {
    let query = "{ sessions { nodes { externalId title startsAt endsAt state course { code } rooms { code building { code } } } } }";
    hub.read(query).await["sessions"]["nodes"].take()
}

#[tokio::test]
async fn a_term_comes_in_once_and_another_solution_changes_what_it_moves() {
    let hub = TestHub::start().await;
    hub.clock.set("2027-01-04T12:00:00Z");
    let order = order("term");
    let report = imported(&hub, &facts([PROBLEM, SOLUTION]), &order).await;
    assert_eq!(
        counts(&report),
        [
            ("buildings", [2, 0, 0, 0]),
            ("rooms", [2, 0, 0, 0]),
            ("courses", [1, 0, 0, 0]),
            ("groups", [1, 0, 0, 0]),
            ("students", [2, 0, 0, 0]),
            ("memberships", [2, 0, 0, 0]),
            ("sessions", [4, 0, 0, 0])
        ]
    );
    let all = sessions(&hub).await;
    let ids: Vec<&str> =
        all.as_array().unwrap().iter().map(|it| it["externalId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["C12-W00-D0", "C12-W00-D2", "C12-W01-D0", "C12-W01-D2"]);
    assert_eq!(
        all[1],
        json!({"externalId": "C12-W00-D2", "title": "Course 7, class 12", "startsAt": "2027-02-17T09:00:00.000+00:00",
               "endsAt": "2027-02-17T10:00:00.000+00:00", "state": "SCHEDULED", "course": {"code": "K7"},
               "rooms": [{"code": "R2", "building": {"code": "B"}}]})
    );

    let again = imported(&hub, &facts([PROBLEM, SOLUTION]), &order).await;
    assert!(counts(&again).iter().all(|(_, tally)| tally[..3] == [0, 0, 0]), "{:?}", again.kinds);

    // What people said of it stays.
    hub.done("saveStudent", json!({"number": "S596", "name": "Ada", "email": "ada@example.ac.uk"})).await;
    hub.done("saveRoom", json!({"code": "R2", "building": "B", "name": "The long room", "capacity": 30}))
        .await;
    let again = imported(&hub, &facts([PROBLEM, SOLUTION]), &order).await;
    assert!(counts(&again).iter().all(|(_, tally)| tally[..3] == [0, 0, 0]), "{:?}", again.kinds);

    // Half of the week moves to other days, and one of two students leaves: too much to go unasked.
    let other = SOLUTION.replace("1010000", "0101000").replace("<student id=\"597\"/>", "");
    let refused = problems(&imported(&hub, &facts([PROBLEM, &other]), &order).await);
    assert!(refused.iter().any(|it| it.contains("acceptRemovals")), "{refused:?}");
    assert_eq!(sessions(&hub).await, all);
    let order = rollcall_hub::service::import::Order { accept_removals: true, ..order };
    let report = imported(&hub, &facts([PROBLEM, &other]), &order).await;
    let of = |kind: &str| counts(&report).into_iter().find(|(found, _)| *found == kind).unwrap().1;
    assert_eq!(
        (of("memberships"), of("sessions"), of("students")),
        ([0, 0, 1, 1], [4, 0, 4, 0], [0, 0, 0, 2])
    );
    let now = sessions(&hub).await;
    let held = now.as_array().unwrap().iter().filter(|it| it["state"] != "CANCELLED");
    let held: Vec<&str> = held.map(|it| it["externalId"].as_str().unwrap()).collect();
    assert_eq!(held, ["C12-W00-D1", "C12-W00-D3", "C12-W01-D1", "C12-W01-D3"]);
}

#[tokio::test]
async fn over_the_api_a_term_needs_its_start_and_nothing_that_is_of_other_kinds() {
    let hub = TestHub::start().await;
    let start = "mutation($input: StartImportInput!) { startImport(input: $input) { import { kind } errors { message } } }";
    let mut uploads = Vec::new();
    for (name, text) in [("solution.xml", SOLUTION), ("problem.xml", PROBLEM)] {
        uploads.push(hub.upload(&hub.integration, name, text).await.1["uploadId"].take());
    }
    let ask = async |more: Value| {
        let mut input =
            json!({"id": Uuid::new_v4(), "kind": "ITC_2019", "source": "term", "uploadIds": uploads});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        hub.post(Some(&hub.integration), start, json!({"input": input})).await.1
    };
    let good = ask(json!({"term": {"start": "2027-02-15"}})).await;
    assert_eq!(good["data"]["startImport"], json!({"import": {"kind": "ITC_2019"}, "errors": []}), "{good}");
    let tuesday = ask(json!({"term": {"start": "2027-02-16"}})).await;
    let message = tuesday["data"]["startImport"]["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("Monday"), "{message}");
    for wrong in [json!({}), json!({"term": {"start": "2027-02-15"}, "mapping": "x"})] {
        let answer = ask(wrong).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{answer}");
    }
}

/// An element's attribute, by where its name stands.
fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    element.split_once(&format!(" {name}=\""))?.1.split('"').next()
}

/// The elements of a name, each up to the next of them.
fn elements<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    text.split(name).skip(1).collect::<Vec<_>>().into_iter()
}

/// The campus that plays a term reads its files as the hub does: here they are read in another way, as plain text.
#[test]
fn a_real_term_is_what_another_reading_makes_of_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/itc2019");
    let read = |name: &str| std::fs::read_to_string(folder.join(name));
    let (Ok(problem), Ok(solution)) = (read("muni-fsps-spr17.xml"), read("solution-muni-fsps-spr17.xml"))
    else {
        eprintln!(
            "skipped: a_real_term_is_what_another_reading_makes_of_it, for want of ../shared/data/itc2019"
        );
        return;
    };
    // How long each class is, by its times.
    let mut length = BTreeMap::new();
    for class in elements(problem.split("<distributions").next().unwrap(), "<class ") {
        let id = class.split('"').nth(1).unwrap();
        for at in elements(class, "<time ") {
            let slots: i64 = attribute(&format!(" {at}"), "length").unwrap().parse().unwrap();
            let key =
                ["days", "start", "weeks"].map(|name| attribute(&format!(" {at}"), name).unwrap().to_owned());
            length.insert((id.to_owned(), key), slots);
        }
    }
    let mut wanted = BTreeSet::new();
    let mut lists = 0;
    for class in elements(&solution, "<class ") {
        let class = format!(" {class}");
        let of = |name: &str| attribute(class.split('>').next().unwrap(), name).map(str::to_owned);
        let (id, start) = (of("id").unwrap(), of("start").unwrap());
        let slots = length[&(id.clone(), [of("days").unwrap(), start.clone(), of("weeks").unwrap()])];
        let students: BTreeSet<&str> =
            elements(&class, "<student id=\"").map(|it| it.split('"').next().unwrap()).collect();
        let (mut held, from) = (0, start.parse::<i64>().unwrap());
        for (week, _) in of("weeks").unwrap().chars().enumerate().filter(|(_, bit)| *bit == '1') {
            for (day, _) in of("days").unwrap().chars().enumerate().filter(|(_, bit)| *bit == '1') {
                // Slots of five minutes.
                let begin = date(2027, 2, 15).at(0, 0, 0, 0)
                    + (week as i64 * 7 + day as i64).days()
                    + (from * 5).minutes();
                wanted.insert((
                    format!("C{id}-W{week:02}-D{day}"),
                    begin,
                    begin + (slots * 5).minutes(),
                    of("room").map(|room| format!("R{room}")),
                    students.len(),
                ));
                held += 1;
            }
        }
        lists += held * students.len();
    }
    let zone = jiff::tz::TimeZone::get("Europe/London").unwrap();
    let options = Options { term_start: date(2027, 2, 15), buildings: 3 };
    let term = Term::read(("p", problem.as_bytes()), ("s", solution.as_bytes()), &zone, &options).unwrap();
    let wall = |ms: i64| zone.to_datetime(Timestamp::from_millisecond(ms).unwrap());
    let found: BTreeSet<_> = term
        .sessions
        .iter()
        .map(|it| {
            let class = &term.classes[it.class];
            let room = class.room.map(|room| term.rooms[room].code.clone());
            (it.external_id.clone(), wall(it.starts_ms), wall(it.ends_ms), room, class.students.len())
        })
        .collect();
    assert_eq!(found.difference(&wanted).next(), None);
    assert_eq!(wanted.difference(&found).next(), None);
    assert_eq!((wanted.len(), lists), (5_183, 98_143), "as the term's own description counts them");
    assert!(wanted.iter().all(|it| it.1.time() >= time(6, 0, 0, 0)), "nobody teaches at night");
}
