//! Batch normalisation (Ioffe and Szegedy 2015).

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, TensorFact,
    Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{accumulator, count, scale, to_dtype, to_shape};

/// Normalisation per channel (axis 1): `(x - mean) / sqrt(variance + epsilon) * scale + bias`.
///
/// Inputs: `x[N, C, ...]` and `scale`, `bias`, `running_mean`, `running_var`, all `[C]`. In inference the running
/// statistics are used and `y` is the only output. In training the mean and the biased variance over all axes but the
/// channels are used, and the outputs are `y`, the new running mean and variance, and, hidden, the mean and
/// `1 / sqrt(variance + epsilon)` of the batch in `float32` or `float64`.
#[derive(Clone, Debug, Attrs)]
pub struct BatchNorm {
    /// Added to the variance.
    #[attr(default = 1e-5)]
    pub epsilon: f64,
    /// Weight of the batch in the new running statistics, as in PyTorch: `(1 - momentum) * old + momentum * batch`
    /// (ONNX's `momentum` is one minus this).
    #[attr(default = 0.1)]
    pub momentum: f64,
    /// Whether batch statistics are used.
    #[attr(default = false)]
    pub training: bool,
    /// Whether the running variance takes the unbiased variance of the batch (PyTorch) or the biased one (ONNX).
    #[attr(default = true)]
    pub unbiased: bool,
}

/// Normalises `inputs` (`x`, scale, bias, running mean, running variance); `y` and, in training, the new running
/// statistics and two hidden outputs.
pub fn batch_norm(b: &mut dyn Builder, op: &BatchNorm, inputs: &[Var]) -> Result<Vars> {
    b.apply(op, inputs)
}

/// What the gradient and the decomposition work with: sizes and types of a call.
struct Call {
    wide: DType,
    channels: Vec<Dim>,
    others: Vec<Dim>,
    axes: Vec<i64>,
}

impl Call {
    fn new(x: &TensorFact) -> Call {
        let mut channels = vec![Dim::Known(1); x.rank()];
        let mut others = x.shape.to_vec();
        if let (Some(c), Some(d)) = (channels.get_mut(1), x.shape.get(1)) {
            *c = d.clone();
            others.remove(1);
        }
        let axes = (0..x.rank() as i64).filter(|&a| a != 1).collect();
        Call { wide: accumulator(x.dtype), channels, others, axes }
    }

    /// A vector of channels in the shape that broadcasts over `x`, in the type of the computation.
    fn over(&self, b: &mut dyn Builder, v: &Var) -> Result<Var> {
        let v = to_dtype(b, v, self.wide)?;
        to_shape(b, &v, self.channels.clone())
    }

    /// The sum over all axes but the channels, as a vector.
    fn sum(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        reduce_sum(b, x, &self.axes, false)
    }
}

impl BatchNorm {
    fn inverse(&self, b: &mut dyn Builder, call: &Call, variance: &Var) -> Result<Var> {
        let epsilon = b.scalar(call.wide, self.epsilon)?;
        let sum = add(b, variance, &epsilon)?;
        let root = sqrt(b, &sum)?;
        let one = b.scalar(call.wide, 1.0)?;
        div(b, &one, &root)
    }

    /// `n / (n - 1)` for `n` elements per channel, or 1.
    fn correction(&self, b: &mut dyn Builder, call: &Call) -> Result<Var> {
        let one = b.scalar(call.wide, 1.0)?;
        if !self.unbiased {
            return Ok(one);
        }
        let n = count(b, call.wide, &call.others)?;
        let less = sub(b, &n, &one)?;
        div(b, &n, &less)
    }

    fn running(&self, b: &mut dyn Builder, call: &Call, old: &Var, batch: &Var) -> Result<Var> {
        let dtype = b.tensor_fact(old)?.dtype;
        let old = to_dtype(b, old, call.wide)?;
        let old = scale(b, &old, 1.0 - self.momentum)?;
        let batch = scale(b, batch, self.momentum)?;
        let sum = add(b, &old, &batch)?;
        to_dtype(b, &sum, dtype)
    }

