//! A machine that starts without any time, and a hub by https that could tell it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rollcall_tests::chaos::clock::FAKETIME;
use rollcall_tests::programs::site::*;
use rollcall_tests::programs::{Program, until};

/// An authority's certificate, and one of its for loopback with its key, all PEM; both valid within these years alone.
fn certificates(from: i32, until: i32) -> (String, String, String) {
    let (from, until) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (authority.not_before, authority.not_after) = (from, until);
    let authority_key = KeyPair::generate().unwrap();
    let certificate = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    (server.not_before, server.not_after) = (from, until);
    (certificate, server.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_starts_in_1970_learns_the_time_from_its_hub_by_https_and_from_nobody_whose_certificate_is_over()
 {
    let Some(library) = FAKETIME.iter().find(|path| Path::new(path).exists()) else {
        eprintln!("skipped: libfaketime is missing: apt-get install faketime");
        return;
    };
    // To it, the first is not valid yet, by its own clock alone; the other was over before this program was written.
    for ((from, to), believed) in [((2026, 2030), true), ((2020, 2025), false)] {
        let site = Site::new().await;
        let (authority, certificate, key) = certificates(from, to);
        std::fs::write(site.path("ca.pem"), authority).unwrap();
        // A second hub serves the same database without TLS, for the test to read.
        let mut reading = site.hub().await;
        let (mut hub, url) = site.hub_by_https(&certificate, &key).await;
        let trusted = format!("ca_file = '{}'", site.path("ca.pem").display());
        site.write_config(&url, &trusted, "");
        let variables = [
            ("LD_PRELOAD", *library),
            ("FAKETIME", "@1970-01-01 01:00:05"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ];
        let variables = variables.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut gateway = Program::start_with(GATEWAY, &["run", "--config", &site.config()], &variables);
        if believed {
            gateway.line_with("snapshot taken").await;
            let query = "{ gateways { nodes { health { clock { trust source } } } } }";
            let look = async || site.client.ask(query, serde_json::json!({})).await;
            let clock = |found: &serde_json::Value| found["gateways"]["nodes"][0]["health"]["clock"].clone();
            let knows = |found: &serde_json::Value| clock(found)["trust"] == "HOLDOVER";
            let found = until("the hub's time at the gateway", look, knows).await;
            assert_eq!(clock(&found)["source"], "HUB");
        } else {
            let said = gateway.line_with("certificate").await;
            assert!(said.contains("hub.ca_file") || said.contains("expired"), "{said}");
            assert!(!gateway.all().contains("snapshot taken"), "{}", gateway.all());
        }
        for program in [&mut gateway, &mut hub, &mut reading] {
            assert_eq!(program.interrupt().await, Some(0), "{}", program.all());
        }
    }
}
