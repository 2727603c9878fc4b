//! Convolution.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, OnnxNode, optional, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Cost, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Promote,
    Saved, Saves, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::{conv_input_grad, conv_weight_grad, reduce_sum};
use crate::channels_last;
use crate::common;
use crate::window::{self, Window};

/// Cross-correlation of `x` `[N, C, ...]` with `w` `[M, C/group, ...]` over the axes behind the channels, plus an optional
/// bias `[M]` (ONNX Conv, torch `conv1d` to `conv3d`). Padding is zero.
///
/// With `channels_last`, `x` is `[N, ..., C]` and the result `[N, ..., M]`; weights and bias stay as they are.
#[derive(Clone, Debug, Attrs)]
pub struct Conv {
    /// Steps between windows, one number per spatial axis.
    pub strides: Vec<i64>,
    /// Padding in front of every spatial axis, then behind.
    pub pads: Vec<Dim>,
    /// Steps between the elements of a window.
    pub dilations: Vec<i64>,
    /// Channels fall into this many groups that do not see each other.
    #[attr(default = 1)]
    pub group: i64,
    /// Whether the channels of `x` and of the result are the last axis.
    #[attr(default = false)]
    pub channels_last: bool,
}

/// Convolution of `x` with `w`, see [`Conv`].
pub fn conv(b: &mut dyn Builder, op: &Conv, x: &Var, w: &Var, bias: Option<&Var>) -> Result<Var> {
    let inputs: Vec<Var> = [x, w].into_iter().chain(bias).cloned().collect();
    b.one(op, &inputs)
}

impl Conv {
    /// The windows for a kernel with these spatial sizes.
    pub fn window(&self, kernel: &[Dim]) -> Result<Window> {
        Window::new(kernel, &self.strides, &self.pads, &self.dilations)
    }

    /// The same convolution of images whose channels are the second axis.
    pub fn channels_first(&self) -> Conv {
        Conv { channels_last: false, ..self.clone() }
    }

    /// The same convolution of images whose channels are the last axis.
    pub fn to_channels_last(&self) -> Conv {
        Conv { channels_last: true, ..self.clone() }
    }
}

/// `cases` and larger ones with the channels last.
fn last_cases(cases: &[Case]) -> Vec<Case> {
    let mut made = Vec::new();
    for case in cases.iter().filter(|c| !c.name.starts_with("large")) {
        let Some(op) = case.op.as_any().downcast_ref::<Conv>() else { continue };
        made.push(channels_last::case(case, &op.to_channels_last()));
    }
    let plain = |pad: i64, stride: i64, group: i64| Conv {
        strides: vec![stride; 2],
        pads: window::known(&[pad; 4]),
        dilations: vec![1, 1],
        group,
        channels_last: true,
    };
    for (name, x, w, stride, group) in [
        ("large", [2, 28, 30, 16], [24, 16, 3, 3], 1, 1),
        ("large-pointwise", [1, 20, 20, 64], [70, 64, 1, 1], 1, 1),
        ("large-kernel", [1, 40, 41, 3], [8, 3, 7, 7], 2, 1),
        ("large-grouped", [1, 14, 13, 32], [48, 8, 3, 3], 1, 4),
        ("large-depthwise", [2, 17, 19, 70], [70, 1, 3, 3], 1, 70),
        ("large-depthwise-steps", [1, 30, 27, 43], [43, 1, 3, 3], 2, 43),
        ("large-depthwise-wide", [1, 19, 23, 40], [40, 1, 5, 5], 1, 40),
        ("large-depthwise-wide-steps", [1, 18, 21, 96], [96, 1, 5, 5], 2, 96),
        ("large-depthwise-kernel", [1, 14, 15, 36], [36, 1, 7, 7], 1, 36),
    ] {
        let op = plain((w[2] as i64 - 1) / 2, stride, group);
        let inputs = [&x[..], &w, &[w[0]]].map(|s| CaseInput::new(DType::F32, s));
        made.push(Case::new(format!("last-{name}"), &op, inputs.into()).tolerance(1e-4, 1e-5));
    }
    made
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (x, w) = (required(inputs, 0)?, required(inputs, 1)?);
    let (xf, wf) = (b.tensor_fact(&x)?, b.tensor_fact(&w)?);
    window::check_pair(&xf, &wf, Conv::DTYPES)?;
    if let Some(kernel) = node.ints("kernel_shape")? {
        if kernel.len() + 2 != wf.rank() {
            return Err(Error::value(format!("kernel_shape {kernel:?} does not fit weights of rank {}", wf.rank())));
        }
        for (have, want) in kernel.iter().zip(&wf.shape[2..]) {
            window::check_equal("a size in kernel_shape", &Dim::Known(*have), want)?;
        }
    }
    let window = Window::from_onnx(node, wf.shape[2..].to_vec(), &xf.shape[2..])?;
    let Window { strides, pads, dilations, .. } = window;
    let op = Conv { strides, pads, dilations, group: node.int("group", 1)?, channels_last: false };
    Ok(smallvec![conv(b, &op, &x, &w, optional(inputs, 2).as_ref())?])
}

