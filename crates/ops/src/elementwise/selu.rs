//! `gamma * elu(x, alpha)`.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compare, Compute, ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Var, Vars};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::scale;

/// `gamma * elu(x, alpha)` with the constants of Klambauer et al. 2017 by default, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Selu {
    /// Limit of the negative part before scaling.
    #[attr(default = SELU_ALPHA)]
    pub alpha: f64,
    /// Slope of the positive part.
    #[attr(default = SELU_GAMMA)]
    pub gamma: f64,
}

/// `gamma * elu(x, alpha)`
pub fn selu(b: &mut dyn Builder, x: &Var, alpha: f64, gamma: f64) -> Result<Var> {
    b.one(&Selu { alpha, gamma }, std::slice::from_ref(x))
}

impl Selu {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let y = elu(b, x, self.alpha)?;
        scale(b, &y, self.gamma)
    }
}

impl Op for Selu {
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
        let (zero, alpha, gamma) = (e.constant(0.0, ty), e.constant(self.alpha, ty), e.constant(self.gamma, ty));
        let power = e.unary(Unary::Expm1, x);
        let bend = e.binary(Binary::Mul, power, alpha);
        let above = e.compare(Compare::Lt, zero, x);
        let y = e.select(above, x, bend);
        let y = e.binary(Binary::Mul, y, gamma);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, |x| self.gamma * if x > 0.0 { x } else { self.alpha * x.exp_m1() })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let node = OnnxExport::new("Selu", 6).attr("alpha", OnnxAttr::Float(self.alpha as f32));
        Some(node.attr("gamma", OnnxAttr::Float(self.gamma as f32)))
    }
}

impl OpType for Selu {
    const NAME: &'static str = "selu";
    const DOC: &'static str = "Scaled exponential linear unit.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::No;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Selu", 6, |node, b, x| {
            let (alpha, gamma) = (node.float("alpha", SELU_ALPHA)?, node.float("gamma", SELU_GAMMA)?);
            Ok(smallvec![selu(b, &required(x, 0)?, alpha, gamma)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (name, op) in
            [("default", Selu { alpha: SELU_ALPHA, gamma: SELU_GAMMA }), ("other", Selu { alpha: 2.0, gamma: 3.0 })]
        {
            for mut case in crate::cases::elementwise(&op, 1, Self::DTYPES, true, (-2.0, 2.0)) {
                case.name = format!("{name}-{}", case.name);
                cases.push(case);
            }
        }
        cases
    }
}

const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_GAMMA: f64 = 1.050_700_987_355_480_5;
