//! Where the largest and smallest elements are.

use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{DType, Error, Result, dispatch};
use lampyr_ir::Op;
use lampyr_ops::build::{Argmax, Argmin};
use lampyr_ops::positions::Search;

use super::contraction::address;
use super::number::Number;
use super::operand::Shared;
use crate::simd::{Job, Level, Tier, run};

/// Argmax and argmin: along lines without gaps the extreme first, then its place; else columns side by side.
pub(super) struct PositionKernel;

/// Columns that go side by side.
const COLUMNS: usize = 64;
/// Lanes of a search along a line.
const LANES: usize = 32;
/// Elements of one chunk.
const CHUNK: usize = 32 * 1024;

fn search(op: &dyn Op) -> Result<Search> {
    let any = op.as_any();
    let max = any.downcast_ref::<Argmax>().map(Argmax::search);
    max.or_else(|| any.downcast_ref::<Argmin>().map(Argmin::search)).ok_or_else(|| Error::internal("not argmax"))
}

#[inline(always)]
fn beats<T: Number>(x: T, y: T, largest: bool) -> bool {
    if largest { x.above(y) } else { y.above(x) }
}

/// The first or last element that `hit` holds for.
#[inline(always)]
fn place<T: Copy>(x: &[T], last: bool, hit: impl Fn(T) -> bool) -> usize {
    let mut all = x.iter();
    if last { all.rposition(|&x| hit(x)) } else { all.position(|&x| hit(x)) }.unwrap_or(0)
}

struct Line<'a, T> {
    x: &'a [T],
    largest: bool,
    last: bool,
}

impl<T: Number> Job for Line<'_, T> {
    type Output = usize;

    #[inline(always)]
    fn run<L: Level>(self) -> usize {
        let Line { x, largest, last } = self;
        let Some(&first) = x.first() else { return 0 };
        let mut best = [first; LANES];
        let mut nan = [false; LANES];
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            for ((best, nan), &x) in best.iter_mut().zip(&mut nan).zip(chunk) {
                *best = if beats(x, *best, largest) { x } else { *best };
                *nan |= x.is_nan();
            }
        }
        for ((best, nan), &x) in best.iter_mut().zip(&mut nan).zip(rest) {
            *best = if beats(x, *best, largest) { x } else { *best };
            *nan |= x.is_nan();
        }
        if nan.contains(&true) {
            return place(x, last, |x| x.is_nan());
        }
        let most = best.iter().copied().fold(first, |m, x| if beats(x, m, largest) { x } else { m });
        place(x, last, |x| !x.above(most) && !most.above(x))
    }
}

struct Columns<'a, T> {
    from: *const T,
    step: usize,
    n: usize,
    largest: bool,
    last: bool,
    to: &'a mut [i64],
}

impl<T: Number> Job for Columns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let width = self.to.len();
        // SAFETY: whoever makes the job gives `n` rows of at least as many columns, `step` elements apart.
        let row = |k: usize| unsafe { std::slice::from_raw_parts(self.from.add(k * self.step), width) };
        let Some(&some) = row(0).first() else { return };
        let mut best = [some; COLUMNS];
        best[..width].copy_from_slice(row(0));
        self.to.fill(0);
        for k in 1..self.n {
            for ((best, at), &x) in best.iter_mut().zip(self.to.iter_mut()).zip(row(k)) {
                let better = beats(x, *best, self.largest) | (x.is_nan() & !best.is_nan());
                let equal = !x.above(*best) & !best.above(x) & (x.is_nan() == best.is_nan());
                let take = better | (equal & self.last);
                *best = if take { x } else { *best };
                *at = if take { k as i64 } else { *at };
            }
        }
    }
}

impl Kernel for PositionKernel {
    fn name(&self) -> &'static str {
        "position"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        inputs.first().is_some_and(|x| x.dtype != DType::Bool)
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let x = launch.inputs.first().ok_or_else(|| Error::internal("one input is needed"))?;
        let out = launch.output(0)?;
        let search = search(launch.op)?;
        let (outer, n, inner) = search.lines(x.shape())?;
        if out.layout.len() != outer * inner {
            return Err(Error::internal(format!("positions in {:?} into {:?}", x.shape(), out.shape())));
        }
        if outer * inner == 0 {
            return Ok(());
        }
        if n == 0 {
            return Err(Error::shape(format!("no element can be chosen from the empty axis of {:?}", x.shape())));
        }
        let Search { largest, last, .. } = search;
        let (tier, pool) = (Tier::current(), ThreadPool::global());
        let to = Shared(address(out)?);
        dispatch!(x.dtype, T => {
            let from = Shared(address(x)?);
            if inner == 1 {
                pool.parallel_ranges(outer, (CHUNK / n).max(1), |r| {
                    for line in r {
                        // SAFETY: line `line` lies in the input without gaps; its result belongs to this chunk.
                        unsafe {
                            let x = std::slice::from_raw_parts(from.at(0).cast::<T>().add(line * n).cast_const(), n);
                            *to.at(0).cast::<i64>().add(line) = run(tier, Line { x, largest, last }) as i64;
                        }
                    }
                });
            } else {
                let blocks = inner.div_ceil(COLUMNS);
                pool.parallel_ranges(outer * blocks, (CHUNK / (n * inner.min(COLUMNS))).max(1), |r| {
                    for task in r {
                        let (o, first) = (task / blocks, task % blocks * COLUMNS);
                        let width = COLUMNS.min(inner - first);
                        // SAFETY: the columns lie in the input, their results belong to this task.
                        unsafe {
                            let from = from.at(0).cast::<T>().add(o * n * inner + first).cast_const();
                            let to = to.at(0).cast::<i64>().add(o * inner + first);
                            let to = std::slice::from_raw_parts_mut(to, width);
                            run(tier, Columns { from, step: inner, n, largest, last, to });
                        }
                    }
                });
            }
        });
        Ok(())
    }
}
