//! Python's arguments as the table of names reads them.

use std::ffi::c_char;

use lampyr::names::{Kind, Read, Source, Value};
use lampyr::{Error, Tensor};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyList, PyString, PyTuple};
use smallvec::SmallVec;

use crate::argument::number;
use crate::dtype::{MemoryFormat, MemoryLayout, PyDType, PyDevice};
use crate::error::{Failure, Result};
use crate::tensor::{Generator, Handle, PyTensor, Storage};

/// The arguments of a call, borrowed from the interpreter.
pub struct Arguments<'a, 'py> {
    py: Python<'py>,
    /// What a method is called on.
    receiver: Option<*mut ffi::PyObject>,
    values: &'a [*mut ffi::PyObject],
    positional: usize,
    names: *mut ffi::PyObject,
}

impl<'a, 'py> Arguments<'a, 'py> {
    /// The arguments of a call by the protocol of `METH_FASTCALL | METH_KEYWORDS`.
    ///
    /// # Safety
    /// `values` holds `positional` objects and then one for each name of the tuple `names`, which may be null. All of
    /// them and `receiver` live as long as `'a`.
    pub unsafe fn new(
        py: Python<'py>,
        receiver: Option<*mut ffi::PyObject>,
        values: *const *mut ffi::PyObject,
        positional: usize,
        names: *mut ffi::PyObject,
    ) -> Arguments<'a, 'py> {
        let named = if names.is_null() {
            0
        } else {
            // SAFETY: `names` is a tuple.
            unsafe { ffi::PyTuple_Size(names) }.max(0) as usize
        };
        let values = if values.is_null() {
            &[]
        } else {
            // SAFETY: the caller gives so many objects.
            unsafe { std::slice::from_raw_parts(values, positional + named) }
        };
        Arguments { py, receiver, values, positional, names }
    }

    fn at(&self, at: usize) -> Option<Borrowed<'a, 'py, PyAny>> {
        let own = usize::from(self.receiver.is_some());
        let ob = match self.receiver {
            Some(receiver) if at == 0 => receiver,
            _ => *self.values.get(at - own)?,
        };
        // SAFETY: the object lives as long as `'a`.
        Some(unsafe { Borrowed::from_ptr(self.py, ob) })
    }

    /// The argument that is the same tensor as `made`, so that a function that gives back its argument gives back the
    /// same object.
    pub fn same(&self, made: &Tensor) -> Option<Bound<'py, PyAny>> {
        self.objects(made).next()
    }

    /// Makes the arguments that are `old` stand for `new`.
    pub fn put(&self, old: &Tensor, new: &Tensor) {
        for ob in self.objects(old) {
            if let Ok(t) = ob.cast::<PyTensor>() {
                t.get().put(new.clone());
            }
        }
    }

    /// The arguments that are the tensor `x`, those in sequences included.
    fn objects(&self, x: &Tensor) -> impl Iterator<Item = Bound<'py, PyAny>> {
        let count = self.values.len() + usize::from(self.receiver.is_some());
        let is = |ob: &Bound<'py, PyAny>| ob.cast::<PyTensor>().is_ok_and(|t| t.get().t().same(x));
        (0..count).filter_map(|at| self.at(at)).filter_map(move |ob| {
            if is(&ob) {
                return Some(ob.to_owned());
            }
            match ob.cast::<PyTuple>() {
                Ok(tuple) => tuple.iter().find(is),
                Err(_) => ob.cast::<PyList>().ok()?.iter().find(is),
            }
        })
    }
}

impl<'a> Source<'a> for Arguments<'a, '_> {
    #[inline]
    fn positional(&self) -> usize {
        self.positional + usize::from(self.receiver.is_some())
    }

    #[inline]
    fn named(&self) -> usize {
        self.values.len() - self.positional
    }

    fn name(&self, k: usize) -> &'a str {
        let mut length = 0;
        // SAFETY: `names` is a tuple of strings with more than `k` items, which keep their UTF-8 form while they live.
        unsafe {
            let name = ffi::PyTuple_GetItem(self.names, k as isize);
            let text: *const c_char = ffi::PyUnicode_AsUTF8AndSize(name, &mut length);
            if text.is_null() {
                ffi::PyErr_Clear();
                return "";
            }
            std::str::from_utf8_unchecked(std::slice::from_raw_parts(text.cast(), length as usize))
        }
    }

    #[inline]
    fn is_none(&self, at: usize) -> bool {
        self.at(at).is_none_or(|ob| ob.is_none())
    }

    #[inline]
    fn read(&self, at: usize, kind: Kind) -> Read<'a> {
        let Some(ob) = self.at(at) else { return Read::Wrong };
        if matches!(kind, Kind::Tensor | Kind::Operand)
            && let Some(t) = tensor(ob)
        {
            return Read::Value(t);
        }
        match value(ob, kind) {
            Ok(Some(value)) => Read::Value(value),
            Ok(None) => Read::Wrong,
            Err(failure) => Read::Fail(match failure {
                Failure::Lampyr(e) => e,
                Failure::Python(e) => Error::dtype(e.to_string()).with_source(e),
            }),
        }
    }

    fn type_name(&self, at: usize) -> String {
        self.at(at).map_or_else(String::new, |ob| match ob.cast::<PyTensor>() {
            Ok(_) => "Tensor".to_string(),
            Err(_) => crate::interop::type_name(&ob),
        })
    }
}

