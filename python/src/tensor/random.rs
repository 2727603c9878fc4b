//! Random tensors and their generators.

use std::sync::Arc;

use lampyr::names::Value;
use lampyr::random::{self as r};
use lampyr::{DType, Error, Tensor};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::PyTensor;
use crate::dtype::PyDevice;
use crate::error::Result;

type Ob<'py> = Bound<'py, PyAny>;

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
