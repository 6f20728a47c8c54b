//! A card that takes long for the clock's file holds up no door.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rollcall_gateway::app::{TimeSource, start};
use rollcall_gateway::clock::{Clock, Instant, Reading, Trust, Uuid};
use rollcall_gateway::config::{Config, HubConfig, JournalConfig, PageConfig};

const PATIENCE: Duration = Duration::from_secs(60);

/// Stands still, and so does the card that its file is on, until somebody lets go.
struct Slow {
    begun: Mutex<mpsc::Sender<()>>,
    let_go: Mutex<mpsc::Receiver<()>>,
}

impl Clock for Slow {
    fn read(&self) -> Reading {
        Reading::exactly(1_800_000_000_000, Trust::Synced, 60_000)
    }

    fn boot_id(&self) -> Uuid {
        Uuid::from_u128(1)
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }

    fn keep(&self) -> std::io::Result<()> {
        // Whoever is told may have gone.
        let _ = self.begun.lock().unwrap().send(());
        // Let go also when the test has ended.
        let _ = self.let_go.lock().unwrap().recv();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_clocks_file_is_being_written_the_doors_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "token").unwrap();
    std::fs::set_permissions(&token_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = Config {
        gateway: "GW".to_owned(),
        data: folder.path().join("data"),
        page: PageConfig::none(),
        // Nobody is there.
        hub: HubConfig {
            url: "http://127.0.0.1:9".to_owned(),
            token_file,
            ca_file: None,
            time_without_tls: false,
        },
        mqtt: None,
        journal: JournalConfig::default(),
        buses: Vec::new(),
        ascii: Vec::new(),
    };
    let (begin, begun) = mpsc::channel();
    let (let_go, held) = mpsc::channel();
    let clock = Slow { begun: Mutex::new(begin), let_go: Mutex::new(held) };
    let gateway = start(&config, TimeSource::Injected(Arc::new(clock))).await.unwrap();
    let writing = tokio::task::spawn_blocking(move || begun.recv_timeout(PATIENCE).map(|()| begun));
    let begun = writing.await.unwrap().unwrap();
    let status = tokio::time::timeout(PATIENCE, gateway.status()).await;
    assert!(matches!(status, Ok(Some(_))), "the main loop waits for the card");
    drop(let_go);
    tokio::time::timeout(PATIENCE, gateway.stop()).await.unwrap().unwrap();
    assert!(begun.try_iter().count() > 0, "it was kept once more at the end");
}
