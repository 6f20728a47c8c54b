//! What the hub does, one file each; called by `graphql` and by the command line, over `store` and `rules`.
//!
//! Every write is one transaction: facts in, then everything derived from them ([`Hub::settle`]), then the
//! commit, then the news to whoever listens. Nothing here speaks GraphQL or HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::tz::TimeZone;
use rollcall_rules::time::Instant;
use tokio::sync::{Semaphore, broadcast};
use uuid::Uuid;

use crate::clock::{Clock, StoppedClock};
use crate::store::pinned::PinnedStore;
use crate::store::register::CreditFact;
use crate::store::soon::SoonStore;
use crate::store::{Boxed, Store, StoreError, Tx};

pub mod access;
pub mod attempt;
pub mod beside;
pub mod bulk;
pub mod calendars;
pub mod corrections;
pub mod decide;
mod doors;
pub mod estate;
mod expectations;
pub mod exports;
pub mod feed;
pub mod hindsight;
pub mod history;
pub mod import;
pub mod intake;
pub mod jobs;
pub mod lease;
pub mod marks;
pub mod memberships;
pub mod people;
pub mod policy;
pub mod refusal;
pub mod registers;
pub mod report;
pub mod room_use;
pub mod sources;
pub mod sweep;
pub mod timetable;
pub mod upload;
pub mod webhooks;
pub mod what_if;

/// How many try something out at once.
const TRIALS: usize = 2;
/// How many pieces of news a slow listener may be behind before it is told to look for itself.
const NEWS_CAPACITY: usize = 4_096;
/// How many swipes are held in memory at once while they are judged again.
const JUDGED_AT_ONCE: usize = 2_000;

/// The hub: its store, its clock, its time zone, and the news of what was committed.
#[derive(Clone)]
pub struct Hub {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    zone: TimeZone,
    news: broadcast::Sender<News>,
    /// Apart, so that who waits for swipes is not behind on thousands of registers that an import changes.
    swipes: broadcast::Sender<Uuid>,
    statements: Arc<AtomicU64>,
    /// The last id's time in milliseconds, and its number in that millisecond: 12 bits.
    minted: Arc<AtomicU64>,
    instance: Uuid,
    /// The line of descent that the database was last seen in.
    lineage: Arc<Mutex<Option<Uuid>>>,
    private: bool,
    here: Arc<beside::Here>,
    attempts: Arc<AtomicU64>,
    /// What tries something out: it holds a place among those who read little.
    trials: Arc<Semaphore>,
}

/// Something that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A swipe came in.
    Swipe(Uuid),
    /// A session's register changed.
    Register {
        /// The session.
        session: Uuid,
        /// How many marks that there were before are others now, or gone.
        marks_changed: usize,
    },
    /// A building's feed moved on.
    Feed(Uuid),
    /// An import that was asked for over the API is at another state.
    Import(Uuid),
    /// There is work for any hub.
    Job,
}

/// What a write touched, and what must therefore be derived anew.
#[derive(Debug, Default, Clone)]
pub struct Touched {
    /// Sessions whose register may be another.
    pub sessions: BTreeSet<Uuid>,
    /// Marks that a person decided just now: session and student.
    pub marked: BTreeMap<(Uuid, Uuid), String>,
    /// Swipes to be judged again.
    pub swipes: BTreeSet<Uuid>,
    /// Sessions of which the gateways must hear.
    pub feed_sessions: BTreeSet<Uuid>,
    /// Groups whose members the gateways must hear of.
    pub feed_groups: BTreeSet<Uuid>,
    /// Memberships that are no more.
    pub feed_gone_memberships: BTreeSet<Uuid>,
    /// Cards of which the gateways must hear.
    pub feed_cards: BTreeSet<Uuid>,
    /// Gateways whose own configuration may be another.
    pub feed_gateways: BTreeSet<Uuid>,
    /// Sessions and stays in groups as they were before.
    pub was: history::Was,
    /// What registers need of swipes that came just now, and of which nothing else is known: by swipe, all that it counts for.
    pub came: BTreeMap<Uuid, Vec<CreditFact>>,
}

/// On whose behalf something is done.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's id.
    pub token_id: Uuid,
    /// The token's name.
    pub name: String,
    /// What it may do.
    pub roles: BTreeSet<access::Role>,
    /// The gateway that it speaks for.
    pub gateway_id: Option<Uuid>,
    /// When it ends.
    pub expires_at: Option<i64>,
}

