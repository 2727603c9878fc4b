//! Remainder with the sign of the dividend.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport};
use lampyr_ir::scalar::{Binary, ScalarExpr};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};

use crate::build::*;
use crate::common;
use crate::gradient::sum_to;

/// Remainder of the division truncated towards 0, with broadcasting: it has the sign of the dividend. Of integers
/// by zero: 0.
#[derive(Clone, Debug, Attrs)]
pub struct Fmod;

/// remainder of `x / y` with the sign of `x`
pub fn fmod(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&Fmod, &[x.clone(), y.clone()])
}

impl Op for Fmod {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        common::elementwise(inputs, 0, Self::DTYPES, None)
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        Some(ScalarExpr::of_binary(dtypes[0], Binary::Fmod))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_binary(
            inputs,
            None,
            |x, y| x % y,
            |x, y| x.checked_rem(y).unwrap_or(0),
            |x, y| x.checked_rem(y).unwrap_or(0),
        )
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None, None]) };
        let mut result = vec![None, None];
        if needs[0] {
            result[0] = Some(sum_to(b, g, s.input_fact(0)?)?);
        }
        if needs[1] {
            let quotient = div(b, s.input(0)?, s.input(1)?)?;
            let whole = trunc(b, &quotient)?;
            let part = mul(b, g, &whole)?;
            let part = neg(b, &part)?;
            result[1] = Some(sum_to(b, &part, s.input_fact(1)?)?);
        }
        Ok(result)
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Mod", 13).attr("fmod", OnnxAttr::Int(1)))
    }
}

impl OpType for Fmod {
    const NAME: &'static str = "fmod";
    const DOC: &'static str = "Remainder with the sign of the dividend.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const PROMOTE: Promote = Promote::Common;

    fn cases() -> Vec<Case> {
        crate::cases::apart(crate::cases::elementwise(&Fmod, 2, Self::DTYPES, true, (0.5, 2.5)))
    }
}
