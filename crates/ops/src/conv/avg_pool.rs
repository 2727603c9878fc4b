//! Mean of every window.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, TensorFact,
    Var, Vars,
};
use smallvec::smallvec;

use crate::build::resample_grad;
use crate::channels_last;
use crate::common;
use crate::sample::AxisMap;
use crate::window::{self, Window};

/// Mean of `x` `[N, C, ...]` in every window over the axes behind the channels (ONNX AveragePool, torch `avg_pool1d` to
/// `avg_pool3d`). A window that sees only padding that does not count gives 0. With `channels_last`, `x` is `[N, ..., C]`.
#[derive(Clone, Debug, Attrs)]
pub struct AvgPool {
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
    /// Whether padding counts as zeros; what hangs over behind the padding never counts.
    #[attr(default = true)]
    pub count_include_pad: bool,
    /// What sums are divided by in place of the number of elements.
    #[attr(default = None)]
    pub divisor_override: Option<i64>,
    /// Whether the channels are the last axis.
    #[attr(default = false)]
    pub channels_last: bool,
}

/// Means of `x` by window, see [`AvgPool`].
pub fn avg_pool(b: &mut dyn Builder, op: &AvgPool, x: &Var) -> Result<Var> {
    b.one(op, std::slice::from_ref(x))
}

impl AvgPool {
    /// The windows.
    pub fn window(&self) -> Result<Window> {
        let window = Window::new(&window::known(&self.kernel), &self.strides, &self.pads, &self.dilations)?;
        window.check_pads()?;
        if self.divisor_override.is_some_and(|d| d == 0) {
            return Err(Error::value("divisor_override is 0").with_expected("another number"));
        }
        Ok(window)
    }

    /// The same windows over images whose channels are the second axis.
    pub fn channels_first(&self) -> AvgPool {
        AvgPool { channels_last: false, ..self.clone() }
    }

