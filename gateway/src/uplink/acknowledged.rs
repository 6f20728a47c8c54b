//! Since when whole segments of the journal are at the hub: a hub that is put back to a backup asks for what it took in
//! since, so they stay for 30 days from then, however old their swipes are.

use rollcall_rules::time::Instant;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::journal::log::Segment;
use crate::private::InTurn;

/// How long acknowledged swipes stay on the disk, in milliseconds.
pub const KEEP_MS: i64 = 30 * 24 * 3_600_000;

/// What is known of segments, by journal and last record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Acknowledged {
    since: Vec<Since>,
    /// The disk does not have it as it is.
    #[serde(skip)]
    unkept: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Since {
    journal: Uuid,
    last: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    at: i64,
}

impl Acknowledged {
    /// Takes what an earlier start noted. Where nothing can be read the days are counted anew, which keeps more.
    #[must_use]
    pub(crate) fn load(kept: Option<Vec<u8>>) -> Self {
        kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Keeps for the next start what is another since it was kept last.
    ///
    /// # Errors
    /// When the disk refuses: it is to be tried again, or the days begin anew at the next start.
    pub(crate) fn keep(&mut self, file: &mut InTurn) -> std::io::Result<()> {
        if self.unkept {
            file.keep(&serde_json::to_vec(self)?)?;
            self.unkept = false;
        }
        Ok(())
    }

    /// Notes which segments, in order, are at the hub whole, at an instant that is not too early. Gives how many of them,
    /// from the oldest on, have been there for longer than they must stay, at an instant that is not too late.
    pub fn note<'a>(
        &mut self,
        segments: impl IntoIterator<Item = (&'a Segment, bool)>,
        now: (Instant, Instant),
    ) -> usize {
        let (earliest, latest) = now;
        let mut known = Vec::new();
        let (mut old, mut before_are_old) = (0, true);
        for (segment, whole) in segments {
            let (journal, last) = (segment.journal, segment.last);
            if !whole {
                before_are_old = false;
                continue;
            }
            let noted = self.since.iter().find(|it| (it.journal, it.last) == (journal, last));
            // A clock that was ahead when it was noted must not hold it for ever.
            let at = noted.map_or(latest.0, |it| it.at.min(latest.0));
            before_are_old &= earliest.since_ms(Instant(at)) > KEEP_MS;
            old += usize::from(before_are_old);
            known.push(Since { journal, last, at });
        }
        self.unkept |= self.since != known;
        self.since = known;
        old
    }

    /// Notes the segments of a journal of which `whole` says that all of them is at the hub, as [`Acknowledged::note`] does, and
    /// gives the sequence before which all may be dropped. The segment that is written stays, whatever is in it.
    pub fn may_drop(
        &mut self,
        segments: &[Segment],
        whole: impl Fn(&Segment) -> bool,
        now: (Instant, Instant),
    ) -> Option<u64> {
        let (_, written) = segments.split_last()?;
        let old = self.note(written.iter().map(|segment| (segment, whole(segment))), now);
        written.get(old.checked_sub(1)?).map(|segment| segment.last + 1)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600_000;

    fn segments() -> Vec<Segment> {
        (0..3)
            .map(|index| Segment {
                name: format!("segment-{index}"),
                journal: Uuid::from_u128(1),
                first: index * 100 + 1,
                last: (index + 1) * 100,
                damaged: false,
            })
            .collect()
    }

    #[test]
    fn segments_stay_for_thirty_days_from_when_the_hub_had_them_whole() {
        let (found, mut known) = (segments(), Acknowledged::default());
        let mut old = |whole: [bool; 3], day: i64| {
            let at = Instant(day * DAY);
            known = serde_json::from_slice(&serde_json::to_vec(&known).unwrap()).unwrap();
            known.note(found.iter().zip(whole), (at, at))
        };
        // Swipes of weeks without a hub come in at once: how old they are does not count.
        assert_eq!(old([true, true, false], 100), 0);
        assert_eq!(old([true, true, true], 130), 0);
        assert_eq!(old([true, true, true], 131), 2);
        // A hub that went back to a backup has the second no more, and later has it again.
        assert_eq!(old([true, false, true], 132), 1);
        assert_eq!(old([true, true, true], 133), 1);
        assert_eq!(old([true, true, true], 163), 1);
        assert_eq!(old([true, true, true], 164), 3);
    }

    #[test]
    fn what_is_dropped_ends_with_the_last_old_segment_and_never_takes_the_one_that_is_written() {
        let (found, mut known) = (segments(), Acknowledged::default());
        let mut drop = |some: &[Segment], at_hub: u64, day: i64| {
            let at = Instant(day * DAY);
            known.may_drop(some, |segment| at_hub >= segment.last, (at, at))
        };
        assert_eq!(drop(&found, 300, 100), None);
        assert_eq!(drop(&found, 300, 130), None);
        assert_eq!(drop(&found, 300, 131), Some(201), "the third is written");
        assert_eq!(drop(&found, 199, 132), Some(101), "a hub from a backup lacks the end of the second");
        assert_eq!(drop(&found[1..], 300, 170), None, "and has it again since today");
        assert_eq!((drop(&found[2..], 300, 400), drop(&[], 300, 400)), (None, None));
    }

    #[test]
    fn a_clock_that_was_ahead_holds_nothing_for_ever_and_one_that_is_unsure_keeps_more() {
        let (found, mut known) = (segments(), Acknowledged::default());
        let mut old = |earliest: i64, latest: i64| {
            known.note(found.iter().map(|it| (it, true)), (Instant(earliest * DAY), Instant(latest * DAY)))
        };
        assert_eq!(old(4_000, 4_000), 0);
        assert_eq!(old(100, 100), 0);
        assert_eq!(old(131, 131), 3);
        assert_eq!(old(120, 131), 0);
    }

    #[test]
    fn what_cannot_be_read_counts_the_days_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acknowledged");
        let load = || Acknowledged::load(InTurn::open(&path).1);
        assert_eq!(load(), Acknowledged::default());
        let mut known = Acknowledged::default();
        known.note(segments().iter().map(|it| (it, true)), (Instant(0), Instant(DAY)));
        assert!(known.keep(&mut InTurn::open(&folder.path().join("none").join("file")).0).is_err());
        known.keep(&mut InTurn::open(&path).0).unwrap();
        assert_eq!(load(), known, "what was refused is tried again");
        std::fs::write(&path, b"[{").unwrap();
        assert_eq!(load(), Acknowledged::default());
    }
}
