//! Maximum over axes.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType, ReduceKind, Saved, Saves, Var,
    Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{full, restore_axes};

/// Maximum over axes; NaN wins. The gradient is split evenly among equal maxima, as in PyTorch's `amax`. There is no
/// maximum of nothing.
#[derive(Clone, Debug, Attrs)]
pub struct ReduceMax {
    /// Axes to fold; negative ones count from the end, none means all.
    #[attr(default = Vec::new())]
    pub axes: Vec<i64>,
    /// Whether folded axes stay, with size 1.
    #[attr(default = false)]
    pub keepdims: bool,
}

/// Maximum of `x` over `axes` (none: all).
pub fn reduce_max(b: &mut dyn Builder, x: &Var, axes: &[i64], keepdims: bool) -> Result<Var> {
    b.one(&ReduceMax { axes: axes.to_vec(), keepdims }, std::slice::from_ref(x))
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let x = required(inputs, 0)?;
    let Some(axes) = common::onnx_axes(node, b, inputs, 18)? else { return Ok(smallvec![x]) };
    let keepdims = node.int("keepdims", 1)? != 0;
    let fact = b.tensor_fact(&x)?;
    let folded = common::axes(&axes, fact.rank())?;
    if common::axis_dims(&fact.shape, &folded).contains(&Dim::Known(0)) {
        let lowest = if fact.dtype.is_float() { f64::NEG_INFINITY } else { lowest_integer(fact.dtype) };
        let shape = common::reduced_dims(&fact.shape, &folded, keepdims);
        return Ok(smallvec![full(b, fact.dtype, &shape, lowest)?]);
    }
    Ok(smallvec![reduce_max(b, &x, &axes, keepdims)?])
}

fn lowest_integer(dtype: DType) -> f64 {
    if dtype.is_signed_integer() { -((dtype.bits() as f64 - 1.0).exp2()) } else { 0.0 }
}

fn nothing(shape: String) -> Error {
    Error::shape(format!("there is no maximum over the empty axes of a tensor of shape {shape}"))
        .with_expected("at least one element along the axes")
}

impl Op for ReduceMax {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Reduce(ReduceKind::Max)
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let folded = common::axis_dims(&x.shape, &common::axes(&self.axes, x.rank())?);
        let facts = common::reduce(inputs, &self.axes, self.keepdims, Self::DTYPES)?;
        if folded.contains(&Dim::Known(0)) && !facts[0].as_tensor()?.shape.contains(&Dim::Known(0)) {
            return Err(nothing(Dim::join(&x.shape)));
        }
        Ok(facts)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let (shape, groups) = common::reduce_groups(x, &self.axes, self.keepdims)?;
        if groups.iter().any(Vec::is_empty) {
            return Err(nothing(format!("{:?}", x.shape())));
        }
        let numbers = match x.numbers() {
            Numbers::F(v) => {
                let larger = |m: f64, x: f64| if x > m || x.is_nan() { x } else { m };
                let most = |g: &[usize]| g.iter().map(|&i| v[i]).fold(f64::NEG_INFINITY, |m, x| if m.is_nan() { m } else { larger(m, x) });
                Numbers::F(groups.iter().map(|g| most(g)).collect())
            }
            Numbers::I(v) => {
                Numbers::I(groups.iter().map(|g| g.iter().map(|&i| v[i]).max().unwrap_or(i64::MIN)).collect())
            }
            Numbers::U(v) => Numbers::U(groups.iter().map(|g| g.iter().map(|&i| v[i]).max().unwrap_or(0)).collect()),
        };
        common::out(HostTensor::from_numbers(x.dtype(), &shape, &numbers)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::ALL
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let fact = s.input_fact(0)?;
        let g = restore_axes(b, g, &self.axes, fact)?;
        let y = restore_axes(b, s.output(0)?, &self.axes, fact)?;
        let at = equal(b, s.input(0)?, &y)?;
        let at = cast(b, &at, fact.dtype)?;
        let ties = reduce_sum(b, &at, &self.axes, true)?;
        let share = div(b, &g, &ties)?;
        Ok(vec![Some(mul(b, &at, &share)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        common::reduce_to_onnx("ReduceMax", 18, &self.axes, self.keepdims)
    }
}

impl OpType for ReduceMax {
    const NAME: &'static str = "reduce_max";
    const DOC: &'static str = "Maximum over axes.";
    const DTYPES: &'static [DType] = DType::NUMERIC;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ReduceMax", 1, import)]
    }

    fn cases() -> Vec<Case> {
        crate::cases::reduce(|axes, keepdims| ReduceMax { axes, keepdims }, Self::DTYPES, false)
    }
}