    fn written_out(&self, b: &mut dyn Builder, inputs: &[Var]) -> Result<Vars> {
        let [x, weight, bias, running_mean, running_var] = inputs else {
            return Err(Error::value(format!("got {} inputs", inputs.len())).with_expected("5 inputs"));
        };
        let fact = b.tensor_fact(x)?;
        let call = Call::new(&fact);
        let x = to_dtype(b, x, call.wide)?;
        let (mean, variance) = if self.training {
            let mean = reduce_mean(b, &x, &call.axes, false)?;
            let centre = call.over(b, &mean)?;
            let centred = sub(b, &x, &centre)?;
            let square = mul(b, &centred, &centred)?;
            (mean, reduce_mean(b, &square, &call.axes, false)?)
        } else {
            (to_dtype(b, running_mean, call.wide)?, to_dtype(b, running_var, call.wide)?)
        };
        let inverse = self.inverse(b, &call, &variance)?;
        let weight = to_dtype(b, weight, call.wide)?;
        let factor = mul(b, &weight, &inverse)?;
        let (factor, centre, bias) = (call.over(b, &factor)?, call.over(b, &mean)?, call.over(b, bias)?);
        let y = sub(b, &x, &centre)?;
        let y = mul(b, &y, &factor)?;
        let y = add(b, &y, &bias)?;
        let y = to_dtype(b, &y, fact.dtype)?;
        if !self.training {
            return Ok(smallvec![y]);
        }
        let new_mean = self.running(b, &call, running_mean, &mean)?;
        let correction = self.correction(b, &call)?;
        let spread = mul(b, &variance, &correction)?;
        let new_var = self.running(b, &call, running_var, &spread)?;
        Ok(smallvec![y, new_mean, new_var, mean, inverse])
    }

    /// Gradients of inference, where the statistics are plain inputs.
    fn inference_vjp(&self, b: &mut dyn Builder, s: &Saved, g: &Var, needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let x = s.input_fact(0)?;
        let call = Call::new(x);
        let g = to_dtype(b, g, call.wide)?;
        let variance = to_dtype(b, s.input(4)?, call.wide)?;
        let inverse = self.inverse(b, &call, &variance)?;
        let weight = to_dtype(b, s.input(1)?, call.wide)?;
        let factor = mul(b, &weight, &inverse)?;
        let mut result = vec![None, None, None, None, None];
        if needs[0] {
            let over = call.over(b, &factor)?;
            let gx = mul(b, &g, &over)?;
            result[0] = Some(to_dtype(b, &gx, x.dtype)?);
        }
        if needs[2] || needs[3] {
            let sum = call.sum(b, &g)?;
            let product = mul(b, &sum, &factor)?;
            let down = neg(b, &product)?;
            result[2] = Some(to_dtype(b, &sum, s.input_fact(2)?.dtype)?);
            result[3] = Some(to_dtype(b, &down, s.input_fact(3)?.dtype)?);
        }
        if needs[1] || needs[4] {
            let (x, centre) = (to_dtype(b, s.input(0)?, call.wide)?, call.over(b, s.input(3)?)?);
            let centred = sub(b, &x, &centre)?;
            let product = mul(b, &g, &centred)?;
            let sum = call.sum(b, &product)?;
            let by_weight = mul(b, &sum, &inverse)?;
            // d/dv (v + e)^(-1/2) = -1/2 (v + e)^(-3/2)
            let square = mul(b, &inverse, &inverse)?;
            let slope = mul(b, &square, &factor)?;
            let slope = scale(b, &slope, -0.5)?;
            let by_variance = mul(b, &sum, &slope)?;
            result[1] = Some(to_dtype(b, &by_weight, s.input_fact(1)?.dtype)?);
            result[4] = Some(to_dtype(b, &by_variance, s.input_fact(4)?.dtype)?);
        }
        Ok(result)
    }

