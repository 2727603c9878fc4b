use lampyr_ir::case::SplitMix;

use super::{ALIGN, Slot};

/// The arena of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Size of the arena.
    pub bytes: usize,
    /// No arena can be smaller: the largest sum of sizes at one step.
    pub lower_bound: usize,
    /// The step where that sum is reached.
    pub peak_step: usize,
    /// Size of the arena when slots are placed by size alone.
    pub greedy_bytes: usize,
    /// The heuristic that won.
    pub heuristic: &'static str,
}

fn aligned(bytes: usize) -> usize {
    bytes.saturating_add(ALIGN - 1) / ALIGN * ALIGN
}

/// The largest sum of sizes at one step, and that step.
pub fn lower_bound(slots: &[Slot], device: usize) -> (usize, usize) {
    let mut events: Vec<(usize, bool, usize)> = Vec::new();
    for s in slots.iter().filter(|s| s.device == device && s.bytes > 0) {
        events.push((s.start, true, aligned(s.bytes)));
        events.push((s.end.saturating_add(1), false, aligned(s.bytes)));
    }
    events.sort_unstable();
    let (mut live, mut best, mut step) = (0usize, 0, 0);
    for (at, begins, bytes) in events {
        if begins {
            live = live.saturating_add(bytes);
            if live > best {
                (best, step) = (live, at);
            }
        } else {
            live = live.saturating_sub(bytes);
        }
    }
    (best, step)
}

/// Gives every slot of `device` its offset.
pub fn assign(slots: &mut [Slot], device: usize) -> Assignment {
    let ids: Vec<usize> = (0..slots.len()).filter(|&i| slots[i].device == device && slots[i].bytes > 0).collect();
    let (bound, peak_step) = lower_bound(slots, device);
    let mut result = Assignment { lower_bound: bound, peak_step, heuristic: "by_size", ..Assignment::default() };
    if ids.is_empty() {
        return result;
    }
    let conflicts = Conflicts::new(slots, &ids);
    let life = |i: usize| slots[ids[i]].end.saturating_sub(slots[ids[i]].start) + 1;
    let bytes = |i: usize| slots[ids[i]].bytes;
    let start = |i: usize| slots[ids[i]].start;
    let order = |key: &dyn Fn(usize) -> (usize, usize, usize)| {
        let mut all: Vec<usize> = (0..ids.len()).collect();
        all.sort_by_key(|&i| key(i));
        all
    };
    let down = |x: usize| usize::MAX - x;
    let orders = [
        ("by_size", order(&|i| (down(bytes(i)), start(i), i))),
        ("by_area", order(&|i| (down(bytes(i).saturating_mul(life(i))), start(i), i))),
        ("by_lifetime", order(&|i| (down(life(i)), down(bytes(i)), i))),
        ("first_fit", order(&|i| (start(i), down(bytes(i)), i))),
        ("by_conflict", order(&|i| (down(conflicts.weight(i)), down(bytes(i)), i))),
    ];
    let mut best: Option<(usize, Vec<usize>, Vec<usize>)> = None;
    for (name, order) in orders {
        let (size, offsets) = conflicts.place(&order);
        if name == "by_size" {
            result.greedy_bytes = size;
        }
        if best.as_ref().is_none_or(|(b, _, _)| size < *b) {
            result.heuristic = name;
            best = Some((size, offsets, order));
        }
        if size == bound {
            break;
        }
    }
    let Some((mut size, mut offsets, mut order)) = best else { return result };
    if size > bound {
        let tries = (4_000_000 / conflicts.work().max(1)).clamp(8, 2000);
        let mut rng = SplitMix(ids.len() as u64);
        for _ in 0..tries {
            let mut next = order.clone();
            // Slots at the top of the arena are placed earlier: they are the ones that found no gap.
            let top: Vec<usize> =
                (0..next.len()).filter(|&k| offsets[next[k]] + aligned(bytes(next[k])) >= size).collect();
            let from = top.get(rng.next_u64() as usize % top.len().max(1)).copied().unwrap_or(0);
            let to = rng.next_u64() as usize % next.len();
            if rng.next_u64().is_multiple_of(3) {
                let other = rng.next_u64() as usize % next.len();
                next.swap(other, to);
            } else {
                let item = next.remove(from);
                next.insert(to.min(from), item);
            }
            let (s, o) = conflicts.place(&next);
            if s <= size {
                if s < size {
                    result.heuristic = "search";
                }
                (size, offsets, order) = (s, o, next);
            }
            if size == bound {
                break;
            }
        }
    }
    for (i, &id) in ids.iter().enumerate() {
        slots[id].offset = offsets[i];
    }
    result.bytes = size;
    result
}

/// Which slots are live together.
struct Conflicts {
    bytes: Vec<usize>,
    with: Vec<Vec<u32>>,
}

impl Conflicts {
    fn new(slots: &[Slot], ids: &[usize]) -> Conflicts {
        let mut with = vec![Vec::new(); ids.len()];
        let mut by_start: Vec<usize> = (0..ids.len()).collect();
        by_start.sort_by_key(|&i| slots[ids[i]].start);
        let mut live: Vec<usize> = Vec::new();
        for i in by_start {
            let s = &slots[ids[i]];
            live.retain(|&j| slots[ids[j]].end >= s.start);
            for &j in &live {
                with[i].push(j as u32);
                with[j].push(i as u32);
            }
            live.push(i);
        }
        Conflicts { bytes: ids.iter().map(|&i| aligned(slots[i].bytes)).collect(), with }
    }

    fn work(&self) -> usize {
        self.with.iter().map(Vec::len).sum::<usize>() + self.bytes.len()
    }

    fn weight(&self, i: usize) -> usize {
        self.with[i].iter().map(|&j| self.bytes[j as usize]).fold(self.bytes[i], usize::saturating_add)
    }

    /// Places slots in this order, each at the lowest offset that is free for all its life.
    fn place(&self, order: &[usize]) -> (usize, Vec<usize>) {
        const FREE: usize = usize::MAX;
        let mut offsets = vec![FREE; self.bytes.len()];
        let mut total = 0usize;
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for &i in order {
            taken.clear();
            taken.extend(
                (self.with[i].iter().map(|&j| j as usize))
                    .filter(|&j| offsets[j] != FREE)
                    .map(|j| (offsets[j], offsets[j].saturating_add(self.bytes[j]))),
            );
            taken.sort_unstable();
            let mut at = 0usize;
            for &(from, to) in &taken {
                if at.saturating_add(self.bytes[i]) <= from {
                    break;
                }
                at = at.max(to);
            }
            offsets[i] = at;
            total = total.max(at.saturating_add(self.bytes[i]));
        }
        (total, offsets)
    }
}
