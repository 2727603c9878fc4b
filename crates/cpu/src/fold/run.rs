use std::mem::MaybeUninit;
use std::ops::Range;

use lampyr_base::pool::ThreadPool;

use super::Plan;
use super::types::Fold;
use crate::kernels::operand::Shared;
use crate::simd::{Job, Level, Tier, run};
use crate::tile::Reader;

/// Lanes of a tile.
pub(crate) const TILE: usize = 1024;
/// Results that are folded side by side, or handed on together.
pub(crate) const BLOCK: usize = 512;
/// Elements folded into a lane before the lane is widened.
const STRETCH: usize = 128;

const GROUPS: usize = 4;
const WIDTH: usize = 16;

/// Room for two tiles.
#[repr(align(64))]
pub(crate) struct Tiles {
    _bytes: [MaybeUninit<u8>; 2 * TILE * 8],
}

impl Tiles {
    /// Unused room.
    pub(crate) fn new() -> Tiles {
        Tiles { _bytes: [MaybeUninit::uninit(); 2 * TILE * 8] }
    }

    /// The addresses of both tiles.
    pub(crate) fn both(&mut self) -> [*mut u8; 2] {
        let first = std::ptr::from_mut(self).cast::<u8>();
        [first, first.wrapping_add(TILE * 8)]
    }
}

/// Folds one tile.
#[inline(always)]
pub(crate) fn fold_tile<F: Fold, L: Level>(x: &[F::Lane], center: F::Lane) -> F::Lane {
    let mut acc = [[F::NOTHING; WIDTH]; GROUPS];
    let (chunks, rest) = x.as_chunks::<{ GROUPS * WIDTH }>();
    for chunk in chunks {
        for g in 0..GROUPS {
            for i in 0..WIDTH {
                acc[g][i] = F::step::<L>(acc[g][i], chunk[g * WIDTH + i], center);
            }
        }
    }
    let [mut a, b, c, d] = acc;
    let (pieces, few) = rest.as_chunks::<WIDTH>();
    for piece in pieces {
        for i in 0..WIDTH {
            a[i] = F::step::<L>(a[i], piece[i], center);
        }
    }
    for i in 0..few.len().min(WIDTH) {
        a[i] = F::step::<L>(a[i], few[i], center);
    }
    for i in 0..WIDTH {
        a[i] = F::merge(F::merge(a[i], b[i]), F::merge(c[i], d[i]));
    }
    let mut half = WIDTH / 2;
    while half > 0 {
        for i in 0..half {
            a[i] = F::merge(a[i], a[i + half]);
        }
        half /= 2;
    }
    a[0]
}

struct Rows<'a, F: Fold> {
    reader: &'a Reader,
    plan: &'a Plan,
    /// Results to fold.
    rows: Range<usize>,
    /// Elements of each to fold.
    part: Range<usize>,
    centers: &'a [F::Lane],
    to: &'a mut [F::Wide],
}

impl<F: Fold> Job for Rows<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let mut tiles = Tiles::new();
        let buffers = tiles.both();
        for (row, to) in self.rows.zip(self.to) {
            let center = if F::CENTERED { self.centers[row] } else { F::NOTHING };
            let mut total = F::widen(F::NOTHING);
            let mut at = self.part.start;
            while at < self.part.end {
                let n = TILE.min(self.part.end - at);
                // SAFETY: the points lie in the plan's shape, which is that of the tensor; tiles have room for `n` lanes.
                let x = unsafe {
                    let x = self.reader.tile(row * self.plan.len + at, n, buffers);
                    std::slice::from_raw_parts(x.cast::<F::Lane>(), n)
                };
                total = F::join(total, F::widen(fold_tile::<F, L>(x, center)));
                at += n;
            }
            *to = total;
        }
    }
}

struct Columns<'a, F: Fold> {
    reader: &'a Reader,
    plan: &'a Plan,
    group: usize,
    part: Range<usize>,
    columns: Range<usize>,
    centers: &'a [F::Lane],
    to: &'a mut [F::Wide],
}

