//! Elements picked and added one by one: gather_elements, scatter_add_elements and index_add.

use lampyr_backend::{Arg, ArgInfo, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{DType, Result, Shape, contiguous_strides, dispatch, smallvec};
use lampyr_ir::Op;
use lampyr_ops::build::{GatherElements, IndexAdd, ScatterAddElements};
use lampyr_ops::common;

use super::contraction::{address, workspace};
use super::number::Number;
use super::operand::Shared;

/// Contiguous int32 or int64 indices along an axis of `n` elements.
pub(super) struct Indices {
    start: Shared,
    wide: bool,
    n: usize,
}

impl Indices {
    /// # Errors
    /// When one is out of range.
    pub(super) fn new(arg: &Arg, n: usize) -> Result<Indices> {
        let indices = Indices { start: Shared(address(arg)?), wide: arg.dtype == DType::I64, n };
        for i in 0..arg.layout.len() {
            // SAFETY: `i` lies inside the operand.
            let value = unsafe { indices.raw(i) };
            if value >= n as i64 || value < -(n as i64) {
                common::element(value, n)?;
            }
        }
        Ok(indices)
    }

    /// # Safety
    /// `i` lies inside the operand.
    unsafe fn raw(&self, i: usize) -> i64 {
        let start = self.start.at(0);
        // SAFETY: the caller's promise.
        unsafe { if self.wide { *start.cast::<i64>().add(i) } else { i64::from(*start.cast::<i32>().add(i)) } }
    }

    /// # Safety
    /// `i` lies inside the operand.
    pub(super) unsafe fn at(&self, i: usize) -> usize {
        // SAFETY: the caller's promise.
        let value = unsafe { self.raw(i) };
        if value < 0 { (value + self.n as i64) as usize } else { value as usize }
    }
}

/// Calls `visit(i, offset)` for elements `start..end` of a tensor of shape `shape`, with the offset that `strides` give
/// its index.
pub(super) fn walk(shape: &[usize], strides: &[isize], start: usize, end: usize, mut visit: impl FnMut(usize, isize)) {
    if start >= end {
        return;
    }
    let mut index: Shape = smallvec![0; shape.len()];
    let mut rest = start;
    let mut offset = 0;
    for axis in (0..shape.len()).rev() {
        index[axis] = rest % shape[axis];
        rest /= shape[axis];
        offset += index[axis] as isize * strides[axis];
    }
    for i in start..end {
        visit(i, offset);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            offset -= strides[axis] * shape[axis] as isize;
            index[axis] = 0;
        }
    }
}

pub(super) fn takes_indices(i: Option<&ArgInfo>) -> bool {
    i.is_some_and(|i| matches!(i.dtype, DType::I32 | DType::I64))
}

pub(super) struct GatherElementsKernel;

impl Kernel for GatherElementsKernel {
    fn name(&self) -> &'static str {
        "gather_elements"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        takes_indices(inputs.get(1))
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let (x, places, out) = (&launch.inputs[0], &launch.inputs[1], launch.output(0)?);
        if out.layout.is_empty() {
            return Ok(());
        }
        let axis = common::axis(launch.op::<GatherElements>()?.axis, x.layout.rank())?;
        let indices = Indices::new(places, x.shape()[axis])?;
        let mut strides = contiguous_strides(x.shape());
        let step = std::mem::take(&mut strides[axis]);
        let (from, to) = (Shared(address(x)?), Shared(address(out)?));
        macro_rules! gather {
            ($t:ty) => {
                ThreadPool::global().parallel_ranges(out.layout.len(), 16 * 1024, |r| {
                    let (from, to) = (from.at(0).cast::<$t>(), to.at(0).cast::<$t>());
                    walk(places.shape(), &strides, r.start, r.end, |i, offset| {
                        // SAFETY: indices were checked, on other axes the indices' shape lies inside the input's; each
                        // element of the result belongs to one chunk.
                        unsafe { *to.add(i) = *from.offset(offset + indices.at(i) as isize * step) };
                    });
                })
            };
        }
        match x.dtype.size() {
            1 => gather!(u8),
            2 => gather!(u16),
            4 => gather!(u32),
            _ => gather!(u64),
        }
        Ok(())
    }
}

/// Bytes in which results of half precision are summed.
fn sums(out: &ArgInfo) -> usize {
    if matches!(out.dtype, DType::F16 | DType::BF16) { out.layout.len() * size_of::<f32>() } else { 0 }
}

