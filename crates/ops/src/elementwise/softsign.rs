//! `x / (1 + |x|)`.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compute, ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Var, Vars};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// `x / (1 + |x|)`, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Softsign;

/// `x / (1 + |x|)`
pub fn softsign(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Softsign, std::slice::from_ref(x))
}

impl Softsign {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let dtype = b.tensor_fact(x)?.dtype;
        let one = b.scalar(dtype, 1.0)?;
        let size = abs(b, x)?;
        let size = add(b, &size, &one)?;
        div(b, x, &size)
    }
}

impl Op for Softsign {
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
        let mut e = ScalarExpr::new(dtypes);
        let x = e.load(0);
        let one = e.constant(1.0, Compute::of(dtypes[0]));
        let size = e.unary(Unary::Abs, x);
        let size = e.binary(Binary::Add, size, one);
        let y = e.binary(Binary::Div, x, size);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, |x| x / (1.0 + x.abs()))
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Softsign", 1))
    }
}

impl OpType for Softsign {
    const NAME: &'static str = "softsign";
    const DOC: &'static str = "Smooth sign `x / (1 + |x|)`.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Softsign", 1, |_, b, x| Ok(smallvec![softsign(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Softsign, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
