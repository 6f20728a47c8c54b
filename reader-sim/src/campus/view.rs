//! What a person sees of a run: rooms with their lights in a terminal, plain lines elsewhere, JSON for programs.

use std::collections::BTreeMap;
use std::io::{Stdout, Write};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Gauge, Paragraph};
use ratatui::{Frame, TerminalOptions, Viewport};
use serde_json::{Value, json};

use crate::plan::{Colour, Millis, Plan};

/// How many rooms stand beside each other.
const ROOMS_ACROSS: usize = 6;
/// How often the picture is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(60);
/// How long a flash stays in the picture.
const FLASH_FOR: Duration = Duration::from_millis(600);
/// How many plain lines tell of progress.
const PROGRESS_LINES: i64 = 20;

enum Kind {
    Picture(Box<Terminal<CrosstermBackend<Stdout>>>),
    Lines,
    Json,
    Nothing,
}

/// The view of a run.
pub struct View {
    kind: Kind,
    zone: TimeZone,
    from: Millis,
    until: Millis,
    readers: Vec<(String, String)>,
    rests: BTreeMap<String, Colour>,
    flashes: BTreeMap<String, (Colour, Instant)>,
    greens: usize,
    reds: usize,
    total: usize,
    drawn: Instant,
    told: i64,
}

