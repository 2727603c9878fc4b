//! `x * hard_sigmoid(x)`.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compute, ScalarExpr};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Var, Vars};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// `x * clip(x / 6 + 1/2, 0, 1)` (Howard et al. 2019), element by element.
#[derive(Clone, Debug, Attrs)]
pub struct HardSwish;

/// `x * hard_sigmoid(x)`
pub fn hard_swish(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&HardSwish, std::slice::from_ref(x))
}

impl HardSwish {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let gate = hard_sigmoid(b, x, 1.0 / 6.0, 0.5)?;
        mul(b, x, &gate)
    }
}

impl Op for HardSwish {
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
        let (alpha, beta) = (e.constant(1.0 / 6.0, ty), e.constant(0.5, ty));
        let (zero, one) = (e.constant(0.0, ty), e.constant(1.0, ty));
        let y = e.binary(Binary::Mul, x, alpha);
        let y = e.binary(Binary::Add, y, beta);
        let y = e.binary(Binary::Max, y, zero);
        let y = e.binary(Binary::Min, y, one);
        let y = e.binary(Binary::Mul, x, y);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0))
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("HardSwish", 14))
    }
}

impl OpType for HardSwish {
    const NAME: &'static str = "hard_swish";
    const DOC: &'static str = "Piecewise quadratic swish.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("HardSwish", 14, |_, b, x| Ok(smallvec![hard_swish(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&HardSwish, 1, Self::DTYPES, true, (-4.0, 4.0))
    }
}
