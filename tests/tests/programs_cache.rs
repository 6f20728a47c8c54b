//! A gateway's cache of the timetable that cannot be read any more: nobody is absent for what it did not know.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_tests::programs::site::*;
use rollcall_tests::programs::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_lost_its_cache_says_since_when_nobody_was_served_and_that_cards_were_refused() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    let (mut reader, port) = osdp_reader().await;
    site.configure(Some(&port));
    let mut gateway = site.gateway();
    reader.line_with("light blue").await;
    assert_eq!(flashes(&mut reader, CARDS[0]).await, "flash green");
    site.swipes_are(1).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());

    let cache = site.path("data").join("cache").join("db");
    std::fs::write(&cache, vec![0xa5; 64 * 1024]).unwrap();
    reader.forget();
    let mut gateway = site.gateway();
    gateway.line_with("moved aside").await;
    gateway.line_with("reader online").await;
    assert_eq!(flashes(&mut reader, CARDS[1]).await, "flash red");
    let mut hub = site.hub().await;
    reader.line_with("light blue").await;
    let ask = || async {
        let query = "{ gateways { nodes { outages { nodes { cause from until reader { code } } } } } }";
        let found = site.client.ask(query, serde_json::json!({})).await;
        found["gateways"]["nodes"][0]["outages"]["nodes"].clone()
    };
    let has = |outages: &serde_json::Value, cause: &str| {
        let over = |it: &&serde_json::Value| {
            it["cause"] == cause && it["reader"].is_null() && !it["until"].is_null()
        };
        outages.as_array().unwrap().iter().any(|it| over(&it))
    };
    until("both outages are told", ask, |outages| {
        has(outages, "GATEWAY_DOWN") && has(outages, "SWIPES_REFUSED")
    })
    .await;
    // And whoever looks after the gateways hears of it.
    let health = site
        .client
        .ask("{ gateways { nodes { health { journalPercent problems } } } }", serde_json::json!({}));
    let health = health.await["gateways"]["nodes"][0]["health"].take();
    assert!(health["problems"].as_array().unwrap().contains(&"CACHE_DAMAGED".into()), "{health}");
    assert!(health["journalPercent"].is_i64(), "{health}");
    assert_eq!(flashes(&mut reader, CARDS[1]).await, "flash green");
    site.swipes_are(2).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_that_the_journal_knows_ends_when_the_hub_names_a_reader_that_answered_before() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    let (mut reader, port) = osdp_reader().await;
    site.configure(Some(&port));
    let mut gateway = site.gateway();
    reader.line_with("light blue").await;
    let outages = || async {
        let query = "{ gateways { nodes { outages { nodes { cause until reader { code } } } } } }";
        let found = site.client.ask(query, serde_json::json!({})).await;
        let all = found["gateways"]["nodes"][0]["outages"]["nodes"].as_array().unwrap().clone();
        all.into_iter().filter(|it| it["reader"]["code"] == "D1").collect::<Vec<_>>()
    };
    let lasting = |all: &[serde_json::Value]| {
        all.iter().filter(|it| it["cause"] == "READER_UNREACHABLE" && it["until"].is_null()).count()
    };
    reader.kill().await;
    until("the reader is out", outages, |all| lasting(all) == 1).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());

    std::fs::write(site.path("data").join("cache").join("db"), vec![0xa5; 64 * 1024]).unwrap();
    let (mut reader, port) = osdp_reader().await;
    site.configure(Some(&port));
    let mut gateway = site.gateway();
    gateway.line_with("moved aside").await;
    // Nobody has said yet which reader of the hub's this is.
    gateway.line_with("reader online").await;
    let mut hub = site.hub().await;
    reader.line_with("light blue").await;
    until("the outage is over", outages, |all| !all.is_empty() && lasting(all) == 0).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}
