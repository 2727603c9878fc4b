//! `1 / sqrt(x)`.

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
use crate::gradient::scale;

/// `1 / sqrt(x)`, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Rsqrt;

/// `1 / sqrt(x)`
pub fn rsqrt(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Rsqrt, std::slice::from_ref(x))
}

impl Op for Rsqrt {
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
        let mut e = ScalarExpr::new(dtypes);
        let x = e.load(0);
        let root = e.unary(Unary::Sqrt, x);
        let one = e.constant(1.0, Compute::of(dtypes[0]));
        let y = e.binary(Binary::Div, one, root);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, |x| 1.0 / x.sqrt())
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let y = s.output(0)?;
        let square = mul(b, y, y)?;
        let cube = mul(b, &square, y)?;
        let slope = scale(b, &cube, -0.5)?;
        Ok(vec![Some(mul(b, g, &slope)?)])
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let root = sqrt(b, inputs.first()?);
        Some(root.and_then(|r| reciprocal(b, &r)).map(|y| smallvec![y]))
    }
}

impl OpType for Rsqrt {
    const NAME: &'static str = "rsqrt";
    const DOC: &'static str = "Reciprocal of the square root.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Rsqrt, 1, Self::DTYPES, true, (0.5, 2.5))
    }
}
