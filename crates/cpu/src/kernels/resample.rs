//! Linear maps along axes: average pooling, interpolation and their adjoints.

use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{Error, Result, Shape};
use lampyr_ir::Op;
use lampyr_ops::build::{AvgPool, ResampleGrad, Resize, axis_maps};
use lampyr_ops::common;
use lampyr_ops::sample::AxisMap;

use super::axis_table::{Across, Mix, Table};
use super::contraction::{address, floats, workspace};
use super::operand::Shared;
use crate::gemm::{Compute, Store};
use crate::simd::{Tier, run};

/// One axis after the other; both axes of an image at once, row by row.
pub(super) struct ResampleKernel;

/// The longest row of an image that is kept between both of its axes.
const LONGEST: usize = 4096;

/// Elements of work in one chunk.
const GRAIN: usize = 16 * 1024;

/// Axes that the op may map, ascending.
fn axes(op: &dyn Op, rank: usize) -> Result<Vec<usize>> {
    let any = op.as_any();
    let mut axes = if let Some(grad) = any.downcast_ref::<ResampleGrad>() {
        axes(&*grad.of, rank)?
    } else if let Some(resize) = any.downcast_ref::<Resize>() {
        resize.axes.iter().map(|&a| common::axis(a, rank)).collect::<Result<_>>()?
    } else if any.downcast_ref::<AvgPool>().is_some_and(|p| p.channels_last) {
        (1..rank.max(2) - 1).collect()
    } else {
        (2..rank).collect()
    };
    axes.sort_unstable();
    Ok(axes)
}

/// Whether the last two of `axes` are done at once.
fn is_plane(axes: &[usize], from: &[usize]) -> bool {
    let rank = from.len();
    axes.len() > 1 && axes[axes.len() - 2] + 2 == rank && from[rank - 1] <= LONGEST
}

/// Elements between the steps.
fn between(axes: &[usize], from: &[usize], to: &[usize]) -> usize {
    let done = axes.len().saturating_sub(if is_plane(axes, from) { 2 } else { 1 });
    axes[..done].iter().map(|&a| to[..=a].iter().chain(&from[a + 1..]).product::<usize>()).sum()
}

fn maps(op: &dyn Op, from: &[usize], to: &[usize]) -> Result<Vec<(usize, AxisMap)>> {
    match op.as_any().downcast_ref::<ResampleGrad>() {
        None => axis_maps(op, from, to),
        Some(grad) => {
            let maps = axis_maps(&*grad.of, to, from)?;
            Ok(maps.into_iter().map(|(a, m)| (a, m.transposed())).collect())
        }
    }
}

impl Kernel for ResampleKernel {
    fn name(&self) -> &'static str {
        "resample"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], outputs: &[ArgInfo]) -> bool {
        let short = |i: &ArgInfo| i.shape().iter().all(|&n| i32::try_from(n).is_ok());
        let fixed = op.as_any().downcast_ref::<AvgPool>().is_none_or(|p| p.pads.iter().all(|d| d.known().is_some()));
        fixed && inputs[0].dtype.is_float() && inputs.iter().chain(outputs).all(short)
    }

    fn workspace(&self, op: &dyn Op, inputs: &[ArgInfo], outputs: &[ArgInfo]) -> usize {
        let (from, to) = (inputs[0].shape(), outputs[0].shape());
        let Ok(axes) = axes(op, from.len()) else { return 0 };
        floats!(inputs[0].dtype, E, _S => between(&axes, from, to) * size_of::<E>(), _ => 0)
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let (x, out) = (&launch.inputs[0], launch.output(0)?);
        if out.layout.is_empty() {
            return Ok(());
        }
        let maps = maps(launch.op, x.shape(), out.shape())?;
        floats!(x.dtype, E, S => {
            let (from, to) = (address::<S>(x)?, address::<S>(out)?);
            let (mut scratch, mut room) = workspace::<E>(launch)?;
            let tables: Vec<(usize, Table<E>)> = maps.iter().map(|(a, m)| (*a, Table::new(m, |w| w as E))).collect();
            // SAFETY: operands have the shapes inferred, the tables stay inside them, and the workspace has room for
            // what lies between the steps.
            unsafe { apply::<E, S>(&tables, x.shape(), (from, to), (&mut scratch, &mut room)) }?;
            if let Some(resize) = launch.op.as_any().downcast_ref::<Resize>() {
                for (axis, map) in maps.iter().filter(|(_, m)| !m.outside().is_empty()) {
                    let inner: usize = out.shape()[axis + 1..].iter().product();
                    let (n, value) = (out.shape()[*axis], S::put(resize.extrapolation_value as E));
                    for outer in 0..out.shape()[..*axis].iter().product::<usize>() {
                        for &i in map.outside() {
                            // SAFETY: a row of the result.
                            let row = unsafe { std::slice::from_raw_parts_mut(to.add((outer * n + i) * inner), inner) };
                            row.fill(value);
                        }
                    }
                }
            }
        }, _ => return Err(Error::internal("a map of integers")));
        Ok(())
    }
}

