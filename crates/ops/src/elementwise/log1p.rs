//! `ln(1 + x)`.

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

/// `ln(1 + x)`, accurate near 0, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Log1p;

/// `ln(1 + x)`
pub fn log1p(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Log1p, std::slice::from_ref(x))
}

impl Op for Log1p {
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
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Log1p))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, f64::ln_1p)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let one = b.scalar(s.input_fact(0)?.dtype, 1.0)?;
        let sum = add(b, s.input(0)?, &one)?;
        Ok(vec![Some(div(b, g, &sum)?)])
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let one = b.tensor_fact(inputs.first()?).and_then(|f| b.scalar(f.dtype, 1.0));
        let sum = one.and_then(|one| add(b, &inputs[0], &one));
        Some(sum.and_then(|s| log(b, &s)).map(|y| smallvec![y]))
    }
}

impl OpType for Log1p {
    const NAME: &'static str = "log1p";
    const DOC: &'static str = "Logarithm of one more.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Log1p, 1, Self::DTYPES, true, (-0.5, 2.0))
    }
}
