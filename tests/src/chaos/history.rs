//! What was done and seen at the doors: every card held to a reader, every answer, each with its true time.
//!
//! Written by `readers`, judged by `invariants`. The time is that of this process, which no suite tampers with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use reader_sim::plan::Colour;
use tokio::sync::watch;

/// What a gateway that is gone had said may be heard so much later: an MQTT client first waits to connect again.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(5);

/// What a reader showed or was told of a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A flash, when it could only be this card's.
    Flash(Colour),
    /// An MQTT acknowledgement: `recorded`, `not_recorded` or `kept`. The reader forgets the swipe then.
    Acknowledged(String),
}

impl Answer {
    /// The light that it stands for.
    #[must_use]
    pub fn colour(&self) -> Colour {
        match self {
            Self::Flash(colour) => *colour,
            Self::Acknowledged(result) => match result.as_str() {
                "recorded" => Colour::Green,
                "kept" => Colour::Amber,
                _ => Colour::Red,
            },
        }
    }
}

/// A card was held to a reader.
#[derive(Debug, Clone)]
pub struct Presentation {
    /// Which: each card is held to a reader once only.
    pub card: u32,
    /// The reader's code.
    pub reader: String,
    /// By MQTT: then the reader keeps it until it is acknowledged.
    pub mqtt: bool,
    /// When.
    pub at: Timestamp,
    /// What was seen of it, and when.
    pub answers: Vec<(Timestamp, Answer)>,
    /// Amber was in order: the gateway could not know the time, or had only just learnt it.
    pub amber: bool,
    /// Green was not: the gateway could not know the time.
    pub blind: bool,
}

/// A stretch in which a gateway did not know the time.
#[derive(Debug, Clone, Copy)]
pub struct Blind {
    /// It was started without time.
    pub from: Timestamp,
    /// From here on somebody could tell it.
    pub told: Timestamp,
    /// From here on it must know.
    pub until: Timestamp,
}

#[derive(Debug, Default)]
struct Inner {
    blind: Vec<Blind>,
    presentations: Vec<Presentation>,
    unclear: u64,
    cuts: Vec<(Timestamp, Timestamp)>,
}

/// The history of a run; clones share it.
#[derive(Debug, Clone)]
pub struct History {
    inner: Arc<Mutex<Inner>>,
    signs: watch::Sender<u64>,
}

impl Default for History {
    fn default() -> Self {
        Self { inner: Arc::default(), signs: watch::channel(0).0 }
    }
}

impl History {
    /// A card is held to a reader now; gives its place.
    #[must_use]
    pub fn present(&self, card: u32, reader: &str, mqtt: bool) -> usize {
        let mut inner = self.lock();
        let at = Timestamp::now();
        inner.presentations.push(Presentation {
            card,
            reader: reader.to_owned(),
            mqtt,
            at,
            answers: Vec::new(),
            amber: false,
            blind: false,
        });
        inner.presentations.len() - 1
    }

    /// Something was seen of a presentation.
    pub fn answer(&self, place: usize, answer: Answer) {
        if let Some(presentation) = self.lock().presentations.get_mut(place) {
            presentation.answers.push((Timestamp::now(), answer));
        }
        self.sign();
    }

    /// A flash that may be one of several cards'.
    pub fn unclear(&self) {
        self.lock().unclear += 1;
        self.sign();
    }

    /// A sign of life of a reader.
    pub fn sign(&self) {
        self.signs.send_modify(|count| *count += 1);
    }

    /// Grows with each sign of life.
    #[must_use]
    pub fn signs(&self) -> watch::Receiver<u64> {
        self.signs.subscribe()
    }

    /// What was seen from `from` until now promises nothing: the cut was under way.
    pub fn cut_since(&self, from: Timestamp) {
        self.lock().cuts.push((from, Timestamp::now()));
    }

    /// A gateway did not know the time.
    pub fn blind(&self, stretch: Blind) {
        self.lock().blind.push(stretch);
    }

    /// How many answers of a colour were seen.
    #[must_use]
    pub fn answers(&self, colour: Colour) -> usize {
        let inner = self.lock();
        inner.presentations.iter().flat_map(|it| &it.answers).filter(|(_, it)| it.colour() == colour).count()
    }

    /// All presentations so far, without the answers that promise nothing; and how many flashes were unclear.
    #[must_use]
    pub fn told(&self) -> (Vec<Presentation>, u64) {
        let inner = self.lock();
        let mut all = inner.presentations.clone();
        for presentation in &mut all {
            let made = presentation.at;
            let cut = |at: Timestamp| {
                inner.cuts.iter().any(|(from, until)| {
                    let on_its_way = made <= *until && at <= *until + ON_ITS_WAY;
                    *from <= at && (at <= *until || on_its_way)
                })
            };
            presentation.answers.retain(|(at, _)| !cut(*at));
            let (first, last) = (presentation.at, presentation.answers.last().map(|(at, _)| *at));
            let last = last.unwrap_or(first);
            presentation.amber = inner.blind.iter().any(|it| it.from <= last && first <= it.until);
            presentation.blind = inner.blind.iter().any(|it| it.from <= first && last <= it.told);
        }
        (all, inner.unclear)
    }

    /// How many cards were held to readers.
    #[must_use]
    pub fn presented(&self) -> usize {
        self.lock().presentations.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
