//! Who a client says it is, and what it may send: pure, packet by packet, for MQTT 3.1.1 and 5.
//!
//! A reader is confined to `att/v1/{gateway}/reader/{its own code}/…`: what it publishes, what it subscribes to, and its
//! last will. rumqttc's codecs read the packets; they go on to the broker as they came.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

/// The longest packet that a reader sends, in bytes: a swipe has some hundreds.
pub const MAX_PACKET: usize = 4_096;
/// The longest CONNECT: it comes from somebody unknown.
const MAX_CONNECT: usize = 1_024;
const CONNECT: u8 = 1;

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.
    V5,
}

/// Why a client is turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not MQTT, or not as the standard has it.
    #[error("a malformed packet: {0}")]
    Malformed(String),
    /// Longer than any reader's.
    #[error("a packet of {0} bytes, more than {MAX_PACKET}")]
    TooLong(usize),
    /// Something that a reader never sends.
    #[error("a packet of type {0}, which no reader sends here")]
    NotAllowed(u8),
    /// Neither 3.1.1 nor 5.
    #[error("protocol level {0}; MQTT 3.1.1 and 5 are spoken")]
    Version(u8),
    /// No user name, no password, or the wrong one.
    #[error("user '{0}' has no password here, or another one")]
    Password(String),
    /// The client id is not the reader's code.
    #[error("client id '{0}' is not the reader's code")]
    ClientId(String),
    /// Somebody else's topic.
    #[error("topic '{0}' is not its own")]
    Topic(String),
}

impl Refused {
    /// The answer to a CONNECT that is refused for this (MQTT 3.1.1, 3.2.2.3; MQTT 5, 3.2.2.2).
    #[must_use]
    pub fn answer(&self, version: Version) -> Vec<u8> {
        let (v4, v5) = match self {
            Self::Version(_) => (1, 0x84),
            Self::ClientId(_) => (2, 0x85),
            Self::Password(_) => (4, 0x86),
            Self::Topic(_) | Self::NotAllowed(_) => (5, 0x87),
            Self::Malformed(_) | Self::TooLong(_) => (5, 0x81),
        };
        match version {
            Version::V4 => vec![0x20, 2, 0, v4],
            Version::V5 => vec![0x20, 3, 0, v5, 0],
        }
    }
}

/// Takes the next whole packet off the front; `None` while there is only part of one.
///
/// # Errors
/// When it is longer than `most`, or its length cannot be.
pub fn next_packet(bytes: &mut BytesMut, most: usize) -> Result<Option<Bytes>, Refused> {
    let mut length = 0usize;
    for place in 0..4 {
        let Some(byte) = bytes.get(1 + place) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let whole = 2 + place + length;
            if whole > most {
                return Err(Refused::TooLong(whole));
            }
            return Ok((bytes.len() >= whole).then(|| bytes.split_to(whole).freeze()));
        }
    }
    Err(Refused::Malformed("its length has more than four bytes".into()))
}

/// What a client says of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Hello {
    /// The version it speaks.
    pub version: Version,
    /// Its client id.
    pub client_id: String,
    /// Its user name.
    pub user: String,
    /// Its password, which is a secret.
    pub password: String,
    /// It is gone when it is silent for one and a half times as long, in seconds; 0 for never.
    pub keep_alive: u16,
    /// Where its last will goes.
    pub will: Option<String>,
}

impl Hello {
    /// Takes CONNECT off the front; `None` while there is only part of it.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn take(bytes: &mut BytesMut) -> Result<Option<(Self, Bytes)>, Refused> {
        if let Some(first) = bytes.first()
            && first >> 4 != CONNECT
        {
            return Err(Refused::NotAllowed(first >> 4));
        }
        let Some(packet) = next_packet(bytes, MAX_CONNECT)? else { return Ok(None) };
        Ok(Some((Self::read(&packet)?, packet)))
    }

    fn read(packet: &Bytes) -> Result<Self, Refused> {
        let header = 1 + packet.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 1;
        let malformed = |what: String| Refused::Malformed(what);
        let Some(&[0, 4, b'M', b'Q', b'T', b'T', level]) = packet.get(header..header + 7) else {
            return Err(malformed("it does not name MQTT".into()));
        };
        let mut copy = BytesMut::from(&packet[..]);
        match level {
            4 => match v4::Packet::read(&mut copy, MAX_CONNECT) {
                Ok(v4::Packet::Connect(connect)) => {
                    let (user, password) =
                        connect.login.map(|login| (login.username, login.password)).unwrap_or_default();
                    Ok(Self {
                        version: Version::V4,
                        client_id: connect.client_id,
                        user,
                        password,
                        keep_alive: connect.keep_alive,
                        will: connect.last_will.map(|will| will.topic),
                    })
                }
                other => Err(malformed(said(&other))),
            },
            5 => match v5::Packet::read(&mut copy, Some(MAX_CONNECT as u32)) {
                Ok(v5::Packet::Connect(connect, will, login)) => {
                    let (user, password) =
                        login.map(|login| (login.username, login.password)).unwrap_or_default();
                    let will = will.map(|will| text(&will.topic)).transpose()?;
                    let (client_id, keep_alive) = (connect.client_id, connect.keep_alive);
                    Ok(Self { version: Version::V5, client_id, user, password, keep_alive, will })
                }
                other => Err(malformed(said(&other))),
            },
            other => Err(Refused::Version(other)),
        }
    }
}

