//! `rollcall-hub report` and `export`: figures and marks for whoever works with tables.

use std::io::Write as _;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::civil::Date;
use rollcall_hub::app;
use rollcall_hub::clock::SystemClock;
use rollcall_hub::export::harmless;
use rollcall_hub::scalar::LocalDate;
use rollcall_hub::service::Hub;
use rollcall_hub::service::report::{Counts, Grouping, attendance, marks};
use rollcall_hub::service::room_use::room_use;
use rollcall_hub::store::entity::AttendanceStatus;

use super::Data;

#[derive(Args)]
pub(super) struct Days {
    #[command(flatten)]
    data: Data,
    /// The first day.
    #[arg(long)]
    from: Date,
    /// The last day.
    #[arg(long)]
    until: Date,
}

impl Days {
    async fn open(&self) -> anyhow::Result<(Hub, LocalDate, LocalDate)> {
        if self.until < self.from {
            anyhow::bail!("--until {} comes before --from {}", self.until, self.from);
        }
        let config = self.data.config(rollcall_hub::config::DEFAULT_LISTEN.parse()?)?;
        let hub = app::open(&config, Arc::new(SystemClock)).await?;
        Ok((hub, LocalDate(self.from), LocalDate(self.until)))
    }
}

/// What the rows stand for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    Building,
    Course,
    Day,
    Group,
    Programme,
    Room,
    Student,
    Week,
    /// What rooms were booked for, and what became of it.
    RoomUse,
}

#[derive(Args)]
pub(super) struct Report {
    #[command(flatten)]
    days: Days,
    /// What the rows stand for.
    #[arg(long, value_enum)]
    by: By,
}

impl Report {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (hub, from, until) = self.days.open().await?;
        let mut table = csv::Writer::from_writer(std::io::stdout());
        let by = match self.by {
            By::Building => Grouping::Building,
            By::Course => Grouping::Course,
            By::Day => Grouping::Day,
            By::Group => Grouping::Group,
            By::Programme => Grouping::Programme,
            By::Room => Grouping::Room,
            By::Student => Grouping::Student,
            By::Week => Grouping::Week,
            By::RoomUse => return rooms(&hub, from, until, table).await,
        };
        let report = attendance(&hub, by, from, until).await?;
        let heading = format!("{:?}", self.by).to_lowercase();
        table.write_record([
            heading.as_str(),
            "from",
            "until",
            "sessions",
            "present",
            "late",
            "absent",
            "authorised_absence",
            "not_required",
            "no_register",
            "cancelled",
            "expected",
            "attended_share",
        ])?;
        for row in &report.rows {
            line(&mut table, &row.label, from, until, &row.counts)?;
        }
        line(&mut table, "total", from, until, &report.total)?;
        Ok(table.flush()?)
    }
}

fn line<W: std::io::Write>(
    table: &mut csv::Writer<W>,
    label: &str,
    from: LocalDate,
    until: LocalDate,
    counts: &Counts,
) -> anyhow::Result<()> {
    use AttendanceStatus::{
        Absent, AuthorisedAbsence, Cancelled, Expected, NoRegister, NotRequired, Present,
    };
    let (present, absent) = (counts.of(Present), counts.of(Absent));
    let numbers = [
        counts.sessions,
        present,
        counts.late,
        absent,
        counts.of(AuthorisedAbsence),
        counts.of(NotRequired),
        counts.of(NoRegister),
        counts.of(Cancelled),
        counts.of(Expected),
    ];
    let mut cells = vec![harmless(label).into_owned(), from.0.to_string(), until.0.to_string()];
    cells.extend(numbers.iter().map(i64::to_string));
    cells.push(share(present, present + absent));
    Ok(table.write_record(cells)?)
}

/// A share with four places; empty where there is nothing to share.
fn share(part: i64, whole: i64) -> String {
    if whole > 0 { format!("{:.4}", part as f64 / whole as f64) } else { String::new() }
}