/// Runs all steps.
///
/// # Safety
/// `from` and `to` have the sizes before and after all tables, which stay inside them; none overlaps another.
unsafe fn apply<E: Compute + Store<E>, S: Store<E>>(
    tables: &[(usize, Table<E>)],
    shape: &[usize],
    (from, to): (*const S, *mut S),
    (scratch, room): (&mut *mut E, &mut usize),
) -> Result<()> {
    let mut shape = Shape::from_slice(shape);
    let rank = shape.len();
    let axes: Vec<usize> = tables.iter().map(|(a, _)| *a).collect();
    let plane = is_plane(&axes, &shape);
    let singles = if plane { tables.len() - 2 } else { tables.len() };
    if tables.is_empty() {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(from, to, shape.iter().product()) };
        return Ok(());
    }
    let mut middle: Option<*const E> = None;
    for (k, (axis, table)) in tables[..singles].iter().enumerate() {
        let outer: usize = shape[..*axis].iter().product();
        let inner: usize = shape[axis + 1..].iter().product();
        shape[*axis] = table.rows();
        let last = k + 1 == tables.len();
        let next = *scratch;
        if !last {
            let count: usize = shape.iter().product();
            if count > *room {
                return Err(Error::internal("the workspace of an interpolation is too small"));
            }
            (*scratch, *room) = (scratch.wrapping_add(count), *room - count);
        }
        let sizes = (outer, inner);
        // SAFETY: the caller's promise; what lies between the steps has room.
        unsafe {
            match (middle, last) {
                (None, true) => along::<E, S, S>(table, from, to, sizes),
                (None, false) => along::<E, S, E>(table, from, next, sizes),
                (Some(m), true) => along::<E, E, S>(table, m, to, sizes),
                (Some(m), false) => along::<E, E, E>(table, m, next, sizes),
            }
        }
        middle = Some(next);
    }
    if plane {
        let (rows, columns) = (&tables[singles].1, &tables[singles + 1].1);
        let planes: usize = shape[..rank - 2].iter().product();
        let sizes = (planes, shape[rank - 2], shape[rank - 1]);
        // SAFETY: as above.
        unsafe {
            match middle {
                None => planewise::<E, S, S>(rows, columns, from, to, sizes),
                Some(m) => planewise::<E, E, S>(rows, columns, m, to, sizes),
            }
        }
    }
    Ok(())
}

/// One axis between `outer` and `inner` others.
///
/// # Safety
/// As for [`apply`].
unsafe fn along<E: Compute, A: Store<E>, B: Store<E>>(
    table: &Table<E>,
    from: *const A,
    to: *mut B,
    (outer, inner): (usize, usize),
) {
    let (tier, pool) = (Tier::current(), ThreadPool::global());
    let (n, m) = (table.inputs(), table.rows());
    let (from, to) = (Shared(from.cast_mut().cast()), Shared(to.cast()));
    if inner == 1 {
        let grain = (GRAIN / (table.taps() + m)).max(1);
        pool.parallel_ranges(outer, grain, |range| {
            for o in range {
                let (from, to) = (from.at(0).cast::<A>(), to.at(0).cast::<B>());
                // SAFETY: rows lie inside the operands; each row of the result belongs to one chunk.
                unsafe { run(tier, Across { table, from: from.add(o * n), to: to.add(o * m) }) };
            }
        });
        return;
    }
    let grain = (GRAIN * m / ((table.taps() + m) * inner)).max(1);
    pool.parallel_ranges(outer * m, grain, |range| {
        for row in range {
            let (from, to) = (from.at(0).cast::<A>(), to.at(0).cast::<B>());
            let (indices, weights) = table.row(row % m);
            // SAFETY: as above.
            unsafe {
                let from = from.add(row / m * n * inner);
                run(tier, Mix { indices, weights, from, step: inner, to: to.add(row * inner), count: inner });
            }
        }
    });
}

/// Both axes of `planes` images of `height` by `width` elements.
///
/// # Safety
/// As for [`apply`]; `width` is at most [`LONGEST`].
unsafe fn planewise<E: Compute + Store<E>, A: Store<E>, B: Store<E>>(
    rows: &Table<E>,
    columns: &Table<E>,
    from: *const A,
    to: *mut B,
    (planes, height, width): (usize, usize, usize),
) {
    let tier = Tier::current();
    let (m, length) = (rows.rows(), columns.rows());
    let (from, to) = (Shared(from.cast_mut().cast()), Shared(to.cast()));
    let each = width * rows.taps().div_ceil(m.max(1)) + columns.taps() + length;
    let grain = (GRAIN / each.max(1)).max(1);
    ThreadPool::global().parallel_ranges(planes * m, grain, |range| {
        let mut line = [E::ZERO; LONGEST];
        let first = range.start;
        for row in range {
            let (indices, weights) = rows.row(row % m);
            // SAFETY: rows lie inside the operands; each row of the result belongs to one chunk.
            unsafe {
                let from = from.at(0).cast::<A>().add(row / m * height * width);
                let to = to.at(0).cast::<B>().add(row * length);
                if row > first && !row.is_multiple_of(m) && rows.row(row % m - 1) == (indices, weights) {
                    std::ptr::copy_nonoverlapping(to.sub(length).cast_const(), to, length);
                    continue;
                }
                let to_line = line.as_mut_ptr();
                run(tier, Mix { indices, weights, from, step: width, to: to_line, count: width });
                run(tier, Across { table: columns, from: to_line.cast_const(), to });
            }
        }
    });
}
