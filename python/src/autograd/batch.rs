//! Levels of `vmap`.

use lampyr::Error;
use lampyr::runtime::batch::{self, Randomness};
use pyo3::prelude::*;

use crate::error::Result;
use crate::tensor::PyTensor;

/// Begins a level over `size` elements; its number.
#[pyfunction]
#[pyo3(name = "_vmap_push")]
pub fn vmap_push(size: usize, randomness: &str) -> Result<u64> {
    let randomness = match randomness {
        "error" => Randomness::Error,
        "different" => Randomness::Different,
        "same" => Randomness::Same,
        other => {
            return Err(Error::value(format!("randomness is `{other}`"))
                .with_expected("error, different or same")
                .into());
        }
    };
    Ok(batch::push_level(size, randomness))
}

/// Ends a level and those begun since.
#[pyfunction]
#[pyo3(name = "_vmap_pop")]
pub fn vmap_pop(level: u64) {
    batch::pop_level(level);
}

/// `x` with its axis `axis` hidden as the elements of `level`.
#[pyfunction]
#[pyo3(name = "_vmap_enter")]
pub fn vmap_enter(x: &Bound<'_, PyTensor>, level: u64, axis: usize) -> Result<PyTensor> {
    Ok(PyTensor::of(batch::enter(&x.get().t(), level, axis)?))
}

/// `x` with the elements of `level` along its axis `axis`.
#[pyfunction]
#[pyo3(name = "_vmap_leave")]
pub fn vmap_leave(x: &Bound<'_, PyTensor>, level: u64, axis: usize, size: usize) -> Result<PyTensor> {
    Ok(PyTensor::of(batch::leave(&x.get().t(), level, axis, size)?))
}

/// `x` with a place for each element of all levels of this thread.
#[pyfunction]
#[pyo3(name = "_vmap_spread")]
pub fn vmap_spread(x: &Bound<'_, PyTensor>) -> Result<PyTensor> {
    Ok(PyTensor::of(batch::spread(&x.get().t())?))
}

/// Whether `x` differs between the elements of `level`.
#[pyfunction]
#[pyo3(name = "_vmap_has")]
pub fn vmap_has(x: &Bound<'_, PyTensor>, level: u64) -> bool {
    batch::has(&x.get().t(), level)
}
