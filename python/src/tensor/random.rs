//! Random tensors and their generators.

use std::sync::Arc;

use lampyr::functional::{self as f, Operand};
use lampyr::names::Value;
use lampyr::random::{self as r};
use lampyr::{DType, Error, Tensor};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::PyTensor;
use super::create::{leaf, output};
use crate::argument::{required, shape};
use crate::dtype::{PyDevice, parse_or};
use crate::error::{Result, run};

type Ob<'py> = Bound<'py, PyAny>;
type Source<'a, 'py> = Option<&'a Bound<'py, Generator>>;

/// A source of random numbers. Numbers depend on its seed and on what was drawn before, not on the number of threads.
#[pyclass(module = "lampyr", frozen)]
pub struct Generator(Kind);

enum Kind {
    Default,
    Own(Arc<r::Generator>),
}

impl Generator {
    /// As an argument; the default generator is what functions use where none is given.
    pub fn argument(&self) -> Value<'static> {
        match &self.0 {
            Kind::Default => Value::None,
            Kind::Own(g) => Value::Generator(g.clone()),
        }
    }

    fn get(&self) -> &r::Generator {
        match &self.0 {
            Kind::Default => r::default_generator(),
            Kind::Own(g) => g,
        }
    }
}

fn source<'a>(generator: Source<'a, '_>) -> &'a r::Generator {
    match generator {
        Some(g) => g.get().get(),
        None => r::default_generator(),
    }
}

/// Python's integers stand for seeds modulo 2^64, negative ones too.
fn seed_of(seed: &Ob<'_>) -> Result<u64> {
    if let Ok(s) = seed.extract::<u64>() {
        return Ok(s);
    }
    let negative = seed
        .extract::<i64>()
        .map_err(|_| Error::value(format!("a seed of {seed}")).with_expected("-2^63 to 2^64 - 1"))?;
    Ok(negative as u64)
}

#[pymethods]
impl Generator {
    #[new]
    #[pyo3(signature = (device = None))]
    fn new(device: Option<&Ob<'_>>) -> Result<Generator> {
        crate::dtype::device(device)?;
        Ok(Generator(Kind::Own(Arc::default())))
    }

    /// Starts anew from `seed`.
    fn manual_seed<'py>(slf: &Bound<'py, Self>, seed: &Ob<'py>) -> Result<Bound<'py, Self>> {
        slf.get().get().manual_seed(seed_of(seed)?);
        Ok(slf.clone())
    }

    /// Starts anew from a seed that differs from call to call, and returns it.
    fn seed(&self) -> u64 {
        self.get().seed()
    }

    /// The seed it started from.
    fn initial_seed(&self) -> u64 {
        self.get().initial_seed()
    }

    /// All there is to save, as a uint8 tensor.
    fn get_state(&self) -> Result<PyTensor> {
        Ok(PyTensor::of(Tensor::from_slice(&self.get().state(), &[16])?))
    }

    /// Goes back to a state that `get_state` gave.
    fn set_state<'py>(slf: &Bound<'py, Self>, new_state: &Bound<'py, PyTensor>) -> Result<Bound<'py, Self>> {
        let t = &new_state.get().t();
        if t.dtype() != DType::U8 {
            return Err(Error::dtype(format!("a {} tensor as the state of a generator", t.dtype()))
                .with_expected("the uint8 tensor that get_state() gives")
                .into());
        }
        slf.get().get().set_state(&t.to_vec::<u8>()?)?;
        Ok(slf.clone())
    }

    /// A generator in the same state.
    fn clone_state(&self) -> Result<Generator> {
        let copy = r::Generator::default();
        copy.set_state(&self.get().state())?;
        Ok(Generator(Kind::Own(Arc::new(copy))))
    }

    /// Where it makes numbers.
    #[getter]
    fn device(&self) -> PyDevice {
        PyDevice(lampyr::Device::CPU)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let rebuild = py.import(pyo3::intern!(py, "lampyr._lampyr"))?.getattr("_generator")?;
        Ok((rebuild, (PyBytes::new(py, &self.get().state()),)).into_pyobject(py)?.into_any())
    }
}

