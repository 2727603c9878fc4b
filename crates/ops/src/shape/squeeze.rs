//! Axes of one element taken away.

use lampyr_base::{DType, Dim, Error, Layout, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, optional, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, Var, Vars,
};
use smallvec::smallvec;

use crate::common;
use crate::shape::reshape::{Reshape, fact_as, reference_as, reshape_like, view_as, vjp_as};

/// The input without the axes `axes`, each of which has one element. Without `axes`: without all known to have one.
#[derive(Clone, Debug, Attrs)]
pub struct Squeeze {
    /// Axes that go; negative ones count from the last. None: all of size 1.
    pub axes: Option<Vec<i64>>,
}

/// `x` without `axes`.
pub fn squeeze(b: &mut dyn Builder, x: &Var, axes: &[i64]) -> Result<Var> {
    b.one(&Squeeze { axes: Some(axes.to_vec()) }, std::slice::from_ref(x))
}

impl Squeeze {
    fn shape(&self, from: &[Dim]) -> Result<Vec<Dim>> {
        let Some(axes) = &self.axes else {
            return Ok(from.iter().filter(|d| **d != Dim::Known(1)).cloned().collect());
        };
        let gone = if axes.is_empty() { Vec::new() } else { common::axes(axes, from.len())? };
        if let Some(a) = gone.iter().find(|&&a| from[a].known().is_some_and(|n| n != 1)) {
            return Err(Error::shape(format!("axis {a} of [{}] has {} elements", Dim::join(from), from[*a]))
                .with_expected("axes of one element"));
        }
        Ok((0..from.len()).filter(|a| !gone.contains(a)).map(|a| from[a].clone()).collect())
    }

    fn fixed(&self, shape: &[usize]) -> Result<Vec<Dim>> {
        self.shape(&common::fixed_dims(shape))
    }
}

impl Op for Squeeze {
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
        let export = OnnxExport::new("Squeeze", 13);
        Some(match &self.axes {
            // Some runtimes read an empty list as "all".
            Some(axes) if axes.is_empty() => OnnxExport::new("Identity", 13),
            Some(axes) => export.input(HostTensor::ints(axes).ok()?),
            None => export,
        })
    }
}

impl OpType for Squeeze {
    const NAME: &'static str = "squeeze";
    const DOC: &'static str = "Axes of one element taken away.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("Squeeze", 1, 12, |node, b, inputs| {
                Ok(smallvec![b.one(&Squeeze { axes: node.ints("axes")? }, &[required(inputs, 0)?])?])
            }),
            OnnxMapping::new("Squeeze", 13, |_, b, inputs| {
                let axes = optional(inputs, 1).map(|v| common::fixed_ints(b, &v)).transpose()?;
                Ok(smallvec![b.one(&Squeeze { axes }, &[required(inputs, 0)?])?])
            }),
        ]
    }

    fn cases() -> Vec<Case> {
        let op = |axes: &[i64]| Squeeze { axes: Some(axes.to_vec()) };
        let x = |d: DType, s: &[usize]| vec![CaseInput::new(d, s)];
        let mut cases: Vec<Case> =
            DType::ALL.iter().map(|&d| Case::new(format!("plain-{d}"), &op(&[1, -1]), x(d, &[2, 1, 3, 1]))).collect();
        cases.push(Case::new("symbolic", &op(&[1]), x(DType::F64, &[2, 1])).with_gradient().symbol(0, 0, "n"));
        cases.push(Case::new("every", &Squeeze { axes: None }, x(DType::F32, &[1, 3, 1])).with_gradient());
        cases.push(Case::new("none", &op(&[]), x(DType::F32, &[1, 3])).with_gradient());
        cases.push(Case::new("to-scalar", &op(&[0]), x(DType::F32, &[1])).with_gradient());
        let view = CaseInput::new(DType::F32, &[1, 5]).view(View::Strided);
        cases.push(Case::new("strided", &op(&[0]), vec![view]).with_gradient());
        cases.push(Case::new("empty", &op(&[1]), x(DType::F32, &[0, 1])));
        cases
    }
}
