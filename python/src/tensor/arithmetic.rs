//! Operators.

use lampyr::Tensor;
use lampyr::functional::{self as f, Operand};
use pyo3::basic::CompareOp;
use pyo3::prelude::*;

use super::{Handle, PyTensor};
use crate::argument::{Argument, optional};
use crate::error::{Result, guarded, run};

type Ob<'py> = Bound<'py, PyAny>;

/// An operator whose other side may be of a type that is none of ours.
enum Answer {
    Tensor(PyTensor),
    NotImplemented,
}

impl<'py> IntoPyObject<'py> for Answer {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;
    #[inline]
    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Answer::Tensor(t) => Ok(Bound::new(py, t)?.into_any()),
            Answer::NotImplemented => Ok(py.NotImplemented().into_bound(py)),
        }
    }
}

type Binary = fn(Operand<'_>, Operand<'_>) -> lampyr::Result<Tensor>;

fn work(x: &Tensor, y: &Operand) -> f64 {
    let other = match y {
        Operand::Tensor(t) => t.len(),
        Operand::Scalar(_) => 0,
    };
    x.len().max(other) as f64
}

/// Elements that two tensors have at most for a call that is never long.
const SMALL: usize = 4096;

#[inline]
fn apply(x: &PyTensor, other: &Ob<'_>, swapped: bool, op: Binary) -> Result<Answer> {
    if let Ok(y) = other.cast::<PyTensor>()
        && let (Handle::Of(a), Handle::Of(b)) = (x.t(), y.get().t())
        && a.len() < SMALL
        && b.len() < SMALL
    {
        let (a, b) = if swapped { (b, a) } else { (a, b) };
        let made = guarded(|| op(Operand::Tensor(a), Operand::Tensor(b)))?;
        return Ok(Answer::Tensor(PyTensor::of(made)));
    }
    apply_any(x, other, swapped, op)
}

#[inline(never)]
fn apply_any(x: &PyTensor, other: &Ob<'_>, swapped: bool, op: Binary) -> Result<Answer> {
    let Some(argument) = optional(other)? else { return Ok(Answer::NotImplemented) };
    let x = x.t();
    let (a, b) = (Operand::Tensor(&x), argument.operand());
    let made = run(other.py(), work(&x, &b), || if swapped { op(b, a) } else { op(a, b) })?;
    Ok(Answer::Tensor(PyTensor::of(made)))
}

fn product(py: Python<'_>, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let columns = y.shape().last().copied().unwrap_or(1);
    run(py, (x.len() * columns) as f64 / 8.0, || f::matmul(x, y))
}

#[pymethods]
impl PyTensor {
    fn __add__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, false, f::add)
    }
    fn __radd__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, true, f::add)
    }
    fn __sub__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, false, f::sub)
    }
    fn __rsub__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, true, f::sub)
    }
    fn __mul__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, false, f::mul)
    }
    fn __rmul__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, true, f::mul)
    }
    fn __truediv__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, false, f::div)
    }
    fn __rtruediv__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, true, f::div)
    }
    fn __rdiv__(&self, other: &Ob<'_>) -> Result<Answer> {
        PyTensor::of(f::reciprocal(&self.t())?).__mul__(other)
    }
    fn __floordiv__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, false, f::floor_divide)
    }
    fn __rfloordiv__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, true, f::floor_divide)
    }
    fn __mod__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, false, f::remainder)
    }
    fn __rmod__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, true, f::remainder)
    }
    fn __and__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, false, f::bitwise_and)
    }
    fn __rand__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, true, f::bitwise_and)
    }
    fn __or__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, false, f::bitwise_or)
    }
    fn __ror__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, true, f::bitwise_or)
    }
    fn __xor__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, false, f::bitwise_xor)
    }
    fn __rxor__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, true, f::bitwise_xor)
    }
    fn __lshift__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, false, f::bitwise_left_shift)
    }
    fn __rlshift__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, true, f::bitwise_left_shift)
    }
    fn __rshift__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, false, f::bitwise_right_shift)
    }
    fn __rrshift__(&self, other: &Ob<'_>) -> Result<Answer> {
        apply(self, other, true, f::bitwise_right_shift)
    }

    fn __matmul__(&self, other: &Ob<'_>) -> Result<Answer> {
        match optional(other)? {
            Some(Argument::Scalar(_)) | None => Ok(Answer::NotImplemented),
            Some(y) => Ok(Answer::Tensor(PyTensor::of(product(other.py(), &self.t(), &y.tensor()?)?))),
        }
    }
    fn __rmatmul__(&self, other: &Ob<'_>) -> Result<Answer> {
        match optional(other)? {
            Some(Argument::Scalar(_)) | None => Ok(Answer::NotImplemented),
            Some(x) => Ok(Answer::Tensor(PyTensor::of(product(other.py(), &x.tensor()?, &self.t())?))),
        }
    }

    fn __pow__(&self, exponent: &Ob<'_>, modulo: Option<&Ob<'_>>) -> Result<Answer> {
        if modulo.is_some() { Ok(Answer::NotImplemented) } else { apply(self, exponent, false, f::pow) }
    }
    fn __rpow__(&self, base: &Ob<'_>, modulo: Option<&Ob<'_>>) -> Result<Answer> {
        if modulo.is_some() { Ok(Answer::NotImplemented) } else { apply(self, base, true, f::pow) }
    }

    fn __neg__(&self, py: Python<'_>) -> Result<PyTensor> {
        Ok(PyTensor::of(run(py, self.t().len() as f64, || f::neg(&self.t()))?))
    }
    fn __pos__(slf: Py<Self>) -> Py<Self> {
        slf
    }
    fn __abs__(&self, py: Python<'_>) -> Result<PyTensor> {
        Ok(PyTensor::of(run(py, self.t().len() as f64, || f::abs(&self.t()))?))
    }
    fn __invert__(&self, py: Python<'_>) -> Result<PyTensor> {
        Ok(PyTensor::of(run(py, self.t().len() as f64, || f::bitwise_not(&self.t()))?))
    }

    /// Whether an element equals `element`.
    fn __contains__(&self, element: &Ob<'_>) -> Result<bool> {
        let Some(argument) = optional(element)? else {
            let name = element.get_type().name()?;
            return Err(lampyr::Error::dtype(format!("a {name} cannot be looked for in a tensor"))
                .with_expected("a number or a tensor")
                .into());
        };
        let y = argument.operand();
        run(element.py(), work(&self.t(), &y), || {
            let found = f::eq(Operand::Tensor(&self.t().detach()), y)?;
            Ok(!found.is_empty() && found.sum(&[], false)?.item()? > 0.0)
        })
    }

    fn __richcmp__(&self, other: &Ob<'_>, op: CompareOp) -> Result<Answer> {
        let f: Binary = match op {
            CompareOp::Eq => f::eq,
            CompareOp::Ne => f::ne,
            CompareOp::Lt => f::lt,
            CompareOp::Le => f::le,
            CompareOp::Gt => f::gt,
            CompareOp::Ge => f::ge,
        };
        apply(self, other, false, f)
    }
}
