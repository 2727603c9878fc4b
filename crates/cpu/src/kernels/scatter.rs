//! Elements and slices placed into a copy of a tensor.

use lampyr_backend::{Arg, ArgInfo, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{Error, Result, bf16, contiguous_strides, dispatch, f16};
use lampyr_ir::Op;
use lampyr_ops::build::{ScatterElements, ScatterNd};
use lampyr_ops::common;
use lampyr_ops::scatter::Reduction;

use super::contraction::address;
use super::copy::copy;
use super::elements::{Indices, takes_indices, walk};
use super::nd::Tuples;
use super::operand::{Shared, start};

/// Columns of slices that one chunk places.
const COLUMNS: usize = 4096;

/// How an element and its update are combined, each result rounded to the type.
trait Combine: Copy + Send + Sync + 'static {
    fn add(self, y: Self) -> Self;
    fn mul(self, y: Self) -> Self;
    fn min(self, y: Self) -> Self;
    fn max(self, y: Self) -> Self;
}

macro_rules! integers {
    ($($t:ty)*) => { $(
        impl Combine for $t {
            #[inline(always)]
            fn add(self, y: $t) -> $t {
                self.wrapping_add(y)
            }
            #[inline(always)]
            fn mul(self, y: $t) -> $t {
                self.wrapping_mul(y)
            }
            #[inline(always)]
            fn min(self, y: $t) -> $t {
                Ord::min(self, y)
            }
            #[inline(always)]
            fn max(self, y: $t) -> $t {
                Ord::max(self, y)
            }
        }
    )* };
}
integers! { u8 i8 u16 i16 u32 i32 u64 i64 }

macro_rules! floats {
    ($($t:ty, $widen:expr, $narrow:expr;)*) => { $(
        impl Combine for $t {
            #[inline(always)]
            fn add(self, y: $t) -> $t {
                $narrow($widen(self) + $widen(y))
            }
            #[inline(always)]
            fn mul(self, y: $t) -> $t {
                $narrow($widen(self) * $widen(y))
            }
            #[inline(always)]
            fn min(self, y: $t) -> $t {
                if y.is_nan() || y < self { y } else { self }
            }
            #[inline(always)]
            fn max(self, y: $t) -> $t {
                if y.is_nan() || y > self { y } else { self }
            }
        }
    )* };
}
floats! {
    f32, std::convert::identity, std::convert::identity;
    f64, std::convert::identity, std::convert::identity;
    f16, f16::to_f32, f16::from_f32;
    bf16, bf16::to_f32, bf16::from_f32;
}

#[inline(always)]
fn combine<T: Combine>(reduction: Reduction, x: T, y: T) -> T {
    match reduction {
        Reduction::None => y,
        Reduction::Add => x.add(y),
        Reduction::Mul => x.mul(y),
        Reduction::Min => x.min(y),
        Reduction::Max => x.max(y),
    }
}

/// The data in the place of the result.
fn begin(data: &Arg, out: &Arg) -> Result<()> {
    if data.shape() != out.shape() || data.dtype != out.dtype {
        return Err(Error::internal(format!("scatter into {:?} from {:?}", out.shape(), data.shape())));
    }
    if std::ptr::eq(start(data)?, start(out)?) { Ok(()) } else { copy(data, out) }
}

pub(super) struct ScatterElementsKernel;

impl Kernel for ScatterElementsKernel {
    fn name(&self) -> &'static str {
        "scatter_elements"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        takes_indices(inputs.get(1))
    }

    fn in_place(&self, _op: &dyn Op, input: usize, _output: usize) -> bool {
        input == 0
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let [data, places, updates] = launch.inputs else { return Err(Error::internal("scatter takes three inputs")) };
        let (op, out) = (launch.op::<ScatterElements>()?, launch.output(0)?);
        let reduction = Reduction::parse(&op.reduction)?;
        let axis = common::axis(op.axis, out.layout.rank())?;
        let inside = places.layout.rank() == out.layout.rank()
            && (0..out.layout.rank()).all(|a| a == axis || places.shape()[a] <= out.shape()[a]);
        if places.shape() != updates.shape() || updates.dtype != out.dtype || !(inside || places.layout.is_empty()) {
            return Err(Error::internal(format!("updates {:?} at {:?}", updates.shape(), places.shape())));
        }
        let indices = Indices::new(places, out.shape()[axis])?;
        begin(data, out)?;
        let mut strides = contiguous_strides(out.shape());
        let step = std::mem::take(&mut strides[axis]);
        // Places that differ before the axis never meet, so these may be written at the same time.
        let outer: usize = places.shape()[..axis].iter().product();
        let each = places.layout.len() / outer.max(1);
        dispatch!(out.dtype, T => {
            let (from, to) = (Shared(address(updates)?), Shared(address(out)?));
            ThreadPool::global().parallel_ranges(outer, (16 * 1024 / each.max(1)).max(1), |r| {
                let (from, to) = (from.at(0).cast::<T>(), to.at(0).cast::<T>());
                walk(places.shape(), &strides, r.start * each, r.end * each, |i, offset| {
                    // SAFETY: indices were checked, on other axes the indices' shape lies inside the result's.
                    unsafe {
                        let to = to.offset(offset + indices.at(i) as isize * step);
                        *to = combine(reduction, *to, *from.add(i));
                    }
                });
            });
        });
        Ok(())
    }
}

pub(super) struct ScatterNdKernel;

impl Kernel for ScatterNdKernel {
    fn name(&self) -> &'static str {
        "scatter_nd"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        takes_indices(inputs.get(1))
    }

    fn in_place(&self, _op: &dyn Op, input: usize, _output: usize) -> bool {
        input == 0
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let [data, places, updates] = launch.inputs else { return Err(Error::internal("scatter takes three inputs")) };
        let (op, out) = (launch.op::<ScatterNd>()?, launch.output(0)?);
        let reduction = Reduction::parse(&op.reduction)?;
        let tuples = Tuples::new(out.shape(), places, op.batch_dims)?;
        let row = tuples.row;
        if updates.layout.len() != tuples.count * row || updates.dtype != out.dtype {
            return Err(Error::internal(format!("updates {:?} at {:?}", updates.shape(), places.shape())));
        }
        if let Some(t) = (0..tuples.count).find(|&t| tuples.place(t).is_none()) {
            return Err(tuples.wrong(t));
        }
        begin(data, out)?;
        // Tuples may name one slice twice, so chunks share out the columns, not the tuples.
        dispatch!(out.dtype, T => {
            let (from, to) = (Shared(address(updates)?), Shared(address(out)?));
            ThreadPool::global().parallel_ranges(row.div_ceil(COLUMNS), 1, |r| {
                let columns = r.start * COLUMNS..row.min(r.end * COLUMNS);
                for t in 0..tuples.count {
                    let Some(at) = tuples.place(t) else { continue };
                    for c in columns.clone() {
                        // SAFETY: the slice lies in the result, slice `t` in the updates; chunks write other columns.
                        unsafe {
                            let to = to.at(0).cast::<T>().add(at + c);
                            *to = combine(reduction, *to, *from.at(0).cast::<T>().add(t * row + c));
                        }
                    }
                }
            });
        });
        Ok(())
    }
}
