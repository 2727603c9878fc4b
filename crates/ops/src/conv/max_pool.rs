//! Largest element of every window.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType, Saved, Saves,
    TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::{add, div, mul, nonzero, reduce_max, reshape, scatter_add_elements, sub};
use crate::channels_last;
use crate::common;
use crate::gradient::{full, to_shape};
use crate::sampling::size;
use crate::window::{self, Window};

/// Largest element of `x` `[N, C, ...]` in every window over the axes behind the channels, and where it lies (ONNX
/// MaxPool, torch `max_pool1d` to `max_pool3d`). Padding never wins; NaN always does; of equal elements the first in
/// row-major order. A window that sees only padding gives the lowest number and index 0.
///
/// The second output is the flat index in the spatial plane, as torch counts. With `channels_last`, `x` and the results
/// are `[N, ..., C]`.
#[derive(Clone, Debug, Attrs)]
pub struct MaxPool {
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
    /// Whether the indices are a result; if not, they are made for the gradient only.
    #[attr(default = false)]
    pub return_indices: bool,
    /// Whether the channels are the last axis.
    #[attr(default = false)]
    pub channels_last: bool,
}

/// Largest elements of `x` by window, and their indices, see [`MaxPool`].
pub fn max_pool(b: &mut dyn Builder, op: &MaxPool, x: &Var) -> Result<Vars> {
    b.apply(op, std::slice::from_ref(x))
}

impl MaxPool {
    /// The windows.
    pub fn window(&self) -> Result<Window> {
        let window = Window::new(&window::known(&self.kernel), &self.strides, &self.pads, &self.dilations)?;
        window.check_pads()?;
        Ok(window)
    }

    /// The same windows over images whose channels are the second axis.
    pub fn channels_first(&self) -> MaxPool {
        MaxPool { channels_last: false, ..self.clone() }
    }
}

/// The largest batch, counted in channels, whose indices an ONNX node may ask for.
const MOST_PLANES: usize = 1 << 24;

/// Positions in a plane as positions in the whole tensor `x`, as ONNX counts; the last spatial axis first for
/// `columns`.
fn whole_tensor(b: &mut dyn Builder, x: &Var, indices: &Var, columns: bool) -> Result<Var> {
    let xf = b.tensor_fact(x)?;
    let mut indices = indices.clone();
    let one = b.constant(HostTensor::scalar(1i64))?;
    if columns {
        let (mut rest, mut sum, mut step) = (indices.clone(), None, one.clone());
        let mut places = Vec::new();
        for axis in (2..xf.rank()).rev() {
            let n = size(b, x, axis, DType::I64)?;
            let lines = div(b, &rest, &n)?;
            let whole = mul(b, &lines, &n)?;
            places.push((sub(b, &rest, &whole)?, n));
            rest = lines;
        }
        for (place, n) in places.iter().rev() {
            let part = mul(b, place, &step)?;
            sum = Some(match sum {
                None => part,
                Some(sum) => add(b, &sum, &part)?,
            });
            step = mul(b, &step, n)?;
        }
        indices = sum.unwrap_or(indices);
    }
    let mut plane = one;
    for axis in 2..xf.rank() {
        let n = size(b, x, axis, DType::I64)?;
        plane = mul(b, &plane, &n)?;
    }
    let planes = Dim::product(&xf.shape[..2]);
    let numbers = match planes.known().and_then(|n| usize::try_from(n).ok()) {
        Some(n) if n > MOST_PLANES => {
            return Err(Error::unsupported(format!("MaxPool indices over {n} channels")));
        }
        Some(n) => b.constant(HostTensor::from_slice(&[n], &(0..n as i64).collect::<Vec<_>>())?)?,
        None => {
            // The places of as many true elements.
            let marks = full(b, DType::Bool, std::slice::from_ref(&planes), 1.0)?;
            nonzero(b, &marks)?
        }
    };
    let mut shape = vec![Dim::Known(1); xf.rank()];
    shape[..2].clone_from_slice(&xf.shape[..2]);
    let numbers = reshape(b, &numbers, shape)?;
    let starts = mul(b, &numbers, &plane)?;
    add(b, &indices, &starts)
}

