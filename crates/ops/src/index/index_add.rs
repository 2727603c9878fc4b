//! The adjoint of gather.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType, Saved, Saves,
    TensorFact, Var,
};

use crate::common;
use crate::index::gather::{case_indices, check_indices, gather};

/// A tensor of zeros of shape `shape` to whose slices along `axis` at the indices of the first input the slices of the
/// second are added: the adjoint of [`crate::index::gather::Gather`].
#[derive(Clone, Debug, Attrs)]
pub struct IndexAdd {
    /// The axis that the indices count along; negative ones count from the last.
    #[attr(default = 0)]
    pub axis: i64,
    /// Sizes of the result.
    pub shape: Vec<Dim>,
}

/// Zeros of shape `shape` with `values` added at `indices` along `axis`.
pub fn index_add(b: &mut dyn Builder, indices: &Var, values: &Var, axis: i64, shape: Vec<Dim>) -> Result<Var> {
    b.one(&IndexAdd { axis, shape }, &[indices.clone(), values.clone()])
}

impl Op for IndexAdd {
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
        let axis = common::axis(self.axis, self.shape.len())?;
        let want: Vec<&Dim> = self.shape[..axis].iter().chain(&indices.shape).chain(&self.shape[axis + 1..]).collect();
        let fits =
            want.len() == values.rank() && want.iter().zip(&values.shape).all(|(a, b)| common::same_dim(a, b).is_ok());
        if !fits {
            let want: Vec<Dim> = want.into_iter().cloned().collect();
            return Err(Error::shape(format!("values have shape [{}]", Dim::join(&values.shape)))
                .with_expected(format!("[{}]", Dim::join(&want))));
        }
        Ok(common::one(TensorFact::new(values.dtype, self.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (indices, values) = (inputs[0].tensor()?, inputs[1].tensor()?);
        let shape = common::sizes(&self.shape)?;
        let axis = common::axis(self.axis, shape.len())?;
        let (n, row) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        let at = indices.to_i64().into_iter().map(|i| common::element(i, n)).collect::<Result<Vec<_>>>()?;
        let total = shape.iter().product();
        let mut places = Vec::with_capacity(values.len());
        for outer in 0..shape[..axis].iter().product::<usize>() {
            for i in &at {
                places.extend((0..row).map(|k| (outer * n + i) * row + k));
            }
        }
        common::out(HostTensor::from_numbers(values.dtype(), &shape, &add_at(values, total, &places)?)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b01, outputs: 0 }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let (Some(g), true) = (&grads[0], needs[1]) else { return Ok(vec![None, None]) };
        Ok(vec![None, Some(gather(b, g, s.input(0)?, self.axis)?)])
    }
}

/// `total` zeros with element `i` of `values` added at `places[i]`.
pub(crate) fn add_at(values: &HostTensor, total: usize, places: &[usize]) -> Result<Numbers> {
    if places.len() != values.len() {
        return Err(Error::shape(format!("{} values for {} places", values.len(), places.len())));
    }
    Ok(match values.numbers() {
        Numbers::F(v) => {
            let mut sums = vec![0.0; total];
            places.iter().zip(v).for_each(|(&i, x)| sums[i] += x);
            Numbers::F(sums)
        }
        Numbers::I(v) => {
            let mut sums = vec![0i64; total];
            places.iter().zip(v).for_each(|(&i, x)| sums[i] = sums[i].wrapping_add(x));
            Numbers::I(sums)
        }
        Numbers::U(v) => {
            let mut sums = vec![0u64; total];
            places.iter().zip(v).for_each(|(&i, x)| sums[i] = sums[i].wrapping_add(x));
            Numbers::U(sums)
        }
    })
}

impl OpType for IndexAdd {
    const NAME: &'static str = "index_add";
    const DOC: &'static str = "Slices added into zeros at given numbers along an axis: the adjoint of gather.";
    const DTYPES: &'static [DType] = DType::NUMERIC;

    fn cases() -> Vec<Case> {
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s);
        let at = |s: &[usize], n| case_indices(DType::I64, s, n);
        let op = |axis, shape: &[usize]| IndexAdd { axis, shape: common::fixed_dims(shape) };
        let mut cases: Vec<Case> = DType::NUMERIC
            .iter()
            .map(|&d| Case::new(format!("rows-{d}"), &op(0, &[5, 3]), vec![at(&[2, 4], 5), x(d, &[2, 4, 3])]))
            .collect();
        for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
            let inputs = vec![at(&[2, 3], 5).view(v), x(DType::F32, &[4, 2, 3]).view(v)];
            cases.push(Case::new(format!("{v:?}").to_lowercase(), &op(1, &[4, 5]), inputs).with_gradient());
        }
        let f = |s: &[usize]| x(DType::F64, s);
        let inputs = vec![at(&[3], 4), f(&[2, 3, 3])];
        cases.push(Case::new("inner", &op(-2, &[2, 4, 3]), inputs).with_gradient().symbol(0, 0, "n").symbol(1, 1, "n"));
        cases.push(Case::new("one", &op(1, &[2, 4, 3]), vec![at(&[], 4), f(&[2, 3])]).with_gradient());
        cases.push(Case::new("none", &op(0, &[4, 2]), vec![at(&[0], 4), f(&[0, 2])]));
        cases.push(
            Case::new("large", &op(0, &[301, 129]), vec![at(&[700], 301), x(DType::F32, &[700, 129])])
                .tolerance(1e-4, 1e-4),
        );
        cases
    }
}
