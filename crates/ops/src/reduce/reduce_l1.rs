//! Sum of absolute values over axes.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType, Saved,
    Saves, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{accumulator, restore_axes, to_dtype};

/// Sum of absolute values over axes. Integers wrap; the sum of nothing is 0. The gradient at 0 is 0.
#[derive(Clone, Debug, Attrs)]
pub struct ReduceL1 {
    /// Axes to fold; negative ones count from the end, none means all.
    #[attr(default = Vec::new())]
    pub axes: Vec<i64>,
    /// Whether folded axes stay, with size 1.
    #[attr(default = false)]
    pub keepdims: bool,
}

/// Sum of the absolute values of `x` over `axes` (none: all).
pub fn reduce_l1(b: &mut dyn Builder, x: &Var, axes: &[i64], keepdims: bool) -> Result<Var> {
    b.one(&ReduceL1 { axes: axes.to_vec(), keepdims }, std::slice::from_ref(x))
}

impl ReduceL1 {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let dtype = b.tensor_fact(x)?.dtype;
        let wide = if dtype.is_float() { accumulator(dtype) } else { dtype };
        let x = to_dtype(b, x, wide)?;
        let zero = b.scalar(wide, 0.0)?;
        let size = if wide.is_float() || wide.is_signed_integer() {
            let below = less(b, &x, &zero)?;
            let opposite = neg(b, &x)?;
            where_(b, &below, &opposite, &x)?
        } else {
            x
        };
        let sum = reduce_sum(b, &size, &self.axes, self.keepdims)?;
        to_dtype(b, &sum, dtype)
    }
}

impl Op for ReduceL1 {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        common::reduce(inputs, &self.axes, self.keepdims, Self::DTYPES)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let (shape, groups) = common::reduce_groups(x, &self.axes, self.keepdims)?;
        let numbers = match x.numbers() {
            Numbers::F(v) => Numbers::F(groups.iter().map(|g| g.iter().map(|&i| v[i].abs()).sum()).collect()),
            Numbers::I(v) => {
                let total = |g: &Vec<usize>| g.iter().fold(0, |s: i64, &i| s.wrapping_add(v[i].wrapping_abs()));
                Numbers::I(groups.iter().map(total).collect())
            }
            Numbers::U(v) => {
                let total = |g: &Vec<usize>| g.iter().fold(0, |s: u64, &i| s.wrapping_add(v[i]));
                Numbers::U(groups.iter().map(total).collect())
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
        let zero = b.scalar(fact.dtype, 0.0)?;
        let (above, below) = (greater(b, s.input(0)?, &zero)?, less(b, s.input(0)?, &zero)?);
        let (above, below) = (cast(b, &above, fact.dtype)?, cast(b, &below, fact.dtype)?);
        let sign = sub(b, &above, &below)?;
        Ok(vec![Some(mul(b, &sign, &g)?)])
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        common::reduce_to_onnx("ReduceL1", 18, &self.axes, self.keepdims)
    }
}

impl OpType for ReduceL1 {
    const NAME: &'static str = "reduce_l1";
    const DOC: &'static str = "Sum of absolute values over axes.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ReduceL1", 1, |node, b, x| common::onnx_reduction(node, b, x, false, reduce_l1))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::reduce(|axes, keepdims| ReduceL1 { axes, keepdims }, Self::DTYPES, true)
    }
}
