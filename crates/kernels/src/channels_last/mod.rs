//! Windows over images whose channels are the last axis: what lies side by side in memory is treated side by side.

mod depthwise;
mod pool;

use std::ops::Range;

pub use depthwise::{Depthwise, DepthwiseFn, depthwise, transpose_weights};
pub use pool::{Divisor, Fold, Mean, PoolRow};

/// One spatial axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Elements of the image.
    pub size: usize,
    /// Windows.
    pub count: usize,
    /// Elements of a window.
    pub taps: usize,
    /// Steps between windows.
    pub step: usize,
    /// Steps between the elements of a window.
    pub dilation: usize,
    /// Padding in front.
    pub before: usize,
}

impl Axis {
    /// The taps of window `i` that see an element.
    #[inline(always)]
    pub fn taps_at(&self, i: usize) -> Range<usize> {
        let start = i * self.step;
        let first = if start >= self.before { 0 } else { (self.before - start).div_ceil(self.dilation) };
        let room = (self.size + self.before).saturating_sub(start);
        let end = room.div_ceil(self.dilation).min(self.taps);
        first.min(end)..end
    }

    /// The windows all of whose taps see an element.
    pub fn inside(&self) -> Range<usize> {
        let first = self.before.div_ceil(self.step).min(self.count);
        let reach = (self.taps.max(1) - 1) * self.dilation + 1;
        let end = match (self.size + self.before).checked_sub(reach) {
            Some(last) => (last / self.step + 1).min(self.count),
            None => 0,
        };
        first..end.max(first)
    }

    /// The element that tap `tap` of window `i` sees, one of [`Axis::taps_at`].
    #[inline(always)]
    pub fn at(&self, i: usize, tap: usize) -> usize {
        (i * self.step + tap * self.dilation).wrapping_sub(self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_see_elements_only() {
        for (size, taps, step, dilation, before, behind) in
            [(7, 3, 1, 1, 1, 1), (8, 3, 2, 1, 1, 1), (9, 5, 2, 2, 4, 3), (3, 5, 1, 1, 4, 4), (5, 2, 3, 3, 0, 0)]
        {
            let count = (size + before + behind - ((taps - 1) * dilation + 1)) / step + 1;
            let axis = Axis { size, count, taps, step, dilation, before };
            let sees = |i: usize, t: usize| {
                let at = (i * step + t * dilation) as isize - before as isize;
                (0..size as isize).contains(&at)
            };
            for i in 0..count {
                let want: Vec<usize> = (0..taps).filter(|&t| sees(i, t)).collect();
                let have: Vec<usize> = axis.taps_at(i).collect();
                assert_eq!(have, want, "{axis:?} window {i}");
                assert_eq!(axis.inside().contains(&i), want.len() == taps, "{axis:?} window {i}");
            }
        }
    }
}
