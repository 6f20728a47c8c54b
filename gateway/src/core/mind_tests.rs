//! What the mind keeps to.

use super::reading::Trust;
use super::*;

fn append(mind: &mut Gateway) -> u64 {
    while let Some(output) = mind.poll_output() {
        if let Output::Append { ticket, .. } = output {
            return ticket;
        }
    }
    panic!("nothing is to be written")
}

fn at(ms: i64) -> Reading {
    Reading::exactly(ms, Trust::Synced, ms)
}

/// A card has been read at 1,000, and is to be written.
fn one_read() -> (Gateway, u64) {
    let mut mind = Gateway::new(Uuid::from_u128(1));
    let reader = ReaderFacts { id: Uuid::from_u128(2), code: "D1".to_owned(), room: None };
    mind.handle(Input::Config { readers: vec![reader], secret: CardSecret::default() }, at(1));
    let Ok(card) = CardRead::new(32, &[1, 2, 3, 4]) else { panic!("no card") };
    let read = Read { reader: "D1".to_owned(), card: Ok(card), tag: None, random: [0; 10] };
    mind.handle(Input::Read(read), at(1_000));
    let ticket = append(&mut mind);
    (mind, ticket)
}

#[test]
fn an_answer_that_the_disk_held_up_is_not_shown_to_whoever_stands_there_next() {
    let shown = |durable_at: i64| {
        let (mut mind, ticket) = one_read();
        mind.handle(Input::Durable { ticket }, at(durable_at));
        let answers = std::iter::from_fn(|| mind.poll_output());
        let mut flashes = answers.filter_map(|output| match output {
            Output::Answer(answer) => Some(answer.flash),
            _ => None,
        });
        flashes.next().flatten()
    };
    assert_eq!(shown(4_000), Some(Colour::Red));
    assert_eq!(shown(4_001), None);
}

#[test]
fn what_was_refused_for_want_of_room_is_written_when_there_is_room_though_no_other_swipe_comes() {
    let (mut mind, ticket) = one_read();
    mind.handle(Input::Refused { ticket }, at(1_001));
    assert_eq!(mind.durable_before(Instant(9_000)), Instant(1_000));
    mind.handle(Input::Room, at(60_000));
    let ticket = append(&mut mind);
    assert_eq!(mind.durable_before(Instant(90_000)), Instant(1_000));
    mind.handle(Input::Durable { ticket }, at(60_001));
    assert_eq!(mind.durable_before(Instant(90_000)), Instant(90_000));
    assert_eq!(mind.refusing_since(), None);
}

#[test]
fn what_a_reader_had_kept_since_yesterday_is_refused_since_now_and_holds_the_watermark_since_then() {
    let at = |ms| Reading::exactly(reading::BUILT_AFTER.0 + ms, Trust::Synced, ms);
    let mut mind = Gateway::new(Uuid::from_u128(1));
    let reader = ReaderFacts { id: Uuid::from_u128(2), code: "D1".to_owned(), room: None };
    mind.handle(Input::Config { readers: vec![reader], secret: CardSecret::default() }, at(1));
    let clock = ReaderClock { boot: "b".to_owned(), mono_ms: 90_000_000 };
    mind.handle(Input::Online { reader: "D1".to_owned(), clock: Some(clock) }, at(90_000_000));
    let Ok(card) = CardRead::new(32, &[1, 2, 3, 4]) else { panic!("no card") };
    let tag = Tag { boot: "b".to_owned(), seq: 1, mono_ms: 1_000, historical: true };
    let read = Read { reader: "D1".to_owned(), card: Ok(card.clone()), tag: Some(tag), random: [0; 10] };
    mind.handle(Input::Read(read), at(90_000_100));
    let ticket = append(&mut mind);
    assert_eq!(mind.unkept_since(at(90_000_100).at), at(90_000_100).at, "its reader still has it");
    mind.handle(Input::Refused { ticket }, at(90_000_200));
    assert_eq!(mind.refusing_since(), Some(at(90_000_200).at));
    assert!(mind.durable_before(at(90_000_300).at) <= at(1_000).at);
    // Who was turned away while too many waited is nowhere: it holds the watermark before it is told of, too.
    let mut busy = Gateway::new(Uuid::from_u128(1));
    let stranger = || Read { reader: "D1".to_owned(), card: Ok(card.clone()), tag: None, random: [0; 10] };
    busy.handle(Input::Read(stranger()), at(70_000));
    busy.handle(Input::Read(stranger()), at(61_000));
    assert_eq!(busy.durable_before(at(80_000).at), at(61_000).at);
}

