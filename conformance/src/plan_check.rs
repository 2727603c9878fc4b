//! Checks a memory plan from its report alone. Nothing of the planner is used here: only the JSON that
//! `lampyr explain --json` prints.

use serde::Deserialize;

/// One slot of the report.
#[derive(Clone, Debug, Deserialize)]
pub struct Slot {
    /// The value, or `workspace`.
    pub value: String,
    /// Device.
    pub device: String,
    /// Offset in bytes.
    pub offset: usize,
    /// Size in bytes.
    pub bytes: usize,
    /// First step.
    pub start: usize,
    /// Last step.
    pub end: usize,
}

/// One step of the report.
#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    /// Node.
    pub node: String,
    /// Slots read.
    pub reads: Vec<usize>,
    /// Slots written.
    pub writes: Vec<usize>,
}

/// What the report says of memory.
#[derive(Clone, Debug, Deserialize)]
pub struct Plan {
    /// Bytes of the arenas.
    pub arena_bytes: usize,
    /// Said to be the least that any layout needs.
    pub lower_bound_bytes: usize,
    /// Said to be what slots placed by size need.
    pub greedy_bytes: usize,
    /// Sum of all slots.
    pub unplanned_bytes: usize,
    /// Steps.
    pub steps: Vec<Step>,
    /// Slots.
    pub slots: Vec<Slot>,
}

/// What was recomputed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Highest byte in use, over all devices.
    pub arena: usize,
    /// Largest sum of sizes live at one step, in units of the alignment.
    pub bound: usize,
    /// The same without rounding sizes up.
    pub live: usize,
    /// What slots need when the largest ones are placed first, each as low as it can lie.
    pub greedy: usize,
}

/// Slots begin at multiples of this.
const ALIGN: usize = 64;

fn rounded(bytes: usize) -> usize {
    bytes.div_ceil(ALIGN) * ALIGN
}

impl Plan {
    /// Reads a report: that of a plan, or of a compilation with its plan.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(json: &str) -> Result<Plan, String> {
        let mut value: serde_json::Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
        if let Some(inner) = value.get_mut("plan") {
            value = inner.take();
        }
        serde_json::from_value(value).map_err(|e| e.to_string())
    }

    /// Recomputes everything and compares.
    ///
    /// # Errors
    /// The first thing that is not as the report says.
    pub fn check(&self) -> Result<Figures, String> {
        self.lives()?;
        let mut devices: Vec<&str> = self.slots.iter().map(|s| s.device.as_str()).collect();
        devices.sort_unstable();
        devices.dedup();
        let mut all = Figures { arena: 0, bound: 0, live: 0, greedy: 0 };
        for device in devices {
            let slots: Vec<&Slot> = self.slots.iter().filter(|s| s.device == device && s.bytes > 0).collect();
            disjoint(&slots)?;
            all.arena += slots.iter().map(|s| s.offset + rounded(s.bytes)).max().unwrap_or(0);
            all.bound += self.largest(&slots, rounded);
            all.live += self.largest(&slots, |n| n);
            all.greedy += by_size(&slots);
        }
        let pairs = [
            ("arena", self.arena_bytes, all.arena),
            ("lower bound", self.lower_bound_bytes, all.bound),
            ("greedy", self.greedy_bytes, all.greedy),
            ("unplanned", self.unplanned_bytes, self.slots.iter().map(|s| s.bytes).sum()),
        ];
        match pairs.into_iter().find(|(_, said, found)| said != found) {
            Some((what, said, found)) => Err(format!("{what}: the report says {said}, found {found}")),
            None if all.arena < all.bound => Err(format!("an arena of {} below the bound {}", all.arena, all.bound)),
            None if all.arena > all.greedy => Err(format!("an arena of {} above greedy {}", all.arena, all.greedy)),
            None => Ok(all),
        }
    }

    /// Every use of a slot lies in its life, and nothing is read before it is written.
    fn lives(&self) -> Result<(), String> {
        let mut written = vec![false; self.slots.len()];
        for (i, step) in self.steps.iter().enumerate() {
            for s in step.reads.iter().chain(&step.writes) {
                let slot = self.slots.get(*s).ok_or_else(|| format!("step {i} names slot {s}"))?;
                if i < slot.start || slot.end < i {
                    return Err(format!(
                        "step {i} (`{}`) uses slot {s} (`{}`) outside its life",
                        step.node, slot.value
                    ));
                }
            }
            if let Some(s) = step.reads.iter().find(|s| !written[**s]) {
                return Err(format!("step {i} (`{}`) reads slot {s}, which nothing has written", step.node));
            }
            step.writes.iter().for_each(|s| written[*s] = true);
        }
        match self.slots.iter().find(|s| s.start > s.end || (s.end >= self.steps.len() && s.bytes > 0)) {
            Some(s) => Err(format!("slot `{}` lives from {} to {}", s.value, s.start, s.end)),
            None => Ok(()),
        }
    }

    fn largest(&self, slots: &[&Slot], size: impl Fn(usize) -> usize) -> usize {
        (0..self.steps.len())
            .map(|i| slots.iter().filter(|s| s.start <= i && i <= s.end).map(|s| size(s.bytes)).sum())
            .max()
            .unwrap_or(0)
    }
}

fn together(a: &Slot, b: &Slot) -> bool {
    a.start <= b.end && b.start <= a.end
}

fn disjoint(slots: &[&Slot]) -> Result<(), String> {
    for (i, a) in slots.iter().enumerate() {
        if a.offset % ALIGN != 0 {
            return Err(format!("slot `{}` begins at {}", a.value, a.offset));
        }
        for b in slots[i + 1..].iter().filter(|b| together(a, b)) {
            if a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes {
                return Err(format!("`{}` and `{}` overlap", a.value, b.value));
            }
        }
    }
    Ok(())
}

fn by_size(slots: &[&Slot]) -> usize {
    let mut order: Vec<&Slot> = slots.to_vec();
    order.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.start.cmp(&b.start)));
    let mut placed: Vec<(&Slot, usize)> = Vec::new();
    let mut top = 0;
    for slot in order {
        let size = rounded(slot.bytes);
        let mut busy: Vec<(usize, usize)> = (placed.iter())
            .filter(|(other, _)| together(slot, other))
            .map(|(other, at)| (*at, at + rounded(other.bytes)))
            .collect();
        busy.sort_unstable();
        let mut at = 0;
        for (from, to) in busy {
            if at + size <= from {
                break;
            }
            at = at.max(to);
        }
        top = top.max(at + size);
        placed.push((slot, at));
    }
    top
}
