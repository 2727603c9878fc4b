//! Indexing: whole numbers, slices, new axes and tensors of numbers or of `bool`. Ops see only positions that were checked
//! against the sizes here.

use std::sync::Arc;

use lampyr_base::{DType, Device, Error, Result, Shape, broadcast_shapes, num_elements};
use lampyr_ir::{HostTensor, Numbers};
use lampyr_ops::build as op;
use lampyr_runtime::{Cut, Pick, Tensor, check_readable, is_grad_enabled};
use smallvec::SmallVec;

use super::operand::{Operand, one};
use super::shape::reshape_to;

/// One element of an index.
#[derive(Clone, Debug)]
pub enum Index {
    /// One position; the axis goes away. Negative ones count from the end.
    At(i64),
    /// From `start` to `stop` by `step`, 1 or more, as Python reads them.
    Slice(Option<i64>, Option<i64>, i64),
    /// A new axis of size 1.
    NewAxis,
    /// All axes that the rest of the index does not name.
    Ellipsis,
    /// Positions (integers) or a mask (`bool`; `uint8` counts as one, as in PyTorch).
    Tensor(Tensor),
    /// A new axis of one element, or of none.
    Mask(bool),
}

fn is_mask(t: &Tensor) -> bool {
    matches!(t.dtype(), DType::Bool | DType::U8)
}

struct Plan {
    cuts: SmallVec<[Cut; 4]>,
    /// Shape after the cut, without the axes of single positions and with new ones.
    shape: Shape,
    /// Position tensors: axis in `shape` and the positions, row-major, already checked.
    picks: Vec<(usize, Positions)>,
}

struct Positions {
    shape: Vec<usize>,
    at: Vec<usize>,
    /// The positions where they may not be read: inside of a `vmap`, and while ops are recorded.
    kept: Option<Tensor>,
}

fn axes_named(item: &Index) -> usize {
    match item {
        Index::NewAxis | Index::Ellipsis | Index::Mask(_) => 0,
        Index::Tensor(t) if is_mask(t) => t.rank(),
        _ => 1,
    }
}

