//! Running sums along an axis.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves,
    TensorFact, Var,
};
use smallvec::smallvec;

use crate::common;
use crate::running;

/// Sums of the elements up to each place along an axis. Integers wrap.
#[derive(Clone, Debug, Attrs)]
pub struct Cumsum {
    /// The axis; negative ones count from the last.
    pub axis: i64,
    /// Without the element at the place itself: the first sum is 0.
    #[attr(default = false)]
    pub exclusive: bool,
    /// From the end of the axis backwards.
    #[attr(default = false)]
    pub reverse: bool,
}

/// Running sums of `x` along `axis`.
pub fn cumsum(b: &mut dyn Builder, x: &Var, axis: i64, exclusive: bool, reverse: bool) -> Result<Var> {
    b.one(&Cumsum { axis, exclusive, reverse }, std::slice::from_ref(x))
}

impl Op for Cumsum {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        common::check_dtype(x.dtype, Self::DTYPES)?;
        common::axis(self.axis, x.rank())?;
        let facts = common::one(TensorFact::new(x.dtype, x.shape.iter().cloned()));
        Ok(common::known_running(facts, inputs[0], 0, self.exclusive, self.reverse, Dim::add))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let axis = common::axis(self.axis, x.shape().len())?;
        let order = running::order(x.shape(), axis, self.reverse);
        let numbers =
            running::fold(&x.numbers(), &order, 0, self.exclusive, |t, x| t + x, i64::wrapping_add, u64::wrapping_add);
        common::out(HostTensor::from_numbers(x.dtype(), x.shape(), &numbers)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, _s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        Ok(vec![Some(cumsum(b, g, self.axis, self.exclusive, !self.reverse)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let flag = |v: bool| OnnxAttr::Int(i64::from(v));
        let node = OnnxExport::new("CumSum", 14).attr("exclusive", flag(self.exclusive));
        Some(node.attr("reverse", flag(self.reverse)).input(HostTensor::scalar(self.axis)))
    }
}

impl OpType for Cumsum {
    const NAME: &'static str = "cumsum";
    const DOC: &'static str = "Running sums along an axis.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("CumSum", 11, |node, b, x| {
            let axis = running::axis(b, &required(x, 1)?)?;
            let (exclusive, reverse) = (node.int("exclusive", 0)? != 0, node.int("reverse", 0)? != 0);
            Ok(smallvec![cumsum(b, &required(x, 0)?, axis, exclusive, reverse)?])
        })]
    }

    fn cases() -> Vec<Case> {
        running::cases(|axis, exclusive, reverse| Cumsum { axis, exclusive, reverse }, Self::DTYPES)
    }
}
