//! Signs.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compare, Compute, ScalarExpr};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Saved, Saves, Var};
use smallvec::smallvec;

use crate::common;
use crate::gradient::full;

/// 1 for positive, -1 for negative elements, else (NaN included, as in PyTorch) 0.
#[derive(Clone, Debug, Attrs)]
pub struct Sign;

/// 1, 0 or -1
pub fn sign(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Sign, std::slice::from_ref(x))
}

impl Op for Sign {
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
        let ty = Compute::of(dtypes[0]);
        let mut e = ScalarExpr::new(dtypes);
        let x = e.load(0);
        let zero = e.constant(0.0, ty);
        let above = e.compare(Compare::Lt, zero, x);
        let below = e.compare(Compare::Lt, x, zero);
        let sign = e.binary(Binary::Sub, above, below);
        let sign = e.convert(sign, ty);
        Some(e.store(sign, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_numbers(
            inputs,
            |x| {
                if x > 0.0 {
                    1.0
                } else if x < 0.0 {
                    -1.0
                } else {
                    0.0
                }
            },
            i64::signum,
            |x| x.min(1),
        )
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        if grads[0].is_none() {
            return Ok(vec![None]);
        }
        let like = s.input_fact(0)?;
        Ok(vec![Some(full(b, like.dtype, &like.shape, 0.0)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Sign", 13))
    }
}

impl OpType for Sign {
    const NAME: &'static str = "sign";
    const DOC: &'static str = "1, 0 or -1 by the sign of elements.";
    const DTYPES: &'static [DType] = DType::NUMERIC;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Sign", 9, |_, b, x| Ok(smallvec![sign(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Sign, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
