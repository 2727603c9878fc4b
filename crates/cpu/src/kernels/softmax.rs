//! Softmax and its logarithm along one axis.

use std::ops::Range;

use lampyr_backend::{Accepts, ArgInfo, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{DType, Error, Layout, Result, Shape, Strides};
use lampyr_ir::Op;
use lampyr_ops::build::{LogSoftmax, Softmax};
use lampyr_ops::common;

use super::operand::{Shared, start};
use crate::fold::{BLOCK, Fold, Max, TILE, Tiles, fold_tile};
use crate::simd::lane::Lane;
use crate::simd::prim::{Prim, Prims, is_native};
use crate::simd::softmax_row::softmax_row;
use crate::simd::{Job, Level, Tier, run};
use crate::tile::{Reader, strided};

/// Elements of one chunk of a parallel loop.
const CHUNK: usize = 8 << 10;
/// Inner axes of at least this size are worked on side by side.
const WIDE: usize = 16;
/// Terms of a sum before it is widened.
const STRETCH: usize = 128;

/// Softmax.
pub(crate) struct SoftmaxKernel;
/// Logarithm of softmax.
pub(crate) struct LogSoftmaxKernel;

/// A float compute type.
trait Real: Lane + Send + Sync {
    const ZERO: Self;
    const LOWEST: Self;
    fn of(x: f64) -> Self;
    fn greater(a: Self, b: Self) -> Self;
    fn largest<L: Level>(x: &[Self]) -> Self;
}

macro_rules! real {
    ($t:ty) => {
        impl Real for $t {
            const ZERO: $t = 0.0;
            const LOWEST: $t = <$t>::NEG_INFINITY;
            #[inline(always)]
            fn of(x: f64) -> $t {
                x as $t
            }
            #[inline(always)]
            fn greater(a: $t, b: $t) -> $t {
                Lane::max(a, b)
            }
            #[inline(always)]
            fn largest<L: Level>(x: &[$t]) -> $t {
                fold_tile::<Max<$t>, L>(x, <Max<$t> as Fold>::NOTHING)
            }
        }
    };
}

real!(f32);
real!(f64);

struct Call {
    reader: Reader,
    /// `None` when lanes are the elements.
    narrow: Option<Prim>,
    to: Shared,
    size: usize,
    len: usize,
    /// Elements behind the axis.
    inner: usize,
    log: bool,
}

// SAFETY: the reader only reads; chunks write different parts of the output.
unsafe impl Sync for Call {}

/// Elements between two widenings of a sum.
const PIECE: usize = 2048;

/// Sum of up to [`PIECE`] terms.
#[inline(always)]
fn total<T: Real>(x: &[T]) -> f64 {
    const LANES: usize = 16;
    let mut sums = [T::ZERO; LANES];
    let (pieces, rest) = x.as_chunks::<LANES>();
    for piece in pieces {
        for i in 0..LANES {
            sums[i] = sums[i].add(piece[i]);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(rest) {
        *sum = sum.add(x);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] = sums[i].add(sums[i + half]);
        }
        half /= 2;
    }
    sums[0].to_f64()
}

/// Writes exp(x - most) for all of `x`, and gives their sum.
#[inline(always)]
fn exponentials<T: Real, L: Level>(x: &[T], most: T, y: &mut [T]) -> f64 {
    let mut sum = 0.0;
    for (x, y) in x.chunks(PIECE).zip(y.chunks_mut(PIECE)) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x.sub(most).exp::<L>();
        }
        sum += total(y);
    }
    sum
}

/// The sum of exp(x - most).
#[inline(always)]
fn sum_of_exponentials<T: Real, L: Level>(x: &[T], most: T) -> f64 {
    const SHORT: usize = 256;
    let mut buffer = [T::ZERO; SHORT];
    x.chunks(SHORT).map(|x| exponentials::<T, L>(x, most, &mut buffer[..x.len()])).sum()
}

/// Rows that lie in memory as they are computed.
struct Dense<'a> {
    call: &'a Call,
    from: Shared,
    rows: Range<usize>,
}

impl Job for Dense<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let n = self.call.len;
        let whole = softmax_row(Tier::current()).filter(|_| !self.call.log);
        for row in self.rows {
            let at = (row * n * 4) as isize;
            if let Some(whole) = whole {
                // SAFETY: the row lies inside input and output, which do not overlap.
                unsafe { whole(self.from.at(at).cast::<f32>().cast_const(), self.call.to.at(at).cast::<f32>(), n) };
                continue;
            }
            // SAFETY: the row lies inside input and output, which do not overlap; floats of any bits are valid.
            let (x, y): (&[f32], &mut [f32]) = unsafe {
                let x = std::slice::from_raw_parts(self.from.at(at).cast::<f32>().cast_const(), n);
                (x, std::slice::from_raw_parts_mut(self.call.to.at(at).cast::<f32>(), n))
            };
            let most = f32::largest::<L>(x);
            if self.call.log {
                let shift = sum_of_exponentials::<f32, L>(x, most).ln() as f32;
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = x - most - shift;
                }
                continue;
            }
            let total = exponentials::<f32, L>(x, most, y);
            let factor = (1.0 / total) as f32;
            y.iter_mut().for_each(|y| *y *= factor);
        }
    }
}