/// What one reader may do.
#[derive(Debug, Clone)]
pub struct Guard {
    version: Version,
    own: String,
}

impl Guard {
    /// Lets a client in whose password was found to be right.
    ///
    /// # Errors
    /// When its client id is not its user name, which is the reader's code, or its last will is not its own.
    pub fn admit(gateway: &str, hello: &Hello) -> Result<Self, Refused> {
        let code = &hello.user;
        if hello.client_id != *code {
            return Err(Refused::ClientId(hello.client_id.clone()));
        }
        let guard = Self { version: hello.version, own: format!("att/v1/{gateway}/reader/{code}/") };
        match &hello.will {
            Some(topic) => guard.topic(topic).map(|()| guard.clone()),
            None => Ok(guard),
        }
    }

    /// Whether the reader may send this packet.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(&self, packet: &Bytes) -> Result<(), Refused> {
        let kind = packet.first().map_or(0, |first| first >> 4);
        let mut copy = BytesMut::from(&packet[..]);
        match self.version {
            Version::V4 => match v4::Packet::read(&mut copy, MAX_PACKET) {
                Ok(v4::Packet::Publish(it)) => self.topic(&it.topic),
                Ok(v4::Packet::Subscribe(it)) => {
                    self.topics(it.filters.iter().map(|filter| filter.path.as_str()))
                }
                Ok(v4::Packet::Unsubscribe(it)) => self.topics(it.topics.iter().map(String::as_str)),
                Ok(
                    v4::Packet::PubAck(_)
                    | v4::Packet::PubRec(_)
                    | v4::Packet::PubRel(_)
                    | v4::Packet::PubComp(_)
                    | v4::Packet::PingReq
                    | v4::Packet::Disconnect,
                ) => Ok(()),
                Ok(_) => Err(Refused::NotAllowed(kind)),
                Err(error) => Err(Refused::Malformed(error.to_string())),
            },
            // A DISCONNECT without a reason is one that rumqttc's codec takes for cut short.
            Version::V5 if packet[..] == [0xe0, 0] => Ok(()),
            Version::V5 => match v5::Packet::read(&mut copy, Some(MAX_PACKET as u32)) {
                Ok(v5::Packet::Publish(it)) => self.topic(&text(&it.topic)?),
                Ok(v5::Packet::Subscribe(it)) => {
                    self.topics(it.filters.iter().map(|filter| filter.path.as_str()))
                }
                Ok(v5::Packet::Unsubscribe(it)) => self.topics(it.filters.iter().map(String::as_str)),
                Ok(
                    v5::Packet::PubAck(_)
                    | v5::Packet::PubRec(_)
                    | v5::Packet::PubRel(_)
                    | v5::Packet::PubComp(_)
                    | v5::Packet::PingReq(_)
                    | v5::Packet::Disconnect(_),
                ) => Ok(()),
                Ok(_) => Err(Refused::NotAllowed(kind)),
                Err(error) => Err(Refused::Malformed(error.to_string())),
            },
        }
    }

    /// One below its own; what is empty names another by an alias, which is not looked through.
    fn topic(&self, topic: &str) -> Result<(), Refused> {
        if topic.starts_with(&self.own) { Ok(()) } else { Err(Refused::Topic(topic.to_owned())) }
    }

    fn topics<'a>(&self, mut topics: impl Iterator<Item = &'a str>) -> Result<(), Refused> {
        topics.try_for_each(|topic| self.topic(topic))
    }
}

fn text(bytes: &Bytes) -> Result<String, Refused> {
    let text = std::str::from_utf8(bytes).map_err(|_| Refused::Malformed("a topic is not UTF-8".into()))?;
    Ok(text.to_owned())
}

