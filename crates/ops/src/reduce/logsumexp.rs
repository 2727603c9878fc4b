//! Logarithm of the sum of exponentials over axes.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType, Promote,
    Saved, Saves, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{accumulator, full, restore_axes, to_dtype, to_shape};

/// Natural logarithm of the sum of exponentials over axes, computed with the maximum taken off; that of nothing is
/// negative infinity.
#[derive(Clone, Debug, Attrs)]
pub struct Logsumexp {
    /// Axes to fold; negative ones count from the end, none means all.
    #[attr(default = Vec::new())]
    pub axes: Vec<i64>,
    /// Whether folded axes stay, with size 1.
    #[attr(default = false)]
    pub keepdims: bool,
}

/// Logarithm of the sum of the exponentials of `x` over `axes` (none: all).
pub fn logsumexp(b: &mut dyn Builder, x: &Var, axes: &[i64], keepdims: bool) -> Result<Var> {
    b.one(&Logsumexp { axes: axes.to_vec(), keepdims }, std::slice::from_ref(x))
}

impl Logsumexp {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let fact = b.tensor_fact(x)?;
        let wide = accumulator(fact.dtype);
        let x = to_dtype(b, x, wide)?;
        let folded = common::axes(&self.axes, fact.rank())?;
        if fact.shape.contains(&Dim::Known(0)) {
            let shape = common::reduced_dims(&fact.shape, &folded, self.keepdims);
            return full(b, fact.dtype, &shape, f64::NEG_INFINITY);
        }
        let most = reduce_max(b, &x, &self.axes, true)?;
        // Only a finite maximum is taken off: infinity minus itself is no number.
        let nothing = sub(b, &most, &most)?;
        let zero = b.scalar(wide, 0.0)?;
        let finite = equal(b, &nothing, &zero)?;
        let most = where_(b, &finite, &most, &zero)?;
        let shifted = sub(b, &x, &most)?;
        let powers = exp(b, &shifted)?;
        let total = reduce_sum(b, &powers, &self.axes, true)?;
        let total = log(b, &total)?;
        let y = add(b, &total, &most)?;
        let y = to_shape(b, &y, common::reduced_dims(&fact.shape, &folded, self.keepdims))?;
        to_dtype(b, &y, fact.dtype)
    }
}

impl Op for Logsumexp {
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
        let total = |g: &Vec<usize>| {
            let most = g.iter().fold(f64::NEG_INFINITY, |m, &i| m.max(values[i]));
            let most = if most.is_finite() { most } else { 0.0 };
            most + g.iter().map(|&i| (values[i] - most).exp()).sum::<f64>().ln()
        };
        let numbers = Numbers::F(groups.iter().map(total).collect());
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
        let below = sub(b, s.input(0)?, &y)?;
        let share = exp(b, &below)?;
        Ok(vec![Some(mul(b, &share, &g)?)])
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        common::reduce_to_onnx("ReduceLogSumExp", 18, &self.axes, self.keepdims)
    }
}

impl OpType for Logsumexp {
    const NAME: &'static str = "logsumexp";
    const DOC: &'static str = "Logarithm of the sum of exponentials over axes.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ReduceLogSumExp", 1, |node, b, x| common::onnx_reduction(node, b, x, true, logsumexp))]
    }

    fn cases() -> Vec<Case> {
        let mut cases = crate::cases::reduce(|axes, keepdims| Logsumexp { axes, keepdims }, Self::DTYPES, true);
        let op = Logsumexp { axes: vec![1], keepdims: false };
        for &d in Self::DTYPES {
            let x = CaseInput::new(d, &[3, 2]);
            let x = x.values(&[300.0, 299.0, f64::NEG_INFINITY, f64::NEG_INFINITY, f64::INFINITY, -300.0]);
            cases.push(Case::new(format!("far-{d}"), &op, vec![x]));
        }
        cases
    }
}