/// The tensor of an object, for as long as the object is borrowed.
#[inline]
fn tensor<'a>(ob: Borrowed<'a, '_, PyAny>) -> Option<Value<'a>> {
    let t: Borrowed<'a, '_, PyTensor> = ob.cast().ok()?;
    Some(match t.get().t() {
        Handle::Of(t) => {
            let t: *const Tensor = t;
            // SAFETY: the class is frozen and keeps its first tensor, so that this one lives as long as the object,
            // which is borrowed for `'a`.
            Value::Tensor(unsafe { &*t })
        }
        Handle::Held(t) => Value::Held(t),
    })
}

/// Whether an object is surely no tensor or array, which spares looking for array protocols.
fn plain(ob: &Bound<'_, PyAny>) -> bool {
    ob.is_none()
        || ob.cast::<PyInt>().is_ok()
        || ob.cast::<PyFloat>().is_ok()
        || ob.cast::<PyString>().is_ok()
        || crate::argument::is_sequence(ob)
        || ob.cast::<PyDType>().is_ok()
}

fn value<'a>(ob: Borrowed<'a, '_, PyAny>, kind: Kind) -> Result<Option<Value<'a>>> {
    Ok(match kind {
        Kind::Tensor => array(&ob)?.map(Value::Made),
        Kind::Operand => match number(&ob)? {
            Some(number) => Some(Value::Scalar(number)),
            None => array(&ob)?.map(Value::Made),
        },
        Kind::Tensors => list(&ob, one_tensor)?.map(Value::Tensors),
        Kind::OptionalTensors => {
            let one = |ob: &Bound<'_, PyAny>| {
                if ob.is_none() { Ok(Some(None)) } else { one_tensor(ob).map(|t| t.map(Some)) }
            };
            list(&ob, one)?.map(Value::OptionalTensors)
        }
        Kind::Scalar => scalar(&ob)?.map(Value::Scalar),
        Kind::Int => int(&ob)?.map(Value::Int),
        Kind::Ints(count) => match int(&ob)? {
            Some(i) if count > 0 => Some(Value::Ints(SmallVec::from_elem(i, usize::from(count)))),
            Some(_) => None,
            None => list(&ob, int)?.map(|all| Value::Ints(SmallVec::from_vec(all))),
        },
        Kind::OptionalInts(count) => {
            let one = |ob: &Bound<'_, PyAny>| if ob.is_none() { Ok(Some(i64::MIN)) } else { int(ob) };
            match one(&ob)? {
                Some(i) => Some(Value::Ints(SmallVec::from_elem(i, usize::from(count)))),
                None => list(&ob, one)?.map(|all| Value::Ints(SmallVec::from_vec(all))),
            }
        }
        Kind::IntLists => {
            let one = |ob: &Bound<'_, PyAny>| match int(ob)? {
                Some(i) => Ok(Some(vec![i])),
                None => list(ob, int),
            };
            list(&ob, one)?.map(Value::IntLists)
        }
        Kind::Float => float(&ob)?.map(Value::Float),
        Kind::Floats(count) => match float(&ob)? {
            Some(x) if count > 0 => Some(Value::Floats(vec![x; usize::from(count)])),
            Some(_) => None,
            None => list(&ob, float)?.map(Value::Floats),
        },
        Kind::Bool => truth(&ob)?.map(Value::Bool),
        Kind::Bools => list(&ob, truth)?.map(Value::Bools),
        Kind::Str => text(ob).map(Value::Str),
        Kind::DType => match ob.cast::<PyDType>() {
            Ok(d) => Some(Value::DType(d.get().0)),
            Err(_) if ob.cast::<PyInt>().is_ok() || ob.cast::<PyTensor>().is_ok() => None,
            Err(_) => Some(Value::DType(crate::dtype::parse(&ob)?)),
        },
        Kind::Device => match ob.cast::<PyDevice>() {
            Err(_) if ob.cast::<PyString>().is_err() => None,
            _ => Some(Value::Device(crate::dtype::device(Some(&ob))?)),
        },
        Kind::Storage => ob.cast::<Storage>().ok().map(|s| Value::Made(s.get().0.clone())),
        Kind::Layout => ob.cast::<MemoryLayout>().ok().map(|_| Value::Str("strided")),
        Kind::MemoryFormat => ob.cast::<MemoryFormat>().ok().map(|f| Value::Str(f.get().name)),
        Kind::Generator => match ob.cast::<Generator>() {
            Ok(g) => Some(g.get().argument()),
            Err(_) => None,
        },
        Kind::Any => Some(Value::Any(std::sync::Arc::new(ob.to_owned().unbind()))),
    })
}

