//! The reader drawn in a terminal: its light in colour, what happened, and keys for cards and faults.
//!
//! Used by the `reader` subcommand. [`Screen`] is what is shown and what keys mean, without a terminal; `run` brings
//! the terminal. Never knows why a light is what it is.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::{Block, Paragraph};
use tokio::sync::mpsc;

use super::line::Line;
use super::{Device, describe, name, obey};
use crate::device::fault::Fault;
use crate::device::{DeviceEvent, Shown};
use crate::plan::Colour;

/// The cards that are there unless others were named: a 7-byte UID, a 26-bit card, and a phone's random UID.
const WALLET: [&str; 3] = ["uid 04A2B3C4D5E680", "h10301 42 12345", "uid 08112233"];
/// How long a flash lasts, and how long it is on, then off (SIA OSDP 2.2, section 6.10, as the gateway asks for it).
const FLASH: Duration = Duration::from_millis(1_200);
const BLINK: Duration = Duration::from_millis(200);
/// How often the picture is drawn while nothing happens.
const DRAW_EVERY: Duration = Duration::from_millis(100);
const LOG_LINES: usize = 200;

/// What is shown.
pub(super) struct Screen {
    about: String,
    wallet: Vec<(String, Line)>,
    online: bool,
    base: Colour,
    flash: Option<(Colour, Instant)>,
    buzzed: Option<Instant>,
    /// What is wrong now, by its line's first word.
    wrong: BTreeSet<&'static str>,
    /// A line that is being typed.
    typed: Option<String>,
    log: VecDeque<String>,
}

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing, or something of the screen alone.
    Nothing,
    /// That this is done.
    Line(Line),
    /// The end.
    Quit,
}

impl Screen {
    /// A screen for a reader, with a wallet of cards as lines of standard input have them.
    ///
    /// # Errors
    /// When a card is none.
    pub(super) fn new(about: &str, cards: &[String]) -> anyhow::Result<Self> {
        let cards: Vec<String> =
            if cards.is_empty() { WALLET.map(str::to_owned).into() } else { cards.to_vec() };
        anyhow::ensure!(cards.len() <= 9, "--card: nine cards at the most, one for each key");
        let mut wallet = Vec::new();
        for card in cards {
            match card.parse() {
                Ok(line @ Line::Card(_)) => wallet.push((card, line)),
                Ok(_) => anyhow::bail!("--card '{card}': is no card; say for instance 'uid 04A2B3C4D5E680'"),
                Err(error) => anyhow::bail!("--card '{card}': {error}"),
            }
        }
        Ok(Self {
            about: about.to_owned(),
            wallet,
            online: false,
            base: Colour::Off,
            flash: None,
            buzzed: None,
            wrong: BTreeSet::new(),
            typed: None,
            log: VecDeque::new(),
        })
    }

    fn note(&mut self, text: String) {
        self.log.push_front(text);
        self.log.truncate(LOG_LINES);
    }

    /// Something happened at the reader.
    pub(super) fn happened(&mut self, event: &DeviceEvent, now: Instant) {
        match event {
            DeviceEvent::Online { .. } => self.online = true,
            DeviceEvent::Light { shown: Shown::Base(colour), .. } => self.base = *colour,
            DeviceEvent::Light { shown: Shown::Flash(colour), .. } => self.flash = Some((*colour, now)),
            DeviceEvent::Buzzer { .. } => self.buzzed = Some(now),
            DeviceEvent::Keyed { .. } | DeviceEvent::Acknowledged { .. } => {}
        }
        self.note(describe(event));
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, code: KeyCode, modifiers: KeyModifiers) -> Asked {
        if code == KeyCode::Char('c') && modifiers.contains(KeyModifiers::CONTROL) {
            return Asked::Quit;
        }
        if let Some(typed) = &mut self.typed {
            match code {
                KeyCode::Char(letter) => typed.push(letter),
                KeyCode::Backspace => drop(typed.pop()),
                KeyCode::Esc => self.typed = None,
                KeyCode::Enter => {
                    let line = std::mem::take(typed);
                    self.typed = None;
                    return match line.parse() {
                        Ok(Line::Quit) => Asked::Quit,
                        Ok(asked) => self.asks(&line, asked),
                        Err(error) => {
                            self.note(format!("error: {error}"));
                            Asked::Nothing
                        }
                    };
                }
                _ => {}
            }
            return Asked::Nothing;
        }
        match code {
            KeyCode::Char('q') | KeyCode::Esc => Asked::Quit,
            KeyCode::Char('c' | ':') => {
                self.typed = Some(String::new());
                Asked::Nothing
            }
            KeyCode::Char(digit @ '1'..='9') => {
                let index = digit as usize - '1' as usize;
                match self.wallet.get(index).cloned() {
                    Some((card, line)) => self.asks(&card, line),
                    None => Asked::Nothing,
                }
            }
            KeyCode::Char('u') => self.switch("unplugged", Line::Unplug),
            KeyCode::Char('t') => self.switch("opened", Line::Tamper),
            KeyCode::Char('n') => self.switch("noise", |on| Line::Fault(Fault::Noise, on)),
            KeyCode::Char('l') => self.switch("loss", |on| Line::Fault(Fault::Loss, on)),
            KeyCode::Char('b') => self.switch("busy", |on| Line::Fault(Fault::Busy, on)),
            KeyCode::Char('s') => self.switch("slow", |on| Line::Fault(Fault::Slow, on)),
            KeyCode::Char('d') => self.switch("duplicate", |on| Line::Fault(Fault::Duplicate, on)),
            KeyCode::Char('k') => {
                self.wrong.insert("another key");
                self.asks("rekey", Line::Rekey)
            }
            _ => Asked::Nothing,
        }
    }