impl View {
    /// A view: JSON where asked for, a picture in a terminal, else plain lines.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub fn new(plan: &Plan, json: bool, terminal: bool) -> anyhow::Result<Self> {
        let mut readers: Vec<(String, String)> =
            plan.readers.iter().map(|it| (plan.rooms[it.room].code.clone(), it.code.clone())).collect();
        readers.sort();
        let kind = if json {
            Kind::Json
        } else if terminal {
            let rows = readers.len().div_ceil(ROOMS_ACROSS).min(12);
            let height = u16::try_from(rows + 3).unwrap_or(15);
            let options = TerminalOptions { viewport: Viewport::Inline(height) };
            let backend = CrosstermBackend::new(std::io::stdout());
            match Terminal::with_options(backend, options) {
                Ok(terminal) => Kind::Picture(Box::new(terminal)),
                // A terminal that cannot say where its cursor is still shows lines.
                Err(_) => Kind::Lines,
            }
        } else {
            Kind::Lines
        };
        Self::of(plan, kind, readers)
    }

    /// A view that shows nothing.
    ///
    /// # Errors
    /// When the plan's time zone is not known.
    pub fn nothing(plan: &Plan) -> anyhow::Result<Self> {
        Self::of(plan, Kind::Nothing, Vec::new())
    }

    fn of(plan: &Plan, kind: Kind, readers: Vec<(String, String)>) -> anyhow::Result<Self> {
        Ok(Self {
            kind,
            zone: TimeZone::get(&plan.zone)?,
            from: plan.from_ms,
            until: plan.until_ms,
            readers,
            rests: BTreeMap::new(),
            flashes: BTreeMap::new(),
            greens: 0,
            reds: 0,
            total: plan.presentations.len(),
            drawn: Instant::now(),
            told: -1,
        })
    }

    /// Says something that stays.
    ///
    /// # Errors
    /// When the output fails.
    pub fn say(&mut self, text: &str) -> anyhow::Result<()> {
        match &mut self.kind {
            Kind::Json => self.line(&json!({ "say": text })),
            Kind::Lines => Ok(writeln!(std::io::stdout(), "{text}")?),
            Kind::Nothing => Ok(()),
            Kind::Picture(terminal) => {
                let height = u16::try_from(text.lines().count().max(1)).unwrap_or(1);
                let text = text.to_owned();
                Ok(terminal.insert_before(height, |buffer| {
                    use ratatui::widgets::Widget;
                    Paragraph::new(text).render(buffer.area, buffer);
                })?)
            }
        }
    }

    /// Writes one line of JSON.
    ///
    /// # Errors
    /// When the output fails.
    pub fn line(&mut self, value: &Value) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        writeln!(out, "{value}")?;
        Ok(out.flush()?)
    }

    /// A light at rest changed.
    pub fn light(&mut self, reader: &str, colour: Colour) {
        self.rests.insert(reader.to_owned(), colour);
    }

    /// A reader answered a card.
    pub fn swipe(&mut self, reader: &str, shown: Option<Colour>) {
        match shown {
            Some(Colour::Green) => self.greens += 1,
            _ => self.reds += 1,
        }
        if let Some(colour) = shown {
            self.flashes.insert(reader.to_owned(), (colour, Instant::now()));
        }
    }

    /// Time has come to an instant.
    ///
    /// # Errors
    /// When the output fails.
    pub fn progress(&mut self, at: Millis, rests: &BTreeMap<String, Colour>) -> anyhow::Result<()> {
        let span = (self.until - self.from).max(1);
        let part = ((at - self.from) * PROGRESS_LINES / span).clamp(0, PROGRESS_LINES);
        let clock = self.clock(at);
        let blue = rests.values().filter(|colour| **colour == Colour::Blue).count();
        match &self.kind {
            Kind::Picture(_) => self.draw(at, &clock, rests),
            Kind::Nothing => Ok(()),
            _ if part == self.told => Ok(()),
            Kind::Json => {
                self.told = part;
                let (green, red) = (self.greens, self.reds);
                self.line(&json!({"progress": at, "at": clock, "blue": blue, "green": green, "red": red, "of": self.total}))
            }
            Kind::Lines => {
                self.told = part;
                let share = 100 * (at - self.from).clamp(0, span) / span;
                let text = format!(
                    "{clock}  {share:>3} %  {blue:>2} rooms blue  {:>5} green {:>4} red of {} cards",
                    self.greens, self.reds, self.total
                );
                self.say(&text)
            }
        }
    }

    fn clock(&self, at: Millis) -> String {
        Timestamp::from_millisecond(at).map_or_else(
            |_| String::new(),
            |at| at.to_zoned(self.zone.clone()).strftime("%a %d %b %H:%M:%S").to_string(),
        )
    }

    fn draw(&mut self, at: Millis, clock: &str, rests: &BTreeMap<String, Colour>) -> anyhow::Result<()> {
        if self.drawn.elapsed() < DRAW_EVERY {
            return Ok(());
        }
        self.drawn = Instant::now();
        let share = ((at - self.from) as f64 / (self.until - self.from).max(1) as f64).clamp(0.0, 1.0);
        let title = format!("{clock}   {} green  {} red  of {} cards", self.greens, self.reds, self.total);
        let lines = self.rooms(rests);
        if let Kind::Picture(terminal) = &mut self.kind {
            terminal.draw(|frame| paint(frame, share, &title, lines))?;
        }
        Ok(())
    }

    fn rooms(&self, rests: &BTreeMap<String, Colour>) -> Vec<Line<'static>> {
        let cell = |(room, reader): &(String, String)| {
            let flash = self.flashes.get(reader).filter(|(_, since)| since.elapsed() < FLASH_FOR);
            let colour = flash
                .map_or_else(|| rests.get(reader).copied().unwrap_or(Colour::Off), |(colour, _)| *colour);
            let (mark, style) = match colour {
                Colour::Off => ("○ ", Style::new().fg(Color::DarkGray)),
                Colour::Blue => ("● ", Style::new().fg(Color::Blue)),
                Colour::Green => ("● ", Style::new().fg(Color::Green)),
                Colour::Red => ("● ", Style::new().fg(Color::Red)),
                Colour::Amber => ("● ", Style::new().fg(Color::Yellow)),
            };
            [Span::styled(mark, style), Span::raw(format!("{room:<10} "))]
        };
        self.readers
            .chunks(ROOMS_ACROSS)
            .map(|row| Line::from(row.iter().flat_map(cell).collect::<Vec<_>>()))
            .collect()
    }

    /// Takes the picture away, leaving what was said.
    pub fn close(&mut self) {
        if let Kind::Picture(terminal) = &mut self.kind {
            // The output may be gone; then there is nothing to tidy.
            let _ = terminal.clear();
        }
        if matches!(self.kind, Kind::Picture(_)) {
            self.kind = Kind::Lines;
        }
    }
}

fn paint(frame: &mut Frame<'_>, share: f64, title: &str, lines: Vec<Line<'static>>) {
    let [head, bar, rooms] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(1)])
            .areas(frame.area());
    frame.render_widget(Paragraph::new(title.to_owned()), head);
    frame.render_widget(Gauge::default().ratio(share).gauge_style(Style::new().fg(Color::Blue)), bar);
    frame.render_widget(Paragraph::new(lines), rooms);
}
