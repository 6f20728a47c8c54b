//! All pushes. Each needs the same rights as the matching query.

use std::collections::BTreeMap;
use std::time::Duration;

use async_graphql::{Context, ID, Result, SimpleObject, Subscription};
use futures_util::Stream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::attendance::AttendanceRecord;
use super::context::{GATEWAYS, Needs, READERS, fault, hub};
use super::feed::{GatewayFeedEvent, GatewayFeedKind, calling, changes, marker, resume};
use super::id::Kind;
use super::import::Import;
use super::register::Register;
use super::swipe::{Swipe, SwipeFilter, swipe_list};
use crate::service::{Hub, News};
use crate::store::StoreError;
use crate::store::entity::{self, Entity};
use crate::store::page::{Page, pages};

/// How many events may wait for a slow subscriber before its news wait too.
const QUEUE: usize = 64;
/// How often a feed without news says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How often what a subscriber follows is looked at, without news of it.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many changes are read at once.
const FEED_CHUNK: usize = 500;

/// All pushes, over graphql-transport-ws. Each needs the same rights as the matching query.
pub struct Subscription;

/// What changed in a register.
#[derive(SimpleObject)]
pub struct RegisterChange {
    /// The register as it now is.
    register: Register,
    /// The marks that changed, as they now are.
    records: Vec<AttendanceRecord>,
}

/// All pushes, over graphql-transport-ws. Each needs the same rights as the matching query.
#[Subscription]
impl Subscription {
    /// GATEWAY. The slice's changes from a position on: first the stored ones, then CAUGHT_UP, then live.
    #[graphql(guard = "Needs(GATEWAYS)")]
    async fn gateway_feed(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The last cursor that was made durable; the whole slice when left out.")]
        after: Option<String>,
    ) -> Result<impl Stream<Item = Result<GatewayFeedEvent>>> {
        let hub = hub(ctx)?.clone();
        let gateway =
            calling(ctx).await?.ok_or_else(|| super::context::coded("FORBIDDEN", "no such gateway"))?;
        let (events, stream) = queue();
        tokio::spawn(async move {
            // A subscriber that has gone ends this by closing its end; nobody waits for the task.
            let _ = feed(&hub, &gateway, after.as_deref(), &events).await;
        });
        Ok(stream)
    }

