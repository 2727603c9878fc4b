//! The entry points that the interpreter calls.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lampyr::names::{resolve, run, table};
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyTuple};
use smallvec::SmallVec;

use super::output::object;
use super::source::Arguments;
use crate::error::{Failure, Result, long, panicked};
use crate::tensor::PyTensor;

/// A C function of the calling convention `METH_FASTCALL | METH_KEYWORDS`.
type Point = unsafe extern "C" fn(*mut PyObject, *const *mut PyObject, isize, *mut PyObject) -> *mut PyObject;

/// The entry point of the name at `ROW * 32 + COLUMN` of the table.
unsafe extern "C" fn point<const ROW: usize, const COLUMN: usize>(
    receiver: *mut PyObject,
    values: *const *mut PyObject,
    positional: isize,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the interpreter calls this while attached, with arguments that live during the call.
    unsafe { enter(ROW * 32 + COLUMN, receiver, values, positional, names) }
}

const fn row<const ROW: usize>() -> [Point; 32] {
    [
        point::<ROW, 0>,
        point::<ROW, 1>,
        point::<ROW, 2>,
        point::<ROW, 3>,
        point::<ROW, 4>,
        point::<ROW, 5>,
        point::<ROW, 6>,
        point::<ROW, 7>,
        point::<ROW, 8>,
        point::<ROW, 9>,
        point::<ROW, 10>,
        point::<ROW, 11>,
        point::<ROW, 12>,
        point::<ROW, 13>,
        point::<ROW, 14>,
        point::<ROW, 15>,
        point::<ROW, 16>,
        point::<ROW, 17>,
        point::<ROW, 18>,
        point::<ROW, 19>,
        point::<ROW, 20>,
        point::<ROW, 21>,
        point::<ROW, 22>,
        point::<ROW, 23>,
        point::<ROW, 24>,
        point::<ROW, 25>,
        point::<ROW, 26>,
        point::<ROW, 27>,
        point::<ROW, 28>,
        point::<ROW, 29>,
        point::<ROW, 30>,
        point::<ROW, 31>,
    ]
}

static POINTS: [[Point; 32]; 64] = [
    row::<0>(),
    row::<1>(),
    row::<2>(),
    row::<3>(),
    row::<4>(),
    row::<5>(),
    row::<6>(),
    row::<7>(),
    row::<8>(),
    row::<9>(),
    row::<10>(),
    row::<11>(),
    row::<12>(),
    row::<13>(),
    row::<14>(),
    row::<15>(),
    row::<16>(),
    row::<17>(),
    row::<18>(),
    row::<19>(),
    row::<20>(),
    row::<21>(),
    row::<22>(),
    row::<23>(),
    row::<24>(),
    row::<25>(),
    row::<26>(),
    row::<27>(),
    row::<28>(),
    row::<29>(),
    row::<30>(),
    row::<31>(),
    row::<32>(),
    row::<33>(),
    row::<34>(),
    row::<35>(),
    row::<36>(),
    row::<37>(),
    row::<38>(),
    row::<39>(),
    row::<40>(),
    row::<41>(),
    row::<42>(),
    row::<43>(),
    row::<44>(),
    row::<45>(),
    row::<46>(),
    row::<47>(),
    row::<48>(),
    row::<49>(),
    row::<50>(),
    row::<51>(),
    row::<52>(),
    row::<53>(),
    row::<54>(),
    row::<55>(),
    row::<56>(),
    row::<57>(),
    row::<58>(),
    row::<59>(),
    row::<60>(),
    row::<61>(),
    row::<62>(),
    row::<63>(),
];

/// The entry points of names, in the order of the table.
pub fn points() -> impl Iterator<Item = Point> {
    POINTS.iter().flatten().copied()
}

/// Calls name `at` of the table.
///
/// # Safety
/// As the interpreter calls functions of this convention.
unsafe fn enter(
    at: usize,
    receiver: *mut PyObject,
    values: *const *mut PyObject,
    positional: isize,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the interpreter is attached during the call.
    let py = unsafe { Python::assume_attached() };
    let made = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the arguments live during the call.
        unsafe { call(py, at, receiver, values, positional as usize, names) }
    }));
    match made.unwrap_or_else(|panic| Err(panicked(&*panic).into())) {
        Ok(ob) => ob.into_ptr(),
        Err(failure) => raise(failure),
    }
}

#[cold]
fn raise(failure: Failure) -> *mut PyObject {
    Python::attach(|py| PyErr::from(failure).restore(py));
    std::ptr::null_mut()
}

/// # Safety
/// As [`enter`].
unsafe fn call<'py>(
    py: Python<'py>,
    at: usize,
    receiver: *mut PyObject,
    values: *const *mut PyObject,
    positional: usize,
    names: *mut PyObject,
) -> Result<Bound<'py, PyAny>> {
    let missing = || lampyr::Error::internal("an entry point without a name");
    let callable = table().callables.get(at).ok_or_else(missing)?;
    if names.is_null()
        && let Some(function) = callable.short()
    {
        // SAFETY: the arguments live during the call, and a method is called on a tensor.
        let (x, values) = unsafe {
            let values = if positional == 0 { &[] } else { std::slice::from_raw_parts(values, positional) };
            (Borrowed::from_ptr(py, receiver), values)
        };
        if let (Ok(x), Some(numbers)) = (x.cast::<PyTensor>(), whole_numbers(py, values))
            && let Some(made) = function(&x.get().t(), &numbers)
        {
            let made = made.map_err(|e| e.with_op(&callable.name))?;
            return Ok(Bound::new(py, PyTensor::of(made))?.into_any());
        }
    }
    let receiver = if callable.is_method() { Some(receiver) } else { None };
    // SAFETY: the arguments live during the call.
    let given = unsafe { Arguments::new(py, receiver, values, positional, names) };
    let (form, call) = resolve(callable, &given)?;
    let work = call.elements() as f64 * f64::from(form.entry.cost);
    let output = if long(work) { py.detach(|| run(form, &call)) } else { run(form, &call) }?;
    Ok(object(py, &given, &form.signature, output)?)
}

/// Values that are whole numbers, or one tuple of them; `None` for anything else.
fn whole_numbers(py: Python<'_>, values: &[*mut PyObject]) -> Option<SmallVec<[i64; 6]>> {
    // SAFETY: the arguments live during the call.
    let each = values.iter().map(|&ob| unsafe { Borrowed::from_ptr(py, ob) });
    let number = |ob: &Bound<'_, PyAny>| ob.cast_exact::<PyInt>().ok()?.extract::<i64>().ok();
    match values {
        [one] => {
            // SAFETY: as above.
            let one = unsafe { Borrowed::from_ptr(py, *one) };
            match one.cast_exact::<PyTuple>() {
                Ok(tuple) => tuple.iter().map(|ob| number(&ob)).collect(),
                Err(_) => Some(SmallVec::from_iter([number(&one)?])),
            }
        }
        _ => each.map(|ob| number(&ob)).collect(),
    }
}
