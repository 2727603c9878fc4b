//! Identity matrices.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, dtype_to_onnx, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::common;
use crate::gradient::full;
use crate::index::trilu::trilu;

/// A matrix with the sizes of the input that is 1 on one diagonal and 0 elsewhere.
#[derive(Clone, Debug, Attrs)]
pub struct EyeLike {
    /// Element type; none: that of the input.
    pub dtype: Option<DType>,
    /// Which diagonal: 0 the main one, positive ones lie above it.
    #[attr(default = 0)]
    pub k: i64,
}

/// A matrix with the sizes of `x` that is 1 on diagonal `k` and 0 elsewhere.
pub fn eye_like(b: &mut dyn Builder, x: &Var, dtype: Option<DType>, k: i64) -> Result<Var> {
    b.one(&EyeLike { dtype, k }, std::slice::from_ref(x))
}

impl EyeLike {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let fact = b.tensor_fact(x)?;
        let ones = full(b, self.dtype.unwrap_or(fact.dtype), &fact.shape, 1.0)?;
        let above = trilu(b, &ones, true, Dim::Known(self.k))?;
        trilu(b, &above, false, Dim::Known(self.k))
    }
}

impl Op for EyeLike {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        if x.rank() != 2 {
            return Err(Error::shape(format!("got shape [{}]", Dim::join(&x.shape))).with_expected("two axes"));
        }
        Ok(common::one(TensorFact::new(self.dtype.unwrap_or(x.dtype), x.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let [rows, columns] = *x.shape() else { return Err(Error::shape("a matrix is needed")) };
        let one = |i: usize| (i % columns) as i64 == (i / columns) as i64 + self.k;
        let values: Vec<i64> = (0..rows * columns).map(|i| i64::from(one(i))).collect();
        common::out(HostTensor::from_i64(self.dtype.unwrap_or(x.dtype()), x.shape(), &values)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("the result does not depend on elements")
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let node = OnnxExport::new("EyeLike", 9).attr("k", OnnxAttr::Int(self.k));
        Some(match self.dtype {
            Some(d) => node.attr("dtype", OnnxAttr::Int(i64::from(dtype_to_onnx(d)))),
            None => node,
        })
    }
}

impl OpType for EyeLike {
    const NAME: &'static str = "eye_like";
    const DOC: &'static str = "A matrix that is 1 on one diagonal and 0 elsewhere.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("EyeLike", 9, |node, b, inputs| {
            Ok(smallvec![eye_like(b, &required(inputs, 0)?, node.dtype("dtype")?, node.int("k", 0)?)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType, s: &[usize]| vec![CaseInput::new(d, s)];
        let op = |dtype, k| EyeLike { dtype, k };
        let mut cases: Vec<Case> = DType::ALL
            .iter()
            .map(|&d| Case::new(format!("plain-{d}"), &op(Some(d), 1), x(DType::I32, &[3, 5])))
            .collect();
        cases.push(Case::new("same-type", &op(None, -1), x(DType::F16, &[4, 3])));
        cases.push(Case::new("outside", &op(None, 7), x(DType::F32, &[4, 3])));
        cases.push(Case::new("empty", &op(None, 0), x(DType::F32, &[0, 3])));
        cases.push(Case::new("symbolic", &op(None, 0), x(DType::F32, &[4, 3])).symbol(0, 0, "n"));
        for (name, view) in crate::cases::VIEWS {
            cases.push(Case::new(name, &op(None, 0), vec![CaseInput::new(DType::F32, &[4, 4]).view(view)]));
        }
        cases
    }
}
