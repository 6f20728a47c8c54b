//! Transactions that PostgreSQL turns down, and connections that are cut in the middle of one or of its commit: whoever asked
//! does not notice, and everything is there once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reader_sim::postgres::{TemporaryPostgres, url};
use rollcall_hub::config::Database;
use rollcall_tests::hub::{TestHub, at};
use rollcall_tests::timetable::{Gateway, all_present_once, morning};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use uuid::Uuid;

const STUDENTS: usize = 60;
const DECISIONS: usize = 12;
/// The name of a server's socket in its folder (PostgreSQL manual, 20.3.1).
const SOCKET: &str = ".s.PGSQL.5432";
/// What a client says to commit (PostgreSQL manual, 55.7, "Query").
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
/// What a hub says to ask what became of a commit.
const ASKS: &[u8] = b"INSERT INTO transaction_outcome (id, at) VALUES ('";
/// What a server says at the end of its answer ("ReadyForQuery", in no transaction).
const READY: &[u8] = b"Z\0\0\0\x05I";

fn serializable(address: &str) -> Database {
    Database::Postgres(format!("{address}&isolation=serializable"))
}

fn in_turn(address: &str) -> Database {
    Database::Postgres(address.to_owned())
}

/// Each third transaction is turned down when it is to commit, each fifth that has swipes in the middle, and each seventh that
/// changes marks, as one that puts there what another put: the counts are not taken back with them (PostgreSQL manual, 9.17).
const UNLUCKY: &str = "
    CREATE SEQUENCE commits; CREATE SEQUENCE intakes; CREATE SEQUENCE changes;
    CREATE FUNCTION turn_down() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF nextval(TG_ARGV[0]) % TG_ARGV[1]::BIGINT = 0 THEN
        RAISE EXCEPTION 'injected' USING ERRCODE = TG_ARGV[2];
      END IF;
      RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON transaction_outcome DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION turn_down('commits', 3, 'serialization_failure');
    CREATE TRIGGER midway AFTER INSERT ON swipe
      FOR EACH STATEMENT EXECUTE FUNCTION turn_down('intakes', 5, 'serialization_failure');
    CREATE TRIGGER there_already AFTER INSERT ON attendance_change
      FOR EACH STATEMENT EXECUTE FUNCTION turn_down('changes', 7, 'unique_violation');";

/// Hands everything over, some at each hub at once, while somebody decides of a mark again and again. No request may fail.
async fn work(hubs: &[&TestHub], gateway: &Gateway, swipes: &[Value]) {
    let stored = watch::Sender::new(0);
    let hand = async |hub: &TestHub, part: usize| {
        let mine: Vec<_> = swipes.iter().skip(part).step_by(3).cloned().collect();
        let post = async |query: &str, input| {
            let (status, body) = hub.post(Some(&gateway.token), query, input).await;
            assert_eq!((status, &body["errors"]), (200, &Value::Null), "{body}");
            body
        };
        gateway.hand_over(&mine, &at("10:10"), &stored, &post).await
    };
    let (first, last) = (hubs[0], hubs[hubs.len() - 1]);
    let query =
        "{ session(by: {externalId: \"S\"}) { register { id } } student(by: {number: \"S00007\"}) { id } }";
    let data = first.read(query).await;
    let decide = async {
        for number in 0..DECISIONS {
            let marks = [json!({"studentId": data["student"]["id"], "status": "PRESENT"})];
            let input = json!({"registerId": data["session"]["register"]["id"], "marks": marks,
                               "reason": format!("Seen {number}")});
            let payload = last.write_as(&last.admin, "markAttendance records { status }", input).await;
            assert_eq!(payload["errors"], json!([]));
        }
    };
    let all = async { tokio::join!(hand(first, 0), hand(last, 1), hand(first, 2), decide) };
    let (one, two, three, ()) = tokio::time::timeout(Duration::from_secs(120), all).await.unwrap();
    assert_eq!((one + two + three, *stored.borrow()), (0, STUDENTS), "nobody had to ask again");
}

