//! Running products along an axis.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves,
    TensorFact, Var,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::running;

/// Products of the elements up to each place along an axis. Integers wrap. The gradient is exact
/// where factors are 0; its own gradient is so only where none is.
#[derive(Clone, Debug, Attrs)]
pub struct Cumprod {
    /// The axis; negative ones count from the last.
    pub axis: i64,
    /// Without the element at the place itself: the first product is 1.
    #[attr(default = false)]
    pub exclusive: bool,
    /// From the end of the axis backwards.
    #[attr(default = false)]
    pub reverse: bool,
}

/// Running products of `x` along `axis`.
pub fn cumprod(b: &mut dyn Builder, x: &Var, axis: i64, exclusive: bool, reverse: bool) -> Result<Var> {
    b.one(&Cumprod { axis, exclusive, reverse }, std::slice::from_ref(x))
}

impl Op for Cumprod {
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
        Ok(common::known_running(facts, inputs[0], 1, self.exclusive, self.reverse, Dim::mul))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let axis = common::axis(self.axis, x.shape().len())?;
        let order = running::order(x.shape(), axis, self.reverse);
        let numbers =
            running::fold(&x.numbers(), &order, 1, self.exclusive, |t, x| t * x, i64::wrapping_mul, u64::wrapping_mul);
        common::out(HostTensor::from_numbers(x.dtype(), x.shape(), &numbers)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let x = s.input(0)?;
        let fact = s.input_fact(0)?;
        let (zero, one) = (b.scalar(fact.dtype, 0.0)?, b.scalar(fact.dtype, 1.0)?);
        let is_zero = equal(b, x, &zero)?;
        let zeros = cast(b, &is_zero, fact.dtype)?;
        let met = cumsum(b, &zeros, self.axis, false, self.reverse)?;
        let before = equal(b, &met, &zero)?;
        let first = equal(b, &met, &one)?;
        let first = where_(b, &first, &zeros, &zero)?;
        let first = cast(b, &first, DType::Bool)?;
        let slope = |b: &mut dyn Builder, factors: &Var| {
            let products = cumprod(b, factors, self.axis, self.exclusive, self.reverse)?;
            let each = mul(b, g, &products)?;
            cumsum(b, &each, self.axis, self.exclusive, !self.reverse)
        };
        // Up to the first zero every product is a multiple of its factors; at the zero itself it is that of the others.
        let safe = where_(b, &is_zero, &one, x)?;
        let ahead = slope(b, x)?;
        let ahead = div(b, &ahead, &safe)?;
        let without = where_(b, &first, &one, x)?;
        let at = slope(b, &without)?;
        let rest = where_(b, &first, &at, &zero)?;
        Ok(vec![Some(where_(b, &before, &ahead, &rest)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let flag = |v: bool| OnnxAttr::Int(i64::from(v));
        let node = OnnxExport::new("CumProd", 26).attr("exclusive", flag(self.exclusive));
        Some(node.attr("reverse", flag(self.reverse)).input(HostTensor::scalar(self.axis)))
    }
}

impl OpType for Cumprod {
    const NAME: &'static str = "cumprod";
    const DOC: &'static str = "Running products along an axis.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("CumProd", 26, |node, b, x| {
            let axis = running::axis(b, &required(x, 1)?)?;
            let (exclusive, reverse) = (node.int("exclusive", 0)? != 0, node.int("reverse", 0)? != 0);
            Ok(smallvec![cumprod(b, &required(x, 0)?, axis, exclusive, reverse)?])
        })]
    }

    fn cases() -> Vec<Case> {
        running::cases(|axis, exclusive, reverse| Cumprod { axis, exclusive, reverse }, Self::DTYPES)
    }
}
