//! Group normalisation (Wu and He 2018), and with a group per channel instance normalisation (Ulyanov et al. 2016).

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Promote,
    TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::to_shape;

/// Every group of channels (axis 1) of every sample brought to mean 0 and variance 1, then
/// `y * scale + bias` per channel.
///
/// Inputs: `x[N, C, ...]` and optionally `scale` and then `bias`, both `[C]` and of the type of `x`.
#[derive(Clone, Debug, Attrs)]
pub struct GroupNorm {
    /// Number of groups, a divisor of the number of channels; 0 means one per channel.
    pub num_groups: i64,
    /// Added to the variance.
    #[attr(default = 1e-5)]
    pub epsilon: f64,
}

/// Normalises `inputs` (`x`, then scale and bias where wanted); see [`GroupNorm`].
pub fn group_norm(b: &mut dyn Builder, op: &GroupNorm, inputs: &[Var]) -> Result<Var> {
    b.one(op, inputs)
}

impl GroupNorm {
    fn written_out(&self, b: &mut dyn Builder, inputs: &[Var]) -> Result<Vars> {
        let Some(x) = inputs.first() else { return Err(Error::internal("no input")) };
        let fact = b.tensor_fact(x)?;
        let [n, c, rest @ ..] = fact.shape.as_slice() else { return Err(Error::internal("rank 2 is needed")) };
        let groups = if self.num_groups == 0 { c.clone() } else { Dim::Known(self.num_groups) };
        let inner = c.floor_div(&groups).mul(&Dim::product(rest));
        let rows = to_shape(b, x, vec![n.clone(), groups, inner])?;
        let y = layer_norm(b, &rows, None, None, -1, self.epsilon)?;
        let mut y = to_shape(b, &y, fact.shape.to_vec())?;
        let over: Vec<Dim> = std::iter::once(c.clone()).chain(rest.iter().map(|_| Dim::Known(1))).collect();
        if let Some(v) = inputs.get(1) {
            let v = to_shape(b, v, over.clone())?;
            y = mul(b, &y, &v)?;
        }
        if let Some(v) = inputs.get(2) {
            let v = to_shape(b, v, over)?;
            y = add(b, &y, &v)?;
        }
        Ok(smallvec![y])
    }
}

