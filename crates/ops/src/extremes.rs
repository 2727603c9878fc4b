//! What maxima and minima over axes share.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::onnx::{OnnxNode, required};
use lampyr_ir::{Builder, Fact, Facts, HostTensor, HostValue, Numbers, Saved, Var, Vars};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{full, restore_axes, to_dtype};

/// Largest or smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extreme {
    Max,
    Min,
}

impl Extreme {
    fn word(self) -> &'static str {
        match self {
            Extreme::Max => "maximum",
            Extreme::Min => "minimum",
        }
    }

    /// What ONNX takes for the result of no elements.
    fn of_nothing(self, dtype: DType) -> f64 {
        let bits = dtype.bits() as f64;
        match self {
            Extreme::Max if dtype.is_float() => f64::NEG_INFINITY,
            Extreme::Min if dtype.is_float() => f64::INFINITY,
            Extreme::Max if dtype.is_signed_integer() => -(bits - 1.0).exp2(),
            Extreme::Max => 0.0,
            Extreme::Min if dtype.is_signed_integer() => (bits - 1.0).exp2() - 1.0,
            Extreme::Min => bits.exp2() - 1.0,
        }
    }

    fn nothing(self, shape: &str) -> Error {
        Error::shape(format!("there is no {} over the empty axes of a tensor of shape {shape}", self.word()))
            .with_expected("at least one element along the axes")
    }

    /// ONNX ReduceMax or ReduceMin; `reduce` makes the op.
    pub(crate) fn import(
        self,
        node: &dyn OnnxNode,
        b: &mut dyn Builder,
        inputs: &[Option<Var>],
        reduce: fn(&mut dyn Builder, &Var, &[i64], bool) -> Result<Var>,
    ) -> Result<Vars> {
        let x = required(inputs, 0)?;
        let Some(axes) = common::onnx_axes(node, b, inputs, 18)? else { return Ok(smallvec![x]) };
        let keepdims = node.int("keepdims", 1)? != 0;
        let fact = b.tensor_fact(&x)?;
        let folded = common::axes(&axes, fact.rank())?;
        if common::axis_dims(&fact.shape, &folded).contains(&Dim::Known(0)) {
            let shape = common::reduced_dims(&fact.shape, &folded, keepdims);
            let lowest = if fact.dtype == DType::Bool {
                f64::from(u8::from(self == Extreme::Min))
            } else {
                self.of_nothing(fact.dtype)
            };
            return Ok(smallvec![full(b, fact.dtype, &shape, lowest)?]);
        }
        let numbers = if fact.dtype == DType::Bool { cast(b, &x, DType::U8)? } else { x };
        let y = reduce(b, &numbers, &axes, keepdims)?;
        Ok(smallvec![to_dtype(b, &y, fact.dtype)?])
    }

    pub(crate) fn infer(self, inputs: &[&Fact], axes: &[i64], keepdims: bool, allowed: &[DType]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let folded = common::axis_dims(&x.shape, &common::axes(axes, x.rank())?);
        let facts = common::reduce(inputs, axes, keepdims, allowed)?;
        if folded.contains(&Dim::Known(0)) && !facts[0].as_tensor()?.shape.contains(&Dim::Known(0)) {
            return Err(self.nothing(&Dim::join(&x.shape)));
        }
        let pick = match self {
            Extreme::Max => Dim::maximum,
            Extreme::Min => Dim::minimum,
        };
        Ok(common::known_total(facts, inputs[0], pick))
    }

    pub(crate) fn reference(self, inputs: &[HostValue], axes: &[i64], keepdims: bool) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let (shape, groups) = common::reduce_groups(x, axes, keepdims)?;
        if groups.iter().any(Vec::is_empty) {
            return Err(self.nothing(&format!("{:?}", x.shape())));
        }
        let max = self == Extreme::Max;
        let better = |x: f64, m: f64| if max { x > m } else { x < m };
        let numbers = match x.numbers() {
            Numbers::F(v) => {
                let pick = |m: f64, x: f64| if !m.is_nan() && (x.is_nan() || better(x, m)) { x } else { m };
                let first = if max { f64::NEG_INFINITY } else { f64::INFINITY };
                Numbers::F(groups.iter().map(|g| g.iter().map(|&i| v[i]).fold(first, pick)).collect())
            }
            Numbers::I(v) => {
                let pick = |g: &[usize]| {
                    let all = g.iter().map(|&i| v[i]);
                    if max { all.max() } else { all.min() }.unwrap_or_default()
                };
                Numbers::I(groups.iter().map(|g| pick(g)).collect())
            }
            Numbers::U(v) => {
                let pick = |g: &[usize]| {
                    let all = g.iter().map(|&i| v[i]);
                    if max { all.max() } else { all.min() }.unwrap_or_default()
                };
                Numbers::U(groups.iter().map(|g| pick(g)).collect())
            }
        };
        common::out(HostTensor::from_numbers(x.dtype(), &shape, &numbers)?)
    }
}

/// The gradient, split evenly among equal extremes; needs the input and the output.
pub(crate) fn vjp(b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], axes: &[i64]) -> Result<Vec<Option<Var>>> {
    let Some(g) = &grads[0] else { return Ok(vec![None]) };
    let fact = s.input_fact(0)?;
    let g = restore_axes(b, g, axes, fact)?;
    let y = restore_axes(b, s.output(0)?, axes, fact)?;
    let at = equal(b, s.input(0)?, &y)?;
    let at = cast(b, &at, fact.dtype)?;
    let ties = reduce_sum(b, &at, axes, true)?;
    let share = div(b, &g, &ties)?;
    Ok(vec![Some(mul(b, &at, &share)?)])
}
