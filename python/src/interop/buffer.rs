//! The buffer protocol, both ways.

use std::ffi::{CStr, c_int, c_void};

use lampyr::{DType, Error, Tensor};
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::foreign::{Described, adopt};
use crate::error::Result;
use crate::tensor::PyTensor;

fn format(dtype: DType) -> Option<&'static CStr> {
    Some(match dtype {
        DType::Bool => c"?",
        DType::U8 => c"B",
        DType::I8 => c"b",
        DType::U16 => c"H",
        DType::I16 => c"h",
        DType::U32 => c"I",
        DType::I32 => c"i",
        DType::U64 => c"Q",
        DType::I64 => c"q",
        DType::F16 => c"e",
        DType::F32 => c"f",
        DType::F64 => c"d",
        DType::BF16 => return None,
    })
}

fn dtype(format: &CStr, size: usize) -> Option<DType> {
    let text = format.to_bytes();
    let code = match text {
        [b'@' | b'=' | b'|', code] => *code,
        [b'<', code] if cfg!(target_endian = "little") => *code,
        [b'>' | b'!', code] if cfg!(target_endian = "big") || size == 1 => *code,
        [code] => *code,
        [] => b'B',
        _ => return None,
    };
    let found = match (code, size) {
        (b'?', 1) => DType::Bool,
        (b'B', 1) => DType::U8,
        (b'b', 1) => DType::I8,
        (b'H' | b'I' | b'L' | b'Q' | b'N', 2) => DType::U16,
        (b'h' | b'i' | b'l' | b'q' | b'n', 2) => DType::I16,
        (b'H' | b'I' | b'L' | b'Q' | b'N', 4) => DType::U32,
        (b'h' | b'i' | b'l' | b'q' | b'n', 4) => DType::I32,
        (b'H' | b'I' | b'L' | b'Q' | b'N', 8) => DType::U64,
        (b'h' | b'i' | b'l' | b'q' | b'n', 8) => DType::I64,
        (b'e', 2) => DType::F16,
        (b'f', 4) => DType::F32,
        (b'd', 8) => DType::F64,
        _ => return None,
    };
    Some(found)
}

/// A buffer that another object exports, released when dropped.
struct Held(Box<ffi::Py_buffer>);

// SAFETY: the fields are only read, and the buffer is released with the interpreter attached.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl Held {
    fn of(ob: &Bound<'_, PyAny>) -> PyResult<Held> {
        let mut view = Box::new(ffi::Py_buffer::new());
        // SAFETY: `ob` is a valid object and `view` a structure to fill, which stays where it is.
        if unsafe { ffi::PyObject_GetBuffer(ob.as_ptr(), &raw mut *view, ffi::PyBUF_FULL_RO) } != 0 {
            return Err(PyErr::fetch(ob.py()));
        }
        Ok(Held(view))
    }

    fn numbers(&self, list: *mut ffi::Py_ssize_t) -> &[ffi::Py_ssize_t] {
        let n = usize::try_from(self.0.ndim).unwrap_or(0);
        // SAFETY: the exporter gives `ndim` numbers behind every list that is not null.
        if list.is_null() || n == 0 { &[] } else { unsafe { std::slice::from_raw_parts(list, n) } }
    }

    fn format(&self) -> &CStr {
        // SAFETY: a format that is not null is a C string that lives as long as the buffer.
        if self.0.format.is_null() { c"B" } else { unsafe { CStr::from_ptr(self.0.format) } }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // At the end of the interpreter nobody can be attached, and nothing needs to be released.
        let _ = Python::try_attach(|_| {
            // SAFETY: the view was filled by `PyObject_GetBuffer` and is released once.
            unsafe { ffi::PyBuffer_Release(&raw mut *self.0) };
        });
    }
}

/// A tensor over the buffer of `ob`; `None` when it has none.
pub fn import(ob: &Bound<'_, PyAny>, share: bool) -> Result<Option<Tensor>> {
    // SAFETY: `ob` is a valid object; the call only looks at its type.
    if unsafe { ffi::PyObject_CheckBuffer(ob.as_ptr()) } == 0 {
        return Ok(None);
    }
    let held = Held::of(ob)?;
    let view = &held.0;
    let size = view.itemsize;
    let format = held.format();
    let Some(dtype) = usize::try_from(size).ok().and_then(|size| dtype(format, size)) else {
        return Err(Error::dtype(format!("elements of format {format:?} with {size} bytes"))
            .with_expected("bool, integers or floats in the byte order of this machine")
            .with_help("convert the array first, for example with astype(\"float32\")")
            .into());
    };
    let shape: Vec<usize> = held.numbers(view.shape).iter().map(|&d| d as usize).collect();
    let steps = held.numbers(view.strides);
    if steps.iter().any(|s| s % size != 0) || !view.suboffsets.is_null() {
        return Err(Error::value("the array's strides are not whole elements")
            .with_help("copy the array first")
            .into());
    }
    let strides = match steps {
        [] => lampyr::Layout::contiguous(&shape).strides.to_vec(),
        _ => steps.iter().map(|s| s / size).collect(),
    };
    let described = Described { data: view.buf.cast(), dtype, shape, strides };
    let copy = view.readonly != 0 && !share;
    // SAFETY: the exporter keeps the elements valid until the buffer is released, which dropping it does; it allows
    // writes unless the buffer is read-only, and then the tensor is a copy or the caller promised not to write.
    Ok(Some(unsafe { adopt(described, Box::new(held), copy) }?))
}

