//! Cards of an import: those that a source does not name any more end, and may be known by what another is known by since.

use std::borrow::Cow;
use std::collections::BTreeSet;

use uuid::Uuid;

use super::super::people::{SaveCard, credentials_of, read_credential};
use super::{Gone, Work};
use crate::import::List;
use crate::store::StoreError;
use crate::store::entity::Card;

/// Of which kind names are kept of cards that have ended because a source did not name them: what a source took away it can give
/// back, and what a person took away it cannot.
const ENDED: &str = "cards ended";

impl Work<'_> {
    /// Cards that ended because the source did not name them are good again when it does. Notes what the cards are known by.
    pub(super) async fn cards_again<'a>(
        &mut self,
        list: &'a List<SaveCard>,
    ) -> Result<Cow<'a, List<SaveCard>>, StoreError> {
        for card in &list.things {
            for read in card.credentials.iter().filter_map(|it| read_credential(it).ok()) {
                self.named_credentials.entry(read).or_default().push(card.from.ms());
            }
        }
        let ended = self.tx.imported(&self.order.source, ENDED).await?;
        if ended.is_empty() {
            return Ok(Cow::Borrowed(list));
        }
        let mut list = list.clone();
        let again = |it: &&mut SaveCard| ended.contains(&it.code);
        for card in list.things.iter_mut().filter(again) {
            card.unsaid.0.retain(|field| *field != "until");
        }
        self.remember(ENDED, &BTreeSet::new(), &list.things.iter().map(|it| &it.code).collect()).await?;
        Ok(Cow::Owned(list))
    }

    /// Ends cards that the source does not name any more: now, or when a card that it names came to be known by the same. Gives how
    /// many, and of how many.
    pub(super) async fn end_cards(&mut self, gone: &Gone) -> Result<(usize, usize), StoreError> {
        let now = self.hub.now().0;
        let mut cards = self.tx.by_keys::<Card>(gone.before.iter().map(String::as_str)).await?;
        cards.retain(|card| card.until_at.is_none_or(|until| until > now));
        let of = cards.len();
        let names: BTreeSet<&String> = gone.names.iter().collect();
        cards.retain(|card| names.contains(&card.code));
        let ids: Vec<Uuid> = cards.iter().map(|card| card.id).collect();
        let known_by = credentials_of(&mut self.tx, &ids).await?;
        for card in &mut cards {
            let reads = known_by.get(&card.id).map_or(&[][..], Vec::as_slice);
            self.touched.was.card(card, reads);
            let held_from =
                reads.iter().filter_map(|read| self.named_credentials.get(read)).flatten().copied();
            let handed_on = held_from.filter(|from| *from > card.from_at).min();
            card.until_at = Some(handed_on.map_or(now, |at| at.min(now)).max(card.from_at));
        }
        self.tx.put(&cards).await?;
        self.remember(ENDED, &cards.iter().map(|card| &card.code).collect(), &BTreeSet::new()).await?;
        self.touched.feed_cards.extend(cards.iter().map(|card| card.id));
        let owners: Vec<Uuid> = cards.iter().map(|card| card.student_id).collect();
        if self.tx.any_swipe().await? {
            self.touched.swipes.extend(self.tx.swipes_of_students(&owners).await?);
        }
        Ok((cards.len(), of))
    }
}
