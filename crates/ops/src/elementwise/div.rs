//! `x / y`.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, ScalarExpr};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::build::{mul, neg};
use crate::common;
use crate::gradient::sum_to;

/// Quotient with broadcasting. Integers truncate; division by zero gives 0 and `MIN / -1` wraps to `MIN`.
#[derive(Clone, Debug, Attrs)]
pub struct Div;

/// `x / y`
pub fn div(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&Div, &[x.clone(), y.clone()])
}

impl Op for Div {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let facts = common::elementwise(inputs, 0, Self::DTYPES, None)?;
        Ok(common::known_binary(facts, inputs, |x, y| match (x, y) {
            (_, Dim::Known(0)) => Some(Dim::Known(0)),
            (Dim::Known(a), Dim::Known(b)) => a.checked_div(*b).map(Dim::Known),
            (a, b) if a.is_nonnegative() && b.is_nonnegative() => Some(a.floor_div(b)),
            // Rounds towards zero whatever the sign turns out to be.
            (a, b) => b.known().is_some_and(|n| n > 0).then(|| {
                let zero = Dim::Known(0);
                let below = zero.sub(a).maximum(&zero).floor_div(b);
                a.maximum(&zero).floor_div(b).sub(&below)
            }),
        }))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        Some(ScalarExpr::of_binary(dtypes[0], Binary::Div))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_binary(
            inputs,
            None,
            |x, y| x / y,
            |x, y| x.checked_div(y).unwrap_or(if y == 0 { 0 } else { x }),
            |x, y| x.checked_div(y).unwrap_or(0),
        )
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b10, outputs: 0b1 }
    }

    fn saves_for(&self, needs: &[bool]) -> Saves {
        Saves { inputs: 0b10, outputs: u32::from(needs[1]) }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None, None]) };
        let quotient = div(b, g, s.input(1)?)?;
        let x = if needs[0] { Some(sum_to(b, &quotient, s.input_fact(0)?)?) } else { None };
        let y = if needs[1] {
            let product = mul(b, &quotient, s.output(0)?)?;
            let sum = sum_to(b, &product, s.input_fact(1)?)?;
            Some(neg(b, &sum)?)
        } else {
            None
        };
        Ok(vec![x, y])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Div", 14))
    }
}

impl OpType for Div {
    const NAME: &'static str = "div";
    const DOC: &'static str = "Quotient of two tensors, with broadcasting.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const PROMOTE: Promote = Promote::Float;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("Div", 1, 6, |node, b, inputs| {
                let (x, y) = crate::onnx_broadcast::operands(node, b, inputs)?;
                Ok(smallvec![div(b, &x, &y)?])
            }),
            OnnxMapping::new("Div", 7, |_, b, x| Ok(smallvec![div(b, &required(x, 0)?, &required(x, 1)?)?])),
        ]
    }

    fn cases() -> Vec<lampyr_ir::case::Case> {
        crate::cases::elementwise(&Div, 2, Self::DTYPES, true, (0.5, 2.5))
    }
}
