//! New tensors.

use lampyr::functional as f;
use lampyr::{DType, Device, Error, HostTensor, Scalar, Tensor};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::PyTensor;
use crate::argument::{number, required, shape, tensors};
use crate::dtype::{device, parse, parse_or};
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
    let dtype = dtype.or(nested.dtype).unwrap_or(DType::F32);
    let host = if nested.values.iter().any(|v| matches!(v, Scalar::Float(_))) {
        let values: Vec<f64> = nested.values.iter().map(|v| v.to_f64()).collect();
        HostTensor::from_f64(dtype, &nested.shape, &values)?
    } else {
        let whole = |v: &Scalar| match v {
            Scalar::Int(i) => *i,
            other => other.to_f64() as i64,
        };
        let values: Vec<i64> = nested.values.iter().map(whole).collect();
        HostTensor::from_i64(dtype, &nested.shape, &values)?
    };
    Ok(Tensor::from_host(&host, Device::CPU)?)
}

fn leaf(t: Tensor, requires_grad: bool) -> Result<PyTensor> {
    if requires_grad {
        t.requires_grad_(true)?;
    }
    Ok(PyTensor(t))
}

/// A new tensor with a copy of `data`: a number, nested lists, an array or a tensor.
#[pyfunction]
#[pyo3(signature = (data, dtype = None, device = None, requires_grad = false))]
pub fn tensor(data: &Ob<'_>, dtype: Option<&Ob<'_>>, device: Option<&Ob<'_>>, requires_grad: bool) -> Result<PyTensor> {
    crate::dtype::device(device)?;
    let to = dtype.map(parse).transpose()?;
    let existing = match data.cast::<PyTensor>() {
        Ok(t) => Some(t.get().0.detach()),
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

fn filled(
    size: &Bound<'_, PyTuple>,
    value: i64,
    dtype: Option<&Ob<'_>>,
    on: Option<&Ob<'_>>,
    grad: bool,
) -> Result<PyTensor> {
    let dtype = parse_or(dtype, DType::F32)?;
    leaf(f::full(&shape(size)?, Scalar::Int(value), dtype, device(on)?)?, grad)
}

/// All zeros.
#[pyfunction]
#[pyo3(signature = (*size, dtype = None, device = None, requires_grad = false))]
pub fn zeros(
    size: &Bound<'_, PyTuple>,
    dtype: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
) -> Result<PyTensor> {
    filled(size, 0, dtype, device, requires_grad)
}

/// All ones.
#[pyfunction]
#[pyo3(signature = (*size, dtype = None, device = None, requires_grad = false))]
pub fn ones(
    size: &Bound<'_, PyTuple>,
    dtype: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
) -> Result<PyTensor> {
    filled(size, 1, dtype, device, requires_grad)
}

/// Arbitrary contents.
#[pyfunction]
#[pyo3(signature = (*size, dtype = None, device = None, requires_grad = false))]
pub fn empty(
    size: &Bound<'_, PyTuple>,
    dtype: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
) -> Result<PyTensor> {
    let dtype = parse_or(dtype, DType::F32)?;
    leaf(Tensor::empty(&shape(size)?, dtype, crate::dtype::device(device)?)?, requires_grad)
}

fn some_number(ob: &Ob<'_>) -> Result<Scalar> {
    if let Some(s) = number(ob)? {
        return Ok(s);
    }
    super::convert::scalar_of(&required(ob)?.tensor()?)
}

/// All elements `fill_value`.
#[pyfunction]
#[pyo3(signature = (size, fill_value, dtype = None, device = None, requires_grad = false))]
pub fn full(
    size: &Ob<'_>,
    fill_value: &Ob<'_>,
    dtype: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
) -> Result<PyTensor> {
    let value = some_number(fill_value)?;
    let size = shape(&PyTuple::new(size.py(), [size])?)?;
    leaf(f::full(&size, value, parse_or(dtype, value.dtype())?, crate::dtype::device(device)?)?, requires_grad)
}

fn like(x: &PyTensor, value: Scalar, dtype: Option<&Ob<'_>>) -> Result<PyTensor> {
    Ok(PyTensor(f::full(x.0.shape(), value, parse_or(dtype, x.0.dtype())?, x.0.device())?))
}

/// Zeros with the shape of `input`.
#[pyfunction]
#[pyo3(signature = (input, dtype = None))]
pub fn zeros_like(input: &Bound<'_, PyTensor>, dtype: Option<&Ob<'_>>) -> Result<PyTensor> {
    like(input.get(), Scalar::Int(0), dtype)
}

/// Ones with the shape of `input`.
#[pyfunction]
#[pyo3(signature = (input, dtype = None))]
pub fn ones_like(input: &Bound<'_, PyTensor>, dtype: Option<&Ob<'_>>) -> Result<PyTensor> {
    like(input.get(), Scalar::Int(1), dtype)
}

/// All elements `fill_value`, with the shape of `input`.
#[pyfunction]
#[pyo3(signature = (input, fill_value, dtype = None))]
pub fn full_like(input: &Bound<'_, PyTensor>, fill_value: &Ob<'_>, dtype: Option<&Ob<'_>>) -> Result<PyTensor> {
    like(input.get(), some_number(fill_value)?, dtype)
}

/// Numbers from `start` up to but not including `end` by `step`.
#[pyfunction]
#[pyo3(signature = (start, end = None, step = None, dtype = None))]
pub fn arange(start: &Ob<'_>, end: Option<&Ob<'_>>, step: Option<&Ob<'_>>, dtype: Option<&Ob<'_>>) -> Result<PyTensor> {
    let first = some_number(start)?;
    let (first, last) = match end {
        Some(end) => (first, some_number(end)?),
        None => (Scalar::Int(0), first),
    };
    let step = step.map_or(Ok(Scalar::Int(1)), some_number)?;
    let natural = [first, last, step].iter().map(|s| s.dtype()).fold(DType::I64, lampyr::promote_types);
    Ok(PyTensor(f::arange(first, last, step, parse_or(dtype, natural)?)?))
}

/// The identity matrix.
#[pyfunction]
#[pyo3(signature = (n, dtype = None))]
pub fn eye(n: usize, dtype: Option<&Ob<'_>>) -> Result<PyTensor> {
    let values: Vec<f64> = (0..n * n).map(|i| f64::from(u8::from(i % (n + 1) == 0))).collect();
    let host = HostTensor::from_f64(parse_or(dtype, DType::F32)?, &[n, n], &values)?;
    Ok(PyTensor(Tensor::from_host(&host, Device::CPU)?))
}

/// Uniform in [0, 1).
#[pyfunction]
#[pyo3(signature = (*size, dtype = None, requires_grad = false))]
pub fn rand(size: &Bound<'_, PyTuple>, dtype: Option<&Ob<'_>>, requires_grad: bool) -> Result<PyTensor> {
    leaf(lampyr::random::rand(&shape(size)?, parse_or(dtype, DType::F32)?)?, requires_grad)
}

/// Normal with mean 0 and variance 1.
#[pyfunction]
#[pyo3(signature = (*size, dtype = None, requires_grad = false))]
pub fn randn(size: &Bound<'_, PyTuple>, dtype: Option<&Ob<'_>>, requires_grad: bool) -> Result<PyTensor> {
    leaf(lampyr::random::randn(&shape(size)?, parse_or(dtype, DType::F32)?)?, requires_grad)
}

/// Starts the generator of random numbers anew.
#[pyfunction]
pub fn manual_seed(seed: u64) {
    lampyr::random::manual_seed(seed);
}

/// Tensors one after another along `dim`.
#[pyfunction]
#[pyo3(signature = (tensors, dim = 0))]
pub fn cat(tensors: &Ob<'_>, dim: i64) -> Result<PyTensor> {
    Ok(PyTensor(f::cat(&self::tensors(tensors)?, dim)?))
}

/// Tensors of equal shape along a new axis.
#[pyfunction]
#[pyo3(signature = (tensors, dim = 0))]
pub fn stack(tensors: &Ob<'_>, dim: i64) -> Result<PyTensor> {
    Ok(PyTensor(f::stack(&self::tensors(tensors)?, dim)?))
}
