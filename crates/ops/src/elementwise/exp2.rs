//! `2^x`.

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

/// `2^x`, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Exp2;

/// `2^x`
pub fn exp2(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Exp2, std::slice::from_ref(x))
}

impl Op for Exp2 {
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
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Exp2))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, f64::exp2)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let slope = scale(b, s.output(0)?, std::f64::consts::LN_2)?;
        Ok(vec![Some(mul(b, g, &slope)?)])
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let x = inputs.first()?;
        let two = b.tensor_fact(x).and_then(|f| b.scalar(f.dtype, 2.0));
        Some(two.and_then(|two| pow(b, &two, x)).map(|y| smallvec![y]))
    }
}

impl OpType for Exp2 {
    const NAME: &'static str = "exp2";
    const DOC: &'static str = "Power of two.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Exp2, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
