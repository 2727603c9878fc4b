//! Continuously differentiable exponential linear unit (Barron 2017).

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compare, Compute, ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Var, Vars};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::scale;

/// `x` where positive, else `alpha * (e^(x/alpha) - 1)` (Barron 2017), element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Celu {
    /// Limit of the negative part.
    #[attr(default = 1.0)]
    pub alpha: f64,
}

/// `alpha * elu(x / alpha, 1)`
pub fn celu(b: &mut dyn Builder, x: &Var, alpha: f64) -> Result<Var> {
    b.one(&Celu { alpha }, std::slice::from_ref(x))
}

impl Celu {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let y = scale(b, x, 1.0 / self.alpha)?;
        let y = elu(b, &y, 1.0)?;
        scale(b, &y, self.alpha)
    }
}

impl Op for Celu {
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
        let power = e.binary(Binary::Div, x, alpha);
        let power = e.unary(Unary::Expm1, power);
        let bend = e.binary(Binary::Mul, power, alpha);
        let above = e.compare(Compare::Lt, zero, x);
        let y = e.select(above, x, bend);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, |x| if x > 0.0 { x } else { self.alpha * (x / self.alpha).exp_m1() })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }
}

impl OpType for Celu {
    const NAME: &'static str = "celu";
    const DOC: &'static str = "Continuously differentiable exponential linear unit.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::No;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Celu", 12, |node, b, x| {
            Ok(smallvec![celu(b, &required(x, 0)?, node.float("alpha", 1.0)?)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (name, op) in [("default", Celu { alpha: 1.0 }), ("two", Celu { alpha: 2.0 })] {
            for mut case in crate::cases::elementwise(&op, 1, Self::DTYPES, true, (-2.0, 2.0)) {
                case.name = format!("{name}-{}", case.name);
                cases.push(case);
            }
        }
        cases
    }
}
