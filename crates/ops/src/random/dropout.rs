//! Dropout (Srivastava et al. 2014), inverted.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxMapping, OnnxNode, optional, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, TensorFact,
    Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{full, scale};
use crate::philox::Key;

/// In training, sets elements to 0 with probability `ratio` and multiplies the others by `1 / (1 - ratio)`; otherwise
/// passes its input through. Inputs: `x` and a random key (`uint64[2]`, see [`crate::philox`]). Outputs: `y` and the
/// `bool` mask of kept elements. Element `i` in row-major order is decided by word `i` of the key's stream.
#[derive(Clone, Debug, Attrs)]
pub struct Dropout {
    /// Probability of dropping an element, from 0 to 1.
    #[attr(default = 0.5)]
    pub ratio: f64,
    /// Whether anything is dropped.
    #[attr(default = true)]
    pub training: bool,
}

/// `x` with elements dropped, and the mask of those kept.
pub fn dropout(b: &mut dyn Builder, x: &Var, key: &Var, ratio: f64, training: bool) -> Result<Vars> {
    b.apply(&Dropout { ratio, training }, &[x.clone(), key.clone()])
}

impl Dropout {
    fn factor(&self) -> f64 {
        if !self.training || self.ratio >= 1.0 { 1.0 } else { 1.0 / (1.0 - self.ratio) }
    }
}

impl Op for Dropout {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        common::check_dtype(x.dtype, Self::DTYPES)?;
        Key::check(inputs[1])?;
        if !(0.0..=1.0).contains(&self.ratio) {
            return Err(Error::value(format!("the dropout ratio is {}", self.ratio)).with_expected("0 to 1"));
        }
        let like = |dtype| Fact::Tensor(TensorFact::new(dtype, x.shape.iter().cloned()));
        Ok(smallvec![like(x.dtype), like(DType::Bool)])
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let key = Key::of(inputs[1].tensor()?)?;
        let mask: Vec<bool> = (0..x.len() as u64).map(|i| !self.training || key.keeps(i, self.ratio)).collect();
        let factor = self.factor();
        let kept = x.to_f64().into_iter().zip(&mask).map(|(x, &keep)| if keep { x * factor } else { 0.0 });
        let y = HostTensor::from_f64(x.dtype(), x.shape(), &kept.collect::<Vec<_>>())?;
        Ok(vec![y.into(), HostTensor::from_slice(x.shape(), &mask)?.into()])
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0, outputs: 0b10 }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None, None]) };
        if !self.training {
            return Ok(vec![Some(g.clone()), None]);
        }
        let zero = b.scalar(s.input_fact(0)?.dtype, 0.0)?;
        let scaled = scale(b, g, self.factor())?;
        Ok(vec![Some(where_(b, s.output(1)?, &scaled, &zero)?), None])
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let x = required(inputs, 0)?;
    let number = |b: &mut dyn Builder, i: usize, default: f64| -> Result<f64> {
        let Some(var) = optional(inputs, i) else { return Ok(default) };
        let value = b.read(&var)?.ok_or_else(|| Error::unsupported("Dropout whose ratio or mode is computed"))?;
        Ok(value.to_f64().first().copied().unwrap_or(default))
    };
    let modern = node.opset() >= 12;
    let ratio = if modern { number(b, 1, 0.5)? } else { node.float("ratio", 0.5)? };
    let training = modern && number(b, 2, 0.0)? != 0.0;
    if training && ratio > 0.0 {
        let key = HostTensor::from_slice(&[2], &[node.int("seed", 0)? as u64, 0])?;
        let key = b.constant(key)?;
        return dropout(b, &x, &key, ratio, true);
    }
    let mut outputs: Vars = smallvec![x.clone()];
    if node.has_output(1) {
        let fact = b.tensor_fact(&x)?;
        let dtype = if node.opset() >= 10 { DType::Bool } else { fact.dtype };
        outputs.push(full(b, dtype, &fact.shape, 1.0)?);
    }
    Ok(outputs)
}

impl OpType for Dropout {
    const NAME: &'static str = "dropout";
    const DOC: &'static str = "Random elements set to zero, the others scaled up.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Dropout", 7, import)]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        let key = || CaseInput::new(DType::U64, &[2]).values(&[1234567.0, 4294967290.0]);
        for &d in Self::DTYPES {
            let mut add = |name: &str, ratio: f64, training: bool, x: CaseInput| {
                let case = Case::new(format!("{name}-{d}"), &Dropout { ratio, training }, vec![x, key()]);
                cases.push(if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case });
            };
            add("half", 0.5, true, CaseInput::new(d, &[3, 7]));
            add("some", 0.1, true, CaseInput::new(d, &[2, 3, 5]));
            add("none", 0.0, true, CaseInput::new(d, &[5]));
            add("all", 1.0, true, CaseInput::new(d, &[5]));
            add("inference", 0.5, false, CaseInput::new(d, &[2, 3]));
            add("scalar", 0.5, true, CaseInput::new(d, &[]));
            add("empty", 0.5, true, CaseInput::new(d, &[0, 3]));
            for (name, view) in crate::cases::VIEWS {
                add(name, 0.5, true, CaseInput::new(d, &[3, 5]).view(view));
            }
        }
        let op = Dropout { ratio: 0.3, training: true };
        cases.push(Case::new("large", &op, vec![CaseInput::new(DType::F32, &[61, 997]), key()]));
        let symbolic = Case::new("symbolic", &op, vec![CaseInput::new(DType::F32, &[3, 4]), key()]);
        cases.push(symbolic.symbol(0, 0, "n").with_gradient());
        cases
    }
}
