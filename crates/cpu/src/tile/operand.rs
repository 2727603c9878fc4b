use lampyr_base::Strides;

use super::nest::runs;

/// Where the elements of one operand lie relative to the points of a nest.
pub(super) enum Kind {
    /// One element for all points.
    Splat,
    /// A fixed number of bytes from point to point.
    Linear(isize),
    /// Anything else.
    General,
}

/// One tensor as the tile loop sees it.
pub(super) struct Operand {
    pub start: *mut u8,
    /// Bytes of an element: 1, 2, 4 or 8.
    pub size: usize,
    pub kind: Kind,
    /// Whether elements are aligned to their size; others are copied before primitives see them.
    aligned: bool,
    /// Bytes from point to point along the axes of the nest.
    pub strides: Strides,
}

// SAFETY: operands are only ever used inside a launch, which keeps the memory alive and lets its chunks write disjoint
// parts of outputs.
unsafe impl Sync for Operand {}

impl Operand {
    /// An operand at `start` with steps in elements.
    pub(super) fn new(start: *mut u8, size: usize, shape: &[usize], strides: &[isize]) -> Operand {
        let strides: Strides = strides.iter().map(|s| s * size as isize).collect();
        let mut kind = Kind::Splat;
        if strides.iter().any(|&s| s != 0) {
            let last = strides.last().copied().unwrap_or(0);
            let mut step = last;
            let mut linear = true;
            for (&d, &s) in shape.iter().zip(&strides).rev() {
                linear &= s == step;
                step = step.wrapping_mul(d as isize);
            }
            kind = if linear { Kind::Linear(last) } else { Kind::General };
        }
        let aligned = start as usize & (size - 1) == 0;
        Operand { start, size, kind, aligned, strides }
    }

    /// An operand whose points follow each other without gaps, or one element for all points.
    pub(super) fn flat(start: *mut u8, size: usize, one: bool) -> Operand {
        let kind = if one { Kind::Splat } else { Kind::Linear(size as isize) };
        Operand { start, size, kind, aligned: start as usize & (size - 1) == 0, strides: Strides::new() }
    }

    /// Whether points follow each other without gaps.
    pub(super) fn is_dense(&self) -> bool {
        self.aligned && matches!(self.kind, Kind::Linear(step) if step == self.size as isize)
    }

    /// Whether all rows are one row.
    pub(super) fn repeats_rows(&self) -> bool {
        matches!(self.kind, Kind::General) && self.strides.split_last().is_some_and(|(_, s)| s.iter().all(|&s| s == 0))
    }

    /// The address of points `start..start + len` when they lie there one after another.
    pub(super) fn dense(&self, shape: &[usize], start: usize, len: usize) -> Option<*mut u8> {
        match self.kind {
            _ if !self.aligned => None,
            Kind::Linear(step) if step == self.size as isize => Some(self.start.wrapping_add(start * self.size)),
            Kind::General if self.strides.last() == Some(&(self.size as isize)) => {
                self.single_run(shape, start, len).map(|offset| self.start.wrapping_offset(offset))
            }
            _ => None,
        }
    }

    /// The address of the element that all of the points `start..start + len` share.
    pub(super) fn shared(&self, shape: &[usize], start: usize, len: usize) -> Option<*mut u8> {
        match self.kind {
            Kind::Splat => Some(self.start),
            Kind::General if self.strides.last() == Some(&0) => {
                self.single_run(shape, start, len).map(|offset| self.start.wrapping_offset(offset))
            }
            _ => None,
        }
    }

    fn single_run(&self, shape: &[usize], start: usize, len: usize) -> Option<isize> {
        let inner = shape.last().copied().unwrap_or(1);
        if start % inner + len > inner {
            return None;
        }
        let mut result = None;
        runs(shape, &self.strides, start, len, |_, _, offset| result = Some(offset));
        result
    }

    /// Copies points `start..start + len` to `to`, one after another.
    ///
    /// # Safety
    /// The points must lie inside the tensor and `to` must have room for them.
    pub(super) unsafe fn read(&self, shape: &[usize], start: usize, len: usize, to: *mut u8) {
        self.each_run(shape, start, len, |at, n, from, step| {
            // SAFETY: the caller's promise; `at + n <= len`.
            unsafe { strided(to.add(at * self.size), self.size as isize, from, step, n, self.size) }
        });
    }

    /// Copies `from`, one after another, to points `start..start + len`.
    ///
    /// # Safety
    /// The points must lie inside the tensor and `from` must hold as many elements.
    pub(super) unsafe fn write(&self, shape: &[usize], start: usize, len: usize, from: *const u8) {
        self.each_run(shape, start, len, |at, n, to, step| {
            // SAFETY: the caller's promise; `at + n <= len`.
            unsafe { strided(to, step, from.add(at * self.size), self.size as isize, n, self.size) }
        });
    }

    fn each_run(&self, shape: &[usize], start: usize, len: usize, mut f: impl FnMut(usize, usize, *mut u8, isize)) {
        match self.kind {
            Kind::Splat => f(0, len, self.start, 0),
            Kind::Linear(step) => f(0, len, self.start.wrapping_offset(start as isize * step), step),
            Kind::General => {
                let step = self.strides.last().copied().unwrap_or(0);
                runs(shape, &self.strides, start, len, |at, n, o| f(at, n, self.start.wrapping_offset(o), step));
            }
        }
    }
}

/// Copies `n` elements of `size` bytes (1, 2, 4 or 8) between places with fixed steps in bytes.
///
/// # Safety
/// All elements must lie inside their allocations. Source and target may be equal, or must not overlap.
#[inline]
pub(crate) unsafe fn strided(to: *mut u8, to_step: isize, from: *const u8, from_step: isize, n: usize, size: usize) {
    macro_rules! elements {
        ($t:ty) => {{
            const SIZE: isize = size_of::<$t>() as isize;
            if from_step == 0 && to_step == SIZE {
                // SAFETY: the caller's promise.
                let x = unsafe { from.cast::<$t>().read_unaligned() };
                for i in 0..n {
                    // SAFETY: as above.
                    unsafe { to.cast::<$t>().add(i).write_unaligned(x) };
                }
            } else if to_step == SIZE {
                for i in 0..n {
                    // SAFETY: as above.
                    unsafe {
                        let x = from.offset(i as isize * from_step).cast::<$t>().read_unaligned();
                        to.cast::<$t>().add(i).write_unaligned(x);
                    }
                }
            } else {
                for i in 0..n as isize {
                    // SAFETY: as above.
                    unsafe {
                        let x = from.offset(i * from_step).cast::<$t>().read_unaligned();
                        to.offset(i * to_step).cast::<$t>().write_unaligned(x);
                    }
                }
            }
        }};
    }
    if to_step == size as isize && from_step == size as isize {
        // SAFETY: the caller's promise.
        return unsafe { std::ptr::copy(from, to, n * size) };
    }
    match size {
        1 => elements!(u8),
        2 => elements!(u16),
        4 => elements!(u32),
        _ => elements!(u64),
    }
}
