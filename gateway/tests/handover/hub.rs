//! A hub as far as handing over goes: what it was told, what it took, and what of its answers is lost.

use super::*;

/// A hub as far as handing over goes; it may turn batches down that hold some record.
#[derive(Default)]
pub(super) struct Hub {
    pub(super) turns_down: BTreeSet<u64>,
    /// It fails at those, rather than to say that it does not take them.
    pub(super) fails: bool,
    /// Records that the gateway cannot read any more.
    pub(super) unreadable: BTreeSet<u64>,
    /// Up to which everything is handed over, as far as the hub was told and could take it.
    pub(super) watermark: i64,
    pub(super) through: u64,
    pub(super) has: BTreeSet<u64>,
    pub(super) complete: bool,
    /// The last heartbeat or batch that it took.
    pub(super) last: Option<Uuid>,
    /// So many of its next answers are lost, and how often it was not in step with the gateway.
    pub(super) loses: usize,
    /// So many calls after those do not reach it.
    pub(super) unheard: usize,
    pub(super) out_of_step: usize,
    /// What becomes of batches of more than so many.
    pub(super) too_many: Option<(usize, fn() -> UplinkError)>,
    /// What the gateway signs with, and the records that stand under a signature.
    pub(super) key: Option<SigningKey>,
    pub(super) signed: BTreeSet<u64>,
    /// The gateway has found out that some cannot be read, and what tells of them is not durable yet.
    pub(super) untold: bool,
    /// Records that came since.
    pub(super) more: u64,
    pub(super) asked: usize,
}

impl Hub {
    /// As `hub::service::intake::journal` has it.
    pub(super) fn hears(&mut self, said: &GatewayJournalInput) -> GatewayHandedOver {
        let (through, after) = (said.through.0, said.after.map(|after| after.0));
        self.complete = true;
        match after {
            Some(after) if after == through => self.complete = self.through >= through,
            Some(after) if after > self.through => self.complete = false,
            _ if said.chain.is_some() => self.through = self.through.max(through),
            _ => {}
        }
        let chain = if self.through > 0 { "01".repeat(32) } else { String::new() };
        GatewayHandedOver { journal_id: said.journal_id, through: Counter(self.through), chain }
    }

    pub(super) fn in_step(&mut self, previous: Option<&Vec<Uuid>>) -> bool {
        let previous = previous.unwrap();
        let in_step = previous.is_empty() || self.last.is_some_and(|last| previous.contains(&last));
        self.out_of_step += usize::from(!in_step);
        in_step
    }

    pub(super) fn loses_this(&mut self) -> bool {
        let loses = self.loses > 0;
        self.loses = self.loses.saturating_sub(1);
        loses
    }

    /// Comes back from a backup, with so many records, of which all up to one came in order.
    pub(super) fn restored(&mut self, through: u64, has: u64) {
        (self.through, self.asked, self.watermark, self.last) = (through, 0, 0, Some(Uuid::nil()));
        self.has.retain(|sequence| *sequence <= has);
    }

    pub(super) fn passes(&mut self, watermark: DateTime, in_step: bool) {
        if self.complete && in_step {
            self.watermark = self.watermark.max(watermark.0);
            // All these records are from before any heartbeat.
            let there =
                (1..=RECORDS + self.more).all(|it| self.has.contains(&it) || self.unreadable.contains(&it));
            assert!(watermark.0 == 0 || there, "the hub has {} and is told of no more", self.has.len());
        }
    }

    /// Hands over until there is nothing more to say before the next heartbeat; gives how many were held back.
    pub(super) fn drain(&mut self, handover: &mut HandOver, at: i64) -> i32 {
        let last = RECORDS + self.more;
        let segment = Segment { name: "s".into(), journal: JOURNAL, first: 1, last, damaged: false };
        let standing =
            Standing { journal: JOURNAL, next: last + 1, segments: vec![segment], usage: Usage::default() };
        let mut status = status(at, true);
        self.untold = false;
        let mut held_back = -1;
        loop {
            if self.untold {
                // As the gateway has it from its notes.
                status.durable_before = Instant(0);
            }
            self.asked += 1;
            assert!(self.asked < 200, "it says the same over and over; the hub has {}", self.has.len());
            let away = self.loses == 0 && self.unheard > 0;
            match handover.step(&status, &standing) {
                Step::Wait(_) => return held_back,
                Step::Heartbeat if away => {
                    self.unheard -= 1;
                    drop(handover.heartbeat(&status, &standing, More::default()));
                    handover.failed(&UplinkError::TimedOut);
                }
                Step::Heartbeat => {
                    let said = handover.heartbeat(&status, &standing, More::default());
                    held_back = said.held_back.unwrap();
                    let in_step = self.in_step(said.previous.as_ref());
                    self.last = said.heartbeat_id.filter(|_| in_step).or(self.last);
                    let has = self.hears(&said.journals.unwrap()[0]);
                    self.passes(said.watermark, in_step && !said.previous.unwrap().is_empty());
                    if self.loses_this() {
                        handover.failed(&UplinkError::TimedOut);
                        continue;
                    }
                    let found = handover.wanted(&standing, &has).map(stored);
                    assert!(!handover.learn(&standing, &has, found.as_ref(), Uuid::from_u128(8)));
                    let answer = answered(in_step, self.last);
                    handover.heartbeat_answered(&status, &standing, &answer).unwrap();
                }
                Step::Read { journal, from, limit } => {
                    let records: Vec<Stored> = (from..=last)
                        .take(limit)
                        .filter(|it| !self.unreadable.contains(it))
                        .map(stored)
                        .map(|it| match self.unreadable.contains(&(it.sequence - 1)) {
                            true => Stored { before: None, ..it },
                            false => it,
                        })
                        .collect();
                    self.untold |= (from..=last).take(limit).any(|it| self.unreadable.contains(&it));
                    let key = self.key.as_ref();
                    let sent = handover.batch((journal, from), records, &status, &standing, key, None);
                    let Some(sent) = sent else { continue };
                    let anchors = sent.input.anchors.iter().flatten();
                    let numbers: Vec<u64> =
                        anchors.map(|it| u64::try_from(it.since_boot.0).unwrap()).collect();
                    if numbers.iter().any(|number| self.turns_down.contains(number)) {
                        let no = if self.fails { UplinkError::Failed } else { UplinkError::Refused };
                        handover.failed(&no("no".into()));
                        continue;
                    }
                    if let Some((most, error)) = self.too_many
                        && numbers.len() > most
                    {
                        handover.failed(&error());
                        continue;
                    }
                    if sent.input.head.is_some() {
                        self.signed.extend(&numbers);
                    }
                    self.has.extend(numbers);
                    let in_step = self.in_step(sent.input.previous.as_ref());
                    if in_step {
                        self.last = Some(sent.input.batch_id);
                    }
                    let has = self.hears(sent.input.journal.as_ref().unwrap());
                    let believed = in_step && sent.input.previous.as_ref().is_some_and(|it| !it.is_empty());
                    self.passes(sent.input.watermark, believed);
                    if self.loses_this() {
                        handover.failed(&UplinkError::TimedOut);
                        continue;
                    }
                    let answer = GatewaySubmitSwipesPayload {
                        receipts: Vec::new(),
                        committed_at: DateTime(START),
                        handed_over: vec![has],
                        renew_journal: false,
                        in_step,
                        last_taken: self.last,
                        errors: Vec::new(),
                    };
                    handover.submitted(&sent, &answer, &standing).unwrap();
                }
            }
        }
    }
}
