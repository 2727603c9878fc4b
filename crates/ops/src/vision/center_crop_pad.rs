//! Sizes reached by cutting or padding both sides.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::{pad, slice};
use crate::common;
use crate::window;

/// `x` cut, or padded with zeros, to the sizes `shape` along `axes`, the same on both sides; an odd element is cut or put
/// behind (ONNX CenterCropPad).
#[derive(Clone, Debug, Attrs)]
pub struct CenterCropPad {
    /// Axes that get other sizes; none: all.
    pub axes: Vec<i64>,
    /// Their sizes.
    pub shape: Vec<Dim>,
}

/// `x` with the sizes `shape` along `axes`, see [`CenterCropPad`].
pub fn center_crop_pad(b: &mut dyn Builder, x: &Var, axes: &[i64], shape: Vec<Dim>) -> Result<Var> {
    b.one(&CenterCropPad { axes: axes.to_vec(), shape }, std::slice::from_ref(x))
}

impl CenterCropPad {
    /// The axes and their sizes, in the order given.
    fn sizes(&self, rank: usize) -> Result<Vec<(usize, Dim)>> {
        let axes = match self.axes.as_slice() {
            [] => (0..rank).collect(),
            list => list.iter().map(|&a| common::axis(a, rank)).collect::<Result<Vec<_>>>()?,
        };
        let negative = self.shape.iter().any(|d| d.known().is_some_and(|n| n < 0));
        if axes.len() != self.shape.len() || negative || (1..axes.len()).any(|i| axes[..i].contains(&axes[i])) {
            return Err(Error::value(format!(
                "axes {:?} and sizes [{}] do not fit",
                self.axes,
                Dim::join(&self.shape)
            ))
            .with_expected("one size for every axis, each named once"));
        }
        Ok(axes.into_iter().zip(self.shape.iter().cloned()).collect())
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (x, shape) = (required(inputs, 0)?, required(inputs, 1)?);
    let shape = b.dims(&shape)?;
    Ok(smallvec![center_crop_pad(b, &x, &node.ints("axes")?.unwrap_or_default(), shape)?])
}

impl Op for CenterCropPad {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let mut shape = x.shape.clone();
        for (axis, size) in self.sizes(x.rank())? {
            shape[axis] = size;
        }
        Ok(common::one(TensorFact::new(x.dtype, shape)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let mut shape = x.shape().to_vec();
        for (axis, size) in self.sizes(shape.len())? {
            shape[axis] = common::sizes(&[size])?[0];
        }
        let size = x.dtype().size();
        let mut bytes = vec![0; shape.iter().product::<usize>() * size];
        for (flat, to) in bytes.chunks_mut(size).enumerate() {
            let at = common::unravel(flat, &shape);
            let from = at.iter().enumerate().try_fold(0, |sum, (axis, &i)| {
                let (n, m) = (x.shape()[axis], shape[axis]);
                let i = if m <= n { i + (n - m) / 2 } else { i.checked_sub((m - n) / 2)? };
                (i < n).then_some(sum * n + i)
            });
            if let Some(from) = from {
                to.copy_from_slice(&x.bytes()[from * size..(from + 1) * size]);
            }
        }
        common::out(HostTensor::copy_bytes(x.dtype(), &shape, &bytes)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let made = |b: &mut dyn Builder| {
            let x = b.tensor_fact(&inputs[0])?;
            let (zero, two) = (Dim::Known(0), Dim::Known(2));
            let half = |d: Dim| d.maximum(&zero).floor_div(&two);
            let (mut axes, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
            let (mut before, mut behind) = (vec![zero.clone(); x.rank()], vec![zero.clone(); x.rank()]);
            for (axis, m) in self.sizes(x.rank())? {
                let n = &x.shape[axis];
                let (first, kept) = (half(n.sub(&m)), n.minimum(&m));
                before[axis] = half(m.sub(n));
                behind[axis] = m.sub(n).maximum(&zero).sub(&before[axis]);
                axes.push(axis as i64);
                ends.push(first.add(&kept));
                starts.push(first);
            }
            let steps = vec![1; axes.len()];
            let cut = slice(b, &inputs[0], &axes, starts, ends, &steps)?;
            Ok(smallvec![pad(b, &cut, None, before, behind, "constant")?])
        };
        Some(made(b))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let shape: Vec<i64> = self.shape.iter().map(Dim::known).collect::<Option<_>>()?;
        let mut export = OnnxExport::new("CenterCropPad", 18);
        if !self.axes.is_empty() {
            export = export.attr("axes", OnnxAttr::Ints(self.axes.clone()));
        }
        Some(export.input(HostTensor::ints(&shape).ok()?))
    }
}

impl OpType for CenterCropPad {
    const NAME: &'static str = "center_crop_pad";
    const DOC: &'static str = "Sizes reached by cutting or padding both sides.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("CenterCropPad", 18, import)]
    }

    fn cases() -> Vec<Case> {
        let op = |axes: &[i64], shape: &[i64]| CenterCropPad { axes: axes.to_vec(), shape: window::known(shape) };
        let mut cases = Vec::new();
        for &d in Self::DTYPES {
            let case = Case::new(format!("both-{d}"), &op(&[0, 2], &[3, 6]), vec![CaseInput::new(d, &[6, 2, 3])]);
            let case = if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case };
            cases.push(case.symbol(0, 1, "n"));
        }
        for (name, op, shape) in [
            ("all", op(&[], &[2, 5]), &[5, 2][..]),
            ("odd", op(&[-1], &[3]), &[2, 6]),
            ("same", op(&[1], &[3]), &[2, 3]),
            ("to-nothing", op(&[0], &[0]), &[2, 3]),
            ("from-nothing", op(&[0], &[3]), &[0, 2]),
        ] {
            cases.push(Case::new(name, &op, vec![CaseInput::new(DType::F64, shape)]).with_gradient());
        }
        let x = CaseInput::new(DType::F32, &[4, 5]);
        cases.push(Case::new("symbolic", &op(&[0, 1], &[3, 7]), vec![x.clone()]).symbol(0, 0, "n").symbol(0, 1, "m"));
        cases.push(Case::new("transposed", &op(&[0, 1], &[3, 7]), vec![x.view(View::Transposed)]).with_gradient());
        cases
    }
}