impl<F: Fold> Job for Columns<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let mut tiles = Tiles::new();
        let buffers = tiles.both();
        let n = self.columns.len();
        let mut lanes = [F::NOTHING; BLOCK];
        let lanes = &mut lanes[..n];
        let first = self.group * self.plan.inner + self.columns.start;
        let centers = if F::CENTERED { &self.centers[first..first + n] } else { &[] };
        self.to.fill(F::widen(F::NOTHING));
        let mut at = self.part.start;
        while at < self.part.end {
            let end = self.part.end.min(at + STRETCH);
            lanes.fill(F::NOTHING);
            for k in at..end {
                let point = (self.group * self.plan.len + k) * self.plan.inner + self.columns.start;
                // SAFETY: the points lie in the plan's shape, which is that of the tensor; tiles have room for `n` lanes.
                let x = unsafe {
                    let x = self.reader.tile(point, n, buffers);
                    std::slice::from_raw_parts(x.cast::<F::Lane>(), n)
                };
                if F::CENTERED {
                    for i in 0..n {
                        lanes[i] = F::step::<L>(lanes[i], x[i], centers[i]);
                    }
                } else {
                    for i in 0..n {
                        lanes[i] = F::step::<L>(lanes[i], x[i], F::NOTHING);
                    }
                }
            }
            for (to, &a) in self.to.iter_mut().zip(lanes.iter()) {
                *to = F::join(*to, F::widen(a));
            }
            at = end;
        }
    }
}

/// Folds as `plan` says: `finish(first, results)` gets the results from number `first` on, in pieces of up to [`BLOCK`].
/// `centers` has one number per result for centred folds.
///
/// # Safety
/// `reader` must read the tensor that the plan was made for, and `workspace` must have [`Plan::workspace`] bytes, aligned
/// to 8.
pub(crate) unsafe fn fold<F: Fold>(
    tier: Tier,
    plan: &Plan,
    reader: &Reader,
    centers: &[F::Lane],
    workspace: *mut u8,
    finish: impl Fn(usize, &[F::Wide]) + Sync,
) {
    let nothing = F::widen(F::NOTHING);
    let partials = Shared(workspace);
    let splits = plan.splits;
    let reader = &SharedReader(reader);
    let part = |s: usize| s * plan.split_len..plan.len.min((s + 1) * plan.split_len);
    let emit = |first: usize, split: usize, results: &[F::Wide]| {
        if splits == 1 {
            return finish(first, results);
        }
        for (i, &x) in results.iter().enumerate() {
            // SAFETY: the workspace has room for `splits` numbers of each result, and no other task writes these.
            unsafe { partials.at((((first + i) * splits + split) * 8) as isize).cast::<F::Wide>().write(x) };
        }
    };
    let blocks = plan.inner.div_ceil(BLOCK);
    let pool = |tasks: usize, elements: usize, body: &(dyn Fn(Range<usize>) + Sync)| {
        let grain = Plan::tasks_per_chunk(elements);
        if tasks <= grain { body(0..tasks) } else { ThreadPool::global().parallel_ranges(tasks, grain, body) }
    };
    if plan.inner == 1 {
        pool(plan.outer * splits, plan.split_len, &|tasks| {
            let mut results = [nothing; BLOCK];
            let mut task = tasks.start;
            while task < tasks.end {
                let (row, split) = (task / splits, task % splits);
                let count = if splits == 1 { BLOCK.min(tasks.end - task) } else { 1 };
                let to = &mut results[..count];
                let rows = row..row + count;
                run(tier, Rows::<F> { reader: reader.0, plan, rows, part: part(split), centers, to });
                emit(row, split, &results[..count]);
                task += count;
            }
        });
    } else {
        pool(plan.outer * blocks * splits, plan.split_len * plan.inner.min(BLOCK), &|tasks| {
            let mut results = [nothing; BLOCK];
            for task in tasks {
                let (group, rest) = (task / (blocks * splits), task % (blocks * splits));
                let (block, split) = (rest / splits, rest % splits);
                let columns = block * BLOCK..plan.inner.min((block + 1) * BLOCK);
                let first = group * plan.inner + columns.start;
                let to = &mut results[..columns.len()];
                let count = columns.len();
                run(tier, Columns::<F> { reader: reader.0, plan, group, part: part(split), columns, centers, to });
                emit(first, split, &results[..count]);
            }
        });
    }
    if splits > 1 {
        let mut results = [nothing; BLOCK];
        for first in (0..plan.results()).step_by(BLOCK) {
            let count = BLOCK.min(plan.results() - first);
            for (i, to) in results[..count].iter_mut().enumerate() {
                *to = (0..splits).fold(nothing, |total, s| {
                    // SAFETY: all tasks have run and written their numbers.
                    let x = unsafe { partials.at((((first + i) * splits + s) * 8) as isize).cast::<F::Wide>().read() };
                    F::join(total, x)
                });
            }
            finish(first, &results[..count]);
        }
    }
}

/// A reader that tasks share.
struct SharedReader<'a>(&'a Reader);

// SAFETY: a reader only reads, and the launch keeps its tensor alive and unchanged.
unsafe impl Sync for SharedReader<'_> {}