/// Everything is there, once.
async fn everything_once(hub: &TestHub) {
    all_present_once(hub, STUDENTS).await;
    let query = "{ session(by: {externalId: \"S\"}) { register { entries(first: 100) { nodes {
        student { number } history { reason } } } } } }";
    let data = hub.read(query).await;
    let entries = data["session"]["register"]["entries"]["nodes"].as_array().unwrap();
    let decided = entries.iter().find(|entry| entry["student"]["number"] == "S00007").unwrap();
    let mut reasons: Vec<&str> =
        decided["history"].as_array().unwrap().iter().filter_map(|it| it["reason"].as_str()).collect();
    reasons.reverse();
    assert_eq!(reasons, (0..DECISIONS).map(|number| format!("Seen {number}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_turned_down_is_done_again_as_a_whole() {
    let server = TemporaryPostgres::start().unwrap();
    let hub = TestHub::on(serializable(&server.url("rollcall"))).await;
    let beside = TestHub::on(serializable(&server.url("rollcall"))).await;
    let mut db = sqlx::PgConnection::connect(&server.url("rollcall")).await.unwrap();
    db.execute(UNLUCKY).await.unwrap();
    let (gateway, swipes) = morning(&hub, STUDENTS).await;
    work(&[&hub, &beside], &gateway, &swipes).await;
    let again = hub.running.hub.attempted_again() + beside.running.hub.attempted_again();
    assert!(again > 15, "only {again} transactions were turned down");
    everything_once(&hub).await;
}

/// What a relay does with some bytes that a client says.
#[derive(Clone, Copy, PartialEq)]
enum Cut {
    /// Passes them on.
    No,
    /// Cuts the connection in their place.
    Before,
    /// Passes them on, and cuts the connection at once: the server may be at it still.
    During,
    /// Passes them on, and cuts the connection once the server has answered, before the client hears of it.
    After,
}

/// A relay before a server, which cuts connections once a hub has started over it.
struct Relay {
    folder: TempDir,
    cuts: Arc<AtomicUsize>,
    armed: Arc<AtomicBool>,
}

impl Relay {
    fn start(server: &TemporaryPostgres, judge: impl Fn(&[u8]) -> Cut + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let to = Path::new(&server.socket()).join(SOCKET);
        let (cuts, armed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let asked = armed.clone();
        let judge = move |said: &[u8]| if asked.load(Ordering::Relaxed) { judge(said) } else { Cut::No };
        let judge = Arc::new(judge);
        let counted = cuts.clone();
        tokio::spawn(async move {
            loop {
                let (from, _) = listener.accept().await.unwrap();
                let (to, judge, counted) = (to.clone(), judge.clone(), counted.clone());
                tokio::spawn(async move {
                    if pass(from, UnixStream::connect(to).await.unwrap(), &*judge).await {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self { folder, cuts, armed }
    }

    /// A hub over it, and then the cuts begin.
    async fn hub(&self, database: impl Fn(&str) -> Database) -> TestHub {
        let address = url(self.folder.path().to_str().unwrap(), "rollcall");
        let hub = TestHub::on(database(&address)).await;
        self.armed.store(true, Ordering::Relaxed);
        hub
    }

    fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }
}

/// Passes on what both say until one breaks off, which is `false`, or the judge says so.
async fn pass(from: UnixStream, to: UnixStream, judge: &(dyn Fn(&[u8]) -> Cut + Sync)) -> bool {
    let ((mut client, mut answers), (mut server, mut asks)) = (from.into_split(), to.into_split());
    let (mut said, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            count = client.read(&mut said) => {
                let Some(count) = count.ok().filter(|count| *count > 0) else { return false };
                let cut = judge(&said[..count]);
                if cut == Cut::Before {
                    return true;
                }
                if asks.write_all(&said[..count]).await.is_err() {
                    return false;
                }
                if cut == Cut::After {
                    let mut heard = Vec::new();
                    while !says(&heard, READY) {
                        let count = server.read(&mut answered).await.unwrap();
                        assert_ne!(count, 0, "the server went before it had answered");
                        heard.extend_from_slice(&answered[..count]);
                    }
                }
                if cut != Cut::No {
                    return true;
                }
            }
            count = server.read(&mut answered) => {
                let Some(count) = count.ok().filter(|count| *count > 0) else { return false };
                if answers.write_all(&answered[..count]).await.is_err() {
                    return false;
                }
            }
        }
    }
}

fn says(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|some| some == what)
}

async fn commits_are_cut(database: impl Fn(&str) -> Database) {
    let server = TemporaryPostgres::start().unwrap();
    let (commits, questions) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let asked = questions.clone();
    let relay = Relay::start(&server, move |said| {
        // A question whose answer is lost is asked again, and must not take itself for the transaction.
        if says(said, ASKS) && asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return Cut::After;
        }
        if !says(said, COMMIT) {
            return Cut::No;
        }
        match commits.fetch_add(1, Ordering::Relaxed) % 7 {
            1 => Cut::Before,
            3 => Cut::During,
            5 => Cut::After,
            _ => Cut::No,
        }
    });
    let hub = relay.hub(database).await;
    let (gateway, swipes) = morning(&hub, STUDENTS).await;
    let before = hub.running.hub.attempted_again();
    work(&[&hub], &gateway, &swipes).await;
    assert!(relay.cuts() > 15, "only {} commits were cut", relay.cuts());
    let again = hub.running.hub.attempted_again() - before;
    assert!(again > 5, "only {again} transactions were attempted again");
    let questions = questions.load(Ordering::Relaxed);
    assert!(questions > 15, "only {questions} questions were asked");
    everything_once(&hub).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_of_which_nobody_heard_is_asked_about() {
    commits_are_cut(serializable).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_where_writers_take_turns() {
    commits_are_cut(in_turn).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_import_whose_database_goes_in_the_middle_is_done_whole_or_not_at_all() {
    let server = TemporaryPostgres::start().unwrap();
    let seen = AtomicUsize::new(0);
    // Student 777 is in the middle of everything; some of the times that somebody speaks of them, the connection is cut.
    let relay = Relay::start(&server, move |said| {
        let cut = says(said, b"S00777") && [0, 2, 3, 5, 9].contains(&seen.fetch_add(1, Ordering::Relaxed));
        if cut { Cut::Before } else { Cut::No }
    });
    let hub = relay.hub(in_turn).await;
    let table = "number,name\n".to_owned()
        + &(0..1_500).map(|index| format!("S{index:05},Student {index}\n")).collect::<String>();
    let (status, file) = hub.upload(&hub.integration, "students.csv", table).await;
    assert_eq!(status, 201, "{file}");
    let mapping = "kind = \"students\"\n[columns]\nnumber = \"number\"\nname = \"name\"\n";
    let input = json!({"id": Uuid::new_v4(), "kind": "CSV", "source": "registry", "mapping": mapping, "uploadIds": [file["uploadId"]]});
    let started = hub.done("startImport import { id }", input).await;
    let id = started["import"]["id"].as_str().unwrap().to_owned();
    let mut news = hub.running.hub.listen();
    let mut ended = async |state: &str| loop {
        let data =
            hub.read(&format!("{{ import(id: \"{id}\") {{ state }} students {{ totalCount }} }}")).await;
        // Half of it is never seen.
        let count = data["students"]["totalCount"].as_u64().unwrap();
        assert!(count == 0 || count == 1_500, "{count} students");
        if data["import"]["state"] == state {
            return count;
        }
        news.recv().await.unwrap();
    };
    let patience = Duration::from_secs(60);
    assert_eq!(tokio::time::timeout(patience, ended("CHECKED")).await.unwrap(), 0);
    hub.done("applyImport import { id }", json!({"importId": id})).await;
    assert_eq!(tokio::time::timeout(patience, ended("APPLIED")).await.unwrap(), 1_500);
    assert!(relay.cuts() > 3, "only {} connections were cut", relay.cuts());
}
