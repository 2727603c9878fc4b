//! `e^x - 1`.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::scalar::{ScalarExpr, Unary};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
    Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// `e^x - 1`, accurate near 0, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Expm1;

/// `e^x - 1`
pub fn expm1(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Expm1, std::slice::from_ref(x))
}

impl Op for Expm1 {
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
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Expm1))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, f64::exp_m1)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let one = b.scalar(s.output_fact(0)?.dtype, 1.0)?;
        let slope = add(b, s.output(0)?, &one)?;
        Ok(vec![Some(mul(b, g, &slope)?)])
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let one = b.tensor_fact(inputs.first()?).and_then(|f| b.scalar(f.dtype, 1.0));
        let power = exp(b, inputs.first()?);
        Some(power.and_then(|p| sub(b, &p, &one?)).map(|y| smallvec![y]))
    }
}

impl OpType for Expm1 {
    const NAME: &'static str = "expm1";
    const DOC: &'static str = "Exponential less one.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Expm1, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
