//! Three hubs as separate programs over one PostgreSQL database, behind a balancer; they are killed in turn while swipes
//! come in, and what a receipt said is there, once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reader_sim::postgres::TemporaryPostgres;
use rollcall_hub::config::Database;
use rollcall_tests::hub::{TestHub, at, post_to};
use rollcall_tests::programs::{Program, free_port};
use rollcall_tests::timetable::{Gateway, all_present_once, estate, session, students};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const STUDENTS: usize = 300;
const HUBS: usize = 3;

/// Gives each connection to the next hub that takes it; counts those that each has in hand.
async fn balance(listener: TcpListener, hubs: Vec<SocketAddr>, in_hand: Arc<Vec<watch::Sender<usize>>>) {
    for turn in 0.. {
        let (mut from, _) = listener.accept().await.unwrap();
        let (hubs, in_hand) = (hubs.clone(), in_hand.clone());
        tokio::spawn(async move {
            for next in (turn..turn + hubs.len()).map(|next| next % hubs.len()) {
                if let Ok(mut to) = TcpStream::connect(hubs[next]).await {
                    in_hand[next].send_modify(|count| *count += 1);
                    // Whichever side breaks off, the other hears of it by its end.
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                    in_hand[next].send_modify(|count| *count -= 1);
                    return;
                }
            }
        });
    }
}

async fn start(url: &str, port: u16) -> Program {
    let listen = format!("127.0.0.1:{port}");
    let mut hub = Program::start("rollcall-hub", &["serve", "--database", url, "--listen", &listen]);
    hub.line_with(&listen).await;
    hub
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_receipt_said_counts_once_while_hubs_are_killed_in_turn() {
    let server = TemporaryPostgres::start().unwrap();
    let url = server.url("rollcall");
    let hub = TestHub::on(Database::Postgres(url.clone())).await;
    estate(&hub).await;
    students(&hub, STUDENTS, STUDENTS).await;
    hub.done("saveSession", session("S", "09:00", "10:00")).await;
    let mut gateway = Gateway::start(&hub, "GW").await;
    let green = gateway.session("09:00").to_owned();
    let swipes: Vec<_> =
        (0..STUDENTS).map(|index| gateway.swipe(index, 0, &at("09:05"), &[green.as_str()])).collect();
    hub.clock.set(&at("10:30"));

    let ports = [(); HUBS].map(|()| free_port());
    let mut hubs = Vec::new();
    for port in ports {
        hubs.push(start(&url, port).await);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = listener.local_addr().unwrap();
    let in_hand = Arc::new(ports.map(|_| watch::Sender::new(0)).to_vec());
    let addresses = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).to_vec();
    let balancer = tokio::spawn(balance(listener, addresses, in_hand.clone()));

    let stored = watch::Sender::new(0);
    let post =
        async |query: &str, input| post_to(front, &gateway.token, query, input).await.unwrap_or_default();
    // Three hands send, each its own swipes in order.
    let hand = async |part: usize| {
        let mine: Vec<_> = swipes.iter().skip(part).step_by(3).cloned().collect();
        gateway.hand_over(&mine, &at("10:10"), &stored, &post).await
    };
    let kills = async {
        for (round, (hub, port)) in hubs.iter_mut().zip(ports).enumerate() {
            // In the middle of the work, wherever that is.
            let so_many = (round + 1) * STUDENTS / (HUBS + 2);
            stored.subscribe().wait_for(|count| *count >= so_many).await.unwrap();
            // Stopped first, so that it is cut off with something in hand, wherever it is with that.
            hub.signal("-STOP").await;
            // Once all is handed over, nobody connects any more.
            tokio::select! {
                held = async { in_hand[round].subscribe().wait_for(|count| *count > 0).await.is_ok() } => assert!(held),
                all = async { stored.subscribe().wait_for(|count| *count >= STUDENTS).await.is_ok() } => assert!(all),
            }
            hub.kill().await;
            *hub = start(&url, port).await;
        }
    };
    let all = async { tokio::join!(hand(0), hand(1), hand(2), kills) };
    let (one, two, three, ()) = tokio::time::timeout(Duration::from_secs(180), all).await.unwrap();
    assert_eq!(*stored.borrow(), STUDENTS);
    assert!(one + two + three > 0, "no kill cut a request off");
    all_present_once(&hub, STUDENTS).await;
    balancer.abort();
    for hub in &mut hubs {
        assert_eq!(hub.interrupt().await, Some(0));
    }
}
