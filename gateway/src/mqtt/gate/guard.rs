//! Who a client says it is, and what it may send: pure, packet by packet, for MQTT 3.1.1 and 5.
//!
//! A reader is confined to `att/v1/{gateway}/reader/{its own code}/…`, and there to what readers say and hear: the broker
//! behind keeps every topic and every filter that it ever saw. rumqttc's codecs read the packets; they go on as they came.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use crate::mqtt::topic::{Channel, is_code};

/// The longest packet that a reader sends, in bytes: a swipe has some hundreds.
pub const MAX_PACKET: usize = 4_096;
/// The longest CONNECT: it comes from somebody unknown.
const MAX_CONNECT: usize = 1_024;
const CONNECT: u8 = 1;
/// DISCONNECT, of both versions.
const DISCONNECT: [u8; 2] = [0xe0, 0];
/// In MQTT 5 a client may leave and have its last will said all the same (3.14.2.1).
const LEAVE_WITH_WILL: u8 = 4;

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
    /// Neither the reader's password nor a certificate of its own.
    #[error("reader {0:?} has no password or certificate here, or another one")]
    Unknown(String),
    /// The client id is not the reader's code.
    #[error("client id {0:?} is not the reader's code")]
    ClientId(String),
    /// Somebody else's topic, or none that a reader has to do with.
    #[error("topic {0:?} is not its own, or not for this")]
    Topic(String),
    /// Exactly once, which nobody needs here and the broker pays for.
    #[error("QoS 2; readers say at least once (QoS 1)")]
    QoS2,
}

impl Refused {
    /// The answer to a CONNECT that is refused for this (MQTT 3.1.1, 3.2.2.3; MQTT 5, 3.2.2.2).
    #[must_use]
    pub fn answer(&self, version: Version) -> Vec<u8> {
        let (v4, v5) = match self {
            Self::Version(_) => (1, 0x84),
            Self::ClientId(_) => (2, 0x85),
            Self::Unknown(_) => (4, 0x86),
            Self::Topic(_) | Self::NotAllowed(_) | Self::QoS2 => (5, 0x87),
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
    /// It wants nothing of what was before.
    pub clean: bool,
    /// It is gone when it is silent for one and a half times as long, in seconds; 0 for never.
    pub keep_alive: u16,
    /// Its last will.
    pub will: Option<Will>,
}

/// What is said when a reader is gone without a goodbye. The gate says it, not the broker, which would say that of a reader's
/// next connection for the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where.
    pub topic: String,
    /// What.
    pub message: Bytes,
    /// It is kept for who comes later.
    pub retain: bool,
}

impl Hello {
    /// Takes CONNECT off the front; `None` while there is only part of it.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn take(bytes: &mut BytesMut) -> Result<Option<Self>, Refused> {
        if let Some(first) = bytes.first()
            && first >> 4 != CONNECT
        {
            return Err(Refused::NotAllowed(first >> 4));
        }
        let Some(packet) = next_packet(bytes, MAX_CONNECT)? else { return Ok(None) };
        Self::read(&packet).map(Some)
    }

    /// How long the broker waits for a word, in seconds: always longer than the gate, which says the last will where a client has
    /// fallen silent, and could not over a connection that the broker has given up by then. The broker takes no 0 for ever.
    fn brokers_keep_alive(&self) -> u16 {
        match self.keep_alive {
            0 => 1_200,
            seconds => seconds.saturating_mul(2).saturating_add(10),
        }
    }

    /// CONNECT for the broker: without the password and the last will, which are the gate's.
    ///
    /// # Errors
    /// When it cannot be written, which no CONNECT that was read meets.
    pub fn connect(&self) -> Result<Bytes, Refused> {
        let mut bytes = BytesMut::new();
        let written = match self.version {
            Version::V4 => {
                let mut connect = v4::Connect::new(self.client_id.clone());
                (connect.keep_alive, connect.clean_session) = (self.brokers_keep_alive(), self.clean);
                v4::Packet::Connect(connect).write(&mut bytes, MAX_CONNECT).map_err(|error| error.to_string())
            }
            Version::V5 => {
                let connect = v5::Connect {
                    keep_alive: self.brokers_keep_alive(),
                    client_id: self.client_id.clone(),
                    clean_start: self.clean,
                    properties: None,
                };
                v5::Packet::Connect(connect, None, None)
                    .write(&mut bytes, None)
                    .map_err(|error| error.to_string())
            }
        };
        written.map(|_| bytes.freeze()).map_err(Refused::Malformed)
    }

