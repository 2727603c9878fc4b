//! The larger of two.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping};
use lampyr_ir::scalar::{Binary, ScalarExpr};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{scale, sum_to};

/// The larger of two elements, with broadcasting; NaN wins. Where both are equal, each gets half of the gradient.
#[derive(Clone, Debug, Attrs)]
pub struct Maximum;

/// the larger of `x` and `y`
pub fn maximum(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&Maximum, &[x.clone(), y.clone()])
}

impl Op for Maximum {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let facts = common::elementwise(inputs, 0, Self::DTYPES, None)?;
        Ok(common::known_binary(facts, inputs, |x, y| Some(x.maximum(y))))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        Some(ScalarExpr::of_binary(dtypes[0], Binary::Max))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_binary(
            inputs,
            None,
            |x, y| if x.is_nan() || y.is_nan() { f64::NAN } else { x.max(y) },
            i64::max,
            u64::max,
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
        let (x, y) = (s.input(0)?, s.input(1)?);
        let zero = b.scalar(s.output_fact(0)?.dtype, 0.0)?;
        let half = scale(b, g, 0.5)?;
        let tie = equal(b, x, y)?;
        let shared = where_(b, &tie, &half, g)?;
        let mut result = vec![None, None];
        for (i, (own, other)) in [(x, y), (y, x)].into_iter().enumerate().filter(|(i, _)| needs[*i]) {
            let lost = less(b, own, other)?;
            let part = where_(b, &lost, &zero, &shared)?;
            result[i] = Some(sum_to(b, &part, s.input_fact(i)?)?);
        }
        Ok(result)
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Max", 13))
    }
}

impl OpType for Maximum {
    const NAME: &'static str = "maximum";
    const DOC: &'static str = "The larger of two tensors, with broadcasting.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const PROMOTE: Promote = Promote::Common;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Max", 6, |_, b, x| Ok(smallvec![common::onnx_fold(b, x, maximum)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::apart(crate::cases::elementwise(&Maximum, 2, Self::DTYPES, true, (-2.0, 2.0)))
    }
}