#[test]
fn an_mqtt_swipe_that_was_refused_is_written_though_its_reader_never_sends_it_again() {
    let at = |ms| Reading::exactly(reading::BUILT_AFTER.0 + ms, Trust::Synced, ms);
    let mut mind = Gateway::new(Uuid::from_u128(1));
    let reader = ReaderFacts { id: Uuid::from_u128(2), code: "D1".to_owned(), room: None };
    mind.handle(Input::Config { readers: vec![reader], secret: CardSecret::default() }, at(1));
    let Ok(card) = CardRead::new(32, &[1, 2, 3, 4]) else { panic!("no card") };
    let read = || {
        let tag = Tag { boot: "b".to_owned(), seq: 1, mono_ms: 10, historical: false };
        Input::Read(Read { reader: "D1".to_owned(), card: Ok(card.clone()), tag: Some(tag), random: [0; 10] })
    };
    let answers = |mind: &mut Gateway| -> Vec<(Option<Colour>, Option<Decision>)> {
        std::iter::from_fn(|| mind.poll_output())
            .filter_map(|it| match it {
                Output::Answer(answer) => Some((answer.flash, answer.kept)),
                _ => None,
            })
            .collect()
    };
    mind.handle(read(), at(1_000));
    let ticket = append(&mut mind);
    mind.handle(Input::Refused { ticket }, at(1_001));
    assert_eq!(answers(&mut mind), [(Some(Colour::Red), None)]);
    // Sent again while there is no room: it is in mind already.
    mind.handle(read(), at(3_000));
    assert!(mind.poll_output().is_none());
    mind.handle(Input::Room, at(60_000));
    let ticket = append(&mut mind);
    mind.handle(Input::Durable { ticket }, at(60_001));
    assert_eq!(answers(&mut mind), [(None, Some(Decision::NotRecorded))]);
    mind.handle(read(), at(61_000));
    assert_eq!(answers(&mut mind), [(None, Some(Decision::NotRecorded))], "known again, written once");
}

#[test]
fn what_was_refused_before_a_restart_holds_the_watermark_until_there_is_room() {
    let mut mind = Gateway::new(Uuid::from_u128(1));
    mind.refused_before(Instant(500));
    assert_eq!(mind.durable_before(Instant(9_000)), Instant(500));
    mind.handle(Input::Room, at(10_000));
    assert_eq!(mind.durable_before(Instant(11_000)), Instant(11_000));
}

#[test]
fn a_card_at_a_door_of_which_nobody_knows_is_told_of_and_an_mqtt_readers_comes_again_no_younger() {
    let at = |ms| Reading::exactly(reading::BUILT_AFTER.0 + ms, Trust::Synced, ms);
    let mut mind = Gateway::new(Uuid::from_u128(1));
    let Ok(card) = CardRead::new(32, &[1, 2, 3, 4]) else { panic!("no card") };
    let read =
        |tag| Input::Read(Read { reader: "D1".to_owned(), card: Ok(card.clone()), tag, random: [0; 10] });
    let tag = || Some(Tag { boot: "b".to_owned(), seq: 1, mono_ms: 10, historical: false });
    mind.handle(Input::Online { reader: "D1".to_owned(), clock: None }, at(1_000));
    mind.handle(read(tag()), at(60_000));
    assert_eq!(mind.forgotten_since(), None, "its reader keeps it");
    mind.handle(read(None), at(61_000));
    assert_eq!(mind.forgotten_since(), Some(at(61_000).at));
    let reader = ReaderFacts { id: Uuid::from_u128(2), code: "D1".to_owned(), room: None };
    mind.handle(Input::Config { readers: vec![reader], secret: CardSecret::default() }, at(66_000));
    while mind.poll_output().is_some() {}
    mind.handle(read(tag()), at(67_000));
    let Some(Output::Append { record, .. }) = mind.poll_output() else { panic!("it is new") };
    assert_eq!((record.earliest, record.latest), (at(60_000).at.0, at(60_000).at.0));
    // Now that the readers are known, another's card is at no door.
    mind.take_forgotten();
    let other = Read { reader: "D2".to_owned(), card: Ok(card.clone()), tag: None, random: [0; 10] };
    mind.handle(Input::Read(other), at(68_000));
    assert_eq!(mind.forgotten_since(), None);
}