    fn switch(&mut self, what: &'static str, line: impl FnOnce(bool) -> Line) -> Asked {
        let on = !self.wrong.remove(what);
        if on {
            self.wrong.insert(what);
        }
        if what == "unplugged" {
            (self.online, self.base, self.flash) = (false, Colour::Off, None);
        }
        self.asks(&format!("{what} {}", if on { "on" } else { "off" }), line(on))
    }

    fn asks(&mut self, text: &str, line: Line) -> Asked {
        self.note(format!("> {text}"));
        Asked::Line(line)
    }

    /// What the light shows now.
    fn light(&self, now: Instant) -> Colour {
        match self.flash {
            Some((colour, since)) if now.duration_since(since) < FLASH => {
                let phase = now.duration_since(since).as_millis() / BLINK.as_millis();
                if phase.is_multiple_of(2) { colour } else { Colour::Off }
            }
            _ => self.base,
        }
    }

    /// Draws it.
    pub(super) fn draw(&self, frame: &mut Frame<'_>, now: Instant) {
        let [top, light, keys, typed, log] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(7),
            Constraint::Length(u16::try_from(self.wallet.len()).unwrap_or(9) + 2),
            Constraint::Length(1),
            Constraint::Min(3),
        ])
        .areas(frame.area());
        let link = if self.online { "online" } else { "offline" };
        let wrong: Vec<&str> = self.wrong.iter().copied().collect();
        let mut about = vec![Span::raw(format!("{}  {link}  ", self.about))];
        about.push(Span::styled(wrong.join(", "), Style::new().fg(Color::Red)));
        frame.render_widget(Paragraph::new(Text::from(about)), top);
        let shown = self.light(now);
        let (paint, text) = (paint(shown), name(shown));
        let buzzer = self.buzzed.is_some_and(|at| now.duration_since(at) < FLASH);
        let label = format!("\n\n{text}{}", if buzzer { "  ♪" } else { "" });
        let style = Style::new().bg(paint).fg(Color::Black).add_modifier(Modifier::BOLD);
        let lamp = Paragraph::new(label).alignment(Alignment::Center).style(style).block(Block::bordered());
        frame.render_widget(lamp, light);
        let mut lines: Vec<Text<'_>> =
            (1..).zip(&self.wallet).map(|(key, (card, _))| Text::raw(format!(" {key}  {card}"))).collect();
        lines.push(Text::raw(" c  type a card or a command      q  quit"));
        lines.push(Text::raw(" u unplug  t open  n noise  l loss  b busy  s slow  k another key   (OSDP)"));
        frame.render_widget(Paragraph::new(lines), keys);
        let prompt = self.typed.as_ref().map_or(String::new(), |typed| format!("> {typed}▏"));
        frame.render_widget(Paragraph::new(prompt), typed);
        let lines: Vec<Text<'_>> = self.log.iter().map(|line| Text::raw(line.as_str())).collect();
        frame.render_widget(
            Paragraph::new(lines).block(Block::bordered().title("what happened, newest first")),
            log,
        );
    }

    /// Draws the reader and takes keys until it is to end.
    ///
    /// # Errors
    /// When the terminal cannot be used, or the reader has stopped.
    pub(super) async fn run(
        mut self,
        device: &Device,
        code: &str,
        happened: &mut mpsc::UnboundedReceiver<DeviceEvent>,
    ) -> anyhow::Result<()> {
        let mut keys = keys()?;
        let mut terminal = ratatui::try_init().context("the terminal cannot be used; say --plain")?;
        let ended = async {
            let mut drawing = tokio::time::interval(DRAW_EVERY);
            loop {
                terminal.draw(|frame| self.draw(frame, Instant::now())).context("cannot draw")?;
                tokio::select! {
                    _ = drawing.tick() => {}
                    event = happened.recv() => {
                        let event = event.context("the reader has stopped")?;
                        self.happened(&event, Instant::now());
                    }
                    key = keys.recv() => {
                        let Some((key, modifiers)) = key else { return Ok(()) };
                        match self.key(key, modifiers) {
                            Asked::Nothing => {}
                            Asked::Quit => return Ok(()),
                            Asked::Line(line) => if let Err(error) = obey(device, code, &line) {
                                self.note(format!("error: {error:#}"));
                            }
                        }
                    }
                }
            }
        };
        let ended = ended.await;
        ratatui::restore();
        ended
    }
}

