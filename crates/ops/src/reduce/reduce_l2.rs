//! Square root of the sum of squares over axes.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType, Promote,
    Saved, Saves, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{accumulator, restore_axes, to_dtype};

/// Square root of the sum of squares over axes. The gradient at 0 is 0.
#[derive(Clone, Debug, Attrs)]
pub struct ReduceL2 {
    /// Axes to fold; negative ones count from the end, none means all.
    #[attr(default = Vec::new())]
    pub axes: Vec<i64>,
    /// Whether folded axes stay, with size 1.
    #[attr(default = false)]
    pub keepdims: bool,
}

/// Euclidean norm of `x` over `axes` (none: all).
pub fn reduce_l2(b: &mut dyn Builder, x: &Var, axes: &[i64], keepdims: bool) -> Result<Var> {
    b.one(&ReduceL2 { axes: axes.to_vec(), keepdims }, std::slice::from_ref(x))
}

impl ReduceL2 {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let dtype = b.tensor_fact(x)?.dtype;
        let wide = if dtype.is_float() { accumulator(dtype) } else { dtype };
        let x = to_dtype(b, x, wide)?;
        let squares = mul(b, &x, &x)?;
        let sum = reduce_sum(b, &squares, &self.axes, self.keepdims)?;
        let root = sqrt(b, &sum)?;
        to_dtype(b, &root, dtype)
    }
}

impl Op for ReduceL2 {
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
        let values = x.to_f64();
        let narrow = |sum: f64| if x.dtype() == DType::F64 { sum } else { f64::from(sum as f32) };
        let root = |g: &Vec<usize>| narrow(g.iter().map(|&i| values[i] * values[i]).sum()).sqrt();
        let numbers = Numbers::F(groups.iter().map(root).collect());
        common::out(HostTensor::from_numbers(x.dtype(), &shape, &numbers)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::ALL
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let fact = s.input_fact(0)?;
        let g = restore_axes(b, g, &self.axes, fact)?;
        let y = restore_axes(b, s.output(0)?, &self.axes, fact)?;
        let zero = b.scalar(fact.dtype, 0.0)?;
        let one = b.scalar(fact.dtype, 1.0)?;
        let none = equal(b, &y, &zero)?;
        let below = where_(b, &none, &one, &y)?;
        let share = div(b, &g, &below)?;
        Ok(vec![Some(mul(b, s.input(0)?, &share)?)])
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        common::reduce_to_onnx("ReduceL2", 18, &self.axes, self.keepdims)
    }
}

impl OpType for ReduceL2 {
    const NAME: &'static str = "reduce_l2";
    const DOC: &'static str = "Square root of the sum of squares over axes.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ReduceL2", 1, |node, b, x| common::onnx_reduction(node, b, x, true, reduce_l2))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::reduce(|axes, keepdims| ReduceL2 { axes, keepdims }, Self::DTYPES, true)
    }
}
