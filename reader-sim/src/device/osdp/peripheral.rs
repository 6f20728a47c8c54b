//! One reader: libosdp's peripheral device, and what its commands mean to an onlooker.
//!
//! Owned by the bus's thread. Never touches the wire: it is handed frames and gives back replies.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libosdp::{
    Channel, ChannelError, OsdpCommand, OsdpCommandLed, OsdpError, OsdpEvent, OsdpFlag, OsdpLedColor,
    OsdpLedParams, OsdpStatusReport, OsdpStatusReportType, PdCapEntity, PdCapability, PdId, PdInfoBuilder,
    PeripheralDevice,
};

use super::frames::Frame;
use super::{OsdpBusError, OsdpReader, ReaderKey, lock};
use crate::device::fault::{Faults, busy_reply};
use crate::device::{DeviceEvent, Events, Shown};
use crate::plan::Colour;

/// After so long without a frame for it a reader counts as offline.
const OFFLINE_AFTER: Duration = Duration::from_secs(8);
const SET_PERMANENT: u8 = 1;
const SET_TEMPORARY: u8 = 2;
const BUZZER_SILENT: u8 = 1;

/// What libosdp's callbacks share with us. libosdp never frees the closures given to it, so they must not
/// hold the sender of events: the receiver would never see its end.
#[derive(Debug, Default)]
struct Shared {
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
    commands: Vec<OsdpCommand>,
    tamper: bool,
    contact: bool,
}

/// One reader on the bus.
#[derive(Debug)]
pub(super) struct Peripheral {
    reader: OsdpReader,
    baud: u32,
    events: Events,
    shared: Arc<Mutex<Shared>>,
    /// `None` while it is unplugged.
    device: Option<PeripheralDevice>,
    /// What libosdp's own queue (4 events) has no room for yet.
    waiting: VecDeque<OsdpEvent>,
    answered: Option<(Instant, Frame, Vec<u8>)>,
    base: Option<Colour>,
    /// What is wrong with it, or with its line.
    pub(super) faults: Faults,
    /// It loses its power as soon as the control panel has had its last answer.
    reboots: bool,
}

