//! DLPack 1.0 (<https://dmlc.github.io/dlpack/latest/c_api.html>), both ways.

use std::ffi::{CStr, c_void};
use std::ptr::{NonNull, null_mut};

use lampyr::{DType, Error, Tensor};
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{ffi, intern};

use super::foreign::{Described, adopt};
use crate::error::Result;
use crate::tensor::PyTensor;

#[repr(C)]
#[derive(Clone, Copy)]
struct DlDevice {
    kind: i32,
    id: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct DlDataType {
    code: u8,
    bits: u8,
    lanes: u16,
}

#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device: DlDevice,
    ndim: i32,
    dtype: DlDataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// `DLManagedTensor`, used before version 1.
#[repr(C)]
struct Legacy {
    tensor: DlTensor,
    manager: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Legacy)>,
}

/// `DLManagedTensorVersioned`.
#[repr(C)]
struct Versioned {
    major: u32,
    minor: u32,
    manager: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Versioned)>,
    flags: u64,
    tensor: DlTensor,
}

const CPU: DlDevice = DlDevice { kind: 1, id: 0 };
const READ_ONLY: u64 = 1;
const COPIED: u64 = 2;

fn type_of(dtype: DType) -> DlDataType {
    let code = match dtype {
        DType::Bool => 6,
        DType::BF16 => 4,
        d if d.is_float() => 2,
        d if d.is_signed_integer() => 0,
        _ => 1,
    };
    DlDataType { code, bits: dtype.bits() as u8, lanes: 1 }
}

fn dtype_of(t: DlDataType) -> Option<DType> {
    DType::ALL.iter().copied().find(|&d| {
        let own = type_of(d);
        (own.code, own.bits, own.lanes) == (t.code, t.bits, t.lanes)
    })
}

struct Manager {
    _tensor: Tensor,
    numbers: Vec<i64>,
}

fn describe(t: &Tensor) -> (DlTensor, *mut c_void) {
    let sizes = t.shape().iter().map(|&d| d as i64);
    let numbers = sizes.chain(t.layout().strides.iter().map(|&s| s as i64)).collect();
    let mut manager = Box::new(Manager { _tensor: t.clone(), numbers });
    let shape = manager.numbers.as_mut_ptr();
    let tensor = DlTensor {
        data: if t.is_empty() { null_mut() } else { t.host_ptr().map_or(null_mut(), |p| p.cast()) },
        device: CPU,
        ndim: t.rank() as i32,
        dtype: type_of(t.dtype()),
        shape,
        strides: shape.wrapping_add(t.rank()),
        byte_offset: 0,
    };
    (tensor, Box::into_raw(manager).cast())
}

unsafe extern "C" fn delete_legacy(managed: *mut Legacy) {
    // SAFETY: called once, by the last owner, with what `__dlpack__` made.
    unsafe {
        let managed = Box::from_raw(managed);
        drop(Box::from_raw(managed.manager.cast::<Manager>()));
    }
}

unsafe extern "C" fn delete_versioned(managed: *mut Versioned) {
    // SAFETY: called once, by the last owner, with what `__dlpack__` made.
    unsafe {
        let managed = Box::from_raw(managed);
        drop(Box::from_raw(managed.manager.cast::<Manager>()));
    }
}

const LEGACY: &CStr = c"dltensor";
const VERSIONED: &CStr = c"dltensor_versioned";
const USED_LEGACY: &CStr = c"used_dltensor";
const USED_VERSIONED: &CStr = c"used_dltensor_versioned";

/// Frees what a capsule holds when nobody took it: a capsule that was taken has another name.
unsafe extern "C" fn drop_legacy(capsule: *mut ffi::PyObject) {
    // SAFETY: `capsule` is the capsule being destroyed; its pointer is what `__dlpack__` put in.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, LEGACY.as_ptr()) == 1 {
            delete_legacy(ffi::PyCapsule_GetPointer(capsule, LEGACY.as_ptr()).cast());
        }
    }
}

unsafe extern "C" fn drop_versioned(capsule: *mut ffi::PyObject) {
    // SAFETY: as `drop_legacy`.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, VERSIONED.as_ptr()) == 1 {
            delete_versioned(ffi::PyCapsule_GetPointer(capsule, VERSIONED.as_ptr()).cast());
        }
    }
}

#[pymethods]
impl PyTensor {
    /// The tensor as a DLPack capsule over the same memory.
    #[pyo3(signature = (*, stream = None, max_version = None, dl_device = None, copy = None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<&Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> Result<Bound<'py, PyAny>> {
        let _ = stream;
        lampyr::runtime::check_readable(&self.t())?;
        if dl_device.is_some_and(|d| d != (CPU.kind, CPU.id)) {
            return Err(PyBufferError::new_err("only the CPU can be exported to").into());
        }
        if self.t().requires_grad() {
            return Err(
                PyBufferError::new_err("a tensor that requires a gradient cannot be shared; use detach()").into()
            );
        }
        let copied = copy == Some(true);
        let tensor = if copied { self.t().copy_contiguous()? } else { self.t().clone() };
        let (tensor, manager) = describe(&tensor);
        // SAFETY: the structures are heap allocations that the capsule's destructor or its consumer frees exactly once;
        // a null capsule leaves an exception, which `from_owned_ptr_or_err` takes.
        unsafe {
            let capsule = if max_version.is_some_and(|v| v.0 >= 1) {
                let flags = if copied { COPIED } else { 0 };
                let deleter = Some(delete_versioned as unsafe extern "C" fn(*mut Versioned));
                let made = Versioned { major: 1, minor: 0, manager, deleter, flags, tensor };
                let pointer = Box::into_raw(Box::new(made));
                ffi::PyCapsule_New(pointer.cast(), VERSIONED.as_ptr(), Some(drop_versioned))
            } else {
                let deleter = Some(delete_legacy as unsafe extern "C" fn(*mut Legacy));
                let pointer = Box::into_raw(Box::new(Legacy { tensor, manager, deleter }));
                ffi::PyCapsule_New(pointer.cast(), LEGACY.as_ptr(), Some(drop_legacy))
            };
            Ok(Bound::from_owned_ptr_or_err(py, capsule)?)
        }
    }

    /// Device type and index as DLPack counts them.
    fn __dlpack_device__(&self) -> (i32, i32) {
        (CPU.kind, CPU.id)
    }
}

