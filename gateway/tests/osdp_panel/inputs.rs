//! What hangs on a device's inputs, and a device that says nothing of them.

use crate::world::{SECOND, World, framed};

#[test]
fn a_device_that_says_nothing_of_its_inputs_is_polled_all_the_same() {
    let mut world = World::new(&[1], 9600);
    let mut asked = 0;
    world.fate = Box::new(move |frame, reply| {
        if !reply {
            asked = frame[5];
        }
        match (reply, asked) {
            (true, 0x62) => vec![(0, framed(0x81, frame[4] & 3, true, 0x46, &[1, 1, 1]))],
            (true, 0x65) => Vec::new(),
            _ => vec![(0, frame)],
        }
    });
    world.online();
    world.pds[0].card(7);
    world.run(SECOND);
    assert_eq!(world.cards(), [7]);
}