impl Op for Conv {
    fn arity(&self) -> Arity {
        Arity::between(2, 3)
    }

    fn class(&self) -> Class {
        Class::Contraction
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let facts = common::tensors(inputs)?;
        let w = facts[1];
        window::check_pair(facts[0], w, Self::DTYPES)?;
        let last;
        let x = if self.channels_last {
            last = channels_last::first_fact(facts[0]);
            &last
        } else {
            facts[0]
        };
        window::check_group(self.group, &w.shape[0])?;
        let channels = w.shape[1].mul(&Dim::Known(self.group));
        window::check_equal("the number of input channels", &x.shape[1], &channels)?;
        if let Some(bias) = facts.get(2) {
            if bias.dtype != x.dtype || bias.rank() != 1 {
                return Err(
                    Error::shape(format!("the bias is {bias}")).with_expected(format!("{}[{}]", x.dtype, w.shape[0]))
                );
            }
            window::check_equal("the size of the bias", &bias.shape[0], &w.shape[0])?;
        }
        let outputs = self.window(&w.shape[2..])?.outputs(&x.shape[2..], false)?;
        let shape = [x.shape[0].clone(), w.shape[0].clone()].into_iter().chain(outputs);
        let y = TensorFact::new(x.dtype, shape);
        Ok(common::one(if self.channels_last { channels_last::last_fact(&y) } else { y }))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        if self.channels_last {
            let mut inputs = inputs.to_vec();
            inputs[0] = channels_last::first_host(&inputs[0])?;
            return self.channels_first().reference(&inputs)?.iter().map(channels_last::last_host).collect();
        }
        let t = common::host(inputs)?;
        let window = self.window(&window::dims(t[1])[2..])?;
        let mut shape = vec![t[0].shape()[0], t[1].shape()[0]];
        shape.extend(common::sizes(&window.outputs(&window::dims(t[0])[2..], false)?)?);
        let plane: usize = shape[2..].iter().product();
        let mut sums = vec![0.0; shape.iter().product()];
        if let Some(bias) = t.get(2) {
            let bias = bias.to_f64();
            sums.iter_mut().enumerate().for_each(|(i, s)| *s = bias[i / plane % shape[1]]);
        }
        let (x, w) = (t[0].to_f64(), t[1].to_f64());
        window::convolve(&window, self.group, t[0].shape(), t[1].shape(), &shape, |i, k, o| sums[o] += x[i] * w[k])?;
        common::out(HostTensor::from_f64(t[0].dtype(), &shape, &sums)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b11, outputs: 0 }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let mut result = vec![None; needs.len()];
        let Some(g) = &grads[0] else { return Ok(result) };
        let (mut g, last) = (g.clone(), self.channels_last);
        let mut image = s.input_fact(0)?.clone();
        if last {
            (g, image) = (channels_last::first(b, &g)?, channels_last::first_fact(&image));
        }
        if needs[0] {
            let made = conv_input_grad(b, self, &g, s.input(1)?, image.shape[2..].to_vec())?;
            result[0] = Some(if last { channels_last::last(b, &made)? } else { made });
        }
        if needs[1] {
            let x = if last { channels_last::first(b, s.input(0)?)? } else { s.input(0)?.clone() };
            result[1] = Some(conv_weight_grad(b, self, &x, &g, s.input_fact(1)?.shape[2..].to_vec())?);
        }
        if needs.get(2) == Some(&true) {
            let axes: Vec<i64> = (0..image.rank() as i64).filter(|&a| a != 1).collect();
            result[2] = Some(reduce_sum(b, &g, &axes, false)?);
        }
        Ok(result)
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let [x, w, bias @ ..] = inputs else { return None };
        let mut plain = || {
            let x = channels_last::first(b, x)?;
            let y = conv(b, &self.channels_first(), &x, w, bias.first())?;
            Ok(smallvec![channels_last::last(b, &y)?])
        };
        self.channels_last.then(&mut plain)
    }

