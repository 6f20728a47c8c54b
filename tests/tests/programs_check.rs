//! `rollcall-gateway check`: what an installer is told, and whether the exit code says the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_tests::programs::site::*;
use rollcall_tests::programs::{Ended, run};
use serde_json::Value;

/// Runs the check; gives its exit code and the findings.
async fn check(site: &Site) -> (Option<i32>, Vec<Value>) {
    let ended = run(GATEWAY, &["check", "--json", "--config", &site.config()]).await;
    assert!(!ended.err.contains("panicked"), "{}", ended.err);
    let findings = ended.out.lines().map(|line| serde_json::from_str(line).unwrap());
    (ended.code, findings.collect())
}

/// The findings of a check that have a verdict.
fn of<'a>(findings: &'a [Value], check: &str, verdict: &str) -> Vec<&'a str> {
    let matching = findings.iter().filter(|it| it["check"] == check && it["verdict"] == verdict);
    matching.map(|it| it["found"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_fit_passes_also_while_its_gateway_runs() {
    let site = Site::new().await;
    let _hub = site.hub().await;
    let (_reader, port) = osdp_reader().await;
    site.configure(Some(&port));
    for runs in [false, true] {
        let mut gateway = runs.then(|| site.gateway());
        if let Some(gateway) = &mut gateway {
            // It has its lock, its ports and its broker.
            gateway.line_with("status page at").await;
        }
        let (code, findings) = check(&site).await;
        // Whether this machine has a clock chip, and how fast its disk is, is not the test's.
        assert_eq!(of(&findings, "port", "fail"), [""; 0], "{findings:#?}");
        assert_eq!(of(&findings, "hub", "pass").len(), 1, "{findings:#?}");
        assert_eq!(of(&findings, "reader", "pass"), ["D1 is known to the hub and at a door"]);
        assert_eq!(of(&findings, "mqtt", "fail"), [""; 0], "{findings:#?}");
        assert!(
            findings.iter().all(|it| it["verdict"] == "pass" || it["advice"].is_string()),
            "{findings:#?}"
        );
        let failed = findings.iter().any(|it| it["verdict"] == "fail");
        assert_eq!(code, Some(i32::from(failed)));
        drop(gateway);
    }
    assert!(!site.path("data").join("check.tmp").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_work_is_named_with_what_to_do() {
    let site = Site::new().await;
    let bus = "[[bus]]\nport = '/dev/serial/by-id/gone'\n[[bus.reader]]\ncode = 'D9'\naddress = 1\n";
    let url = format!("http://127.0.0.1:{}", site.hub_port);
    site.write_config(&url, "", bus);
    let (code, findings) = check(&site).await;
    assert_eq!(code, Some(1));
    assert!(of(&findings, "port", "fail")[0].contains("/dev/serial/by-id/gone"), "{findings:#?}");
    assert!(of(&findings, "hub", "fail")[0].contains(&url), "{findings:#?}");

    let _hub = site.hub().await;
    let (_, findings) = check(&site).await;
    assert!(of(&findings, "reader", "fail")[0].starts_with("D9 hangs on a line here"), "{findings:#?}");
    assert!(of(&findings, "reader", "warn")[0].starts_with("D1 is OSDP at the hub"), "{findings:#?}");

    let taken = std::net::TcpListener::bind(("127.0.0.1", site.broker_port)).unwrap();
    std::fs::write(site.path("token"), "rollcall_of_nobody").unwrap();
    let (_, findings) = check(&site).await;
    assert_eq!(of(&findings, "mqtt", "fail").len(), 1, "{findings:#?}");
    assert!(of(&findings, "hub", "fail")[0].contains("refuses this gateway's token"), "{findings:#?}");
    drop(taken);

    std::fs::write(site.path("gateway.toml"), "gateway = 'GW-A'\nlight = 'blue'\n").unwrap();
    let (code, findings) = check(&site).await;
    assert_eq!((code, findings.len()), (Some(1), 1));
    assert!(of(&findings, "config", "fail")[0].contains("light"), "{findings:#?}");
}

/// Scans until that is found, three times at the most.
async fn scans<F: Future<Output = Ended>>(scan: impl Fn() -> F, wanted: &str) -> Ended {
    for _ in 0..2 {
        let ended = scan().await;
        if ended.out.contains(wanted) {
            return ended;
        }
    }
    scan().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_finds_the_reader_of_a_line_and_a_line_in_use_is_refused_with_what_to_do() {
    let site = Site::new().await;
    let _hub = site.hub().await;
    let (mut reader, port) = osdp_reader().await;
    // An address is asked once, and a reader that the machine holds up for a moment does not answer.
    let scan = async |json: &[&str]| {
        let words = ["scan", "--port", &port, "--baud", "9600", "--last-address", "3"];
        run(GATEWAY, &[&words[..], json].concat()).await
    };
    let ended = scans(|| scan(&["--json"]), "LED").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let found: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        (&found[0]["heard"], &found[0]["address"], &found[0]["baud"]),
        (&"reader".into(), &1.into(), &9600.into())
    );
    assert!(
        found[0]["can"].as_array().unwrap().iter().any(|it| it.as_str().unwrap().contains("LED")),
        "{found:#?}"
    );
    assert_eq!(found[0]["others"], Value::Array(Vec::new()));

    // Two readers of one address, found by who they are.
    reader.say("duplicate on").await;
    let ended = scans(|| scan(&[]), "TWO READERS, serial 1 and ").await;
    assert!(ended.code == Some(0) && ended.out.contains("TWO READERS, serial 1 and "), "{ended:?}");

    let ended = run(GATEWAY, &["scan", "--port", "/dev/serial/by-id/gone"]).await;
    assert_ne!(ended.code, Some(0));
    assert!(ended.err.contains("/dev/serial/by-id/gone"), "{}", ended.err);
}
