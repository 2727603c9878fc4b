//! Memory, the table of ops, and calling any op by name.

use lampyr::functional::Operand;
use lampyr::{AttrMap, AttrValue, Device, Error, Tensor};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyTuple};

use crate::argument::{is_sequence, required};
use crate::dtype::{PyDType, object};
use crate::error::{Result, run};
use crate::tensor::PyTensor;

/// Bytes in use, at the peak and cached, the cap, and counts of allocations.
#[pyfunction]
pub fn memory_stats(py: Python<'_>) -> Result<Bound<'_, PyDict>> {
    let stats = lampyr::backend::backend(Device::CPU)?.memory_stats();
    let all = PyDict::new(py);
    all.set_item("active_bytes", stats.active_bytes)?;
    all.set_item("peak_bytes", stats.peak_bytes)?;
    all.set_item("cached_bytes", stats.cached_bytes)?;
    all.set_item("limit_bytes", stats.limit_bytes)?;
    all.set_item("allocations", stats.allocations)?;
    all.set_item("cache_hits", stats.cache_hits)?;
    Ok(all)
}

/// Caps the memory of tensors, in bytes; None removes the cap.
#[pyfunction]
#[pyo3(signature = (bytes))]
pub fn set_memory_limit(bytes: Option<usize>) -> Result<()> {
    lampyr::backend::backend(Device::CPU)?.set_memory_limit(bytes);
    Ok(())
}

/// Lets the peak of `memory_stats` start again from what is in use.
#[pyfunction]
pub fn reset_peak_memory_stats() {
    lampyr::reset_peak_memory();
}

/// Whether results that differ from run to run are refused.
#[pyfunction]
pub fn are_deterministic_algorithms_enabled() -> bool {
    lampyr::runtime::deterministic() == lampyr::runtime::Deterministic::Always
        || is_deterministic_algorithms_warn_only_enabled()
}

/// Whether results that differ from run to run only give a warning.
#[pyfunction]
pub fn is_deterministic_algorithms_warn_only_enabled() -> bool {
    lampyr::runtime::deterministic() == lampyr::runtime::Deterministic::Warn
}

/// Refuses, or with `warn_only` notes in `take_warnings`, ops whose results differ from run to run. All ops of Lampyr
/// give the same bits always; ops that users register may not.
#[pyfunction]
#[pyo3(signature = (mode, *, warn_only = false))]
pub fn use_deterministic_algorithms(mode: bool, warn_only: bool) {
    use lampyr::runtime::Deterministic;
    lampyr::runtime::set_deterministic(match (mode, warn_only) {
        (false, _) => Deterministic::Off,
        (true, true) => Deterministic::Warn,
        (true, false) => Deterministic::Always,
    });
}

/// Gives cached memory back to the system.
#[pyfunction]
pub fn empty_cache() -> Result<()> {
    lampyr::runtime::clear_recycled();
    lampyr::backend::backend(Device::CPU)?.trim();
    Ok(())
}

/// Sets the number of threads of the CPU; 0 goes back to the default.
#[pyfunction]
pub fn set_num_threads(threads: usize) {
    lampyr::set_num_threads(threads);
}

/// Threads of the CPU, the caller included.
#[pyfunction]
pub fn get_num_threads() -> usize {
    lampyr::num_threads()
}

/// Warnings since the last call, for example of ops that have no kernel and run on the slow host reference.
#[pyfunction]
pub fn take_warnings() -> Vec<String> {
    lampyr::runtime::trace::take_warnings()
}

/// Switches the trace on with room for `capacity` events; earlier events are forgotten.
#[pyfunction]
#[pyo3(signature = (capacity = 65536))]
pub fn start_trace(capacity: usize) {
    lampyr::runtime::trace::enable(capacity);
}

/// Switches the trace off; one dictionary per event since `start_trace`, oldest first.
#[pyfunction]
pub fn stop_trace(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    use lampyr::runtime::trace;
    trace::disable();
    let event = |e: trace::Event| {
        let d = PyDict::new(py);
        d.set_item("op", e.op)?;
        d.set_item("node", &*e.node)?;
        d.set_item("kernel", e.kernel)?;
        d.set_item("device", e.device.to_string())?;
        d.set_item("reason", e.reason)?;
        d.set_item("start_ns", e.start_ns)?;
        d.set_item("duration_ns", e.duration_ns)?;
        d.set_item("shapes", e.shapes.iter().map(|s| s.to_vec()).collect::<Vec<_>>())?;
        d.set_item("thread", e.thread)?;
        Ok(d)
    };
    trace::take().into_iter().map(event).collect()
}

/// One line of the table of ops.
#[pyclass(frozen, get_all, module = "lampyr")]
pub struct OpInfo {
    name: &'static str,
    family: &'static str,
    doc: &'static str,
    version: u32,
    /// Name, type, default (or None) and meaning of each attribute.
    attributes: Vec<(&'static str, &'static str, Option<&'static str>, &'static str)>,
    dtypes: Vec<Py<PyDType>>,
}

#[pymethods]
impl OpInfo {
    fn __repr__(&self) -> String {
        format!("<op {}/{}>", self.family, self.name)
    }
}

/// All ops, those registered at run time last.
#[pyfunction]
pub fn ops(py: Python<'_>) -> Result<Vec<OpInfo>> {
    let all = lampyr::ops::registry::all();
    all.into_iter()
        .map(|e| {
            Ok(OpInfo {
                name: e.name,
                family: e.family,
                doc: e.doc,
                version: e.version,
                attributes: e.attrs.iter().map(|a| (a.name, a.ty, a.default, a.doc)).collect(),
                dtypes: e.dtypes.iter().map(|&d| object(py, d)).collect::<PyResult<_>>()?,
            })
        })
        .collect()
}

fn attribute(ob: &Bound<'_, PyAny>) -> Result<AttrValue> {
    if ob.is_none() {
        return Ok(AttrValue::None);
    }
    if let Ok(b) = ob.cast::<PyBool>() {
        return Ok(AttrValue::Bool(b.is_true()));
    }
    if ob.cast::<PyInt>().is_ok() {
        return Ok(AttrValue::Int(ob.extract()?));
    }
    if ob.cast::<PyFloat>().is_ok() {
        return Ok(AttrValue::Float(ob.extract()?));
    }
    if let Ok(text) = ob.cast::<PyString>() {
        return Ok(AttrValue::Str(text.to_string()));
    }
    if let Ok(d) = ob.cast::<PyDType>() {
        return Ok(AttrValue::DType(d.get().0));
    }
    if is_sequence(ob) {
        return Ok(match ob.extract() {
            Ok(ints) => AttrValue::Ints(ints),
            Err(_) => AttrValue::Floats(ob.extract()?),
        });
    }
    if let Ok(t) = ob.cast::<PyTensor>() {
        return Ok(AttrValue::Tensor(t.get().t().to_host()?));
    }
    Err(Error::value(format!("{ob} is not an attribute")).with_expected("a number, text, dtype, list or tensor").into())
}

/// Attributes from keyword arguments.
pub fn attributes(given: Option<&Bound<'_, PyDict>>) -> Result<AttrMap> {
    let mut map = AttrMap::new();
    for (name, value) in given.into_iter().flatten() {
        map.insert(name.extract()?, attribute(&value)?);
    }
    Ok(map)
}

/// One tensor as it is, several as a tuple.
pub fn outputs<'py>(py: Python<'py>, made: Vec<Tensor>) -> Result<Bound<'py, PyAny>> {
    let mut made = made.into_iter().map(PyTensor::of);
    match (made.len(), made.next()) {
        (1, Some(only)) => Ok(Bound::new(py, only)?.into_any()),
        (_, first) => Ok(PyTuple::new(py, first.into_iter().chain(made).collect::<Vec<_>>())?.into_any()),
    }
}

/// Applies the op called `name`; its attributes are given by keyword. Ops are strict: types are not promoted, only
/// numbers adapt to the tensors beside them.
#[pyfunction]
#[pyo3(signature = (name, *inputs, **attributes))]
pub fn call_op<'py>(
    py: Python<'py>,
    name: &str,
    inputs: &Bound<'py, PyTuple>,
    attributes: Option<&Bound<'py, PyDict>>,
) -> Result<Bound<'py, PyAny>> {
    let map = self::attributes(attributes)?;
    let objects: Vec<Bound<'py, PyAny>> = inputs.iter().collect();
    let given = objects.iter().map(required).collect::<Result<Vec<_>>>()?;
    let operands: Vec<Operand> = given.iter().map(|a| a.operand()).collect();
    let made = run(py, 0.0, || lampyr::functional::call(name, &operands, map))?;
    outputs(py, made)
}
