//! `x * tanh(ln(1 + e^x))`.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compute, ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Var, Vars};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// `x * tanh(softplus(x))` (Misra 2019), element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Mish;

/// `x * tanh(ln(1 + e^x))`
pub fn mish(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Mish, std::slice::from_ref(x))
}

impl Mish {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let soft = softplus(b, x)?;
        let gate = tanh(b, &soft)?;
        mul(b, x, &gate)
    }
}

impl Op for Mish {
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
        let size = e.unary(Unary::Abs, x);
        let size = e.unary(Unary::Neg, size);
        let power = e.unary(Unary::Exp, size);
        let rest = e.unary(Unary::Log1p, power);
        let most = e.binary(Binary::Max, x, zero);
        let soft = e.binary(Binary::Add, most, rest);
        let gate = e.unary(Unary::Tanh, soft);
        let y = e.binary(Binary::Mul, x, gate);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, |x| x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh())
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Mish", 18))
    }
}

impl OpType for Mish {
    const NAME: &'static str = "mish";
    const DOC: &'static str = "Mish activation.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Mish", 18, |_, b, x| Ok(smallvec![mish(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Mish, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
