//! Data types and devices as Python objects.

use lampyr::{DType, Device, Error};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString, PyType};

use crate::error::Result;

/// Element type of a tensor.
#[pyclass(name = "dtype", module = "lampyr", frozen, eq, hash)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PyDType(pub DType);

#[pymethods]
impl PyDType {
    /// Name, such as `float32`.
    #[getter]
    fn name(&self) -> &'static str {
        self.0.name()
    }

    /// Bytes of one element.
    #[getter]
    fn itemsize(&self) -> usize {
        self.0.size()
    }

    /// Whether it is a float type.
    #[getter]
    fn is_floating_point(&self) -> bool {
        self.0.is_float()
    }

    /// Whether it holds negative numbers.
    #[getter]
    fn is_signed(&self) -> bool {
        self.0.is_float() || self.0.is_signed_integer()
    }

    fn __repr__(&self) -> String {
        format!("lampyr.{}", self.0)
    }

    fn __reduce__(&self) -> &'static str {
        self.0.name()
    }
}

static ALL: PyOnceLock<Vec<Py<PyDType>>> = PyOnceLock::new();

fn all(py: Python<'_>) -> PyResult<&Vec<Py<PyDType>>> {
    ALL.get_or_try_init(py, || DType::ALL.iter().map(|&d| Py::new(py, PyDType(d))).collect())
}

/// The one Python object of a dtype.
pub fn object(py: Python<'_>, dtype: DType) -> PyResult<Py<PyDType>> {
    let found = all(py)?.get(dtype as usize);
    found.map_or_else(|| Py::new(py, PyDType(dtype)), |d| Ok(d.clone_ref(py)))
}

pub fn add_all(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    for &d in DType::ALL {
        module.add(d.name(), object(py, d)?)?;
    }
    for (name, d) in [
        ("float", DType::F32),
        ("double", DType::F64),
        ("half", DType::F16),
        ("long", DType::I64),
        ("int", DType::I32),
        ("short", DType::I16),
    ] {
        module.add(name, object(py, d)?)?;
    }
    Ok(())
}

/// A dtype from a dtype, its name, a NumPy dtype or one of Python's number types.
pub fn parse(ob: &Bound<'_, PyAny>) -> Result<DType> {
    if let Ok(d) = ob.cast::<PyDType>() {
        return Ok(d.get().0);
    }
    let unknown = || Error::dtype(format!("{ob} is not a data type")).with_expected("for example lampyr.float32");
    let name = if let Ok(text) = ob.cast::<PyString>() {
        text.to_string()
    } else if let Ok(class) = ob.cast::<PyType>() {
        let py = ob.py();
        if class.is(py.get_type::<PyFloat>()) {
            return Ok(DType::F32);
        } else if class.is(py.get_type::<PyInt>()) {
            return Ok(DType::I64);
        } else if class.is(py.get_type::<PyBool>()) {
            return Ok(DType::Bool);
        }
        class.name()?.to_string()
    } else {
        ob.getattr("name").ok().and_then(|n| n.extract::<String>().ok()).ok_or_else(unknown)?
    };
    Ok(DType::from_name(name.trim_start_matches("lampyr.")).ok_or_else(unknown)?)
}

pub fn parse_or(ob: Option<&Bound<'_, PyAny>>, default: DType) -> Result<DType> {
    ob.map_or(Ok(default), parse)
}

/// Where a tensor lies.
#[pyclass(name = "device", module = "lampyr", frozen)]
pub struct PyDevice(pub Device);

#[pymethods]
impl PyDevice {
    /// Kind, such as `cpu`.
    #[getter(r#type)]
    fn kind(&self) -> String {
        let text = self.0.to_string();
        text.split(':').next().unwrap_or_default().to_string()
    }

    /// Index among the devices of this kind.
    #[getter]
    fn index(&self) -> u16 {
        self.0.index
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("device('{}')", self.0)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        match other.cast::<PyDevice>() {
            Ok(d) => d.get().0 == self.0,
            Err(_) => other.extract::<String>().is_ok_and(|s| s == self.0.to_string()),
        }
    }

    fn __hash__(&self) -> u64 {
        u64::from(self.0.index)
    }
}

/// Checks that `device` names a device this build has.
pub fn device(ob: Option<&Bound<'_, PyAny>>) -> Result<Device> {
    let Some(ob) = ob else { return Ok(Device::CPU) };
    if let Ok(d) = ob.cast::<PyDevice>() {
        return Ok(d.get().0);
    }
    let name = ob.str()?.to_string();
    let known = lampyr::backend::backends();
    let found = known.iter().map(|b| b.device()).find(|d| d.to_string() == name);
    Ok(found.ok_or_else(|| {
        let names = known.iter().map(|b| b.device().to_string()).collect::<Vec<_>>().join(", ");
        Error::device(format!("there is no device `{name}`")).with_expected(format!("one of: {names}"))
    })?)
}

/// The smallest dtype that holds both.
#[pyfunction]
pub fn promote_types(py: Python<'_>, a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> Result<Py<PyDType>> {
    Ok(object(py, lampyr::promote_types(parse(a)?, parse(b)?))?)
}

/// The dtype that arithmetic on these tensors or numbers gives.
#[pyfunction]
pub fn result_type(py: Python<'_>, a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> Result<Py<PyDType>> {
    let (a, b) = (crate::argument::required(a)?, crate::argument::required(b)?);
    Ok(object(py, lampyr::functional::common(&[a.operand(), b.operand()]))?)
}
