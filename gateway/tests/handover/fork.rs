//! A journal of which the hub has another one: by which name it goes, and what of it is sent again.

use super::*;

#[test]
fn a_journal_of_which_the_hub_has_another_is_asked_for_by_its_own_name_before_anything_of_it_goes_again() {
    let segment = Segment { name: "s".into(), journal: JOURNAL, first: 1, last: 90, damaged: false };
    let (fresh, status) = (Uuid::from_u128(8), status(0, true));
    let mut standing =
        Standing { journal: JOURNAL, next: 91, segments: vec![segment], usage: Usage::default() };
    let mut names = BTreeSet::new();
    // First on the machine that finds it, which then goes on with another journal; then after each of its restarts.
    for start in 0..3 {
        let mut handover = HandOver::default();
        let beat = |handover: &mut HandOver, through: u64, chain: &str| {
            assert_eq!(handover.step(&status, &standing), Step::Heartbeat, "start {start}");
            let said = handover.heartbeat(&status, &standing, More::default()).journals.unwrap().remove(0);
            let has = GatewayHandedOver {
                journal_id: said.journal_id,
                through: Counter(through),
                chain: chain.repeat(32),
            };
            let found = handover.wanted(&standing, &has).map(stored);
            let renew = handover.learn(&standing, &has, found.as_ref(), fresh);
            let answer = answered(true, None);
            handover.heartbeat_answered(&status, &standing, &answer).unwrap();
            (said.journal_id, said.fork_of, renew)
        };
        // The other machine goes on writing meanwhile.
        let (name, fork_of, renew) = beat(&mut handover, 100 + start, "ff");
        assert_eq!((name, fork_of, renew), (JOURNAL, None, start == 0));
        let (name, fork_of, renew) = beat(&mut handover, if start == 0 { 0 } else { 90 }, "01");
        assert_eq!((name != JOURNAL, fork_of, renew), (true, Some(JOURNAL), false));
        names.insert(name);
        let next = handover.step(&status, &standing);
        if start == 0 {
            assert_eq!(next, Step::Read { journal: JOURNAL, from: 1, limit: 500 }, "all of it goes once");
        } else {
            assert_eq!(next, Step::Wait(60_000), "and no more");
        }
        standing.journal = fresh;
    }
    assert_eq!(names.len(), 1, "it goes by one name");
}
