//! Linear maps along one axis in the form that loops run over.

use lampyr_ops::sample::AxisMap;

use crate::gemm::{Compute, Store};
use crate::simd::{Job, Level};

/// Elements summed side by side.
const BLOCK: usize = 256;

/// Rows `low..high` with equal weights, whose tap `k` sees element `row * step + first + k * gap`.
#[derive(Clone, Debug)]
struct Regular {
    low: usize,
    high: usize,
    step: isize,
    first: isize,
    gap: isize,
}

/// A map with weights of type `E`; its axes have fewer than 2^31 elements.
#[derive(Clone, Debug)]
pub(super) struct Table<E> {
    inputs: usize,
    starts: Vec<usize>,
    indices: Vec<i32>,
    weights: Vec<E>,
    regular: Option<Regular>,
    /// Number of taps of every row, where it is one, and indices and weights by tap.
    uniform: Option<(usize, Vec<i32>, Vec<E>)>,
}

impl<E: Compute> Table<E> {
    /// `map` with converted weights.
    pub fn new(map: &AxisMap, convert: impl Fn(f64) -> E) -> Table<E> {
        let mut table = Table {
            inputs: map.inputs(),
            starts: vec![0],
            indices: Vec::new(),
            weights: Vec::new(),
            regular: None,
            uniform: None,
        };
        for row in 0..map.outputs() {
            let (indices, weights) = map.row(row);
            table.indices.extend(indices.iter().map(|&i| i as i32));
            table.weights.extend(weights.iter().map(|&w| convert(w)));
            table.starts.push(table.indices.len());
        }
        table.regular = table.find_regular();
        let taps = table.row(0).0.len();
        let same = table.starts.windows(2).all(|w| w[1] - w[0] == taps);
        if table.regular.is_none() && same && (taps == 2 || taps == 4) {
            let rows = table.rows();
            let order = (0..taps).flat_map(|k| (0..rows).map(move |r| r * taps + k));
            let (indices, weights) = order.map(|i| (table.indices[i], table.weights[i])).unzip();
            table.uniform = Some((taps, indices, weights));
        }
        table
    }

    /// Number of elements of the axis that is read.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of elements of the axis that is made.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of taps of all rows.
    pub fn taps(&self) -> usize {
        self.indices.len()
    }

    /// Indices and weights of one element; none for a row that does not exist.
    pub fn row(&self, row: usize) -> (&[i32], &[E]) {
        match (self.starts.get(row), self.starts.get(row + 1)) {
            (Some(&a), Some(&b)) => (&self.indices[a..b], &self.weights[a..b]),
            _ => (&[], &[]),
        }
    }

    /// The stretch of equal rows around the middle, if it is worth a loop of its own.
    fn find_regular(&self) -> Option<Regular> {
        let rows = self.rows();
        let middle = rows / 2;
        let (indices, weights) = self.row(middle);
        let (&start, next) = (indices.first()?, self.row(middle + 1).0.first()?);
        let step = next - start;
        let gap = indices.get(1).map_or(1, |i| i - start);
        let evenly = |list: &[i32]| list.windows(2).all(|w| w[1] - w[0] == gap);
        if step < 1 || !evenly(indices) {
            return None;
        }
        let fits = |row: &usize| {
            let (i, w) = self.row(*row);
            let at = i64::from(start) + (*row as i64 - middle as i64) * i64::from(step);
            w == weights && evenly(i) && i.first().is_some_and(|&i| i64::from(i) == at)
        };
        let low = (0..middle).rev().take_while(fits).last().unwrap_or(middle);
        let high = (middle..rows).take_while(fits).last()? + 1;
        let first = i64::from(start) - middle as i64 * i64::from(step);
        (high - low > 8).then_some(Regular { low, high, step: step as isize, first: first as isize, gap: gap as isize })
    }
}

/// A weighted sum of rows: `to[i]` is the sum of `weight * from[index * step + i]`.
pub(super) struct Mix<'a, E, A, B> {
    pub indices: &'a [i32],
    pub weights: &'a [E],
    pub from: *const A,
    pub step: usize,
    pub to: *mut B,
    pub count: usize,
}

