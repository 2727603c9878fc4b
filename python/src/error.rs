//! Errors of Lampyr as Python exceptions.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lampyr::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// What a function of the module can fail with.
pub enum Failure {
    /// Lampyr failed.
    Lampyr(Error),
    /// Python failed.
    Python(PyErr),
}

/// Result of functions of the module.
pub type Result<T> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    #[cold]
    fn from(e: Error) -> Failure {
        Failure::Lampyr(e)
    }
}

impl From<PyErr> for Failure {
    #[cold]
    fn from(e: PyErr) -> Failure {
        Failure::Python(e)
    }
}

impl From<Failure> for PyErr {
    #[cold]
    fn from(failure: Failure) -> PyErr {
        match failure {
            Failure::Python(e) => e,
            Failure::Lampyr(e) => Python::attach(|py| exception(py, &e).unwrap_or_else(|e| e)),
        }
    }
}

fn exception(py: Python<'_>, e: &Error) -> PyResult<PyErr> {
    if let Some(Raised(original)) = std::error::Error::source(e).and_then(|s| s.downcast_ref()) {
        return Ok(original.clone_ref(py));
    }
    let class = py.import("lampyr.errors")?.getattr(e.kind().name())?;
    let context = PyDict::new(py);
    context.set_item("op", e.op())?;
    context.set_item("node", e.node())?;
    context.set_item("inputs", PyTuple::new(py, e.inputs())?)?;
    context.set_item("expected", e.expected())?;
    context.set_item("help", e.help())?;
    match e.kind() {
        ErrorKind::Unsupported(list) => {
            let missing = list.iter().map(|m| (m.what.clone(), m.nodes.clone())).collect::<Vec<_>>();
            context.set_item("missing", missing)?;
        }
        ErrorKind::OutOfMemory { requested, active, limit } => {
            context.set_item("requested", requested)?;
            context.set_item("active", active)?;
            context.set_item("limit", limit)?;
        }
        _ => {}
    }
    let made = PyErr::from_value(class.call((e.to_string(),), Some(&context))?);
    let mut cause = std::error::Error::source(e);
    while let Some(source) = cause {
        if let Some(original) = source.downcast_ref::<PyErr>() {
            made.set_cause(py, Some(original.clone_ref(py)));
            break;
        }
        cause = source.source();
    }
    Ok(made)
}

/// An error of the user's Python code, kept so that it can be chained.
pub fn user(what: &str, error: PyErr) -> Error {
    Error::user(format!("{what} failed: {error}"), error)
}

/// An exception of a callback that belongs to the user's program: it leaves as it came.
#[derive(Debug)]
struct Raised(PyErr);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Raised {}

/// An exception of a callback, which the caller of Lampyr gets to see as it was raised.
pub fn raised(what: &str, error: PyErr) -> Error {
    Error::user(format!("{what} failed: {error}"), Raised(error))
}

/// Work worth more than about this many simple operations lets other Python threads run meanwhile.
const LONG: f64 = 40_000.0;

/// Whether `work` (in simple operations) is so long that other Python threads should run meanwhile.
#[inline]
pub fn long(work: f64) -> bool {
    work >= LONG
}

/// Runs `f`, with the interpreter released when `work` (in simple operations) is long; a panic becomes an error.
pub fn run<T: Send>(py: Python<'_>, work: f64, f: impl FnOnce() -> lampyr::Result<T> + Send) -> Result<T> {
    Ok(if long(work) { py.detach(|| guarded(f)) } else { guarded(f) }?)
}

/// Runs `f`; a panic becomes an error.
#[inline]
pub fn guarded<T>(f: impl FnOnce() -> lampyr::Result<T>) -> lampyr::Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| Err(panicked(&*panic)))
}

/// A panic as an error.
#[cold]
pub fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_string())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown".to_string());
    Error::internal(format!("a defect in Lampyr: {text}")).with_help("please report it with the code that led here")
}
