//! Logarithm of the sum over axes.

use lampyr_base::{DType, Result};
use lampyr_ir::case::{Case, Fill};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType, Promote,
    Saved, Saves, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{accumulator, expand_to, restore_axes, to_dtype};

/// Natural logarithm of the sum over axes; that of nothing is negative infinity.
#[derive(Clone, Debug, Attrs)]
pub struct ReduceLogSum {
    /// Axes to fold; negative ones count from the end, none means all.
    #[attr(default = Vec::new())]
    pub axes: Vec<i64>,
    /// Whether folded axes stay, with size 1.
    #[attr(default = false)]
    pub keepdims: bool,
}

/// Logarithm of the sum of `x` over `axes` (none: all).
pub fn reduce_log_sum(b: &mut dyn Builder, x: &Var, axes: &[i64], keepdims: bool) -> Result<Var> {
    b.one(&ReduceLogSum { axes: axes.to_vec(), keepdims }, std::slice::from_ref(x))
}

impl ReduceLogSum {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let dtype = b.tensor_fact(x)?.dtype;
        let wide = if dtype.is_float() { accumulator(dtype) } else { dtype };
        let x = to_dtype(b, x, wide)?;
        let sum = reduce_sum(b, &x, &self.axes, self.keepdims)?;
        let y = log(b, &sum)?;
        to_dtype(b, &y, dtype)
    }
}

impl Op for ReduceLogSum {
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
        let total = |g: &Vec<usize>| narrow(g.iter().map(|&i| values[i]).sum()).ln();
        let numbers = Numbers::F(groups.iter().map(total).collect());
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
        let sum = reduce_sum(b, s.input(0)?, &self.axes, true)?;
        let share = div(b, &g, &sum)?;
        Ok(vec![Some(expand_to(b, &share, fact)?)])
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        common::reduce_to_onnx("ReduceLogSum", 18, &self.axes, self.keepdims)
    }
}

impl OpType for ReduceLogSum {
    const NAME: &'static str = "reduce_log_sum";
    const DOC: &'static str = "Logarithm of the sum over axes.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ReduceLogSum", 1, |node, b, x| common::onnx_reduction(node, b, x, true, reduce_log_sum))]
    }

    fn cases() -> Vec<Case> {
        let mut cases = crate::cases::reduce(|axes, keepdims| ReduceLogSum { axes, keepdims }, Self::DTYPES, true);
        for (k, case) in cases.iter_mut().enumerate().filter(|(_, c)| !c.name.starts_with("special")) {
            for x in &mut case.inputs {
                x.fill = Fill::Uniform(0.5, 2.0, 3 + k as u64);
            }
        }
        cases
    }
}
