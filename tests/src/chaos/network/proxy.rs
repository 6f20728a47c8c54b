//! The negative control `no-dedup`: stands before the hub, and hands some batches over twice, the second time with
//! fresh ids, as a hub would see a batch that comes again if it did not know its swipes again.
//!
//! Emulated from outside, because no build of the hub can be told not to look for duplicates. The gateway itself does
//! not send again what the hub has: after a lost answer it first asks how far the hub has come.

use std::io;
use std::net::SocketAddr;
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
/// One batch in so many comes twice.
const TWICE_ONE_IN: u32 = 8;

type Random = Mutex<ChaCha8Rng>;

/// The proxy.
pub(super) struct NoDedup;

impl NoDedup {
    /// Listens on loopback, until the runtime ends.
    pub(super) async fn start(port: u16, hub: SocketAddr, seed: u64) -> Result<(), String> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
        let shared = Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed)));
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

async fn serve(client: TcpStream, hub: SocketAddr, random: &Random) -> io::Result<()> {
    let (from_client, mut to_client) = client.into_split();
    let (mut from_hub, to_hub) = TcpStream::connect(hub).await?.into_split();
    tokio::select! {
        ended = asks(from_client, to_hub, hub, random) => ended,
        ended = copy(&mut from_hub, &mut to_client) => ended.map(|_| ()),
    }
}

/// Carries requests one by one, some batches of swipes twice.
async fn asks(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    hub: SocketAddr,
    random: &Random,
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
        to.write_all(&had).await?;
        if spoil(&mut had, head, random) && lock(random).random_ratio(1, TWICE_ONE_IN) {
            again(had, hub).await?;
        }
        had = rest;
    }
}

/// Hands a batch over on a connection of its own, and waits for the first of the answer.
async fn again(request: Vec<u8>, hub: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(hub).await?;
    stream.write_all(&request).await?;
    let mut answer = [0; 1024];
    stream.read(&mut answer).await.map(|_| ())
}

/// Gives all swipes of a request other ids; says whether there were any.
fn spoil(request: &mut [u8], head: usize, random: &Random) -> bool {
    let text = String::from_utf8_lossy(&request[head..]).into_owned();
    let mut any = false;
    for (at, _) in text.match_indices(KEY) {
        let start = at + KEY.len();
        let Some(id) = text.get(start..start + ID_CHARS) else { continue };
        any = true;
        // The time in front stays, so that it is a version 7 id still.
        let fresh = format!("{}{:012x}", &id[..24], lock(random).random::<u64>() >> 16);
        request[head + start..head + start + ID_CHARS].copy_from_slice(fresh.as_bytes());
    }
    any
}

fn lock(random: &Random) -> std::sync::MutexGuard<'_, ChaCha8Rng> {
    random.lock().unwrap_or_else(PoisonError::into_inner)
}