    fn cost(&self, inputs: &[&Fact], outputs: &[Fact]) -> Cost {
        let out = outputs.first().map_or(0.0, window::estimate);
        let w = inputs.get(1).and_then(|f| f.as_tensor().ok());
        let rows = w.and_then(|w| w.shape.first()).and_then(Dim::known).unwrap_or(64).max(1) as f64;
        let terms = inputs.get(1).map_or(1.0, |w| window::estimate(w)) / rows;
        let bytes = inputs.iter().copied().chain(outputs).map(|f| window::estimate(f) * f.dtype().size() as f64).sum();
        Cost { flops: 2.0 * out * terms, bytes }
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        let w = inputs.get(1)?.as_tensor().ok().filter(|_| !self.channels_last)?;
        let opset = if w.dtype == DType::BF16 { 22 } else { 11 };
        let export = OnnxExport::new("Conv", opset).attr("group", lampyr_ir::onnx::OnnxAttr::Int(self.group));
        self.window(&w.shape[2..]).ok()?.to_onnx(export)
    }
}

impl OpType for Conv {
    const NAME: &'static str = "conv";
    const DOC: &'static str = "Convolution over any number of spatial axes.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Common;
    const AUTOCAST: Autocast = Autocast::Low;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::new("Conv", 1, import),
            OnnxMapping::new("CausalConvWithState", 27, crate::onnx_state::causal_conv),
        ]
    }

    fn cases() -> Vec<Case> {
        let op = |g: &window::Geometry| Conv {
            strides: g.3.clone(),
            pads: window::known(&g.4),
            dilations: g.5.clone(),
            group: g.6,
            channels_last: false,
        };
        let mut cases = window::geometry_cases(|g| [g.1.clone(), g.2.clone()], op);
        let plane = Conv {
            strides: vec![1, 1],
            pads: window::known(&[1; 4]),
            dilations: vec![1, 1],
            group: 1,
            channels_last: false,
        };
        let inputs = |d: DType, shapes: &[&[usize]]| shapes.iter().map(|s| CaseInput::new(d, s)).collect::<Vec<_>>();
        for &d in DType::FLOATS {
            let case = Case::new(format!("bias-{d}"), &plane, inputs(d, &[&[2, 3, 6, 5], &[4, 3, 3, 3], &[4]]));
            let case = if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case };
            cases.push(case.symbol(0, 0, "batch").symbol(0, 2, "height").symbol(0, 3, "width"));
            let wild = [1.0, 2.0, f64::NAN, 0.5, 1.0, 1.0, f64::INFINITY, 3.0, 1.0, 1.0, 1.0, f64::NEG_INFINITY];
            let x = CaseInput::new(d, &[1, 1, 1, 12]).values(&wild);
            let row = Conv { pads: window::known(&[0; 4]), ..plane.clone() };
            let w = CaseInput::new(d, &[1, 1, 1, 3]).values(&[1.0, 0.5, 2.0]);
            cases.push(Case::new(format!("special-{d}"), &row, vec![x, w]));
        }
        for (name, view) in [
            ("transposed", View::Transposed),
            ("strided", View::Strided),
            ("reversed", View::Reversed),
            ("expanded", View::Broadcast),
        ] {
            let all =
                inputs(DType::F32, &[&[2, 3, 6, 5], &[4, 3, 3, 3], &[4]]).into_iter().map(|x| x.view(view)).collect();
            cases.push(Case::new(name, &plane, all).with_gradient());
        }
        for (name, x, w) in [
            ("large", [2, 16, 28, 30], [24, 16, 3, 3]),
            ("large-pointwise", [1, 64, 20, 20], [70, 64, 1, 1]),
            ("large-kernel", [1, 3, 40, 41], [8, 3, 7, 7]),
        ] {
            let pad = (w[2] as i64 - 1) / 2;
            let op = Conv { pads: window::known(&[pad; 4]), ..plane.clone() };
            cases.push(Case::new(name, &op, inputs(DType::F32, &[&x, &w])).tolerance(1e-4, 1e-5));
        }
        cases.extend(last_cases(&cases));
        cases
    }
}