/// What was read instead; a packet's own words may hold a password.
fn said<P, E: std::fmt::Display>(found: &Result<P, E>) -> String {
    match found {
        Ok(_) => "it is no CONNECT".into(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rumqttc::QoS;

    fn connect(change: impl FnOnce(&mut v4::Connect)) -> Bytes {
        let mut connect = v4::Connect::new("D2");
        connect.set_login("D2", "a secret");
        change(&mut connect);
        let mut bytes = BytesMut::new();
        v4::Packet::Connect(connect).write(&mut bytes, MAX_PACKET).unwrap();
        bytes.freeze()
    }

    fn admitted(packet: &Bytes) -> Result<Guard, Refused> {
        let (hello, whole) = Hello::take(&mut BytesMut::from(&packet[..]))?.unwrap();
        assert_eq!(whole, packet);
        Guard::admit("GW-A", &hello)
    }

    fn published(topic: &str) -> Bytes {
        let mut bytes = BytesMut::new();
        v4::Publish::new(topic, QoS::AtMostOnce, b"x".to_vec()).write(&mut bytes).unwrap();
        bytes.freeze()
    }

    fn subscribed(filter: &str) -> Bytes {
        let mut bytes = BytesMut::new();
        v4::Subscribe::new(filter, QoS::AtMostOnce).write(&mut bytes).unwrap();
        bytes.freeze()
    }

    #[test]
    fn a_reader_is_confined_to_its_own_topics() {
        let guard = admitted(&connect(|_| {})).unwrap();
        for own in ["att/v1/GW-A/reader/D2/swipe", "att/v1/GW-A/reader/D2/light"] {
            assert_eq!(guard.check(&published(own)), Ok(()));
        }
        for own in
            ["att/v1/GW-A/reader/D2/#", "att/v1/GW-A/reader/D2/+/set", "att/v1/GW-A/reader/D2/light/set"]
        {
            assert_eq!(guard.check(&subscribed(own)), Ok(()));
        }
        for other in [
            "att/v1/GW-A/reader/D3/swipe",
            "att/v1/GW-A/reader/D2",
            "att/v1/GW-A/reader/D22/swipe",
            "att/v1/GW-B/reader/D2/swipe",
            "$SYS/x",
        ] {
            assert!(matches!(guard.check(&published(other)), Err(Refused::Topic(_))), "{other}");
        }
        for other in [
            "#",
            "att/#",
            "att/v1/GW-A/reader/+/swipe",
            "att/v1/GW-A/reader/#",
            "$share/x/att/v1/GW-A/reader/D2/#",
        ] {
            assert!(matches!(guard.check(&subscribed(other)), Err(Refused::Topic(_))), "{other}");
        }
        assert_eq!(guard.check(&connect(|_| {})), Err(Refused::NotAllowed(1)));
        assert_eq!(guard.check(&Bytes::from_static(&[0xc0, 0])), Ok(()));
    }

    #[test]
    fn its_client_id_is_its_code_and_its_will_is_its_own() {
        let other = admitted(&connect(|it| it.client_id = "D3".into()));
        assert_eq!(other.unwrap_err(), Refused::ClientId("D3".into()));
        let will = |topic: &str| v4::LastWill::new(topic, "lost", QoS::AtMostOnce, true);
        assert!(admitted(&connect(|it| it.last_will = Some(will("att/v1/GW-A/reader/D2/state")))).is_ok());
        let other = admitted(&connect(|it| it.last_will = Some(will("att/v1/GW-A/reader/D3/state"))));
        assert!(matches!(other, Err(Refused::Topic(_))));
    }

    #[test]
    fn what_is_no_connect_or_too_long_is_turned_away_before_it_is_whole() {
        let take =
            |bytes: &[u8]| Hello::take(&mut BytesMut::from(bytes)).map(|found| found.map(|(it, _)| it.user));
        assert_eq!(take(b"GET / HTTP/1.1"), Err(Refused::NotAllowed(4)));
        assert_eq!(take(&[0x10]), Ok(None));
        assert_eq!(take(&[0x10, 0xff, 0x7f]), Err(Refused::TooLong(3 + 0x3fff)));
        assert!(matches!(take(&[0x10, 0xff, 0xff, 0xff, 0xff]), Err(Refused::Malformed(_))));
        let mut old = connect(|_| {}).to_vec();
        old[8] = 3;
        assert_eq!(take(&old), Err(Refused::Version(3)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_let_a_foreign_topic_through(
            first in 0u8..=0xff, body in prop::collection::vec(any::<u8>(), 0..120), five: bool,
        ) {
            let version = if five { Version::V5 } else { Version::V4 };
            let guard = Guard { version, own: "att/v1/GW-A/reader/D2/".into() };
            let mut packet = vec![first, body.len() as u8];
            packet.extend(&body);
            let _ = guard.check(&Bytes::from(packet.clone()));
            packet[0] = 0x10;
            let _ = Hello::take(&mut BytesMut::from(&packet[..]));
            // A CONNECT whose head is right and whose rest is anything.
            let mut connect = vec![0x10, 7 + body.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', if five { 5 } else { 4 }];
            connect.extend(&body);
            let _ = Hello::take(&mut BytesMut::from(&connect[..]));
        }
    }
}