/// Rows of any type and layout, tile by tile.
struct Rows<'a, T> {
    call: &'a Call,
    rows: Range<usize>,
    _lane: std::marker::PhantomData<T>,
}

impl<T: Real> Job for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let call = self.call;
        let (mut tiles, mut results) = (Tiles::new(), Tiles::new());
        let [result, narrowed] = results.both();
        let buffers = tiles.both();
        // SAFETY: points lie inside the tensor, and tiles have room for `count` lanes of `T`.
        let tile = |row: usize, at: usize| unsafe {
            let count = TILE.min(call.len - at);
            std::slice::from_raw_parts(call.reader.tile(row * call.len + at, count, buffers).cast::<T>(), count)
        };
        for row in self.rows {
            let mut most = T::LOWEST;
            for at in (0..call.len).step_by(TILE) {
                most = T::greater(most, T::largest::<L>(tile(row, at)));
            }
            let mut total = 0.0;
            for at in (0..call.len).step_by(TILE) {
                total += sum_of_exponentials::<T, L>(tile(row, at), most);
            }
            let (factor, shift) = (T::of(1.0 / total), T::of(total.ln()));
            let start = row / call.inner * call.len * call.inner + row % call.inner;
            for at in (0..call.len).step_by(TILE) {
                let x = tile(row, at);
                let n = x.len();
                // SAFETY: `result` is a tile of its own; the elements are written before they are read.
                let y = unsafe { std::slice::from_raw_parts_mut(result.cast::<std::mem::MaybeUninit<T>>(), n) };
                finish::<T, L>(call.log, x, y, |_| (most, factor, shift));
                let to = call.to.at(((start + at * call.inner) * call.size) as isize);
                // SAFETY: the row lies inside the output; tiles hold `n` lanes.
                unsafe {
                    let from = match call.narrow {
                        Some(narrow) => {
                            narrow(narrowed, result, result, result, n);
                            narrowed
                        }
                        None => result,
                    };
                    strided(to, (call.inner * call.size) as isize, from, call.size as isize, n, call.size);
                }
            }
        }
    }
}

#[inline(always)]
fn finish<T: Real, L: Level>(log: bool, x: &[T], y: &mut [std::mem::MaybeUninit<T>], of: impl Fn(usize) -> (T, T, T)) {
    if log {
        for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
            let (most, _, shift) = of(i);
            y.write(x.sub(most).sub(shift));
        }
    } else {
        for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
            let (most, factor, _) = of(i);
            y.write(x.sub(most).exp::<L>().mul(factor));
        }
    }
}

/// Neighbouring columns of one group, side by side.
struct Columns<'a, T> {
    call: &'a Call,
    group: usize,
    columns: Range<usize>,
    _lane: std::marker::PhantomData<T>,
}

impl<T: Real> Job for Columns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let call = self.call;
        let n = self.columns.len();
        let (mut tiles, mut results) = (Tiles::new(), Tiles::new());
        let [result, _] = results.both();
        let buffers = tiles.both();
        let point = |k: usize| (self.group * call.len + k) * call.inner + self.columns.start;
        // SAFETY: points lie inside the tensor, and tiles have room for `n` lanes of `T`.
        let tile =
            |k: usize| unsafe { std::slice::from_raw_parts(call.reader.tile(point(k), n, buffers).cast::<T>(), n) };
        let mut most = [T::LOWEST; BLOCK];
        for k in 0..call.len {
            for (m, &x) in most.iter_mut().zip(tile(k)) {
                *m = T::greater(*m, x);
            }
        }
        let mut totals = [0f64; BLOCK];
        for first in (0..call.len).step_by(STRETCH) {
            let mut sums = [T::ZERO; BLOCK];
            for k in first..call.len.min(first + STRETCH) {
                for ((sum, &m), &x) in sums.iter_mut().zip(&most).zip(tile(k)) {
                    *sum = sum.add(x.sub(m).exp::<L>());
                }
            }
            for (total, sum) in totals[..n].iter_mut().zip(&sums) {
                *total += sum.to_f64();
            }
        }
        let (mut factors, mut shifts) = ([T::ZERO; BLOCK], [T::ZERO; BLOCK]);
        for ((factor, shift), total) in factors.iter_mut().zip(&mut shifts).zip(&totals[..n]) {
            (*factor, *shift) = (T::of(1.0 / total), if call.log { T::of(total.ln()) } else { T::ZERO });
        }
        for k in 0..call.len {
            let x = tile(k);
            // SAFETY: `result` is a tile of its own; the elements are written before they are read.
            let y = unsafe { std::slice::from_raw_parts_mut(result.cast::<std::mem::MaybeUninit<T>>(), n) };
            if call.log {
                for (((y, &x), &m), &s) in y.iter_mut().zip(x).zip(&most).zip(&shifts) {
                    y.write(x.sub(m).sub(s));
                }
            } else {
                for (((y, &x), &m), &f) in y.iter_mut().zip(x).zip(&most).zip(&factors) {
                    y.write(x.sub(m).exp::<L>().mul(f));
                }
            }
            let to = call.to.at((point(k) * call.size) as isize);
            // SAFETY: the columns lie inside the output, which is aligned; the tile holds `n` lanes.
            unsafe {
                match call.narrow {
                    Some(narrow) => narrow(to, result, result, result, n),
                    None => std::ptr::copy_nonoverlapping(result, to, n * call.size),
                }
            }
        }
    }
}

