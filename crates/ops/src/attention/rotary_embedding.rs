//! Rotary position embedding (Su et al. 2021, "RoFormer").

use lampyr_base::{DType, Dim, Error, Layout, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxMapping, OnnxNode, optional, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Rule, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::to_shape;
use crate::pattern_rotary;

/// Pairs of elements of the last axis turned by angles: `(a, c)` becomes `(a cos - c sin, a sin + c cos)`.
///
/// Inputs: `x[.., D]`, `cos` and `sin` of equal shape `[.., R / 2]` whose axes before the last broadcast to those of `x`,
/// with `R` even and at most `D`. The first `R` elements are turned, the rest stays. Pairs are the elements `i` and
/// `i + R / 2`, or `2 i` and `2 i + 1` when interleaved.
#[derive(Clone, Debug, Attrs)]
pub struct RotaryEmbedding {
    /// Whether pairs are neighbours.
    #[attr(default = false)]
    pub interleaved: bool,
}

/// `x` with pairs of elements of its last axis turned; see [`RotaryEmbedding`].
pub fn rotary_embedding(b: &mut dyn Builder, x: &Var, cos: &Var, sin: &Var, interleaved: bool) -> Result<Var> {
    b.one(&RotaryEmbedding { interleaved }, &[x.clone(), cos.clone(), sin.clone()])
}

impl RotaryEmbedding {
    fn written_out(&self, b: &mut dyn Builder, inputs: &[Var]) -> Result<Vars> {
        let [x, cos, sin] = inputs else { return Err(Error::internal("rotary_embedding takes three inputs")) };
        let (fact, angles) = (b.tensor_fact(x)?, b.tensor_fact(cos)?);
        let (Some(d), Some(half)) = (fact.shape.last(), angles.shape.last()) else {
            return Err(Error::internal("rotary_embedding of 0-d tensors"));
        };
        let turned = half.add(half);
        let (first, second, interleaved_shape) = if self.interleaved {
            let part = narrow(b, x, -1, Dim::Known(0), turned.clone())?;
            let mut shape = fact.shape.to_vec();
            shape.pop();
            let whole: Vec<Dim> = shape.iter().cloned().chain([turned.clone()]).collect();
            shape.extend([half.clone(), Dim::Known(2)]);
            let pairs = to_shape(b, &part, shape)?;
            let first = narrow(b, &pairs, -1, Dim::Known(0), Dim::Known(1))?;
            let second = narrow(b, &pairs, -1, Dim::Known(1), Dim::Known(2))?;
            (squeeze(b, &first, &[-1])?, squeeze(b, &second, &[-1])?, Some(whole))
        } else {
            let first = narrow(b, x, -1, Dim::Known(0), half.clone())?;
            (first, narrow(b, x, -1, half.clone(), turned.clone())?, None)
        };
        let (ac, cs) = (mul(b, &first, cos)?, mul(b, &second, sin)?);
        let (a_s, cc) = (mul(b, &first, sin)?, mul(b, &second, cos)?);
        let (real, imaginary) = (sub(b, &ac, &cs)?, add(b, &a_s, &cc)?);
        let mut parts = match interleaved_shape {
            Some(shape) => {
                let real = unsqueeze(b, &real, &[-1])?;
                let imaginary = unsqueeze(b, &imaginary, &[-1])?;
                let pairs = concat(b, &[real, imaginary], -1)?;
                vec![to_shape(b, &pairs, shape)?]
            }
            None => vec![real, imaginary],
        };
        if turned != *d {
            parts.push(narrow(b, x, -1, turned, d.clone())?);
        }
        let y = if let [one] = parts.as_slice() { one.clone() } else { concat(b, &parts, -1)? };
        Ok(smallvec![y])
    }
}

impl Op for RotaryEmbedding {
    fn arity(&self) -> Arity {
        Arity::exactly(3)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let f = common::tensors(inputs)?;
        let (x, cos, sin) = (f[0], f[1], f[2]);
        common::check_dtype(x.dtype, Self::DTYPES)?;
        if cos.dtype != x.dtype || sin.dtype != x.dtype {
            return Err(Error::dtype(format!("x, cos and sin are {}, {} and {}", x.dtype, cos.dtype, sin.dtype))
                .with_expected("equal types")
                .with_help("cast some of them"));
        }
        let wrong = || {
            let (x, c, s) = (Dim::join(&x.shape), Dim::join(&cos.shape), Dim::join(&sin.shape));
            Error::shape(format!("x, cos and sin have shapes [{x}], [{c}] and [{s}]"))
                .with_expected("[.., D] and twice [.., R / 2] that broadcasts to it, with R at most D")
        };
        let agree =
            cos.rank() == sin.rank() && cos.shape.iter().zip(&sin.shape).all(|(a, b)| common::same_dim(a, b).is_ok());
        if !agree || cos.rank() == 0 || cos.rank() > x.rank() {
            return Err(wrong());
        }
        let fits = |(a, d): (&Dim, &Dim)| *a == Dim::Known(1) || common::same_dim(a, d).is_ok();
        let outer = cos.shape.iter().rev().skip(1).zip(x.shape.iter().rev().skip(1)).all(fits);
        let (half, d) = (&cos.shape[cos.rank() - 1], &x.shape[x.rank() - 1]);
        let long = half.known().zip(d.known()).is_some_and(|(h, d)| 2 * h > d);
        if !outer || long {
            return Err(wrong());
        }
        Ok(common::one(TensorFact::new(x.dtype, x.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let t = common::host(inputs)?;
        let (x, cos, sin) = (t[0].to_f64(), t[1].to_f64(), t[2].to_f64());
        let (d, half) = (t[0].shape()[t[0].shape().len() - 1], t[1].shape()[t[1].shape().len() - 1]);
        let mut shape = t[0].shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = half;
        }
        let angles: Vec<usize> = Layout::contiguous(t[1].shape()).broadcast_to(&shape)?.indices().collect();
        let mut y = x.clone();
        for row in 0..x.len().checked_div(d).unwrap_or(0) {
            for i in 0..half {
                let (first, second) = if self.interleaved { (2 * i, 2 * i + 1) } else { (i, i + half) };
                let (a, c) = (x[row * d + first], x[row * d + second]);
                let at = angles[row * half + i];
                y[row * d + first] = a * cos[at] - c * sin[at];
                y[row * d + second] = a * sin[at] + c * cos[at];
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
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (x, mut cos, mut sin) = (required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?);
    let fact = b.tensor_fact(&x)?;
    if let Some(positions) = optional(inputs, 3) {
        cos = gather(b, &cos, &positions, 0)?;
        sin = gather(b, &sin, &positions, 0)?;
    }
    let half = node.int("rotary_embedding_dim", 0)? / 2;
    if let (Some(own), true) = (b.tensor_fact(&cos)?.shape.last().and_then(Dim::known), half > 0)
        && own != half
    {
        return Err(Error::shape(format!("cos and sin hold {own} angles"))
            .with_expected(format!("{half}, half of rotary_embedding_dim")));
    }
    let interleaved = node.int("interleaved", 0)? != 0;
    match fact.shape.as_slice() {
        [_, _, _, _] => {
            let (cos, sin) = (unsqueeze(b, &cos, &[1])?, unsqueeze(b, &sin, &[1])?);
            Ok(smallvec![rotary_embedding(b, &x, &cos, &sin, interleaved)?])
        }
        [batch, steps, hidden] => {
            let heads = node.int("num_heads", 0)?;
            if heads <= 0 || hidden.known().is_some_and(|d| d % heads != 0) {
                return Err(Error::value(format!("num_heads is {heads} for {hidden} elements"))
                    .with_expected("a divisor of the last size"));
            }
            let heads = Dim::Known(heads);
            let size = hidden.floor_div(&heads);
            let apart = reshape(b, &x, vec![batch.clone(), steps.clone(), heads, size])?;
            let (cos, sin) = (unsqueeze(b, &cos, &[2])?, unsqueeze(b, &sin, &[2])?);
            let y = rotary_embedding(b, &apart, &cos, &sin, interleaved)?;
            Ok(smallvec![reshape(b, &y, fact.shape.to_vec())?])
        }
        other => Err(Error::shape(format!("got rank {}", other.len())).with_expected("rank 3 or 4")),
    }
}

impl OpType for RotaryEmbedding {
    const NAME: &'static str = "rotary_embedding";
    const DOC: &'static str = "Pairs of elements of the last axis turned by position-dependent angles.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("RotaryEmbedding", 23, import)]
    }

    fn rules() -> Vec<Rule> {
        vec![Rule { name: "rotary_embedding", roots: &["add"], recognises: true, run: pattern_rotary::recognise }]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for interleaved in [false, true] {
            let op = RotaryEmbedding { interleaved };
            let kind = if interleaved { "neighbours" } else { "halves" };
            let inputs = |d: DType, x: &[usize], angles: &[usize]| {
                vec![CaseInput::new(d, x), CaseInput::new(d, angles), CaseInput::new(d, angles)]
            };
            for &d in DType::FLOATS {
                let mut add = |name: &str, inputs: Vec<CaseInput>| {
                    let case = Case::new(format!("{kind}-{name}-{d}"), &op, inputs);
                    cases.push(if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case });
                };
                add("heads", inputs(d, &[2, 3, 4, 6], &[2, 1, 4, 3]));
                add("rows", inputs(d, &[3, 4], &[3, 2]));
                add("part", inputs(d, &[2, 3, 7], &[3, 2]));
                add("steps-first", inputs(d, &[2, 3, 2, 4], &[1, 3, 1, 2]));
                add("one-angle", inputs(d, &[2, 3, 4], &[2]));
                add("empty", inputs(d, &[2, 0, 4], &[2]));
                for (name, view) in crate::cases::VIEWS {
                    add(name, inputs(d, &[3, 8], &[3, 4]).into_iter().map(|x| x.view(view)).collect());
                }
            }
            cases.push(Case::new(format!("{kind}-large"), &op, inputs(DType::F32, &[2, 5, 67, 64], &[67, 32])));
            let symbolic = Case::new(format!("{kind}-symbolic"), &op, inputs(DType::F32, &[2, 3, 4], &[3, 2]));
            cases
                .push(symbolic.symbol(0, 0, "n").symbol(0, 1, "s").symbol(1, 0, "s").symbol(2, 0, "s").with_gradient());
        }
        cases
    }
}
