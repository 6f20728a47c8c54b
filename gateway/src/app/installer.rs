//! What an installer asks for at the doors, done by the gateway's hands.

use rollcall_rules::light::Colour;

use super::hands::{Hands, led};
use crate::ascii::line::LightOrder;
use crate::mqtt::client::MqttOrder;
use crate::osdp::bus::BusOrder;
use crate::walk::{Answered, Ask, DoorFacts, WalkAsk, colour};

impl Hands {
    /// Does it, and answers.
    pub(super) async fn walked(&mut self, asked: WalkAsk) {
        let answered = self.walk(asked.ask).await;
        // Whoever asked may have gone.
        let _ = asked.reply.send(answered);
    }

    async fn walk(&mut self, ask: Ask) -> Answered {
        match ask {
            Ask::Readers => Answered { readers: self.door_facts(), ..Answered::default() },
            Ask::Swipes { reader } => {
                let swipes = self.recent.iter().filter(|swipe| swipe.reader == reader).cloned().collect();
                Answered { swipes, ..Answered::default() }
            }
            Ask::Rest { reader } => {
                let colour = self.mind.rests().get(&reader).copied().unwrap_or(Colour::Off);
                self.rest(reader, colour).await;
                Answered::default()
            }
            Ask::Shine { reader, colour: word, teaching } => match self.may_try(&reader, &word, teaching) {
                Ok(colour) => {
                    self.rest(reader, colour).await;
                    Answered::default()
                }
                Err(error) => Answered::error(error),
            },
            Ask::Flash { reader, colour: word, beeps, teaching } => {
                match self.may_try(&reader, &word, teaching) {
                    Ok(colour) => {
                        self.flash(reader, colour, beeps.min(5)).await;
                        Answered::default()
                    }
                    Err(error) => Answered::error(error),
                }
            }
        }
    }

    fn may_try(&self, reader: &str, word: &str, teaching: bool) -> Result<Colour, String> {
        let colour = colour(word).ok_or_else(|| format!("'{word}' is no colour"))?;
        if !self.door_facts().iter().any(|door| door.code == reader) {
            return Err(format!("there is no reader {reader} here"));
        }
        if !teaching && self.mind.rests().get(reader).is_some_and(|rest| *rest != Colour::Off) {
            return Err(format!(
                "a session is open at {reader}: students would take these lights for an answer. Come back when its \
                 light is off, or say --during-teaching"
            ));
        }
        Ok(colour)
    }

    async fn flash(&mut self, reader: String, colour: Colour, beeps: u8) {
        // A line or client that has ended shows nothing any more.
        if let Some(light) = self.ascii.get(&reader) {
            let _ = light.send(LightOrder::Flash(colour)).await;
            return;
        }
        match (self.places.get(&reader), &self.mqtt) {
            (Some(place), _) => {
                let order = BusOrder::Flash { address: place.address, colour: led(colour), beeps };
                let _ = self.buses[place.bus].send(order).await;
            }
            (None, Some(mqtt)) => {
                let _ = mqtt.send(MqttOrder::Flash { reader, colour }).await;
            }
            (None, None) => {}
        }
    }

    /// All readers that are here or that the hub says are here, by code.
    fn door_facts(&self) -> Vec<DoorFacts> {
        let mut doors: Vec<DoorFacts> = self
            .mind
            .readers()
            .map(|reader| {
                let known = reader.room.is_some();
                self.door(&reader.code, known)
            })
            .collect();
        doors.extend(self.unassigned().into_iter().map(|reader| self.door(&reader.code, false)));
        doors.sort_by(|one, other| one.code.cmp(&other.code));
        doors
    }

    fn door(&self, code: &str, assigned: bool) -> DoorFacts {
        let seen = self.seen.get(code).cloned().unwrap_or_default();
        let kind = if self.places.contains_key(code) {
            "osdp"
        } else if self.ascii.contains_key(code) {
            "ascii"
        } else {
            "mqtt"
        };
        let light = self.mind.rests().get(code).copied().unwrap_or(Colour::Off);
        DoorFacts {
            code: code.to_owned(),
            kind: kind.to_owned(),
            online: seen.online,
            assigned,
            firmware: seen.firmware,
            serial: seen.serial,
            light: crate::core::words::colour_word(light).to_lowercase(),
        }
    }
}