impl Peripheral {
    /// Makes a reader, powered and dark.
    pub(super) fn new(reader: OsdpReader, baud: u32, events: Events) -> Result<Peripheral, OsdpBusError> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let device = match new_device(&reader, baud, &shared) {
            Ok(device) => Some(device),
            Err(source) => {
                return Err(OsdpBusError::Device { reader: reader.code, source });
            }
        };
        let waiting = VecDeque::new();
        let faults = Faults::default();
        Ok(Peripheral {
            reader,
            baud,
            events,
            shared,
            device,
            waiting,
            answered: None,
            base: None,
            faults,
            reboots: false,
        })
    }

    /// The address on the bus.
    pub(super) fn address(&self) -> u8 {
        self.reader.address
    }

    /// The reader's code.
    pub(super) fn code(&self) -> &str {
        &self.reader.code
    }

    /// Hands over a frame; returns what comes of the reply on its way, and how late; `None` when it is lost.
    pub(super) fn answer(&mut self, frame: &Frame) -> Option<(Duration, Vec<u8>)> {
        let moved_on = self.answered.as_ref().is_none_or(|(_, last, _)| last.bytes != frame.bytes);
        if self.reboots && moved_on {
            self.reboots = false;
            self.unplug(true);
            self.unplug(false);
            return None;
        }
        if self.device.is_some() && self.faults.busy() {
            return Some((Duration::ZERO, busy_reply(self.reader.address, frame.marked)));
        }
        let reply = self.hear(frame);
        self.faults.spoil(reply)
    }

    /// Loses its power for a moment, between two commands: one that it has carried out is not asked of it again.
    pub(super) fn reboot(&mut self) {
        self.reboots = self.device.is_some();
    }

    /// Starts afresh with another key.
    pub(super) fn begin_with(&mut self, key: ReaderKey) {
        self.unplug(true);
        self.reader.key = key;
        self.unplug(false);
    }

    /// Hands over a frame; returns the reply, empty when there is none.
    fn hear(&mut self, frame: &Frame) -> Vec<u8> {
        let now = Instant::now();
        let Some(device) = &mut self.device else {
            return Vec::new();
        };
        // A control panel repeats a frame when the reply was lost, and must get that reply again. libosdp
        // would carry out the command again, and a card would be lost with the reply.
        if let Some((at, last, reply)) = &mut self.answered
            && frame.sequence() != 0
            && last.bytes == frame.bytes
            && now.duration_since(*at) < OFFLINE_AFTER
        {
            *at = now;
            return reply.clone();
        }
        {
            let mut shared = lock(&self.shared);
            if frame.marked {
                shared.incoming.push_back(0xFF);
            }
            shared.incoming.extend(&frame.bytes);
        }
        device.refresh();
        if lock(&self.shared).outgoing.is_empty() {
            // It may have had to get rid of an earlier, broken frame first.
            device.refresh();
        }
        let (reply, commands) = {
            let mut shared = lock(&self.shared);
            (std::mem::take(&mut shared.outgoing), std::mem::take(&mut shared.commands))
        };
        if !reply.is_empty() {
            let recently = |at: &Instant| now.duration_since(*at) < OFFLINE_AFTER;
            if !self.answered.as_ref().is_some_and(|(at, ..)| recently(at)) {
                self.report(|reader| DeviceEvent::Online { reader });
            }
            self.answered = Some((now, frame.clone(), reply.clone()));
        }
        for command in commands {
            self.obey(&command);
        }
        self.feed();
        reply
    }

    /// Queues something to report in answer to a poll; an unplugged reader notices nothing.
    pub(super) fn queue(&mut self, event: OsdpEvent) {
        if self.device.is_some() {
            self.waiting.push_back(event);
            self.feed();
        }
    }

    /// Opens or closes the case.
    pub(super) fn tamper(&mut self, on: bool) {
        lock(&self.shared).tamper = on;
        self.queue(OsdpEvent::Status(local_status(on, false)));
    }

    /// Makes what hangs on its input active, or lets it be.
    pub(super) fn contact(&mut self, on: bool) {
        lock(&self.shared).contact = on;
        self.queue(OsdpEvent::Status(input_status(on)));
    }

    /// Takes it off bus and power, or plugs it in again: then it starts afresh.
    pub(super) fn unplug(&mut self, unplugged: bool) {
        if unplugged {
            let Shared { tamper, contact, .. } = *lock(&self.shared);
            self.device = None;
            self.shared = Arc::new(Mutex::new(Shared { tamper, contact, ..Shared::default() }));
            self.waiting.clear();
            self.answered = None;
            self.base = None;
        } else if self.device.is_none() {
            match new_device(&self.reader, self.baud, &self.shared) {
                Ok(device) => {
                    self.device = Some(device);
                    let tamper = lock(&self.shared).tamper;
                    self.queue(OsdpEvent::Status(local_status(tamper, true)));
                }
                Err(error) => {
                    tracing::warn!(reader = self.reader.code, %error, "does not start again")
                }
            }
        }
    }

    fn feed(&mut self) {
        let Some(device) = &mut self.device else {
            return;
        };
        while let Some(event) = self.waiting.front() {
            if device.notify_event(event.clone()).is_err() {
                return;
            }
            self.waiting.pop_front();
        }
    }

    fn obey(&mut self, command: &OsdpCommand) {
        match command {
            OsdpCommand::Led(led) => self.light(led),
            OsdpCommand::Buzzer(buzzer) if buzzer.control_code > BUZZER_SILENT => {
                self.report(|reader| DeviceEvent::Buzzer { reader });
            }
            OsdpCommand::ComSetDone(to) => self.reader.address = to.address,
            OsdpCommand::KeySet(keyset) => {
                if let Ok(key) = keyset.data.as_slice().try_into() {
                    // For when it is plugged in again.
                    self.reader.key = ReaderKey::Own(key);
                    self.report(|reader| DeviceEvent::Keyed { reader });
                }
            }
            _ => {}
        }
    }

    fn light(&mut self, led: &OsdpCommandLed) {
        if led.permanent.control_code == SET_PERMANENT
            && let Some(colour) = colour(&led.permanent)
            && self.base != Some(colour)
        {
            self.base = Some(colour);
            let shown = Shown::Base(colour);
            self.report(|reader| DeviceEvent::Light { reader, shown, answers: None });
        }
        if led.temporary.control_code == SET_TEMPORARY
            && let Some(colour) = colour(&led.temporary)
        {
            let shown = Shown::Flash(colour);
            self.report(|reader| DeviceEvent::Light { reader, shown, answers: None });
        }
    }

    fn report(&self, event: impl FnOnce(String) -> DeviceEvent) {
        // Nobody may be watching any more; the reader works on.
        self.events.send(event(self.reader.code.clone())).ok();
    }
}

