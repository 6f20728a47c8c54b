//! The attacks in small, so that every test run has some of each; `chaos` runs them at length.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::collections::BTreeSet;

use rollcall_gateway::journal::log::{Limits, Log};
use rollcall_tests::chaos::simulate::{Fault, SimDisk};
use rollcall_tests::chaos::{self, Outcome, Run};
use uuid::Uuid;

fn held(suite: fn(&Run) -> chaos::Result, cycles: u64, seed: u64) {
    match suite(&Run { cycles, seed, control: None }) {
        Ok(Outcome::Held(figures)) => eprintln!("{figures}"),
        Ok(Outcome::Skipped(why)) => panic!("skipped: {why}"),
        Err(broken) => panic!("seed {}: {broken}", broken.seed),
    }
}

/// With a defect put in, the suite must see it, and say these words of it: not that something could not be set up.
fn broken(suite: fn(&Run) -> chaos::Result, cycles: u64, control: &str, words: &str) {
    let run = Run { cycles, seed: 1, control: Some(control.to_owned()) };
    match suite(&run) {
        Err(broken) if broken.what.contains(words) => {}
        other => panic!("the suite does not see '{control}', which would be {words}: {other:?}"),
    }
}

/// Seeds that once broke something, and what it was.
const ONCE_BROKEN: [(u64, &str); 12] = [
    (
        459,
        "for a hole that a power cut tore in a group, the hub gave up all since the watermark, minutes or weeks",
    ),
    (12, "a restored hub that got everything again ended registers while it was still coming"),
    (34, "the same, after a record that it had turned down was taken at last"),
    (
        68,
        "an outage whose end was told after the reader's next one had begun was ended anew, and later, at each start",
    ),
    (
        1086,
        "after a full disk a quiet door held its register back until its next swipe, and wrote what was refused then",
    ),
    (
        10_158,
        "a segment of which nothing can be read was claimed to be at the hub, which then waited for it and finished no register",
    ),
    (
        6_009_173,
        "a gateway that started on a full disk and was killed before there was room forgot that it had been off",
    ),
    (
        310_147,
        "the simulated gateway kept that it had shown red though it was the power that went, and gave a register away",
    ),
    (
        1_000_259,
        "an outage that began while the gateway knew no time was dated to the hub's last watermark, long before",
    ),
    (
        1_000_731,
        "a swipe that was under way for a second was dated by its arrival, and a tie of time was off by another",
    ),
    (
        1_001_437,
        "the simulation did not know that the end of a hole is told later where a start knows no time",
    ),
    (
        6_001_646,
        "the simulated gateway kept what time it is only once a minute; killed before, it believed a clock that lied",
    ),
];

#[test]
fn whatever_fails_in_a_simulated_morning_green_means_recorded() {
    held(chaos::simulate::run, 5, 1);
}

#[test]
fn seeds_that_once_broke_something_hold() {
    for (seed, what) in ONCE_BROKEN {
        eprintln!("{seed}: {what}");
        // Found before timetables changed in these worlds.
        let run = Run { cycles: 1, seed, control: Some(chaos::simulate::STILL.to_owned()) };
        let outcome = chaos::simulate::run(&run);
        assert!(matches!(outcome, Ok(Outcome::Held(_))), "seed {seed}: {outcome:?}");
    }
}

/// Seeds of worlds whose timetable changes and whose caches may be lost.
const BROKEN_SINCE: [(u64, &str); 4] = [
    (20_024, "what a reader sent again that its gateway had not known was taken to be younger than it was"),
    (20_046, "a swipe that was durable was new again to a gateway that had lost its cache"),
    (102_473, "of swipes refused in a start without a time it is known only later when that was over"),
    (
        200_001,
        "a session that is put to another time afterwards was in the rooms of the day's move, not in those that are said",
    ),
];

#[test]
fn seeds_that_broke_something_since_timetables_change_hold() {
    for (seed, what) in BROKEN_SINCE {
        eprintln!("{seed}: {what}");
        let run = Run { cycles: 1, seed, control: Some(chaos::simulate::UNTROUBLED.to_owned()) };
        let outcome = chaos::simulate::run(&run);
        assert!(matches!(outcome, Ok(Outcome::Held(_))), "seed {seed}: {outcome:?}");
    }
}