fn plan(x: &Tensor, items: &[Index]) -> Result<Plan> {
    let named: usize = items.iter().map(axes_named).sum();
    let too_many = || {
        Error::index(format!("too many indices: an index of {named} axes for a tensor of {} axes", x.rank()))
            .with_inputs([format!("{}{:?}", x.dtype(), x.shape())])
    };
    let mut free = x.rank().checked_sub(named).ok_or_else(too_many)?;
    if items.iter().filter(|i| matches!(i, Index::Ellipsis)).count() > 1 {
        return Err(Error::index("an index may hold one ellipsis (`...`)"));
    }
    let (mut cuts, mut shape, mut picks, mut axis) = (SmallVec::new(), Shape::new(), Vec::new(), 0);
    for item in items {
        match item {
            Index::Ellipsis => {
                shape.extend_from_slice(&x.shape()[axis..axis + free]);
                axis += free;
                free = 0;
            }
            Index::NewAxis => shape.push(1),
            Index::Mask(on) => {
                shape.push(1);
                let at = vec![0; usize::from(*on)];
                picks.push((shape.len() - 1, Positions { shape: vec![at.len()], at, kept: None }));
            }
            Index::At(i) => {
                let start = position(*i, x.shape()[axis], axis)?;
                cuts.push(Cut { axis, start, end: start + 1, step: 1 });
                axis += 1;
            }
            Index::Slice(start, stop, step) => {
                let n = x.shape()[axis];
                let (cut, count) = bounds(*start, *stop, *step, n, axis)?;
                if (cut.start, cut.end, cut.step) != (0, n, 1) {
                    cuts.push(cut);
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
    Ok(Plan { cuts, shape, picks })
}

fn position(i: i64, n: usize, axis: usize) -> Result<usize> {
    let at = if i < 0 { i.checked_add(n as i64) } else { Some(i) };
    let found = at.and_then(|at| usize::try_from(at).ok()).filter(|&at| at < n);
    found.ok_or_else(|| {
        Error::index(format!("index {i} is out of range for axis {axis} with size {n}"))
            .with_expected(format!("-{n} to {}", n as i64 - 1))
    })
}

/// What to cut out, and how many elements that leaves.
fn bounds(start: Option<i64>, stop: Option<i64>, step: i64, n: usize, axis: usize) -> Result<(Cut, usize)> {
    if step <= 0 {
        return Err(Error::value(format!("a slice with the step {step}"))
            .with_expected("a step greater than zero")
            .with_help("flip() walks backwards"));
    }
    let size = n as i64;
    let clamp = |v: i64| (if v < 0 { v.saturating_add(size) } else { v }).clamp(0, size);
    let (from, to) = (start.map_or(0, clamp), stop.map_or(size, clamp));
    let (from, to) = if to > from { (from as usize, to as usize) } else { (0, 0) };
    let step = step as usize;
    Ok((Cut { axis, start: from, end: to, step }, (to - from).div_ceil(step)))
}

fn positions(t: &Tensor, shape: &[usize], axis: usize) -> Result<Vec<Positions>> {
    let kept = check_readable(t).is_err() && !is_mask(t);
    let host = if kept { t.peek()? } else { t.to_host()? };
    if is_mask(t) {
        let sizes = &shape[axis..axis + t.rank()];
        if t.shape() != sizes {
            return Err(Error::index(format!(
                "the shape of the mask {:?} does not match the indexed axes from {axis} on, of sizes {sizes:?}",
                t.shape()
            ))
            .with_expected("a mask of the shape of the axes it stands for"));
        }
        let hits: Vec<usize> = host.bytes().iter().enumerate().filter(|(_, b)| **b != 0).map(|(i, _)| i).collect();
        let split = |k: usize| {
            let inner: usize = sizes[k + 1..].iter().product();
            hits.iter().map(|h| h / inner.max(1) % sizes[k].max(1)).collect()
        };
        return Ok((0..t.rank()).map(|k| Positions { shape: vec![hits.len()], at: split(k), kept: None }).collect());
    }
    let n = shape[axis];
    let at: Vec<usize> = match host.numbers() {
        Numbers::I(all) => all.into_iter().map(|i| position(i, n, axis)).collect::<Result<_>>()?,
        Numbers::U(all) => {
            // No axis is longer than half of what 64 bits count.
            all.into_iter().map(|i| position(i64::try_from(i).unwrap_or(i64::MAX), n, axis)).collect::<Result<_>>()?
        }
        Numbers::F(_) => {
            return Err(Error::index(format!("a {} tensor is not an index", t.dtype()))
                .with_expected("tensors of whole numbers or bool"));
        }
    };
    if kept {
        return Ok(vec![Positions { shape: t.shape().to_vec(), at: vec![0; t.len()], kept: Some(t.clone()) }]);
    }
    Ok(vec![Positions { shape: t.shape().to_vec(), at, kept: None }])
}

/// All position tensors as one over one axis: which axes go to the front, their sizes, and row-major positions.
struct Joined {
    order: Option<Vec<i64>>,
    first: usize,
    count: usize,
    shape: Vec<usize>,
    at: Vec<usize>,
}

fn join(shape: &[usize], picks: &[(usize, Positions)], device: Device) -> Result<Joined> {
    let mut wide: Vec<usize> = Vec::new();
    for (_, p) in picks {
        wide = broadcast_shapes(&wide, &p.shape)
            .map_err(|e| Error::index(format!("index tensors do not broadcast together: {}", e.message())))?
            .to_vec();
    }
    // Index tensors can broadcast to far more than they hold: the memory limit is asked first.
    drop(Tensor::empty(&wide, DType::I64, device)?);
    let total = num_elements(&wide)?;
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
    if !plan.cuts.is_empty() {
        view = view.cut(&plan.cuts).ok_or_else(|| Error::internal("a slice beyond its axis"))??;
    }
    if view.shape() != &plan.shape[..] {
        view = reshape_to(&view, &plan.shape)?;
    }
    Ok(view)
}

fn int_tensor(values: &[usize], shape: &[usize], like: &Tensor) -> Result<Tensor> {
    let wide: Vec<i64> = values.iter().map(|&v| v as i64).collect();
    Tensor::from_host(&HostTensor::from_slice(shape, &wide)?, like.device())
}

/// `x[items]` of single positions and slices of the leading axes, where that is one plain view.
fn picked(x: &Tensor, items: &[Index]) -> Result<Option<Tensor>> {
    let mut picks: SmallVec<[Pick; 4]> = SmallVec::new();
    for (axis, (item, &n)) in items.iter().zip(x.shape()).enumerate() {
        picks.push(match item {
            Index::At(i) => Pick::At(position(*i, n, axis)?),
            Index::Slice(start, stop, step) => {
                let (Cut { start, end, step, .. }, _) = bounds(*start, *stop, *step, n, axis)?;
                Pick::Cut { start, end, step }
            }
            _ => return Ok(None),
        });
    }
    if picks.len() < items.len() { Ok(None) } else { x.pick(&picks) }
}

/// `x[items]`: a view where only positions, slices and new axes are given, else a copy.
///
/// # Errors
/// When the index is out of range or has too many axes.
pub fn index(x: &Tensor, items: &[Index]) -> Result<Tensor> {
    if let Some(view) = picked(x, items)? {
        return Ok(view);
    }
    let plan = plan(x, items)?;
    let view = cut_view(x, &plan)?;
    if plan.picks.is_empty() {
        // An index that keeps everything still gives another tensor object over the same memory.
        return if view.same(x) { reshape_to(x, x.shape()) } else { Ok(view) };
    }
    let joined = join(&plan.shape, &plan.picks, x.device())?;
    let flat = flattened(&view, &joined)?;
    let at = match plan.picks.iter().any(|(_, p)| p.kept.is_some()) {
        true => joined_positions(&plan, &joined.shape, x)?,
        false => int_tensor(&joined.at, &joined.shape, x)?,
    };
    one(&op::Gather { axis: joined.first as i64 }, &[&flat, &at])
}

/// The row-major positions over all picked axes, computed with tensors.
fn joined_positions(plan: &Plan, shape: &[usize], x: &Tensor) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (axis, p) in &plan.picks {
        let n = plan.shape[*axis] as i64;
        let at = match &p.kept {
            Some(t) => {
                let t = t.to_dtype(DType::I64)?;
                t.add(n)?.where_(&t.less(0i64)?, &t)?
            }
            None => int_tensor(&p.at, &p.shape, x)?,
        };
        sum = Some(match sum {
            Some(before) => before.mul(n)?.add(&at)?,
            None => at,
        });
    }
    let sum = sum.ok_or_else(|| Error::internal("no positions"))?;
    if sum.shape() == shape { Ok(sum) } else { sum.expand(shape) }
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

/// Positions are written one by one when the axis has this many times more of them.
const FEW: usize = 32;

/// `value` broadcast to `shape`; leading axes of size 1 that are too many go away.
fn fitted(value: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let extra = value.rank().saturating_sub(shape.len());
    let cut = value.shape().iter().take(extra).take_while(|d| **d == 1).count();
    let value = if cut > 0 { reshape_to(value, &value.shape()[cut..])? } else { value.clone() };
    if value.shape() == shape { Ok(value) } else { value.expand(shape) }
}

/// `x[items] = value`, in place. Where positions repeat, the last one counts.
///
/// # Errors
/// As [`index`], and when `value` does not broadcast to the selection.
pub fn set_index(x: &Tensor, items: &[Index], value: Operand) -> Result<()> {
    let plan = plan(x, items)?;
    let view = cut_view(x, &plan)?;
    if plan.picks.is_empty() {
        return match value {
            Operand::Tensor(t) => super::copy_(&view, (&fitted(t, view.shape())?).into(), false),
            number => super::copy_(&view, number, false),
        };
    }
    if let Some(t) = plan.picks.iter().find_map(|(_, p)| p.kept.as_ref()) {
        check_readable(t)?;
    }
    let joined = join(&plan.shape, &plan.picks, x.device())?;
    let flat = flattened(&view, &joined)?;
    let value = match value {
        Operand::Tensor(t) => t.to_dtype(x.dtype())?,
        Operand::Scalar(s) => Tensor::scalar(s, x.dtype(), x.device())?,
    };
    let s = flat.shape();
    let (before, after) = (&s[..joined.first], &s[joined.first + 1..]);
    let wide = fitted(&value, &[before, &joined.shape, after].concat())?;
    if joined.at.is_empty() {
        return Ok(());
    }
    let rows = reshape_to(&wide, &[before, &[joined.at.len()], after].concat())?;
    let recorded = is_grad_enabled() && (x.requires_grad() || value.requires_grad());
    if !recorded && joined.at.len() < s[joined.first] / FEW && Arc::ptr_eq(flat.storage(), x.storage()) {
        let (axis, alone) = (joined.first as i64, rows.copy_contiguous()?);
        for (k, &at) in joined.at.iter().enumerate() {
            let (k, at) = (k as i64, at as i64);
            flat.slice(axis, at, at + 1, 1)?.assign_(&alone.slice(axis, k, k + 1, 1)?)?;
        }
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
