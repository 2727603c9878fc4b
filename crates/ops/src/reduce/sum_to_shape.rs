//! The adjoint of broadcasting.

use lampyr_base::{DType, Dim, Error, Layout, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType, ReduceKind, Saved,
    Saves, TensorFact, Var,
};

use crate::common;
use crate::gradient::expand_to;

/// Sums over the axes along which a tensor of shape `shape` is broadcast to the input's shape.
#[derive(Clone, Debug, Attrs)]
pub struct SumToShape {
    /// Sizes of the result: those of the input, or 1, or missing in front.
    pub shape: Vec<Dim>,
}

/// `x` summed to `shape`.
pub fn sum_to_shape(b: &mut dyn Builder, x: &Var, shape: Vec<Dim>) -> Result<Var> {
    b.one(&SumToShape { shape }, std::slice::from_ref(x))
}

impl Op for SumToShape {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Reduce(ReduceKind::Sum)
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        common::check_dtype(x.dtype, Self::DTYPES)?;
        let lead = x.rank().checked_sub(self.shape.len());
        let fits = lead.is_some_and(|lead| {
            self.shape.iter().zip(&x.shape[lead..]).all(|(to, from)| match (to, from) {
                (Dim::Known(t), Dim::Known(f)) => t == f || *t == 1,
                _ => true,
            })
        });
        if !fits {
            return Err(Error::shape(format!("cannot sum [{}] to [{}]", Dim::join(&x.shape), Dim::join(&self.shape))));
        }
        Ok(common::one(TensorFact::new(x.dtype, self.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let shape = common::sizes(&self.shape)?;
        let target = Layout::contiguous(&shape).broadcast_to(x.shape())?;
        let n: usize = shape.iter().product();
        let numbers = match x.numbers() {
            Numbers::F(v) => {
                let mut sums = vec![0.0; n];
                target.indices().zip(v).for_each(|(i, x)| sums[i] += x);
                Numbers::F(sums)
            }
            Numbers::I(v) => {
                let mut sums = vec![0i64; n];
                target.indices().zip(v).for_each(|(i, x)| sums[i] = sums[i].wrapping_add(x));
                Numbers::I(sums)
            }
            Numbers::U(v) => {
                let mut sums = vec![0u64; n];
                target.indices().zip(v).for_each(|(i, x)| sums[i] = sums[i].wrapping_add(x));
                Numbers::U(sums)
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
        Ok(vec![Some(expand_to(b, g, s.input_fact(0)?)?)])
    }
}

impl OpType for SumToShape {
    const NAME: &'static str = "sum_to_shape";
    const DOC: &'static str = "Sum over broadcast axes: the adjoint of expand.";
    const DTYPES: &'static [DType] = DType::NUMERIC;

    fn cases() -> Vec<Case> {
        let op = |s: &[usize]| SumToShape { shape: s.iter().map(|&d| Dim::from(d)).collect() };
        let x = |d, s: &[usize]| vec![CaseInput::new(d, s)];
        let mut cases: Vec<Case> =
            DType::NUMERIC.iter().map(|&d| Case::new(format!("inner-{d}"), &op(&[3, 1]), x(d, &[2, 3, 4]))).collect();
        cases.push(Case::new("scalar", &op(&[]), x(DType::F32, &[2, 3])).with_gradient());
        cases.push(Case::new("leading", &op(&[3]), x(DType::F64, &[5, 3])).with_gradient());
        cases.push(Case::new("empty", &op(&[1, 3]), x(DType::F32, &[0, 3])));
        cases
    }
}