    /// An open register as it fills: first as it is, with all its marks, then with those that changed.
    #[graphql(guard = "Needs(READERS)")]
    async fn register_changed(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The register.")] register_id: ID,
    ) -> Result<impl Stream<Item = Result<RegisterChange>>> {
        let hub = hub(ctx)?.clone();
        let mut news = hub.listen();
        let known = match Kind::Register.named(&register_id) {
            Some(id) => KnownRegister::of(&hub, id).await.map_err(|error| fault(&error))?,
            _ => None,
        };
        let mut known =
            known.ok_or_else(|| super::context::coded("NOT_FOUND", "there is no such register"))?;
        let (events, stream) = queue();
        tokio::spawn(async move {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = events.closed() => return,
                    piece = news.recv() => match piece {
                        Ok(News::Register { session, .. }) if session == known.session => {}
                        Ok(_) => continue,
                        Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return,
                    },
                    // Another hub may have changed it, and tells nobody here.
                    _ = looks.tick() => {}
                }
                let change = known.change(&hub).await;
                if let Some(change) = change.transpose()
                    && events.send(change.map_err(|error| fault(&error))).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(stream)
    }

    /// Swipes as they come in, at whichever hub over the database.
    #[graphql(guard = "Needs(READERS)")]
    async fn swipe_received(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only rows that this lets through.")] filter: Option<SwipeFilter>,
    ) -> Result<impl Stream<Item = Result<Swipe>>> {
        let hub = hub(ctx)?.clone();
        let mut came = hub.listen_to_swipes();
        let (events, stream) = queue();
        tokio::spawn(async move {
            loop {
                let id = tokio::select! {
                    () = events.closed() => return,
                    id = came.recv() => match id {
                        Ok(id) => id,
                        Err(RecvError::Lagged(missed)) => {
                            let message = format!("this subscriber was too slow: {missed} events were left out");
                            if events.send(Err(super::context::coded("LAGGED", message))).await.is_err() {
                                return;
                            }
                            continue;
                        }
                        Err(RecvError::Closed) => return,
                    },
                };
                let found = swipe(&hub, filter.as_ref(), id).await.map_err(|error| fault(&error));
                if let Some(event) = found.transpose()
                    && events.send(event.map(Swipe)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(stream)
    }

    /// An import whenever it is at another state, from the one that it is at now to the last.
    #[graphql(guard = "Needs(READERS)")]
    async fn import_changed(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The import.")] import_id: ID,
    ) -> Result<impl Stream<Item = Result<Import>>> {
        let hub = hub(ctx)?.clone();
        let wanted = match Kind::Import.named(&import_id) {
            Some(id) => import(&hub, id).await.map_err(|error| fault(&error))?,
            _ => None,
        };
        let wanted = wanted.ok_or_else(|| super::context::coded("NOT_FOUND", "there is no such import"))?;
        let (events, stream) = queue();
        tokio::spawn(async move {
            // A subscriber that has gone ends this by closing its end; nobody waits for the task.
            let _ = follow_import(&hub, wanted, &events).await;
        });
        Ok(stream)
    }
}

async fn import(hub: &Hub, id: Uuid) -> std::result::Result<Option<entity::ImportJob>, StoreError> {
    Ok(hub.read().await?.by_ids([id]).await?.into_iter().next())
}

async fn follow_import(
    hub: &Hub,
    mut job: entity::ImportJob,
    events: &mpsc::Sender<Result<Import>>,
) -> std::result::Result<(), Gone> {
    let mut news = hub.listen();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        events.send(Ok(Import(job.clone()))).await.map_err(|_| Gone)?;
        if job.finished_at.is_some() {
            return Ok(());
        }
        let before = job.state;
        while job.state == before && job.finished_at.is_none() {
            tokio::select! {
                () = events.closed() => return Err(Gone),
                piece = news.recv() => match piece {
                    Ok(News::Import(id)) if id == job.id => {}
                    Ok(_) => continue,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Ok(()),
                },
                // Another hub may work on it, and tells nobody here.
                _ = looks.tick() => {}
            }
            match import(hub, job.id).await {
                Ok(Some(now)) => job = now,
                Ok(None) => return Ok(()),
                Err(error) => return events.send(Err(fault(&error))).await.map_err(|_| Gone),
            }
        }
    }
}

fn queue<T: Send + 'static>() -> (mpsc::Sender<T>, impl Stream<Item = T>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    });
    (sender, stream)
}

/// The subscriber has gone.
struct Gone;

async fn feed(
    hub: &Hub,
    gateway: &entity::Gateway,
    after: Option<&str>,
    events: &mpsc::Sender<Result<GatewayFeedEvent>>,
) -> std::result::Result<(), Gone> {
    let mut news = hub.listen();
    let mut revision = match resume(hub, gateway, after).await {
        Ok(Some(revision)) => revision,
        Ok(None) => {
            let reset = marker(hub, gateway, GatewayFeedKind::FeedReset, 0);
            return events.send(Ok(reset)).await.map_err(|_| Gone);
        }
        Err(error) => return events.send(Err(error)).await.map_err(|_| Gone),
    };
    let (mut caught_up, mut was_quiet) = (false, false);
    loop {
        loop {
            match changes(hub, gateway, revision, FEED_CHUNK).await {
                Ok((found, reached, more)) => {
                    revision = reached;
                    was_quiet &= found.is_empty();
                    for event in found {
                        events.send(Ok(event)).await.map_err(|_| Gone)?;
                    }
                    if !more {
                        break;
                    }
                }
                Err(error) => return events.send(Err(error)).await.map_err(|_| Gone),
            }
        }
        if !caught_up {
            caught_up = true;
            events
                .send(Ok(marker(hub, gateway, GatewayFeedKind::CaughtUp, revision)))
                .await
                .map_err(|_| Gone)?;
        } else if was_quiet {
            // It was looked: a hub that is cut off from its database vouches for nothing.
            events
                .send(Ok(marker(hub, gateway, GatewayFeedKind::KeepAlive, revision)))
                .await
                .map_err(|_| Gone)?;
        }
        was_quiet = until_news(&mut news, gateway.building_id, events).await?;
    }
}

/// Waits for news of a building, which others' do not put off: whether there were none for so long that it is to be looked all the
/// same.
async fn until_news<T>(
    news: &mut broadcast::Receiver<News>,
    building: Uuid,
    events: &mpsc::Sender<T>,
) -> std::result::Result<bool, Gone> {
    let mut quiet = std::pin::pin!(tokio::time::sleep(KEEP_ALIVE));
    loop {
        tokio::select! {
            () = events.closed() => return Err(Gone),
            piece = news.recv() => match piece {
                Ok(News::Feed(moved)) if moved == building => return Ok(false),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return Ok(false),
                Err(RecvError::Closed) => return Err(Gone),
            },
            () = &mut quiet => return Ok(true),
        }
    }
}

/// A register as its subscriber knows it.
struct KnownRegister {
    session: Uuid,
    /// None before the first look.
    revision: Option<i64>,
    /// The revisions of its marks.
    marks: BTreeMap<Uuid, i64>,
}

impl KnownRegister {
    async fn of(hub: &Hub, register: Uuid) -> std::result::Result<Option<Self>, StoreError> {
        let mut tx = hub.read().await?;
        let found = tx.by_column::<entity::Session>("register_id", [register.into()]).await?;
        let session = found.into_iter().next();
        Ok(session.map(|session| Self { session: session.id, revision: None, marks: BTreeMap::new() }))
    }

    /// What is other than known, if anything; then it is known.
    async fn change(&mut self, hub: &Hub) -> std::result::Result<Option<RegisterChange>, StoreError> {
        let hub = hub.pinned();
        let mut tx = hub.read().await?;
        let session = tx.by_ids::<entity::Session>([self.session]).await?.into_iter().next();
        let changed = session.filter(|session| Some(session.register_revision) != self.revision);
        let Some(session) = changed else { return Ok(None) };
        let marks = tx.attendance_of(&[session.id]).await?;
        let now: BTreeMap<Uuid, i64> = marks.iter().map(|mark| (mark.id, mark.revision)).collect();
        let before = std::mem::replace(&mut self.marks, now);
        self.revision = Some(session.register_revision);
        let records = marks.into_iter().filter(|mark| before.get(&mark.id) != Some(&mark.revision));
        let records = records.map(AttendanceRecord::of).collect();
        Ok(Some(RegisterChange { register: Register(session), records }))
    }
}

async fn swipe(
    hub: &Hub,
    filter: Option<&SwipeFilter>,
    id: Uuid,
) -> std::result::Result<Option<entity::Swipe>, StoreError> {
    let mut tx = hub.read().await?;
    let list = swipe_list(filter).and("w.id = {}", id);
    let found = pages(&mut tx, &[(&list, &Page::first(1))], entity::Swipe::read).await?;
    Ok(found.into_iter().flat_map(|page| page.rows).next().map(|(_, swipe)| swipe))
}
