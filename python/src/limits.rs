//! What numbers a type holds: `finfo` and `iinfo`.

use lampyr::{DType, Error, TypeKind};
use pyo3::prelude::*;

use crate::dtype::parse;
use crate::error::Result;

/// Limits of a float type, by default of the default one.
#[pyclass(name = "finfo", module = "lampyr", frozen, eq)]
#[derive(PartialEq)]
pub struct FInfo(DType);

impl FInfo {
    /// Bits of the significand after the point, and largest and smallest normal exponent.
    fn form(&self) -> (i32, i32, i32) {
        match self.0 {
            DType::F16 => (10, 15, -14),
            DType::BF16 => (7, 127, -126),
            DType::F32 => (23, 127, -126),
            _ => (52, 1023, -1022),
        }
    }
}

#[pymethods]
impl FInfo {
    #[new]
    #[pyo3(signature = (r#type = None))]
    fn new(r#type: Option<&Bound<'_, PyAny>>) -> Result<FInfo> {
        let dtype = r#type.map_or(Ok(lampyr::default_dtype()), parse)?;
        if !dtype.is_float() {
            return Err(Error::dtype(format!("finfo of {dtype}"))
                .with_expected("a float type")
                .with_help("iinfo tells the limits of integers")
                .into());
        }
        Ok(FInfo(dtype))
    }

    /// Bits of a number.
    #[getter]
    fn bits(&self) -> usize {
        self.0.bits()
    }

    /// Distance from 1 to the next number.
    #[getter]
    fn eps(&self) -> f64 {
        f64::from(-self.form().0).exp2()
    }

    /// The largest finite number.
    #[getter]
    fn max(&self) -> f64 {
        let (digits, high, _) = self.form();
        (2.0 - f64::from(-digits).exp2()) * f64::from(high).exp2()
    }

    /// The lowest finite number.
    #[getter]
    fn min(&self) -> f64 {
        -self.max()
    }

    /// The smallest positive number of full precision.
    #[getter]
    fn smallest_normal(&self) -> f64 {
        f64::from(self.form().2).exp2()
    }

    /// As `smallest_normal`.
    #[getter]
    fn tiny(&self) -> f64 {
        self.smallest_normal()
    }

    /// Ten to the power of minus the decimal digits that every number keeps.
    #[getter]
    fn resolution(&self) -> f64 {
        match self.0 {
            DType::F16 => 1e-3,
            DType::BF16 => 1e-2,
            DType::F32 => 1e-6,
            _ => 1e-15,
        }
    }

    /// Name of the type.
    #[getter]
    fn dtype(&self) -> &'static str {
        self.0.name()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let short = |x: f64| -> PyResult<String> {
            pyo3::types::PyFloat::new(py, x).call_method1("__format__", ("g",))?.extract()
        };
        Ok(format!(
            "finfo(resolution={}, min={}, max={}, eps={}, smallest_normal={}, tiny={}, dtype={})",
            short(self.resolution())?,
            short(self.min())?,
            short(self.max())?,
            short(self.eps())?,
            short(self.tiny())?,
            short(self.tiny())?,
            self.0
        ))
    }
}

/// Limits of an integer type.
#[pyclass(name = "iinfo", module = "lampyr", frozen, eq)]
#[derive(PartialEq)]
pub struct IInfo(DType);

#[pymethods]
impl IInfo {
    #[new]
    fn new(r#type: &Bound<'_, PyAny>) -> Result<IInfo> {
        let dtype = parse(r#type)?;
        if !dtype.is_integer() {
            return Err(Error::dtype(format!("iinfo of {dtype}"))
                .with_expected("an integer type")
                .with_help("finfo tells the limits of float types")
                .into());
        }
        Ok(IInfo(dtype))
    }

    /// Bits of a number.
    #[getter]
    fn bits(&self) -> usize {
        self.0.bits()
    }

    /// The largest number.
    #[getter]
    fn max(&self) -> i128 {
        match self.0.kind() {
            TypeKind::Unsigned => (1 << self.0.bits()) - 1,
            _ => (1 << (self.0.bits() - 1)) - 1,
        }
    }

    /// The lowest number.
    #[getter]
    fn min(&self) -> i128 {
        match self.0.kind() {
            TypeKind::Unsigned => 0,
            _ => -(1 << (self.0.bits() - 1)),
        }
    }

    /// Name of the type.
    #[getter]
    fn dtype(&self) -> &'static str {
        self.0.name()
    }

    fn __repr__(&self) -> String {
        format!("iinfo(min={}, max={}, dtype={})", self.min(), self.max(), self.0)
    }
}
