//! Sum over axes.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType,
    ReduceKind, Saved, Saves, Var, Vars,
};
use smallvec::smallvec;

use crate::common;
use crate::gradient::{expand_to, restore_axes};

/// Sum over axes. Integers wrap; the sum of nothing is 0.
#[derive(Clone, Debug, Attrs)]
pub struct ReduceSum {
    /// Axes to fold; negative ones count from the end, none means all.
    #[attr(default = Vec::new())]
    pub axes: Vec<i64>,
    /// Whether folded axes stay, with size 1.
    #[attr(default = false)]
    pub keepdims: bool,
}

/// Sum of `x` over `axes` (none: all).
pub fn reduce_sum(b: &mut dyn Builder, x: &Var, axes: &[i64], keepdims: bool) -> Result<Var> {
    b.one(&ReduceSum { axes: axes.to_vec(), keepdims }, std::slice::from_ref(x))
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let x = required(inputs, 0)?;
    let Some(axes) = common::onnx_axes(node, b, inputs, 13)? else { return Ok(smallvec![x]) };
    let keepdims = node.int("keepdims", 1)? != 0;
    Ok(smallvec![reduce_sum(b, &x, &axes, keepdims)?])
}

impl Op for ReduceSum {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Reduce(ReduceKind::Sum)
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let facts = common::reduce(inputs, &self.axes, self.keepdims, Self::DTYPES)?;
        Ok(common::known_total(facts, inputs[0], Dim::add))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let (shape, groups) = common::reduce_groups(x, &self.axes, self.keepdims)?;
        let numbers = match x.numbers() {
            Numbers::F(v) => Numbers::F(groups.iter().map(|g| g.iter().map(|&i| v[i]).sum()).collect()),
            Numbers::I(v) => {
                Numbers::I(groups.iter().map(|g| g.iter().fold(0, |s: i64, &i| s.wrapping_add(v[i]))).collect())
            }
            Numbers::U(v) => {
                Numbers::U(groups.iter().map(|g| g.iter().fold(0, |s: u64, &i| s.wrapping_add(v[i]))).collect())
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
        Ok(vec![Some(expand_to(b, &g, fact)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        common::reduce_to_onnx("ReduceSum", 13, &self.axes, self.keepdims)
    }
}

impl OpType for ReduceSum {
    const NAME: &'static str = "reduce_sum";
    const DOC: &'static str = "Sum over axes.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ReduceSum", 1, import)]
    }

    fn cases() -> Vec<Case> {
        crate::cases::reduce(|axes, keepdims| ReduceSum { axes, keepdims }, Self::DTYPES, true)
    }
}
