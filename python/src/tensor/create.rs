//! New tensors.

use lampyr::functional as f;
use lampyr::{DType, Device, Error, HostTensor, Scalar, Tensor, TypeKind};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::PyTensor;
use crate::argument::{number, required, shape};
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
        check_range(&values, dtype)?;
        HostTensor::from_i64(dtype, &nested.shape, &values)?
    };
    Ok(Tensor::from_host(&host, Device::CPU)?)
}

/// # Errors
/// When an integer does not fit.
fn check_range(values: &[i64], dtype: DType) -> Result<()> {
    let bits = dtype.bits() as u32;
    let bounds = match dtype.kind() {
        TypeKind::Unsigned => 0..=((1i128 << bits) - 1),
        TypeKind::Signed => -(1i128 << (bits - 1))..=((1i128 << (bits - 1)) - 1),
        _ => return Ok(()),
    };
    // Negative numbers wrap into unsigned types, as in PyTorch.
    let fits = |v: &i64| bounds.contains(&i128::from(*v)) || (*v < 0 && -i128::from(*v) <= *bounds.end());
    match values.iter().find(|v| !fits(v)) {
        None => Ok(()),
        Some(v) => Err(Error::value(format!("{v} does not fit {dtype}"))
            .with_expected(format!("{} to {}", bounds.start(), bounds.end()))
            .into()),
    }
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

/// A result that is new, or written into `out`.
pub(super) fn output(
    py: Python<'_>,
    made: Tensor,
    out: Option<&Bound<'_, PyTensor>>,
    requires_grad: bool,
) -> Result<Py<PyTensor>> {
    let Some(out) = out else { return Ok(Py::new(py, leaf(made, requires_grad)?)?) };
    let x = &out.get().t();
    if x.shape() != made.shape() {
        return Err(Error::shape(format!(
            "a result of shape {:?} for an output of shape {:?}",
            made.shape(),
            x.shape()
        ))
        .with_help("give an output of the result's shape")
        .into());
    }
    f::copy_(x, (&made).into(), true)?;
    Ok(out.clone().unbind())
}

fn filled(
    size: &Bound<'_, PyTuple>,
    value: i64,
    out: Option<&Bound<'_, PyTensor>>,
    dtype: Option<&Ob<'_>>,
    on: Option<&Ob<'_>>,
    grad: bool,
) -> Result<Py<PyTensor>> {
    let dtype = parse_or(dtype, lampyr::default_dtype())?;
    output(size.py(), f::full(&shape(size)?, Scalar::Int(value), dtype, device(on)?)?, out, grad)
}

/// All zeros.
#[pyfunction]
#[pyo3(signature = (*size, out = None, dtype = None, layout = None, device = None, requires_grad = false,
    pin_memory = false))]
#[allow(clippy::too_many_arguments)]
pub fn zeros(
    size: &Bound<'_, PyTuple>,
    out: Option<&Bound<'_, PyTensor>>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    pin_memory: bool,
) -> Result<Py<PyTensor>> {
    let _ = (layout, pin_memory);
    filled(size, 0, out, dtype, device, requires_grad)
}

/// All ones.
#[pyfunction]
#[pyo3(signature = (*size, out = None, dtype = None, layout = None, device = None, requires_grad = false,
    pin_memory = false))]
#[allow(clippy::too_many_arguments)]
pub fn ones(
    size: &Bound<'_, PyTuple>,
    out: Option<&Bound<'_, PyTensor>>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    pin_memory: bool,
) -> Result<Py<PyTensor>> {
    let _ = (layout, pin_memory);
    filled(size, 1, out, dtype, device, requires_grad)
}

/// Arbitrary contents.
#[pyfunction]
#[pyo3(signature = (*size, out = None, dtype = None, layout = None, device = None, requires_grad = false,
    pin_memory = false))]
#[allow(clippy::too_many_arguments)]
pub fn empty(
    size: &Bound<'_, PyTuple>,
    out: Option<&Bound<'_, PyTensor>>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    pin_memory: bool,
) -> Result<Py<PyTensor>> {
    let _ = (layout, pin_memory);
    let dtype = parse_or(dtype, lampyr::default_dtype())?;
    output(size.py(), Tensor::empty(&shape(size)?, dtype, crate::dtype::device(device)?)?, out, requires_grad)
}

pub(super) fn some_number(ob: &Ob<'_>) -> Result<Scalar> {
    if let Some(s) = number(ob)? {
        return Ok(s);
    }
    super::convert::scalar_of(&required(ob)?.tensor()?)
}

/// All elements `fill_value`.
#[pyfunction]
#[pyo3(signature = (size, fill_value, *, out = None, dtype = None, layout = None, device = None, requires_grad = false,
    pin_memory = false))]
