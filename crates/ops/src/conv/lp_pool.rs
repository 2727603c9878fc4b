//! Norm of every window.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::{AvgPool, avg_pool, equal, exp, less, log, mul, neg, reduce_sum, sqrt, where_};
use crate::common;
use crate::gradient::scale;
use crate::window::{self, Window};

/// `(sum |x|^p)^(1/p)` of `x` `[N, C, ...]` in every window over the axes behind the channels (ONNX LpPool). Padding counts
/// as zeros.
#[derive(Clone, Debug, Attrs)]
pub struct LpPool {
    /// Size of the window.
    pub kernel: Vec<i64>,
    /// Steps between windows.
    pub strides: Vec<i64>,
    /// Padding in front of every spatial axis, then behind; less than the reach of the window.
    pub pads: Vec<Dim>,
    /// Steps between the elements of a window.
    pub dilations: Vec<i64>,
    /// Whether a last window may hang over the end.
    #[attr(default = false)]
    pub ceil_mode: bool,
    /// The exponent, positive.
    #[attr(default = 2.0)]
    pub p: f64,
}

/// Norms of `x` by window, see [`LpPool`].
pub fn lp_pool(b: &mut dyn Builder, op: &LpPool, x: &Var) -> Result<Var> {
    b.one(op, std::slice::from_ref(x))
}

impl LpPool {
    fn sums(&self) -> AvgPool {
        AvgPool {
            kernel: self.kernel.clone(),
            strides: self.strides.clone(),
            pads: self.pads.clone(),
            dilations: self.dilations.clone(),
            ceil_mode: self.ceil_mode,
            count_include_pad: true,
            divisor_override: Some(1),
            channels_last: false,
        }
    }
}

/// `|x|^p`
fn power(b: &mut dyn Builder, x: &Var, p: f64) -> Result<Var> {
    if p == 2.0 {
        return mul(b, x, x);
    }
    let dtype = b.tensor_fact(x)?.dtype;
    let zero = b.scalar(dtype, 0.0)?;
    let (negative, minus) = (less(b, x, &zero)?, neg(b, x)?);
    let x = where_(b, &negative, &minus, x)?;
    if p == 1.0 { Ok(x) } else { raised(b, &x, p) }
}

/// `x^(1/p)` for `x` from 0 on.
fn root(b: &mut dyn Builder, x: &Var, p: f64) -> Result<Var> {
    match p {
        1.0 => Ok(x.clone()),
        2.0 => sqrt(b, x),
        _ => raised(b, x, 1.0 / p),
    }
}

/// `x^p` for `x` from 0 on, with slope 0 at 0.
fn raised(b: &mut dyn Builder, x: &Var, p: f64) -> Result<Var> {
    let dtype = b.tensor_fact(x)?.dtype;
    let (zero, one) = (b.scalar(dtype, 0.0)?, b.scalar(dtype, 1.0)?);
    let none = equal(b, x, &zero)?;
    let some = where_(b, &none, &one, x)?;
    let powers = log(b, &some)?;
    let powers = scale(b, &powers, p)?;
    let powers = exp(b, &powers)?;
    where_(b, &none, &zero, &powers)
}

/// The exponent, a float before opset 2.
fn exponent(node: &dyn OnnxNode) -> Result<f64> {
    if node.opset() < 2 { node.float("p", 2.0) } else { Ok(node.int("p", 2)? as f64) }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let x = required(inputs, 0)?;
    let xf = b.tensor_fact(&x)?;
    let kernel = node.ints("kernel_shape")?.ok_or_else(|| Error::format("attribute `kernel_shape` is missing"))?;
    if kernel.len() + 2 != xf.rank() {
        return Err(Error::shape(format!("kernel_shape {kernel:?} does not fit an input of rank {}", xf.rank())));
    }
    let Window { strides, pads, dilations, .. } = Window::from_onnx(node, window::known(&kernel), &xf.shape[2..])?;
    let op = LpPool { kernel, strides, pads, dilations, ceil_mode: node.int("ceil_mode", 0)? != 0, p: exponent(node)? };
    Ok(smallvec![lp_pool(b, &op, &x)?])
}

fn import_global(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (x, p) = (required(inputs, 0)?, exponent(node)?);
    let axes: Vec<i64> = (2..b.tensor_fact(&x)?.rank() as i64).collect();
    if axes.is_empty() || p <= 0.0 {
        return Err(Error::value(format!("a norm with exponent {p} over {} axes", axes.len())));
    }
    let powers = power(b, &x, p)?;
    let sums = reduce_sum(b, &powers, &axes, true)?;
    Ok(smallvec![root(b, &sums, p)?])
}