    /// PUBLISH of the last will, and then DISCONNECT; the latter alone where there is none.
    #[must_use]
    pub fn goodbye(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        if let Some(Will { topic, message, retain }) = &self.will {
            let written = match self.version {
                Version::V4 => {
                    let mut publish = v4::Publish::new(topic, rumqttc::QoS::AtMostOnce, message.to_vec());
                    publish.retain = *retain;
                    publish.write(&mut bytes).is_ok()
                }
                Version::V5 => {
                    let least = rumqttc::v5::mqttbytes::QoS::AtMostOnce;
                    let mut publish = v5::Publish::new(topic.clone(), least, message.clone(), None);
                    publish.retain = *retain;
                    v5::Packet::Publish(publish).write(&mut bytes, None).is_ok()
                }
            };
            if !written {
                bytes.clear();
            }
        }
        bytes.extend_from_slice(&DISCONNECT);
        bytes.freeze()
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
                        clean: connect.clean_session,
                        keep_alive: connect.keep_alive,
                        will: connect.last_will.map(|will| Will {
                            topic: will.topic,
                            message: will.message,
                            retain: will.retain,
                        }),
                    })
                }
                other => Err(malformed(said(&other))),
            },
            5 => match v5::Packet::read(&mut copy, Some(MAX_CONNECT as u32)) {
                Ok(v5::Packet::Connect(connect, will, login)) => {
                    let (user, password) =
                        login.map(|login| (login.username, login.password)).unwrap_or_default();
                    let will = will.map(|will| {
                        let topic = text(&will.topic)?;
                        Ok(Will { topic, message: will.message, retain: will.retain })
                    });
                    let (client_id, keep_alive) = (connect.client_id, connect.keep_alive);
                    let (version, clean, will) = (Version::V5, connect.clean_start, will.transpose()?);
                    Ok(Self { version, client_id, user, password, clean, keep_alive, will })
                }
                other => Err(malformed(said(&other))),
            },
            other => Err(Refused::Version(other)),
        }
    }
}

/// Whether this packet is a goodbye after which no last will is said.
#[must_use]
pub fn is_goodbye(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == 14) && packet.get(2) != Some(&LEAVE_WITH_WILL)
}

/// What one reader may do.
#[derive(Debug, Clone)]
pub struct Guard {
    version: Version,
    own: String,
}

impl Guard {
    /// Lets a client in that was found to be who it says.
    ///
    /// # Errors
    /// When its client id is not its user name, which is the reader's code, or its last will is not its own.
    pub fn admit(gateway: &str, hello: &Hello) -> Result<Self, Refused> {
        let code = &hello.user;
        if hello.client_id != *code || !is_code(code) {
            return Err(Refused::ClientId(short(&hello.client_id)));
        }
        let guard = Self { version: hello.version, own: format!("att/v1/{gateway}/reader/{code}/") };
        match &hello.will {
            Some(will) => guard.own(&will.topic, &[Channel::State]).map(|()| guard.clone()),
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
                Ok(v4::Packet::Publish(it)) => self.says(&it.topic, it.qos == rumqttc::QoS::ExactlyOnce),
                Ok(v4::Packet::Subscribe(it)) => {
                    self.topics(it.filters.iter().map(|filter| filter.path.as_str()))
                }
                Ok(v4::Packet::Unsubscribe(it)) => self.topics(it.topics.iter().map(String::as_str)),
                Ok(v4::Packet::PubAck(_) | v4::Packet::PingReq | v4::Packet::Disconnect) => Ok(()),
                Ok(_) => Err(Refused::NotAllowed(kind)),
                Err(error) => Err(Refused::Malformed(error.to_string())),
            },
            // A DISCONNECT without a reason is one that rumqttc's codec takes for cut short.
            Version::V5 if packet[..] == [0xe0, 0] => Ok(()),
            Version::V5 => match v5::Packet::read(&mut copy, Some(MAX_PACKET as u32)) {
                Ok(v5::Packet::Publish(it)) => {
                    self.says(&text(&it.topic)?, it.qos == rumqttc::v5::mqttbytes::QoS::ExactlyOnce)
                }
                Ok(v5::Packet::Subscribe(it)) => {
                    self.topics(it.filters.iter().map(|filter| filter.path.as_str()))
                }
                Ok(v5::Packet::Unsubscribe(it)) => self.topics(it.filters.iter().map(String::as_str)),
                Ok(v5::Packet::PubAck(_) | v5::Packet::PingReq(_) | v5::Packet::Disconnect(_)) => Ok(()),
                Ok(_) => Err(Refused::NotAllowed(kind)),
                Err(error) => Err(Refused::Malformed(error.to_string())),
            },
        }
    }

    /// What a reader says, at most at least once. An empty topic names another by an alias, which is not looked through.
    fn says(&self, topic: &str, exactly_once: bool) -> Result<(), Refused> {
        if exactly_once {
            return Err(Refused::QoS2);
        }
        self.own(topic, &[Channel::Birth, Channel::State, Channel::Swipe, Channel::Light])
    }

    fn topics<'a>(&self, mut topics: impl Iterator<Item = &'a str>) -> Result<(), Refused> {
        let heard = [Channel::SwipeAck, Channel::LightSet, Channel::LightFlash];
        topics.try_for_each(|topic| self.own(topic, &heard))
    }

    /// One of these below its own.
    fn own(&self, topic: &str, channels: &[Channel]) -> Result<(), Refused> {
        let tail = topic.strip_prefix(&self.own);
        if channels.iter().any(|channel| tail == Some(channel.tail())) {
            return Ok(());
        }
        Err(Refused::Topic(short(topic)))
    }
}