/// A generator from what pickling kept of it.
#[pyfunction]
#[pyo3(name = "_generator")]
pub fn generator(state: &[u8]) -> Result<Generator> {
    let made = r::Generator::default();
    made.set_state(state)?;
    Ok(Generator(Kind::Own(Arc::new(made))))
}

/// The generator that is used where none is given.
#[pyfunction]
#[pyo3(name = "_default_generator")]
pub fn default_generator() -> Generator {
    Generator(Kind::Default)
}

fn float(dtype: Option<&Ob<'_>>) -> Result<DType> {
    parse_or(dtype, lampyr::default_dtype())
}

/// Uniform in [0, 1).
#[pyfunction]
#[pyo3(signature = (*size, generator = None, out = None, dtype = None, layout = None, device = None,
    requires_grad = false, pin_memory = false))]
#[allow(clippy::too_many_arguments)]
pub fn rand(
    py: Python<'_>,
    size: &Bound<'_, PyTuple>,
    generator: Source<'_, '_>,
    out: Option<&Bound<'_, PyTensor>>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    pin_memory: bool,
) -> Result<Py<PyTensor>> {
    let g = source(generator);
    let _ = (layout, pin_memory);
    crate::dtype::device(device)?;
    let (size, to) = (shape(size)?, float(dtype)?);
    let made = run(py, 1e5, || r::rand(&size, to, g))?;
    output(py, made, out, requires_grad)
}

/// Normal with mean 0 and variance 1.
#[pyfunction]
#[pyo3(signature = (*size, generator = None, out = None, dtype = None, layout = None, device = None,
    requires_grad = false, pin_memory = false))]
#[allow(clippy::too_many_arguments)]
pub fn randn(
    py: Python<'_>,
    size: &Bound<'_, PyTuple>,
    generator: Source<'_, '_>,
    out: Option<&Bound<'_, PyTensor>>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    pin_memory: bool,
) -> Result<Py<PyTensor>> {
    let g = source(generator);
    let _ = (layout, pin_memory);
    crate::dtype::device(device)?;
    let (size, to) = (shape(size)?, float(dtype)?);
    let made = run(py, 1e5, || r::randn(&size, to, g))?;
    output(py, made, out, requires_grad)
}

/// Whole numbers from `low` (0 by default) up to but not including `high`: `randint(high, size)` or
/// `randint(low, high, size)`.
#[pyfunction]
#[pyo3(signature = (*args, low = None, high = None, size = None, generator = None, out = None, dtype = None,
    layout = None, device = None, requires_grad = false))]
#[allow(clippy::too_many_arguments)]
pub fn randint(
    py: Python<'_>,
    args: &Bound<'_, PyTuple>,
    low: Option<i64>,
    high: Option<i64>,
    size: Option<&Ob<'_>>,
    generator: Source<'_, '_>,
    out: Option<&Bound<'_, PyTensor>>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
) -> Result<Py<PyTensor>> {
    let g = source(generator);
    let _ = layout;
    crate::dtype::device(device)?;
    let wrong =
        || Error::value("randint needs an upper bound and a size").with_expected("(high, size) or (low, high, size)");
    let mut given: Vec<Ob<'_>> = args.iter().collect();
    let size = match size {
        Some(s) => s.clone(),
        None => given.pop().ok_or_else(wrong)?,
    };
    let bounds = given.iter().map(|x| x.extract()).collect::<PyResult<Vec<i64>>>()?;
    let (low, high) = match (bounds.as_slice(), low, high) {
        ([], low, Some(high)) => (low.unwrap_or(0), high),
        ([high], None, None) => (0, *high),
        ([low], None, Some(high)) => (*low, high),
        ([high], Some(low), None) => (low, *high),
        ([low, high], None, None) => (*low, *high),
        _ => return Err(wrong().into()),
    };
    let size = shape(&PyTuple::new(py, [size])?)?;
    let to = parse_or(dtype, DType::I64)?;
    let made = run(py, 1e5, || r::randint(&size, low, high, to, g))?;
    output(py, made, out, requires_grad)
}

/// The numbers 0 to n - 1 in random order.
#[pyfunction]
#[pyo3(signature = (n, *, generator = None, out = None, dtype = None, layout = None, device = None,
    requires_grad = false, pin_memory = false))]
