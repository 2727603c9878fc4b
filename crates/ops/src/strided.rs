//! Views that strides alone describe: their gradients, and writes through them, by the places of their elements.

use lampyr_base::{Error, Layout, Result};
use lampyr_ir::{Builder, HostTensor, Op, TensorFact, Var};

use crate::common;
use crate::gradient::to_shape;
use crate::index::index_add::index_add;
use crate::index::scatter_elements::scatter_elements;

/// Places of the elements of the view `op` in its row-major base, and the number of elements of the base.
fn places(op: &dyn Op, base: &TensorFact) -> Result<(HostTensor, usize)> {
    let shape = base.fixed_shape().ok_or_else(|| {
        Error::unsupported(format!("the gradient of `{}` with sizes that are not known beforehand", op.name()))
    })?;
    let whole = Layout::contiguous(&shape);
    let layout = op.view(&whole).ok_or_else(|| Error::internal("no view of a row-major tensor").with_op(op.name()))?;
    let at: Vec<i64> = layout.indices().map(|i| i as i64).collect();
    Ok((HostTensor::from_slice(&[at.len()], &at)?, whole.len()))
}

/// Zeros like `base`, to which `grad` is added at the places that the view `op` of it shows.
pub(crate) fn adjoint(b: &mut dyn Builder, op: &dyn Op, base: &TensorFact, grad: &Var) -> Result<Var> {
    let (at, total) = places(op, base)?;
    let flat = to_shape(b, grad, common::fixed_dims(at.shape()))?;
    let at = b.constant(at)?;
    let sum = index_add(b, &at, &flat, 0, common::fixed_dims(&[total]))?;
    to_shape(b, &sum, base.shape.to_vec())
}

/// `base` with the elements that the view `op` of it shows replaced by `new`.
pub(crate) fn replace(b: &mut dyn Builder, op: &dyn Op, base: &Var, new: &Var) -> Result<Var> {
    let fact = b.tensor_fact(base)?;
    let (at, total) = places(op, &fact)?;
    let flat = to_shape(b, base, common::fixed_dims(&[total]))?;
    let values = to_shape(b, new, common::fixed_dims(at.shape()))?;
    let at = b.constant(at)?;
    let made = scatter_elements(b, &flat, &at, &values, 0, "none")?;
    to_shape(b, &made, fact.shape.to_vec())
}
