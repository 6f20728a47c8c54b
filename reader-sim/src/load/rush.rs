//! What came of a rush, and how it is told.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::LoadArgs;

/// The edges of the histogram, in milliseconds.
const EDGES: [u64; 10] = [2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000];
/// The widest bar.
const BAR: usize = 50;

/// What came of a rush.
#[derive(Default)]
pub(super) struct Rush {
    pub(super) greens: usize,
    pub(super) others: usize,
    /// From the card at the reader to its flash, sorted.
    pub(super) took: Vec<Duration>,
    pub(super) lasted: Duration,
}

impl Rush {
    /// Takes another in.
    pub(super) fn add(&mut self, other: Self) {
        self.greens += other.greens;
        self.others += other.others;
        self.lasted += other.lasted;
        self.took.extend(other.took);
        self.took.sort_unstable();
    }

    /// The time within which so many of a hundred were answered, in milliseconds.
    fn percentile(&self, share: f64) -> f64 {
        let last = self.took.len().saturating_sub(1);
        let index = (last as f64 * share / 100.0).round() as usize;
        self.took.get(index).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }

    /// How many fell between each two edges, and beyond the last.
    fn histogram(&self) -> Vec<(u64, usize)> {
        let mut from = Duration::ZERO;
        let mut buckets = Vec::new();
        for edge in EDGES.into_iter().chain([u64::MAX]) {
            let until = Duration::from_millis(edge);
            buckets.push((edge, self.took.iter().filter(|took| (from..until).contains(*took)).count()));
            from = until;
        }
        buckets
    }

    /// Prints it, and beside it what came of the one among bad peers.
    pub(super) fn tell(&self, args: &LoadArgs, beside: Option<&Self>) -> anyhow::Result<()> {
        let [p50, p90, p99, most] = [50.0, 90.0, 99.0, 100.0].map(|share| self.percentile(share));
        let mut out = std::io::stdout().lock();
        if args.json {
            let buckets: Vec<Value> = self
                .histogram()
                .into_iter()
                .map(|(edge, count)| json!({"belowMs": (edge < u64::MAX).then_some(edge), "cards": count}))
                .collect();
            let beside = beside.map(|beside| {
                let ms = [50.0, 90.0, 99.0].map(|share| beside.percentile(share));
                json!({"cards": beside.took.len(), "green": beside.greens, "p50": ms[0], "p90": ms[1], "p99": ms[2],
                       "p99Ratio": ms[2] / p99})
            });
            let said = json!({
                "osdp": args.osdp, "mqtt": args.mqtt, "dead": args.dead, "cards": self.took.len(), "green": self.greens,
                "other": self.others, "seconds": self.lasted.as_secs_f64(),
                "lightMs": {"p50": p50, "p90": p90, "p99": p99, "max": most}, "histogram": buckets, "besideBadPeers": beside,
            });
            writeln!(out, "{said}")?;
            return Ok(());
        }
        writeln!(
            out,
            "{} cards answered in {:.1} s: {} green, {} others\ncard to light: p50 {p50:.1} ms, p90 {p90:.1} ms, p99 \
             {p99:.1} ms, at the most {most:.1} ms",
            self.took.len(),
            self.lasted.as_secs_f64(),
            self.greens,
            self.others
        )?;
        if let Some(beside) = beside {
            let [p50_, p90_, p99_] = [50.0, 90.0, 99.0].map(|share| beside.percentile(share));
            writeln!(
                out,
                "beside bad peers, {} cards: p50 {p50_:.1} ms, p90 {p90_:.1} ms, p99 {p99_:.1} ms, {:.2} of that without",
                beside.took.len(),
                p99_ / p99
            )?;
        }
        let most = self.histogram().iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
        for (edge, count) in self.histogram() {
            let name = if edge == u64::MAX { "more".into() } else { format!("< {edge} ms") };
            writeln!(out, "{name:>9} {count:>7} {}", "#".repeat(count * BAR / most))?;
        }
        Ok(())
    }
}
