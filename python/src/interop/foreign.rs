use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use lampyr::backend::DeviceMemory;
use lampyr::{DType, Device, Error, Layout, Result, Tensor};

/// Memory of another library, kept alive by `_keeper`.
struct Foreign {
    start: NonNull<u8>,
    bytes: usize,
    _keeper: Box<dyn Any + Send + Sync>,
}

// SAFETY: the keeper, which is Send and Sync, keeps the memory valid at a fixed address until it is dropped; access to
// tensor memory from several threads is the user's to order, as it is for memory of Lampyr itself.
unsafe impl Send for Foreign {}
// SAFETY: as above.
unsafe impl Sync for Foreign {}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Foreign({} bytes)", self.bytes)
    }
}

impl DeviceMemory for Foreign {
    fn device(&self) -> Device {
        Device::CPU
    }
    fn len(&self) -> usize {
        self.bytes
    }
    fn host_ptr(&self) -> Option<NonNull<u8>> {
        Some(self.start)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What another library says of an array; strides in elements.
pub struct Described {
    pub data: *mut u8,
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub strides: Vec<isize>,
}

/// A tensor over the memory of another library; copied when `copy` is set or the elements are not aligned.
///
/// # Safety
/// The elements that `array` describes are valid for reads and, unless `copy` is set, for writes as long as `keeper`
/// lives.
pub unsafe fn adopt(array: Described, keeper: Box<dyn Any + Send + Sync>, copy: bool) -> Result<Tensor> {
    let Described { data, dtype, shape, strides } = array;
    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let elements = elements.ok_or_else(|| Error::shape(format!("shape {shape:?} is too large")))?;
    if elements == 0 || data.is_null() {
        if elements > 0 {
            return Err(Error::value("an array without memory"));
        }
        return Tensor::empty(&shape, dtype, Device::CPU);
    }
    let (mut low, mut high) = (0isize, 0isize);
    for (&d, &s) in shape.iter().zip(&strides) {
        let reach = (d as isize - 1).checked_mul(s).ok_or_else(|| Error::shape("strides are too large"))?;
        if reach < 0 { low += reach } else { high += reach }
    }
    let size = dtype.size();
    let layout =
        Layout { shape: shape.as_slice().into(), strides: strides.as_slice().into(), offset: low.unsigned_abs() };
    // SAFETY: `low` is the lowest element that the description reaches, so the pointer stays inside its memory.
    let start = unsafe { data.offset(low * size as isize) };
    let bytes = (high - low + 1) as usize * size;
    if start.align_offset(size) != 0 {
        // SAFETY: the caller vouches for the elements between the lowest and the highest.
        let raw = unsafe { std::slice::from_raw_parts(start, bytes) };
        let mut packed = Vec::with_capacity(elements * size);
        for i in layout.indices() {
            packed.extend_from_slice(&raw[i * size..(i + 1) * size]);
        }
        return Tensor::from_host(&lampyr::HostTensor::copy_bytes(dtype, &shape, &packed)?, Device::CPU);
    }
    let start = NonNull::new(start).ok_or_else(|| Error::internal("no memory"))?;
    let memory: Arc<dyn DeviceMemory> = Arc::new(Foreign { start, bytes, _keeper: keeper });
    let tensor = Tensor::from_memory(memory, 0, layout, dtype)?;
    if copy { tensor.copy_contiguous() } else { Ok(tensor) }
}
