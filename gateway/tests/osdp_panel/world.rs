//! A serial line in virtual time with small hand-written devices, which know nothing of the panel's codec.

use std::collections::VecDeque;

use rollcall_gateway::osdp::panel::{Event, Micros, Panel};

pub(crate) const MS: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000 * MS;
pub(crate) const POLL: u8 = 0x60;
pub(crate) const ID: u8 = 0x61;
pub(crate) const LED: u8 = 0x69;
pub(crate) const BUZ: u8 = 0x6a;

/// A device: who it is, what it will say, what it was told.
pub(crate) struct Pd {
    pub(crate) address: u8,
    pub(crate) dead: bool,
    pub(crate) checksum_only: bool,
    pub(crate) tampered: bool,
    /// How often it says BUSY before it does what it is told, online.
    pub(crate) busy: u32,
    /// Says NAK 1 to that many commands, as if they had come in damaged.
    pub(crate) deaf: u32,
    pub(crate) takes: Micros,
    pub(crate) news: VecDeque<(u8, Vec<u8>)>,
    /// Commands other than POLL that it carried out: when, code, data.
    pub(crate) done: Vec<(Micros, u8, Vec<u8>)>,
    last: Option<(u8, Vec<u8>)>,
}

impl Pd {
    pub(crate) fn new(address: u8) -> Self {
        Self {
            address,
            dead: false,
            checksum_only: false,
            tampered: false,
            busy: 0,
            deaf: 0,
            takes: 3 * MS,
            news: VecDeque::new(),
            done: Vec::new(),
            last: None,
        }
    }

    /// Power off and on again: it has forgotten the session.
    pub(crate) fn restart(&mut self) {
        self.last = None;
        self.news.push_back((0x48, vec![u8::from(self.tampered), 1]));
    }

    pub(crate) fn card(&mut self, number: u8) {
        self.news.push_back((0x50, vec![0, 0, 32, 0, 1, 2, 3, number]));
    }

    fn hear(&mut self, now: Micros, wire: &[u8]) -> Option<Vec<u8>> {
        if self.dead || wire.len() < 7 || wire[0] != 0x53 || wire[1] != self.address {
            return None;
        }
        let crc = wire[4] & 4 != 0;
        if wire.len() != usize::from(wire[2]) || (crc && self.checksum_only) || !whole(wire) {
            return None;
        }
        let (sequence, code) = (wire[4] & 3, wire[5]);
        let data = &wire[6..wire.len() - if crc { 2 } else { 1 }];
        let say =
            |sequence: u8, code: u8, data: &[u8]| framed(self.address | 0x80, sequence, crc, code, data);
        if self.deaf > 0 && sequence > 0 {
            self.deaf -= 1;
            return Some(say(sequence, 0x41, &[1]));
        }
        match &self.last {
            _ if sequence == 0 => {}
            Some((last, reply)) if *last == sequence => return Some(reply.clone()),
            Some((last, _)) if last % 3 + 1 == sequence => {}
            _ => return Some(say(sequence, 0x41, &[4])),
        }
        if self.busy > 0 && code >= LED {
            self.busy -= 1;
            return Some(say(0, 0x79, &[]));
        }
        let reply = match code {
            POLL => {
                let (code, data) = self.news.pop_front().unwrap_or((0x40, Vec::new()));
                say(sequence, code, &data)
            }
            ID => say(sequence, 0x45, &[1, 2, 3, 4, 5, self.address, 0, 0, 0, 1, 0, 0]),
            0x62 => say(sequence, 0x46, &[4, 1, 1, 5, 1, 1, 8, 1, 0]),
            0x64 => say(sequence, 0x48, &[u8::from(self.tampered), 0]),
            _ => say(sequence, 0x40, &[]),
        };
        if code != POLL {
            self.done.push((now, code, data.to_vec()));
        }
        self.last = Some((sequence, reply.clone()));
        Some(reply)
    }

    /// Codes and the first colours of what it showed.
    pub(crate) fn shown(&self) -> Vec<(u8, u8)> {
        let shown = self.done.iter().filter(|(_, code, _)| *code >= LED);
        shown
            .map(|(_, code, data)| (*code, if *code == LED { data[5].max(data[12]) } else { data[4] }))
            .collect()
    }
}

/// The remainder of the bytes as one long number, bit by bit.
fn remainder(bytes: &[u8]) -> [u8; 2] {
    let mut register = 0x1d0f_u32;
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |shift| u32::from(byte >> shift & 1))) {
        let out = register >> 15 & 1;
        register = register << 1 & 0xffff;
        if out != bit {
            register ^= 0x1021;
        }
    }
    [(register & 0xff) as u8, (register >> 8) as u8]
}

fn whole(wire: &[u8]) -> bool {
    if wire[4] & 4 != 0 {
        remainder(&wire[..wire.len() - 2]) == wire[wire.len() - 2..]
    } else {
        wire.iter().map(|byte| u32::from(*byte)).sum::<u32>() % 256 == 0
    }
}

