//! Rooms dealt to buildings by how far they are from one another.
//!
//! Used by `itc2019`. It draws nothing at random: the same file is always dealt the same way.

use std::collections::HashMap;

use super::problem::Problem;

/// How often buildings are centred anew.
const ROUNDS: usize = 20;

/// The building of each room, 0 up to at most `count - 1`; none of them empty.
pub(super) fn deal(problem: &Problem, count: usize) -> Vec<usize> {
    let rooms = problem.rooms.len();
    let count = count.min(rooms);
    if count == 0 {
        return Vec::new();
    }
    let far = distances(problem);
    // The first centre lies in the middle, each further one as far as can be from those before.
    let all: Vec<usize> = (0..rooms).collect();
    let mut centres = vec![middle(&far, &all)];
    while centres.len() < count {
        let next = (0..rooms)
            .filter(|room| !centres.contains(room))
            .max_by_key(|room| {
                let nearest = centres.iter().map(|centre| far[*room][*centre]).min();
                (nearest, std::cmp::Reverse(*room))
            })
            .unwrap_or(0);
        centres.push(next);
    }
    let mut dealt = around(&far, &centres);
    for _ in 0..ROUNDS {
        let anew: Vec<usize> = (0..count)
            .map(|building| {
                let its: Vec<usize> = (0..rooms).filter(|room| dealt[*room] == building).collect();
                middle(&far, &its)
            })
            .collect();
        if anew == centres {
            break;
        }
        centres = anew;
        dealt = around(&far, &centres);
    }
    dealt
}

/// Travel either way, in slots; 0 where the file says nothing.
fn distances(problem: &Problem) -> Vec<Vec<u32>> {
    let index: HashMap<&str, usize> =
        problem.rooms.iter().enumerate().map(|(index, room)| (room.id.as_str(), index)).collect();
    let mut far = vec![vec![0; problem.rooms.len()]; problem.rooms.len()];
    for (from, to, slots) in &problem.travel {
        if let (Some(from), Some(to)) = (index.get(from.as_str()), index.get(to.as_str())) {
            let longest = far[*from][*to].max(*slots);
            (far[*from][*to], far[*to][*from]) = (longest, longest);
        }
    }
    far
}

/// The room nearest to all the others of `rooms`, the first of them on a tie.
fn middle(far: &[Vec<u32>], rooms: &[usize]) -> usize {
    let total = |room: usize| rooms.iter().map(|other| u64::from(far[room][*other])).sum::<u64>();
    rooms.iter().copied().min_by_key(|room| total(*room)).unwrap_or(0)
}

/// Each room to its nearest centre that has space, nearest pairs first: a building takes at most a quarter
/// more than its share of the rooms.
fn around(far: &[Vec<u32>], centres: &[usize]) -> Vec<usize> {
    let space = (far.len() * 5).div_ceil(centres.len() * 4);
    let mut dealt: Vec<Option<usize>> = vec![None; far.len()];
    let mut sizes = vec![1_usize; centres.len()];
    for (nth, centre) in centres.iter().enumerate() {
        dealt[*centre] = Some(nth);
    }
    let mut pairs: Vec<(u32, usize, usize)> = Vec::new();
    for (room, distances) in far.iter().enumerate() {
        pairs.extend(centres.iter().enumerate().map(|(nth, centre)| (distances[*centre], room, nth)));
    }
    pairs.sort_unstable();
    for (_, room, nth) in pairs {
        if dealt[room].is_none() && sizes[nth] < space {
            dealt[room] = Some(nth);
            sizes[nth] += 1;
        }
    }
    dealt.into_iter().map(|building| building.unwrap_or(0)).collect()
}