#[test]
fn lights_change_when_the_bounds_of_the_time_come_to_it_and_not_at_somebodys_next_look() {
    use rollcall_rules::ids::{GroupId, RoomId};
    use rollcall_rules::policy::Policy;
    use rollcall_rules::session::{HeldIn, Session};
    use rollcall_rules::time::{Span, Uncertain};
    use rollcall_rules::timetable::Item;
    let opens = reading::BUILT_AFTER.plus_ms(100 * 24 * 3_600_000);
    let room = RoomId(Uuid::from_u128(5));
    let session = Session {
        id: SessionId(Uuid::from_u128(7)),
        starts_at: opens.plus_ms(1_800_000),
        ends_at: opens.plus_ms(5_400_000),
        cancelled: false,
        rooms: vec![HeldIn { room, span: Span::ALWAYS }],
        groups: vec![GroupId(Uuid::from_u128(6))],
        policy: Policy::default(),
    };
    // Half a minute is not known on either side.
    let holdover = |ms: i64| {
        let at = opens.plus_ms(ms);
        let when = Uncertain { earliest: at.plus_ms(-30_000), latest: at.plus_ms(30_000) };
        Reading { at, when, trust: Trust::Holdover, since_boot_ms: 1_000_000 + ms }
    };
    let mut mind = Gateway::new(Uuid::from_u128(1));
    let reader = ReaderFacts { id: Uuid::from_u128(2), code: "D1".to_owned(), room: Some(room) };
    mind.handle(Input::Config { readers: vec![reader], secret: CardSecret::default() }, holdover(-60_000));
    let changes = vec![Change::Upsert(Item::Session(session))];
    mind.handle(Input::Facts { changes, replace: true, basis: String::new() }, holdover(-60_000));
    let mut changed = Vec::new();
    let mut shown = mind.rests().get("D1").copied();
    // Looked at only when the mind asks for it.
    while let Some(at) = mind.poll_timeout() {
        mind.handle(Input::Tick, holdover(at.since_ms(opens)));
        let light = mind.rests().get("D1").copied();
        if light != shown {
            changed.push((at.since_ms(opens), light));
            shown = light;
        }
    }
    let expected = [(30_000, Some(Colour::Blue)), (5_400_001 - 30_000, Some(Colour::Off))];
    assert_eq!(changed, expected);
}

#[test]
fn a_record_says_which_sessions_were_considered_and_what_spoke_for_them() {
    use rollcall_rules::ids::{GroupId, RoomId};
    use rollcall_rules::policy::Policy;
    use rollcall_rules::session::{HeldIn, Session};
    use rollcall_rules::time::Span;
    use rollcall_rules::timetable::Item;
    let start = reading::BUILT_AFTER.plus_ms(100 * 24 * 3_600_000);
    let at = |ms: i64| Reading::exactly(start.0 + ms, Trust::Synced, ms + 1_000);
    let room = RoomId(Uuid::from_u128(5));
    let mut mind = Gateway::new(Uuid::from_u128(1));
    let reader = ReaderFacts { id: Uuid::from_u128(2), code: "D1".to_owned(), room: Some(room) };
    mind.handle(Input::Config { readers: vec![reader], secret: CardSecret::default() }, at(0));
    let session = |id: u128, starts: i64, cancelled| Session {
        id: SessionId(Uuid::from_u128(id)),
        starts_at: start.plus_ms(starts),
        ends_at: start.plus_ms(starts + 3_600_000),
        cancelled,
        rooms: vec![HeldIn { room, span: Span { from: None, until: None } }],
        groups: vec![GroupId(Uuid::from_u128(6))],
        policy: Policy::default(),
    };
    let sessions = [session(7, 0, false), session(8, 0, true), session(9, 7_200_000, false)];
    let changes = sessions.map(|it| Change::Upsert(Item::Session(it))).into();
    mind.handle(Input::Facts { changes, replace: true, basis: "b.1".to_owned() }, at(1));
    let Ok(card) = CardRead::new(32, &[1, 2, 3, 4]) else { panic!("no card") };
    mind.handle(
        Input::Read(Read { reader: "D1".to_owned(), card: Ok(card), tag: None, random: [0; 10] }),
        at(60_000),
    );
    let record = std::iter::from_fn(|| mind.poll_output()).find_map(|output| match output {
        Output::Append { record, .. } => Some(record),
        _ => None,
    });
    let considered = record.map(|it| it.considered).unwrap_or_default();
    let found: Vec<_> = considered.iter().map(|it| (it.session.as_u128(), it.off, it.credited)).collect();
    assert_eq!(found, [(7, false, false), (8, true, false)], "not the one of the afternoon");
    let window = (considered[0].opens, considered[0].closes);
    assert_eq!(window, (start.0 - 1_800_000, start.0 + 3_600_000));
}
