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

/// Work of the search for a plan of its own, and for one that had a good order to begin with.
const SEARCH: (usize, usize) = (1_500_000, 100_000);

/// Gives every slot of `device` its offset.
pub fn assign(slots: &mut [Slot], device: usize) -> Assignment {
    assign_from(slots, device, &[]).0
}

/// As [`assign`]; `hint` is the order that another plan of the same slots, of other sizes, was placed in. Returns the
/// order of this one.
pub fn assign_from(slots: &mut [Slot], device: usize, hint: &[u32]) -> (Assignment, Vec<u32>) {
    let ids: Vec<usize> = (0..slots.len()).filter(|&i| slots[i].device == device && slots[i].bytes > 0).collect();
    let (bound, peak_step) = lower_bound(slots, device);
    let mut result = Assignment { lower_bound: bound, peak_step, heuristic: "by_size", ..Assignment::default() };
    if ids.is_empty() {
        return (result, Vec::new());
    }
    let conflicts = Conflicts::new(slots, &ids);
    let slot = |i: u32| &slots[ids[i as usize]];
    let mut best = Placed { size: usize::MAX, offsets: Vec::new(), order: Vec::new() };
    let by_size = sorted(ids.len(), |i| (usize::MAX - slot(i).bytes, slot(i).start));
    result.greedy_bytes = conflicts.place(&by_size, false).0;
    let mut consider = |name: &'static str, order: Vec<u32>, tight: bool| {
        let (size, offsets) = conflicts.place(&order, tight);
        if size < best.size || best.order.is_empty() {
            (result.heuristic, best) = (name, Placed { size, offsets, order });
        }
        best.size
    };
    let known = is_order(hint, ids.len());
    let enough = bound.saturating_add(bound / 64).min(result.greedy_bytes);
    if !(known && consider("known_order", hint.to_vec(), false) <= enough) {
        let near = |i: u32| peak_step.saturating_sub(slot(i).end).max(slot(i).start.saturating_sub(peak_step));
        let life = |i: u32| slot(i).end.saturating_sub(slot(i).start) + 1;
        let down = |x: usize| usize::MAX - x;
        let n = ids.len();
        let orders: [(&'static str, &dyn Fn() -> Vec<u32>); 8] = [
            ("by_size", &|| by_size.clone()),
            ("from_peak", &|| sorted(n, |i| (near(i), down(slot(i).bytes)))),
            ("by_area", &|| sorted(n, |i| (down(slot(i).bytes.saturating_mul(life(i))), slot(i).start))),
            ("by_lifetime", &|| sorted(n, |i| (down(life(i)), down(slot(i).bytes)))),
            ("first_fit", &|| sorted(n, |i| (slot(i).start, down(slot(i).bytes)))),
            ("last_fit", &|| sorted(n, |i| (down(slot(i).end), down(slot(i).bytes)))),
            ("by_conflict", &|| sorted(n, |i| (down(conflicts.weight(i as usize)), down(slot(i).bytes)))),
            ("peak_by_size", &|| sorted(n, |i| (usize::from(near(i) > 0), down(slot(i).bytes)))),
        ];
        for (name, order) in orders {
            if consider(name, order(), false) <= bound || consider("best_fit", order(), true) <= bound {
                break;
            }
        }
        let work = if known { SEARCH.1 } else { SEARCH.0 };
        if best.size > bound && conflicts.search(&mut best, bound, work) {
            result.heuristic = "search";
        }
    }
    for (i, &id) in ids.iter().enumerate() {
        slots[id].offset = best.offsets[i];
    }
    result.bytes = best.size;
    (result, best.order)
}

/// Slots with their offsets.
struct Placed {
    size: usize,
    offsets: Vec<usize>,
    order: Vec<u32>,
}

fn sorted<K: Ord>(n: usize, key: impl Fn(u32) -> K) -> Vec<u32> {
    let mut all: Vec<u32> = (0..n as u32).collect();
    all.sort_by_cached_key(|i| (key(*i), *i));
    all
}

/// Whether `order` names all of `n` slots once.
fn is_order(order: &[u32], n: usize) -> bool {
    let mut seen = vec![false; n];
    order.len() == n && order.iter().all(|i| seen.get_mut(*i as usize).is_some_and(|s| !std::mem::replace(s, true)))
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

    /// Places slots in this order, each at the lowest offset that is free for all its life, or in the smallest gap that
    /// takes it when `tight`.
    fn place(&self, order: &[u32], tight: bool) -> (usize, Vec<usize>) {
        const FREE: usize = usize::MAX;
        let mut offsets = vec![FREE; self.bytes.len()];
        let mut total = 0usize;
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for &i in order {
            let i = i as usize;
            taken.clear();
            taken.extend(
                (self.with[i].iter().map(|&j| j as usize))
                    .filter(|&j| offsets[j] != FREE)
                    .map(|j| (offsets[j], offsets[j].saturating_add(self.bytes[j]))),
            );
            taken.sort_unstable();
            let mut at = 0usize;
            let mut gap: Option<(usize, usize)> = None;
            for &(from, to) in &taken {
                if at.saturating_add(self.bytes[i]) <= from {
                    let size = from - at;
                    if gap.is_none_or(|(s, _)| size < s) {
                        gap = Some((size, at));
                    }
                    if !tight {
                        break;
                    }
                }
                at = at.max(to);
            }
            let at = gap.map_or(at, |(_, at)| at);
            offsets[i] = at;
            total = total.max(at.saturating_add(self.bytes[i]));
        }
        (total, offsets)
    }

    /// Moves slots within the order until the bound is reached or `work` is spent; whether that made the arena smaller.
    fn search(&self, best: &mut Placed, bound: usize, work: usize) -> bool {
        let tries = (work / self.work().max(1)).clamp(8, 4000);
        let mut rng = SplitMix(self.bytes.len() as u64);
        let mut pick = |n: usize| (rng.next_u64() % n.max(1) as u64) as usize;
        let before = best.size;
        for _ in 0..tries {
            let mut next = best.order.clone();
            // Slots at the top of the arena are placed earlier: they are the ones that found no gap.
            let top: Vec<usize> = (0..next.len())
                .filter(|&k| {
                    let i = next[k] as usize;
                    best.offsets[i].saturating_add(self.bytes[i]) >= best.size
                })
                .collect();
            let from = top.get(pick(top.len())).copied().unwrap_or(0);
            match pick(4) {
                // Behind it goes a slot that it met at a lower place.
                0 => {
                    let met = &self.with[next[from] as usize];
                    let other = met.get(pick(met.len())).copied();
                    if let Some(k) = other.and_then(|o| next.iter().position(|i| *i == o)) {
                        let item = next.remove(k);
                        next.insert(from.min(next.len()), item);
                    }
                }
                1 => {
                    let (a, b) = (pick(next.len()), pick(next.len()));
                    next.swap(a, b);
                }
                _ => {
                    let item = next.remove(from);
                    next.insert(pick(from + 1), item);
                }
            }
            let (size, offsets) = self.place(&next, false);
            if size <= best.size {
                *best = Placed { size, offsets, order: next };
            }
            if best.size <= bound {
                break;
            }
        }
        best.size < before
    }
}
