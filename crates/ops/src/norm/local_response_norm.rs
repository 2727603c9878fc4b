//! Local response normalisation (Krizhevsky, Sutskever and Hinton 2012).

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Promote,
    TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{accumulator, full, scale, to_dtype};

/// `x / (k + alpha / size * sum)^beta` with the sum of squares over `size` neighbouring channels (axis 1), of which one
/// more lies behind than before when `size` is even.
#[derive(Clone, Debug, Attrs)]
pub struct LocalResponseNorm {
    /// Number of channels summed.
    pub size: i64,
    /// Factor of the mean square.
    #[attr(default = 1e-4)]
    pub alpha: f64,
    /// Exponent.
    #[attr(default = 0.75)]
    pub beta: f64,
    /// Added to the mean square.
    #[attr(default = 1.0)]
    pub k: f64,
}

/// Most neighbouring channels.
const LARGEST: i64 = 1024;

/// `x` normalised over neighbouring channels; see [`LocalResponseNorm`].
pub fn local_response_norm(b: &mut dyn Builder, op: &LocalResponseNorm, x: &Var) -> Result<Var> {
    b.one(op, std::slice::from_ref(x))
}

impl LocalResponseNorm {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Vars> {
        let fact = b.tensor_fact(x)?;
        let wide = accumulator(fact.dtype);
        let x = to_dtype(b, x, wide)?;
        let square = mul(b, &x, &x)?;
        let (before, after) = ((self.size - 1) / 2, self.size / 2);
        let zeros = |b: &mut dyn Builder, n: i64| -> Result<Option<Var>> {
            let mut shape = fact.shape.to_vec();
            shape[1] = Dim::Known(n);
            if n > 0 { full(b, wide, &shape, 0.0).map(Some) } else { Ok(None) }
        };
        let (front, back) = (zeros(b, before)?, zeros(b, after)?);
        let parts: Vec<Var> = front.into_iter().chain([square]).chain(back).collect();
        let padded = if let [one] = parts.as_slice() { one.clone() } else { concat(b, &parts, 1)? };
        let mut sum: Option<Var> = None;
        for i in 0..self.size {
            let part = narrow(b, &padded, 1, Dim::Known(i), fact.shape[1].add(&Dim::Known(i)))?;
            sum = Some(match sum {
                Some(sum) => add(b, &sum, &part)?,
                None => part,
            });
        }
        let sum = sum.ok_or_else(|| Error::internal("no channels are summed"))?;
        let mean = scale(b, &sum, self.alpha / self.size as f64)?;
        let k = b.scalar(wide, self.k)?;
        let base = add(b, &mean, &k)?;
        let power = log(b, &base)?;
        let power = scale(b, &power, -self.beta)?;
        let power = exp(b, &power)?;
        let y = mul(b, &x, &power)?;
        Ok(smallvec![to_dtype(b, &y, fact.dtype)?])
    }
}

impl Op for LocalResponseNorm {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        common::check_dtype(x.dtype, Self::DTYPES)?;
        if x.rank() < 2 {
            return Err(Error::shape(format!("got rank {}", x.rank())).with_expected("x[N, C, ...] of rank 2 or more"));
        }
        if !(1..=LARGEST).contains(&self.size) {
            return Err(Error::value(format!("size is {}", self.size)).with_expected(format!("1 to {LARGEST}")));
        }
        Ok(common::one(TensorFact::new(x.dtype, x.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let t = inputs[0].tensor()?;
        let x = t.to_f64();
        let c = t.shape()[1];
        let inner: usize = t.shape()[2..].iter().product();
        let (before, after) = ((self.size as usize - 1) / 2, self.size as usize / 2);
        let value = |i: usize| {
            let channel = i / inner % c;
            let (low, high) = (channel.saturating_sub(before), (channel + after).min(c - 1));
            let sum: f64 = (low..=high).map(|k| x[i + k * inner - channel * inner].powi(2)).sum();
            x[i] / (self.k + self.alpha / self.size as f64 * sum).powf(self.beta)
        };
        common::out(HostTensor::from_f64(t.dtype(), t.shape(), &(0..x.len()).map(value).collect::<Vec<_>>())?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let float = |x: f64| OnnxAttr::Float(x as f32);
        Some(
            OnnxExport::new("LRN", 13)
                .attr("size", OnnxAttr::Int(self.size))
                .attr("alpha", float(self.alpha))
                .attr("beta", float(self.beta))
                .attr("bias", float(self.k)),
        )
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let op = LocalResponseNorm {
        size: node.int("size", 0)?,
        alpha: node.float("alpha", 1e-4)?,
        beta: node.float("beta", 0.75)?,
        k: node.float("bias", 1.0)?,
    };
    Ok(smallvec![local_response_norm(b, &op, &required(inputs, 0)?)?])
}

impl OpType for LocalResponseNorm {
    const NAME: &'static str = "local_response_norm";
    const DOC: &'static str = "Division by a power of the mean square of neighbouring channels.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("LRN", 1, import)]
    }

    fn cases() -> Vec<Case> {
        let op = |size: i64| LocalResponseNorm { size, alpha: 0.5, beta: 0.75, k: 1.0 };
        let mut cases = Vec::new();
        for &d in DType::FLOATS {
            let mut add = |name: &str, size: i64, x: CaseInput| {
                let case = Case::new(format!("{name}-{d}"), &op(size), vec![x]);
                cases.push(if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case });
            };
            add("odd", 3, CaseInput::new(d, &[2, 5, 2, 3]));
            add("even", 4, CaseInput::new(d, &[2, 5, 3]));
            add("one", 1, CaseInput::new(d, &[2, 3]));
            add("many", 9, CaseInput::new(d, &[2, 3, 2]));
            add("empty", 3, CaseInput::new(d, &[0, 3, 2]));
            for (name, view) in crate::cases::VIEWS {
                add(name, 3, CaseInput::new(d, &[3, 4, 3]).view(view));
            }
        }
        cases.push(Case::new("large", &op(5), vec![CaseInput::new(DType::F32, &[2, 20, 13, 17])]));
        let symbolic = Case::new("symbolic", &op(3), vec![CaseInput::new(DType::F32, &[2, 4, 3])]);
        cases.push(symbolic.symbol(0, 0, "n").symbol(0, 2, "w").with_gradient());
        cases
    }
}
