//! Offsets of slots in an arena: the best of several heuristics and a bounded search.

mod place;

pub use place::{Assignment, assign, assign_from, lower_bound};

/// Alignment of slots in bytes.
pub const ALIGN: usize = 64;

/// A piece of arena memory that is needed from one step to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Index of the device.
    pub device: usize,
    /// Size.
    pub bytes: usize,
    /// First step that uses it.
    pub start: usize,
    /// Last step that uses it.
    pub end: usize,
    /// Offset in the arena of its device.
    pub offset: usize,
}

impl Slot {
    /// Whether both are needed at some step.
    pub fn overlaps(&self, other: &Slot) -> bool {
        self.device == other.device && self.start <= other.end && other.start <= self.end
    }
}
