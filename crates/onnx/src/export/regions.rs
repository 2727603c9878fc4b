//! Writes into regular parts of a tensor, which ONNX has only for lists of places.

use lampyr_base::{Dim, Result};
use lampyr_ir::{Builder, Op, Var};
use lampyr_ops::build::{SetSlice, concat, expand, narrow};
use lampyr_ops::common;

/// `set_slice` as a join of the parts before, in and behind the region along each axis; `None` for other ops, and where
/// steps leave gaps or a bound may be negative.
pub(super) fn joined(b: &mut dyn Builder, op: &dyn Op, inputs: &[Var]) -> Result<Option<Var>> {
    let (Some(op), [base, value]) = (op.as_any().downcast_ref::<SetSlice>(), inputs) else { return Ok(None) };
    let shape = b.tensor_fact(base)?.shape.to_vec();
    let mut cuts = Vec::with_capacity(op.axes.len());
    for (i, axis) in op.axes.iter().enumerate() {
        let axis = common::axis(*axis, shape.len())?;
        let (Some(start), Some(end), Some(1), Some(n)) =
            (op.starts.get(i), op.ends.get(i), op.steps.get(i), shape.get(axis))
        else {
            return Ok(None);
        };
        let (Some(start), Some(end)) = (from_front(start, n), from_front(end, n)) else { return Ok(None) };
        cuts.push((axis, start.minimum(n), end.minimum(n)));
    }
    place(b, base, value, &cuts).map(Some)
}

fn from_front(bound: &Dim, n: &Dim) -> Option<Dim> {
    match bound.known() {
        Some(v) if v < 0 => Some(n.add(bound).maximum(&Dim::Known(0))),
        _ => bound.is_nonnegative().then(|| bound.clone()),
    }
}

fn place(b: &mut dyn Builder, base: &Var, value: &Var, cuts: &[(usize, Dim, Dim)]) -> Result<Var> {
    let shape = b.tensor_fact(base)?.shape.to_vec();
    let Some(((axis, start, end), rest)) = cuts.split_first() else { return expand(b, value, shape) };
    let (at, n) = (*axis as i64, shape.get(*axis).cloned().unwrap_or(Dim::Known(1)));
    let whole = *start == Dim::Known(0) && *end == n;
    let middle = if whole { base.clone() } else { narrow(b, base, at, start.clone(), end.clone())? };
    let middle = place(b, &middle, value, rest)?;
    if whole {
        return Ok(middle);
    }
    let mut parts = Vec::with_capacity(3);
    if *start != Dim::Known(0) {
        parts.push(narrow(b, base, at, Dim::Known(0), start.clone())?);
    }
    parts.push(middle);
    if *end != n {
        parts.push(narrow(b, base, at, end.clone(), n)?);
    }
    concat(b, &parts, at)
}
