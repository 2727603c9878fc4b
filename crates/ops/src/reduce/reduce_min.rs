//! Minimum over axes.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, ReduceKind, Saved, Saves, Var,
};

use crate::common;
use crate::extremes::{self, Extreme};

/// Minimum over axes; NaN wins. The gradient is split evenly among equal minima, as in PyTorch's `amin`. There is no
/// minimum of nothing.
#[derive(Clone, Debug, Attrs)]
pub struct ReduceMin {
    /// Axes to fold; negative ones count from the end, none means all.
    #[attr(default = Vec::new())]
    pub axes: Vec<i64>,
    /// Whether folded axes stay, with size 1.
    #[attr(default = false)]
    pub keepdims: bool,
}

/// Minimum of `x` over `axes` (none: all).
pub fn reduce_min(b: &mut dyn Builder, x: &Var, axes: &[i64], keepdims: bool) -> Result<Var> {
    b.one(&ReduceMin { axes: axes.to_vec(), keepdims }, std::slice::from_ref(x))
}

impl Op for ReduceMin {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Reduce(ReduceKind::Min)
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        Extreme::Min.infer(inputs, &self.axes, self.keepdims, Self::DTYPES)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        Extreme::Min.reference(inputs, &self.axes, self.keepdims)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::ALL
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        extremes::vjp(b, s, grads, &self.axes)
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        common::reduce_to_onnx("ReduceMin", 18, &self.axes, self.keepdims)
    }
}

impl OpType for ReduceMin {
    const NAME: &'static str = "reduce_min";
    const DOC: &'static str = "Minimum over axes.";
    const DTYPES: &'static [DType] = DType::NUMERIC;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ReduceMin", 1, |node, b, x| Extreme::Min.import(node, b, x, reduce_min))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::reduce(|axes, keepdims| ReduceMin { axes, keepdims }, Self::DTYPES, false)
    }
}
