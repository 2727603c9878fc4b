//! Elements brought between two bounds.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, optional, required};
use lampyr_ir::scalar::{Binary, Compute, ScalarExpr};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// `min(max(x, low), high)`, element by element; NaN stays. The gradient is 0 outside the bounds. Bounds of
/// integers are rounded towards 0 and brought into the range of the type.
#[derive(Clone, Debug, Attrs)]
pub struct Clip {
    /// Lower bound.
    #[attr(default = None)]
    pub min: Option<f64>,
    /// Upper bound.
    #[attr(default = None)]
    pub max: Option<f64>,
}

/// `x` brought between `min` and `max`, where given
pub fn clip(b: &mut dyn Builder, x: &Var, min: Option<f64>, max: Option<f64>) -> Result<Var> {
    b.one(&Clip { min, max }, std::slice::from_ref(x))
}

impl Op for Clip {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        common::elementwise(inputs, 0, Self::DTYPES, None)
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        let mut e = ScalarExpr::new(dtypes);
        let mut y = e.load(0);
        for (bound, f) in [(self.min, Binary::Max), (self.max, Binary::Min)] {
            if let Some(bound) = bound {
                let bound = e.constant(representable(bound, dtypes[0]), Compute::of(dtypes[0]));
                y = e.binary(f, y, bound);
            }
        }
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let dtype = inputs[0].tensor()?.dtype();
        let (low, high) = (self.min.map(|v| representable(v, dtype)), self.max.map(|v| representable(v, dtype)));
        common::reference_numbers(
            inputs,
            |x| {
                let x = if low.is_some_and(|v| x < v) { low.unwrap_or(x) } else { x };
                if high.is_some_and(|v| x > v) { high.unwrap_or(x) } else { x }
            },
            |x| x.max(low.map_or(x, |v| v as i64)).min(high.map_or(i64::MAX, |v| v as i64)),
            |x| x.max(low.map_or(x, |v| v as u64)).min(high.map_or(u64::MAX, |v| v as u64)),
        )
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let dtype = s.input_fact(0)?.dtype;
        let zero = b.scalar(dtype, 0.0)?;
        let mut grad = g.clone();
        if let Some(low) = self.min {
            let low = b.scalar(dtype, low)?;
            let inside = greater_equal(b, s.input(0)?, &low)?;
            grad = where_(b, &inside, &grad, &zero)?;
        }
        if let Some(high) = self.max {
            let high = b.scalar(dtype, high)?;
            let inside = less_equal(b, s.input(0)?, &high)?;
            grad = where_(b, &inside, &grad, &zero)?;
        }
        Ok(vec![Some(grad)])
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        let dtype = inputs.first()?.dtype();
        let mut node = OnnxExport::new("Clip", 13);
        if self.min.is_none() && self.max.is_none() {
            return Some(node);
        }
        let low = representable(self.min.unwrap_or(f64::NEG_INFINITY), dtype);
        node = node.input(HostTensor::scalar_of(dtype, low).ok()?);
        if let Some(high) = self.max {
            node = node.input(HostTensor::scalar_of(dtype, representable(high, dtype)).ok()?);
        }
        Some(node)
    }
}

impl OpType for Clip {
    const NAME: &'static str = "clip";
    const DOC: &'static str = "Elements brought between two bounds.";
    const DTYPES: &'static [DType] = DType::NUMERIC;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("Clip", 6, 10, |node, b, x| {
                let bound = |name: &str| match node.attr(name) {
                    None => Ok(None),
                    Some(_) => node.float(name, 0.0).map(Some),
                };
                Ok(smallvec![clip(b, &required(x, 0)?, bound("min")?, bound("max")?)?])
            }),
            OnnxMapping::new("Clip", 11, |_, b, x| {
                Ok(smallvec![clip_by(b, &required(x, 0)?, optional(x, 1).as_ref(), optional(x, 2).as_ref())?])
            }),
        ]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (name, op) in [
            ("both", Clip { min: Some(-1.0), max: Some(1.5) }),
            ("low", Clip { min: Some(0.0), max: None }),
            ("high", Clip { min: None, max: Some(1e12) }),
            ("none", Clip { min: None, max: None }),
            ("crossed", Clip { min: Some(1.0), max: Some(0.0) }),
        ] {
            for mut case in crate::cases::elementwise(&op, 1, Self::DTYPES, true, (-2.0, 2.0)) {
                case.name = format!("{name}-{}", case.name);
                cases.push(case);
            }
        }
        cases
    }
}

/// A bound as elements of `dtype` can hold it.
fn representable(bound: f64, dtype: DType) -> f64 {
    if dtype.is_float() {
        return bound;
    }
    let bits = dtype.bits() as i32 - i32::from(dtype.is_signed_integer());
    let top = 2f64.powi(bits);
    let low = if dtype.is_signed_integer() { -top } else { 0.0 };
    // The largest 64-bit integers are no doubles: conversions of 2^63 and 2^64 saturate.
    bound.trunc().clamp(low, if bits < 53 { top - 1.0 } else { top })
}

/// A bound that is a constant of one element, when a double holds it.
fn constant_bound(b: &mut dyn Builder, bound: &Var) -> Result<Option<f64>> {
    let Some(value) = b.read(bound)?.filter(|v| v.len() == 1) else { return Ok(None) };
    if !value.dtype().is_float() && value.to_i64().iter().any(|n| n.unsigned_abs() > 1 << 53) {
        return Ok(None);
    }
    Ok(value.to_f64().first().copied())
}

/// `x` brought between two tensors of one element (or that broadcast), where given.
pub fn clip_by(b: &mut dyn Builder, x: &Var, min: Option<&Var>, max: Option<&Var>) -> Result<Var> {
    let (mut low, mut high, mut fixed) = (None, None, true);
    for (bound, slot) in [(min, &mut low), (max, &mut high)] {
        if let Some(bound) = bound {
            *slot = constant_bound(b, bound)?;
            fixed &= slot.is_some_and(|v| !v.is_nan());
        }
    }
    if fixed {
        return clip(b, x, low, high);
    }
    let mut y = x.clone();
    if let Some(min) = min {
        y = maximum(b, &y, min)?;
    }
    if let Some(max) = max {
        y = minimum(b, &y, max)?;
    }
    Ok(y)
}