/// Fills `out` with zeros, lets `add` add to it (or to wider sums in the workspace), and rounds.
fn accumulate<T: Number>(launch: &Launch, add: impl FnOnce(&Shared)) -> Result<()> {
    let out = launch.output(0)?;
    let n = out.layout.len();
    let result: *mut T = address(out)?;
    let sums: *mut T::Sum = if T::SAME { result.cast() } else { workspace(launch)?.0 };
    let shared = Shared(sums.cast());
    let pool = ThreadPool::global();
    pool.parallel_ranges(n, 64 * 1024, |r| {
        // SAFETY: the range lies inside the sums.
        r.for_each(|i| unsafe { shared.at(0).cast::<T::Sum>().add(i).write(T::ZERO) });
    });
    add(&shared);
    if !T::SAME {
        let result = Shared(result.cast());
        pool.parallel_ranges(n, 16 * 1024, |r| {
            // SAFETY: the range lies inside the sums and the result.
            r.for_each(|i| unsafe {
                result.at(0).cast::<T>().add(i).write(T::of(*shared.at(0).cast::<T::Sum>().add(i)));
            });
        });
    }
    Ok(())
}

pub(super) struct ScatterAddElementsKernel;

impl Kernel for ScatterAddElementsKernel {
    fn name(&self) -> &'static str {
        "scatter_add_elements"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        takes_indices(inputs.first())
    }

    fn workspace(&self, _op: &dyn Op, _inputs: &[ArgInfo], outputs: &[ArgInfo]) -> usize {
        sums(&outputs[0])
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let (places, values, out) = (&launch.inputs[0], &launch.inputs[1], launch.output(0)?);
        let axis = common::axis(launch.op::<ScatterAddElements>()?.axis, out.layout.rank())?;
        let indices = Indices::new(places, out.shape()[axis])?;
        let mut strides = contiguous_strides(out.shape());
        let step = std::mem::take(&mut strides[axis]);
        // Places that differ before the axis never meet, so these may be added at the same time.
        let outer: usize = places.shape()[..axis].iter().product();
        let each = places.layout.len() / outer.max(1);
        dispatch!(values.dtype, T => {
            let from = Shared(address(values)?);
            accumulate::<T>(launch, |sums| {
                ThreadPool::global().parallel_ranges(outer, (16 * 1024 / each.max(1)).max(1), |r| {
                    let (from, to) = (from.at(0).cast::<T>(), sums.at(0).cast::<<T as Number>::Sum>());
                    walk(places.shape(), &strides, r.start * each, r.end * each, |i, offset| {
                        // SAFETY: indices were checked, on other axes the indices' shape lies inside the result's.
                        unsafe {
                            let to = to.offset(offset + indices.at(i) as isize * step);
                            *to = (*from.add(i)).add_to(*to);
                        }
                    });
                });
            })
        })
    }
}

pub(super) struct IndexAddKernel;

/// Columns added by one chunk.
const COLUMNS: usize = 128;

impl Kernel for IndexAddKernel {
    fn name(&self) -> &'static str {
        "index_add"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        takes_indices(inputs.first())
    }

    fn workspace(&self, _op: &dyn Op, _inputs: &[ArgInfo], outputs: &[ArgInfo]) -> usize {
        sums(&outputs[0])
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let (places, values, out) = (&launch.inputs[0], &launch.inputs[1], launch.output(0)?);
        let axis = common::axis(launch.op::<IndexAdd>()?.axis, out.layout.rank())?;
        let n = out.shape()[axis];
        let indices = Indices::new(places, n)?;
        let row: usize = out.shape()[axis + 1..].iter().product();
        let outer: usize = out.shape()[..axis].iter().product();
        let count = places.layout.len();
        let parts = row.div_ceil(COLUMNS);
        dispatch!(values.dtype, T => {
            let from = Shared(address(values)?);
            accumulate::<T>(launch, |sums| {
                let grain = (32 * 1024 / (count * COLUMNS.min(row)).max(1)).max(1);
                ThreadPool::global().parallel_ranges(outer * parts, grain, |r| {
                    let (from, to) = (from.at(0).cast::<T>(), sums.at(0).cast::<<T as Number>::Sum>());
                    for part in r {
                        let (outer, first) = (part / parts, part % parts * COLUMNS);
                        let columns = COLUMNS.min(row - first);
                        for i in 0..count {
                            // SAFETY: indices were checked; chunks add to different columns or matrices.
                            unsafe {
                                let from = from.add((outer * count + i) * row + first);
                                let to = to.add((outer * n + indices.at(i)) * row + first);
                                for j in 0..columns {
                                    *to.add(j) = (*from.add(j)).add_to(*to.add(j));
                                }
                            }
                        }
                    }
                });
            })
        })
    }
}
