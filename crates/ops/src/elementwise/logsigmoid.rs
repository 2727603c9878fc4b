//! `ln(sigmoid(x))`.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::scalar::{Binary, Compute, ScalarExpr, Unary};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
    Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// `ln(1 / (1 + e^-x))`, without overflow, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct LogSigmoid;

/// `ln(sigmoid(x))`
pub fn logsigmoid(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&LogSigmoid, std::slice::from_ref(x))
}

impl Op for LogSigmoid {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        common::elementwise(inputs, 0, Self::DTYPES, None)
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        let ty = Compute::of(dtypes[0]);
        let mut e = ScalarExpr::new(dtypes);
        let x = e.load(0);
        let zero = e.constant(0.0, ty);
        let size = e.unary(Unary::Abs, x);
        let size = e.unary(Unary::Neg, size);
        let power = e.unary(Unary::Exp, size);
        let rest = e.unary(Unary::Log1p, power);
        let least = e.binary(Binary::Min, x, zero);
        let y = e.binary(Binary::Sub, least, rest);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, |x: f64| {
            x.min(0.0) - (-x.abs()).exp().ln_1p() + if x.is_nan() { x } else { 0.0 }
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let minus = neg(b, s.input(0)?)?;
        let slope = sigmoid(b, &minus)?;
        Ok(vec![Some(mul(b, g, &slope)?)])
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let minus = neg(b, inputs.first()?);
        let soft = minus.and_then(|x| softplus(b, &x));
        Some(soft.and_then(|y| neg(b, &y)).map(|y| smallvec![y]))
    }
}

impl OpType for LogSigmoid {
    const NAME: &'static str = "logsigmoid";
    const DOC: &'static str = "Logarithm of the logistic function.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&LogSigmoid, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
