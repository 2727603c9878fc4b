//! Shrinkage.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compare, Compute, ScalarExpr};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Var, Vars};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::to_dtype;

/// `x + bias` below `-lambd`, `x - bias` above `lambd`, 0 between, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Shrink {
    /// Half the width of the part that becomes 0.
    #[attr(default = 0.5)]
    pub lambd: f64,
    /// How far the rest moves towards 0.
    #[attr(default = 0.0)]
    pub bias: f64,
}

/// `x` moved towards 0 by `bias`, 0 where `|x| <= lambd`
pub fn shrink(b: &mut dyn Builder, x: &Var, lambd: f64, bias: f64) -> Result<Var> {
    b.one(&Shrink { lambd, bias }, std::slice::from_ref(x))
}

impl Shrink {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let dtype = b.tensor_fact(x)?.dtype;
        let (zero, bias) = (b.scalar(dtype, 0.0)?, b.scalar(dtype, self.bias)?);
        let (low, high) = (b.scalar(dtype, -self.lambd)?, b.scalar(dtype, self.lambd)?);
        let (up, down) = (add(b, x, &bias)?, sub(b, x, &bias)?);
        let (below, above) = (less(b, x, &low)?, greater(b, x, &high)?);
        let y = where_(b, &above, &down, &zero)?;
        where_(b, &below, &up, &y)
    }
}

impl Op for Shrink {
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
        let (zero, bias) = (e.constant(0.0, ty), e.constant(self.bias, ty));
        let (low, high) = (e.constant(-self.lambd, ty), e.constant(self.lambd, ty));
        let (up, down) = (e.binary(Binary::Add, x, bias), e.binary(Binary::Sub, x, bias));
        let (below, above) = (e.compare(Compare::Lt, x, low), e.compare(Compare::Lt, high, x));
        let y = e.select(above, down, zero);
        let y = e.select(below, up, y);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (lambd, bias) = (self.lambd, self.bias);
        common::reference_unary(inputs, |x| {
            if x < -lambd {
                x + bias
            } else if x > lambd {
                x - bias
            } else {
                0.0
            }
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let node = OnnxExport::new("Shrink", 9).attr("lambd", OnnxAttr::Float(self.lambd as f32));
        Some(node.attr("bias", OnnxAttr::Float(self.bias as f32)))
    }
}

impl OpType for Shrink {
    const NAME: &'static str = "shrink";
    const DOC: &'static str = "Shrinkage towards zero.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Shrink", 9, |node, b, x| {
            let x = required(x, 0)?;
            let (lambd, bias) = (node.float("lambd", 0.5)?, node.float("bias", 0.0)?);
            let dtype = b.tensor_fact(&x)?.dtype;
            let wide = to_dtype(b, &x, if dtype.is_float() { dtype } else { DType::F64 })?;
            let y = shrink(b, &wide, lambd, bias)?;
            Ok(smallvec![to_dtype(b, &y, dtype)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (name, op) in [("hard", Shrink { lambd: 0.5, bias: 0.0 }), ("soft", Shrink { lambd: 1.0, bias: 1.0 })] {
            for mut case in crate::cases::elementwise(&op, 1, Self::DTYPES, true, (-2.0, 2.0)) {
                case.name = format!("{name}-{}", case.name);
                cases.push(case);
            }
        }
        cases
    }
}
