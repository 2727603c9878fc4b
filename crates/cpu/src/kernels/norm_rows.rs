//! Layer and root mean square normalisation.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use lampyr_backend::{Accepts, Arg, ArgInfo, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{DType, Error, Result};
use lampyr_ir::Op;
use lampyr_ir::scalar::Compute;
use lampyr_ops::build::{LayerNorm, RmsNorm};
use lampyr_ops::common;

use super::contraction::{address, workspace};
use super::operand::{Shared, start};
use crate::fold::{Squares, Sum, TILE, Tiles, fold_tile};
use crate::simd::lane::Lane;
use crate::simd::prim::{Prim, Prims, is_native};
use crate::simd::{Job, Level, Tier, run};
use crate::tile::Reader;

/// Elements of one chunk of a parallel loop.
const CHUNK: usize = 16 << 10;

/// Layer normalisation.
pub(crate) struct LayerNormKernel;
/// Root mean square normalisation.
pub(crate) struct RmsNormKernel;

/// A float compute type.
trait Real: Lane + Send + Sync {
    const LANE: Compute;
    fn of(x: f64) -> Self;
    fn sum<L: Level>(x: &[Self]) -> f64;
    fn squares<L: Level>(x: &[Self], centre: Self) -> f64;
    fn multiply_add<L: Level>(self, a: Self, b: Self) -> Self;
}

macro_rules! real {
    ($t:ident, $lane:ident) => {
        impl Real for $t {
            const LANE: Compute = Compute::$lane;
            #[inline(always)]
            fn of(x: f64) -> $t {
                x as $t
            }
            #[inline(always)]
            fn sum<L: Level>(x: &[$t]) -> f64 {
                fold_tile::<Sum<$t>, L>(x, 0.0).into()
            }
            #[inline(always)]
            fn squares<L: Level>(x: &[$t], centre: $t) -> f64 {
                fold_tile::<Squares<$t>, L>(x, centre).into()
            }
            #[inline(always)]
            fn multiply_add<L: Level>(self, a: $t, b: $t) -> $t {
                if L::FMA { $t::mul_add(self, a, b) } else { self * a + b }
            }
        }
    };
}

real!(f32, F32);
real!(f64, F64);

struct Call {
    reader: Reader,
    /// Elements of a row.
    len: usize,
    centred: bool,
    epsilon: f64,
    /// Vectors of lanes, null where there is none.
    scale: Shared,
    bias: Shared,
    to: Shared,
    size: usize,
    /// `None` when lanes are the elements.
    narrow: Option<Prim>,
    mean: Option<Shared>,
    inverse: Option<Shared>,
}

// SAFETY: the reader only reads; chunks write different rows of the outputs.
unsafe impl Sync for Call {}

struct Rows<'a, T> {
    call: &'a Call,
    rows: Range<usize>,
    _lane: PhantomData<T>,
}

impl<T: Real> Job for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let call = self.call;
        let n = call.len;
        let (mut tiles, mut results) = (Tiles::new(), Tiles::new());
        let buffers = tiles.both();
        let [result, _] = results.both();
        // SAFETY: points lie inside the tensor, and tiles have room for `count` lanes of `T`.
        let tile = |row: usize, at: usize| unsafe {
            let count = TILE.min(n - at);
            std::slice::from_raw_parts(call.reader.tile(row * n + at, count, buffers).cast::<T>(), count)
        };
        let vector = |v: Shared, at: usize, count: usize| {
            // SAFETY: vectors that are there have `n` lanes.
            (!v.0.is_null()).then(|| unsafe { std::slice::from_raw_parts(v.0.cast::<T>().add(at), count) })
        };
        for row in self.rows {
            let mut mean = 0.0;
            if call.centred {
                for at in (0..n).step_by(TILE) {
                    mean += T::sum::<L>(tile(row, at));
                }
                mean /= n as f64;
            }
            let centre = T::of(mean);
            let mut squares = 0.0;
            for at in (0..n).step_by(TILE) {
                squares += T::squares::<L>(tile(row, at), centre);
            }
            let inverse = T::of(1.0 / (squares / n as f64 + call.epsilon).sqrt());
            for at in (0..n).step_by(TILE) {
                let x = tile(row, at);
                let to = call.to.at(((row * n + at) * call.size) as isize);
                let target = if call.narrow.is_some() { result } else { to };
                // SAFETY: the row of the output, or a tile of its own; neither overlaps the input.
                let y = unsafe { std::slice::from_raw_parts_mut(target.cast::<MaybeUninit<T>>(), x.len()) };
                match (vector(call.scale, at, x.len()), vector(call.bias, at, x.len())) {
                    (Some(scale), Some(bias)) => {
                        for (((y, &x), &w), &c) in y.iter_mut().zip(x).zip(scale).zip(bias) {
                            y.write(x.sub(centre).mul(inverse).multiply_add::<L>(w, c));
                        }
                    }
                    (Some(scale), None) => {
                        for ((y, &x), &w) in y.iter_mut().zip(x).zip(scale) {
                            y.write(x.sub(centre).mul(inverse).mul(w));
                        }
                    }
                    _ => {
                        for (y, &x) in y.iter_mut().zip(x) {
                            y.write(x.sub(centre).mul(inverse));
                        }
                    }
                }
                if let Some(narrow) = call.narrow {
                    // SAFETY: the tile holds `x.len()` lanes, and the row has room for as many elements.
                    unsafe { narrow(to, result, result, result, x.len()) };
                }
            }
            for (output, value) in [(call.mean, centre), (call.inverse, inverse)] {
                if let Some(output) = output {
                    // SAFETY: statistics have one lane per row.
                    unsafe { output.0.cast::<T>().add(row).write_unaligned(value) };
                }
            }
        }
    }
}

