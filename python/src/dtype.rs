//! Data types and devices as Python objects.

use lampyr::{DType, Device, DeviceKind, Error, TypeKind};
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

    /// Complex types are not there yet.
    #[getter]
    fn is_complex(&self) -> bool {
        false
    }

    /// The type itself: there are no complex ones.
    #[pyo3(name = "to_real")]
    fn real_type(&self, py: Python<'_>) -> PyResult<Py<PyDType>> {
        object(py, self.0)
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
    for name in ["contiguous_format", "preserve_format", "channels_last", "channels_last_3d"] {
        module.add(name, MemoryFormat { name })?;
    }
    module.add("bool_", object(py, DType::Bool)?)?;
    module.add("strided", MemoryLayout)
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
            return Ok(lampyr::default_dtype());
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

/// Where a tensor lies: `device("cpu")`, `device("cuda", 1)`.
#[pyclass(name = "device", module = "lampyr", frozen)]
pub struct PyDevice(pub Device);

/// Kinds of devices that a name may have, whether this build has one or not.
const KINDS: &[(&str, DeviceKind)] = &[
    ("cpu", DeviceKind::Cpu),
    ("cuda", DeviceKind::Cuda),
    ("metal", DeviceKind::Metal),
    ("vulkan", DeviceKind::Vulkan),
];

fn named(text: &str) -> Result<Device> {
    let (kind, index) = text.split_once(':').map_or((text, None), |(k, i)| (k, Some(i)));
    let unknown = || {
        Error::device(format!("there is no device `{text}`"))
            .with_expected("cpu, cuda, metal or vulkan, and an index after a colon where there are several")
    };
    let registered = lampyr::backend::backends();
    if let Some(b) = registered.iter().find(|b| b.device().to_string() == text) {
        return Ok(b.device());
    }
    let kind = KINDS.iter().find(|k| k.0 == kind).ok_or_else(unknown)?.1;
    let index = index.map_or(Ok(0), |i| i.parse::<u16>().map_err(|_| unknown()))?;
    Ok(Device { kind, index })
}

#[pymethods]
impl PyDevice {
    #[new]
    #[pyo3(signature = (device, index = None))]
    fn new(device: &Bound<'_, PyAny>, index: Option<u16>) -> Result<PyDevice> {
        if let Ok(d) = device.cast::<PyDevice>() {
            return Ok(PyDevice(d.get().0));
        }
        let Ok(text) = device.cast::<PyString>() else {
            return Err(Error::dtype(format!("{device} is not a device")).with_expected("for example \"cpu\"").into());
        };
        let text = text.to_string();
        if index.is_some() && text.contains(':') {
            return Err(Error::value(format!("device `{text}` has an index already")).into());
        }
        let found = named(&text)?;
        Ok(PyDevice(Device { index: index.unwrap_or(found.index), ..found }))
    }

    /// Kind, such as `cpu`.
    #[getter(r#type)]
    fn kind(&self) -> String {
        let text = self.0.to_string();
        text.split(':').next().unwrap_or_default().to_string()
    }

    /// Index among the devices of this kind; None for the CPU.
    #[getter]
    fn index(&self) -> Option<u16> {
        (self.0 != Device::CPU).then_some(self.0.index)
    }

    /// Whether it is a GPU of Apple.
    #[getter]
    fn is_metal(&self) -> bool {
        self.0.kind == DeviceKind::Metal
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        match self.0.to_string().split_once(':') {
            Some((kind, index)) => format!("device(type='{kind}', index={index})"),
            None => format!("device(type='{}')", self.0),
        }
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

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Ok((slf.get_type(), (slf.get().0.to_string(),)).into_pyobject(slf.py())?.into_any())
    }
}

/// Checks that `device` names a device this build has.
pub fn device(ob: Option<&Bound<'_, PyAny>>) -> Result<Device> {
    let Some(ob) = ob else { return Ok(Device::CPU) };
    let wanted = match ob.cast::<PyDevice>() {
        Ok(d) => d.get().0,
        Err(_) if ob.is_none() => return Ok(Device::CPU),
        Err(_) => named(&ob.str()?.to_string())?,
    };
    let known = lampyr::backend::backends();
    if known.iter().any(|b| b.device() == wanted) {
        return Ok(wanted);
    }
    let names = known.iter().map(|b| b.device().to_string()).collect::<Vec<_>>().join(", ");
    Err(Error::device(format!("this machine or build has no device `{wanted}`"))
        .with_expected(format!("one of: {names}"))
        .into())
}

/// How the axes of a tensor lie in memory.
#[pyclass(name = "memory_format", module = "lampyr", frozen, eq, hash)]
#[derive(PartialEq, Eq, Hash)]
pub struct MemoryFormat {
    pub name: &'static str,
}

#[pymethods]
impl MemoryFormat {
    fn __repr__(&self) -> String {
        format!("lampyr.{}", self.name)
    }

    fn __reduce__(&self) -> &'static str {
        self.name
    }
}

/// Tensors are strided.
#[pyclass(name = "layout", module = "lampyr", frozen, eq, hash)]
#[derive(PartialEq, Eq, Hash)]
pub struct MemoryLayout;

#[pymethods]
impl MemoryLayout {
    fn __repr__(&self) -> &'static str {
        "lampyr.strided"
    }

    fn __reduce__(&self) -> &'static str {
        "strided"
    }
}

/// The float type that new tensors have.
#[pyfunction]
pub fn get_default_dtype(py: Python<'_>) -> PyResult<Py<PyDType>> {
    object(py, lampyr::default_dtype())
}

/// Sets the float type that new tensors have.
#[pyfunction]
#[pyo3(signature = (d, /))]
pub fn set_default_dtype(d: &Bound<'_, PyAny>) -> Result<()> {
    Ok(lampyr::set_default_dtype(parse(d)?)?)
}

/// Whether a number of type `from_` can become one of type `to` without a change of its kind (bool, integer, float).
#[pyfunction]
pub fn can_cast(from_: &Bound<'_, PyAny>, to: &Bound<'_, PyAny>) -> Result<bool> {
    let rank = |d: DType| match d.kind() {
        TypeKind::Bool => 0,
        TypeKind::Unsigned | TypeKind::Signed => 1,
        TypeKind::Float => 2,
    };
    Ok(rank(parse(from_)?) <= rank(parse(to)?))
}

/// The smallest dtype that holds both.
#[pyfunction]
pub fn promote_types(py: Python<'_>, type1: &Bound<'_, PyAny>, type2: &Bound<'_, PyAny>) -> Result<Py<PyDType>> {
    Ok(object(py, lampyr::promote_types(parse(type1)?, parse(type2)?))?)
}

/// The dtype that arithmetic on these tensors or numbers gives.
#[pyfunction]
pub fn result_type(py: Python<'_>, tensor: &Bound<'_, PyAny>, other: &Bound<'_, PyAny>) -> Result<Py<PyDType>> {
    let (a, b) = (crate::argument::required(tensor)?, crate::argument::required(other)?);
    Ok(object(py, lampyr::functional::common(&[a.operand(), b.operand()]))?)
}
