use std::sync::atomic::{AtomicU64, Ordering};

/// Scratch areas handed to running tasks.
pub struct Slots(AtomicU64);

/// An area in use; given back when dropped.
pub struct Slot<'a> {
    slots: &'a Slots,
    index: usize,
}

impl Slot<'_> {
    /// Number of the area.
    pub fn index(&self) -> usize {
        self.index
    }
}

impl Slots {
    /// `count` areas, at least 1 and at most 64.
    pub fn new(count: usize) -> Slots {
        Slots(AtomicU64::new(u64::MAX >> (64 - count.clamp(1, 64))))
    }

    /// Waits for a free area.
    pub fn take(&self) -> Slot<'_> {
        loop {
            let free = self.0.load(Ordering::Relaxed);
            let index = free.trailing_zeros() as usize;
            if index < 64
                && (self.0)
                    .compare_exchange_weak(free, free & !(1 << index), Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return Slot { slots: self, index };
            }
            std::hint::spin_loop();
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.slots.0.fetch_or(1 << self.index, Ordering::Release);
    }
}