fn is_column_major(t: &Tensor) -> bool {
    let mut step = 1;
    t.shape().iter().zip(&t.layout().strides).all(|(&d, &s)| {
        let fits = d == 1 || s == step;
        step *= d as isize;
        fits
    })
}

fn refuse(text: &str) -> crate::error::Failure {
    PyBufferError::new_err(text.to_string()).into()
}

#[pymethods]
impl PyTensor {
    /// # Safety
    /// `view` points to a `Py_buffer` to fill, as the interpreter promises.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> Result<()> {
        if view.is_null() {
            return Err(refuse("a view is needed"));
        }
        // SAFETY: not null, and the interpreter gives a valid structure; `obj` must be null when this fails.
        unsafe { (*view).obj = std::ptr::null_mut() };
        let t = slf.get().t().clone();
        lampyr::runtime::check_readable(&t)?;
        let asks = |mask: c_int| flags & mask == mask;
        let Some(format) = format(t.dtype()) else {
            return Err(refuse("bfloat16 has no buffer format; cast to float32 first"));
        };
        let readonly = t.requires_grad();
        if readonly && asks(ffi::PyBUF_WRITABLE) {
            return Err(refuse("a tensor that requires a gradient is read-only; use detach()"));
        }
        let row_major = t.is_contiguous();
        let fits = match () {
            () if asks(ffi::PyBUF_C_CONTIGUOUS) => row_major,
            () if asks(ffi::PyBUF_F_CONTIGUOUS) => is_column_major(&t),
            () if asks(ffi::PyBUF_ANY_CONTIGUOUS) => row_major || is_column_major(&t),
            () => row_major || asks(ffi::PyBUF_STRIDES),
        };
        if !fits {
            return Err(refuse("the tensor is not contiguous in the order asked for; use contiguous()"));
        }
        let Some(data) = t.host_ptr() else { return Err(refuse("the tensor is not in host memory")) };
        let size = t.dtype().size();
        let sizes = t.shape().iter().map(|&d| d as ffi::Py_ssize_t);
        let steps = t.layout().strides.iter().map(|&s| s * size as isize);
        let rank = t.rank();
        let numbers: Box<[ffi::Py_ssize_t]> = sizes.chain(steps).collect();
        let numbers = Box::into_raw(Box::new(numbers));
        // SAFETY: `view` is valid as above; `numbers` was just made and is freed by `__releasebuffer__`; the tensor's
        // memory lives as long as the Python object that `obj` owns a reference to.
        unsafe {
            let list = (*numbers).as_mut_ptr();
            (*view).buf = if t.is_empty() { std::ptr::NonNull::<u64>::dangling().as_ptr().cast() } else { data.cast() };
            (*view).len = (t.len() * size) as ffi::Py_ssize_t;
            (*view).readonly = readonly.into();
            (*view).itemsize = size as ffi::Py_ssize_t;
            (*view).format = if asks(ffi::PyBUF_FORMAT) { format.as_ptr().cast_mut() } else { std::ptr::null_mut() };
            (*view).ndim = rank as c_int;
            (*view).shape = if asks(ffi::PyBUF_ND) { list } else { std::ptr::null_mut() };
            (*view).strides = if asks(ffi::PyBUF_STRIDES) { list.add(rank) } else { std::ptr::null_mut() };
            (*view).suboffsets = std::ptr::null_mut();
            (*view).internal = numbers.cast::<c_void>();
            (*view).obj = slf.into_ptr();
        }
        Ok(())
    }

    /// # Safety
    /// `view` was filled by `__getbuffer__`, as the interpreter promises.
    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: `internal` is the box that `__getbuffer__` made, released once.
        unsafe { drop(Box::from_raw((*view).internal.cast::<Box<[ffi::Py_ssize_t]>>())) };
    }
}