#[allow(clippy::too_many_arguments)]
pub fn randperm(
    py: Python<'_>,
    n: i64,
    generator: Source<'_, '_>,
    out: Option<&Bound<'_, PyTensor>>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    pin_memory: bool,
) -> Result<Py<PyTensor>> {
    let g = source(generator);
    let _ = (layout, pin_memory);
    crate::dtype::device(device)?;
    let n = usize::try_from(n).map_err(|_| Error::value(format!("a permutation of {n} numbers")))?;
    let to = parse_or(dtype, DType::I64)?;
    let made = run(py, 1e5, || r::randperm(n, to, g))?;
    output(py, made, out, requires_grad)
}

/// Uniform in [0, 1), with the shape of `input`.
#[pyfunction]
#[pyo3(signature = (input, *, generator = None, dtype = None, layout = None, device = None, requires_grad = false,
    memory_format = None))]
#[allow(clippy::too_many_arguments)]
pub fn rand_like(
    py: Python<'_>,
    input: &Bound<'_, PyTensor>,
    generator: Source<'_, '_>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    memory_format: Option<&Ob<'_>>,
) -> Result<PyTensor> {
    let g = source(generator);
    let _ = (layout, memory_format);
    crate::dtype::device(device)?;
    let (x, to) = (&input.get().t(), parse_or(dtype, input.get().t().dtype())?);
    leaf(run(py, x.len() as f64 * 4.0, || r::rand(x.shape(), to, g))?, requires_grad)
}

/// Normal with mean 0 and variance 1, with the shape of `input`.
#[pyfunction]
#[pyo3(signature = (input, *, generator = None, dtype = None, layout = None, device = None, requires_grad = false,
    memory_format = None))]
#[allow(clippy::too_many_arguments)]
pub fn randn_like(
    py: Python<'_>,
    input: &Bound<'_, PyTensor>,
    generator: Source<'_, '_>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    memory_format: Option<&Ob<'_>>,
) -> Result<PyTensor> {
    let g = source(generator);
    let _ = (layout, memory_format);
    crate::dtype::device(device)?;
    let (x, to) = (&input.get().t(), parse_or(dtype, input.get().t().dtype())?);
    leaf(run(py, x.len() as f64 * 4.0, || r::randn(x.shape(), to, g))?, requires_grad)
}

/// Whole numbers with the shape of `input`: `randint_like(x, high)` or `randint_like(x, low, high)`.
#[pyfunction]
#[pyo3(signature = (input, low, high = None, *, generator = None, dtype = None, layout = None, device = None,
    requires_grad = false, memory_format = None))]
#[allow(clippy::too_many_arguments)]
pub fn randint_like(
    py: Python<'_>,
    input: &Bound<'_, PyTensor>,
    low: i64,
    high: Option<i64>,
    generator: Source<'_, '_>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
    memory_format: Option<&Ob<'_>>,
) -> Result<PyTensor> {
    let g = source(generator);
    let _ = (layout, memory_format);
    crate::dtype::device(device)?;
    let (low, high) = high.map_or((0, low), |high| (low, high));
    let (x, to) = (&input.get().t(), parse_or(dtype, input.get().t().dtype())?);
    leaf(run(py, x.len() as f64 * 4.0, || r::randint(x.shape(), low, high, to, g))?, requires_grad)
}

/// Normal numbers: means and standard deviations as tensors or numbers, and a size where both are numbers.
#[pyfunction]
#[pyo3(signature = (mean, std = None, size = None, *, generator = None, out = None, dtype = None, layout = None,
    device = None, requires_grad = false))]
#[allow(clippy::too_many_arguments)]
pub fn normal(
    py: Python<'_>,
    mean: &Ob<'_>,
    std: Option<&Ob<'_>>,
    size: Option<&Ob<'_>>,
    generator: Source<'_, '_>,
    out: Option<&Bound<'_, PyTensor>>,
    dtype: Option<&Ob<'_>>,
    layout: Option<&Ob<'_>>,
    device: Option<&Ob<'_>>,
    requires_grad: bool,
) -> Result<Py<PyTensor>> {
    let g = source(generator);
    let _ = layout;
    crate::dtype::device(device)?;
    let mean = required(mean)?;
    let std = std.map(required).transpose()?;
    let (mean, std) =
        (mean.operand(), std.as_ref().map_or(Operand::Scalar(lampyr::Scalar::Float(1.0)), |s| s.operand()));
    let made = match (mean, std, size) {
        (Operand::Scalar(m), Operand::Scalar(s), Some(size)) => {
            let (size, to) = (shape(&PyTuple::new(py, [size])?)?, float(dtype)?);
            run(py, 1e5, || r::rand_normal(&size, m.to_f64(), s.to_f64(), to, g))?
        }
        (Operand::Scalar(_), Operand::Scalar(_), None) => {
            return Err(Error::value("normal() of two numbers needs a size").with_expected("size=(2, 3)").into());
        }
        _ => run(py, 1e5, || r::normal(mean, std, g))?,
    };
    output(py, made, out, requires_grad)
}