fn array(ob: &Bound<'_, PyAny>) -> Result<Option<Tensor>> {
    if plain(ob) { Ok(None) } else { crate::interop::array(ob, false) }
}

fn one_tensor(ob: &Bound<'_, PyAny>) -> Result<Option<Tensor>> {
    match ob.cast::<PyTensor>() {
        Ok(t) => Ok(Some(t.get().t().clone())),
        Err(_) => array(ob),
    }
}

/// All items of a tuple or list; `None` when it is neither or one does not fit.
fn list<T>(ob: &Bound<'_, PyAny>, one: impl Fn(&Bound<'_, PyAny>) -> Result<Option<T>>) -> Result<Option<Vec<T>>> {
    if let Ok(tuple) = ob.cast::<PyTuple>() {
        return tuple.iter_borrowed().map(|x| one(&x)).collect();
    }
    match ob.cast::<PyList>() {
        Ok(list) => list.iter().map(|x| one(&x)).collect(),
        Err(_) => Ok(None),
    }
}

/// The number in a tensor with one element, without axes and without history.
fn zero_dim(ob: &Bound<'_, PyAny>) -> Result<Option<lampyr::Scalar>> {
    match ob.cast::<PyTensor>() {
        Ok(t) if t.get().t().rank() == 0 && !t.get().t().requires_grad() => {
            crate::tensor::scalar_of(&t.get().t()).map(Some)
        }
        _ => Ok(None),
    }
}

fn scalar(ob: &Bound<'_, PyAny>) -> Result<Option<lampyr::Scalar>> {
    match number(ob)? {
        Some(number) => Ok(Some(number)),
        None => match zero_dim(ob)? {
            None => foreign(ob),
            some => Ok(some),
        },
    }
}

/// A number of another library, such as NumPy's.
fn foreign(ob: &Bound<'_, PyAny>) -> Result<Option<lampyr::Scalar>> {
    if plain(ob) || ob.cast::<PyTensor>().is_ok() {
        return Ok(None);
    }
    let py = ob.py();
    if let Ok(whole) = ob.call_method0(pyo3::intern!(py, "__index__")) {
        return Ok(Some(lampyr::Scalar::Int(whole.extract()?)));
    }
    let scalar = ob.getattr(pyo3::intern!(py, "ndim")).is_ok_and(|n| n.eq(0).unwrap_or(false));
    match ob.call_method0(pyo3::intern!(py, "__float__")) {
        Ok(x) if scalar => Ok(Some(lampyr::Scalar::Float(x.extract()?))),
        _ => Ok(None),
    }
}

fn int(ob: &Bound<'_, PyAny>) -> Result<Option<i64>> {
    if ob.cast::<PyInt>().is_ok() {
        if ob.cast::<PyBool>().is_ok() {
            return Ok(None);
        }
        let fail = |_| Error::value(format!("{ob} does not fit in 64 bits"));
        return Ok(Some(ob.extract().map_err(fail)?));
    }
    if plain(ob) {
        return Ok(None);
    }
    let found = match zero_dim(ob)? {
        None => foreign(ob)?,
        some => some,
    };
    Ok(match found {
        Some(lampyr::Scalar::Int(i)) => Some(i),
        _ => None,
    })
}

fn float(ob: &Bound<'_, PyAny>) -> Result<Option<f64>> {
    if ob.cast::<PyFloat>().is_ok() {
        return Ok(Some(ob.extract()?));
    }
    if ob.cast::<PyBool>().is_ok() {
        return Ok(None);
    }
    Ok(scalar(ob)?.map(lampyr::Scalar::to_f64))
}

fn truth(ob: &Bound<'_, PyAny>) -> Result<Option<bool>> {
    Ok(ob.cast::<PyBool>().ok().map(|b| b.is_true()))
}

fn text<'a>(ob: Borrowed<'a, '_, PyAny>) -> Option<&'a str> {
    if ob.cast::<PyString>().is_err() {
        return None;
    }
    let mut length = 0;
    // SAFETY: it is a string, which keeps its UTF-8 form while it lives, at least for `'a`.
    unsafe {
        let text = ffi::PyUnicode_AsUTF8AndSize(ob.as_ptr(), &mut length);
        if text.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Some(std::str::from_utf8_unchecked(std::slice::from_raw_parts(text.cast(), length as usize)))
    }
}
