//! `log10(x)`.

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
use crate::gradient::scale;

/// Logarithm to base 10, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Log10;

/// `log10(x)`
pub fn log10(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Log10, std::slice::from_ref(x))
}

impl Op for Log10 {
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
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Log10))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, f64::log10)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let slope = scale(b, g, std::f64::consts::LOG10_E)?;
        Ok(vec![Some(div(b, &slope, s.input(0)?)?)])
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let log = log(b, inputs.first()?);
        Some(log.and_then(|y| scale(b, &y, std::f64::consts::LOG10_E)).map(|y| smallvec![y]))
    }
}

impl OpType for Log10 {
    const NAME: &'static str = "log10";
    const DOC: &'static str = "Logarithm to base 10.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Log10, 1, Self::DTYPES, true, (0.5, 2.5))
    }
}
