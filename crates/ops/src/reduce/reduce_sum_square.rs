//! Sum of squares over axes.

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
use crate::gradient::{accumulator, restore_axes, scale, to_dtype};

/// Sum of squares over axes. Integers wrap; the sum of nothing is 0.
#[derive(Clone, Debug, Attrs)]
pub struct ReduceSumSquare {
    /// Axes to fold; negative ones count from the end, none means all.
    #[attr(default = Vec::new())]
    pub axes: Vec<i64>,
    /// Whether folded axes stay, with size 1.
    #[attr(default = false)]
    pub keepdims: bool,
}

/// Sum of the squares of `x` over `axes` (none: all).
pub fn reduce_sum_square(b: &mut dyn Builder, x: &Var, axes: &[i64], keepdims: bool) -> Result<Var> {
    b.one(&ReduceSumSquare { axes: axes.to_vec(), keepdims }, std::slice::from_ref(x))
}

impl ReduceSumSquare {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let dtype = b.tensor_fact(x)?.dtype;
        let wide = if dtype.is_float() { accumulator(dtype) } else { dtype };
        let x = to_dtype(b, x, wide)?;
        let squares = mul(b, &x, &x)?;
        let sum = reduce_sum(b, &squares, &self.axes, self.keepdims)?;
        to_dtype(b, &sum, dtype)
    }
}

impl Op for ReduceSumSquare {
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
            Numbers::F(v) => Numbers::F(groups.iter().map(|g| g.iter().map(|&i| v[i] * v[i]).sum()).collect()),
            Numbers::I(v) => {
                let total = |g: &Vec<usize>| g.iter().fold(0, |s: i64, &i| s.wrapping_add(v[i].wrapping_mul(v[i])));
                Numbers::I(groups.iter().map(total).collect())
            }
            Numbers::U(v) => {
                let total = |g: &Vec<usize>| g.iter().fold(0, |s: u64, &i| s.wrapping_add(v[i].wrapping_mul(v[i])));
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
        let twice = scale(b, s.input(0)?, 2.0)?;
        Ok(vec![Some(mul(b, &twice, &g)?)])
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        common::reduce_to_onnx("ReduceSumSquare", 18, &self.axes, self.keepdims)
    }
}

impl OpType for ReduceSumSquare {
    const NAME: &'static str = "reduce_sum_square";
    const DOC: &'static str = "Sum of squares over axes.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ReduceSumSquare", 1, |node, b, x| {
            common::onnx_reduction(node, b, x, false, reduce_sum_square)
        })]
    }

    fn cases() -> Vec<Case> {
        crate::cases::reduce(|axes, keepdims| ReduceSumSquare { axes, keepdims }, Self::DTYPES, true)
    }
}
