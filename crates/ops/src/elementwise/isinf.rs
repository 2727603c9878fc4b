//! Whether elements are infinite.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compare, Compute, ScalarExpr};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Var};
use smallvec::smallvec;

use crate::common;

/// Whether elements are infinite, as `bool`.
#[derive(Clone, Debug, Attrs)]
pub struct IsInf {
    /// Positive ones count.
    #[attr(default = true)]
    pub positive: bool,
    /// Negative ones count.
    #[attr(default = true)]
    pub negative: bool,
}

/// whether elements are infinite, of the signs looked for
pub fn isinf(b: &mut dyn Builder, x: &Var, positive: bool, negative: bool) -> Result<Var> {
    b.one(&IsInf { positive, negative }, std::slice::from_ref(x))
}

impl Op for IsInf {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        common::elementwise(inputs, 0, Self::DTYPES, Some(DType::Bool))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        let ty = Compute::of(dtypes[0]);
        let mut e = ScalarExpr::new(dtypes);
        let x = e.load(0);
        let (low, high) = (e.constant(f64::NEG_INFINITY, ty), e.constant(f64::INFINITY, ty));
        let mut y = e.constant(0.0, Compute::I32);
        for (wanted, bound) in [(self.positive, high), (self.negative, low)] {
            if wanted {
                let same = e.compare(Compare::Eq, x, bound);
                y = e.binary(Binary::Or, y, same);
            }
        }
        Some(e.store(y, DType::Bool))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (positive, negative) = (self.positive, self.negative);
        let x = inputs[0].tensor()?;
        let values: Vec<bool> =
            x.to_f64().into_iter().map(|x| x.is_infinite() && if x > 0.0 { positive } else { negative }).collect();
        common::out(HostTensor::from_slice(x.shape(), &values)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("its result is a bool")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let node = OnnxExport::new("IsInf", 20).attr("detect_positive", OnnxAttr::Int(i64::from(self.positive)));
        Some(node.attr("detect_negative", OnnxAttr::Int(i64::from(self.negative))))
    }
}

impl OpType for IsInf {
    const NAME: &'static str = "isinf";
    const DOC: &'static str = "Whether elements are infinite.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("IsInf", 10, |node, b, x| {
            let (positive, negative) = (node.int("detect_positive", 1)? != 0, node.int("detect_negative", 1)? != 0);
            Ok(smallvec![isinf(b, &required(x, 0)?, positive, negative)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (name, op) in [
            ("both", IsInf { positive: true, negative: true }),
            ("positive", IsInf { positive: true, negative: false }),
            ("negative", IsInf { positive: false, negative: true }),
            ("none", IsInf { positive: false, negative: false }),
        ] {
            for mut case in crate::cases::elementwise(&op, 1, Self::DTYPES, false, (-2.0, 2.0)) {
                case.name = format!("{name}-{}", case.name);
                cases.push(case);
            }
        }
        cases
    }
}