/// A frame, written out by hand.
pub(crate) fn framed(address: u8, sequence: u8, crc: bool, code: u8, data: &[u8]) -> Vec<u8> {
    let length = 6 + data.len() + if crc { 2 } else { 1 };
    let mut wire = vec![0x53, address, length as u8, 0, sequence | if crc { 4 } else { 0 }, code];
    wire.extend_from_slice(data);
    if crc {
        wire.extend(remainder(&wire));
    } else {
        let sum: u32 = wire.iter().map(|byte| u32::from(*byte)).sum();
        wire.push(((256 - sum % 256) % 256) as u8);
    }
    wire
}

/// What becomes of a frame on its way: pieces and when they arrive after the frame would have.
type Fate = Box<dyn FnMut(Vec<u8>, bool) -> Vec<(Micros, Vec<u8>)>>;

/// The panel, its devices and the line between them.
pub(crate) struct World {
    pub(crate) panel: Panel,
    pub(crate) pds: Vec<Pd>,
    pub(crate) now: Micros,
    baud: u64,
    coming: Vec<(Micros, Vec<u8>)>,
    /// When each command went out, and its bytes.
    pub(crate) sent: Vec<(Micros, Vec<u8>)>,
    pub(crate) events: Vec<(Micros, u8, Event)>,
    /// Called with each frame and whether it is a reply.
    pub(crate) fate: Fate,
}

impl World {
    pub(crate) fn new(addresses: &[u8], baud: u32) -> Self {
        Self {
            panel: Panel::new(addresses, baud, 0),
            pds: addresses.iter().map(|address| Pd::new(*address)).collect(),
            now: 0,
            baud: baud.into(),
            coming: Vec::new(),
            sent: Vec::new(),
            events: Vec::new(),
            fate: Box::new(|frame, _| vec![(0, frame)]),
        }
    }

    fn wire(&self, bytes: &[u8]) -> Micros {
        bytes.len() as u64 * 10 * SECOND / self.baud
    }

    pub(crate) fn run(&mut self, time: Micros) {
        let end = self.now + time;
        let mut standing = 0;
        loop {
            self.settle();
            self.coming.sort_by_key(|(at, _)| *at);
            let arrival = self.coming.first().map_or(Micros::MAX, |(at, _)| *at);
            let next = arrival.min(self.panel.poll_timeout().unwrap_or(Micros::MAX));
            if next > end {
                break;
            }
            standing = if next > self.now { 0 } else { standing + 1 };
            assert!(standing < 1_000, "the panel spins at {} us", self.now);
            self.now = self.now.max(next);
            if arrival <= self.now {
                let (_, bytes) = self.coming.remove(0);
                self.panel.handle_bytes(&bytes, self.now);
            } else {
                self.panel.handle_time(self.now);
            }
        }
        self.now = end;
    }

    fn settle(&mut self) {
        while let Some(bytes) = self.panel.poll_output() {
            self.sent.push((self.now, bytes.clone()));
            let heard = self.now + self.wire(&bytes);
            for (late, bytes) in (self.fate)(bytes, false) {
                for index in 0..self.pds.len() {
                    if let Some(reply) = self.pds[index].hear(heard + late, &bytes) {
                        let at = heard + late + self.pds[index].takes + self.wire(&reply);
                        let pieces = (self.fate)(reply, true);
                        self.coming.extend(pieces.into_iter().map(|(later, bytes)| (at + later, bytes)));
                    }
                }
            }
        }
        while let Some((address, event)) = self.panel.poll_event() {
            self.events.push((self.now, address, event));
        }
    }

    /// Runs until all live devices are online, then forgets what led there.
    pub(crate) fn online(&mut self) {
        self.run(3 * SECOND);
        let live = self.pds.iter().filter(|pd| !pd.dead).count();
        let online = self.events.iter().filter(|(.., event)| matches!(event, Event::Online(_))).count();
        assert_eq!(online, live, "{:?}", self.events);
        self.sent.clear();
        self.events.clear();
        self.pds.iter_mut().for_each(|pd| pd.done.clear());
    }

    /// The last bytes of the cards that came out.
    pub(crate) fn cards(&self) -> Vec<u8> {
        let card = |(.., event): &(Micros, u8, Event)| match event {
            Event::Card(Ok(card)) => card.raw().last().copied(),
            _ => None,
        };
        self.events.iter().filter_map(card).collect()
    }

    /// Events without their times.
    pub(crate) fn told(&self) -> Vec<Event> {
        self.events.iter().map(|(.., event)| event.clone()).collect()
    }

    /// Sequence numbers and codes of what went out.
    pub(crate) fn sequence(&self) -> Vec<(u8, u8)> {
        self.sent.iter().map(|(_, wire)| (wire[4] & 3, wire[5])).collect()
    }
}
