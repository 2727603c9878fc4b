//! Indexing: whole numbers, slices, new axes and tensors of numbers or of `bool`.

use lampyr_base::{DType, Dim, Error, Result, broadcast_shapes};
use lampyr_ir::HostTensor;
use lampyr_ops::build as op;
use lampyr_runtime::Tensor;

use super::operand::{Operand, one};
use super::shape::reshape_to;

/// One element of an index.
#[derive(Clone, Debug)]
pub enum Index {
    /// One position; the axis goes away. Negative ones count from the end.
    At(i64),
    /// From `start` to `stop` by `step`, as Python reads them.
    Slice(Option<i64>, Option<i64>, i64),
    /// A new axis of size 1.
    NewAxis,
    /// All axes that the rest of the index does not name.
    Ellipsis,
    /// Positions (integers) or a mask (`bool`).
    Tensor(Tensor),
}

struct Plan {
    cut: op::Slice,
    /// Shape after the cut, without the axes of single positions and with new ones.
    shape: Vec<usize>,
    /// Position tensors: axis in `shape` and the positions, row-major, already checked.
    picks: Vec<(usize, Positions)>,
}

struct Positions {
    shape: Vec<usize>,
    at: Vec<usize>,
}

fn axes_named(item: &Index) -> usize {
    match item {
        Index::NewAxis | Index::Ellipsis => 0,
        Index::Tensor(t) if t.dtype() == DType::Bool => t.rank(),
        _ => 1,
    }
}

fn plan(x: &Tensor, items: &[Index]) -> Result<Plan> {
    let named: usize = items.iter().map(axes_named).sum();
    let too_many = || {
        Error::index(format!("an index of {named} axes for a tensor of {} axes", x.rank())).with_inputs([format!(
            "{}{:?}",
            x.dtype(),
            x.shape()
        )])
    };
    let mut free = x.rank().checked_sub(named).ok_or_else(too_many)?;
    if items.iter().filter(|i| matches!(i, Index::Ellipsis)).count() > 1 {
        return Err(Error::index("an index may hold one ellipsis (`...`)"));
    }
    let mut cut = op::Slice { axes: vec![], starts: vec![], ends: vec![], steps: vec![] };
    let (mut shape, mut picks, mut axis) = (Vec::new(), Vec::new(), 0);
    for item in items {
        match item {
            Index::Ellipsis => {
                shape.extend_from_slice(&x.shape()[axis..axis + free]);
                axis += free;
                free = 0;
            }
            Index::NewAxis => shape.push(1),
            Index::At(i) => {
                let at = position(*i, x.shape()[axis], axis)? as i64;
                push(&mut cut, axis, at, at + 1, 1);
                axis += 1;
            }
            Index::Slice(start, stop, step) => {
                let n = x.shape()[axis];
                let (from, to, count) = bounds(*start, *stop, *step, n)?;
                if (from, to, *step) != (0, n as i64, 1) {
                    push(&mut cut, axis, from, to, *step);
                }
                shape.push(count);
                axis += 1;
            }
            Index::Tensor(t) => {
                for (k, positions) in positions(t, x.shape(), axis)?.into_iter().enumerate() {
                    shape.push(x.shape()[axis + k]);
                    picks.push((shape.len() - 1, positions));
                }
                axis += axes_named(item);
            }
        }
    }
    shape.extend_from_slice(&x.shape()[axis..]);
    Ok(Plan { cut, shape, picks })
}

fn push(cut: &mut op::Slice, axis: usize, start: i64, end: i64, step: i64) {
    cut.axes.push(axis as i64);
    cut.starts.push(Dim::Known(start));
    cut.ends.push(Dim::Known(end));
    cut.steps.push(step);
}

fn position(i: i64, n: usize, axis: usize) -> Result<usize> {
    let at = if i < 0 { i.checked_add(n as i64) } else { Some(i) };
    let found = at.and_then(|at| usize::try_from(at).ok()).filter(|&at| at < n);
    found.ok_or_else(|| {
        Error::index(format!("index {i} is out of range for axis {axis} with size {n}"))
            .with_expected(format!("-{n} to {}", n as i64 - 1))
    })
}