/// Seeds of worlds in which the hub turns records down, others rot, and clocks cannot be kept.
const BROKEN_LATELY: [(u64, &str); 15] = [
    (
        30_481,
        "a hub that came back from a backup took the watermark of a batch, which names its own journal only, and lacked another's",
    ),
    (
        50_032,
        "a gateway that the hub did not know again was in step only two heartbeats later, and a register was not final in time",
    ),
    (
        171_191,
        "the simulated gateway kept that it had shown red at a reader it did not know half a minute after it had",
    ),
    (
        400_013,
        "the first call of a gateway's start, and the batch that had followed it, came once more to a hub that was restored since: it \
         took the batch's watermark, and lacked what another journal held",
    ),
    (
        700_848,
        "a gateway that could not keep when it ran said that it had been down since long before, and took registers away for time \
         that the hub's watermark had passed",
    ),
    (
        909_965,
        "a record rotted and a hub was restored in the same millisecond, and the model took the one to have come after the other",
    ),
    (
        1_100_611,
        "of a journal that the hub noted under another name, hub and gateway called a hole by two names, and a register was given up",
    ),
    (
        1_305_106,
        "a card was put back from an image that was made while readers were out, and who had seen green since was absent",
    ),
    (
        1_500_255,
        "a reader had not answered since its gateway started, which started once more without having kept when it ran: the hub took \
         the reader to have been served for as long as the gateway had run, and who could not swipe was absent",
    ),
    (
        1_503_000,
        "the end of an outage went with a card that was put back, and the reader counted as out until the hub's next look at it",
    ),
    (
        1_601_423,
        "an outage was taken to be over when the reader's next one began, of which a gateway without the time says too early",
    ),
    (
        1_703_594,
        "a card was put back while a record that the hub had turned down held its gateway's watermark back: that it had run since the \
         image could not be seen by that, and who had seen green was absent",
    ),
    (
        1_601_738,
        "the end of a reader's outage was lost with a journal that failed, and the simulated gateway, which had lost its cache too, did not \
         say when its readers were named that this one had long answered",
    ),
    (
        4_006_804,
        "a card was put back, and a gateway whose clock stood at its image's time said that it had not been off at all: what had been \
         shown green since the image was taken to have been lost for no time, and who had seen it was absent",
    ),
    (
        5_000_870,
        "the first mend of that took what was lost to last until the hub heard of it, though a reader had been served again before",
    ),
];

#[test]
fn seeds_that_broke_something_lately_hold() {
    for (seed, what) in BROKEN_LATELY {
        eprintln!("{seed}: {what}");
        held(chaos::simulate::run, 1, seed);
    }
}

/// Found by the simulation (seed 20): after a sync that failed the kernel holds records that it takes to be on the disk.
/// The next start read them, told their readers that they were kept, and the next cut of the power took them.
#[test]
fn what_a_start_reads_after_a_failed_sync_outlives_a_cut_of_the_power() {
    let limits = Limits { segment: 16 * 1024, quota: 1024 * 1024 };
    let mut saved = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let read = || {
            let mut found = BTreeSet::new();
            let (log, _) = Log::open(disk.clone(), Uuid::new_v4(), limits, |it| {
                found.insert(it.body.clone());
            })
            .unwrap();
            (log, found)
        };
        let (mut log, _) = read();
        log.append(&[b"synced".to_vec()]).unwrap();
        // The write is whole, and the sync behind it fails.
        disk.fail_in(1, Fault::Io);
        log.append(&[vec![b'x'; 1_500], vec![b'y'; 1_500]]).unwrap_err();
        drop(log);
        let (log, told) = read();
        drop(log);
        disk.power_cut();
        disk.power_on();
        let (_, left) = read();
        assert!(
            left.is_superset(&told),
            "seed {seed}: {} were told of and {} are left",
            told.len(),
            left.len()
        );
        saved += told.len() - 1;
    }
    assert!(saved > 0, "no record was read after its sync had failed");
}

#[test]
fn a_seed_is_the_same_world_whenever_it_is_played() {
    let played = |seed| match chaos::simulate::run(&Run { cycles: 1, seed, control: None }) {
        // The rest is how fast this machine is.
        Ok(Outcome::Held(figures)) => figures.rsplit_once("; ").unwrap().0.to_owned(),
        other => panic!("seed {seed}: {other:?}"),
    };
    // Once what was sorted by made-up ids went one way or the other in it, and with it all that was drawn afterwards.
    let worlds: BTreeSet<String> = (0..5).map(|_| played(100_006)).collect();
    assert_eq!(worlds.len(), 1, "{worlds:#?}");
}

#[test]
fn the_simulation_sees_each_defect_that_is_put_in() {
    for control in chaos::simulate::CONTROLS {
        let words = match control {
            "no-dedup" => "is at the hub, and no card was read for it",
            "no-outages" => "ABSENT",
            "eager-watermark" => "PASSED by the watermark",
            // At once, by the watermark, or in the end: a card that was put back since may leave the former alone.
            _ => "and not at the hub",
        };
        broken(chaos::simulate::run, 30, control, words);
    }
}

#[test]
fn rot_is_reported_and_what_is_whole_is_kept() {
    held(chaos::rot::run, 60, 1);
    broken(chaos::rot::run, 20, "no-checksum", "is read as another than was written");
}

#[test]
fn batches_in_any_order_and_pieces_come_to_the_same() {
    held(chaos::batches::run, 200, 1);
    broken(chaos::batches::run, 100, "no-dedup", "swipes stand at the hub");
}

#[test]
fn an_error_at_each_operation_of_the_disk_loses_nothing_that_was_acknowledged() {
    held(chaos::disk::run, 1, 1);
}

#[test]
fn what_readers_say_may_be_bent_in_any_way() {
    held(chaos::decoders::run, 3_000, 1);
    // Once a wildcard passed for a reader's code.
    held(chaos::decoders::run, 1, 3_461);
}
