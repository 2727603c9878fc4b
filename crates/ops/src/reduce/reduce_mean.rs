//! Mean over axes.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType, ReduceKind, Saved,
    Saves, Var, Vars,
};
use smallvec::smallvec;

use crate::common;
use crate::gradient::{divide_by_count, expand_to, restore_axes};

/// Arithmetic mean over axes. Integers are summed in 64 bits and the quotient truncates; the mean of nothing is NaN, or
/// 0 for integers.
#[derive(Clone, Debug, Attrs)]
pub struct ReduceMean {
    /// Axes to fold; negative ones count from the end, none means all.
    #[attr(default = Vec::new())]
    pub axes: Vec<i64>,
    /// Whether folded axes stay, with size 1.
    #[attr(default = false)]
    pub keepdims: bool,
}

/// Mean of `x` over `axes` (none: all).
pub fn reduce_mean(b: &mut dyn Builder, x: &Var, axes: &[i64], keepdims: bool) -> Result<Var> {
    b.one(&ReduceMean { axes: axes.to_vec(), keepdims }, std::slice::from_ref(x))
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let x = required(inputs, 0)?;
    let Some(axes) = common::onnx_axes(node, b, inputs, 18)? else { return Ok(smallvec![x]) };
    let keepdims = node.int("keepdims", 1)? != 0;
    Ok(smallvec![reduce_mean(b, &x, &axes, keepdims)?])
}

impl Op for ReduceMean {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Reduce(ReduceKind::Mean)
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        common::reduce(inputs, &self.axes, self.keepdims, Self::DTYPES)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let (shape, groups) = common::reduce_groups(x, &self.axes, self.keepdims)?;
        let numbers = match x.numbers() {
            Numbers::F(v) => {
                Numbers::F(groups.iter().map(|g| g.iter().map(|&i| v[i]).sum::<f64>() / g.len() as f64).collect())
            }
            Numbers::I(v) => {
                let sum = |g: &[usize]| g.iter().fold(0, |s: i64, &i| s.wrapping_add(v[i]));
                Numbers::I(groups.iter().map(|g| sum(g).checked_div(g.len() as i64).unwrap_or(0)).collect())
            }
            Numbers::U(v) => {
                let sum = |g: &[usize]| g.iter().fold(0, |s: u64, &i| s.wrapping_add(v[i]));
                Numbers::U(groups.iter().map(|g| sum(g).checked_div(g.len() as u64).unwrap_or(0)).collect())
            }
        };
        common::out(HostTensor::from_numbers(x.dtype(), &shape, &numbers)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let fact = s.input_fact(0)?;
        let g = restore_axes(b, g, &self.axes, fact)?;
        let axes = common::axes(&self.axes, fact.rank())?;
        let share = divide_by_count(b, &g, &common::axis_dims(&fact.shape, &axes))?;
        Ok(vec![Some(expand_to(b, &share, fact)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        common::reduce_to_onnx("ReduceMean", 18, &self.axes, self.keepdims)
    }
}

impl OpType for ReduceMean {
    const NAME: &'static str = "reduce_mean";
    const DOC: &'static str = "Arithmetic mean over axes.";
    const DTYPES: &'static [DType] = DType::NUMERIC;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ReduceMean", 1, import)]
    }

    fn cases() -> Vec<Case> {
        crate::cases::reduce(|axes, keepdims| ReduceMean { axes, keepdims }, Self::DTYPES, true)
    }
}
