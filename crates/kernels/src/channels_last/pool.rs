//! Pooling: positions that a window sees are rows of channels, which are folded three at a time.

use super::Axis;
use crate::simd::{Job, Level};

/// How the elements of a window become one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fold {
    /// The largest; NaN wins.
    Max,
    /// The sum divided by this.
    Mean(Divisor),
}

/// What a sum is divided by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Divisor {
    /// The number of elements seen.
    Seen,
    /// The number of elements of the padded image that are seen; this much padding lies behind both axes.
    Padded([usize; 2]),
    /// A number.
    Fixed(f32),
}

/// One row of results, `[columns.count, channels]`.
#[derive(Clone, Copy)]
pub struct PoolRow {
    /// Axis of rows.
    pub rows: Axis,
    /// Axis of columns.
    pub columns: Axis,
    /// Channels of an image.
    pub channels: usize,
    /// The image, `[rows.size, columns.size, channels]`.
    pub from: *const f32,
    /// The row of results.
    pub to: *mut f32,
    /// Which row.
    pub row: usize,
    /// How elements become one.
    pub fold: Fold,
}

#[inline(always)]
fn larger(best: f32, x: f32) -> f32 {
    if x > best || x.is_nan() { x } else { best }
}

#[inline(always)]
fn sum(a: f32, b: f32) -> f32 {
    a + b
}

/// Elements of the padded image that window `i` sees on an axis.
fn padded(axis: &Axis, i: usize, behind: usize) -> usize {
    let room = (axis.before + axis.size + behind).saturating_sub(i * axis.step);
    room.div_ceil(axis.dilation).min(axis.taps)
}

impl PoolRow {
    /// Folds what window `column` sees into `to`; how many elements that is.
    #[inline(always)]
    fn window(&self, column: usize, to: &mut [f32], nothing: f32, f: impl Fn(f32, f32) -> f32 + Copy) -> usize {
        let (rows, columns) = (self.rows.taps_at(self.row), self.columns.taps_at(column));
        let count = rows.len() * columns.len();
        let row = |i: usize| {
            let (y, x) = (rows.start + i / columns.len(), columns.start + i % columns.len());
            let at = self.rows.at(self.row, y) * self.columns.size + self.columns.at(column, x);
            // SAFETY: taps see elements of the image, which has a row of channels at each.
            unsafe { std::slice::from_raw_parts(self.from.add(at * self.channels), self.channels) }
        };
        let mut i = 0;
        if count >= 3 {
            let (a, b, c) = (row(0), row(1), row(2));
            to.iter_mut().zip(a).zip(b).zip(c).for_each(|(((to, a), b), c)| *to = f(f(*a, *b), *c));
            i = 3;
        } else {
            to.fill(nothing);
        }
        while i + 3 <= count {
            let (a, b, c) = (row(i), row(i + 1), row(i + 2));
            to.iter_mut().zip(a).zip(b).zip(c).for_each(|(((to, a), b), c)| *to = f(f(f(*to, *a), *b), *c));
            i += 3;
        }
        while i < count {
            to.iter_mut().zip(row(i)).for_each(|(to, a)| *to = f(*to, *a));
            i += 1;
        }
        count
    }
}

impl PoolRow {
    /// Where the largest elements lie in the plane, of equal ones the first.
    ///
    /// # Safety
    /// The pointers are valid for the sizes given, and `to` for a row of results.
    pub unsafe fn indices(&self, to: *mut i64) {
        let rows = self.rows.taps_at(self.row);
        for column in 0..self.columns.count {
            let columns = self.columns.taps_at(column);
            for channel in 0..self.channels {
                let mut best: Option<(f32, usize)> = None;
                for y in rows.clone() {
                    for x in columns.clone() {
                        let at = self.rows.at(self.row, y) * self.columns.size + self.columns.at(column, x);
                        // SAFETY: taps see elements of the image.
                        let new = unsafe { *self.from.add(at * self.channels + channel) };
                        if best.is_none_or(|(old, _)| new > old || (new.is_nan() && !old.is_nan())) {
                            best = Some((new, at));
                        }
                    }
                }
                // SAFETY: the caller's promise.
                unsafe { *to.add(column * self.channels + channel) = best.map_or(0, |(_, at)| at as i64) };
            }
        }
    }
}

/// A row, whose pointers must be valid for the sizes given.
impl Job for PoolRow {
    type Output = ();
    #[inline(always)]
    fn run<L: Level>(self) {
        for column in 0..self.columns.count {
            // SAFETY: the row has `channels` elements for every window.
            let to = unsafe { std::slice::from_raw_parts_mut(self.to.add(column * self.channels), self.channels) };
            match self.fold {
                Fold::Max => {
                    self.window(column, to, f32::NEG_INFINITY, larger);
                }
                Fold::Mean(divisor) => {
                    let seen = self.window(column, to, 0.0, sum);
                    let count = match divisor {
                        Divisor::Seen => seen.max(1) as f32,
                        Divisor::Padded([below, right]) => {
                            (padded(&self.rows, self.row, below) * padded(&self.columns, column, right)).max(1) as f32
                        }
                        Divisor::Fixed(n) => n,
                    };
                    to.iter_mut().for_each(|x| *x /= count);
                }
            }
        }
    }
}

/// Means of some channels over all positions of an image.
#[derive(Clone, Copy)]
pub struct Mean {
    /// The first of these channels at the first position.
    pub from: *const f32,
    /// Elements from position to position.
    pub step: usize,
    /// How many positions.
    pub positions: usize,
    /// The means.
    pub to: *mut f32,
    /// How many channels.
    pub count: usize,
}

/// Its pointers must be valid for the sizes given.
impl Job for Mean {
    type Output = ();
    #[inline(always)]
    fn run<L: Level>(self) {
        // SAFETY: the caller's promise.
        let to = unsafe { std::slice::from_raw_parts_mut(self.to, self.count) };
        // SAFETY: as above.
        let row = |i: usize| unsafe { std::slice::from_raw_parts(self.from.add(i * self.step), self.count) };
        to.fill(0.0);
        let mut i = 0;
        while i + 4 <= self.positions {
            let (a, b, c, d) = (row(i), row(i + 1), row(i + 2), row(i + 3));
            let pairs = a.iter().zip(b).zip(c.iter().zip(d));
            to.iter_mut().zip(pairs).for_each(|(to, ((a, b), (c, d)))| *to += (*a + *b) + (*c + *d));
            i += 4;
        }
        while i < self.positions {
            to.iter_mut().zip(row(i)).for_each(|(to, a)| *to += *a);
            i += 1;
        }
        let positions = self.positions as f32;
        to.iter_mut().for_each(|x| *x /= positions);
    }
}
