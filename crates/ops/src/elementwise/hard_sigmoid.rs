//! Piecewise linear sigmoid.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compute, ScalarExpr};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Saved, Saves, Var};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::scale;

/// `alpha * x + beta`, clipped to 0..=1, element by element. The gradient at the kinks is 0.
#[derive(Clone, Debug, Attrs)]
pub struct HardSigmoid {
    /// Slope.
    #[attr(default = 0.2)]
    pub alpha: f64,
    /// Value at 0.
    #[attr(default = 0.5)]
    pub beta: f64,
}

/// `clip(alpha * x + beta, 0, 1)`
pub fn hard_sigmoid(b: &mut dyn Builder, x: &Var, alpha: f64, beta: f64) -> Result<Var> {
    b.one(&HardSigmoid { alpha, beta }, std::slice::from_ref(x))
}

impl Op for HardSigmoid {
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
        let (alpha, beta) = (e.constant(self.alpha, ty), e.constant(self.beta, ty));
        let (zero, one) = (e.constant(0.0, ty), e.constant(1.0, ty));
        let y = e.binary(Binary::Mul, x, alpha);
        let y = e.binary(Binary::Add, y, beta);
        let y = e.binary(Binary::Max, y, zero);
        let y = e.binary(Binary::Min, y, one);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, |x| (self.alpha * x + self.beta).clamp(0.0, 1.0))
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let (y, dtype) = (s.output(0)?, s.output_fact(0)?.dtype);
        let (zero, one) = (b.scalar(dtype, 0.0)?, b.scalar(dtype, 1.0)?);
        let (above, below) = (greater(b, y, &zero)?, less(b, y, &one)?);
        let inside = logical_and(b, &above, &below)?;
        let slope = scale(b, g, self.alpha)?;
        Ok(vec![Some(where_(b, &inside, &slope, &zero)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let node = OnnxExport::new("HardSigmoid", 6).attr("alpha", OnnxAttr::Float(self.alpha as f32));
        Some(node.attr("beta", OnnxAttr::Float(self.beta as f32)))
    }
}

impl OpType for HardSigmoid {
    const NAME: &'static str = "hard_sigmoid";
    const DOC: &'static str = "Piecewise linear sigmoid.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("HardSigmoid", 6, |node, b, x| {
            let (alpha, beta) = (node.float("alpha", 0.2)?, node.float("beta", 0.5)?);
            Ok(smallvec![hard_sigmoid(b, &required(x, 0)?, alpha, beta)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (name, op) in
            [("onnx", HardSigmoid { alpha: 0.2, beta: 0.5 }), ("torch", HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 })]
        {
            for mut case in crate::cases::elementwise(&op, 1, Self::DTYPES, true, (-4.0, 4.0)) {
                case.name = format!("{name}-{}", case.name);
                cases.push(case);
            }
        }
        cases
    }
}
