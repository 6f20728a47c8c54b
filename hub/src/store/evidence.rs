//! Questions about what proves a swipe: how far journals came over, ties of time, signed ends.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_rules::anchor::Anchor;
use rollcall_rules::time::Instant;
use uuid::Uuid;

use super::{Row, StoreError, Tx, Value};
use crate::service::intake::journal::HandedOver;

/// A stretch of a journal and the signature under its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// The journal.
    pub journal_id: Uuid,
    /// The first record of the stretch.
    pub first: i64,
    /// The last.
    pub through: i64,
    /// The chain value before the first.
    pub chain_before: Vec<u8>,
    /// SHA-256 of each body, one behind the other.
    pub links: Vec<u8>,
    /// When it was signed.
    pub signed_at: i64,
    /// The signature.
    pub signature: Vec<u8>,
    /// The key that it was made with.
    pub public_key: Vec<u8>,
}

impl Tx {
    /// Notes how far swipes of journals have come in; never back.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn note_intake(&mut self, heads: &BTreeMap<Uuid, i64>) -> Result<(), StoreError> {
        let sql = "INSERT INTO intake_head (journal_id, through) VALUES ($1, $2) ON CONFLICT (journal_id) DO UPDATE SET \
                   through = excluded.through WHERE intake_head.through < excluded.through";
        for (journal, through) in heads {
            self.execute(sql, vec![(*journal).into(), (*through).into()]).await?;
        }
        Ok(())
    }

    /// How far swipes of all journals have come in.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn intake_heads(&mut self) -> Result<BTreeMap<Uuid, i64>, StoreError> {
        let rows = self.fetch("SELECT journal_id, through FROM intake_head", Vec::new()).await?;
        let head = |mut row: Row| Ok((row.next("intake_head.journal_id")?, row.next("intake_head.through")?));
        rows.into_iter().map(head).collect()
    }

    /// The swipes of a journal after one place, excluded, and up to another.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn swipes_of_journal(
        &mut self,
        journal: Uuid,
        after: i64,
        through: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT id FROM swipe WHERE journal_id = $1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence";
        let rows = self.fetch(sql, vec![journal.into(), after.into(), through.into()]).await?;
        rows.into_iter().map(|mut row| row.next("swipe.id")).collect()
    }

    /// How far journals are handed over, each with the gateway that it is of; those that the hub has nothing of are left out.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn journals(
        &mut self,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Result<Vec<(Uuid, HandedOver)>, StoreError> {
        let sql = "SELECT gateway_id, journal_id, through, chain FROM journal WHERE journal_id IN ({})";
        let rows = self.fetch_in(sql, &[], ids.into_iter().map(Value::from)).await?;
        rows.into_iter()
            .map(|mut row| {
                let gateway = row.next("journal.gateway_id")?;
                let has = HandedOver {
                    journal_id: row.next("journal.journal_id")?,
                    through: row.next("journal.through")?,
                    chain: row.next("journal.chain")?,
                };
                Ok((gateway, has))
            })
            .collect()
    }

    /// Whether a journal is known to be a gateway's.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn is_journal_of(&mut self, journal: Uuid, gateway: Uuid) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM journal WHERE journal_id = $1 AND gateway_id = $2";
        Ok(self.fetch_one(sql, vec![journal.into(), gateway.into()]).await?.is_some())
    }

    /// Notes how far a journal is handed over.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn put_journal(
        &mut self,
        journal: &HandedOver,
        gateway: Uuid,
        at: i64,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO journal (journal_id, gateway_id, through, chain, updated_at) \
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT (journal_id) DO UPDATE SET \
                   through = excluded.through, chain = excluded.chain, updated_at = excluded.updated_at \
                   WHERE journal.gateway_id = excluded.gateway_id";
        let HandedOver { journal_id, through, chain } = journal.clone();
        let values = vec![journal_id.into(), gateway.into(), through.into(), chain.into(), at.into()];
        self.execute(sql, values).await?;
        Ok(())
    }

    /// Puts anchors in.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn put_anchors(&mut self, rows: Vec<Vec<Value>>) -> Result<u64, StoreError> {
        let sql = "INSERT INTO anchor (boot_id, since_boot, gateway_id, at, error_ms, source, received_at) \
                   VALUES {} ON CONFLICT (boot_id, since_boot) DO NOTHING";
        self.insert(sql, rows).await
    }

    /// The anchors of starts.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn anchors(
        &mut self,
        boots: impl IntoIterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, Vec<Anchor>>, StoreError> {
        let sql = "SELECT boot_id, since_boot, at, error_ms FROM anchor WHERE boot_id IN ({})";
        let mut anchors: BTreeMap<Uuid, Vec<Anchor>> = BTreeMap::new();
        for mut row in self.fetch_in(sql, &[], boots.into_iter().map(Value::from)).await? {
            let boot = row.next("anchor.boot_id")?;
            let since_boot_ms = row.next("anchor.since_boot")?;
            let at = Instant(row.next("anchor.at")?);
            let error_ms = row.next("anchor.error_ms")?;
            anchors.entry(boot).or_default().push(Anchor { since_boot_ms, at, error_ms });
        }
        Ok(anchors)
    }

    /// The ids of swipes of some starts whose time was not certain: they may be very many.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn to_date(&mut self, boots: BTreeSet<Uuid>) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT id FROM swipe WHERE (clock_trust <> 'SYNCED' OR late = 1) AND boot_id IN ({})";
        let rows = self.fetch_in(sql, &[], boots.into_iter().map(Value::from)).await?;
        rows.into_iter().map(|mut row| row.next("swipe.id")).collect()
    }

    /// What gateways said of the times of swipes that are read differently: time, earliest, latest.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn raw_stamps(
        &mut self,
        swipes: impl IntoIterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, (i64, i64, i64)>, StoreError> {
        let sql = "SELECT swipe_id, swiped_at, earliest_at, latest_at FROM swipe_stamp \
                   WHERE revision = 1 AND swipe_id IN ({})";
        let rows = self.fetch_in(sql, &[], swipes.into_iter().map(Value::from)).await?;
        rows.into_iter()
            .map(|mut row| {
                let id = row.next("swipe_stamp.swipe_id")?;
                Ok((
                    id,
                    (
                        row.next("swipe_stamp.swiped_at")?,
                        row.next("swipe_stamp.earliest_at")?,
                        row.next("swipe_stamp.latest_at")?,
                    ),
                ))
            })
            .collect()
    }

    /// Keeps readings of times that are replaced: id, time, earliest, latest.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn note_stamps(&mut self, stamps: &[(Uuid, i64, i64, i64)], at: i64) -> Result<(), StoreError> {
        let sql = "SELECT swipe_id, MAX(revision) FROM swipe_stamp WHERE swipe_id IN ({}) GROUP BY swipe_id";
        let mut last: BTreeMap<Uuid, i64> = BTreeMap::new();
        for mut row in self.fetch_in(sql, &[], stamps.iter().map(|stamp| stamp.0.into())).await? {
            last.insert(row.next("swipe_stamp.swipe_id")?, row.next("swipe_stamp.revision")?);
        }
        let rows = stamps
            .iter()
            .map(|(id, swiped, earliest, latest)| {
                let revision = last.get(id).copied().unwrap_or(0) + 1;
                vec![
                    (*id).into(),
                    revision.into(),
                    (*swiped).into(),
                    (*earliest).into(),
                    (*latest).into(),
                    at.into(),
                ]
            })
            .collect();
        let sql = "INSERT INTO swipe_stamp (swipe_id, revision, swiped_at, earliest_at, latest_at, replaced_at) \
                   VALUES {}";
        self.insert(sql, rows).await?;
        Ok(())
    }

    /// The keys that a gateway signed with.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn gateway_keys(&mut self, gateway: Uuid) -> Result<Vec<Vec<u8>>, StoreError> {
        let sql = "SELECT public_key FROM gateway_key WHERE gateway_id = $1 ORDER BY first_seen_at";
        let rows = self.fetch(sql, vec![gateway.into()]).await?;
        rows.into_iter().map(|mut row| row.next("gateway_key.public_key")).collect()
    }

    /// Notes a key that a gateway signed with.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn put_gateway_key(&mut self, gateway: Uuid, key: &[u8], at: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO gateway_key (gateway_id, public_key, first_seen_at) VALUES ($1, $2, $3) \
                   ON CONFLICT (gateway_id, public_key) DO NOTHING";
        self.execute(sql, vec![gateway.into(), key.to_vec().into(), at.into()]).await?;
        Ok(())
    }

    /// Keeps a signed end. The first signature over a stretch stays; one by the same key that reaches further takes its place.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn put_head(&mut self, head: &SignedHead) -> Result<(), StoreError> {
        let sql = "INSERT INTO signed_head (journal_id, first, through, chain_before, links, signed_at, signature, \
                   public_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (journal_id, first) DO UPDATE SET \
                   through = excluded.through, chain_before = excluded.chain_before, links = excluded.links, \
                   signed_at = excluded.signed_at, signature = excluded.signature, public_key = excluded.public_key \
                   WHERE signed_head.through < excluded.through AND signed_head.public_key = excluded.public_key";
        let head = head.clone();
        let values = vec![
            head.journal_id.into(),
            head.first.into(),
            head.through.into(),
            head.chain_before.into(),
            head.links.into(),
            head.signed_at.into(),
            head.signature.into(),
            head.public_key.into(),
        ];
        self.execute(sql, values).await?;
        Ok(())
    }

    /// For each of some swipes a signed stretch that holds its record, where there is one.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn heads_over(&mut self, swipes: &[Uuid]) -> Result<BTreeMap<Uuid, SignedHead>, StoreError> {
        let sql = "SELECT w.id, h.journal_id, h.first, h.through, h.chain_before, h.links, h.signed_at, \
                   h.signature, h.public_key FROM swipe w JOIN signed_head h ON h.journal_id = w.journal_id \
                   AND h.first <= w.sequence AND h.through >= w.sequence WHERE w.id IN ({}) ORDER BY h.first";
        let rows = self.fetch_in(sql, &[], swipes.iter().map(|id| (*id).into())).await?;
        // The newest stretch, where there are several.
        rows.into_iter().map(|mut row| Ok((row.next("swipe.id")?, head(row)?))).collect()
    }
}

fn head(mut row: Row) -> Result<SignedHead, StoreError> {
    Ok(SignedHead {
        journal_id: row.next("signed_head.journal_id")?,
        first: row.next("signed_head.first")?,
        through: row.next("signed_head.through")?,
        chain_before: row.next("signed_head.chain_before")?,
        links: row.next("signed_head.links")?,
        signed_at: row.next("signed_head.signed_at")?,
        signature: row.next("signed_head.signature")?,
        public_key: row.next("signed_head.public_key")?,
    })
}
