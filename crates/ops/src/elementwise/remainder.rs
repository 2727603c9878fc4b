//! Remainder with the sign of the divisor.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, ScalarExpr};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::sum_to;

/// Remainder of the division rounded down, with broadcasting: it has the sign of the divisor. Of integers by zero:
/// 0.
#[derive(Clone, Debug, Attrs)]
pub struct Remainder;

/// remainder of `x / y` with the sign of `y`
pub fn remainder(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&Remainder, &[x.clone(), y.clone()])
}

impl Op for Remainder {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let facts = common::elementwise(inputs, 0, Self::DTYPES, None)?;
        Ok(common::known_binary(facts, inputs, |x, y| match (x.known()?, y.known()?) {
            (_, 0) => Some(Dim::Known(0)),
            (x, y) => Some(Dim::Known(floored(x, y))),
        }))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        Some(ScalarExpr::of_binary(dtypes[0], Binary::Remainder))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_binary(
            inputs,
            None,
            |x, y| {
                let r = x % y;
                if r != 0.0 && r.is_sign_negative() != y.is_sign_negative() { r + y } else { r }
            },
            |x, y| if y == 0 { 0 } else { floored(x, y) },
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
            let whole = floor(b, &quotient)?;
            let part = mul(b, g, &whole)?;
            let part = neg(b, &part)?;
            result[1] = Some(sum_to(b, &part, s.input_fact(1)?)?);
        }
        Ok(result)
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(written_out(b, inputs.first()?, inputs.get(1)?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        inputs.first().filter(|x| !x.dtype().is_float()).map(|_| OnnxExport::new("Mod", 13))
    }
}

impl OpType for Remainder {
    const NAME: &'static str = "remainder";
    const DOC: &'static str = "Remainder with the sign of the divisor.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const PROMOTE: Promote = Promote::Common;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Mod", 10, |node, b, x| {
            let (x, y) = (required(x, 0)?, required(x, 1)?);
            Ok(smallvec![if node.int("fmod", 0)? == 0 { remainder(b, &x, &y)? } else { fmod(b, &x, &y)? }])
        })]
    }

    fn cases() -> Vec<Case> {
        crate::cases::apart(crate::cases::elementwise(&Remainder, 2, Self::DTYPES, true, (0.5, 2.5)))
    }
}

fn floored(x: i64, y: i64) -> i64 {
    let r = x.wrapping_rem(y);
    if r != 0 && (r < 0) != (y < 0) { r + y } else { r }
}

fn written_out(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    let dtype = b.tensor_fact(x)?.dtype;
    let zero = b.scalar(dtype, 0.0)?;
    let r = fmod(b, x, y)?;
    let (below, down) = (less(b, &r, &zero)?, less(b, y, &zero)?);
    let (some, apart) = (not_equal(b, &r, &zero)?, not_equal(b, &below, &down)?);
    let wrong = logical_and(b, &some, &apart)?;
    let moved = add(b, &r, y)?;
    where_(b, &wrong, &moved, &r)
}