fn paint(colour: Colour) -> Color {
    match colour {
        Colour::Off => Color::DarkGray,
        Colour::Blue => Color::LightBlue,
        Colour::Green => Color::LightGreen,
        Colour::Red => Color::LightRed,
        Colour::Amber => Color::Yellow,
    }
}

/// Keys, read by a thread of its own, which ends with the program.
fn keys() -> anyhow::Result<mpsc::Receiver<(KeyCode, KeyModifiers)>> {
    let (pressed, inbox) = mpsc::channel(16);
    let read = move || {
        while let Ok(event) = event::read() {
            if let Event::Key(key) = event
                && key.kind == KeyEventKind::Press
                && pressed.blocking_send((key.code, key.modifiers)).is_err()
            {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("keys".into())
        .spawn(read)
        .context("cannot start the thread that reads keys")?;
    Ok(inbox)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn press(screen: &mut Screen, key: char) -> Asked {
        screen.key(KeyCode::Char(key), KeyModifiers::NONE)
    }

    fn seen(screen: &Screen, now: Instant) -> (String, Color) {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| screen.draw(frame, now)).unwrap();
        let buffer = terminal.backend().buffer();
        let text =
            buffer.content().chunks(80).map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
        (text.collect::<Vec<_>>().join("\n"), buffer[(40, 4)].bg)
    }

    #[test]
    fn the_light_is_drawn_and_flashes_and_falls_back() {
        let mut screen = Screen::new("R1", &[]).unwrap();
        let begun = Instant::now();
        let light = |shown| DeviceEvent::Light { reader: "R1".into(), shown, answers: None };
        let (text, paint) = seen(&screen, begun);
        assert!(text.contains("R1  offline") && text.contains("off") && paint == Color::DarkGray, "{text}");
        screen.happened(&DeviceEvent::Online { reader: "R1".into() }, begun);
        screen.happened(&light(Shown::Base(Colour::Blue)), begun);
        let (text, paint) = seen(&screen, begun);
        assert!(
            text.contains("R1  online") && text.contains("light blue") && paint == Color::LightBlue,
            "{text}"
        );
        screen.happened(&light(Shown::Flash(Colour::Green)), begun);
        let after = |ms| seen(&screen, begun + Duration::from_millis(ms)).1;
        assert_eq!(
            [after(100), after(300), after(500)],
            [Color::LightGreen, Color::DarkGray, Color::LightGreen]
        );
        assert_eq!(after(1_300), Color::LightBlue);
    }

    #[test]
    fn keys_hold_cards_and_switch_faults() {
        let mut screen = Screen::new("R1", &["h10301 42 12345".to_owned()]).unwrap();
        let card = "h10301 42 12345".parse().unwrap();
        assert_eq!(press(&mut screen, '1'), Asked::Line(card));
        assert_eq!(press(&mut screen, '2'), Asked::Nothing);
        assert_eq!(press(&mut screen, 'n'), Asked::Line(Line::Fault(Fault::Noise, true)));
        assert!(seen(&screen, Instant::now()).0.contains("offline  noise"));
        assert_eq!(press(&mut screen, 'n'), Asked::Line(Line::Fault(Fault::Noise, false)));
        assert_eq!(press(&mut screen, 'u'), Asked::Line(Line::Unplug(true)));
        assert_eq!(press(&mut screen, 'u'), Asked::Line(Line::Unplug(false)));
        assert_eq!(press(&mut screen, 'c'), Asked::Nothing);
        for letter in "uid 0102030Q".chars() {
            assert_eq!(press(&mut screen, letter), Asked::Nothing);
        }
        assert_eq!(
            screen.key(KeyCode::Enter, KeyModifiers::NONE),
            Asked::Nothing,
            "a mistake is told, not taken"
        );
        assert!(seen(&screen, Instant::now()).0.contains("error: `0102030Q`"));
        assert_eq!(press(&mut screen, 'q'), Asked::Quit);
        assert_eq!(screen.key(KeyCode::Char('c'), KeyModifiers::CONTROL), Asked::Quit);
        assert!(Screen::new("R1", &["quit".to_owned()]).is_err());
    }
}
