//! `x * y`.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, ScalarExpr};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::common;
use crate::gradient::sum_to;

/// Product with broadcasting. Integers wrap.
#[derive(Clone, Debug, Attrs)]
pub struct Mul;

/// `x * y`
pub fn mul(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&Mul, &[x.clone(), y.clone()])
}

impl Op for Mul {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let facts = common::elementwise(inputs, 0, Self::DTYPES, None)?;
        Ok(common::known_binary(facts, inputs, |x, y| Some(Dim::mul(x, y))))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        Some(ScalarExpr::of_binary(dtypes[0], Binary::Mul))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_binary(inputs, None, |x, y| x * y, i64::wrapping_mul, u64::wrapping_mul)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn saves_for(&self, needs: &[bool]) -> Saves {
        Saves { inputs: u32::from(needs[1]) | u32::from(needs[0]) << 1, outputs: 0 }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None, None]) };
        let mut result = vec![None, None];
        for i in (0..2).filter(|&i| needs[i]) {
            let product = mul(b, g, s.input(1 - i)?)?;
            result[i] = Some(sum_to(b, &product, s.input_fact(i)?)?);
        }
        Ok(result)
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Mul", 14))
    }
}

impl OpType for Mul {
    const NAME: &'static str = "mul";
    const DOC: &'static str = "Product of two tensors, with broadcasting.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const PROMOTE: Promote = Promote::Common;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("Mul", 1, 6, |node, b, inputs| {
                let (x, y) = crate::onnx_broadcast::operands(node, b, inputs)?;
                Ok(smallvec![mul(b, &x, &y)?])
            }),
            OnnxMapping::new("Mul", 7, |_, b, x| Ok(smallvec![mul(b, &required(x, 0)?, &required(x, 1)?)?])),
        ]
    }

    fn cases() -> Vec<lampyr_ir::case::Case> {
        crate::cases::elementwise(&Mul, 2, Self::DTYPES, true, (-2.0, 2.0))
    }
}
