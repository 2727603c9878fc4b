//! Images whose channels are the last axis: `[N, spatial.., C]` beside `[N, C, spatial..]`.

use lampyr_base::{Layout, Result};
use lampyr_ir::case::Case;
use lampyr_ir::{Builder, HostTensor, HostValue, Op, TensorFact, Var};

use crate::build::transpose;
use crate::common;

/// The axes of an image of this rank with the channels last, in the order in which the channels come second.
pub fn to_first(rank: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rank).collect();
    if rank > 2 {
        order[1..].rotate_right(1);
    }
    order
}

/// The axes of an image of this rank with the channels second, in the order in which the channels come last.
pub fn to_last(rank: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rank).collect();
    if rank > 2 {
        order[1..].rotate_left(1);
    }
    order
}

/// Sizes with the channels last as sizes with the channels second.
pub fn first_dims<D: Clone>(shape: &[D]) -> Vec<D> {
    to_first(shape.len()).into_iter().map(|a| shape[a].clone()).collect()
}

/// Sizes with the channels second as sizes with the channels last.
pub fn last_dims<D: Clone>(shape: &[D]) -> Vec<D> {
    to_last(shape.len()).into_iter().map(|a| shape[a].clone()).collect()
}

/// The fact of an image with the channels last as that of one with the channels second.
pub fn first_fact(x: &TensorFact) -> TensorFact {
    TensorFact::new(x.dtype, first_dims(&x.shape))
}

/// The fact of an image with the channels second as that of one with the channels last.
pub fn last_fact(x: &TensorFact) -> TensorFact {
    TensorFact::new(x.dtype, last_dims(&x.shape))
}

fn permuted(x: &HostTensor, order: &[usize]) -> Result<HostValue> {
    Ok(common::gather_layout(x, &Layout::contiguous(x.shape()).permute(order))?.into())
}

/// An image on the host with the channels last as one with the channels second.
pub fn first_host(x: &HostValue) -> Result<HostValue> {
    let x = x.tensor()?;
    permuted(x, &to_first(x.shape().len()))
}

/// An image on the host with the channels second as one with the channels last.
pub fn last_host(x: &HostValue) -> Result<HostValue> {
    let x = x.tensor()?;
    permuted(x, &to_last(x.shape().len()))
}

fn ordered(b: &mut dyn Builder, x: &Var, order: impl Fn(usize) -> Vec<usize>) -> Result<Var> {
    let order: Vec<i64> = order(b.tensor_fact(x)?.rank()).into_iter().map(|a| a as i64).collect();
    transpose(b, x, &order)
}

/// `x` `[N, spatial.., C]` as `[N, C, spatial..]`.
pub fn first(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    ordered(b, x, to_first)
}

/// `x` `[N, C, spatial..]` as `[N, spatial.., C]`.
pub fn last(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    ordered(b, x, to_last)
}

/// `case` with input 0, an image, and the op's results with the channels last; `op` is the op's form for them.
pub fn case<T: Op + Clone>(case: &Case, op: &T) -> Case {
    let mut made = Case { name: format!("last-{}", case.name), op: op.to_ref(), ..case.clone() };
    if let Some(x) = made.inputs.first_mut() {
        let order = to_last(x.shape.len());
        x.shape = last_dims(&x.shape);
        for (_, axis, _) in made.symbolic.iter_mut().filter(|(input, ..)| *input == 0) {
            *axis = order.iter().position(|a| a == axis).unwrap_or(*axis);
        }
    }
    made
}