impl Op for GroupNorm {
    fn arity(&self) -> Arity {
        Arity::between(1, 3)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let f = common::tensors(inputs)?;
        let x = f[0];
        common::check_dtype(x.dtype, Self::DTYPES)?;
        let [_, channels, ..] = x.shape.as_slice() else {
            return Err(Error::shape(format!("got rank {}", x.rank())).with_expected("x[N, C, ...] of rank 2 or more"));
        };
        let divides = |c: i64| self.num_groups == 0 || self.num_groups > 0 && c % self.num_groups == 0;
        if !channels.known().is_none_or(divides) || self.num_groups < 0 {
            return Err(Error::value(format!("{} groups for {channels} channels", self.num_groups))
                .with_expected("a divisor of the number of channels"));
        }
        for (v, name) in f[1..].iter().zip(["scale", "bias"]) {
            let fits = matches!(v.shape.as_slice(), [d] if common::same_dim(d, channels).is_ok());
            if !fits {
                return Err(Error::shape(format!("{name} has shape [{}]", Dim::join(&v.shape)))
                    .with_expected(format!("[{channels}], the channels of x")));
            }
            if v.dtype != x.dtype {
                return Err(
                    Error::dtype(format!("{name} is {}, x is {}", v.dtype, x.dtype)).with_expected("equal types")
                );
            }
        }
        Ok(common::one(TensorFact::new(x.dtype, x.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let t = common::host(inputs)?;
        let x = t[0].to_f64();
        let (n, c) = (t[0].shape()[0], t[0].shape()[1]);
        let inner: usize = t[0].shape()[2..].iter().product();
        let groups = if self.num_groups == 0 { c } else { self.num_groups as usize };
        let (scale, bias) = (t.get(1).map(|v| v.to_f64()), t.get(2).map(|v| v.to_f64()));
        let mut y = x.clone();
        let size = (c * inner).checked_div(groups).unwrap_or(0);
        for row in 0..n * groups {
            let part = &x[row * size..(row + 1) * size];
            let mean = part.iter().sum::<f64>() / size as f64;
            let variance = part.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / size as f64;
            for (k, v) in part.iter().enumerate() {
                let i = row * size + k;
                let channel = i / inner % c;
                let z = (v - mean) / (variance + self.epsilon).sqrt();
                y[i] = z * scale.as_ref().map_or(1.0, |s| s[channel]) + bias.as_ref().map_or(0.0, |s| s[channel]);
            }
        }
        common::out(HostTensor::from_f64(t[0].dtype(), t[0].shape(), &y)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs))
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        // The operators have no form without scale and bias.
        if inputs.len() < 3 {
            return None;
        }
        let epsilon = OnnxAttr::Float(self.epsilon as f32);
        Some(match self.num_groups {
            0 => OnnxExport::new("InstanceNormalization", 6).attr("epsilon", epsilon),
            n => {
                OnnxExport::new("GroupNormalization", 21).attr("epsilon", epsilon).attr("num_groups", OnnxAttr::Int(n))
            }
        })
    }
}

/// `scale` and `bias` of opset 18, which has one number per group, as one per channel.
fn per_channel(b: &mut dyn Builder, v: &Var, groups: i64, channels: &Dim) -> Result<Var> {
    let (groups, one) = (Dim::Known(groups), Dim::Known(1));
    let v = to_shape(b, v, vec![groups.clone(), one])?;
    let v = expand(b, &v, vec![groups.clone(), channels.floor_div(&groups)])?;
    to_shape(b, &v, vec![channels.clone()])
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let mut all = (0..3).map(|i| required(inputs, i)).collect::<Result<Vec<_>>>()?;
    let mut op = GroupNorm { num_groups: 0, epsilon: node.float("epsilon", 1e-5)? };
    if node.op_type() == "GroupNormalization" {
        op.num_groups = node.int("num_groups", 0)?;
        if op.num_groups <= 0 {
            return Err(Error::value(format!("num_groups is {}", op.num_groups)).with_expected("at least 1"));
        }
        let channels = b.tensor_fact(&all[0])?.shape.get(1).cloned();
        if let (Some(c), true) = (channels, node.opset() < 21) {
            for v in &mut all[1..] {
                *v = per_channel(b, v, op.num_groups, &c)?;
            }
        }
    }
    Ok(smallvec![group_norm(b, &op, &all)?])
}

impl OpType for GroupNorm {
    const NAME: &'static str = "group_norm";
    const DOC: &'static str = "Normalisation of groups of channels of every sample.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("GroupNormalization", 18, import), OnnxMapping::new("InstanceNormalization", 1, import)]
    }

    fn cases() -> Vec<Case> {
        let inputs = |d: DType, shape: &[usize], vectors: usize| {
            let vector = |k: usize| CaseInput::new(d, &shape[1..2]).fill(Fill::Uniform(-1.5, 1.5, k as u64));
            let x = CaseInput::new(d, shape).fill(Fill::Distinct(-2.0, 2.0, 5));
            std::iter::once(x).chain((0..vectors).map(vector)).collect::<Vec<_>>()
        };
        let mut cases = Vec::new();
        for &d in DType::FLOATS {
            let mut add = |name: &str, num_groups: i64, inputs: Vec<CaseInput>| {
                let case = Case::new(format!("{name}-{d}"), &GroupNorm { num_groups, epsilon: 1e-3 }, inputs);
                cases.push(if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case });
            };
            add("images", 2, inputs(d, &[2, 4, 2, 3], 2));
            add("rows", 2, inputs(d, &[2, 6], 2));
            add("one-group", 1, inputs(d, &[2, 3, 4], 0));
            add("instances", 0, inputs(d, &[2, 3, 4], 1));
            add("empty", 0, inputs(d, &[0, 3, 4], 2));
            for (name, view) in crate::cases::VIEWS {
                let mut inputs = inputs(d, &[3, 4, 3], 2);
                inputs[0].view = view;
                add(name, 2, inputs);
            }
        }
        let op = GroupNorm { num_groups: 4, epsilon: 1e-5 };
        cases.push(Case::new("large", &op, inputs(DType::F32, &[3, 16, 19, 21], 2)).tolerance(2e-5, 1e-5));
        let symbolic = Case::new("symbolic", &op, inputs(DType::F32, &[3, 4, 5], 2));
        cases.push(symbolic.symbol(0, 0, "n").symbol(0, 2, "w").with_gradient());
        cases
    }
}
