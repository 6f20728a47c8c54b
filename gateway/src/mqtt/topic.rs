//! Topics, spelt once: `att/v1/{gateway}/reader/{reader}/…`.
//!
//! ```
//! use rollcall_gateway::mqtt::topic::{Channel, parse, topic};
//! let text = topic("GW-A", "R-101", Channel::SwipeAck);
//! assert_eq!(text, "att/v1/GW-A/reader/R-101/swipe/ack");
//! assert_eq!(parse("GW-A", &text), Some(("R-101", Channel::SwipeAck)));
//! ```

/// What is said on a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Reader, retained: what it is.
    Birth,
    /// Reader, retained, last will: `ready` or `lost`.
    State,
    /// Reader: a card was held to it.
    Swipe,
    /// Gateway: the swipe is durable.
    SwipeAck,
    /// Gateway, retained: the light at rest.
    LightSet,
    /// Gateway: flash.
    LightFlash,
    /// Reader, retained: what it really shows.
    Light,
}

impl Channel {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Birth, "birth"),
        (Self::State, "state"),
        (Self::Swipe, "swipe"),
        (Self::SwipeAck, "swipe/ack"),
        (Self::LightSet, "light/set"),
        (Self::LightFlash, "light/flash"),
        (Self::Light, "light"),
    ];

    pub(crate) fn tail(self) -> &'static str {
        Self::ALL.iter().find(|(channel, _)| *channel == self).map_or("", |(_, tail)| tail)
    }
}

/// Whether this can be the code of a reader or a gateway: one level of a topic, a client id, a word in a file.
#[must_use]
pub fn is_code(code: &str) -> bool {
    let odd = |letter: char| letter.is_whitespace() || letter.is_control() || "+#/$".contains(letter);
    !code.is_empty() && code.len() <= 64 && !code.contains(odd)
}

/// The topic of a reader's channel.
#[must_use]
pub fn topic(gateway: &str, reader: &str, channel: Channel) -> String {
    format!("att/v1/{gateway}/reader/{reader}/{}", channel.tail())
}

/// What all readers of a gateway say: `birth`, `state`, `swipe` and `light`. One filter, so that the broker keeps the
/// order in which a reader said it.
#[must_use]
pub fn said_by_readers(gateway: &str) -> String {
    format!("att/v1/{gateway}/reader/+/+")
}

/// The reader and channel of a topic, `None` when it is not one of this gateway's.
#[must_use]
pub fn parse<'a>(gateway: &str, topic: &'a str) -> Option<(&'a str, Channel)> {
    let rest = topic.strip_prefix("att/v1/")?.strip_prefix(gateway)?.strip_prefix("/reader/")?;
    let (reader, tail) = rest.split_once('/')?;
    let channel = Channel::ALL.iter().find(|(_, text)| *text == tail)?.0;
    is_code(reader).then_some((reader, channel))
}
