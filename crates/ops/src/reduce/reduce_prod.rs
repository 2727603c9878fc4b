//! Product over axes.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType,
    ReduceKind, Saved, Saves, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::restore_axes;

/// Product over axes. Integers wrap; the product of nothing is 1. The gradient is exact where factors are 0; its own
/// gradient is so only where none is.
#[derive(Clone, Debug, Attrs)]
pub struct ReduceProd {
    /// Axes to fold; negative ones count from the end, none means all.
    #[attr(default = Vec::new())]
    pub axes: Vec<i64>,
    /// Whether folded axes stay, with size 1.
    #[attr(default = false)]
    pub keepdims: bool,
}

/// Product of `x` over `axes` (none: all).
pub fn reduce_prod(b: &mut dyn Builder, x: &Var, axes: &[i64], keepdims: bool) -> Result<Var> {
    b.one(&ReduceProd { axes: axes.to_vec(), keepdims }, std::slice::from_ref(x))
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let x = required(inputs, 0)?;
    let Some(axes) = common::onnx_axes(node, b, inputs, 18)? else { return Ok(smallvec![x]) };
    let keepdims = node.int("keepdims", 1)? != 0;
    Ok(smallvec![reduce_prod(b, &x, &axes, keepdims)?])
}

impl Op for ReduceProd {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Reduce(ReduceKind::Prod)
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let facts = common::reduce(inputs, &self.axes, self.keepdims, Self::DTYPES)?;
        Ok(common::known_total(facts, inputs[0], Dim::mul))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let (shape, groups) = common::reduce_groups(x, &self.axes, self.keepdims)?;
        let numbers = match x.numbers() {
            Numbers::F(v) => Numbers::F(groups.iter().map(|g| g.iter().map(|&i| v[i]).product()).collect()),
            Numbers::I(v) => {
                Numbers::I(groups.iter().map(|g| g.iter().fold(1, |p: i64, &i| p.wrapping_mul(v[i]))).collect())
            }
            Numbers::U(v) => {
                Numbers::U(groups.iter().map(|g| g.iter().fold(1, |p: u64, &i| p.wrapping_mul(v[i]))).collect())
            }
        };
        common::out(HostTensor::from_numbers(x.dtype(), &shape, &numbers)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let fact = s.input_fact(0)?;
        let g = restore_axes(b, g, &self.axes, fact)?;
        let (zero, one) = (b.scalar(fact.dtype, 0.0)?, b.scalar(fact.dtype, 1.0)?);
        let is_zero = equal(b, s.input(0)?, &zero)?;
        let factors = where_(b, &is_zero, &one, s.input(0)?)?;
        let product = reduce_prod(b, &factors, &self.axes, true)?;
        let zeros = cast(b, &is_zero, fact.dtype)?;
        let count = reduce_sum(b, &zeros, &self.axes, true)?;
        // The product of the other factors is not 0 where there is no other zero.
        let others = sub(b, &count, &zeros)?;
        let alone = equal(b, &others, &zero)?;
        let without = div(b, &product, &factors)?;
        let without = where_(b, &alone, &without, &zero)?;
        Ok(vec![Some(mul(b, &without, &g)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        common::reduce_to_onnx("ReduceProd", 18, &self.axes, self.keepdims)
    }
}

impl OpType for ReduceProd {
    const NAME: &'static str = "reduce_prod";
    const DOC: &'static str = "Product over axes.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ReduceProd", 1, import)]
    }

    fn cases() -> Vec<Case> {
        crate::cases::reduce(|axes, keepdims| ReduceProd { axes, keepdims }, Self::DTYPES, true)
    }
}
