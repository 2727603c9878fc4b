//! The bits of elements read as another type.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, dtype_to_onnx, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var,
};
use smallvec::smallvec;

use crate::common;

/// The bits of elements read as another type of the same width.
#[derive(Clone, Debug, Attrs)]
pub struct BitCast {
    /// Element type of the result.
    pub to: DType,
}

/// The bits of `x` read as elements of `to`.
pub fn bit_cast(b: &mut dyn Builder, x: &Var, to: DType) -> Result<Var> {
    b.one(&BitCast { to }, std::slice::from_ref(x))
}

impl Op for BitCast {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        if x.dtype.bits() != self.to.bits() || (self.to == DType::Bool && x.dtype != DType::Bool) {
            return Err(Error::dtype(format!("the bits of {} are no {}", x.dtype, self.to))
                .with_expected("types of the same width, and no integers as bool"));
        }
        Ok(common::one(TensorFact::new(self.to, x.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        common::out(HostTensor::copy_bytes(self.to, x.shape(), x.bytes())?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("bits have no gradient")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("BitCast", 26).attr("to", OnnxAttr::Int(i64::from(dtype_to_onnx(self.to)))))
    }
}

impl OpType for BitCast {
    const NAME: &'static str = "bit_cast";
    const DOC: &'static str = "The bits of elements read as another type of the same width.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("BitCast", 26, |node, b, x| {
            let missing = || Error::format("attribute `to` is missing").with_op("BitCast");
            let to = node.dtype("to")?.ok_or_else(missing)?;
            Ok(smallvec![bit_cast(b, &required(x, 0)?, to)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for &from in DType::ALL {
            for &to in DType::ALL {
                if from.bits() == to.bits() && (to != DType::Bool || from == DType::Bool) {
                    // NaN is left out: which NaN a conversion gives is not fixed.
                    let values = CaseInput::new(from, &[3, 4]).fill(Fill::Values(vec![1.0, 0.0, -2.5, 100.0, -0.0]));
                    cases.push(Case::new(format!("{from}-as-{to}"), &BitCast { to }, vec![values]));
                }
            }
        }
        let op = BitCast { to: DType::I32 };
        for (name, view) in crate::cases::VIEWS {
            cases.push(Case::new(name, &op, vec![CaseInput::new(DType::F32, &[3, 5]).view(view)]));
        }
        cases.push(Case::new("scalar", &op, vec![CaseInput::new(DType::F32, &[])]));
        cases.push(Case::new("empty", &op, vec![CaseInput::new(DType::U32, &[2, 0])]));
        let symbolic = Case::new("large", &op, vec![CaseInput::new(DType::U32, &[37, 1021])]);
        cases.push(symbolic.symbol(0, 0, "n"));
        cases
    }
}
