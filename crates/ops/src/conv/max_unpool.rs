//! Elements put back to where they were the largest.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill, View};
use lampyr_ir::onnx::{OnnxMapping, OnnxNode, optional, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, TensorFact,
    Var, Vars,
};
use smallvec::smallvec;

use crate::build::{div, gather_elements, mul, pad, sub};
use crate::common;
use crate::gradient::to_shape;
use crate::sampling;
use crate::window;

/// A tensor of zeros with spatial sizes `sizes`, each plane of which holds the elements of a plane of `x` `[N, C, ...]` at
/// the flat positions `indices` (torch `max_unpool1d` to `max_unpool3d`, ONNX MaxUnpool). The last of several elements
/// for one position stays.
#[derive(Clone, Debug, Attrs)]
pub struct MaxUnpool {
    /// Spatial sizes of the result.
    pub sizes: Vec<Dim>,
}

/// Elements of `x` at the positions `indices` of planes of sizes `sizes`, see [`MaxUnpool`].
pub fn max_unpool(b: &mut dyn Builder, x: &Var, indices: &Var, sizes: Vec<Dim>) -> Result<Var> {
    b.one(&MaxUnpool { sizes }, &[x.clone(), indices.clone()])
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (x, indices) = (required(inputs, 0)?, required(inputs, 1)?);
    let xf = b.tensor_fact(&x)?;
    let kernel = node.ints("kernel_shape")?.ok_or_else(|| Error::format("attribute `kernel_shape` is missing"))?;
    let rank = kernel.len();
    let strides = node.ints("strides")?.unwrap_or_else(|| vec![1; rank]);
    let pads = node.ints("pads")?.unwrap_or_else(|| vec![0; 2 * rank]);
    if xf.rank() != rank + 2 || strides.len() != rank || pads.len() != 2 * rank {
        return Err(Error::shape(format!("kernel_shape {kernel:?} does not fit {xf} and its strides and pads")));
    }
    let size = |a: usize| {
        let last = xf.shape[2 + a].sub(&Dim::Known(1)).mul(&Dim::Known(strides[a]));
        last.add(&Dim::Known(kernel[a])).sub(&Dim::Known(pads[a])).sub(&Dim::Known(pads[rank + a]))
    };
    let sizes: Vec<Dim> = (0..rank).map(size).collect();
    // ONNX counts in the whole tensor, not in the plane of one channel.
    let zero = crate::gradient::full(b, DType::Bool, &sizes, 0.0)?;
    let mut plane = b.constant(HostTensor::scalar(1i64))?;
    for axis in 0..rank {
        let n = sampling::size(b, &zero, axis, DType::I64)?;
        plane = mul(b, &plane, &n)?;
    }
    let whole = div(b, &indices, &plane)?;
    let whole = mul(b, &whole, &plane)?;
    let indices = sub(b, &indices, &whole)?;
    let mut y = max_unpool(b, &x, &indices, sizes.clone())?;
    if let Some(shape) = optional(inputs, 2) {
        let shape = b.dims(&shape)?;
        if shape.len() != rank + 2 {
            return Err(Error::value(format!("output_shape [{}] does not fit {xf}", Dim::join(&shape))));
        }
        let behind: Vec<Dim> = shape[2..].iter().zip(&sizes).map(|(m, n)| m.sub(n)).collect();
        if behind.iter().any(|d| d.known() != Some(0)) {
            let none = vec![Dim::Known(0); 2];
            let before = vec![Dim::Known(0); rank + 2];
            y = pad(b, &y, None, before, [none, behind].concat(), "constant")?;
        }
    }
    Ok(smallvec![y])
}

