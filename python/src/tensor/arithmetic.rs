//! Operators.

use lampyr::Tensor;
use lampyr::functional::{self as f, Operand};
use pyo3::basic::CompareOp;
use pyo3::prelude::*;

use super::PyTensor;
use crate::argument::optional;
use crate::error::{Result, run};

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

#[inline]
fn work(x: &Tensor, y: &Operand) -> f64 {
    let other = match y {
        Operand::Tensor(t) => t.len(),
        Operand::Scalar(_) => 0,
    };
    x.len().max(other) as f64
}

#[inline]
fn apply(x: &PyTensor, other: &Ob<'_>, swapped: bool, op: Binary) -> Result<Answer> {
    let Some(argument) = optional(other)? else { return Ok(Answer::NotImplemented) };
    let (a, b) = (Operand::Tensor(&x.0), argument.operand());
    let made = run(other.py(), work(&x.0, &b), || if swapped { op(b, a) } else { op(a, b) })?;
    Ok(Answer::Tensor(PyTensor(made)))
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

    fn __matmul__(&self, other: &Ob<'_>) -> Result<Answer> {
        match optional(other)? {
            Some(y) => Ok(Answer::Tensor(PyTensor(super::layers::product(other.py(), &self.0, &y.tensor()?)?))),
            None => Ok(Answer::NotImplemented),
        }
    }
    fn __rmatmul__(&self, other: &Ob<'_>) -> Result<Answer> {
        match optional(other)? {
            Some(x) => Ok(Answer::Tensor(PyTensor(super::layers::product(other.py(), &x.tensor()?, &self.0)?))),
            None => Ok(Answer::NotImplemented),
        }
    }

    fn __pow__(&self, exponent: &Ob<'_>, modulo: Option<&Ob<'_>>) -> Result<Answer> {
        if modulo.is_some() { Ok(Answer::NotImplemented) } else { apply(self, exponent, false, f::pow) }
    }
    fn __rpow__(&self, base: &Ob<'_>, modulo: Option<&Ob<'_>>) -> Result<Answer> {
        if modulo.is_some() { Ok(Answer::NotImplemented) } else { apply(self, base, true, f::pow) }
    }

    fn __neg__(&self) -> Result<PyTensor> {
        Ok(PyTensor(f::neg(&self.0)?))
    }
    fn __pos__(slf: Py<Self>) -> Py<Self> {
        slf
    }
    fn __abs__(&self) -> Result<PyTensor> {
        Ok(PyTensor(f::abs(&self.0)?))
    }
    fn __invert__(&self) -> Result<PyTensor> {
        Ok(PyTensor(f::bitwise_not(&self.0)?))
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