    /// Gradients of training. Every output is a function of `x` through the mean and the inverse deviation, so the
    /// gradients of the running statistics and of the hidden outputs (second derivatives) join those of `y`.
    fn training_vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let fact = s.input_fact(0)?;
        let call = Call::new(fact);
        let mut result = vec![None, None, None, None, None];
        let (mean, inverse) = (s.output(3)?, s.output(4)?);
        let n = count(b, call.wide, &call.others)?;
        let (x, centre, over) = (to_dtype(b, s.input(0)?, call.wide)?, call.over(b, mean)?, call.over(b, inverse)?);
        let centred = sub(b, &x, &centre)?;
        let normal = mul(b, &centred, &over)?;
        let mut total: Option<Var> = None;
        if let Some(g) = &grads[0] {
            let g = to_dtype(b, g, call.wide)?;
            let product = mul(b, &g, &normal)?;
            let (g_weight, g_bias) = (call.sum(b, &product)?, call.sum(b, &g)?);
            let (w, c) = (call.over(b, &g_weight)?, call.over(b, &g_bias)?);
            let along = mul(b, &normal, &w)?;
            let common_part = add(b, &along, &c)?;
            let common_part = div(b, &common_part, &n)?;
            let rest = sub(b, &g, &common_part)?;
            let weight = to_dtype(b, s.input(1)?, call.wide)?;
            let factor = mul(b, &weight, inverse)?;
            let factor = call.over(b, &factor)?;
            total = Some(mul(b, &rest, &factor)?);
            result[1] = Some(to_dtype(b, &g_weight, s.input_fact(1)?.dtype)?);
            result[2] = Some(to_dtype(b, &g_bias, s.input_fact(2)?.dtype)?);
        }
        let mut g_mean = grads[3].clone();
        let mut g_normal: Option<Var> = None;
        if let Some(g) = &grads[1] {
            let wide = to_dtype(b, g, call.wide)?;
            let part = scale(b, &wide, self.momentum)?;
            g_mean = Some(plus(b, g_mean, part)?);
            result[3] = Some(scale(b, g, 1.0 - self.momentum)?);
        }
        if let Some(g) = &grads[2] {
            // d variance / dx = 2 (x - mean) / n = 2 normal / (n inverse)
            let wide = to_dtype(b, g, call.wide)?;
            let correction = self.correction(b, &call)?;
            let part = mul(b, &wide, &correction)?;
            let part = scale(b, &part, 2.0 * self.momentum)?;
            g_normal = Some(div(b, &part, inverse)?);
            result[4] = Some(scale(b, g, 1.0 - self.momentum)?);
        }
        if let Some(g) = &grads[4] {
            // d inverse / dx = -inverse^2 normal / n
            let square = mul(b, inverse, inverse)?;
            let part = mul(b, g, &square)?;
            let part = neg(b, &part)?;
            g_normal = Some(plus(b, g_normal, part)?);
        }
        if let Some(g) = g_normal {
            let g = call.over(b, &g)?;
            let part = mul(b, &normal, &g)?;
            let part = div(b, &part, &n)?;
            total = Some(plus(b, total, part)?);
        }
        if let Some(g) = g_mean {
            let g = call.over(b, &g)?;
            let share = div(b, &g, &n)?;
            let part = expand(b, &share, fact.shape.to_vec())?;
            total = Some(plus(b, total, part)?);
        }
        if let Some(total) = total {
            result[0] = Some(to_dtype(b, &total, fact.dtype)?);
        }
        Ok(result)
    }
}

fn plus(b: &mut dyn Builder, sum: Option<Var>, part: Var) -> Result<Var> {
    match sum {
        Some(sum) => add(b, &sum, &part),
        None => Ok(part),
    }
}

impl Op for BatchNorm {
    fn arity(&self) -> Arity {
        Arity::exactly(5)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let f = common::tensors(inputs)?;
        let x = f[0];
        common::check_dtype(x.dtype, Self::DTYPES)?;
        if x.rank() < 2 {
            return Err(Error::shape(format!("got rank {}", x.rank())).with_expected("x[N, C, ...] of rank 2 or more"));
        }
        let channels = &x.shape[1];
        for (v, name) in f[1..].iter().zip(["scale", "bias", "running mean", "running variance"]) {
            common::check_dtype(v.dtype, DType::FLOATS)?;
            let fits = match v.shape.as_slice() {
                [d] => common::same_dim(d, channels).is_ok(),
                _ => false,
            };
            if !fits {
                return Err(Error::shape(format!("{name} has shape [{}]", Dim::join(&v.shape)))
                    .with_expected(format!("[{channels}], the channels of x")));
            }
        }
        let y = Fact::Tensor(TensorFact::new(x.dtype, x.shape.iter().cloned()));
        if !self.training {
            return Ok(smallvec![y]);
        }
        let vector = |dtype| Fact::tensor(dtype, [channels.clone()]);
        let wide = accumulator(x.dtype);
        Ok(smallvec![y, vector(f[3].dtype), vector(f[4].dtype), vector(wide), vector(wide)])
    }

