//! New tensors.

use lampyr::functional as f;
use lampyr::{DType, Device, Error, HostTensor, Scalar, Tensor};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::PyTensor;
use crate::argument::{number, required};
use crate::dtype::parse;
use crate::error::Result;

type Ob<'py> = Bound<'py, PyAny>;

#[derive(Default)]
struct Nested {
    shape: Vec<usize>,
    closed: bool,
    values: Vec<Scalar>,
    dtype: Option<DType>,
}

impl Nested {
    fn note(&mut self, dtype: DType) {
        self.dtype = Some(self.dtype.map_or(dtype, |d| lampyr::promote_types(d, dtype)));
    }

    fn ragged() -> Error {
        Error::shape("the nested lists are ragged").with_expected("lists of equal length at every depth")
    }

    fn read(&mut self, ob: &Ob<'_>, depth: usize) -> Result<()> {
        if ob.cast::<PyList>().is_ok() || ob.cast::<PyTuple>().is_ok() {
            let n = ob.len()?;
            match self.shape.get(depth) {
                Some(&d) if d == n => {}
                None if !self.closed => self.shape.push(n),
                _ => return Err(Self::ragged().into()),
            }
            for item in ob.try_iter()? {
                self.read(&item?, depth + 1)?;
            }
            self.closed = true;
            return Ok(());
        }
        if depth != self.shape.len() {
            return Err(Self::ragged().into());
        }
        self.closed = true;
        if let Some(value) = number(ob)? {
            self.note(value.dtype());
            self.values.push(value);
            return Ok(());
        }
        let t = required(ob)?.tensor()?;
        self.note(t.dtype());
        self.values.push(super::convert::scalar_of(&t)?);
        Ok(())
    }
}

/// A tensor from a number or nested lists of numbers.
pub fn from_data(ob: &Ob<'_>, dtype: Option<DType>) -> Result<Tensor> {
    let mut nested = Nested::default();
    nested.read(ob, 0)?;
    let dtype = dtype.or(nested.dtype).unwrap_or_else(lampyr::default_dtype);
    let host = if nested.values.iter().any(|v| matches!(v, Scalar::Float(_))) {
        let values: Vec<f64> = nested.values.iter().map(|v| v.to_f64()).collect();
        HostTensor::from_f64(dtype, &nested.shape, &values)?
    } else {
        let whole = |v: &Scalar| match v {
            Scalar::Int(i) => *i,
            other => other.to_f64() as i64,
        };
        let values: Vec<i64> = nested.values.iter().map(whole).collect();
        f::check_range(&values, dtype)?;
        HostTensor::from_i64(dtype, &nested.shape, &values)?
    };
    Ok(Tensor::from_host(&host, Device::CPU)?)
}

pub(super) fn leaf(t: Tensor, requires_grad: bool) -> Result<PyTensor> {
    if requires_grad {
        t.requires_grad_(true)?;
    }
    Ok(PyTensor::of(t))
}

/// A new tensor with a copy of `data`: a number, nested lists, an array or a tensor.
#[pyfunction]
#[pyo3(signature = (data, dtype = None, device = None, requires_grad = false, pin_memory = false))]
pub fn tensor(
    data: &Ob<'_>,
    dtype: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    pin_memory: bool,
) -> Result<PyTensor> {
    let _ = pin_memory;
    crate::dtype::device(device)?;
    let to = dtype.map(parse).transpose()?;
    let existing = match data.cast::<PyTensor>() {
        Ok(t) => Some(t.get().t().detach()),
        Err(_) if number(data)?.is_some() => None,
        Err(_) => crate::interop::array(data, true)?,
    };
    let made = match existing {
        Some(t) => {
            let cast = t.to_dtype(to.unwrap_or(t.dtype()))?;
            if cast.same(&t) { t.copy_contiguous()? } else { cast }
        }
        None => from_data(data, to)?,
    };
    leaf(made, requires_grad)
}

/// A tensor of `data`, over its memory where that is possible.
#[pyfunction]
#[pyo3(signature = (data, dtype = None, device = None))]
pub fn as_tensor<'py>(
    data: &Ob<'py>,
    dtype: Option<&Ob<'py>>,
    device: Option<&Ob<'py>>,
) -> Result<Bound<'py, PyTensor>> {
    crate::dtype::device(device)?;
    crate::interop::asarray(data, dtype)
}