#[allow(clippy::too_many_arguments)]
pub fn full(
    size: &Ob<'_>,
    fill_value: &Ob<'_>,
    out: Option<&Bound<'_, PyTensor>>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    pin_memory: bool,
) -> Result<Py<PyTensor>> {
    let _ = (layout, pin_memory);
    let value = some_number(fill_value)?;
    let to = parse_or(dtype, value.dtype())?;
    if let Scalar::Int(i) = value {
        check_range(&[i], to)?;
    }
    let shape = shape(&PyTuple::new(size.py(), [size])?)?;
    output(size.py(), f::full(&shape, value, to, crate::dtype::device(device)?)?, out, requires_grad)
}

fn like(x: &PyTensor, value: Scalar, dtype: Option<&Ob<'_>>, requires_grad: bool) -> Result<PyTensor> {
    let x = x.t();
    leaf(f::full(x.shape(), value, parse_or(dtype, x.dtype())?, x.device())?, requires_grad)
}

/// Zeros with the shape of `input`.
#[pyfunction]
#[pyo3(signature = (input, *, dtype = None, layout = None, device = None, requires_grad = false,
    memory_format = None))]
#[allow(clippy::too_many_arguments)]
pub fn zeros_like(
    input: &Bound<'_, PyTensor>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    memory_format: Option<&Ob<'_>>,
) -> Result<PyTensor> {
    let _ = (layout, memory_format);
    crate::dtype::device(device)?;
    like(input.get(), Scalar::Int(0), dtype, requires_grad)
}

/// Ones with the shape of `input`.
#[pyfunction]
#[pyo3(signature = (input, *, dtype = None, layout = None, device = None, requires_grad = false,
    memory_format = None))]
#[allow(clippy::too_many_arguments)]
pub fn ones_like(
    input: &Bound<'_, PyTensor>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    memory_format: Option<&Ob<'_>>,
) -> Result<PyTensor> {
    let _ = (layout, memory_format);
    crate::dtype::device(device)?;
    like(input.get(), Scalar::Int(1), dtype, requires_grad)
}

/// Arbitrary contents with the shape of `input`.
#[pyfunction]
#[pyo3(signature = (input, *, dtype = None, layout = None, device = None, requires_grad = false,
    memory_format = None))]
#[allow(clippy::too_many_arguments)]
pub fn empty_like(
    input: &Bound<'_, PyTensor>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    memory_format: Option<&Ob<'_>>,
) -> Result<PyTensor> {
    let _ = (layout, memory_format);
    crate::dtype::device(device)?;
    let x = &input.get().t();
    leaf(Tensor::empty(x.shape(), parse_or(dtype, x.dtype())?, x.device())?, requires_grad)
}

/// All elements `fill_value`, with the shape of `input`.
#[pyfunction]
#[pyo3(signature = (input, fill_value, *, dtype = None, layout = None, device = None, requires_grad = false,
    memory_format = None))]
#[allow(clippy::too_many_arguments)]
pub fn full_like(
    input: &Bound<'_, PyTensor>,
    fill_value: &Ob<'_>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    memory_format: Option<&Ob<'_>>,
) -> Result<PyTensor> {
    let _ = (layout, memory_format);
    crate::dtype::device(device)?;
    like(input.get(), some_number(fill_value)?, dtype, requires_grad)
}

/// Numbers from `start` up to but not including `end` by `step`.
#[pyfunction]
#[pyo3(signature = (start, end = None, step = None, *, out = None, dtype = None, layout = None, device = None,
    requires_grad = false, pin_memory = false))]
#[allow(clippy::too_many_arguments)]
pub fn arange(
    start: &Ob<'_>,
    end: Option<&Ob<'_>>,
    step: Option<&Ob<'_>>,
    out: Option<&Bound<'_, PyTensor>>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    pin_memory: bool,
) -> Result<Py<PyTensor>> {
    let _ = (layout, pin_memory);
    crate::dtype::device(device)?;
    let first = some_number(start)?;
    let (first, last) = match end {
        Some(end) => (first, some_number(end)?),
        None => (Scalar::Int(0), first),
    };
    let step = step.map_or(Ok(Scalar::Int(1)), some_number)?;
    let floats = [first, last, step].iter().any(|s| matches!(s, Scalar::Float(_)));
    let natural = if floats { lampyr::default_dtype() } else { DType::I64 };
    output(start.py(), f::arange(first, last, step, parse_or(dtype, natural)?)?, out, requires_grad)
}

