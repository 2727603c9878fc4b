//! Sigmoid linear unit.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxMapping, required};
use lampyr_ir::scalar::{Binary, ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Var, Vars};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::scale;

/// `x * sigmoid(x)` (Elfwing et al. 2017; Ramachandran et al. 2017 as "swish"), element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Silu;

/// `x * sigmoid(x)`
pub fn silu(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Silu, std::slice::from_ref(x))
}

impl Silu {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let gate = sigmoid(b, x)?;
        mul(b, x, &gate)
    }
}

impl Op for Silu {
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
        let gate = e.unary(Unary::Sigmoid, x);
        let y = e.binary(Binary::Mul, x, gate);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, |x| x * lampyr_ir::scalar::sigmoid(x))
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }
}

impl OpType for Silu {
    const NAME: &'static str = "silu";
    const DOC: &'static str = "Sigmoid linear unit.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::new("Swish", 24, |node, b, x| {
                Ok(smallvec![swish(b, &required(x, 0)?, node.float("alpha", 1.0)?)?])
            }),
            OnnxMapping::new("SwiGLU", 28, |node, b, x| {
                let gate = swish(b, &required(x, 0)?, node.float("alpha", 1.0)?)?;
                Ok(smallvec![mul(b, &gate, &required(x, 1)?)?])
            }),
        ]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Silu, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}

/// `x * sigmoid(alpha * x)`
pub fn swish(b: &mut dyn Builder, x: &Var, alpha: f64) -> Result<Var> {
    if alpha == 1.0 {
        return silu(b, x);
    }
    let scaled = scale(b, x, alpha)?;
    let gate = sigmoid(b, &scaled)?;
    mul(b, x, &gate)
}