/// ONNX GlobalMaxPool.
fn import_global(_: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let x = required(inputs, 0)?;
    let axes: Vec<i64> = (2..b.tensor_fact(&x)?.rank() as i64).collect();
    if axes.is_empty() {
        return Err(Error::shape("GlobalMaxPool without spatial axes"));
    }
    Ok(smallvec![reduce_max(b, &x, &axes, true)?])
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let x = required(inputs, 0)?;
    let xf = b.tensor_fact(&x)?;
    let kernel = node.ints("kernel_shape")?.ok_or_else(|| Error::format("attribute `kernel_shape` is missing"))?;
    if kernel.len() + 2 != xf.rank() {
        return Err(Error::shape(format!("kernel_shape {kernel:?} does not fit an input of rank {}", xf.rank())));
    }
    let window = Window::from_onnx(node, window::known(&kernel), &xf.shape[2..])?;
    let Window { strides, pads, dilations, .. } = window;
    let return_indices = node.has_output(1);
    let ceil_mode = node.int("ceil_mode", 0)? != 0;
    let op = MaxPool { kernel, strides, pads, dilations, ceil_mode, return_indices, channels_last: false };
    let mut made = max_pool(b, &op, &x)?;
    if return_indices {
        made[1] = whole_tensor(b, &x, &made[1], node.int("storage_order", 0)? != 0)?;
    }
    Ok(made)
}

impl Op for MaxPool {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        common::check_dtype(x.dtype, Self::DTYPES)?;
        let window = self.window()?;
        window.check_rank(x)?;
        let last;
        let x = if self.channels_last {
            last = channels_last::first_fact(x);
            &last
        } else {
            x
        };
        let outputs = window.outputs(&x.shape[2..], self.ceil_mode)?;
        let mut shape: Vec<Dim> = x.shape[..2].iter().cloned().chain(outputs).collect();
        if self.channels_last {
            shape = channels_last::last_dims(&shape);
        }
        Ok(smallvec![TensorFact::new(x.dtype, shape.clone()).into(), TensorFact::new(DType::I64, shape).into()])
    }

    fn visible_outputs(&self) -> Option<usize> {
        (!self.return_indices).then_some(1)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        if self.channels_last {
            let made = self.channels_first().reference(&[channels_last::first_host(&inputs[0])?])?;
            return made.iter().map(channels_last::last_host).collect();
        }
        let x = inputs[0].tensor()?;
        let window = self.window()?;
        let outputs = common::sizes(&window.outputs(&window::dims(x)[2..], self.ceil_mode)?)?;
        let taps = window.taps(&x.shape()[2..], &outputs)?;
        let count = x.shape()[0] * x.shape()[1];
        let (from, to) = (x.shape()[2..].iter().product::<usize>(), outputs.iter().product::<usize>());
        let mut at: Vec<Option<usize>> = vec![None; count * to];
        macro_rules! pick {
            ($v:expr, $lowest:expr, $beats:expr) => {{
                for plane in 0..count {
                    for &(o, _, i) in &taps {
                        let slot = &mut at[plane * to + o];
                        if slot.is_none_or(|best| $beats($v[plane * from + i], $v[plane * from + best])) {
                            *slot = Some(i);
                        }
                    }
                }
                at.iter().enumerate().map(|(k, i)| i.map_or($lowest, |i| $v[k / to * from + i])).collect()
            }};
        }
        let numbers = match x.numbers() {
            Numbers::F(v) => {
                let beats = |new: f64, old: f64| new > old || (new.is_nan() && !old.is_nan());
                Numbers::F(pick!(v, f64::NEG_INFINITY, beats))
            }
            Numbers::I(v) => Numbers::I(pick!(v, -1i64 << (x.dtype().bits() - 1), |new, old| new > old)),
            Numbers::U(v) => Numbers::U(pick!(v, 0, |new, old| new > old)),
        };
        let shape: Vec<usize> = x.shape()[..2].iter().copied().chain(outputs).collect();
        let indices: Vec<i64> = at.iter().map(|i| i.unwrap_or(0) as i64).collect();
        Ok(vec![
            HostTensor::from_numbers(x.dtype(), &shape, &numbers)?.into(),
            HostTensor::from_slice(&shape, &indices)?.into(),
        ])
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0, outputs: 0b10 }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let last = self.channels_last;
        let first = |f: &TensorFact| if last { channels_last::first_fact(f) } else { f.clone() };
        let (x, y) = (&first(s.input_fact(0)?), &first(s.output_fact(0)?));
        let (mut g, mut indices) = (g.clone(), s.output(1)?.clone());
        if last {
            (g, indices) = (channels_last::first(b, &g)?, channels_last::first(b, &indices)?);
        }
        let flat = |f: &TensorFact| vec![f.shape[0].clone(), f.shape[1].clone(), Dim::product(&f.shape[2..])];
        let g = to_shape(b, &g, flat(y))?;
        let indices = to_shape(b, &indices, flat(y))?;
        let spread = scatter_add_elements(b, &indices, &g, 2, flat(x))?;
        let spread = to_shape(b, &spread, x.shape.to_vec())?;
        Ok(vec![Some(if last { channels_last::last(b, &spread)? } else { spread })])
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let mut made = || {
            let x = channels_last::first(b, &inputs[0])?;
            let made = max_pool(b, &self.channels_first(), &x)?;
            made.iter().map(|y| channels_last::last(b, y)).collect()
        };
        self.channels_last.then(&mut made)
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        if self.return_indices || self.channels_last {
            return None;
        }
        let opset = if inputs.first()?.dtype() == DType::BF16 { 22 } else { 12 };
        let export = OnnxExport::new("MaxPool", opset)
            .attr("kernel_shape", OnnxAttr::Ints(self.kernel.clone()))
            .attr("ceil_mode", OnnxAttr::Int(self.ceil_mode.into()));
        self.window().ok()?.to_onnx(export)
    }
}

