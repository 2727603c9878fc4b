//! Sharing memory with other libraries: the buffer protocol and DLPack.

mod buffer;
mod dlpack;
mod foreign;

use lampyr::{Error, Tensor};
use pyo3::intern;
use pyo3::prelude::*;

use crate::error::Result;
use crate::tensor::PyTensor;

/// A tensor from an array of another library, over the same memory where that is possible. A read-only array is copied
/// unless `share` is set, which the caller may do when it never writes. `None` when `ob` is no array.
pub fn array(ob: &Bound<'_, PyAny>, share: bool) -> Result<Option<Tensor>> {
    if let Some(t) = buffer::import(ob, share)? {
        return Ok(Some(t));
    }
    let py = ob.py();
    if ob.hasattr(intern!(py, "__dlpack__"))? {
        return dlpack::import(ob, share).map(Some);
    }
    if ob.hasattr(intern!(py, "__array__"))? {
        return buffer::import(&ob.call_method0(intern!(py, "__array__"))?, share);
    }
    Ok(None)
}

/// A tensor over the memory of a NumPy array or any other object with the buffer protocol. Changes show on both sides;
/// a read-only or unaligned array is copied.
#[pyfunction]
pub fn from_numpy(ndarray: &Bound<'_, PyAny>) -> Result<PyTensor> {
    let made = buffer::import(ndarray, false)?.ok_or_else(|| {
        Error::dtype(format!("a {} has no buffer of numbers", type_name(ndarray))).with_expected("a NumPy array")
    })?;
    Ok(PyTensor::of(made))
}

/// A tensor over the memory of any object with `__dlpack__`. Changes show on both sides; a read-only one is copied.
/// With `copy` always into memory of its own; with `copy=False` never.
#[pyfunction]
#[pyo3(signature = (ext_tensor, *, device = None, copy = None))]
pub fn from_dlpack(
    ext_tensor: &Bound<'_, PyAny>,
    device: Option<&Bound<'_, PyAny>>,
    copy: Option<bool>,
) -> Result<PyTensor> {
    crate::dtype::device(device)?;
    let made = dlpack::import(ext_tensor, false)?;
    Ok(PyTensor::of(if copy == Some(true) { made.duplicate()? } else { made }))
}

/// A tensor from a tensor, array, number or nested list; memory is shared where that is possible.
#[pyfunction]
#[pyo3(signature = (data, dtype = None))]
pub fn asarray<'py>(data: &Bound<'py, PyAny>, dtype: Option<&Bound<'py, PyAny>>) -> Result<Bound<'py, PyTensor>> {
    let to = dtype.map(crate::dtype::parse).transpose()?;
    if let Ok(t) = data.cast::<PyTensor>()
        && to.is_none_or(|d| d == t.get().t().dtype())
    {
        return Ok(t.clone());
    }
    let made = match array(data, false)? {
        Some(t) => t,
        None => crate::tensor::from_data(data, to)?,
    };
    let made = to.map_or(Ok(made.clone()), |d| made.to_dtype(d))?;
    Ok(Bound::new(data.py(), PyTensor::of(made))?)
}

pub fn type_name(ob: &Bound<'_, PyAny>) -> String {
    ob.get_type().name().map_or_else(|_| "object".to_string(), |n| n.to_string())
}
