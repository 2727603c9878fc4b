//! Variance over axes.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Promote, Var,
    Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{accumulator, count, to_dtype};

/// Mean squared distance from the mean over axes: the sum of squares divided by the number of elements less
/// `correction` (1: unbiased), where that is below 0 by 0.
#[derive(Clone, Debug, Attrs)]
pub struct Variance {
    /// Axes to fold; negative ones count from the end, none means all.
    #[attr(default = Vec::new())]
    pub axes: Vec<i64>,
    /// What is taken off the number of elements.
    #[attr(default = 1)]
    pub correction: i64,
    /// Whether folded axes stay, with size 1.
    #[attr(default = false)]
    pub keepdims: bool,
}

/// Variance of `x` over `axes` (none: all).
pub fn variance(b: &mut dyn Builder, x: &Var, axes: &[i64], correction: i64, keepdims: bool) -> Result<Var> {
    b.one(&Variance { axes: axes.to_vec(), correction, keepdims }, std::slice::from_ref(x))
}

impl Variance {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let fact = b.tensor_fact(x)?;
        let wide = accumulator(fact.dtype);
        let x = to_dtype(b, x, wide)?;
        let mean = reduce_mean(b, &x, &self.axes, true)?;
        let distance = sub(b, &x, &mean)?;
        let squares = mul(b, &distance, &distance)?;
        let sum = reduce_sum(b, &squares, &self.axes, self.keepdims)?;
        let n = count(b, wide, &common::axis_dims(&fact.shape, &common::axes(&self.axes, fact.rank())?))?;
        let correction = b.scalar(wide, self.correction as f64)?;
        let n = sub(b, &n, &correction)?;
        let n = relu(b, &n)?;
        let y = div(b, &sum, &n)?;
        to_dtype(b, &y, fact.dtype)
    }
}

impl Op for Variance {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        common::reduce(inputs, &self.axes, self.keepdims, Self::DTYPES)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let values = x.to_f64();
        let (shape, groups) = common::reduce_groups(x, &self.axes, self.keepdims)?;
        let spread = |g: &Vec<usize>| {
            let mean = g.iter().map(|&i| values[i]).sum::<f64>() / g.len() as f64;
            let squares: f64 = g.iter().map(|&i| (values[i] - mean).powi(2)).sum();
            squares / (g.len() as f64 - self.correction as f64).max(0.0)
        };
        let result: Vec<f64> = groups.iter().map(spread).collect();
        common::out(HostTensor::from_f64(x.dtype(), &shape, &result)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }
}

impl OpType for Variance {
    const NAME: &'static str = "var";
    const DOC: &'static str = "Variance over axes.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn cases() -> Vec<Case> {
        let all = |correction| {
            crate::cases::reduce(|axes, keepdims| Variance { axes, correction, keepdims }, Self::DTYPES, true)
        };
        let mut cases: Vec<Case> = all(1).into_iter().filter(|c| !c.name.starts_with("scalar")).collect();
        cases.extend(all(0).into_iter().map(|mut c| {
            c.name = format!("biased-{}", c.name);
            c
        }));
        cases
    }
}