struct LegacyOwner(NonNull<Legacy>);
struct VersionedOwner(NonNull<Versioned>);

// SAFETY: DLPack lets any thread call the deleter, and nothing else is done with the pointer.
unsafe impl Send for LegacyOwner {}
// SAFETY: as above.
unsafe impl Sync for LegacyOwner {}
// SAFETY: as above.
unsafe impl Send for VersionedOwner {}
// SAFETY: as above.
unsafe impl Sync for VersionedOwner {}

impl Drop for LegacyOwner {
    fn drop(&mut self) {
        // SAFETY: this is the only owner, and the deleter is called once.
        unsafe {
            if let Some(delete) = self.0.as_ref().deleter {
                delete(self.0.as_ptr());
            }
        }
    }
}

impl Drop for VersionedOwner {
    fn drop(&mut self) {
        // SAFETY: as for `LegacyOwner`.
        unsafe {
            if let Some(delete) = self.0.as_ref().deleter {
                delete(self.0.as_ptr());
            }
        }
    }
}

/// A tensor over the memory of an object with `__dlpack__`.
pub fn import(ob: &Bound<'_, PyAny>, share: bool) -> Result<Tensor> {
    let py = ob.py();
    if let Ok(device) = ob.call_method0(intern!(py, "__dlpack_device__")) {
        let (kind, _): (i32, i32) = device.extract()?;
        if kind != CPU.kind {
            return Err(Error::device(format!("an array on DLPack device type {kind}"))
                .with_expected("an array in host memory")
                .with_help("move it to the CPU first")
                .into());
        }
    }
    let ask = PyDict::new(py);
    ask.set_item(intern!(py, "max_version"), (1, 0))?;
    let capsule = match ob.call_method(intern!(py, "__dlpack__"), (), Some(&ask)) {
        Err(e) if e.is_instance_of::<PyTypeError>(py) => ob.call_method0(intern!(py, "__dlpack__"))?,
        other => other?,
    };
    let raw = capsule.as_ptr();
    // SAFETY: the capsule is alive; a valid name means that it holds the structure of that name, which from the
    // renaming on belongs to the owner made here.
    unsafe {
        if ffi::PyCapsule_IsValid(raw, VERSIONED.as_ptr()) == 1 {
            let pointer = ffi::PyCapsule_GetPointer(raw, VERSIONED.as_ptr()).cast::<Versioned>();
            let managed = NonNull::new(pointer).ok_or_else(|| Error::value("an empty DLPack capsule"))?;
            if managed.as_ref().major > 1 {
                return Err(Error::unsupported(format!("DLPack version {}", managed.as_ref().major)).into());
            }
            ffi::PyCapsule_SetName(raw, USED_VERSIONED.as_ptr());
            let owner = VersionedOwner(managed);
            let copy = managed.as_ref().flags & READ_ONLY != 0 && !share;
            return take(&managed.as_ref().tensor, Box::new(owner), copy);
        }
        if ffi::PyCapsule_IsValid(raw, LEGACY.as_ptr()) == 1 {
            let pointer = ffi::PyCapsule_GetPointer(raw, LEGACY.as_ptr()).cast::<Legacy>();
            let managed = NonNull::new(pointer).ok_or_else(|| Error::value("an empty DLPack capsule"))?;
            ffi::PyCapsule_SetName(raw, USED_LEGACY.as_ptr());
            return take(&managed.as_ref().tensor, Box::new(LegacyOwner(managed)), false);
        }
    }
    Err(Error::value("__dlpack__ did not return a DLPack capsule").into())
}

/// # Safety
/// `tensor` and the memory it describes live as long as `owner`.
unsafe fn take(tensor: &DlTensor, owner: Box<dyn std::any::Any + Send + Sync>, copy: bool) -> Result<Tensor> {
    if tensor.device.kind != CPU.kind {
        return Err(Error::device("an array that is not in host memory").into());
    }
    let dtype = dtype_of(tensor.dtype).ok_or_else(|| {
        let DlDataType { code, bits, lanes } = tensor.dtype;
        Error::dtype(format!("DLPack type code {code} with {bits} bits and {lanes} lanes"))
    })?;
    let rank = usize::try_from(tensor.ndim).map_err(|_| Error::value("a negative number of axes"))?;
    let numbers = |p: *mut i64| {
        // SAFETY: DLPack gives `ndim` numbers behind `shape` and, when not null, behind `strides`.
        if p.is_null() || rank == 0 { &[] } else { unsafe { std::slice::from_raw_parts(p, rank) } }
    };
    let shape = numbers(tensor.shape)
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| Error::shape(format!("a size of {d}"))))
        .collect::<lampyr::Result<Vec<_>>>()?;
    let strides = match tensor.strides.is_null() {
        true => lampyr::Layout::contiguous(&shape).strides.to_vec(),
        false => numbers(tensor.strides).iter().map(|&s| s as isize).collect(),
    };
    let data = tensor.data.cast::<u8>().wrapping_add(tensor.byte_offset as usize);
    // SAFETY: the caller vouches for the memory.
    Ok(unsafe { adopt(Described { data, dtype, shape, strides }, owner, copy) }?)
}
