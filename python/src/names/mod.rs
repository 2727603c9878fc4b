//! The table of names as functions and methods of Python.
//!
//! Each name becomes a C function of the interpreter's fastest calling convention, so that a call makes no tuple and no
//! dictionary. What tells names apart is the number of their entry point.

mod entry;
mod output;
mod source;

use std::ffi::CString;

use lampyr::Error;
use lampyr::names::{Callable, Returns, Space, Table, table};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::error::Result;
use crate::tensor::PyTensor;

/// Text that lives as long as the process, as the interpreter needs it of a method's definition.
fn forever(text: String) -> *const std::ffi::c_char {
    CString::new(text).unwrap_or_default().into_raw()
}

fn definition(at: usize, callable: &Callable) -> Result<*mut ffi::PyMethodDef> {
    let full = || Error::internal("there are more names than entry points").with_op(&callable.name);
    let meth = entry::points().nth(at).ok_or_else(full)?;
    let doc = format!("{}{}\n--\n\n{}", callable.name, callable.text_signature(), callable.doc());
    Ok(Box::into_raw(Box::new(ffi::PyMethodDef {
        ml_name: forever(callable.name.clone()),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: meth },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: forever(doc),
    })))
}

/// Puts the methods on the class and one dictionary of functions per other place into the module.
pub fn install(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let all: &'static Table = table();
    let class = py.get_type::<PyTensor>();
    let spaces: Vec<_> = Space::ALL.iter().map(|&s| (s, PyDict::new(py))).collect();
    for (at, callable) in all.callables.iter().enumerate() {
        let definition = definition(at, callable)?;
        if callable.is_method() {
            // SAFETY: the definition lives forever; the result is a new reference or null with an exception set.
            let method =
                unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(class.as_type_ptr(), definition))? };
            class.setattr(callable.name.as_str(), method)?;
            continue;
        }
        let home = PyString::new(py, callable.space.prefix());
        // SAFETY: as above.
        let function = unsafe {
            let made = ffi::PyCFunction_NewEx(definition, std::ptr::null_mut(), home.as_ptr());
            Bound::from_owned_ptr_or_err(py, made)?
        };
        if let Some((_, names)) = spaces.iter().find(|(s, _)| *s == callable.space) {
            names.set_item(callable.name.as_str(), function)?;
        }
    }
    let names = PyDict::new(py);
    for (space, functions) in &spaces {
        names.set_item(space.prefix(), functions)?;
    }
    module.add("_names", names)
}

/// The class of what the function `name` gives back, a named tuple; None where it gives no such.
#[pyfunction]
#[pyo3(name = "_return_type")]
pub fn return_type<'py>(py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    for form in table().callables.iter().flat_map(|c| &c.forms).filter(|f| f.signature.name == name) {
        if let Returns::Tuple(fields) = &form.signature.returns
            && fields.iter().all(|f| !f.is_empty())
        {
            return output::named_tuple(py, name, fields).map(Some);
        }
    }
    Ok(None)
}