fn pool(tasks: usize, elements: usize, f: impl Fn(Range<usize>) + Sync) {
    let grain = (CHUNK / elements.max(1)).max(1);
    if tasks <= grain { f(0..tasks) } else { ThreadPool::global().parallel_ranges(tasks, grain, f) }
}

fn execute<T: Real>(tier: Tier, call: &Call, outer: usize) {
    if call.inner >= WIDE {
        let blocks = call.inner.div_ceil(BLOCK);
        pool(outer * blocks, call.len * call.inner.min(BLOCK), |tasks| {
            for task in tasks {
                let start = task % blocks * BLOCK;
                let columns = start..call.inner.min(start + BLOCK);
                run(tier, Columns::<T> { call, group: task / blocks, columns, _lane: std::marker::PhantomData });
            }
        });
    } else {
        pool(outer * call.inner, call.len, |rows| {
            run(tier, Rows::<T> { call, rows, _lane: std::marker::PhantomData });
        });
    }
}

fn softmax(launch: &Launch, axis: i64, log: bool) -> Result<()> {
    let [x] = launch.inputs else { return Err(Error::internal("softmax takes one input")) };
    let y = launch.output(0)?;
    if x.layout.shape != y.layout.shape || x.dtype != y.dtype || !x.dtype.is_float() {
        return Err(Error::internal(format!("softmax of {:?} into {:?}", x.layout.shape, y.layout.shape)));
    }
    let shape = &x.layout.shape;
    let axis = common::axis(axis, shape.len())?;
    if x.layout.is_empty() {
        return Ok(());
    }
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let (to, from) = (Shared(start(y)?), Shared(start(x)?));
    if !(to.0 as usize).is_multiple_of(y.dtype.size()) {
        return Err(Error::internal("an output is not aligned"));
    }
    let tier = Tier::current();
    let prims = Prims::of(tier);
    let lane = if x.dtype == DType::F64 { lampyr_ir::scalar::Compute::F64 } else { lampyr_ir::scalar::Compute::F32 };
    let (order, strides) =
        if inner >= WIDE { (shape.clone(), x.layout.strides.clone()) } else { moved(x.layout, axis) };
    let call = Call {
        reader: Reader::new(from.0, x.dtype, &order, &strides, lane, prims),
        narrow: (!is_native(x.dtype)).then(|| prims.store(x.dtype)),
        to,
        size: x.dtype.size(),
        len: shape[axis],
        inner,
        log,
    };
    let aligned = (from.0 as usize).is_multiple_of(4);
    if x.dtype == DType::F32 && inner == 1 && x.layout.is_contiguous() && aligned {
        pool(outer, call.len, |rows| run(tier, Dense { call: &call, from, rows }));
    } else if x.dtype == DType::F64 {
        execute::<f64>(tier, &call, outer);
    } else {
        execute::<f32>(tier, &call, outer);
    }
    Ok(())
}

/// Sizes and steps with `axis` moved to the end.
fn moved(layout: &Layout, axis: usize) -> (Shape, Strides) {
    let order = (0..layout.rank()).filter(|&a| a != axis).chain([axis]);
    order.map(|a| (layout.shape[a], layout.strides[a])).unzip()
}

macro_rules! kernel {
    ($kernel:ty, $op:ty, $name:literal, $log:literal) => {
        impl Kernel for $kernel {
            fn name(&self) -> &'static str {
                $name
            }

            fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
                inputs.first().is_some_and(|x| x.dtype.is_float())
            }

            fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
                Accepts::Strided
            }

            fn launch(&self, launch: &Launch) -> Result<()> {
                softmax(launch, launch.op::<$op>()?.axis, $log)
            }
        }
    };
}

kernel!(SoftmaxKernel, Softmax, "cpu_softmax", false);
kernel!(LogSoftmaxKernel, LogSoftmax, "cpu_log_softmax", true);