/// The colour while the light is on, or, when it never is, the other one.
fn colour(params: &OsdpLedParams) -> Option<Colour> {
    let shown = if params.on_count > 0 { params.on_color } else { params.off_color };
    match shown {
        OsdpLedColor::None => Some(Colour::Off),
        OsdpLedColor::Red => Some(Colour::Red),
        OsdpLedColor::Green => Some(Colour::Green),
        OsdpLedColor::Amber => Some(Colour::Amber),
        OsdpLedColor::Blue => Some(Colour::Blue),
        other => {
            tracing::warn!(?other, "a colour that this reader does not have");
            None
        }
    }
}

fn new_device(
    reader: &OsdpReader,
    baud: u32,
    shared: &Arc<Mutex<Shared>>,
) -> Result<PeripheralDevice, OsdpError> {
    let id = PdId {
        version: 1,
        model: 1,
        vendor_code: (0x52, 0x43, 0x53),
        serial_number: reader.serial.to_le_bytes(),
        // libosdp writes these three last to first.
        firmware_version: (0, 0, 1),
    };
    let entity = PdCapEntity::new;
    let info = PdInfoBuilder::new()
        .name(&reader.code)?
        .address(i32::from(reader.address))?
        .baud_rate(i32::try_from(baud).map_err(|_| OsdpError::PdInfoBuilder("invalid baud rate"))?)?
        .id(&id)
        .capability(PdCapability::ContactStatusMonitoring(entity(1, 1)))
        .capability(PdCapability::CardDataFormat(entity(1, 0)))
        .capability(PdCapability::LedControl(entity(4, 1)))
        .capability(PdCapability::AudibleOutput(entity(2, 1)))
        .capability(PdCapability::CheckCharacterSupport(entity(1, 0)))
        .capability(PdCapability::Readers(entity(0, 1)));
    let info = match reader.key {
        ReaderKey::Own(key) => info.secure_channel_key(key).flag(OsdpFlag::EnforceSecure),
        ReaderKey::None | ReaderKey::Install => info,
    };
    let mut device = PeripheralDevice::new(info, Box::new(Wire(Arc::clone(shared))))?;
    // Without a key libosdp enters install mode and offers a secure channel under the well-known key: say
    // that there is none. The list needs an end mark, because libosdp gets it without its length.
    let secure = if reader.key == ReaderKey::None { entity(0, 0) } else { entity(1, 1) };
    device.set_capabilities(&[
        PdCapability::CommunicationSecurity(secure),
        PdCapability::Unknown(0, entity(0, 0)),
    ]);
    let shared = Arc::clone(shared);
    device.set_command_callback(move |command| take_command(&mut lock(&shared), command));
    Ok(device)
}

/// Called back by libosdp: 0 accepts, less refuses with a NAK.
fn take_command(shared: &mut Shared, command: &mut OsdpCommand) -> i32 {
    match command {
        OsdpCommand::ComSet(_) => 0,
        OsdpCommand::Led(_)
        | OsdpCommand::Buzzer(_)
        | OsdpCommand::KeySet(_)
        | OsdpCommand::ComSetDone(_) => {
            shared.commands.push(command.clone());
            0
        }
        OsdpCommand::Status(status) => {
            *status = match status.type_ {
                OsdpStatusReportType::Local => local_status(shared.tamper, false),
                OsdpStatusReportType::Input => input_status(shared.contact),
                kind => OsdpStatusReport { type_: kind, nr_entries: 1, report: [0; 64] },
            };
            0
        }
        _ => -1,
    }
}

fn local_status(tamper: bool, power: bool) -> OsdpStatusReport {
    let mut report = [0; 64];
    report[0] = u8::from(tamper);
    report[1] = u8::from(power);
    OsdpStatusReport { type_: OsdpStatusReportType::Local, nr_entries: 2, report }
}

fn input_status(active: bool) -> OsdpStatusReport {
    let mut report = [0; 64];
    report[0] = u8::from(active);
    OsdpStatusReport { type_: OsdpStatusReportType::Input, nr_entries: 1, report }
}

/// The ends of the wire that libosdp reads and writes.
#[derive(Debug)]
struct Wire(Arc<Mutex<Shared>>);

impl Channel for Wire {
    fn get_id(&self) -> i32 {
        0
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ChannelError> {
        let incoming = &mut lock(&self.0).incoming;
        let count = buf.len().min(incoming.len());
        for (slot, byte) in buf.iter_mut().zip(incoming.drain(..count)) {
            *slot = byte;
        }
        Ok(count)
    }

    fn write(&mut self, buf: &[u8]) -> Result<usize, ChannelError> {
        lock(&self.0).outgoing.extend_from_slice(buf);
        Ok(buf.len())
    }

    /// Called before each reply, to forget what came in meanwhile: nothing can have.
    fn flush(&mut self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), ChannelError> {
        Ok(())
    }
}
