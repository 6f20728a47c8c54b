//! What the programs refuse, and what they say then.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rollcall_tests::programs::site::*;
use rollcall_tests::programs::{Program, free_port, run, run_with};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_with_an_unknown_key_ends_the_gateway_with_the_key_and_the_file() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("gateway.toml");
    let config = "gateway = 'GW-A'\ndata = 'd'\ncolour = 'blue'\n[hub]\nurl = 'http://127.0.0.1:1'\n\
                  token_file = 't'\n";
    std::fs::write(&file, config).unwrap();
    let path = file.to_str().unwrap();
    for command in ["run", "check-config"] {
        failed_naming(&run(GATEWAY, &[command, "--config", path]).await, &["colour", path]);
    }
    let missing = folder.path().join("none.toml");
    let ended = run(GATEWAY, &["run", "--config", missing.to_str().unwrap()]).await;
    failed_naming(&ended, &["there is no file", "none.toml", "deploy/gateway.toml"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_may_be_named_and_overridden_by_the_environment() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("gateway.toml");
    let config = "gateway = 'GW-A'\ndata = 'd'\n[hub]\nurl = 'http://127.0.0.1:1'\ntoken_file = 't'\n";
    std::fs::write(&file, config).unwrap();
    let path = file.to_str().unwrap();
    let environment =
        [("ROLLCALL_GATEWAY_CONFIG", path), ("ROLLCALL_GATEWAY_HUB__TOKEN_FILE", "nowhere/token")];
    let ended = run_with(GATEWAY, &["run"], &environment).await;
    failed_naming(&ended, &["nowhere/token", "rollcall-hub token create"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_or_empty_token_file_ends_the_gateway_with_the_file_and_how_to_make_one() {
    let folder = TempDir::new().unwrap();
    let (file, token) = (folder.path().join("gateway.toml"), folder.path().join("token"));
    let config = format!(
        "gateway = 'GW-A'\ndata = '{}'\n[hub]\nurl = 'http://127.0.0.1:1'\ntoken_file = '{}'\n",
        folder.path().join("data").display(),
        token.display()
    );
    std::fs::write(&file, config).unwrap();
    let arguments = ["run", "--config", file.to_str().unwrap()];
    let make = "rollcall-hub token create --name GW-A --role GATEWAY --gateway GW-A";
    failed_naming(&run(GATEWAY, &arguments).await, &[token.to_str().unwrap(), make]);
    std::fs::write(&token, "\n").unwrap();
    failed_naming(&run(GATEWAY, &arguments).await, &[token.to_str().unwrap(), "is empty"]);
}

async fn with_a_newer_version(database: &Path) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', 1, x'00', 0)";
    sqlx::query(later).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_a_newer_version_or_another_engine_ends_the_hub_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("hub.sqlite");
    let database = format!("sqlite:{}", path.display());
    let listen = format!("127.0.0.1:{}", free_port());
    let serve = ["serve", "--listen", &listen, "--database", &database];
    let create = ["token", "create", "--database", &database, "--name", "admin", "--role", "ADMINISTRATOR"];
    last_line(&run(HUB, &create).await);
    with_a_newer_version(&path).await;
    let said = ["hub.sqlite", "9999", "newer version", "Install that version"];
    failed_naming(&run(HUB, &serve).await, &said);
    failed_naming(&run(HUB, &create).await, &said);
    failed_naming(&run(HUB, &["check", "--database", &database]).await, &said);

    let elsewhere = ["serve", "--listen", &listen, "--database", "mysql://localhost/rollcall"];
    failed_naming(&run(HUB, &elsewhere).await, &["mysql", "sqlite:PATH", "postgres://"]);
    let absent = ["serve", "--listen", &listen, "--database", "postgres://me:secret@127.0.0.1:1/rollcall"];
    let absent = run(HUB, &absent).await;
    failed_naming(&absent, &["postgres://127.0.0.1:1/rollcall", "cannot be opened"]);
    assert!(!format!("{absent:?}").contains("secret"));
    let garbled = folder.path().join("garbled.sqlite");
    std::fs::write(&garbled, [b'x'; 4_096]).unwrap();
    let garbled = format!("sqlite:{}", garbled.display());
    failed_naming(
        &run(HUB, &["serve", "--listen", &listen, "--database", &garbled]).await,
        &["garbled.sqlite"],
    );
    let unknown = ["token", "create", "--database", &database, "--name", "x", "--role", "KING"];
    failed_naming(&run(HUB, &unknown).await, &["KING", "ADMINISTRATOR", "GATEWAY"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_gateway_on_the_same_folder_or_broker_port_ends_with_what_is_taken() {
    let site = Site::new().await;
    site.configure(None);
    let mut gateway = site.gateway();
    let mut reader = site.mqtt_reader();
    reader.line_with("online").await;
    let data = site.path("data");
    failed_naming(&site.failing_gateway().await, &["a gateway runs", data.to_str().unwrap(), "stop it"]);

    let other = std::fs::read_to_string(site.path("gateway.toml")).unwrap();
    let elsewhere = site.path("elsewhere");
    let other = other.replace(data.to_str().unwrap(), elsewhere.to_str().unwrap());
    std::fs::write(site.path("gateway.toml"), other).unwrap();
    let port = site.broker_port.to_string();
    failed_naming(&site.failing_gateway().await, &[&port, "cannot be listened on", "another broker"]);
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_whose_port_or_certificate_cannot_be_used_ends_with_which() {
    let folder = TempDir::new().unwrap();
    let database = format!("sqlite:{}", folder.path().join("hub.sqlite").display());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let serve = ["serve", "--database", &database, "--listen"];
    let ended = run(HUB, &[&serve[..], &[&listen]].concat()).await;
    failed_naming(&ended, &[&listen, "cannot be listened on", "--listen"]);
    let files = ["--tls-cert", "no-such.pem", "--tls-key", "no-such.key"];
    let ended = run(HUB, &[&serve[..], &["127.0.0.1:0"], &files[..]].concat()).await;
    failed_naming(&ended, &["no-such.pem", "no-such.key"]);
}

/// An authority's certificate, and a certificate of its for loopback with its key, all PEM.
fn certificates() -> (String, String, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let certificate = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    (certificate, server.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_trusts_a_hub_of_its_authority_and_no_other() {
    let site = Site::new().await;
    let (authority, certificate, key) = certificates();
    let (stranger, ..) = certificates();
    for (name, text) in [("ca.pem", authority), ("stranger.pem", stranger)] {
        std::fs::write(site.path(name), text).unwrap();
    }
    // A second hub serves the same database without TLS, for the test to read.
    let mut reading = site.hub().await;
    let (mut hub, url) = site.hub_by_https(&certificate, &key).await;

    let with = |name: &str| format!("ca_file = '{}'", site.path(name).display());
    site.write_config(&url, &with("stranger.pem"), "");
    let mut gateway = site.gateway();
    let said = gateway.line_with("certificate").await;
    assert!(said.contains("hub.ca_file"), "no word on what to do: {said}");
    assert!(!gateway.all().contains("snapshot taken"), "{}", gateway.all());
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());

    site.write_config(&url, "", "");
    failed_naming(&site.failing_gateway().await, &["https", "hub.ca_file"]);
    site.write_config(&url, &with("none.pem"), "");
    failed_naming(&site.failing_gateway().await, &["none.pem"]);

    site.write_config(&url, &with("ca.pem"), "");
    let mut gateway = site.gateway();
    let mut reader = site.mqtt_reader();
    reader.line_with("light blue").await;
    assert_eq!(flashes(&mut reader, CARDS[0]).await, "flash green");
    assert_eq!(numbers_and_lights(&site.swipes_are(1).await), [(Some("S1"), "GREEN")]);
    for program in [&mut gateway, &mut hub, &mut reading] {
        assert_eq!(program.interrupt().await, Some(0), "{}", program.all());
    }
}

#[tokio::test]
async fn a_hub_to_which_nobody_has_a_token_says_how_to_make_the_first() {
    let folder = TempDir::new().unwrap();
    let database = format!("sqlite:{}", folder.path().join("hub.sqlite").display());
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database", &database];
    let mut hub = Program::start(HUB, &serve);
    let line = hub.line_with("there is no token yet").await;
    let make = ["token", "create", "--database", &database, "--name", "admin", "--role", "ADMINISTRATOR"];
    assert!(line.contains(&format!("rollcall-hub {}", make.join(" "))), "{line}");
    assert_eq!(hub.interrupt().await, Some(0));
    assert_eq!(run(HUB, &make).await.code, Some(0));
    let mut hub = Program::start(HUB, &serve);
    hub.line_with("serving http://").await;
    assert_eq!(hub.interrupt().await, Some(0));
    assert!(!hub.all().contains("there is no token yet"), "{}", hub.all());
}
