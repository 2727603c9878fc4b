//! One where a row is largest.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::norm::softmax::flattened;

/// 1 at the first of the largest elements along an axis, 0 elsewhere. NaN counts as the largest.
#[derive(Clone, Debug, Attrs)]
pub struct Hardmax {
    /// The axis; negative ones count from the end.
    #[attr(default = -1)]
    pub axis: i64,
}

/// 1 at the first of the largest elements along `axis`, 0 elsewhere.
pub fn hardmax(b: &mut dyn Builder, x: &Var, axis: i64) -> Result<Var> {
    b.one(&Hardmax { axis }, std::slice::from_ref(x))
}

impl Hardmax {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let fact = b.tensor_fact(x)?;
        let axis = common::axis(self.axis, fact.rank())?;
        if fact.shape[axis] == Dim::Known(0) {
            return Ok(x.clone());
        }
        let (_, place) = topk(b, x, Dim::Known(1), self.axis, true)?;
        let mut shape = fact.shape.to_vec();
        shape[axis] = Dim::Known(1);
        let ones = crate::gradient::full(b, fact.dtype, &shape, 1.0)?;
        scatter_add_elements(b, &place, &ones, self.axis, fact.shape.to_vec())
    }
}

impl Op for Hardmax {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        common::check_dtype(x.dtype, Self::DTYPES)?;
        common::axis(self.axis, x.rank())?;
        Ok(common::one(TensorFact::new(x.dtype, x.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let axis = common::axis(self.axis, x.shape().len())?;
        let values = x.to_f64();
        let (n, targets) = common::reduce_targets(x.shape(), &[axis]);
        let mut first: Vec<Option<usize>> = vec![None; n];
        for (i, &row) in targets.iter().enumerate() {
            let larger = |at: usize| values[i] > values[at] || (values[i].is_nan() && !values[at].is_nan());
            if first[row].is_none_or(larger) {
                first[row] = Some(i);
            }
        }
        let result: Vec<f64> =
            targets.iter().enumerate().map(|(i, &row)| f64::from(u8::from(first[row] == Some(i)))).collect();
        common::out(HostTensor::from_f64(x.dtype(), x.shape(), &result)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("it is constant wherever it is smooth")
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Hardmax", 13).attr("axis", OnnxAttr::Int(self.axis)))
    }
}

impl OpType for Hardmax {
    const NAME: &'static str = "hardmax";
    const DOC: &'static str = "1 at the first of the largest elements along an axis, 0 elsewhere.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("Hardmax", 1, 12, |node, b, x| {
                Ok(smallvec![flattened(b, &required(x, 0)?, node.int("axis", 1)?, hardmax)?])
            }),
            OnnxMapping::new("Hardmax", 13, |node, b, x| {
                Ok(smallvec![hardmax(b, &required(x, 0)?, node.int("axis", -1)?)?])
            }),
        ]
    }

    fn cases() -> Vec<Case> {
        let mut cases = crate::cases::rows(|axis| Hardmax { axis });
        for case in &mut cases {
            case.gradient = false;
        }
        let ties = CaseInput::new(DType::F32, &[2, 4]).values(&[1.0, 3.0, 3.0, 2.0, 5.0, 5.0, 5.0, 5.0]);
        cases.push(Case::new("ties", &Hardmax { axis: 1 }, vec![ties]));
        cases
    }
}