async fn rooms<W: std::io::Write>(
    hub: &Hub,
    from: LocalDate,
    until: LocalDate,
    mut table: csv::Writer<W>,
) -> anyhow::Result<()> {
    table.write_record([
        "room",
        "seats",
        "from",
        "until",
        "sessions",
        "booked_hours",
        "used_hours",
        "ghost_sessions",
        "overcrowded_sessions",
        "unknown_sessions",
        "expected",
        "present",
        "no_shows",
        "attended_share",
    ])?;
    let hours = |ms: i64| format!("{:.2}", ms as f64 / 3_600_000.0);
    for room in room_use(hub, from, until).await? {
        table.write_record([
            harmless(&room.room.code).into_owned(),
            room.room.capacity.map_or_else(String::new, |seats| seats.to_string()),
            from.0.to_string(),
            until.0.to_string(),
            room.sessions.to_string(),
            hours(room.booked_ms),
            hours(room.used_ms),
            room.ghosts.to_string(),
            room.overcrowded.to_string(),
            room.unknown.to_string(),
            room.expected.to_string(),
            room.present.to_string(),
            (room.expected - room.present).to_string(),
            share(room.present, room.expected),
        ])?;
    }
    Ok(table.flush()?)
}

/// How marks are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table with headings.
    Csv,
    /// One JSON object in each line.
    Jsonl,
    /// Jisc's attendance table, separated by tabs.
    JiscTsv,
    /// Statements of Jisc's xAPI profile, one in each line.
    Xapi,
}

#[derive(Args)]
pub(super) struct Export {
    #[command(flatten)]
    days: Days,
    /// How they are written.
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// For xapi: the address under which students and sessions are named, for instance https://www.example.ac.uk
    #[arg(long, value_name = "URL", required_if_eq("format", "xapi"))]
    home_page: Option<String>,
    /// For xapi: sends the statements there instead of printing them, for instance https://lrs.example.ac.uk/xapi. Key and secret are
    /// read from ROLLCALL_LRS_KEY and ROLLCALL_LRS_SECRET.
    #[arg(long, value_name = "URL", requires = "home_page")]
    lrs: Option<String>,
}

impl Export {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        if self.lrs.is_some() && self.format != Format::Xapi {
            anyhow::bail!("--lrs takes statements: say --format xapi");
        }
        let (hub, from, until) = self.days.open().await?;
        match self.format {
            Format::JiscTsv => super::jisc::table(&hub, from, until).await,
            Format::Xapi => {
                let home_page = self.home_page.unwrap_or_default();
                super::jisc::statements(&hub, from, until, &home_page, self.lrs.as_deref()).await
            }
            Format::Csv | Format::Jsonl => marks_to(&hub, from, until, self.format).await,
        }
    }
}

async fn marks_to(hub: &Hub, from: LocalDate, until: LocalDate, format: Format) -> anyhow::Result<()> {
    let zone = hub.zone().clone();
    let local = |ms: i64| match Timestamp::from_millisecond(ms) {
        Ok(at) => at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string(),
        Err(_) => String::new(),
    };
    let mut out = std::io::stdout().lock();
    let mut table = matches!(format, Format::Csv).then(|| csv::Writer::from_writer(Vec::new()));
    if let Some(table) = &mut table {
        table.write_record([
            "student_number",
            "session",
            "title",
            "course",
            "starts_at",
            "ends_at",
            "status",
            "source",
            "arrived_at",
            "minutes_late",
            "revision",
            "updated_at",
        ])?;
    }
    marks(hub, from, until, |lines| -> anyhow::Result<()> {
        for mark in lines {
            let (starts, ends) = (local(mark.starts_at), local(mark.ends_at));
            let arrived = mark.arrived_at.map(&local);
            let updated = local(mark.updated_at);
            match &mut table {
                Some(table) => table.write_record([
                    &*harmless(&mark.student_number),
                    &*harmless(mark.session_external_id.as_deref().unwrap_or_default()),
                    &*harmless(&mark.session_title),
                    &*harmless(mark.course.as_deref().unwrap_or_default()),
                    &starts,
                    &ends,
                    mark.status.word(),
                    mark.source.word(),
                    arrived.as_deref().unwrap_or_default(),
                    &mark.minutes_late.map_or_else(String::new, |minutes| minutes.to_string()),
                    &mark.revision.to_string(),
                    &updated,
                ])?,
                None => {
                    let mut line = serde_json::to_value(&mark)?;
                    line["startsAt"] = starts.into();
                    line["endsAt"] = ends.into();
                    line["arrivedAt"] = arrived.into();
                    line["updatedAt"] = updated.into();
                    writeln!(out, "{line}")?;
                }
            }
        }
        if let Some(table) = &mut table {
            table.flush()?;
            let text = std::mem::replace(table, csv::Writer::from_writer(Vec::new()));
            out.write_all(&text.into_inner().map_err(|error| anyhow::anyhow!("{error}"))?)?;
        }
        Ok(())
    })
    .await?;
    Ok(out.flush()?)
}
