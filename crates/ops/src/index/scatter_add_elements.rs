//! The adjoint of gather_elements.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, TensorFact,
    Var,
};

use crate::common;
use crate::index::gather::{case_indices, check_indices};
use crate::index::gather_elements::{check_inside, gather_elements, places};
use crate::index::index_add::add_at;

/// A tensor of zeros of shape `shape` to which the elements of the second input are added at the indices of the first
/// along `axis`: the adjoint of [`crate::index::gather_elements::GatherElements`].
#[derive(Clone, Debug, Attrs)]
pub struct ScatterAddElements {
    /// The axis that the indices count along; negative ones count from the last.
    #[attr(default = 0)]
    pub axis: i64,
    /// Sizes of the result.
    pub shape: Vec<Dim>,
}

/// Zeros of shape `shape` with the elements of `values` added at `indices` along `axis`.
pub fn scatter_add_elements(
    b: &mut dyn Builder,
    indices: &Var,
    values: &Var,
    axis: i64,
    shape: Vec<Dim>,
) -> Result<Var> {
    b.one(&ScatterAddElements { axis, shape }, &[indices.clone(), values.clone()])
}

impl Op for ScatterAddElements {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let (indices, values) = (inputs[0].as_tensor()?, inputs[1].as_tensor()?);
        check_indices(indices)?;
        common::check_dtype(values.dtype, Self::DTYPES)?;
        check_inside(&self.shape, &indices.shape, common::axis(self.axis, self.shape.len())?)?;
        let fits = indices.rank() == values.rank()
            && indices.shape.iter().zip(&values.shape).all(|(a, b)| common::same_dim(a, b).is_ok());
        if !fits {
            return Err(Error::shape(format!("values have shape [{}]", Dim::join(&values.shape)))
                .with_expected(format!("[{}], as the indices", Dim::join(&indices.shape))));
        }
        Ok(common::one(TensorFact::new(values.dtype, self.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (indices, values) = (inputs[0].tensor()?, inputs[1].tensor()?);
        let shape = common::sizes(&self.shape)?;
        let at = places(&shape, indices, common::axis(self.axis, shape.len())?)?;
        let numbers = add_at(values, shape.iter().product(), &at)?;
        common::out(HostTensor::from_numbers(values.dtype(), &shape, &numbers)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b01, outputs: 0 }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let (Some(g), true) = (&grads[0], needs[1]) else { return Ok(vec![None, None]) };
        Ok(vec![None, Some(gather_elements(b, g, s.input(0)?, self.axis)?)])
    }
}

impl OpType for ScatterAddElements {
    const NAME: &'static str = "scatter_add_elements";
    const DOC: &'static str = "Elements added into zeros one by one along an axis: the adjoint of gather_elements.";
    const DTYPES: &'static [DType] = DType::NUMERIC;

    fn cases() -> Vec<Case> {
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s);
        let at = |s: &[usize], n| case_indices(DType::I64, s, n);
        let op = |axis, shape: &[usize]| ScatterAddElements { axis, shape: common::fixed_dims(shape) };
        let mut cases: Vec<Case> = DType::NUMERIC
            .iter()
            .map(|&d| Case::new(format!("inner-{d}"), &op(-2, &[2, 4, 3]), vec![at(&[2, 5, 3], 4), x(d, &[2, 5, 3])]))
            .collect();
        for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
            let inputs = vec![at(&[4, 3], 5).view(v), x(DType::F32, &[4, 3]).view(v)];
            cases.push(Case::new(format!("{v:?}").to_lowercase(), &op(1, &[4, 5]), inputs).with_gradient());
        }
        let f = |s: &[usize]| x(DType::F64, s);
        let part = Case::new("part", &op(0, &[4, 3]), vec![case_indices(DType::I32, &[6, 2], 4), f(&[6, 2])]);
        cases.push(part.with_gradient().symbol(0, 0, "n").symbol(1, 0, "n"));
        cases.push(Case::new("empty", &op(0, &[4, 3]), vec![at(&[0, 3], 4), f(&[0, 3])]));
        let large = vec![at(&[67, 333], 501), x(DType::F32, &[67, 333])];
        cases.push(Case::new("large", &op(1, &[67, 501]), large));
        cases
    }
}