    /// How each spatial axis of `input` elements is summed and divided, one after the other.
    ///
    /// # Errors
    /// When a size is still symbolic.
    pub fn maps(&self, input: &[usize], output: &[usize]) -> Result<Vec<AxisMap>> {
        let pads = common::sizes(&self.pads)?;
        let rank = self.kernel.len();
        let mut all = Vec::with_capacity(rank);
        for axis in 0..rank {
            let n = input[axis] as i64;
            let (begin, end) = (pads[axis] as i64, pads[rank + axis] as i64);
            let mut map = AxisMap::new(input[axis]);
            for o in 0..output[axis] as i64 {
                let start = o * self.strides[axis] - begin;
                let at = (0..self.kernel[axis]).map(|k| start + k * self.dilations[axis]);
                let seen: Vec<usize> = at.clone().filter(|i| (0..n).contains(i)).map(|i| i as usize).collect();
                let count = match self.divisor_override {
                    Some(d) if axis == 0 => d as f64,
                    Some(_) => 1.0,
                    None if self.count_include_pad => at.filter(|&i| i < n + end).count() as f64,
                    None => seen.len() as f64,
                };
                map.push(seen.into_iter().map(|i| (i, 1.0 / count)))?;
            }
            all.push(map);
        }
        Ok(all)
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let x = required(inputs, 0)?;
    let xf = b.tensor_fact(&x)?;
    let kernel = node.ints("kernel_shape")?.ok_or_else(|| Error::format("attribute `kernel_shape` is missing"))?;
    if kernel.len() + 2 != xf.rank() {
        return Err(Error::shape(format!("kernel_shape {kernel:?} does not fit an input of rank {}", xf.rank())));
    }
    let Window { strides, pads, dilations, .. } = Window::from_onnx(node, window::known(&kernel), &xf.shape[2..])?;
    let op = AvgPool {
        kernel,
        strides,
        pads,
        dilations,
        ceil_mode: node.int("ceil_mode", 0)? != 0,
        count_include_pad: node.int("count_include_pad", 0)? != 0,
        divisor_override: None,
        channels_last: false,
    };
    Ok(smallvec![avg_pool(b, &op, &x)?])
}

impl Op for AvgPool {
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
        let shape = x.shape[..2].iter().cloned().chain(outputs);
        let y = TensorFact::new(x.dtype, shape);
        Ok(common::one(if self.channels_last { channels_last::last_fact(&y) } else { y }))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        if self.channels_last {
            let made = self.channels_first().reference(&[channels_last::first_host(&inputs[0])?])?;
            return made.iter().map(channels_last::last_host).collect();
        }
        let x = inputs[0].tensor()?;
        let window = self.window()?;
        let input = &x.shape()[2..];
        let outputs = common::sizes(&window.outputs(&window::dims(x)[2..], self.ceil_mode)?)?;
        let taps = window.taps(input, &outputs)?;
        let (from, to) = (input.iter().product::<usize>(), outputs.iter().product::<usize>());
        let mut counts = vec![0i64; to];
        match (self.divisor_override, self.count_include_pad) {
            (Some(d), _) => counts.fill(d),
            (None, false) => taps.iter().for_each(|&(o, _, _)| counts[o] += 1),
            (None, true) => {
                // The padded input without padding of its own has the same windows.
                let rank = window.rank();
                let pads = common::sizes(&self.pads)?;
                let padded: Vec<usize> = (0..rank).map(|a| input[a] + pads[a] + pads[rank + a]).collect();
                let bare = Window { pads: window::known(&vec![0; 2 * rank]), ..window.clone() };
                bare.taps(&padded, &outputs)?.iter().for_each(|&(o, _, _)| counts[o] += 1);
            }
        }
        let count = x.shape()[0] * x.shape()[1];
        let values = x.to_f64();
        let mut sums = vec![0.0; count * to];
        for plane in 0..count {
            taps.iter().for_each(|&(o, _, i)| sums[plane * to + o] += values[plane * from + i]);
            let means = sums[plane * to..(plane + 1) * to].iter_mut().zip(&counts);
            means.filter(|(_, n)| **n != 0).for_each(|(s, n)| *s /= *n as f64);
        }
        let shape: Vec<usize> = x.shape()[..2].iter().copied().chain(outputs).collect();
        common::out(HostTensor::from_f64(x.dtype(), &shape, &sums)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        Ok(vec![Some(resample_grad(b, self, g, s.input_fact(0)?.shape.to_vec())?)])
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let mut made = || {
            let x = channels_last::first(b, &inputs[0])?;
            let y = avg_pool(b, &self.channels_first(), &x)?;
            Ok(smallvec![channels_last::last(b, &y)?])
        };
        self.channels_last.then(&mut made)
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        if self.divisor_override.is_some() || self.channels_last {
            return None;
        }
        let opset = match inputs.first()?.dtype() {
            DType::BF16 => 22,
            _ if self.dilations.iter().any(|&d| d != 1) => 19,
            _ => 11,
        };
        let mut export = OnnxExport::new("AveragePool", opset)
            .attr("kernel_shape", OnnxAttr::Ints(self.kernel.clone()))
            .attr("ceil_mode", OnnxAttr::Int(self.ceil_mode.into()))
            .attr("count_include_pad", OnnxAttr::Int(self.count_include_pad.into()));
        export = self.window().ok()?.to_onnx(export)?;
        export.attrs.retain(|(name, _)| opset >= 19 || name != "dilations");
        Some(export)
    }
}

impl OpType for AvgPool {
    const NAME: &'static str = "avg_pool";
    const DOC: &'static str = "Mean of every window.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("AveragePool", 1, import)]
    }

