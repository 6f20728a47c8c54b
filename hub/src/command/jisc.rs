//! `rollcall-hub export --format jisc-tsv|xapi`: marks for Jisc's learning analytics, printed, or sent to a learning record store.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use jiff::ToSpan as _;
use rollcall_hub::jisc::{COLUMNS, row, statement};
use rollcall_hub::outgoing::Outgoing;
use rollcall_hub::scalar::LocalDate;
use rollcall_hub::service::Hub;
use rollcall_hub::service::report::marks;
use serde_json::Value;

/// How many statements are sent in one go.
const BATCH: usize = 200;
/// How much of a refusal is shown.
const MOST_OF_ANSWER: usize = 2_000;
/// The waits before another attempt where a store is away or busy.
const WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];

/// Prints the attendance table.
pub(super) async fn table(hub: &Hub, from: LocalDate, until: LocalDate) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", COLUMNS.join("\t"))?;
    marks(hub, from, until, |lines| -> anyhow::Result<()> {
        for row in lines.iter().filter_map(row) {
            writeln!(out, "{}", row.join("\t"))?;
        }
        Ok(())
    })
    .await?;
    Ok(out.flush()?)
}

/// Prints the statements, or sends them.
pub(super) async fn statements(
    hub: &Hub,
    from: LocalDate,
    until: LocalDate,
    home_page: &str,
    lrs: Option<&str>,
) -> anyhow::Result<()> {
    let home_page = home_page.trim_end_matches('/');
    if !home_page.contains("://") {
        anyhow::bail!("--home-page '{home_page}' is no address: say https://…");
    }
    let Some(lrs) = lrs else {
        let mut out = std::io::stdout().lock();
        marks(hub, from, until, |lines| -> anyhow::Result<()> {
            for statement in lines.iter().filter_map(|mark| statement(mark, home_page)) {
                writeln!(out, "{statement}")?;
            }
            Ok(())
        })
        .await?;
        return Ok(out.flush()?);
    };
    let store = Store::open(lrs)?;
    let mut sent = 0;
    // Day by day: a year of a university does not fit in memory.
    for day in from.0.series(1.day()).take_while(|day| *day <= until.0).map(LocalDate) {
        let mut of_day = Vec::new();
        marks(hub, day, day, |lines| -> anyhow::Result<()> {
            of_day.extend(lines.iter().filter_map(|mark| statement(mark, home_page)));
            Ok(())
        })
        .await?;
        for some in of_day.chunks(BATCH) {
            store.take(some).await.with_context(|| {
                format!(
                    "{sent} statements were taken, all of the days before {} among them; the same command again sends all, \
                     or those from then on with --from, and none is kept twice",
                    day.0
                )
            })?;
            sent += some.len();
            eprintln!("{sent} statements, up to {}", day.0);
        }
    }
    Ok(())
}

/// A learning record store (xAPI 1.0.3, part 3).
struct Store {
    url: String,
    headers: HeaderMap,
    outgoing: Outgoing,
}

impl Store {
    fn open(url: &str) -> anyhow::Result<Self> {
        let secret = |name: &str| {
            std::env::var(name)
                .with_context(|| format!("{name} is not set; the store's owner gives key and secret"))
        };
        let pair = format!("{}:{}", secret("ROLLCALL_LRS_KEY")?, secret("ROLLCALL_LRS_SECRET")?);
        let mut who = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))?;
        who.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert("authorization", who);
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("x-experience-api-version", HeaderValue::from_static("1.0.3"));
        // Whoever runs this may go wherever this machine may.
        let outgoing = Outgoing::new(true)?;
        Ok(Self { url: format!("{}/statements", url.trim_end_matches('/')), headers, outgoing })
    }

    async fn take(&self, statements: &[Value]) -> anyhow::Result<()> {
        let body = serde_json::to_string(statements)?;
        let mut waits = WAITS.iter();
        loop {
            let answer =
                self.outgoing.ask(&self.url, self.headers.clone(), body.clone(), MOST_OF_ANSWER).await;
            let why = match answer {
                Ok(answer) if (200..300).contains(&answer.status) => return Ok(()),
                Ok(answer) => {
                    let text = String::from_utf8_lossy(&answer.body);
                    let why = format!("{} answered with status {}: {}", self.url, answer.status, text.trim());
                    if answer.status != 429 && answer.status < 500 {
                        anyhow::bail!("{why}");
                    }
                    why
                }
                Err(error) => format!("{} cannot be reached: {error}", self.url),
            };
            let Some(wait) = waits.next() else { anyhow::bail!("{why}") };
            eprintln!("{why}; trying again in {} s", wait.as_secs());
            tokio::time::sleep(*wait).await;
        }
    }
}
