//! Rectifier with a threshold.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Compare, Compute, ScalarExpr};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Var, Vars};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// `x` where above `alpha`, else (NaN included) 0, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct ThresholdedRelu {
    /// The threshold.
    #[attr(default = 1.0)]
    pub alpha: f64,
}

/// `if x > alpha { x } else { 0 }`
pub fn thresholded_relu(b: &mut dyn Builder, x: &Var, alpha: f64) -> Result<Var> {
    b.one(&ThresholdedRelu { alpha }, std::slice::from_ref(x))
}

impl ThresholdedRelu {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let dtype = b.tensor_fact(x)?.dtype;
        let (zero, alpha) = (b.scalar(dtype, 0.0)?, b.scalar(dtype, self.alpha)?);
        let above = greater(b, x, &alpha)?;
        where_(b, &above, x, &zero)
    }
}

impl Op for ThresholdedRelu {
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
        let above = e.compare(Compare::Lt, alpha, x);
        let y = e.select(above, x, zero);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, |x| if x > self.alpha { x } else { 0.0 })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("ThresholdedRelu", 10).attr("alpha", OnnxAttr::Float(self.alpha as f32)))
    }
}

impl OpType for ThresholdedRelu {
    const NAME: &'static str = "thresholded_relu";
    const DOC: &'static str = "Rectified linear unit with a threshold.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ThresholdedRelu", 10, |node, b, x| {
            Ok(smallvec![thresholded_relu(b, &required(x, 0)?, node.float("alpha", 1.0)?)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (name, op) in [("default", ThresholdedRelu { alpha: 1.0 }), ("half", ThresholdedRelu { alpha: 0.5 })] {
            for mut case in crate::cases::elementwise(&op, 1, Self::DTYPES, true, (-2.0, 2.0)) {
                case.name = format!("{name}-{}", case.name);
                cases.push(case);
            }
        }
        cases
    }
}