/// `steps` numbers at equal distances from `start` to `end`, both included.
fn spaced(start: f64, end: f64, steps: i64, dtype: DType) -> Result<Vec<f64>> {
    let n = usize::try_from(steps).map_err(|_| Error::value(format!("{steps} steps")).with_expected("0 or more"))?;
    // The memory limit is asked before the host makes the numbers.
    drop(Tensor::empty(&[n], DType::F64, Device::CPU)?);
    let round = |v: f64| if dtype.is_float() { v } else { v.trunc() };
    let (start, end) = (round(start), round(end));
    let step = if n > 1 { (end - start) / (n - 1) as f64 } else { 0.0 };
    // Both halves count from their own end, so that both ends are exact.
    let at = |i: usize| if n == 1 || i < n / 2 { start + step * i as f64 } else { end - step * (n - 1 - i) as f64 };
    Ok((0..n).map(|i| round(at(i))).collect())
}

/// `steps` numbers at equal distances from `start` to `end`, both included.
#[pyfunction]
#[pyo3(signature = (start, end, steps, *, out = None, dtype = None, layout = None, device = None,
    requires_grad = false))]
#[allow(clippy::too_many_arguments)]
pub fn linspace(
    start: &Ob<'_>,
    end: &Ob<'_>,
    steps: i64,
    out: Option<&Bound<'_, PyTensor>>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
) -> Result<Py<PyTensor>> {
    let _ = layout;
    crate::dtype::device(device)?;
    let to = parse_or(dtype, lampyr::default_dtype())?;
    let values = spaced(some_number(start)?.to_f64(), some_number(end)?.to_f64(), steps, to)?;
    let host = HostTensor::from_f64(to, &[values.len()], &values)?;
    output(start.py(), Tensor::from_host(&host, Device::CPU)?, out, requires_grad)
}

/// `base` to the power of `steps` numbers at equal distances from `start` to `end`, both included.
#[pyfunction]
#[pyo3(signature = (start, end, steps, base = 10.0, *, out = None, dtype = None, layout = None, device = None,
    requires_grad = false))]
#[allow(clippy::too_many_arguments)]
pub fn logspace(
    start: &Ob<'_>,
    end: &Ob<'_>,
    steps: i64,
    base: f64,
    out: Option<&Bound<'_, PyTensor>>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
) -> Result<Py<PyTensor>> {
    let _ = layout;
    crate::dtype::device(device)?;
    let to = parse_or(dtype, lampyr::default_dtype())?;
    // Exponents of whole numbers are at equal distances between whole ends.
    let end_of = |ob: &Ob<'_>| some_number(ob).map(|s| if to.is_float() { s.to_f64() } else { s.to_f64().trunc() });
    let powers = spaced(end_of(start)?, end_of(end)?, steps, DType::F64)?;
    let values: Vec<f64> = powers.into_iter().map(|p| base.powf(p)).collect();
    let host = HostTensor::from_f64(to, &[values.len()], &values)?;
    output(start.py(), Tensor::from_host(&host, Device::CPU)?, out, requires_grad)
}

/// The identity matrix of `n` rows and `m` columns, by default as many.
#[pyfunction]
#[pyo3(signature = (n, m = None, *, out = None, dtype = None, layout = None, device = None, requires_grad = false,
    pin_memory = false))]
#[allow(clippy::too_many_arguments)]
pub fn eye(
    py: Python<'_>,
    n: i64,
    m: Option<i64>,
    out: Option<&Bound<'_, PyTensor>>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    pin_memory: bool,
) -> Result<Py<PyTensor>> {
    let _ = (layout, pin_memory);
    let size = |n: i64| {
        usize::try_from(n)
            .map_err(|_| Error::value(format!("an identity of {n} rows or columns")).with_expected("0 or more"))
    };
    let (n, m, to) = (size(n)?, size(m.unwrap_or(n))?, parse_or(dtype, lampyr::default_dtype())?);
    let made = f::full(&[n, m], Scalar::Int(0), to, crate::dtype::device(device)?)?;
    let diagonal = f::one(&lampyr::ops::build::Diagonal { offset: 0, axis1: 0, axis2: 1 }, &[&made])?;
    f::copy_(&diagonal, Scalar::Int(1).into(), false)?;
    output(py, made.detach(), out, requires_grad)
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

/// A 0-d tensor.
#[pyfunction]
#[pyo3(signature = (s, *, dtype = None, layout = None, device = None, pin_memory = None, requires_grad = false))]
pub fn scalar_tensor(
    s: &Ob<'_>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    pin_memory: Option<bool>,
    requires_grad: bool,
) -> Result<PyTensor> {
    let _ = (layout, pin_memory);
    let to = parse_or(dtype, lampyr::default_dtype())?;
    leaf(f::full(&[], some_number(s)?, to, crate::dtype::device(device)?)?, requires_grad)
}
