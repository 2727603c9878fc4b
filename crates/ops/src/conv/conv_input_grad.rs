//! The adjoint of convolution with respect to its input; as a forward operation, transposed convolution.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, optional, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Cost, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Promote,
    Saved, Saves, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::{Conv, add, conv, conv_weight_grad, pad};
use crate::common;
use crate::gradient::to_shape;
use crate::window::{self, Window, extent};

/// The gradient of a convolution's input from the gradient `g` `[N, M, ...]` of its output and its weights `w`
/// `[M, C/group, ...]`; linear in both (ONNX ConvTranspose, torch `conv_transpose1d` to `conv_transpose3d`).
#[derive(Clone, Debug, Attrs)]
pub struct ConvInputGrad {
    /// Spatial sizes of the convolution's input, the result here.
    pub input: Vec<Dim>,
    /// Steps of the convolution.
    pub strides: Vec<i64>,
    /// Padding of the convolution in front of every spatial axis, then behind.
    pub pads: Vec<Dim>,
    /// Dilations of the convolution.
    pub dilations: Vec<i64>,
    /// Groups of the convolution.
    #[attr(default = 1)]
    pub group: i64,
}

/// Gradient of the input, with spatial sizes `input`, of the convolution `of` with weights `w` from the gradient `g` of its output.
pub fn conv_input_grad(b: &mut dyn Builder, of: &Conv, g: &Var, w: &Var, input: Vec<Dim>) -> Result<Var> {
    let Conv { strides, pads, dilations, group, .. } = of.clone();
    b.one(&ConvInputGrad { input, strides, pads, dilations, group }, &[g.clone(), w.clone()])
}