/// 1 with the probability that each element says, else 0; with `p`, of that probability in the shape of `input`.
#[pyfunction]
#[pyo3(signature = (input, p = None, *, generator = None, out = None))]
pub fn bernoulli(
    py: Python<'_>,
    input: &Bound<'_, PyTensor>,
    p: Option<f64>,
    generator: Source<'_, '_>,
    out: Option<&Bound<'_, PyTensor>>,
) -> Result<Py<PyTensor>> {
    let g = source(generator);
    let x = &input.get().t();
    let made = run(py, x.len() as f64 * 4.0, || match p {
        None => r::bernoulli(x, g),
        Some(p) => {
            r::bernoulli(&f::full(x.shape(), lampyr::Scalar::Float(p), DType::F64, x.device())?, g)?.to_dtype(x.dtype())
        }
    })?;
    output(py, made, out, false)
}

/// Categories drawn by the weights in each row.
#[pyfunction]
#[pyo3(signature = (input, num_samples, replacement = false, *, generator = None, out = None))]
pub fn multinomial(
    py: Python<'_>,
    input: &Bound<'_, PyTensor>,
    num_samples: i64,
    replacement: bool,
    generator: Source<'_, '_>,
    out: Option<&Bound<'_, PyTensor>>,
) -> Result<Py<PyTensor>> {
    let g = source(generator);
    let x = &input.get().t();
    let count = usize::try_from(num_samples).map_err(|_| Error::value(format!("{num_samples} samples")))?;
    let made = run(py, x.len() as f64 * 8.0, || r::multinomial(x, count, replacement, g))?;
    output(py, made, out, false)
}

/// How many events happen where each element of `input` are expected.
#[pyfunction]
#[pyo3(signature = (input, generator = None))]
pub fn poisson(py: Python<'_>, input: &Bound<'_, PyTensor>, generator: Source<'_, '_>) -> Result<PyTensor> {
    let g = source(generator);
    let x = &input.get().t();
    Ok(PyTensor::of(run(py, x.len() as f64 * 40.0, || r::poisson(x, g))?))
}

/// Fills a tensor with what `draw` makes for its shape and dtype.
fn fill<'py>(
    slf: &Bound<'py, PyTensor>,
    draw: impl FnOnce(&[usize], DType) -> lampyr::Result<Tensor> + Send,
) -> Result<Bound<'py, PyTensor>> {
    let x = &slf.get().t();
    run(slf.py(), x.len() as f64 * 4.0, || x.assign_(&draw(x.shape(), x.dtype())?))?;
    Ok(slf.clone())
}

