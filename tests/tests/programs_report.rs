//! The hub's program as a clerk uses it: a class list comes in while the hub serves, a swipe follows, figures go out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use axum::http::{HeaderMap, StatusCode};
use rollcall_tests::programs::site::*;
use rollcall_tests::programs::{run, run_with, until};

/// A learning record store that is busy once, and then takes what comes with the right key.
async fn record_store() -> (String, tokio::sync::mpsc::UnboundedReceiver<serde_json::Value>) {
    let (sender, taken) = tokio::sync::mpsc::unbounded_channel();
    let busy = std::sync::atomic::AtomicBool::new(true);
    let take = move |headers: HeaderMap, body: String| {
        // The base64 of key:secret.
        let known = headers.get("authorization").is_some_and(|value| value == "Basic a2V5OnNlY3JldA==");
        let status = match (known, busy.swap(false, std::sync::atomic::Ordering::SeqCst)) {
            (false, _) => StatusCode::UNAUTHORIZED,
            (true, true) => StatusCode::SERVICE_UNAVAILABLE,
            (true, false) => {
                assert_eq!(headers["x-experience-api-version"], "1.0.3");
                sender.send(serde_json::from_str(&body).unwrap()).unwrap();
                StatusCode::OK
            }
        };
        std::future::ready(status)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/xapi", listener.local_addr().unwrap());
    let take = std::sync::Arc::new(take);
    let route = axum::routing::post(move |headers: HeaderMap, body: String| take(headers, body));
    let router = axum::Router::new().route("/xapi/statements", route);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_imported_beside_a_running_hub_reaches_the_door_and_what_came_of_it_is_printed() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    let (mut reader, port) = osdp_reader().await;
    site.configure(Some(&port));
    let mut gateway = site.gateway();
    reader.line_with("light blue").await;
    assert_eq!(flashes(&mut reader, CARDS[0]).await, "flash green");
    site.swipes_are(1).await;
    let database = site.database();

    let rooms = site.path("rooms.csv");
    std::fs::write(&rooms, "Room;Description;Building;Seats\nNEW-1;New room;NONE;12\n").unwrap();
    let mapping = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/import/rooms.toml");
    let import = ["import", "csv", "--database", &database, "--mapping", mapping, rooms.to_str().unwrap()];
    let wrong = run(HUB, &import).await;
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.out.contains("rooms.csv, row 2, column 'Building': there is no building 'NONE'"),
        "{wrong:?}"
    );
    assert!(wrong.err.contains("1 problems; nothing was changed"), "{wrong:?}");

    // The fifth student is on no list; once the class list is in, the same card is green at the same door.
    assert_eq!(flashes(&mut reader, CARDS[4]).await, "flash red");
    let lists = site.path("lists.csv");
    std::fs::write(&lists, "Group,Student number,First day,Last day\nG,S5,01/09/2020,\n").unwrap();
    let mapping = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/import/class-lists.toml");
    let import = ["import", "csv", "--database", &database, "--mapping", mapping, lists.to_str().unwrap()];
    let imported = run(HUB, &import).await;
    assert!(imported.code == Some(0) && imported.out.contains("memberships  created      1"), "{imported:?}");
    let green = tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while flashes(&mut reader, CARDS[4]).await != "flash green" {}
    });
    green.await.unwrap();

    let today = jiff::Zoned::now().date();
    let days = [today.yesterday().unwrap().to_string(), today.tomorrow().unwrap().to_string()];
    let figures = async |words: &[&str]| {
        let mut all = words.to_vec();
        all.extend(["--database", &database, "--from", &days[0], "--until", &days[1]]);
        let ended = run(HUB, &all).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.out
    };
    // Handed over, and taken in.
    let two = |present: &Vec<String>| present.len() == 2;
    until("both marks at the hub", || site.present("NOW"), two).await;
    let report = figures(&["report", "--by", "day"]).await;
    let total = report.lines().last().unwrap();
    assert!(report.starts_with("day,from,until,sessions,present,"), "{report}");
    assert!(total.starts_with("total,") && total.split(',').nth(4) == Some("2"), "{report}");
    assert!(
        figures(&["report", "--by", "room-use"])
            .await
            .starts_with("room,seats,from,until,sessions,booked_hours")
    );
    let marks = figures(&["export"]).await;
    assert!(
        marks.starts_with("student_number,session,title,course,starts_at,")
            && marks.contains(",PRESENT,READER,"),
        "{marks}"
    );
    let lines = figures(&["export", "--format", "jsonl"]).await;
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() + 1, marks.lines().count());
    assert_eq!(lines.iter().filter(|line| line["status"] == "PRESENT").count(), 2);
    let table = figures(&["export", "--format", "jisc-tsv"]).await;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
    assert!(rows.iter().all(|row| row.len() == 16) && rows[0][10] == "EVENT_ATTENDED", "{table}");
    assert_eq!(rows.iter().filter(|row| row[10] == "1").count(), 2, "{table}");

    // The same as statements, printed and sent: the store is busy at first, and takes each once.
    let xapi = ["export", "--format", "xapi", "--home-page", "https://www.example.ac.uk/"];
    let printed = figures(&xapi).await;
    let printed: Vec<serde_json::Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(printed.iter().filter(|it| it["result"]["completion"] == true).count(), 2);
    let (url, mut taken) = record_store().await;
    let mut words = xapi.to_vec();
    words.extend(["--lrs", &url, "--database", &database, "--from", &days[0], "--until", &days[1]]);
    let wrong = run(HUB, &words).await;
    assert!(wrong.code == Some(1) && wrong.err.contains("ROLLCALL_LRS_KEY"), "{wrong:?}");
    let key = [("ROLLCALL_LRS_KEY", "key"), ("ROLLCALL_LRS_SECRET", "secret")];
    let sent = run_with(HUB, &words, &key).await;
    assert!(sent.code == Some(0) && sent.err.contains("trying again in 1 s"), "{sent:?}");
    let statements = taken.recv().await.unwrap();
    assert_eq!(statements.as_array().unwrap(), &printed);
    let refused = run_with(HUB, &words, &[("ROLLCALL_LRS_KEY", "key"), ("ROLLCALL_LRS_SECRET", "no")]).await;
    assert!(refused.code == Some(1) && refused.err.contains("status 401"), "{refused:?}");
    assert!(!refused.err.contains("Basic"), "{refused:?}");
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}
