//! Buildings, rooms, readers, students and their cards.
//!
//! Used by `generate`. It knows nothing of the timetable.

use std::collections::HashSet;

use rand::Rng;
use rand_chacha::ChaCha12Rng;

use super::Size;
use super::clock::Clock;
use crate::crowd::credentials::{h10301, h10306, uid};
use crate::plan::{Building, Card, Credential, Plan, Reader, ReaderKind, Room, Student};

const FIRST: [&str; 16] = [
    "Ada", "Bela", "Cara", "Dov", "Edda", "Femi", "Gwen", "Hal", "Ines", "Jun", "Kofi", "Lena", "Moss",
    "Nia", "Omar", "Petra",
];
const LAST: [&str; 15] = [
    "Ashdown", "Birk", "Calder", "Dunmore", "Eastley", "Farrow", "Garside", "Holt", "Ingram", "Jessop",
    "Kirkby", "Lund", "Marsh", "Norwell", "Oakes",
];

/// Fills in everything that stands before the term begins.
pub(super) fn build(plan: &mut Plan, size: Size, clock: &Clock, rng: &mut ChaCha12Rng) {
    for building in 0..size.buildings {
        let code = building_code(building);
        plan.buildings.push(Building { name: format!("Building {code}"), code });
    }
    let mut in_building = vec![0_usize; size.buildings];
    for room in 0..size.rooms {
        let building = room * size.buildings / size.rooms;
        let nth = in_building[building];
        in_building[building] += 1;
        plan.rooms.push(Room {
            code: format!("{}-{}", plan.buildings[building].code, 100 * (1 + nth / 20) + 1 + nth % 20),
            building,
            capacity: 10 * rng.random_range(2..=12),
        });
    }
    readers(plan, size);
    people(plan, size, clock, rng);
}

/// `A` to `Z`, then `B27` and so on.
fn building_code(building: usize) -> String {
    match u8::try_from(building) {
        Ok(nth) if nth < 26 => char::from(b'A' + nth).to_string(),
        _ => format!("B{}", building + 1),
    }
}

/// One reader per room, two at every seventh, alternately of either kind in each building.
fn readers(plan: &mut Plan, size: Size) {
    let mut in_building = vec![0_usize; size.buildings];
    for (index, room) in plan.rooms.iter().enumerate() {
        for door in 1..=if index % 7 == 3 { 2 } else { 1 } {
            let kind = if in_building[room.building].is_multiple_of(2) {
                ReaderKind::Osdp
            } else {
                ReaderKind::Mqtt
            };
            in_building[room.building] += 1;
            plan.readers.push(Reader { code: format!("{}-D{door}", room.code), room: index, kind });
        }
    }
}

/// Students with a card each; some with an ended one too, a few with one that is not valid yet.
fn people(plan: &mut Plan, size: Size, clock: &Clock, rng: &mut ChaCha12Rng) {
    let mut taken = HashSet::new();
    for student in 0..size.students {
        plan.students.push(Student {
            number: format!("S{}", 1001 + student),
            name: format!("{} {}", FIRST[student % FIRST.len()], LAST[(student / 7) % LAST.len()]),
        });
        let since = clock.midnight(-rng.random_range(20..=300));
        if rng.random_range(0..100) < 10 {
            let from_ms = clock.midnight(-rng.random_range(400..=700));
            let credential = new_card(&mut taken, rng);
            plan.cards.push(Card { student, credential, from_ms, until_ms: Some(since) });
        }
        let until_ms = rng.random_bool(0.3).then(|| clock.midnight(200));
        let credential = new_card(&mut taken, rng);
        plan.cards.push(Card { student, credential, from_ms: since, until_ms });
        if rng.random_range(0..100) < 2 {
            let credential = new_card(&mut taken, rng);
            plan.cards.push(Card { student, credential, from_ms: clock.midnight(1), until_ms: None });
        }
    }
}

/// A card that nobody has yet. The facility codes in use are never those of `crowd`'s visitors.
pub(super) fn new_card(taken: &mut HashSet<Credential>, rng: &mut ChaCha12Rng) -> Credential {
    loop {
        let card = match rng.random_range(0..4) {
            0 => h10301(rng.random_range(40..=44), rng.random()),
            1 => h10306(rng.random_range(3000..=3002), rng.random()),
            2 => {
                let mut bytes: [u8; 7] = rng.random();
                (bytes[0], bytes[1]) = (0x04, bytes[1] & 0x7F);
                uid(&bytes)
            }
            _ => {
                let mut bytes: [u8; 4] = rng.random();
                if matches!(bytes[0], 0x08 | 0x88) {
                    bytes[0] = 0x1C;
                }
                uid(&bytes)
            }
        };
        if taken.insert(card.clone()) {
            return card;
        }
    }
}