impl Op for MaxUnpool {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let (x, indices) = (inputs[0].as_tensor()?, inputs[1].as_tensor()?);
        common::check_dtype(x.dtype, Self::DTYPES)?;
        common::check_dtype(indices.dtype, &[DType::I64])?;
        let same = x.rank() == indices.rank()
            && x.shape.iter().zip(&indices.shape).all(|(a, b)| common::same_dim(a, b).is_ok());
        if x.rank() < 3 || x.rank() != self.sizes.len() + 2 || !same {
            return Err(Error::shape(format!("got {x} and {indices} for sizes [{}]", Dim::join(&self.sizes)))
                .with_expected("equal shapes: batch, channels, and as many spatial axes as sizes"));
        }
        if self.sizes.iter().any(|d| d.known().is_some_and(|n| n < 0)) {
            return Err(Error::value(format!("sizes are [{}]", Dim::join(&self.sizes))));
        }
        let shape = x.shape[..2].iter().chain(&self.sizes).cloned();
        Ok(common::one(TensorFact::new(x.dtype, shape)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (x, indices) = (inputs[0].tensor()?, inputs[1].tensor()?);
        let sizes = common::sizes(&self.sizes)?;
        let (from, to) = (x.shape()[2..].iter().product::<usize>(), sizes.iter().product::<usize>());
        let size = x.dtype().size();
        let shape = [&x.shape()[..2], &sizes].concat();
        let mut bytes = vec![0; shape.iter().product::<usize>() * size];
        for (i, at) in indices.to_i64().into_iter().enumerate() {
            let at = (i / from * to + common::element(at, to)?) * size;
            bytes[at..at + size].copy_from_slice(&x.bytes()[i * size..(i + 1) * size]);
        }
        common::out(HostTensor::copy_bytes(x.dtype(), &shape, &bytes)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b10, outputs: 0 }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None, None]) };
        let (x, y) = (s.input_fact(0)?, s.output_fact(0)?);
        let flat = |f: &TensorFact| vec![f.shape[0].clone(), f.shape[1].clone(), Dim::product(&f.shape[2..])];
        let (g, indices) = (to_shape(b, g, flat(y))?, to_shape(b, s.input(1)?, flat(x))?);
        let picked = gather_elements(b, &g, &indices, 2)?;
        Ok(vec![Some(to_shape(b, &picked, x.shape.to_vec())?), None])
    }
}

impl OpType for MaxUnpool {
    const NAME: &'static str = "max_unpool";
    const DOC: &'static str = "Elements put back to where they were the largest.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("MaxUnpool", 9, import)]
    }

    fn cases() -> Vec<Case> {
        let op = |sizes: &[i64]| MaxUnpool { sizes: window::known(sizes) };
        let at = |shape: &[usize], n: f64| CaseInput::new(DType::I64, shape).fill(Fill::Distinct(0.0, n, 3));
        let mut cases = Vec::new();
        for &d in Self::DTYPES {
            let places = CaseInput::new(DType::I64, &[2, 3, 2, 2]).values(&[0.0, 11.0, 5.0, 7.0]);
            let case = Case::new(format!("plane-{d}"), &op(&[3, 4]), vec![CaseInput::new(d, &[2, 3, 2, 2]), places]);
            let case = if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case };
            cases.push(case.symbol(0, 0, "batch").symbol(1, 0, "batch"));
        }
        for (name, sizes, shape) in [
            ("line", &[7][..], &[1, 1, 3][..]),
            ("volume", &[2, 3, 4], &[1, 1, 2, 1, 3]),
            ("none", &[3, 3], &[0, 2, 2, 2]),
        ] {
            let n: i64 = sizes.iter().product();
            let inputs = vec![CaseInput::new(DType::F64, shape), at(shape, n as f64)];
            cases.push(Case::new(name, &op(sizes), inputs).with_gradient());
        }
        let twice = CaseInput::new(DType::I64, &[1, 1, 1, 4]).values(&[2.0, 2.0, 0.0, 2.0]);
        cases.push(Case::new("twice", &op(&[1, 4]), vec![CaseInput::new(DType::F32, &[1, 1, 1, 4]), twice]));
        let inputs = vec![CaseInput::new(DType::F32, &[2, 3, 2, 2]), at(&[2, 3, 2, 2], 24.0)];
        let viewed = inputs.into_iter().map(|x| x.view(View::Transposed)).collect();
        cases.push(Case::new("transposed", &op(&[3, 8]), viewed).with_gradient());
        cases
    }
}