impl<E: Compute, A: Store<E>, B: Store<E>> Job for Mix<'_, E, A, B> {
    type Output = ();
    #[inline(always)]
    fn run<L: Level>(self) {
        // SAFETY: who made this says that the rows are inside their memories.
        let row = |i: i32| unsafe { std::slice::from_raw_parts(self.from.add(i as usize * self.step), self.count) };
        // SAFETY: as above; nothing else uses the result.
        let to = unsafe { std::slice::from_raw_parts_mut(self.to, self.count) };
        match (self.indices, self.weights) {
            ([], _) => to.fill(B::put(E::ZERO)),
            (&[i], &[w]) => to.iter_mut().zip(row(i)).for_each(|(to, x)| *to = B::put(w * x.get())),
            (&[i, j], &[v, w]) => {
                let pairs = row(i).iter().zip(row(j));
                to.iter_mut().zip(pairs).for_each(|(to, (x, y))| *to = B::put(v * x.get() + w * y.get()));
            }
            _ => {
                let mut sums = [E::ZERO; BLOCK];
                for (at, to) in to.chunks_mut(BLOCK).enumerate() {
                    let sums = &mut sums[..to.len()];
                    sums.fill(E::ZERO);
                    for (&i, &w) in self.indices.iter().zip(self.weights) {
                        let from = &row(i)[at * BLOCK..][..sums.len()];
                        sums.iter_mut().zip(from).for_each(|(s, x)| *s = *s + w * x.get());
                    }
                    to.iter_mut().zip(sums).for_each(|(to, s)| *to = B::put(*s));
                }
            }
        }
    }
}

/// The map along a row.
pub(super) struct Across<'a, E, A, B> {
    pub table: &'a Table<E>,
    pub from: *const A,
    pub to: *mut B,
}

impl<E: Compute, A: Store<E>, B: Store<E>> Across<'_, E, A, B> {
    /// Row by row.
    ///
    /// # Safety
    /// Rows exist and lie inside the operands.
    #[inline(always)]
    unsafe fn single(&self, rows: std::ops::Range<usize>) {
        for row in rows {
            let (indices, weights) = self.table.row(row);
            let mut sum = E::ZERO;
            for (&i, &w) in indices.iter().zip(weights) {
                // SAFETY: the caller's promise.
                sum = sum + w * unsafe { *self.from.add(i as usize) }.get();
            }
            // SAFETY: as above.
            unsafe { self.to.add(row).write(B::put(sum)) };
        }
    }

    /// # Safety
    /// As for `single`; `indices` and `weights` hold `K` stretches of one element per row.
    #[inline(always)]
    unsafe fn uniform<const K: usize>(&self, indices: &[i32], weights: &[E]) {
        let rows = self.table.rows();
        // SAFETY: the caller's promise.
        unsafe {
            let to = std::slice::from_raw_parts_mut(self.to, rows);
            for (row, to) in to.iter_mut().enumerate() {
                let tap = |k: usize| {
                    let at = k * rows + row;
                    *weights.get_unchecked(at) * (*self.from.offset(*indices.get_unchecked(at) as isize)).get()
                };
                let mut sum = tap(0);
                for k in 1..K {
                    sum = sum + tap(k);
                }
                *to = B::put(sum);
            }
        }
    }

    /// # Safety
    /// As for `single`.
    #[inline(always)]
    unsafe fn regular<const STEP: isize>(&self, r: &Regular) {
        let step = if STEP == 0 { r.step } else { STEP };
        let (_, weights) = self.table.row(r.low);
        let mut sums = [E::ZERO; BLOCK];
        for start in (r.low..r.high).step_by(BLOCK) {
            let sums = &mut sums[..BLOCK.min(r.high - start)];
            sums.fill(E::ZERO);
            for (k, &w) in weights.iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe {
                    let from = self.from.offset(start as isize * step + r.first + k as isize * r.gap);
                    for (i, s) in sums.iter_mut().enumerate() {
                        *s = *s + w * (*from.offset(i as isize * step)).get();
                    }
                }
            }
            for (i, s) in sums.iter().enumerate() {
                // SAFETY: as above.
                unsafe { self.to.add(start + i).write(B::put(*s)) };
            }
        }
    }
}

impl<E: Compute, A: Store<E>, B: Store<E>> Job for Across<'_, E, A, B> {
    type Output = ();
    #[inline(always)]
    fn run<L: Level>(self) {
        let rows = self.table.rows();
        // SAFETY: who made this says that the rows are inside their memories.
        unsafe {
            match (&self.table.uniform, &self.table.regular) {
                (Some((2, indices, weights)), _) => self.uniform::<2>(indices, weights),
                (Some((_, indices, weights)), _) => self.uniform::<4>(indices, weights),
                (None, Some(r)) => {
                    self.single(0..r.low);
                    match r.step {
                        1 => self.regular::<1>(r),
                        2 => self.regular::<2>(r),
                        _ => self.regular::<0>(r),
                    }
                    self.single(r.high..rows);
                }
                (None, None) => self.single(0..rows),
            }
        }
    }
}