#[pymethods]
impl PyTensor {
    /// Fills with uniform numbers in [from, to).
    #[pyo3(signature = (from = 0.0, to = 1.0, *, generator = None),
        text_signature = "($self, from_=0.0, to=1.0, *, generator=None)")]
    fn uniform_<'py>(
        slf: &Bound<'py, Self>,
        from: f64,
        to: f64,
        generator: Source<'_, 'py>,
    ) -> Result<Bound<'py, Self>> {
        let g = source(generator);
        fill(slf, |s, d| r::uniform(s, from, to, d, g))
    }

    /// Fills with normal numbers.
    #[pyo3(signature = (mean = 0.0, std = 1.0, *, generator = None))]
    fn normal_<'py>(
        slf: &Bound<'py, Self>,
        mean: f64,
        std: f64,
        generator: Source<'_, 'py>,
    ) -> Result<Bound<'py, Self>> {
        let g = source(generator);
        fill(slf, |s, d| r::rand_normal(s, mean, std, d, g))
    }

    /// Fills with numbers of an exponential distribution of rate `lambd`.
    #[pyo3(signature = (lambd = 1.0, *, generator = None))]
    fn exponential_<'py>(slf: &Bound<'py, Self>, lambd: f64, generator: Source<'_, 'py>) -> Result<Bound<'py, Self>> {
        let g = source(generator);
        fill(slf, |s, d| r::exponential(s, lambd, d, g))
    }

    /// Fills with numbers of a Cauchy distribution.
    #[pyo3(signature = (median = 0.0, sigma = 1.0, *, generator = None))]
    fn cauchy_<'py>(
        slf: &Bound<'py, Self>,
        median: f64,
        sigma: f64,
        generator: Source<'_, 'py>,
    ) -> Result<Bound<'py, Self>> {
        let g = source(generator);
        fill(slf, |s, d| r::cauchy(s, median, sigma, d, g))
    }

    /// Fills with e to the power of normal numbers.
    #[pyo3(signature = (mean = 1.0, std = 2.0, *, generator = None))]
    fn log_normal_<'py>(
        slf: &Bound<'py, Self>,
        mean: f64,
        std: f64,
        generator: Source<'_, 'py>,
    ) -> Result<Bound<'py, Self>> {
        let g = source(generator);
        fill(slf, |s, d| r::log_normal(s, mean, std, d, g))
    }

    /// Fills with numbers of trials until success.
    #[pyo3(signature = (p, *, generator = None))]
    fn geometric_<'py>(slf: &Bound<'py, Self>, p: f64, generator: Source<'_, 'py>) -> Result<Bound<'py, Self>> {
        let g = source(generator);
        fill(slf, |s, d| r::geometric(s, p, d, g))
    }

    /// Fills with whole numbers from `from` up to but not including `to`; by default all that the dtype holds exactly
    /// from 0 on.
    #[pyo3(signature = (from = None, to = None, *, generator = None),
        text_signature = "($self, from_=None, to=None, *, generator=None)")]
    fn random_<'py>(
        slf: &Bound<'py, Self>,
        from: Option<i64>,
        to: Option<i64>,
        generator: Source<'_, 'py>,
    ) -> Result<Bound<'py, Self>> {
        let g = source(generator);
        fill(slf, |s, d| match (from, to) {
            (None, None) => r::random_integers(s, 0, 0, d, g),
            (Some(to), None) => r::randint(s, 0, to, d, g),
            (from, Some(to)) => r::randint(s, from.unwrap_or(0), to, d, g),
        })
    }

    /// Fills with 1 with probability `p` (a number or a tensor), else 0.
    #[pyo3(signature = (p = None, *, generator = None))]
    fn bernoulli_<'py>(
        slf: &Bound<'py, Self>,
        p: Option<&Ob<'py>>,
        generator: Source<'_, 'py>,
    ) -> Result<Bound<'py, Self>> {
        let g = source(generator);
        let half = lampyr::Scalar::Float(0.5);
        let given = p.map(required).transpose()?;
        let p = given.as_ref().map_or(Operand::Scalar(half), |p| p.operand());
        fill(slf, |shape, dtype| {
            let wide = match p {
                Operand::Tensor(t) => t.detach().expand(shape)?,
                Operand::Scalar(s) => f::full(shape, s, DType::F64, lampyr::Device::CPU)?,
            };
            r::bernoulli(&wide, g)?.to_dtype(dtype)
        })
    }

    /// 1 with the probability that each element says, else 0.
    #[pyo3(name = "bernoulli", signature = (p = None, *, generator = None))]
    fn bernoulli_method(slf: &Bound<'_, Self>, p: Option<f64>, generator: Source<'_, '_>) -> Result<Py<PyTensor>> {
        bernoulli(slf.py(), slf, p, generator, None)
    }

    /// Categories drawn by the weights in each row.
    #[pyo3(name = "multinomial", signature = (num_samples, replacement = false, *, generator = None))]
    fn multinomial_method(
        slf: &Bound<'_, Self>,
        num_samples: i64,
        replacement: bool,
        generator: Source<'_, '_>,
    ) -> Result<Py<PyTensor>> {
        multinomial(slf.py(), slf, num_samples, replacement, generator, None)
    }
}
