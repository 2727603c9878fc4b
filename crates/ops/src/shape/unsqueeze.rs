//! Axes of one element put in.

use lampyr_base::{DType, Dim, Layout, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, Var, Vars,
};
use smallvec::smallvec;

use crate::common;
use crate::shape::reshape::{Reshape, fact_as, reference_as, reshape_like, view_as, vjp_as};

/// The input with axes of one element put in, so that they are the axes `axes` of the result.
#[derive(Clone, Debug, Attrs)]
pub struct Unsqueeze {
    /// Axes of the result that are new; negative ones count from its last.
    pub axes: Vec<i64>,
}

/// `x` with the new axes `axes`.
pub fn unsqueeze(b: &mut dyn Builder, x: &Var, axes: &[i64]) -> Result<Var> {
    b.one(&Unsqueeze { axes: axes.to_vec() }, std::slice::from_ref(x))
}

impl Unsqueeze {
    fn shape(&self, from: &[Dim]) -> Result<Vec<Dim>> {
        if self.axes.is_empty() {
            return Ok(from.to_vec());
        }
        let mut shape = from.to_vec();
        for a in common::axes(&self.axes, from.len() + self.axes.len())? {
            shape.insert(a, Dim::Known(1));
        }
        Ok(shape)
    }

    fn fixed(&self, shape: &[usize]) -> Result<Vec<Dim>> {
        self.shape(&common::fixed_dims(shape))
    }
}

impl Op for Unsqueeze {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        Ok(common::one(fact_as(x, self.shape(&x.shape)?)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        reference_as(x, &self.fixed(x.shape())?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        vjp_as(b, s, grads)
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let x = inputs.first()?;
        Some(b.tensor_fact(x).and_then(|f| self.shape(&f.shape)).and_then(|shape| b.apply(&Reshape { shape }, inputs)))
    }

    fn view(&self, base: &Layout) -> Option<Layout> {
        view_as(base, &self.fixed(&base.shape).ok()?)
    }

    fn unview(&self, b: &mut dyn Builder, base: &Var, new: &Var) -> Option<Result<Var>> {
        Some(reshape_like(b, base, new))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Unsqueeze", 13).input(HostTensor::ints(&self.axes).ok()?))
    }
}

impl OpType for Unsqueeze {
    const NAME: &'static str = "unsqueeze";
    const DOC: &'static str = "Axes of one element put in.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("Unsqueeze", 1, 12, |node, b, inputs| {
                Ok(smallvec![unsqueeze(b, &required(inputs, 0)?, &node.ints("axes")?.unwrap_or_default())?])
            }),
            OnnxMapping::new("Unsqueeze", 13, |_, b, inputs| {
                let axes = common::fixed_ints(b, &required(inputs, 1)?)?;
                Ok(smallvec![unsqueeze(b, &required(inputs, 0)?, &axes)?])
            }),
        ]
    }

    fn cases() -> Vec<Case> {
        let op = |axes: &[i64]| Unsqueeze { axes: axes.to_vec() };
        let x = |d: DType, s: &[usize]| vec![CaseInput::new(d, s)];
        let mut cases: Vec<Case> =
            DType::ALL.iter().map(|&d| Case::new(format!("plain-{d}"), &op(&[-1, 0]), x(d, &[2, 3]))).collect();
        cases.push(Case::new("symbolic", &op(&[1]), x(DType::F64, &[2, 3])).with_gradient().symbol(0, 0, "n"));
        cases.push(Case::new("scalar", &op(&[0, 1]), x(DType::F32, &[])).with_gradient());
        cases.push(Case::new("none", &op(&[]), x(DType::F32, &[3])).with_gradient());
        for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
            let input = CaseInput::new(DType::F32, &[3, 5]).view(v);
            cases.push(Case::new(format!("{v:?}").to_lowercase(), &op(&[1]), vec![input]).with_gradient());
        }
        cases.push(Case::new("empty", &op(&[2]), x(DType::F32, &[0, 3])));
        cases
    }
}
