//! Negative log likelihood loss.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, optional, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var,
    Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{accumulator, full, to_dtype, to_shape};

/// `-weight[t] * x[n, t, ...]` for every target `t[n, ...]`, then a reduction.
///
/// Inputs: log probabilities `x[N, C, ...]`, targets `[N, ...]` of `int32` or `int64` and optionally a weight per class
/// `[C]` of the type of `x`. Targets equal to `ignore_index` count as nothing. `mean` divides by the sum of the weights
/// of the targets.
#[derive(Clone, Debug, Attrs)]
pub struct NllLoss {
    /// `none`, `sum` or `mean`.
    #[attr(default = String::from("mean"))]
    pub reduction: String,
    /// The target that is ignored, if any.
    #[attr(default = None)]
    pub ignore_index: Option<i64>,
}

/// Negative log likelihood of `target` under the log probabilities `x`; see [`NllLoss`].
pub fn nll_loss(b: &mut dyn Builder, op: &NllLoss, x: &Var, target: &Var, weight: Option<&Var>) -> Result<Var> {
    let inputs: Vec<Var> = [x, target].into_iter().chain(weight).cloned().collect();
    b.one(op, &inputs)
}

impl NllLoss {
    fn written_out(&self, b: &mut dyn Builder, inputs: &[Var]) -> Result<Vars> {
        let [x, target, weight @ ..] = inputs else { return Err(Error::internal("nll_loss takes two inputs or more")) };
        let fact = b.tensor_fact(x)?;
        let wide = accumulator(fact.dtype);
        let target = cast(b, target, DType::I64)?;
        let x = to_dtype(b, x, wide)?;
        let mut class = target.clone();
        let mut ignored = None;
        if let Some(index) = self.ignore_index {
            let index = b.constant(HostTensor::scalar(index))?;
            let hit = equal(b, &target, &index)?;
            let zero = b.constant(HostTensor::scalar(0i64))?;
            class = where_(b, &hit, &zero, &target)?;
            ignored = Some(hit);
        }
        let at = unsqueeze(b, &class, &[1])?;
        let picked = gather_elements(b, &x, &at, 1)?;
        let picked = squeeze(b, &picked, &[1])?;
        let targets = b.tensor_fact(&target)?;
        let mut weights = match weight.first() {
            Some(w) => {
                let flat = to_shape(b, &class, vec![targets.elements()])?;
                let w = to_dtype(b, w, wide)?;
                let w = gather(b, &w, &flat, 0)?;
                to_shape(b, &w, targets.shape.to_vec())?
            }
            None => full(b, wide, &targets.shape, 1.0)?,
        };
        let mut loss = neg(b, &picked)?;
        if !weight.is_empty() {
            loss = mul(b, &loss, &weights)?;
        }
        if let Some(hit) = ignored {
            let zero = b.scalar(wide, 0.0)?;
            loss = where_(b, &hit, &zero, &loss)?;
            weights = where_(b, &hit, &zero, &weights)?;
        }
        if self.reduction != "none" {
            loss = reduce_sum(b, &loss, &[], false)?;
        }
        if self.reduction == "mean" {
            let total = reduce_sum(b, &weights, &[], false)?;
            loss = div(b, &loss, &total)?;
        }
        Ok(smallvec![to_dtype(b, &loss, fact.dtype)?])
    }
}