/// Start and stop as the op reads them (a stop below -size means "through the first element"), and how many elements.
fn bounds(start: Option<i64>, stop: Option<i64>, step: i64, n: usize) -> Result<(i64, i64, usize)> {
    if step == 0 || step == i64::MIN {
        return Err(Error::value("the step of a slice is zero or too large").with_expected("a step that is not zero"));
    }
    let size = n as i64;
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let clamp = |v: i64| (if v < 0 { v.saturating_add(size) } else { v }).clamp(low, high);
    let from = start.map_or(if step > 0 { low } else { high }, clamp);
    let to = stop.map_or(if step > 0 { high } else { low }, clamp);
    let distance = if step > 0 { to - from } else { from - to };
    let count = if distance <= 0 { 0 } else { (distance as usize).div_ceil(step.unsigned_abs() as usize) };
    if count == 0 {
        return Ok((0, 0, 0));
    }
    Ok((from, if to < 0 { -size - 1 } else { to }, count))
}

fn positions(t: &Tensor, shape: &[usize], axis: usize) -> Result<Vec<Positions>> {
    let host = t.to_host()?;
    if t.dtype() == DType::Bool {
        let sizes = &shape[axis..axis + t.rank()];
        if t.shape() != sizes {
            return Err(Error::index(format!("a mask of shape {:?} for axes of sizes {sizes:?}", t.shape()))
                .with_expected("a mask of the shape of the axes it stands for"));
        }
        let hits: Vec<usize> = host.bytes().iter().enumerate().filter(|(_, b)| **b != 0).map(|(i, _)| i).collect();
        let split = |k: usize| {
            let inner: usize = sizes[k + 1..].iter().product();
            hits.iter().map(|h| h / inner.max(1) % sizes[k].max(1)).collect()
        };
        return Ok((0..t.rank()).map(|k| Positions { shape: vec![hits.len()], at: split(k) }).collect());
    }
    if !t.dtype().is_integer() {
        return Err(Error::index(format!("a {} tensor is not an index", t.dtype())).with_expected("integers or bool"));
    }
    let at = host.to_i64().into_iter().map(|i| position(i, shape[axis], axis)).collect::<Result<_>>()?;
    Ok(vec![Positions { shape: t.shape().to_vec(), at }])
}

/// All position tensors as one over one axis: which axes go to the front, their sizes, and row-major positions.
struct Joined {
    order: Option<Vec<i64>>,
    first: usize,
    count: usize,
    shape: Vec<usize>,
    at: Vec<usize>,
}

fn join(shape: &[usize], picks: &[(usize, Positions)]) -> Result<Joined> {
    let mut wide: Vec<usize> = Vec::new();
    for (_, p) in picks {
        wide = broadcast_shapes(&wide, &p.shape)
            .map_err(|e| Error::index(format!("index tensors do not fit together: {}", e.message())))?
            .to_vec();
    }
    let total: usize = wide.iter().product();
    let mut at = vec![0usize; total];
    for (axis, p) in picks {
        let layout = lampyr_base::Layout::contiguous(&p.shape).broadcast_to(&wide)?;
        for (to, from) in at.iter_mut().zip(layout.indices()) {
            *to = *to * shape[*axis] + p.at[from];
        }
    }
    let axes: Vec<usize> = picks.iter().map(|(a, _)| *a).collect();
    let adjacent = axes.windows(2).all(|w| w[0] + 1 == w[1]);
    let order = (!adjacent).then(|| {
        let rest = (0..shape.len()).filter(|a| !axes.contains(a));
        axes.iter().copied().chain(rest).map(|a| a as i64).collect()
    });
    let first = if adjacent { axes[0] } else { 0 };
    Ok(Joined { order, first, count: axes.len(), shape: wide, at })
}