impl Caller {
    /// Whether it holds one of some roles.
    #[must_use]
    pub fn has(&self, roles: &[access::Role]) -> bool {
        roles.iter().any(|role| self.roles.contains(role))
    }
}

impl Touched {
    /// Adds what something else touched.
    pub fn extend(&mut self, other: Self) {
        self.sessions.extend(other.sessions);
        self.marked.extend(other.marked);
        self.swipes.extend(other.swipes);
        self.feed_sessions.extend(other.feed_sessions);
        self.feed_groups.extend(other.feed_groups);
        self.feed_gone_memberships.extend(other.feed_gone_memberships);
        self.feed_cards.extend(other.feed_cards);
        self.feed_gateways.extend(other.feed_gateways);
        self.was.extend(other.was);
    }
}

impl Hub {
    /// A hub over a store.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        zone: TimeZone,
    ) -> Result<Self, StoreError> {
        let mut hub = Self {
            store,
            clock,
            zone,
            news: broadcast::channel(NEWS_CAPACITY).0,
            swipes: broadcast::channel(NEWS_CAPACITY).0,
            statements: Arc::new(AtomicU64::new(0)),
            minted: Arc::new(AtomicU64::new(0)),
            instance: Uuid::nil(),
            lineage: Arc::default(),
            private: false,
            here: Arc::default(),
            attempts: Arc::default(),
            trials: Arc::new(Semaphore::new(TRIALS)),
        };
        hub.keep_months().await?;
        hub.instance = hub.instance_of_store().await?;
        let mut tx = hub.read().await?;
        hub.know_lineage(&mut tx).await?;
        drop(tx);
        calendars::begin(&hub).await?;
        Ok(hub)
    }

    /// From here on, positions in feeds are of this start: one that was told of a database which a backup has replaced since is
    /// known by that. For whoever serves gateways; what other programs write belongs to the line that they find.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn begin_lineage(&self) -> Result<(), StoreError> {
        let id = self.mint();
        self.whole(|attempt| {
            Box::pin(async move {
                let mut tx = attempt.write().await?;
                tx.begin_lineage(id, self.now().0).await?;
                tx.commit().await
            })
        })
        .await?;
        *self.lineage.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
        Ok(())
    }

    /// Looks which line of descent the database is in; another hub may have begun one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn know_lineage(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let lineage = tx.lineage().await?;
        *self.lineage.lock().unwrap_or_else(PoisonError::into_inner) = lineage;
        Ok(())
    }

    /// A position in a feed, as gateways keep it.
    #[must_use]
    pub fn position(&self, building: Uuid, revision: i64) -> String {
        let lineage = *self.lineage.lock().unwrap_or_else(PoisonError::into_inner);
        feed::FeedCursor { instance: self.instance, revision, lineage, building: Some(building) }.encode()
    }

    /// The id that the database got when it was made. A feed position of another database means nothing.
    async fn instance_of_store(&self) -> Result<Uuid, StoreError> {
        let known = self.read().await?.setting("instance").await?;
        let text = match known {
            Some(text) => text,
            None => {
                self.whole(|attempt| {
                    Box::pin(async move {
                        let mut tx = attempt.write().await?;
                        let text = tx.first_setting("instance", self.mint().to_string()).await?;
                        tx.commit().await?;
                        Ok(text)
                    })
                })
                .await?
            }
        };
        Uuid::try_parse(&text).map_err(|_| StoreError::BadData { place: "setting.instance", found: text })
    }

    /// Makes room in the database for what is of the months around now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep_months(&self) -> Result<(), StoreError> {
        self.store.keep_months(self.now().0).await
    }

    /// The same hub, which may go to private addresses where a person names them.
    #[must_use]
    pub fn reaching_private(self, private: bool) -> Self {
        Self { private, ..self }
    }

    /// Whether private addresses may be gone to.
    #[must_use]
    pub fn reaches_private(&self) -> bool {
        self.private
    }

    /// Begins to read.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn read(&self) -> Result<Tx, StoreError> {
        Ok(Tx::new(self.store.read().await?, self.statements.clone()))
    }

    /// Begins to read what nobody asked for, and what is therefore not counted; it waits behind no report.
    ///
    /// # Errors
    /// When the store fails.
    async fn read_aside(&self) -> Result<Tx, StoreError> {
        Ok(Tx::new(self.store.read_soon().await?, Arc::default()))
    }

    /// The same hub over the state that the database has at its first read, at this instant for ever: all its reads
    /// agree with each other, and nothing that it writes is kept.
    #[must_use]
    pub fn pinned(&self) -> Self {
        let store = Arc::new(PinnedStore::new(self.store.clone()));
        Self { store, clock: Arc::new(StoppedClock(self.now())), ..self.clone() }
    }

    /// The same hub for what takes little and must wait behind no report: a token, and whatever a gateway asks.
    #[must_use]
    pub fn at_once(&self) -> Self {
        Self { store: Arc::new(SoonStore(self.store.clone())), ..self.clone() }
    }

    /// The same hub for what may take long, and therefore takes its turn.
    #[must_use]
    pub fn in_turn(&self) -> Self {
        let store = self.store.in_turn().unwrap_or_else(|| self.store.clone());
        Self { store, ..self.clone() }
    }

    /// Whether whoever begins to read now has to wait until another has read.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.store.is_crowded()
    }

    /// How many SQL statements were run so far.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// The hub's clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The institution's time zone.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The id of the database.
    #[must_use]
    pub fn instance(&self) -> Uuid {
        self.instance
    }

    /// Listens to swipes that come in from now on.
    #[must_use]
    pub fn listen_to_swipes(&self) -> broadcast::Receiver<Uuid> {
        self.swipes.subscribe()
    }

    /// Listens to all other news from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// A new id: UUID version 7 of the hub's clock, greater than those before it (RFC 9562, section 6.2, method 1), so that
    /// what was saved together stays in order.
    #[must_use]
    pub fn mint(&self) -> Uuid {
        let mut random = [0u8; 10];
        if getrandom::fill(&mut random).is_err() {
            // Without randomness two ids might be the same; a version 4 id asks the same source and panics.
            return Uuid::new_v4();
        }
        let now = u64::try_from(self.now().0).unwrap_or(0) << 12;
        let before =
            self.minted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)));
        let stamp = before.map_or(now, |last| now.max(last + 1));
        let (ms, [.., high, low]) = (stamp >> 12, (stamp & 0xfff).to_be_bytes());
        (random[0], random[1]) = (high, low);
        uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
    }

    /// Derives everything that a write touched, commits, and tells the news.
    ///
    /// # Errors
    /// When the store fails; nothing is changed then.
    pub async fn settle(
        &self,
        mut tx: Tx,
        touched: Touched,
        caller: Option<&Caller>,
    ) -> Result<(), StoreError> {
        let news = self.derive(&mut tx, touched, caller).await?;
        tx.commit().await?;
        self.tell(news);
        Ok(())
    }

    /// Derives everything that a write touched; gives the news to tell once it is committed.
    ///
    /// # Errors
    /// When the store fails.
    fn derive<'a>(
        &'a self,
        tx: &'a mut Tx,
        touched: Touched,
        caller: Option<&'a Caller>,
    ) -> Boxed<'a, Result<Vec<News>, StoreError>> {
        // Boxed: the whole of the rules is in it, and whoever writes waits for it.
        Box::pin(self.derive_all(tx, touched, caller))
    }

    async fn derive_all(
        &self,
        tx: &mut Tx,
        mut touched: Touched,
        caller: Option<&Caller>,
    ) -> Result<Vec<News>, StoreError> {
        let mut news = Vec::new();
        history::note(self, tx, std::mem::take(&mut touched.was), caller).await?;
        if !touched.swipes.is_empty() {
            // Ids grow with time, so that those judged together lie close and need little of the timetable.
            let swipes: Vec<Uuid> = touched.swipes.iter().copied().collect();
            for some in swipes.chunks(JUDGED_AT_ONCE) {
                touched.sessions.extend(decide::judge_again(self, tx, some).await?);
            }
            touched.came.retain(|swipe, _| !touched.swipes.contains(swipe));
        }
        registers::derive(self, tx, &touched, caller, &mut news).await?;
        feed::refresh(self, tx, &touched, &mut news).await?;
        webhooks::sessions_changed(self, tx, &touched.feed_sessions, &mut news).await?;
        webhooks::alerts_raised(self, tx, &mut news).await?;
        Ok(news)
    }

    /// Tells the news to whoever listens.
    pub(crate) fn tell(&self, news: Vec<News>) {
        for piece in news {
            // Nobody listening is no fault.
            match piece {
                News::Swipe(id) => drop(self.swipes.send(id)),
                piece => drop(self.news.send(piece)),
            }
        }
    }
}