impl ConvInputGrad {
    /// The convolution whose adjoint this is.
    pub fn forward(&self) -> Conv {
        Conv {
            strides: self.strides.clone(),
            pads: self.pads.clone(),
            dilations: self.dilations.clone(),
            group: self.group,
            channels_last: false,
        }
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (x, w) = (required(inputs, 0)?, required(inputs, 1)?);
    let (xf, wf) = (b.tensor_fact(&x)?, b.tensor_fact(&w)?);
    window::check_pair(&xf, &wf, ConvInputGrad::DTYPES)?;
    let rank = xf.rank() - 2;
    let list = |name: &str, default: i64, count: usize| {
        let list = node.ints(name)?.unwrap_or_else(|| vec![default; count]);
        let error =
            || Error::value(format!("attribute `{name}` is {list:?}")).with_expected(format!("{count} numbers"));
        if list.len() == count { Ok(list) } else { Err(error()) }
    };
    let (strides, dilations) = (list("strides", 1, rank)?, list("dilations", 1, rank)?);
    let extra = list("output_padding", 0, rank)?;
    let mode = node.text("auto_pad", "NOTSET")?;
    let same = mode.starts_with("SAME_");
    let mut given: Option<Vec<Dim>> = node.ints("output_shape")?.map(|s| s.into_iter().map(Dim::Known).collect());
    if let Some(shape) = &mut given {
        // Some exporters write batch and channels too.
        if shape.len() == rank + 2 {
            shape.drain(..2);
        }
        if shape.len() != rank {
            return Err(Error::value(format!("output_shape [{}] does not have {rank} sizes", Dim::join(shape))));
        }
    }
    // What the windows reach over without padding.
    let reach = |a: usize| {
        let last = xf.shape[2 + a].sub(&Dim::Known(1)).mul(&Dim::Known(strides[a]));
        last.add(&Dim::Known(extra[a])).add(&extent(&wf.shape[2 + a], dilations[a]))
    };
    if given.is_none() && same {
        given = Some((0..rank).map(|a| xf.shape[2 + a].mul(&Dim::Known(strides[a]))).collect());
    }
    let (input, pads) = match given {
        Some(shape) => {
            let total = shape.iter().enumerate().map(|(a, size)| reach(a).sub(size).maximum(&Dim::Known(0)));
            let pads = window::split(total, mode == "SAME_UPPER");
            (shape, pads)
        }
        None => {
            let count = 2 * rank;
            let pads = if mode == "VALID" { vec![0; count] } else { list("pads", 0, count)? };
            let size = |a: usize| reach(a).sub(&Dim::Known(pads[a])).sub(&Dim::Known(pads[rank + a]));
            ((0..rank).map(size).collect(), window::known(&pads))
        }
    };
    // What a convolution does not reach, beyond its last window, is padded.
    let mut own: Vec<Dim> = input;
    let mut behind = vec![Dim::Known(0); rank + 2];
    for a in 0..rank {
        let sum = pads[a].add(&pads[rank + a]);
        let last = xf.shape[2 + a].sub(&Dim::Known(1)).mul(&Dim::Known(strides[a]));
        let rest = own[a].add(&sum).sub(&last).sub(&extent(&wf.shape[2 + a], dilations[a]));
        if let Some(rest) = rest.known().filter(|&n| n >= strides[a]) {
            behind[2 + a] = Dim::Known(rest.saturating_sub(strides[a].saturating_sub(1)));
            own[a] = own[a].sub(&behind[2 + a]);
        }
    }
    let of = Conv { strides, pads, dilations, group: node.int("group", 1)?, channels_last: false };
    let mut y = conv_input_grad(b, &of, &x, &w, own)?;
    if behind.iter().any(|d| *d != Dim::Known(0)) {
        y = pad(b, &y, None, vec![Dim::Known(0); rank + 2], behind, "constant")?;
    }
    if let Some(bias) = optional(inputs, 2) {
        let mut shape = vec![Dim::Known(1); rank + 2];
        shape[1] = b.tensor_fact(&y)?.shape[1].clone();
        let bias = to_shape(b, &bias, shape)?;
        y = add(b, &y, &bias)?;
    }
    Ok(smallvec![y])
}

impl Op for ConvInputGrad {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Contraction
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let (g, w) = (inputs[0].as_tensor()?, inputs[1].as_tensor()?);
        window::check_pair(g, w, Self::DTYPES)?;
        window::check_group(self.group, &w.shape[0])?;
        window::check_equal("the number of channels of the gradient", &g.shape[1], &w.shape[0])?;
        let window = self.forward().window(&w.shape[2..])?;
        if self.input.len() != window.rank() || self.input.iter().any(|d| d.known().is_some_and(|n| n < 0)) {
            return Err(Error::value(format!("input [{}] is no list of spatial sizes", Dim::join(&self.input)))
                .with_expected(format!("{} sizes", window.rank())));
        }
        window.check_outputs(&self.input, &g.shape[2..])?;
        let channels = w.shape[1].mul(&Dim::Known(self.group));
        let shape = [g.shape[0].clone(), channels].into_iter().chain(self.input.iter().cloned());
        Ok(common::one(TensorFact::new(g.dtype, shape)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (g, w) = (inputs[0].tensor()?, inputs[1].tensor()?);
        let window: Window = self.forward().window(&window::dims(w)[2..])?;
        let mut shape = vec![g.shape()[0], w.shape()[1] * self.group as usize];
        shape.extend(common::sizes(&self.input)?);
        let mut sums = vec![0.0; shape.iter().product()];
        let (gs, ws) = (g.to_f64(), w.to_f64());
        window::convolve(&window, self.group, &shape, w.shape(), g.shape(), |i, k, o| sums[i] += gs[o] * ws[k])?;
        common::out(HostTensor::from_f64(g.dtype(), &shape, &sums)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let mut result = vec![None, None];
        let Some(x) = &grads[0] else { return Ok(result) };
        let of = self.forward();
        if needs[0] {
            result[0] = Some(conv(b, &of, x, s.input(1)?, None)?);
        }
        if needs[1] {
            result[1] = Some(conv_weight_grad(b, &of, x, s.input(0)?, s.input_fact(1)?.shape[2..].to_vec())?);
        }
        Ok(result)
    }

    fn cost(&self, inputs: &[&Fact], outputs: &[Fact]) -> Cost {
        let channels = outputs.first().and_then(|f| f.as_tensor().ok()?.shape.get(1)?.known()).unwrap_or(64).max(1);
        let kernel =
            inputs[1].as_tensor().map_or(1.0, |w| w.shape[2..].iter().map(|d| d.known().unwrap_or(3) as f64).product());
        let bytes = inputs.iter().copied().chain(outputs).map(|f| window::estimate(f) * f.dtype().size() as f64).sum();
        let terms = channels as f64 / self.group.max(1) as f64 * kernel;
        Cost { flops: 2.0 * window::estimate(inputs[0]) * terms, bytes }
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        let (g, w) = (inputs.first()?.as_tensor().ok()?, inputs.get(1)?.as_tensor().ok()?);
        let window = self.forward().window(&w.shape[2..]).ok()?;
        let rest = |a: usize| {
            let used = g.shape[2 + a].sub(&Dim::Known(1)).mul(&Dim::Known(self.strides[a]));
            let own = used.add(&window.extent(a)).sub(&window.padding(a));
            self.input[a].sub(&own).known().filter(|&n| n >= 0)
        };
        let rest: Option<Vec<i64>> = (0..window.rank()).map(rest).collect();
        let opset = if w.dtype == DType::BF16 { 22 } else { 11 };
        let export = OnnxExport::new("ConvTranspose", opset)
            .attr("group", OnnxAttr::Int(self.group))
            .attr("output_padding", OnnxAttr::Ints(rest?));
        window.to_onnx(export)
    }
}

impl OpType for ConvInputGrad {
    const NAME: &'static str = "conv_input_grad";
    const DOC: &'static str = "Gradient of a convolution's input: transposed convolution.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Common;
    const AUTOCAST: Autocast = Autocast::Low;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ConvTranspose", 1, import)]
    }

    fn cases() -> Vec<Case> {
        let gradient = |g: &window::Geometry| [vec![g.1[0], g.2[0]], window::case_outputs(g)].concat();
        let op = |g: &window::Geometry| ConvInputGrad {
            input: g.1[2..].iter().map(|&d| Dim::from(d)).collect(),
            strides: g.3.clone(),
            pads: window::known(&g.4),
            dilations: g.5.clone(),
            group: g.6,
        };
        let mut cases = window::geometry_cases(|g| [gradient(g), g.2.clone()], op);
        let plane = ConvInputGrad {
            input: window::known(&[6, 5]),
            strides: vec![1, 1],
            pads: window::known(&[1; 4]),
            dilations: vec![1, 1],
            group: 1,
        };
        let inputs = |d: DType| vec![CaseInput::new(d, &[2, 4, 6, 5]), CaseInput::new(d, &[4, 3, 3, 3])];
        for &d in DType::FLOATS {
            cases.push(Case::new(format!("plain-{d}"), &plane, inputs(d)).symbol(0, 0, "batch"));
        }
        for (name, view) in [("transposed", View::Transposed), ("strided", View::Strided), ("reversed", View::Reversed)]
        {
            let all = inputs(DType::F32).into_iter().map(|x| x.view(view)).collect();
            cases.push(Case::new(name, &plane, all).with_gradient());
        }
        let op = ConvInputGrad { input: window::known(&[30, 28]), strides: vec![2, 2], ..plane };
        let all = vec![CaseInput::new(DType::F32, &[2, 24, 15, 14]), CaseInput::new(DType::F32, &[24, 16, 3, 3])];
        cases.push(Case::new("large", &op, all).tolerance(1e-4, 1e-5));
        cases
    }
}
