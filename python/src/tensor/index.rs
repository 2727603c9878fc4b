//! `x[...]` and `x[...] = y`.

use lampyr::functional::{self as f, Index};
use lampyr::{DType, Error, Scalar};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyEllipsis, PyInt, PyList, PySlice, PyTuple};
use smallvec::SmallVec;

use super::PyTensor;
use super::convert::scalar_of;
use crate::argument::{Argument, is_sequence, optional, required};
use crate::error::{Result, run};

type Ob<'py> = Bound<'py, PyAny>;
type Items = SmallVec<[Index; 4]>;

fn whole(ob: &Ob<'_>) -> Result<Option<i64>> {
    if ob.is_none() {
        return Ok(None);
    }
    let fail = |_| Error::dtype(format!("{ob} is not a bound of a slice")).with_expected("whole numbers or None");
    let at = ob.call_method0(pyo3::intern!(ob.py(), "__index__")).map_err(fail)?;
    // Python clamps slice bounds that do not fit.
    Ok(Some(at.extract::<i64>().or_else(|_| Ok::<_, PyErr>(if at.lt(0)? { i64::MIN } else { i64::MAX }))?))
}

fn item(ob: &Ob<'_>) -> Result<Index> {
    if ob.is_none() {
        return Ok(Index::NewAxis);
    }
    if ob.cast::<PyEllipsis>().is_ok() {
        return Ok(Index::Ellipsis);
    }
    if let Ok(on) = ob.cast::<PyBool>() {
        return Ok(Index::Mask(on.is_true()));
    }
    if ob.cast::<PyInt>().is_ok() {
        return Ok(Index::At(ob.extract().map_err(|_| Error::index(format!("index {ob} does not fit in 64 bits")))?));
    }
    if let Ok(slice) = ob.cast::<PySlice>() {
        let (mut start, mut stop, mut step) = (0, 0, 0);
        // SAFETY: it is a slice object.
        if unsafe { ffi::PySlice_Unpack(slice.as_ptr(), &mut start, &mut stop, &mut step) } == 0 {
            return Ok(Index::Slice(Some(start as i64), Some(stop as i64), step as i64));
        }
        drop(PyErr::take(ob.py()));
        let py = ob.py();
        let get = |name| whole(&slice.getattr(name)?);
        let step = get(pyo3::intern!(py, "step"))?.unwrap_or(1);
        return Ok(Index::Slice(get(pyo3::intern!(py, "start"))?, get(pyo3::intern!(py, "stop"))?, step));
    }
    let t = if is_sequence(ob) {
        let t = super::from_data(ob, None)?;
        if t.is_empty() { t.to_dtype(DType::I64)? } else { t }
    } else {
        match optional(ob)? {
            Some(Argument::Tensor(t)) => t.clone(),
            Some(Argument::Made(t)) => t,
            _ => return other(ob),
        }
    };
    match t.dtype() {
        DType::Bool | DType::U8 if t.rank() == 0 => Ok(Index::Mask(t.item()? != 0.0)),
        d if t.rank() == 0 && d.is_integer() => match scalar_of(&t)? {
            Scalar::Int(i) => Ok(Index::At(i)),
            // No axis is longer than half of what 64 bits count.
            _ => Ok(Index::At(i64::MAX)),
        },
        _ => Ok(Index::Tensor(t)),
    }
}

/// Objects that stand for a whole number are one; anything else is no index.
fn other(ob: &Ob<'_>) -> Result<Index> {
    if ob.hasattr(pyo3::intern!(ob.py(), "__index__"))?
        && let Some(i) = whole(ob)?
    {
        return Ok(Index::At(i));
    }
    let name = ob.get_type().name()?;
    Err(Error::index(format!("a {name} is not an index"))
        .with_expected(
            "whole numbers, slices (`:`), ellipsis (`...`), None, and tensors or lists of whole numbers or bool",
        )
        .into())
}

/// A short list that holds more than numbers stands for a tuple.
fn stands_for_tuple(ob: &Ob<'_>) -> Result<bool> {
    let Ok(list) = ob.cast::<PyList>() else { return Ok(false) };
    let structured = |x: Ob<'_>| {
        x.is_none()
            || x.cast::<PySlice>().is_ok()
            || x.cast::<PyEllipsis>().is_ok()
            || x.cast::<PyTensor>().is_ok()
            || is_sequence(&x)
    };
    Ok(list.len() < 32 && list.iter().any(structured))
}

fn items(ob: &Ob<'_>) -> Result<Items> {
    match ob.cast::<PyTuple>() {
        Ok(tuple) => tuple.iter().map(|x| item(&x)).collect(),
        Err(_) if stands_for_tuple(ob)? => ob.try_iter()?.map(|x| item(&x?)).collect(),
        Err(_) => Ok(SmallVec::from_iter([item(ob)?])),
    }
}

#[pymethods]
impl PyTensor {
    fn __getitem__(&self, index: &Ob<'_>) -> Result<PyTensor> {
        let items = items(index)?;
        let copies = items.iter().any(|i| matches!(i, Index::Tensor(_) | Index::Mask(_)));
        let work = if copies { self.t().len() as f64 } else { 0.0 };
        Ok(PyTensor::of(run(index.py(), work, || f::index(&self.t(), &items))?))
    }

    fn __setitem__(&self, index: &Ob<'_>, value: &Ob<'_>) -> Result<()> {
        let items = items(index)?;
        let made;
        let value = if is_sequence(value) {
            made = super::from_data(value, None)?;
            crate::argument::Argument::Tensor(&made)
        } else {
            required(value)?
        };
        run(index.py(), self.t().len() as f64, || f::set_index(&self.t(), &items, value.operand()))
    }
}