    fn cases() -> Vec<Case> {
        let op = |kernel: &[i64], strides: &[i64], pads: &[i64], dilations: &[i64]| AvgPool {
            kernel: kernel.to_vec(),
            strides: strides.to_vec(),
            pads: window::known(pads),
            dilations: dilations.to_vec(),
            ceil_mode: false,
            count_include_pad: true,
            divisor_override: None,
            channels_last: false,
        };
        let bare = |op: AvgPool| AvgPool { count_include_pad: false, ..op };
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s);
        let plane = op(&[2, 2], &[2, 2], &[0; 4], &[1, 1]);
        let padded = op(&[3, 3], &[2, 2], &[1; 4], &[1, 1]);
        let mut cases = Vec::new();
        for &d in Self::DTYPES {
            let case = Case::new(format!("plane-{d}"), &plane, vec![x(d, &[2, 3, 6, 7])]);
            let case = if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case };
            cases.push(case.symbol(0, 0, "batch").symbol(0, 2, "height"));
            cases.push(Case::new(format!("padded-{d}"), &bare(padded.clone()), vec![x(d, &[2, 2, 5, 6])]));
            cases.push(Case::new(format!("special-{d}"), &padded, vec![x(d, &[1, 2, 5, 6]).fill(Fill::Special(4))]));
        }
        for (name, op, shape) in [
            ("line", op(&[3], &[1], &[1, 1], &[1]), &[2, 3, 9][..]),
            ("volume", op(&[2, 1, 3], &[1, 1, 2], &[0, 0, 1, 1, 0, 1], &[1, 1, 1]), &[1, 2, 3, 4, 6]),
            ("padded", padded.clone(), &[2, 3, 7, 6]),
            ("padding-left-out", bare(padded.clone()), &[2, 3, 7, 6]),
            ("uneven", bare(op(&[2, 3], &[1, 2], &[1, 0, 0, 2], &[1, 1])), &[1, 2, 5, 6]),
            ("dilated", op(&[2, 2], &[1, 1], &[1, 1, 1, 1], &[2, 3]), &[1, 2, 6, 7]),
            ("overlapping", op(&[3, 3], &[1, 1], &[0; 4], &[1, 1]), &[1, 1, 6, 6]),
            ("one-axis", op(&[1, 3], &[1, 1], &[0; 4], &[1, 1]), &[1, 2, 4, 6]),
            ("pointwise", op(&[1, 1], &[1, 1], &[0; 4], &[1, 1]), &[1, 2, 4, 3]),
            ("divided", AvgPool { divisor_override: Some(3), ..padded.clone() }, &[1, 2, 5, 4]),
            ("no-batch", plane.clone(), &[0, 3, 4, 4]),
        ] {
            cases.push(Case::new(name, &op, vec![x(DType::F64, shape)]).with_gradient());
        }
        for (name, stride, shape) in [("ceil", 2, [1, 2, 6, 7]), ("ceil-dropped", 3, [1, 2, 5, 4])] {
            for (kind, count) in [("", true), ("-bare", false)] {
                let op = AvgPool {
                    ceil_mode: true,
                    count_include_pad: count,
                    ..op(&[3, 3], &[stride, stride], &[1; 4], &[1, 1])
                };
                let case = Case::new(format!("{name}{kind}"), &op, vec![x(DType::F64, &shape)]);
                cases.push(case.with_gradient().symbol(0, 3, "width"));
            }
        }
        for (name, view) in [("transposed", View::Transposed), ("strided", View::Strided), ("reversed", View::Reversed)]
        {
            cases.push(Case::new(name, &padded, vec![x(DType::F32, &[2, 3, 6, 5]).view(view)]).with_gradient());
        }
        cases.push(Case::new("large", &padded, vec![x(DType::F32, &[2, 16, 57, 60])]));
        let wide = op(&[3, 3], &[1, 1], &[1; 4], &[1, 1]);
        cases.push(Case::new("large-overlapping", &bare(wide), vec![x(DType::F32, &[2, 8, 40, 61])]));
        let last = |case: &Case| {
            let op = case.op.as_any().downcast_ref::<AvgPool>()?;
            Some(channels_last::case(case, &AvgPool { channels_last: true, ..op.clone() }))
        };
        cases.extend(cases.iter().filter_map(last).collect::<Vec<_>>());
        cases
    }
}
