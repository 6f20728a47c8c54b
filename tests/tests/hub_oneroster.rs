//! OneRoster exports: whole and as differences, in whatever order records replace each other.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::io::Write as _;

use rollcall_hub::import::{Facts, oneroster};
use rollcall_hub::service::import::Report;
use rollcall_tests::hub::TestHub;
use rollcall_tests::import::{counts, imported, order, problems};
use serde_json::json;

fn zip(tables: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in tables {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A whole export of one class and one student, with these enrolments.
fn whole(enrolments: &str) -> [(&'static str, &str); 5] {
    [
        (
            "academicSessions.csv",
            "sourcedId,status,dateLastModified,title,type,startDate,endDate\nt1,active,,Autumn,term,2026-09-28,2026-12-12\n",
        ),
        ("courses.csv", "sourcedId,status,title,courseCode\nc1,active,Programming,COMP1001\n"),
        (
            "classes.csv",
            "sourcedId,status,title,classCode,courseSourcedId,termSourcedIds\nk1,active,Group 1,K,c1,t1\n",
        ),
        (
            "users.csv",
            "sourcedId,status,enabledUser,username,givenName,familyName,identifier,email\nu1,active,true,ada,Ada,Ng,N1,\n",
        ),
        ("enrollments.csv", enrolments),
    ]
}

/// Imports tables, groups by their codes.
async fn import_of(hub: &TestHub, tables: &[(&str, &str)]) -> Report {
    let mut facts = Facts::default();
    oneroster::read(&mut facts, "o.zip", &zip(tables), true);
    imported(hub, &facts, &order("o")).await
}

#[tokio::test]
async fn half_an_archive_is_refused_whatever_it_is_cut_at_and_changes_nothing() {
    let hub = TestHub::start().await;
    let users = "sourcedId,status,enabledUser,username,givenName,familyName,identifier,email\nu1,active,true,ada,Ada,Ng,N1,\n";
    let courses = "sourcedId,status,title,courseCode\nc1,active,Programming,COMP1001\n";
    let whole = zip(&[("users.csv", users), ("courses.csv", courses)]);
    for length in (0..whole.len()).step_by(7) {
        let mut facts = Facts::default();
        oneroster::read(&mut facts, "o.zip", &whole[..length], true);
        assert!(facts.problems.count > 0, "{length} of {} bytes pass for an archive", whole.len());
        assert!(facts.problems.list[0].message.len() > 10, "{facts:?}");
        let report = imported(&hub, &facts, &order("o")).await;
        assert!(report.problems.count > 0);
    }
    // Whole in length, and one bit of what is in it another.
    for at in [40, 90] {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        let mut facts = Facts::default();
        oneroster::read(&mut facts, "o.zip", &bent, true);
        assert!(facts.problems.count > 0, "a bent archive passes, bit at {at}");
    }
    assert_eq!(
        hub.read("{ students { totalCount } courses { totalCount } }").await["students"]["totalCount"],
        0
    );
}

#[tokio::test]
async fn a_oneroster_export_brings_courses_classes_students_and_their_enrolments() {
    let hub = TestHub::start().await;
    let terms = "sourcedId,status,dateLastModified,title,type,startDate,endDate\nt1,active,,Autumn,term,2026-09-28,2026-12-12\n";
    let courses = "sourcedId,status,title,courseCode\nc1,active,Programming,COMP1001\n";
    let classes = "sourcedId,status,title,classCode,courseSourcedId,termSourcedIds\nk1,active,Group 1,COMP1001-1,c1,t1\n";
    let users = "sourcedId,status,enabledUser,username,givenName,familyName,identifier,email\nu1,active,true,ada,Ada,Ng,N1,\nu2,active,true,bo,Bo,Li,N2,\nu3,active,true,tea,Tea,Cher,T1,\n";
    let enrolments = "sourcedId,status,classSourcedId,userSourcedId,role,beginDate,endDate\ne1,active,k1,u1,student,,\ne2,active,k1,u2,student,2026-10-12,2026-11-01\ne3,active,k1,u3,teacher,,\n";
    let read = |tables: &[(&str, &str)]| {
        let mut facts = Facts::default();
        oneroster::read(&mut facts, "o.zip", &zip(tables), true);
        facts
    };
    let all = [
        ("academicSessions.csv", terms),
        ("courses.csv", courses),
        ("classes.csv", classes),
        ("users.csv", users),
        ("enrollments.csv", enrolments),
    ];
    let report = imported(&hub, &read(&all), &order("o")).await;
    assert_eq!(
        counts(&report),
        [
            ("courses", [1, 0, 0, 0]),
            ("groups", [1, 0, 0, 0]),
            ("students", [2, 0, 0, 0]),
            ("memberships", [2, 0, 0, 0])
        ]
    );
    let query = "{ group(by: {code: \"COMP1001-1\"}) { title course { code } members { nodes { from until student { number displayName } } } } }";
    assert_eq!(
        hub.read(query).await["group"],
        json!({"title": "Group 1", "course": {"code": "COMP1001"}, "members": {"nodes": [
            {"from": "2026-09-28", "until": "2026-12-11", "student": {"number": "N1", "displayName": "Ada Ng"}},
            {"from": "2026-10-12", "until": "2026-10-31", "student": {"number": "N2", "displayName": "Bo Li"}}]}})
    );
    // A difference takes one back; the others stay.
    let gone = "sourcedId,status,classSourcedId,userSourcedId,role,beginDate,endDate\ne1,tobedeleted,COMP1001-1,N1,student,,\n";
    let manifest = "\"propertyName\",\"value\"\n\"file.enrollments\",\"delta\"\n\"file.users\",\"delta\"\n";
    let report =
        imported(&hub, &read(&[("manifest.csv", manifest), ("enrollments.csv", gone)]), &order("o")).await;
    assert_eq!(counts(&report), [("memberships", [0, 0, 1, 0])]);
    // A record that takes the place of another ends what was before it, and the same difference again changes nothing.
    let renewed = format!("{gone}e4,active,COMP1001-1,N1,student,2026-10-19,\n");
    let renewed = [("manifest.csv", manifest), ("enrollments.csv", renewed.as_str())];
    hub.clock.set("2026-10-07T08:00:00Z");
    assert_eq!(counts(&imported(&hub, &read(&renewed), &order("o")).await), [("memberships", [1, 0, 0, 0])]);
    assert_eq!(counts(&imported(&hub, &read(&renewed), &order("o")).await), [("memberships", [0, 0, 0, 1])]);
    // A difference that names all by their ids alone: the second begins a week later, and was never there before.
    let later = "sourcedId,status,classSourcedId,userSourcedId,role,beginDate,endDate\ne2,active,k1,u2,student,2026-10-19,2026-11-08\n";
    let later = read(&[("manifest.csv", manifest), ("enrollments.csv", later)]);
    assert_eq!(counts(&imported(&hub, &later, &order("o")).await), [("memberships", [1, 0, 1, 0])]);
    let members = async || -> Vec<String> {
        let found = hub.read(query).await["group"]["members"]["nodes"].take();
        let line =
            |it: &serde_json::Value| format!("{} {} {}", it["student"]["number"], it["from"], it["until"]);
        found.as_array().unwrap().iter().map(line).collect()
    };
    let second = "\"N2\" \"2026-10-19\" \"2026-11-07\"";
    assert_eq!(members().await.iter().filter(|it| it.starts_with("\"N2\"")).collect::<Vec<_>>(), [second]);
    assert_eq!(counts(&imported(&hub, &later, &order("o")).await), [("memberships", [0, 0, 0, 1])]);
    // Of two enrolments of one student the one that is named goes.
    let again = "sourcedId,status,classSourcedId,userSourcedId,role,beginDate,endDate\ne9,active,k1,u2,student,2026-11-16,\n";
    imported(&hub, &read(&[("manifest.csv", manifest), ("enrollments.csv", again)]), &order("o")).await;
    let gone_again = again.replace("active", "tobedeleted");
    let report =
        imported(&hub, &read(&[("manifest.csv", manifest), ("enrollments.csv", &gone_again)]), &order("o"))
            .await;
    assert_eq!(counts(&report), [("memberships", [0, 0, 1, 0])]);
    assert_eq!(members().await.iter().filter(|it| it.starts_with("\"N2\"")).collect::<Vec<_>>(), [second]);
    // Said again, that it is gone takes no other with it.
    let report =
        imported(&hub, &read(&[("manifest.csv", manifest), ("enrollments.csv", &gone_again)]), &order("o"))
            .await;
    assert_eq!(counts(&report), [("memberships", [0, 0, 0, 0])]);
    assert_eq!(members().await.iter().filter(|it| it.starts_with("\"N2\"")).collect::<Vec<_>>(), [second]);
    // An enrolment that comes back after it was over is another stay; what was is as it was.
    hub.clock.set("2026-11-20T08:00:00Z");
    let back = "sourcedId,status,classSourcedId,userSourcedId,role,beginDate,endDate\ne2,active,k1,u2,student,2026-11-23,\n";
    imported(&hub, &read(&[("manifest.csv", manifest), ("enrollments.csv", back)]), &order("o")).await;
    let both: Vec<String> = members().await.into_iter().filter(|it| it.starts_with("\"N2\"")).collect();
    assert!(both.len() == 2 && both.contains(&second.to_owned()), "{both:?}");
    // Whom a difference brings along goes by the name that it brings, also where that is another's id.
    let brought = "sourcedId,status,enabledUser,username,givenName,familyName,identifier,email\nu7,active,true,cy,Cy,Om,u2,\n";
    let theirs = "sourcedId,status,classSourcedId,userSourcedId,role,beginDate,endDate\ne7,active,k1,u7,student,2026-11-23,\n";
    let report = read(&[("manifest.csv", manifest), ("users.csv", brought), ("enrollments.csv", theirs)]);
    imported(&hub, &report, &order("o")).await;
    assert!(members().await.iter().any(|it| it.starts_with("\"u2\"")), "{:?}", members().await);
    // Whom a difference takes back must be there.
    let nobody = gone.replace("N1", "N77");
    let report =
        imported(&hub, &read(&[("manifest.csv", manifest), ("enrollments.csv", &nobody)]), &order("o")).await;
    assert!(problems(&report)[0].contains("the stay of 'N77' in 'COMP1001-1'"), "{report:?}");
    // A student who is enrolled nowhere is one all the same where a table says so, and is left out with a word else.
    let idle = format!("{users}u4,active,true,cy,Cy,Om,N4,\n");
    let roles = "sourcedId,status,userSourcedId,role\nr1,active,u4,student\n";
    let facts = read(&[("users.csv", &idle), ("roles.csv", roles)]);
    assert_eq!((facts.students.things.len(), facts.whole.clone()), (1, vec!["students"]));
    let facts = read(&[("users.csv", &idle)]);
    assert_eq!((facts.students.things.len(), facts.whole.len(), facts.notes.count), (0, 0, 4));
    // What is no whole zip, or names what is not there, is told with its place.
    let whole = zip(&all);
    let mut half = Facts::default();
    oneroster::read(&mut half, "o.zip", &whole[..whole.len() / 2], true);
    assert!(half.problems.list[0].message.contains("no whole zip"), "{half:?}");
    let facts = read(&[("users.csv", users), ("enrollments.csv", &enrolments.replace("k1,u1", "k9,u1"))]);
    assert_eq!(
        facts.problems.list[0].place.to_string(),
        "o.zip:enrollments.csv, row 2, column 'classSourcedId'"
    );
}

#[tokio::test]
async fn a_tombstone_takes_nothing_that_another_enrolment_is_and_nothing_that_was_entered_by_hand() {
    let hub = TestHub::start().await;
    let heading = "sourcedId,status,dateLastModified,classSourcedId,userSourcedId,role,beginDate,endDate\n";
    let import = async |tables: &[(&str, &str)]| {
        assert_eq!(problems(&import_of(&hub, tables).await), Vec::<String>::new());
    };
    let first = format!("{heading}e1,active,,k1,u1,student,2026-09-28,\n");
    import(&whole(&first)).await;
    hub.done("saveStudents", json!({"students": [{"number": "N2", "name": "Bo Li"}]})).await;
    let byhand = json!({"group": "K", "student": "N2", "from": "2026-09-28"});
    hub.done("saveMemberships", json!({"memberships": [byhand]})).await;
    let open = async || {
        let query = "{ group(by: {code: \"K\"}) { members { nodes { until student { number } } } } }";
        let nodes = hub.read(query).await["group"]["members"]["nodes"].take();
        let mut nodes = nodes.as_array().unwrap().clone();
        nodes.sort_by_key(|it| it["student"]["number"].to_string());
        nodes.iter().map(|it| it["until"].clone()).collect::<Vec<_>>()
    };
    let before = open().await;
    let manifest =
        "propertyName,value\nmanifest.version,1.0\noneroster.version,1.2\nfile.enrollments,delta\n";
    let delta = async |row: &str| {
        let text = format!("{heading}{row}\n");
        import(&[("manifest.csv", manifest), ("enrollments.csv", &text)]).await;
        open().await
    };
    let moved = "2026-10-05T08:00:00Z";
    assert_eq!(delta(&format!("e2,active,{moved},k1,u1,student,2026-09-28,")).await, before);
    let now = open().await;
    assert_eq!(
        delta(&format!("e1,tobedeleted,{moved},k1,u1,student,2026-09-28,")).await,
        now,
        "e2 is that stay"
    );
    assert_eq!(
        delta(&format!("e9,tobedeleted,{moved},k1,N2,student,,")).await,
        now,
        "nobody ever heard of e9"
    );
    let ended = delta(&format!("e2,tobedeleted,{moved},k1,u1,student,2026-09-28,")).await;
    assert!(ended[0].is_string() && ended[0] != now[0], "{ended:?} after {now:?}");
}

#[tokio::test]
async fn a_difference_needs_no_table_of_what_has_not_changed() {
    let hub = TestHub::start().await;
    let heading = "sourcedId,status,classSourcedId,userSourcedId,role,beginDate,endDate\n";
    let first = format!("{heading}e1,active,k1,u1,student,,\n");
    let import = async |tables: &[(&str, &str)]| import_of(&hub, tables).await;
    assert_eq!(problems(&import(&whole(&first)).await), Vec::<String>::new());
    let manifest = "propertyName,value\nfile.classes,delta\nfile.enrollments,delta\n";
    let new = "sourcedId,status,title,classCode,courseSourcedId,termSourcedIds\nk2,active,Group 2,K2,c1,\n";
    assert_eq!(
        problems(&import(&[("manifest.csv", manifest), ("classes.csv", new)]).await),
        Vec::<String>::new()
    );
    let course = hub.read("{ group(by: {code: \"K2\"}) { course { code } } }").await;
    assert_eq!(course["group"]["course"]["code"], "COMP1001");
    let wrong = new.replace("c1", "c9").replace("k2", "k3").replace("K2", "K3");
    let report = import(&[("manifest.csv", manifest), ("classes.csv", &wrong)]).await;
    assert!(problems(&report)[0].starts_with("o.zip:classes.csv, row 2"), "{report:?}");
    // An enrolment without an end, in a class that is not brought along, ends with the class.
    let second = format!("{heading}e2,active,k1,u1,student,2026-11-02,\n");
    let report = import(&[("manifest.csv", manifest), ("enrollments.csv", &second)]).await;
    assert_eq!(problems(&report), Vec::<String>::new());
    let members = hub.read("{ group(by: {code: \"K\"}) { members { nodes { from until } } } }").await;
    let nodes = members["group"]["members"]["nodes"].as_array().unwrap();
    assert!(nodes.contains(&json!({"from": "2026-11-02", "until": "2026-12-11"})), "{nodes:?}");
    // Nor does one of a class that comes without its academic sessions lose its end, or need to say its beginning.
    let manifest = "propertyName,value\nfile.classes,delta\nfile.enrollments,delta\n";
    let class = new.replace("k2,active,Group 2,K2,c1,", "k1,active,New title,K,c1,");
    for begin in ["", "2026-09-28"] {
        let enrolments = format!("{heading}e1,active,k1,u1,student,{begin},\n");
        let tables =
            [("manifest.csv", manifest), ("classes.csv", &*class), ("enrollments.csv", &*enrolments)];
        assert_eq!(problems(&import(&tables).await), Vec::<String>::new());
        let now = hub.read("{ group(by: {code: \"K\"}) { title members { nodes { from until } } } }").await;
        assert_eq!(now["group"], json!({"title": "New title", "members": members["group"]["members"]}));
    }
    let nowhere = format!("{heading}e8,active,k9,u1,student,,\n");
    let report = import(&[("manifest.csv", manifest), ("enrollments.csv", &nowhere)]).await;
    let found = problems(&report);
    assert!(found[0].starts_with("o.zip:enrollments.csv, row 2, column 'beginDate': is empty"), "{found:?}");
}

#[tokio::test]
async fn a_difference_changes_a_student_by_id_alone_and_makes_none_of_a_user_who_never_was_one() {
    let hub = TestHub::start().await;
    let first =
        "sourcedId,status,classSourcedId,userSourcedId,role,beginDate,endDate\ne1,active,k1,u1,student,,\n";
    assert_eq!(problems(&import_of(&hub, &whole(first)).await), Vec::<String>::new());
    let manifest = "propertyName,value\nfile.users,delta\n";
    let delta = async |rows: &str| {
        let heading = "sourcedId,status,enabledUser,username,givenName,familyName,identifier,email\n";
        let users = format!("{heading}{rows}");
        let report = import_of(&hub, &[("manifest.csv", manifest), ("users.csv", &users)]).await;
        assert_eq!(problems(&report), Vec::<String>::new());
        let notes: Vec<u64> = report.notes.list.iter().map(|note| note.place.row).collect();
        let found = hub.read("{ students { nodes { number displayName email state } } }").await;
        (notes, found["students"]["nodes"].clone())
    };
    let ada = |name: &str, email: serde_json::Value, state: &str| json!([{"number": "N1", "displayName": name, "email": email, "state": state}]);
    let (notes, found) =
        delta("u9,active,true,bo,Bo,Li,N9,\nu1,active,true,,Ada,King,,ada@example.ac.uk\n").await;
    assert_eq!((notes, found), (vec![2], ada("Ada King", json!("ada@example.ac.uk"), "ACTIVE")));
    let (notes, found) = delta("u1,tobedeleted,,,,,,ada@example.ac.uk\n").await;
    assert_eq!((notes, found), (vec![], ada("Ada King", json!("ada@example.ac.uk"), "WITHDRAWN")));
}
