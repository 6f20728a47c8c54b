//! The negative control `no-dedup`: stands before the hub, loses some answers, and gives every swipe of a batch that
//! comes again a fresh id, so that the hub takes it for another one.
//!
//! Emulated from outside, because no build of the hub can be told not to look for duplicates.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What stands before each id in a batch.
const KEY: &str = "\"swipeId\":\"";
/// How many characters an id has.
const ID_CHARS: usize = 36;
/// One answer in so many is lost after the commit.
const LOST_ONE_IN: u32 = 8;

struct Shared {
    seen: BTreeSet<String>,
    random: ChaCha8Rng,
}

/// The proxy.
pub(super) struct NoDedup;

impl NoDedup {
    /// Listens on loopback, until the runtime ends.
    pub(super) async fn start(port: u16, hub: SocketAddr, seed: u64) -> Result<(), String> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
        let shared = Shared { seen: BTreeSet::new(), random: ChaCha8Rng::seed_from_u64(seed) };
        let shared = Arc::new(Mutex::new(shared));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = shared.clone();
                // A connection that fails is a connection that ended.
                tokio::spawn(async move { serve(client, hub, &shared).await.ok() });
            }
        });
        Ok(())
    }
}

async fn serve(client: TcpStream, hub: SocketAddr, shared: &Mutex<Shared>) -> io::Result<()> {
    let (from_client, to_client) = client.into_split();
    let (from_hub, to_hub) = TcpStream::connect(hub).await?.into_split();
    let cut = AtomicBool::new(false);
    tokio::select! {
        ended = asks(from_client, to_hub, shared, &cut) => ended,
        ended = answers(from_hub, to_client, &cut) => ended,
    }
}

/// Carries answers, until one is to be lost: then both sides see the end of the connection.
async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cut: &AtomicBool) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 || cut.load(Ordering::Relaxed) {
            return Ok(());
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// Carries requests one by one, batches of swipes with other ids where they come again.
async fn asks(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Mutex<Shared>,
    cut: &AtomicBool,
) -> io::Result<()> {
    let mut had: Vec<u8> = Vec::new();
    loop {
        let Some(head) = had.windows(4).position(|it| it == b"\r\n\r\n").map(|at| at + 4) else {
            if from.read_buf(&mut had).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let text = String::from_utf8_lossy(&had[..head]).to_ascii_lowercase();
        if text.contains("upgrade:") {
            to.write_all(&had).await?;
            copy(&mut from, &mut to).await?;
            return Ok(());
        }
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let whole = head + length.unwrap_or(0);
        while had.len() < whole {
            if from.read_buf(&mut had).await? == 0 {
                return Ok(());
            }
        }
        let rest = had.split_off(whole);
        let swipes = spoil(&mut had, head, shared);
        let lose = swipes && lock(shared).random.random_ratio(1, LOST_ONE_IN);
        cut.store(lose, Ordering::Relaxed);
        to.write_all(&had).await?;
        had = rest;
    }
}

/// Gives ids that were there before other ones; says whether there were any.
fn spoil(request: &mut [u8], head: usize, shared: &Mutex<Shared>) -> bool {
    let text = String::from_utf8_lossy(&request[head..]).into_owned();
    let mut shared = lock(shared);
    let mut any = false;
    for (at, _) in text.match_indices(KEY) {
        let start = at + KEY.len();
        let Some(id) = text.get(start..start + ID_CHARS) else { continue };
        any = true;
        if !shared.seen.insert(id.to_owned()) {
            // The time in front stays, so that it is a version 7 id still.
            let fresh = format!("{}{:012x}", &id[..24], shared.random.random::<u64>() >> 16);
            request[head + start..head + start + ID_CHARS].copy_from_slice(fresh.as_bytes());
        }
    }
    any
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
