//! Broadcasting of ONNX before opset 7.

use lampyr_base::{Error, Result};
use lampyr_ir::onnx::{OnnxNode, required};
use lampyr_ir::{Builder, Var};

use crate::build::unsqueeze;
use crate::common;

/// The two inputs of a binary operator of opset 1 to 6, the second with as many axes put behind its own as line it up
/// with `axis` of the first.
///
/// # Errors
/// When the second input does not fit there.
pub fn operands(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<(Var, Var)> {
    let (x, y) = (required(inputs, 0)?, required(inputs, 1)?);
    let (rank, own) = (b.tensor_fact(&x)?.rank(), b.tensor_fact(&y)?.rank());
    if node.int("broadcast", 0)? == 0 || node.attr("axis").is_none() || own == 0 {
        return Ok((x, y));
    }
    let axis = common::axis(node.int("axis", 0)?, rank)?;
    let behind = (rank - axis).checked_sub(own).ok_or_else(|| {
        Error::shape(format!("a tensor of rank {own} does not fit at axis {axis} of one of rank {rank}"))
    })?;
    let axes: Vec<i64> = (0..behind).map(|k| (own + k) as i64).collect();
    let y = if axes.is_empty() { y } else { unsqueeze(b, &y, &axes)? };
    Ok((x, y))
}