impl OpType for MaxPool {
    const NAME: &'static str = "max_pool";
    const DOC: &'static str = "Largest element of every window, and where it lies.";
    const DTYPES: &'static [DType] = &[DType::I8, DType::U8, DType::F16, DType::BF16, DType::F32, DType::F64];

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("MaxPool", 1, import), OnnxMapping::new("GlobalMaxPool", 1, import_global)]
    }

    fn cases() -> Vec<Case> {
        let op = |kernel: &[i64], strides: &[i64], pads: &[i64], dilations: &[i64]| MaxPool {
            kernel: kernel.to_vec(),
            strides: strides.to_vec(),
            pads: window::known(pads),
            dilations: dilations.to_vec(),
            ceil_mode: false,
            return_indices: false,
            channels_last: false,
        };
        let x = |d: DType, s: &[usize]| {
            let range = if d.is_float() { Fill::Distinct(-4.0, 4.0, 5) } else { Fill::Uniform(0.0, 100.0, 5) };
            CaseInput::new(d, s).fill(range)
        };
        let plane = op(&[2, 2], &[2, 2], &[0; 4], &[1, 1]);
        let padded = op(&[3, 3], &[2, 2], &[1; 4], &[1, 1]);
        let mut cases = Vec::new();
        for &d in Self::DTYPES {
            let case = Case::new(format!("plane-{d}"), &plane, vec![x(d, &[2, 3, 6, 7])]);
            let case = if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case };
            cases.push(case.symbol(0, 0, "batch").symbol(0, 2, "height"));
            let with_indices = MaxPool { return_indices: true, ..padded.clone() };
            cases.push(Case::new(format!("indices-{d}"), &with_indices, vec![x(d, &[2, 2, 5, 6])]));
            cases.push(Case::new(format!("special-{d}"), &padded, vec![x(d, &[1, 2, 5, 6]).fill(Fill::Special(4))]));
        }
        for (name, op, shape) in [
            ("line", op(&[3], &[1], &[1, 1], &[1]), &[2, 3, 9][..]),
            ("volume", op(&[2, 1, 3], &[1, 1, 2], &[0, 0, 1, 1, 0, 1], &[1, 1, 1]), &[1, 2, 3, 4, 6]),
            ("padded", padded.clone(), &[2, 3, 7, 6]),
            ("uneven", op(&[2, 3], &[1, 2], &[1, 0, 0, 2], &[1, 1]), &[1, 2, 5, 6]),
            ("dilated", op(&[2, 2], &[1, 1], &[1, 1, 1, 1], &[2, 3]), &[1, 2, 6, 7]),
            ("overlapping", op(&[3, 3], &[1, 1], &[0; 4], &[1, 1]), &[1, 1, 6, 6]),
            ("no-batch", plane.clone(), &[0, 3, 4, 4]),
        ] {
            cases.push(Case::new(name, &op, vec![x(DType::F64, shape)]).with_gradient());
        }
        for (name, stride, shape) in [("ceil", 2, [1, 2, 6, 7]), ("ceil-dropped", 3, [1, 2, 5, 4])] {
            let op = MaxPool { ceil_mode: true, ..op(&[3, 3], &[stride, stride], &[1; 4], &[1, 1]) };
            cases.push(Case::new(name, &op, vec![x(DType::F64, &shape)]).with_gradient().symbol(0, 3, "width"));
        }
        let ties = CaseInput::new(DType::F32, &[1, 1, 4, 4]).values(&[1.0, 2.0, 2.0, 0.0, -0.0]);
        cases.push(Case::new("ties", &MaxPool { return_indices: true, ..padded.clone() }, vec![ties]));
        for (name, view) in [("transposed", View::Transposed), ("strided", View::Strided), ("reversed", View::Reversed)]
        {
            cases.push(Case::new(name, &padded, vec![x(DType::F32, &[2, 3, 6, 5]).view(view)]).with_gradient());
        }
        cases.push(Case::new("large", &padded, vec![x(DType::F32, &[2, 16, 57, 60])]));
        let last = |case: &Case| {
            let op = case.op.as_any().downcast_ref::<MaxPool>()?;
            Some(channels_last::case(case, &MaxPool { channels_last: true, ..op.clone() }))
        };
        cases.extend(cases.iter().filter_map(last).collect::<Vec<_>>());
        cases
    }
}