impl Op for NllLoss {
    fn arity(&self) -> Arity {
        Arity::between(2, 3)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let f = common::tensors(inputs)?;
        let (x, target) = (f[0], f[1]);
        common::check_dtype(x.dtype, Self::DTYPES)?;
        common::check_dtype(target.dtype, &[DType::I32, DType::I64])?;
        let wrong = || {
            let (x, t) = (Dim::join(&x.shape), Dim::join(&target.shape));
            Error::shape(format!("x and targets have shapes [{x}] and [{t}]")).with_expected("[N, C, ...] and [N, ...]")
        };
        let [n, classes, rest @ ..] = x.shape.as_slice() else { return Err(wrong()) };
        let outer: Vec<&Dim> = std::iter::once(n).chain(rest).collect();
        if outer.len() != target.rank() || !outer.iter().zip(&target.shape).all(|(a, b)| common::same_dim(a, b).is_ok())
        {
            return Err(wrong());
        }
        if let Some(w) = f.get(2) {
            if w.dtype != x.dtype {
                return Err(
                    Error::dtype(format!("weights are {}, x is {}", w.dtype, x.dtype)).with_expected("equal types")
                );
            }
            if !matches!(w.shape.as_slice(), [d] if common::same_dim(d, classes).is_ok()) {
                return Err(Error::shape(format!("weights have shape [{}]", Dim::join(&w.shape)))
                    .with_expected(format!("[{classes}], one per class")));
            }
        }
        match self.reduction.as_str() {
            "none" => Ok(common::one(TensorFact::new(x.dtype, outer.into_iter().cloned()))),
            "sum" | "mean" => Ok(common::one(TensorFact::new(x.dtype, []))),
            other => Err(Error::value(format!("reduction is `{other}`")).with_expected("none, sum or mean")),
        }
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let t = common::host(inputs)?;
        let (x, targets) = (t[0].to_f64(), t[1].to_i64());
        let classes = t[0].shape()[1];
        let inner: usize = t[0].shape()[2..].iter().product();
        let weight = t.get(2).map(|w| w.to_f64());
        let (mut losses, mut total) = (Vec::new(), 0.0);
        for (i, &target) in targets.iter().enumerate() {
            if self.ignore_index == Some(target) {
                losses.push(0.0);
                continue;
            }
            let class = common::element(target, classes)?;
            let w = weight.as_ref().map_or(1.0, |w| w[class]);
            losses.push(-w * x[(i / inner * classes + class) * inner + i % inner]);
            total += w;
        }
        let dtype = t[0].dtype();
        let sum: f64 = losses.iter().sum();
        common::out(match self.reduction.as_str() {
            "none" => HostTensor::from_f64(dtype, t[1].shape(), &losses)?,
            "sum" => HostTensor::from_f64(dtype, &[], &[sum])?,
            _ => HostTensor::from_f64(dtype, &[], &[sum / total])?,
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let node =
            OnnxExport::new("NegativeLogLikelihoodLoss", 13).attr("reduction", OnnxAttr::Str(self.reduction.clone()));
        Some(match self.ignore_index {
            Some(i) => node.attr("ignore_index", OnnxAttr::Int(i)),
            None => node,
        })
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let ignored = node.attr("ignore_index").is_some().then(|| node.int("ignore_index", 0)).transpose()?;
    let op = NllLoss { reduction: node.text("reduction", "mean")?, ignore_index: ignored };
    let (x, target, weight) = (required(inputs, 0)?, required(inputs, 1)?, optional(inputs, 2));
    if node.op_type() == "NegativeLogLikelihoodLoss" {
        return Ok(smallvec![nll_loss(b, &op, &x, &target, weight.as_ref())?]);
    }
    let chances = log_softmax(b, &x, 1)?;
    let loss = nll_loss(b, &op, &chances, &target, weight.as_ref())?;
    Ok(if node.output_count() > 1 { smallvec![loss, chances] } else { smallvec![loss] })
}

impl OpType for NllLoss {
    const NAME: &'static str = "nll_loss";
    const DOC: &'static str = "Negative log likelihood of targets under log probabilities.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::new("NegativeLogLikelihoodLoss", 12, import),
            OnnxMapping::new("SoftmaxCrossEntropyLoss", 12, import),
        ]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for reduction in ["none", "sum", "mean"] {
            for (kind, ignore_index) in [("all", None), ("some", Some(-7))] {
                let op = NllLoss { reduction: reduction.to_string(), ignore_index };
                let inputs = |d: DType, shape: &[usize], weight: bool| {
                    let outer: Vec<usize> = shape[..1].iter().chain(&shape[2..]).copied().collect();
                    let classes = [0.0, 2.0, 1.0, if ignore_index.is_some() { -7.0 } else { 1.0 }];
                    let target = CaseInput::new(DType::I64, &outer).values(&classes);
                    let weight = weight.then(|| CaseInput::new(d, &shape[1..2]).fill(Fill::Uniform(0.5, 1.5, 8)));
                    [CaseInput::new(d, shape), target].into_iter().chain(weight).collect::<Vec<_>>()
                };
                for &d in DType::FLOATS {
                    let mut add = |name: &str, inputs: Vec<CaseInput>| {
                        let case = Case::new(format!("{reduction}-{kind}-{name}-{d}"), &op, inputs);
                        cases.push(if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case });
                    };
                    add("rows", inputs(d, &[5, 3], false));
                    add("weighted", inputs(d, &[5, 3], true));
                    add("images", inputs(d, &[2, 3, 2, 2], true));
                }
                let symbolic =
                    Case::new(format!("{reduction}-{kind}-symbolic"), &op, inputs(DType::F32, &[5, 3], true));
                cases.push(symbolic.symbol(0, 0, "n").symbol(1, 0, "n").with_gradient());
                let mut narrow = inputs(DType::F32, &[5, 3], false);
                narrow[1].dtype = DType::I32;
                cases.push(Case::new(format!("{reduction}-{kind}-int32"), &op, narrow).with_gradient());
            }
        }
        cases
    }
}