/// The lanes of a vector: where it lies, or converted in the workspace.
fn lanes<T: Real>(v: Option<&Arg>, n: usize, room: *mut u8, prims: &Prims) -> Result<Shared> {
    let Some(v) = v else { return Ok(Shared(std::ptr::null_mut())) };
    let from = start(v)?;
    if v.layout.len() != n {
        return Err(Error::internal(format!("a vector of shape {:?} for rows of {n}", v.layout.shape)));
    }
    if is_native(v.dtype) && (from as usize).is_multiple_of(size_of::<T>()) {
        return Ok(Shared(from));
    }
    // SAFETY: the vector is row-major, and the workspace holds `n` lanes per vector.
    unsafe {
        match is_native(v.dtype) {
            true => std::ptr::copy_nonoverlapping(from, room, n * size_of::<T>()),
            false => prims.load(v.dtype)(room, from, from, from, n),
        }
    }
    Ok(Shared(room))
}

fn normalise<T: Real>(launch: &Launch, axis: i64, epsilon: f64, centred: bool) -> Result<()> {
    let Some(x) = launch.inputs.first() else { return Err(Error::internal("no input")) };
    let shape = &x.layout.shape;
    let axis = common::axis(axis, shape.len())?;
    let n: usize = shape[axis..].iter().product();
    let rows: usize = shape[..axis].iter().product();
    if n == 0 || rows == 0 {
        return Ok(());
    }
    let y = launch.output(0)?;
    let tier = Tier::current();
    let prims = Prims::of(tier);
    let (room, have) = workspace::<u8>(launch)?;
    if have < 2 * n * size_of::<T>() {
        return Err(Error::internal(format!("a workspace of {have} bytes is too small")));
    }
    let statistic = |i: usize| -> Result<Option<Shared>> {
        launch.outputs.get(i).and_then(Option::as_ref).map(address::<u8>).transpose().map(|p| p.map(Shared))
    };
    let to = Shared(start(y)?);
    if x.layout.shape != y.layout.shape || !(to.0 as usize).is_multiple_of(y.dtype.size()) {
        return Err(Error::internal(format!("a norm of {:?} into {:?}", x.layout.shape, y.layout.shape)));
    }
    let call = Call {
        reader: Reader::new(start(x)?, x.dtype, shape, &x.layout.strides, T::LANE, prims),
        len: n,
        centred,
        epsilon,
        scale: lanes::<T>(launch.inputs.get(1), n, room, prims)?,
        bias: lanes::<T>(launch.inputs.get(2), n, room.wrapping_add(n * size_of::<T>()), prims)?,
        to,
        size: y.dtype.size(),
        narrow: (!is_native(y.dtype)).then(|| prims.store(y.dtype)),
        mean: if centred { statistic(1)? } else { None },
        inverse: statistic(if centred { 2 } else { 1 })?,
    };
    let grain = (CHUNK / n).max(1);
    let work = |rows: Range<usize>| run(tier, Rows::<T> { call: &call, rows, _lane: PhantomData });
    if rows <= grain {
        work(0..rows)
    } else {
        ThreadPool::global().parallel_ranges(rows, grain, work)
    }
    Ok(())
}

macro_rules! kernel {
    ($kernel:ty, $op:ty, $name:literal, $centred:literal) => {
        impl Kernel for $kernel {
            fn name(&self) -> &'static str {
                $name
            }

            fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
                inputs.first().is_some_and(|x| x.dtype.is_float() && inputs.iter().all(|v| v.dtype == x.dtype))
            }

            fn accepts(&self, _op: &dyn Op, i: usize) -> Accepts {
                if i == 0 { Accepts::Strided } else { Accepts::Contiguous }
            }

            fn workspace(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> usize {
                let (Some(op), Some(x)) = (op.as_any().downcast_ref::<$op>(), inputs.first()) else { return 0 };
                let lane = if x.dtype == DType::F64 { 8 } else { 4 };
                common::axis(op.axis, x.layout.rank())
                    .map_or(0, |axis| 2 * lane * x.layout.shape[axis..].iter().product::<usize>())
            }

            fn launch(&self, launch: &Launch) -> Result<()> {
                let op = launch.op::<$op>()?;
                match launch.inputs.first() {
                    Some(x) if x.dtype == DType::F64 => normalise::<f64>(launch, op.axis, op.epsilon, $centred),
                    _ => normalise::<f32>(launch, op.axis, op.epsilon, $centred),
                }
            }
        }
    };
}

kernel!(LayerNormKernel, LayerNorm, "cpu_layer_norm", true);
kernel!(RmsNormKernel, RmsNorm, "cpu_rms_norm", false);
