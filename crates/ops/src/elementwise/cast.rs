//! Conversion between element types.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::{Case, CaseInput, Fill};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, dtype_to_onnx, required};
use lampyr_ir::scalar::{Compute, Instr, ScalarExpr};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType, Saved, Saves,
    TensorFact, Var,
};
use smallvec::smallvec;

use crate::common;

/// Conversion to another element type. Floats are rounded to nearest even; floats become integers by truncation,
/// saturated at `int32` (`int64` for `uint32` and `int64`, `uint64` for itself), NaN becoming 0, then wrapped to
/// narrower types; integers wrap; everything but 0 is `true`.
#[derive(Clone, Debug, Attrs)]
pub struct Cast {
    /// Element type of the result.
    pub to: DType,
}

/// `x` as `to`.
pub fn cast(b: &mut dyn Builder, x: &Var, to: DType) -> Result<Var> {
    b.one(&Cast { to }, std::slice::from_ref(x))
}

impl Op for Cast {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let facts = common::one(TensorFact::new(self.to, x.shape.iter().cloned()));
        Ok(common::known_elements(facts, inputs, |d| match (self.to, d[0].known()) {
            (DType::Bool, Some(n)) => Some(Dim::Known(i64::from(n != 0))),
            (DType::Bool, None) => None,
            _ => Some(d[0].clone()),
        }))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        let mut e = ScalarExpr::new(dtypes);
        let mut x = e.load(0);
        if self.to == DType::Bool {
            let ty = e.ty(x);
            x = e.push(Instr::Round(DType::Bool, x), ty);
        }
        let y = e.convert(x, Compute::of(self.to));
        Some(e.store(y, self.to))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let numbers = match (x.numbers(), Compute::of(self.to)) {
            (Numbers::F(v), _) if self.to == DType::Bool => {
                Numbers::I(v.into_iter().map(|x| i64::from(x != 0.0)).collect())
            }
            (Numbers::F(v), Compute::I32) => Numbers::I(v.into_iter().map(|x| i64::from(x as i32)).collect()),
            (Numbers::F(v), Compute::I64) => Numbers::I(v.into_iter().map(|x| x as i64).collect()),
            (Numbers::F(v), Compute::U64) => Numbers::U(v.into_iter().map(|x| x as u64).collect()),
            (numbers, _) => numbers,
        };
        common::out(HostTensor::from_numbers(self.to, x.shape(), &numbers)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let from = s.input_fact(0)?.dtype;
        match &grads[0] {
            Some(g) if from.is_float() && self.to.is_float() => Ok(vec![Some(cast(b, g, from)?)]),
            _ => Ok(vec![None]),
        }
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Cast", 13).attr("to", OnnxAttr::Int(i64::from(dtype_to_onnx(self.to)))))
    }
}

impl OpType for Cast {
    const NAME: &'static str = "cast";
    const DOC: &'static str = "Conversion to another element type.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::new("Cast", 6, |node, b, x| {
                let missing = || lampyr_base::Error::format("attribute `to` is missing").with_op("Cast");
                let to = node.dtype("to")?.ok_or_else(missing)?;
                Ok(smallvec![cast(b, &required(x, 0)?, to)?])
            }),
            OnnxMapping::new("CastLike", 15, |_, b, x| {
                let to = b.tensor_fact(&required(x, 1)?)?.dtype;
                Ok(smallvec![cast(b, &required(x, 0)?, to)?])
            }),
        ]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for &from in DType::ALL {
            for &to in DType::ALL {
                let x = CaseInput::new(from, &[3, 12]).fill(Fill::Special(11));
                cases.push(Case::new(format!("{from}-to-{to}"), &Cast { to }, vec![x]));
            }
        }
        for (from, to) in
            [(DType::F32, DType::F64), (DType::F64, DType::F64), (DType::F32, DType::F16), (DType::F16, DType::F32)]
        {
            let case = Case::new(format!("gradient-{from}-to-{to}"), &Cast { to }, vec![CaseInput::new(from, &[2, 3])]);
            cases.push(case.symbol(0, 0, "n").with_gradient());
        }
        for (name, view) in crate::cases::VIEWS {
            let x = CaseInput::new(DType::F32, &[3, 5]).view(view);
            cases.push(Case::new(name, &Cast { to: DType::I32 }, vec![x]));
        }
        cases.push(Case::new("scalar", &Cast { to: DType::F32 }, vec![CaseInput::new(DType::I64, &[])]));
        cases.push(Case::new("empty", &Cast { to: DType::F32 }, vec![CaseInput::new(DType::U8, &[2, 0])]));
        cases.push(Case::new("large", &Cast { to: DType::F32 }, vec![CaseInput::new(DType::U8, &[37, 1021])]));
        cases
    }
}
