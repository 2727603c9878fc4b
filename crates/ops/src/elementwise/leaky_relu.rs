//! Leaky rectifier.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compare, Compute, ScalarExpr};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Saved, Saves, Var};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::scale;

/// `x` where positive, else `alpha * x`, element by element. The gradient at 0 is `alpha`.
#[derive(Clone, Debug, Attrs)]
pub struct LeakyRelu {
    /// Slope of the negative part.
    #[attr(default = 0.01)]
    pub alpha: f64,
}

/// `if x > 0 { x } else { alpha * x }`
pub fn leaky_relu(b: &mut dyn Builder, x: &Var, alpha: f64) -> Result<Var> {
    b.one(&LeakyRelu { alpha }, std::slice::from_ref(x))
}

impl Op for LeakyRelu {
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
        let (zero, alpha) = (e.constant(0.0, ty), e.constant(self.alpha, ty));
        let leak = e.binary(Binary::Mul, x, alpha);
        let above = e.compare(Compare::Lt, zero, x);
        let y = e.select(above, x, leak);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, |x| if x > 0.0 { x } else { self.alpha * x })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let zero = b.scalar(s.input_fact(0)?.dtype, 0.0)?;
        let above = greater(b, s.input(0)?, &zero)?;
        let leak = scale(b, g, self.alpha)?;
        Ok(vec![Some(where_(b, &above, g, &leak)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("LeakyRelu", 16).attr("alpha", OnnxAttr::Float(self.alpha as f32)))
    }
}

impl OpType for LeakyRelu {
    const NAME: &'static str = "leaky_relu";
    const DOC: &'static str = "Leaky rectified linear unit.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("LeakyRelu", 6, |node, b, x| {
            Ok(smallvec![leaky_relu(b, &required(x, 0)?, node.float("alpha", 0.01)?)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (name, op) in [("default", LeakyRelu { alpha: 0.01 }), ("steep", LeakyRelu { alpha: 1.5 })] {
            for mut case in crate::cases::elementwise(&op, 1, Self::DTYPES, true, (-2.0, 2.0)) {
                case.name = format!("{name}-{}", case.name);
                cases.push(case);
            }
        }
        cases
    }
}
