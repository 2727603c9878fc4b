//! `x - y`.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, ScalarExpr};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::build::neg;
use crate::common;
use crate::gradient::sum_to;

/// Difference with broadcasting. Integers wrap.
#[derive(Clone, Debug, Attrs)]
pub struct Sub;

/// `x - y`
pub fn sub(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&Sub, &[x.clone(), y.clone()])
}

impl Op for Sub {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let facts = common::elementwise(inputs, 0, Self::DTYPES, None)?;
        Ok(common::known_binary(facts, inputs, |x, y| Some(Dim::sub(x, y))))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        Some(ScalarExpr::of_binary(dtypes[0], Binary::Sub))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_binary(inputs, None, |x, y| x - y, i64::wrapping_sub, u64::wrapping_sub)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None, None]) };
        let x = if needs[0] { Some(sum_to(b, g, s.input_fact(0)?)?) } else { None };
        let y = if needs[1] {
            let g = sum_to(b, g, s.input_fact(1)?)?;
            Some(neg(b, &g)?)
        } else {
            None
        };
        Ok(vec![x, y])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Sub", 14))
    }
}

impl OpType for Sub {
    const NAME: &'static str = "sub";
    const DOC: &'static str = "Difference of two tensors, with broadcasting.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const PROMOTE: Promote = Promote::Common;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("Sub", 1, 6, |node, b, inputs| {
                let (x, y) = crate::onnx_broadcast::operands(node, b, inputs)?;
                Ok(smallvec![sub(b, &x, &y)?])
            }),
            OnnxMapping::new("Sub", 7, |_, b, x| Ok(smallvec![sub(b, &required(x, 0)?, &required(x, 1)?)?])),
        ]
    }

    fn cases() -> Vec<lampyr_ir::case::Case> {
        crate::cases::elementwise(&Sub, 2, Self::DTYPES, true, (-2.0, 2.0))
    }
}
