//! MQTT readers on the network: the gate in front of the broker, with a simulated reader, stock clients and bad company.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use rollcall_tests::programs::site::*;
use rollcall_tests::programs::{Ended, PATIENCE, Program, free_port, run};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

/// A site whose gateway lets readers in at a port.
struct Gated {
    site: Site,
    port: u16,
}

impl Gated {
    async fn new() -> Self {
        Self::with("").await
    }

    /// With more lines below `[mqtt.gate]`.
    async fn with(more: &str) -> Self {
        let site = Site::new().await;
        let port = free_port();
        let gate =
            format!("[mqtt.gate]\nlisten = '127.0.0.1:{port}'\nnames = ['localhost', '127.0.0.1']\n{more}\n");
        site.write_config(&format!("http://127.0.0.1:{}", site.hub_port), "", &gate);
        std::fs::create_dir_all(site.path("data")).unwrap();
        Self { site, port }
    }

    async fn gateway(&self) -> Program {
        let mut gateway = self.site.gateway();
        gateway.line_with("MQTT readers are let in at").await;
        gateway
    }

    /// Makes a password; gives the file that it lies in.
    async fn password(&self, code: &str) -> String {
        let made = run(GATEWAY, &["reader", "password", code, "--config", &self.site.config()]).await;
        assert_eq!(made.code, Some(0), "{made:?}");
        assert!(made.err.contains("mqtt-ca.pem"), "{made:?}");
        let path = self.site.path(&format!("{code}.password"));
        std::fs::write(&path, &made.out).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Makes a certificate; gives its file.
    async fn certificate(&self, code: &str) -> String {
        let out = self.site.path("certificates");
        let out = out.to_str().unwrap();
        let made =
            run(GATEWAY, &["reader", "certificate", code, "--out", out, "--config", &self.site.config()])
                .await;
        assert_eq!(made.code, Some(0), "{made:?}");
        assert_eq!(made.out.lines().count(), 2, "{made:?}");
        made.out.lines().next().unwrap().to_owned()
    }

    /// Reads its light as reader D2 with this certificate and nothing else; how the client ended.
    async fn light_by(&self, certificate: &str, user: &[&str]) -> Ended {
        let (port, authority) = (self.port.to_string(), self.authority());
        let key = std::path::Path::new(certificate).with_extension("key");
        let by = ["--cafile", &authority, "--cert", certificate, "--key", key.to_str().unwrap()];
        let topic = own("light/set");
        let what = ["-i", "D2", "-q", "1", "-t", &topic, "-C", "1"];
        let at = ["30", "mosquitto_sub", "-h", "127.0.0.1", "-p", &port];
        let output =
            Command::new("timeout").args([&at[..], &by, &what, user].concat()).output().await.unwrap();
        Ended::of(output)
    }

    fn authority(&self) -> String {
        self.site.path("data").join("mqtt-ca.pem").to_str().unwrap().to_owned()
    }

    fn reader(&self, password: &str) -> Program {
        self.reader_by("--password-file", password)
    }

    fn reader_by(&self, proof: &str, file: &str) -> Program {
        let url = format!("mqtts://127.0.0.1:{}", self.port);
        let authority = self.authority();
        let by = ["--ca-file", &authority, proof, file];
        let reader = ["reader", "--mqtt", &url, "--gateway", "GW-A", "--code", "D2"];
        Program::start(SIMULATOR, &[&reader[..], &by].concat())
    }

    /// Runs a client of Mosquitto as reader D2, with these words and lines to send.
    async fn mosquitto(&self, program: &str, password: &str, arguments: &[&str], lines: &str) -> Ended {
        let port = self.port.to_string();
        let authority = self.authority();
        let password = std::fs::read_to_string(password).unwrap();
        let mut child = Command::new("timeout")
            .args(["30", program, "-h", "127.0.0.1", "-p", &port, "--cafile", &authority])
            .args(["-u", "D2", "-P", password.trim(), "-i", "D2"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let lines = lines.to_owned();
        // One that was shut out takes no more.
        let typing = tokio::spawn(async move { drop(input.write_all(lines.as_bytes()).await) });
        let ended = child.wait_with_output().await.unwrap();
        typing.await.unwrap();
        Ended::of(ended)
    }
}

/// A reader of the simulator says something each five seconds, and is let go after a half more.
const SILENT_FOR: Duration = Duration::from_millis(2_500);

fn own(channel: &str) -> String {
    format!("att/v1/GW-A/reader/D2/{channel}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_on_the_network_comes_in_by_its_password_and_by_no_other() {
    let gated = Gated::new().await;
    let mut hub = gated.site.hub().await;
    let mut gateway = gated.gateway().await;
    let password = gated.password("D2").await;
    let mut reader = gated.reader(&password);
    reader.line_with("light blue").await;
    reader.say(CARDS[0]).await;
    reader.line_with("flash green").await;
    gated.site.swipes_are(1).await;
    drop(reader);

    // Another password was made meanwhile: the old one is worth nothing, without a restart.
    let old = gated.site.path("old");
    std::fs::copy(&password, &old).unwrap();
    let password = gated.password("D2").await;
    let mut late = gated.reader(old.to_str().unwrap());
    late.line_with("no connection").await;
    gateway.line_with("has no password or certificate here, or another one").await;
    // It would go on trying, at the cost of its address, which is also the other's.
    drop(late);
    let mut reader = gated.reader(&password);
    reader.line_with("light blue").await;

    // A broker that is not who it says it is is not talked to.
    let other = Gated::new().await;
    let mut impostor = other.gateway().await;
    let url = format!("mqtts://127.0.0.1:{}", other.port);
    let authority = gated.authority();
    let fooled = ["--ca-file", &authority, "--password-file", &password];
    let call = ["reader", "--mqtt", &url, "--gateway", "GW-A", "--code", "D2"];
    let mut fooled = Program::start(SIMULATOR, &[&call[..], &fooled].concat());
    fooled.line_with("no connection").await;
    impostor.line_with("not let in by the MQTT gate").await;

    let text = std::fs::read_to_string(&password).unwrap();
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert!(!gateway.all().contains(text.trim()), "a password in a log");
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_comes_in_by_the_last_certificate_that_was_made_for_it_and_by_no_other() {
    let gated = Gated::new().await;
    let mut hub = gated.site.hub().await;
    let mut gateway = gated.gateway().await;
    let first = gated.certificate("D2").await;
    let mut reader = gated.reader_by("--cert-file", &first);
    reader.line_with("light blue").await;
    reader.say(CARDS[0]).await;
    reader.line_with("flash green").await;
    gated.site.swipes_are(1).await;
    drop(reader);

    // A stock client, in both versions of MQTT; it need not say its user name.
    for words in [&["-V", "mqttv311"][..], &["-V", "mqttv5"], &["-u", "D2"]] {
        let heard = gated.light_by(&first, words).await;
        assert!(heard.code == Some(0) && heard.out.contains("blue"), "{words:?}: {heard:?}");
    }

    // Another's certificate is not its own, nor is one that was followed by another.
    let others = gated.certificate("D3").await;
    let refused = gated.light_by(&others, &[]).await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
    gateway.line_with("has no password or certificate here, or another one").await;
    let kept = gated.site.path("kept.pem");
    std::fs::copy(&first, &kept).unwrap();
    std::fs::copy(first.replace(".pem", ".key"), gated.site.path("kept.key")).unwrap();
    let second = gated.certificate("D2").await;
    let refused = gated.light_by(kept.to_str().unwrap(), &[]).await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
    let heard = gated.light_by(&second, &[]).await;
    assert!(heard.code == Some(0) && heard.out.contains("blue"), "{heard:?}");

    // One of another authority is not even let through the handshake.
    let other = Gated::new().await;
    let foreign = other.certificate("D2").await;
    let refused = gated.light_by(&foreign, &[]).await;
    assert_ne!(refused.code, Some(0), "{refused:?}");

    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_the_institutions_own_authority_lets_in_the_reader_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = folder.path().join("institution.pem");
    std::fs::write(&authority, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let made = |code: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![code.to_owned()]).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let path = folder.path().join(format!("{code}.pem"));
        std::fs::write(&path, params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(path.with_extension("key"), key.serialize_pem()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (own, others) = (made("D2"), made("D3"));

    let gated = Gated::with(&format!("client_ca_file = '{}'", authority.display())).await;
    let mut hub = gated.site.hub().await;
    let mut gateway = gated.gateway().await;
    let mut reader = gated.reader_by("--cert-file", &own);
    reader.line_with("light blue").await;
    drop(reader);
    let refused = gated.light_by(&others, &[]).await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
    gateway.line_with("not let in by the MQTT gate").await;
    // The gateway's own count as before.
    let mut reader = gated.reader_by("--cert-file", &gated.certificate("D2").await);
    reader.line_with("light blue").await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_clients_of_both_versions_may_say_and_hear_what_is_their_own_and_nothing_else() {
    let gated = Gated::new().await;
    let mut hub = gated.site.hub().await;
    let mut gateway = gated.gateway().await;
    let password = gated.password("D2").await;
    let swipe = |boot: &str, uid: &str| {
        json!({"boot": boot, "seq": 1, "mono_ms": 5_000, "bits": 56, "uid": uid, "historical": false})
            .to_string()
    };
    for (number, version) in ["mqttv311", "mqttv5"].into_iter().enumerate() {
        let listen = async |seconds: &str, arguments: &[&str]| {
            let all = [&["-V", version, "-W", seconds], arguments].concat();
            gated.mosquitto("mosquitto_sub", &password, &all, "").await
        };
        // One that is shut out comes back until its time is over.
        let sub = async |arguments: &[&str]| listen("8", arguments).await;
        let publish = async |topic: &str, message: &str| {
            let all = ["-V", version, "-q", "1", "-t", topic, "-m", message];
            gated.mosquitto("mosquitto_pub", &password, &all, "").await
        };
        let ready = publish(&own("state"), "ready").await;
        assert_eq!(ready.code, Some(0), "{version}: {ready:?}");
        // It is off until the gateway has its timetable.
        let light = async || listen("60", &["-C", "1", "-t", &own("light/set")]).await.out;
        let blue = async || while !light().await.contains("\"base\":\"blue\"") {};
        tokio::time::timeout(PATIENCE, blue()).await.unwrap();
        let swiped = publish(&own("swipe"), &swipe(version, FIRST_UID)).await;
        assert_eq!(swiped.code, Some(0), "{version}: {swiped:?}");
        gated.site.swipes_are(number + 1).await;

        let foreign = "att/v1/GW-A/reader/D3/swipe";
        let refused = publish(foreign, &swipe("forged", FIRST_UID)).await;
        assert_ne!(refused.code, Some(0), "{version}: {refused:?}");
        gateway.line_with(&format!("topic \"{foreign}\" is not its own")).await;
        let refused = sub(&["-C", "1", "-t", "att/v1/GW-A/reader/+/swipe"]).await;
        assert!(refused.code != Some(0) && refused.out.is_empty(), "{version}: {refused:?}");
        gateway.line_with("topic \"att/v1/GW-A/reader/+/swipe\" is not its own").await;
        let will = ["--will-topic", foreign, "--will-payload", "x", "-C", "1", "-t", &own("light/set")];
        let refused = sub(&will).await;
        assert_ne!(refused.code, Some(0), "{version}: {refused:?}");
        let refused = sub(&["-i", "D3", "-C", "1", "-t", &own("light/set")]).await;
        assert_ne!(refused.code, Some(0), "{version}: {refused:?}");
        gateway.line_with("client id \"D3\" is not the reader's code").await;
    }
    assert_eq!(gated.site.swipes().await.len(), 2);
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_garbage_sending_and_flooding_peers_are_in_nobodys_way() {
    let gated = Gated::new().await;
    let mut hub = gated.site.hub().await;
    let mut gateway = gated.gateway().await;
    let password = gated.password("D2").await;
    let address = ("127.0.0.1", gated.port);
    let mut silent = Vec::new();
    for _ in 0..30 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut garbage = TcpStream::connect(address).await.unwrap();
    garbage.write_all(&[0x5a; 4_000]).await.unwrap();
    // More than a reader may send at once; what is malformed in it is passed over, one by one.
    let flood = "x\n".repeat(600);
    let flooding = gated.mosquitto("mosquitto_pub", &password, &["-t", &own("light"), "-l"], &flood).await;
    assert_eq!(flooding.code, Some(0), "{flooding:?}");

    let mut reader = gated.reader(&password);
    reader.line_with("light blue").await;
    for (count, card) in CARDS.iter().take(4).enumerate() {
        reader.say(card).await;
        reader.line_with("flash green").await;
        gated.site.swipes_are(count + 1).await;
    }
    // None of the silent ones is kept.
    for mut peer in silent.into_iter().chain([garbage]) {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, peer.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "a silent peer is still there");
    }
    gateway.line_with("no CONNECT within 5 s").await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_comes_again_while_its_old_connection_lingers_is_still_missed_when_it_goes() {
    let gated = Gated::new().await;
    let mut hub = gated.site.hub().await;
    let mut gateway = gated.gateway().await;
    let password = gated.password("D2").await;
    let mut before = gated.reader(&password);
    before.line_with("light blue").await;
    gateway.line_with("reader online").await;
    // Its network is gone, and nobody has noticed; it comes back by another way.
    before.signal("-STOP").await;
    let stopped = Instant::now();
    let mut now = gated.reader(&password);
    now.line_with("light blue").await;
    now.say(CARDS[0]).await;
    now.line_with("flash green").await;
    let lost = gateway.take_with("reader lost");
    // On a machine that took so long the silent one was given up before the other came.
    assert!(
        lost.is_empty() || stopped.elapsed() > SILENT_FOR,
        "it was there all the time:\n{}",
        gateway.all()
    );
    // Its power is cut: its last will is its own.
    now.kill().await;
    gateway.line_with("reader lost").await;
    before.kill().await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}
