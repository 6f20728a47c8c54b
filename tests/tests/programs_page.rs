//! How a gateway shows itself: its page, its metrics, what it tells watchdogs and systemd; programs as they are installed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::net::SocketAddr;
use std::time::Duration;

use rollcall_tests::programs::site::*;
use rollcall_tests::programs::{PATIENCE, Program, get, until};
use serde_json::Value;
use tokio::net::UnixDatagram;

async fn page_of(gateway: &mut Program) -> SocketAddr {
    let line = gateway.line_with("status page at http://").await;
    line.split("http://").nth(1).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_doors_and_swipes_without_a_card_and_without_the_hub() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    let (mut reader, port) = osdp_reader().await;
    site.configure(Some(&port));
    let mut gateway = site.gateway();
    let page = page_of(&mut gateway).await;
    reader.line_with("light blue").await;
    assert_eq!(flashes(&mut reader, CARDS[0]).await, "flash green");
    site.swipes_are(1).await;
    assert_eq!(hub.interrupt().await, Some(0));
    assert_eq!(flashes(&mut reader, CARDS[1]).await, "flash green");

    let (status, kind, html) = get(page, "/", None).await;
    assert_eq!((status, kind.as_str()), (200, "text/html; charset=utf-8"));
    assert!(!html.contains("http://") && !html.contains("https://"), "assets from outside: {html}");
    for (path, kind) in
        [("/page.js", "text/javascript; charset=utf-8"), ("/page.css", "text/css; charset=utf-8")]
    {
        assert_eq!(get(page, path, None).await.1, kind);
    }
    // While the disk holds everybody up the page says so, and no more.
    let look = async || -> Value {
        serde_json::from_str(&get(page, "/status.json", None).await.2).unwrap_or_default()
    };
    let silent = |look: &Value| !look["hub"]["failing"].is_null() && look["hub"]["backlog"] == 1;
    let found = until("the hub's silence and what waits for it, on the page", look, silent).await;
    assert_eq!(found["gateway"], "GW-A");
    let doors: Vec<(&str, bool, &str)> = found["readers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["code"].as_str().unwrap(), it["online"] == true, it["light"].as_str().unwrap()))
        .collect();
    assert_eq!(doors, [("D1", true, "blue"), ("D2", false, "blue")]);
    let swipe = &found["swipes"][0];
    assert_eq!(
        (&swipe["reader"], &swipe["light"], &swipe["reason"]),
        (&"D1".into(), &"green".into(), &"RECORDED".into())
    );
    let (status, kind, event) = get(page, "/events", None).await;
    assert_eq!((status, kind.as_str()), (200, "text/event-stream"));
    let told: Value = serde_json::from_str(event.trim().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(told["swipes"], found["swipes"]);
    let (status, _, metrics) = get(page, "/metrics", None).await;
    assert_eq!(status, 200);
    for wanted in [
        "rollcall_gateway_reader_online{reader=\"D1\"} 1.0",
        "rollcall_gateway_reader_online{reader=\"D2\"} 0.0",
        "rollcall_gateway_hub_failing 1.0",
        "rollcall_gateway_journal_refusing 0.0",
        "# EOF",
    ] {
        assert!(metrics.contains(wanted), "no '{wanted}' in:\n{metrics}");
    }
    // Doors work without the hub, so that is no ill health.
    let (status, _, health) = get(page, "/health", None).await;
    assert_eq!((status, health.as_str()), (200, "{\"healthy\":true,\"problems\":[]}"));
    for body in [&html, &event, &metrics] {
        for secret in [FIRST_UID, &FIRST_UID.to_lowercase(), "Student 1", "S1"] {
            assert!(!body.contains(secret), "'{secret}' stands in:\n{body}");
        }
    }
    // An open page does not keep the gateway from stopping.
    let mut watching = tokio::net::TcpStream::connect(page).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut watching, b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    tokio::io::AsyncReadExt::read_exact(&mut watching, &mut byte).await.unwrap();
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    reader.line_with("light off").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_for_other_machines_asks_for_its_password_and_is_refused_without_one() {
    let site = Site::new().await;
    site.write_config("http://127.0.0.1:9", "", "");
    let text = std::fs::read_to_string(site.path("gateway.toml")).unwrap();
    let open = text.replace("[page]\nlisten = '127.0.0.1:0'", "[page]\nlisten = '0.0.0.0:0'");
    std::fs::write(site.path("gateway.toml"), open).unwrap();
    failed_naming(&site.failing_gateway().await, &["page.listen", "page.password_file", "127.0.0.1"]);

    let password = site.path("page-password");
    std::fs::write(&password, "open sesame\n").unwrap();
    let guarded = format!("listen = '127.0.0.1:0'\npassword_file = '{}'", password.display());
    let guarded = text.replace("[page]\nlisten = '127.0.0.1:0'", &format!("[page]\n{guarded}"));
    std::fs::write(site.path("gateway.toml"), guarded).unwrap();
    let mut gateway = site.gateway();
    let page = page_of(&mut gateway).await;
    // "anybody:open sesame" and "anybody:open"
    let (right, wrong) = ("Basic YW55Ym9keTpvcGVuIHNlc2FtZQ==", "Basic YW55Ym9keTpvcGVu");
    for (authorization, wanted) in
        [(None, 401), (Some(wrong), 401), (Some("Basic ?"), 401), (Some(right), 200)]
    {
        for path in ["/", "/status.json", "/metrics", "/page.js"] {
            assert_eq!(get(page, path, authorization).await.0, wanted, "{path} with {authorization:?}");
        }
    }
    // There is no timetable yet, which a watchdog hears without a password.
    let (status, _, health) = get(page, "/health", None).await;
    assert_eq!(status, 503);
    assert!(health.contains("no timetable here yet"), "{health}");
    assert!(!gateway.all().contains("sesame"), "{}", gateway.all());
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_hears_that_the_gateway_is_ready_alive_and_stopping() {
    let site = Site::new().await;
    site.configure(None);
    let socket = site.path("notify");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    let heard = async || {
        let mut message = [0; 256];
        let count = tokio::time::timeout(PATIENCE, systemd.recv(&mut message)).await.unwrap().unwrap();
        String::from_utf8(message[..count].to_vec()).unwrap().trim().to_owned()
    };
    let arguments = ["run", "--config", &site.config()];
    let mut gateway = Program::start_notifying(GATEWAY, &arguments, &socket, Duration::from_secs(3));
    assert_eq!(heard().await, "READY=1", "{}", gateway.all());
    assert_eq!(heard().await, "WATCHDOG=1", "{}", gateway.all());
    assert_eq!(heard().await, "WATCHDOG=1", "{}", gateway.all());
    assert!(site.path("data/journal/alive").exists(), "it was said without a proof");
    // Where the disk takes nothing it is not said.
    let alive = site.path("data/journal/alive");
    // It is written each second, perhaps just in between.
    while std::fs::create_dir(&alive).is_err() {
        drop(std::fs::remove_file(&alive));
    }
    gateway.line_with("the watchdog is not fed").await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    let mut last = heard().await;
    while last == "WATCHDOG=1" {
        last = heard().await;
    }
    assert_eq!(last, "STOPPING=1");
}
