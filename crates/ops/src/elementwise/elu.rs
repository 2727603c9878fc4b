//! Exponential linear unit (Clevert et al. 2015).

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compare, Compute, ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Saved, Saves, Var};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::scale;

/// `x` where positive, else `alpha * (e^x - 1)`, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Elu {
    /// Limit of the negative part.
    #[attr(default = 1.0)]
    pub alpha: f64,
}

/// `if x > 0 { x } else { alpha * (e^x - 1) }`
pub fn elu(b: &mut dyn Builder, x: &Var, alpha: f64) -> Result<Var> {
    b.one(&Elu { alpha }, std::slice::from_ref(x))
}

impl Op for Elu {
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
        let power = e.unary(Unary::Expm1, x);
        let bend = e.binary(Binary::Mul, power, alpha);
        let above = e.compare(Compare::Lt, zero, x);
        let y = e.select(above, x, bend);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, |x| if x > 0.0 { x } else { self.alpha * x.exp_m1() })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let x = s.input(0)?;
        let dtype = s.input_fact(0)?.dtype;
        let zero = b.scalar(dtype, 0.0)?;
        let above = greater(b, x, &zero)?;
        // The exponent is cut off at 0, so that the branch that is not taken stays finite.
        let below = minimum(b, x, &zero)?;
        let slope = exp(b, &below)?;
        let slope = scale(b, &slope, self.alpha)?;
        let part = mul(b, g, &slope)?;
        Ok(vec![Some(where_(b, &above, g, &part)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Elu", 6).attr("alpha", OnnxAttr::Float(self.alpha as f32)))
    }
}

impl OpType for Elu {
    const NAME: &'static str = "elu";
    const DOC: &'static str = "Exponential linear unit.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Elu", 6, |node, b, x| {
            Ok(smallvec![elu(b, &required(x, 0)?, node.float("alpha", 1.0)?)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (name, op) in [("default", Elu { alpha: 1.0 }), ("half", Elu { alpha: 0.5 })] {
            for mut case in crate::cases::elementwise(&op, 1, Self::DTYPES, true, (-2.0, 2.0)) {
                case.name = format!("{name}-{}", case.name);
                cases.push(case);
            }
        }
        cases
    }
}
