//! The input itself.

use lampyr_base::{DType, Layout, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Saved, Saves, Var};
use smallvec::smallvec;

/// The input itself, of whatever kind it is.
#[derive(Clone, Debug, Attrs)]
pub struct Identity;

/// `x`
pub fn identity(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Identity, std::slice::from_ref(x))
}

impl Op for Identity {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        Ok(smallvec![inputs[0].clone()])
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        Ok(inputs.to_vec())
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(
        &self,
        _b: &mut dyn Builder,
        _s: &Saved,
        grads: &[Option<Var>],
        _needs: &[bool],
    ) -> Result<Vec<Option<Var>>> {
        Ok(grads.to_vec())
    }

    fn view(&self, base: &Layout) -> Option<Layout> {
        Some(base.clone())
    }

    fn unview(&self, _b: &mut dyn Builder, _base: &Var, new: &Var) -> Option<Result<Var>> {
        Some(Ok(new.clone()))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Identity", 16))
    }
}

impl OpType for Identity {
    const NAME: &'static str = "identity";
    const DOC: &'static str = "The input itself.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Identity", 1, |_, _, inputs| Ok(smallvec![required(inputs, 0)?]))]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType, s: &[usize]| vec![CaseInput::new(d, s)];
        let mut cases: Vec<Case> =
            DType::ALL.iter().map(|&d| Case::new(format!("plain-{d}"), &Identity, x(d, &[2, 3]))).collect();
        cases.push(Case::new("scalar", &Identity, x(DType::F32, &[])).with_gradient());
        cases.push(Case::new("empty", &Identity, x(DType::F32, &[0])));
        let view = CaseInput::new(DType::F64, &[3, 5]).view(View::Strided);
        cases.push(Case::new("strided", &Identity, vec![view]).with_gradient().symbol(0, 0, "n"));
        cases
    }
}