impl Op for LpPool {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        if !(self.p.is_finite() && self.p > 0.0) {
            return Err(Error::value(format!("p is {}", self.p)).with_expected("a positive number"));
        }
        let x = inputs[0].as_tensor()?;
        common::check_dtype(x.dtype, Self::DTYPES)?;
        let window = self.sums().window()?;
        window.check_rank(x)?;
        let outputs = window.outputs(&x.shape[2..], self.ceil_mode)?;
        Ok(common::one(TensorFact::new(x.dtype, x.shape[..2].iter().cloned().chain(outputs))))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let window = self.sums().window()?;
        let outputs = common::sizes(&window.outputs(&window::dims(x)[2..], self.ceil_mode)?)?;
        let taps = window.taps(&x.shape()[2..], &outputs)?;
        let (from, to) = (x.shape()[2..].iter().product::<usize>(), outputs.iter().product::<usize>());
        let count = x.shape()[0] * x.shape()[1];
        let values = x.to_f64();
        let mut sums = vec![0.0; count * to];
        for plane in 0..count {
            taps.iter().for_each(|&(o, _, i)| sums[plane * to + o] += values[plane * from + i].abs().powf(self.p));
        }
        sums.iter_mut().for_each(|s| *s = s.powf(1.0 / self.p));
        let shape: Vec<usize> = x.shape()[..2].iter().copied().chain(outputs).collect();
        common::out(HostTensor::from_f64(x.dtype(), &shape, &sums)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let made = |b: &mut dyn Builder| {
            let powers = power(b, &inputs[0], self.p)?;
            let sums = avg_pool(b, &self.sums(), &powers)?;
            Ok(smallvec![root(b, &sums, self.p)?])
        };
        Some(made(b))
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        if self.p.fract() != 0.0 {
            return None;
        }
        let opset = if inputs.first()?.dtype() == DType::BF16 { 22 } else { 18 };
        let export = OnnxExport::new("LpPool", opset)
            .attr("kernel_shape", OnnxAttr::Ints(self.kernel.clone()))
            .attr("ceil_mode", OnnxAttr::Int(self.ceil_mode.into()))
            .attr("p", OnnxAttr::Int(self.p as i64));
        self.sums().window().ok()?.to_onnx(export)
    }
}

impl OpType for LpPool {
    const NAME: &'static str = "lp_pool";
    const DOC: &'static str = "Norm of every window.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("LpPool", 1, import), OnnxMapping::new("GlobalLpPool", 1, import_global)]
    }

    fn cases() -> Vec<Case> {
        let op = |kernel: &[i64], strides: &[i64], pads: &[i64], dilations: &[i64]| LpPool {
            kernel: kernel.to_vec(),
            strides: strides.to_vec(),
            pads: window::known(pads),
            dilations: dilations.to_vec(),
            ceil_mode: false,
            p: 2.0,
        };
        let plane = op(&[2, 2], &[2, 2], &[0; 4], &[1, 1]);
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s).fill(Fill::Uniform(0.5, 2.5, 7));
        let mut cases = Vec::new();
        for &d in Self::DTYPES {
            let case = Case::new(format!("plane-{d}"), &plane, vec![x(d, &[2, 3, 6, 7])]).tolerance(5e-2, 2e-2);
            let case = if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case };
            cases.push(case.symbol(0, 0, "batch").symbol(0, 2, "height"));
        }
        for (name, op, shape) in [
            ("line", op(&[3], &[1], &[1, 1], &[1]), &[2, 3, 9][..]),
            ("volume", op(&[2, 1, 3], &[1, 1, 2], &[0, 0, 1, 1, 0, 1], &[1, 1, 1]), &[1, 2, 3, 4, 6]),
            ("dilated", op(&[2, 2], &[1, 1], &[1, 1, 1, 1], &[2, 3]), &[1, 2, 6, 7]),
            ("sum", LpPool { p: 1.0, ..op(&[3, 3], &[2, 2], &[1; 4], &[1, 1]) }, &[1, 2, 5, 6]),
            ("cubes", LpPool { p: 3.0, ..op(&[3, 3], &[2, 2], &[1; 4], &[1, 1]) }, &[1, 2, 5, 6]),
            ("ceil", LpPool { ceil_mode: true, ..op(&[3, 3], &[2, 2], &[1; 4], &[1, 1]) }, &[1, 2, 6, 7]),
            ("no-batch", plane.clone(), &[0, 3, 4, 4]),
        ] {
            cases.push(Case::new(name, &op, vec![x(DType::F64, shape)]).with_gradient());
        }
        let signs = CaseInput::new(DType::F32, &[2, 3, 6, 7]);
        cases.push(Case::new("signs", &LpPool { p: 3.0, ..plane.clone() }, vec![signs]).tolerance(1e-4, 1e-4));
        let viewed = x(DType::F32, &[2, 3, 6, 5]).view(View::Transposed);
        cases.push(Case::new("transposed", &plane, vec![viewed]).with_gradient());
        cases
    }
}
