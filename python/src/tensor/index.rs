//! `x[...]` and `x[...] = y`.

use lampyr::functional::{self as f, Index};
use lampyr::{DType, Error};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyEllipsis, PyInt, PySlice, PyTuple};
use smallvec::SmallVec;

use super::PyTensor;
use crate::argument::{is_sequence, required};
use crate::error::{Result, run};

type Ob<'py> = Bound<'py, PyAny>;
type Items = SmallVec<[Index; 4]>;

fn whole(ob: &Ob<'_>) -> Result<Option<i64>> {
    if ob.is_none() {
        return Ok(None);
    }
    let at = ob.call_method0(pyo3::intern!(ob.py(), "__index__"))?;
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
    if ob.cast::<PyBool>().is_ok() {
        return Err(Error::index("a bool is not an index")
            .with_help("use a bool tensor of the shape of the axes")
            .into());
    }
    if ob.cast::<PyInt>().is_ok() {
        return Ok(Index::At(ob.extract()?));
    }
    if let Ok(slice) = ob.cast::<PySlice>() {
        let py = ob.py();
        let get = |name| whole(&slice.getattr(name)?);
        let step = get(pyo3::intern!(py, "step"))?.unwrap_or(1);
        return Ok(Index::Slice(get(pyo3::intern!(py, "start"))?, get(pyo3::intern!(py, "stop"))?, step));
    }
    let t = if is_sequence(ob) {
        let t = super::from_data(ob, None)?;
        if t.is_empty() { t.to_dtype(DType::I64)? } else { t }
    } else {
        required(ob)?.tensor()?
    };
    if t.rank() == 0 && t.dtype().is_integer() {
        return Ok(Index::At(t.item()? as i64));
    }
    Ok(Index::Tensor(t))
}

fn items(ob: &Ob<'_>) -> Result<Items> {
    match ob.cast::<PyTuple>() {
        Ok(tuple) => tuple.iter().map(|x| item(&x)).collect(),
        Err(_) => Ok(SmallVec::from_iter([item(ob)?])),
    }
}

#[pymethods]
impl PyTensor {
    fn __getitem__(&self, index: &Ob<'_>) -> Result<PyTensor> {
        let items = items(index)?;
        let copies = items.iter().any(|i| matches!(i, Index::Tensor(_)));
        let work = if copies { self.0.len() as f64 } else { 0.0 };
        Ok(PyTensor(run(index.py(), work, || f::index(&self.0, &items))?))
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
        run(index.py(), self.0.len() as f64, || f::set_index(&self.0, &items, value.operand()))
    }
}