    fn visible_outputs(&self) -> Option<usize> {
        self.training.then_some(3)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let t = common::host(inputs)?;
        let x = t[0].to_f64();
        let (weight, bias) = (t[1].to_f64(), t[2].to_f64());
        let (mut mean, mut variance) = (t[3].to_f64(), t[4].to_f64());
        let channels = mean.len();
        let inner: usize = t[0].shape()[2..].iter().product();
        let channel = |i: usize| (i / inner.max(1)) % channels.max(1);
        let n = x.len().checked_div(channels).unwrap_or(0) as f64;
        let mut running = Vec::new();
        if self.training {
            let (old_mean, old_variance) = (mean.clone(), variance.clone());
            mean.fill(0.0);
            variance.fill(0.0);
            x.iter().enumerate().for_each(|(i, v)| mean[channel(i)] += v);
            mean.iter_mut().for_each(|m| *m /= n);
            x.iter().enumerate().for_each(|(i, v)| variance[channel(i)] += (v - mean[channel(i)]).powi(2));
            variance.iter_mut().for_each(|v| *v /= n);
            let correction = if self.unbiased { n / (n - 1.0) } else { 1.0 };
            let blend = |old: &f64, new: f64| (1.0 - self.momentum) * old + self.momentum * new;
            running.push(old_mean.iter().zip(&mean).map(|(o, m)| blend(o, *m)).collect::<Vec<f64>>());
            running.push(old_variance.iter().zip(&variance).map(|(o, v)| blend(o, v * correction)).collect());
        }
        let inverse: Vec<f64> = variance.iter().map(|v| 1.0 / (v + self.epsilon).sqrt()).collect();
        let normalise = |(i, v): (usize, &f64)| {
            let c = channel(i);
            (v - mean[c]) * inverse[c] * weight[c] + bias[c]
        };
        let y: Vec<f64> = x.iter().enumerate().map(normalise).collect();
        let mut outputs = vec![HostTensor::from_f64(t[0].dtype(), t[0].shape(), &y)?.into()];
        for (values, like) in running.iter().zip([t[3], t[4]]) {
            outputs.push(HostTensor::from_f64(like.dtype(), &[channels], values)?.into());
        }
        if self.training {
            for values in [&mean, &inverse] {
                outputs.push(HostTensor::from_f64(accumulator(t[0].dtype()), &[channels], values)?.into());
            }
        }
        Ok(outputs)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        if self.training { Saves { inputs: 0b11, outputs: 0b11000 } } else { Saves { inputs: 0b11011, outputs: 0 } }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let mut found = match (self.training, &grads[0]) {
            (true, _) => self.training_vjp(b, s, grads)?,
            (false, Some(g)) => self.inference_vjp(b, s, g, needs)?,
            (false, None) => vec![None, None, None, None, None],
        };
        found.iter_mut().zip(needs).filter(|(_, need)| !**need).for_each(|(g, _)| *g = None);
        Ok(found)
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        if self.training && self.unbiased {
            return None;
        }
        let mut node = OnnxExport::new("BatchNormalization", 15)
            .attr("epsilon", OnnxAttr::Float(self.epsilon as f32))
            .attr("momentum", OnnxAttr::Float((1.0 - self.momentum) as f32))
            .attr("training_mode", OnnxAttr::Int(i64::from(self.training)));
        node.outputs = if self.training { 3 } else { 1 };
        Some(node)
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let training = node.opset() >= 14 && node.int("training_mode", 0)? != 0;
    if node.opset() < 7 && node.int("is_test", 0)? == 0 {
        return Err(Error::unsupported("BatchNormalization in training mode before opset 14"));
    }
    if node.opset() < 14 && (1..5).any(|i| node.has_output(i)) {
        return Err(Error::unsupported("BatchNormalization in training mode before opset 14"));
    }
    if node.opset() < 9 && node.int("spatial", 1)? == 0 {
        return Err(Error::unsupported("BatchNormalization with spatial = 0"));
    }
    let op = BatchNorm {
        epsilon: node.float("epsilon", 1e-5)?,
        momentum: 1.0 - node.float("momentum", 0.9)?,
        training,
        unbiased: false,
    };
    let inputs = (0..5).map(|i| required(inputs, i)).collect::<Result<Vec<_>>>()?;
    let mut outputs = batch_norm(b, &op, &inputs)?;
    outputs.truncate(3);
    Ok(outputs)
}

impl OpType for BatchNorm {
    const NAME: &'static str = "batch_norm";
    const DOC: &'static str = "Normalisation per channel by running or batch statistics.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("BatchNormalization", 1, import)]
    }

    fn cases() -> Vec<Case> {
        crate::cases::batch_norm(|training, unbiased| BatchNorm { epsilon: 1e-3, momentum: 0.1, training, unbiased })
    }
}
