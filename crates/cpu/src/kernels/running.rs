//! Running sums and products.

use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{DType, Error, Result, bf16, dispatch, f16};
use lampyr_ir::Op;
use lampyr_ops::build::{Cumprod, Cumsum};
use lampyr_ops::common;

use super::contraction::address;
use super::operand::Shared;
use crate::simd::{Job, Level, Tier, run};

/// Cumsum and cumprod, several columns side by side.
pub(super) struct RunningKernel;

/// Columns that go side by side.
const COLUMNS: usize = 64;
/// Elements of one chunk.
const CHUNK: usize = 32 * 1024;

/// Floats are folded in `float64`, integers in their own type, wrapping.
trait Step: Copy + Send + Sync + 'static {
    type Total: Copy;
    const ZERO: Self::Total;
    const ONE: Self::Total;
    fn sum(total: Self::Total, x: Self) -> Self::Total;
    fn product(total: Self::Total, x: Self) -> Self::Total;
    fn of(total: Self::Total) -> Self;
}

macro_rules! steps {
    ($($t:ty)*) => { $(
        impl Step for $t {
            type Total = $t;
            const ZERO: $t = 0;
            const ONE: $t = 1;
            #[inline(always)]
            fn sum(total: $t, x: $t) -> $t {
                total.wrapping_add(x)
            }
            #[inline(always)]
            fn product(total: $t, x: $t) -> $t {
                total.wrapping_mul(x)
            }
            #[inline(always)]
            fn of(total: $t) -> $t {
                total
            }
        }
    )* };
}
steps! { u8 i8 u16 i16 u32 i32 u64 i64 }

macro_rules! float_steps {
    ($($t:ty, $widen:expr, $narrow:expr;)*) => { $(
        impl Step for $t {
            type Total = f64;
            const ZERO: f64 = 0.0;
            const ONE: f64 = 1.0;
            #[inline(always)]
            fn sum(total: f64, x: $t) -> f64 {
                let widen: fn($t) -> f64 = $widen;
                total + widen(x)
            }
            #[inline(always)]
            fn product(total: f64, x: $t) -> f64 {
                let widen: fn($t) -> f64 = $widen;
                total * widen(x)
            }
            #[inline(always)]
            fn of(total: f64) -> $t {
                let narrow: fn(f64) -> $t = $narrow;
                narrow(total)
            }
        }
    )* };
}
float_steps! {
    f32, f64::from, |x| x as f32;
    f64, |x| x, |x| x;
    f16, f16::to_f64, f16::from_f64;
    bf16, bf16::to_f64, bf16::from_f64;
}

#[derive(Clone, Copy)]
struct Way {
    axis: i64,
    exclusive: bool,
    reverse: bool,
    product: bool,
}

fn way(op: &dyn Op) -> Result<Way> {
    let any = op.as_any();
    if let Some(&Cumsum { axis, exclusive, reverse }) = any.downcast_ref() {
        return Ok(Way { axis, exclusive, reverse, product: false });
    }
    if let Some(&Cumprod { axis, exclusive, reverse }) = any.downcast_ref() {
        return Ok(Way { axis, exclusive, reverse, product: true });
    }
    Err(Error::internal("not a running fold"))
}

struct Columns<T> {
    from: *const T,
    to: *mut T,
    step: usize,
    n: usize,
    width: usize,
    way: Way,
}

impl<T: Step> Job for Columns<T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let Columns { from, to, step, n, width, way } = self;
        let mut totals = [if way.product { T::ONE } else { T::ZERO }; COLUMNS];
        for k in 0..n {
            let at = if way.reverse { n - 1 - k } else { k } * step;
            for (c, total) in totals.iter_mut().enumerate().take(width) {
                // SAFETY: whoever makes the job gives `n` rows of `width` columns at both places, `step` elements apart.
                unsafe {
                    let x = *from.add(at + c);
                    let next = if way.product { T::product(*total, x) } else { T::sum(*total, x) };
                    *to.add(at + c) = T::of(if way.exclusive { *total } else { next });
                    *total = next;
                }
            }
        }
    }
}

impl Kernel for RunningKernel {
    fn name(&self) -> &'static str {
        "running"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        inputs.first().is_some_and(|x| x.dtype != DType::Bool)
    }

    fn in_place(&self, _op: &dyn Op, _input: usize, _output: usize) -> bool {
        true
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let x = launch.inputs.first().ok_or_else(|| Error::internal("one input is needed"))?;
        let out = launch.output(0)?;
        let way = way(launch.op)?;
        let shape = x.shape();
        let axis = common::axis(way.axis, shape.len())?;
        if out.shape() != shape || out.dtype != x.dtype {
            return Err(Error::internal(format!("a running fold of {shape:?} into {:?}", out.shape())));
        }
        if x.layout.is_empty() {
            return Ok(());
        }
        let outer: usize = shape[..axis].iter().product();
        let inner: usize = shape[axis + 1..].iter().product();
        let n = shape[axis];
        let blocks = inner.div_ceil(COLUMNS);
        let tier = Tier::current();
        dispatch!(x.dtype, T => {
            let (from, to) = (Shared(address(x)?), Shared(address(out)?));
            ThreadPool::global().parallel_ranges(outer * blocks, (CHUNK / (n * inner.min(COLUMNS))).max(1), |r| {
                for task in r {
                    let first = task % blocks * COLUMNS;
                    let width = COLUMNS.min(inner - first);
                    let at = task / blocks * n * inner + first;
                    let (from, to) = (from.at(0).cast::<T>().wrapping_add(at).cast_const(), to.at(0).cast::<T>().wrapping_add(at));
                    run(tier, Columns { from, to, step: inner, n, width, way });
                }
            });
        });
        Ok(())
    }
}