fn cut_view(x: &Tensor, plan: &Plan) -> Result<Tensor> {
    let mut view = x.clone();
    if !plan.cut.axes.is_empty() {
        view = one(&plan.cut, &[&view])?;
    }
    if view.shape() != plan.shape {
        view = reshape_to(&view, &plan.shape)?;
    }
    Ok(view)
}

fn int_tensor(values: &[usize], shape: &[usize], like: &Tensor) -> Result<Tensor> {
    let wide: Vec<i64> = values.iter().map(|&v| v as i64).collect();
    Tensor::from_host(&HostTensor::from_slice(shape, &wide)?, like.device())
}

/// `x[items]`: a view where only positions, slices and new axes are given, else a copy.
///
/// # Errors
/// When the index is out of range or has too many axes.
pub fn index(x: &Tensor, items: &[Index]) -> Result<Tensor> {
    let plan = plan(x, items)?;
    let view = cut_view(x, &plan)?;
    if plan.picks.is_empty() {
        // An index that keeps everything still gives another tensor object over the same memory.
        return if view.same(x) { reshape_to(x, x.shape()) } else { Ok(view) };
    }
    let joined = join(&plan.shape, &plan.picks)?;
    let flat = flattened(&view, &joined)?;
    let at = int_tensor(&joined.at, &joined.shape, x)?;
    one(&op::Gather { axis: joined.first as i64 }, &[&flat, &at])
}

/// `view` with the picked axes next to one another and joined into one.
fn flattened(view: &Tensor, joined: &Joined) -> Result<Tensor> {
    let moved = match &joined.order {
        Some(order) => view.permute(order)?,
        None => view.clone(),
    };
    let (s, end) = (moved.shape(), joined.first + joined.count);
    let shape = [&s[..joined.first], &[s[joined.first..end].iter().product()], &s[end..]].concat();
    reshape_to(&moved, &shape)
}

/// `x[items] = value`, in place. Where positions repeat, the last one counts.
///
/// # Errors
/// As [`index`], and when `value` does not broadcast to the selection.
pub fn set_index(x: &Tensor, items: &[Index], value: Operand) -> Result<()> {
    let plan = plan(x, items)?;
    let view = cut_view(x, &plan)?;
    if plan.picks.is_empty() {
        return super::copy_(&view, value, false);
    }
    let joined = join(&plan.shape, &plan.picks)?;
    let flat = flattened(&view, &joined)?;
    let value = match value {
        Operand::Tensor(t) => t.to_dtype(x.dtype())?,
        Operand::Scalar(s) => Tensor::scalar(s, x.dtype(), x.device())?,
    };
    let s = flat.shape();
    let (before, after) = (&s[..joined.first], &s[joined.first + 1..]);
    let wide = value.expand(&[before, &joined.shape, after].concat())?;
    let rows = reshape_to(&wide, &[before, &[joined.at.len()], after].concat())?;
    if joined.at.is_empty() {
        return Ok(());
    }
    let (mut hit, mut from) = (vec![false; s[joined.first]], vec![0; s[joined.first]]);
    for (k, &at) in joined.at.iter().enumerate() {
        (hit[at], from[at]) = (true, k);
    }
    let spread = one(&op::Gather { axis: joined.first as i64 }, &[&rows, &int_tensor(&from, &[from.len()], x)?])?;
    let mut column = vec![1; s.len() - joined.first];
    column[0] = hit.len();
    let mask = Tensor::from_host(&HostTensor::from_slice(&column, &hit)?, x.device())?;
    let mixed = one(&op::Where, &[&mask, &spread, &flat])?;
    let moved: Vec<usize> = match &joined.order {
        Some(order) => order.iter().map(|&a| view.shape()[a as usize]).collect(),
        None => view.shape().to_vec(),
    };
    let mut result = reshape_to(&mixed, &moved)?;
    if let Some(order) = &joined.order {
        let mut inverse = vec![0; order.len()];
        order.iter().enumerate().for_each(|(i, &a)| inverse[a as usize] = i as i64);
        result = result.permute(&inverse)?;
    }
    view.assign_(&result)
}
