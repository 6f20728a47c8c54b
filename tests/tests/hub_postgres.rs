//! A PostgreSQL server that goes down under load: what a receipt said is there when it is back, once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::sync::Arc;
use std::time::Duration;

use reader_sim::postgres::TemporaryPostgres;
use rollcall_hub::config::Database;
use rollcall_tests::hub::{TestHub, at};
use rollcall_tests::timetable::{Gateway, all_present_once, estate, session, students};
use tokio::sync::watch;

const STUDENTS: usize = 300;
const CRASHES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_receipt_said_is_there_after_the_server_crashed() {
    let server = Arc::new(TemporaryPostgres::start().unwrap());
    let hub = TestHub::on(Database::Postgres(server.url("rollcall"))).await;
    estate(&hub).await;
    students(&hub, STUDENTS, STUDENTS).await;
    hub.done("saveSession", session("S", "09:00", "10:00")).await;
    let mut gateway = Gateway::start(&hub, "GW").await;
    let green = gateway.session("09:00").to_owned();
    let swipes: Vec<_> =
        (0..STUDENTS).map(|index| gateway.swipe(index, 0, &at("09:05"), &[green.as_str()])).collect();
    hub.clock.set(&at("10:30"));

    let stored = watch::Sender::new(0);
    let post = async |query: &str, input| hub.post(Some(&gateway.token), query, input).await.1;
    // Three hands send, each its own swipes in order.
    let hand = async |part: usize| {
        let mine: Vec<_> = swipes.iter().skip(part).step_by(3).cloned().collect();
        gateway.hand_over(&mine, &at("10:10"), &stored, &post).await
    };
    let crashes = async {
        for round in 1..=CRASHES {
            // In the middle of the work, wherever that is.
            let so_many = round * STUDENTS / (CRASHES + 2);
            stored.subscribe().wait_for(|count| *count >= so_many).await.unwrap();
            let server = server.clone();
            tokio::task::spawn_blocking(move || server.crash().unwrap()).await.unwrap();
        }
    };
    let all = async { tokio::join!(hand(0), hand(1), hand(2), crashes) };
    let (one, two, three, ()) = tokio::time::timeout(Duration::from_secs(120), all).await.unwrap();
    assert_eq!(*stored.borrow(), STUDENTS);
    assert!(one + two + three > 0, "no request met a crash");
    all_present_once(&hub, STUDENTS).await;
}