/// As much of what somebody says as belongs in a log.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
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
        let hello = Hello::take(&mut BytesMut::from(&packet[..]))?.unwrap();
        let onward = hello.connect().unwrap();
        assert!(!onward.windows(8).any(|piece| piece == b"a secret"), "the broker needs no password");
        let again = Hello::take(&mut BytesMut::from(&onward[..]))?.unwrap();
        assert_eq!(
            (&again.client_id, again.keep_alive, &again.will),
            (&hello.client_id, hello.brokers_keep_alive(), &None)
        );
        assert!(again.keep_alive > hello.keep_alive, "the gate gives up before the broker does");
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
        for own in ["swipe/ack", "light/flash", "light/set"] {
            assert_eq!(guard.check(&subscribed(&format!("att/v1/GW-A/reader/D2/{own}"))), Ok(()));
        }
        for other in [
            "att/v1/GW-A/reader/D3/swipe",
            "att/v1/GW-A/reader/D2/swipe/more",
            "att/v1/GW-A/reader/D2/light/set",
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
        let mut once = v4::Publish::new("att/v1/GW-A/reader/D2/swipe", QoS::ExactlyOnce, b"x".to_vec());
        once.pkid = 1;
        let mut bytes = BytesMut::new();
        once.write(&mut bytes).unwrap();
        assert_eq!(guard.check(&bytes.freeze()), Err(Refused::QoS2));
        assert_eq!(guard.check(&connect(|_| {})), Err(Refused::NotAllowed(1)));
        assert_eq!(guard.check(&Bytes::from_static(&[0xc0, 0])), Ok(()));
    }

    #[test]
    fn its_client_id_is_its_code_and_its_will_is_its_own() {
        let other = admitted(&connect(|it| it.client_id = "D3".into()));
        assert_eq!(other.unwrap_err(), Refused::ClientId("D3".into()));
        let odd = admitted(&connect(|it| {
            it.client_id = "$x".into();
            it.set_login("$x", "a secret");
        }));
        assert_eq!(odd.unwrap_err(), Refused::ClientId("$x".into()));
        let will = |topic: &str| v4::LastWill::new(topic, "lost", QoS::AtMostOnce, true);
        assert!(admitted(&connect(|it| it.last_will = Some(will("att/v1/GW-A/reader/D2/state")))).is_ok());
        let other = admitted(&connect(|it| it.last_will = Some(will("att/v1/GW-A/reader/D3/state"))));
        assert!(matches!(other, Err(Refused::Topic(_))));
    }

    #[test]
    fn what_is_no_connect_or_too_long_is_turned_away_before_it_is_whole() {
        let take =
            |bytes: &[u8]| Hello::take(&mut BytesMut::from(bytes)).map(|found| found.map(|it| it.user));
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
