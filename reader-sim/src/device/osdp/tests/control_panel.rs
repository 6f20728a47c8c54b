//! The bus with libosdp's own control panel as its peer.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use libosdp::{
    Channel, ChannelError, ControlPanel, ControlPanelBuilder, OsdpCommand, OsdpCommandBuzzer, OsdpCommandLed,
    OsdpEvent, OsdpLedColor, OsdpLedParams, PdInfoBuilder,
};

use super::{PATIENCE, Panel, Port, bus, drain, wait, wiegand};

impl Channel for Panel {
    fn get_id(&self) -> i32 {
        7
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ChannelError> {
        let read = self.port.read(buf).map_err(|_| ChannelError::TransportError)?;
        read.ok_or(ChannelError::WouldBlock)
    }

    fn write(&mut self, buf: &[u8]) -> Result<usize, ChannelError> {
        self.port.write(&mut buf.to_vec()).map_err(|_| ChannelError::TransportError)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), ChannelError> {
        Ok(())
    }
}

fn run_until(panel: &mut ControlPanel, waker: &Port, mut done: impl FnMut(&ControlPanel) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(panel) {
        assert!(Instant::now() < deadline);
        panel.refresh();
        wait(waker, 1);
    }
}

#[test]
fn libosdps_control_panel_reads_cards_and_sets_lights_of_three_readers() {
    let (bus, panel, mut happened) = bus(3);
    let waker = Port::open(bus.path(), 9600).unwrap();
    let infos = (1..=3).map(|n| PdInfoBuilder::new().address(n).unwrap().baud_rate(9600).unwrap()).collect();
    let mut panel = ControlPanelBuilder::new().add_channel(Box::new(panel), infos).build().unwrap();
    let reads = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&reads);
    panel.set_event_callback(move |pd, event| {
        if let OsdpEvent::CardRead(card) = event {
            seen.borrow_mut().push((pd, card.nr_bits, card.data));
        }
        0
    });
    run_until(&mut panel, &waker, |panel| (0..3).all(|pd| panel.is_online(pd)));
    assert_eq!(drain(&mut happened), ["R1 online", "R2 online", "R3 online"]);
    for reader in ["R1", "R2", "R3"] {
        bus.present(reader, &wiegand()).unwrap();
    }
    run_until(&mut panel, &waker, |_| reads.borrow().len() == 3);
    let mut got = reads.borrow().clone();
    got.sort();
    assert_eq!(got, [0, 1, 2].map(|pd| (pd, 26, wiegand().raw)));
    let blue = OsdpLedParams {
        control_code: 1,
        on_count: 10,
        on_color: OsdpLedColor::Blue,
        off_color: OsdpLedColor::Blue,
        ..OsdpLedParams::default()
    };
    let led = OsdpCommandLed { permanent: blue, ..OsdpCommandLed::default() };
    let beep = OsdpCommandBuzzer { reader: 0, control_code: 2, on_count: 1, off_count: 1, rep_count: 1 };
    panel.send_command(1, OsdpCommand::Led(led)).unwrap();
    panel.send_command(2, OsdpCommand::Buzzer(beep)).unwrap();
    let mut happened_here = Vec::new();
    run_until(&mut panel, &waker, |_| {
        happened_here.extend(drain(&mut happened));
        happened_here.len() == 2
    });
    happened_here.sort();
    assert_eq!(happened_here, ["R2 base Blue", "R3 buzzer"]);
}
