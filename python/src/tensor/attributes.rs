//! What a tensor says of itself, casts, and tensors like it.

use lampyr::functional as f;
use lampyr::{DType, Error};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple, PyType};

use super::PyTensor;
use super::create::{from_data, leaf};
use crate::argument::{number, required};
use crate::dtype::{MemoryFormat, MemoryLayout, parse, parse_or};
use crate::error::Result;

type Ob<'py> = Bound<'py, PyAny>;

/// PyTorch's names of the classes of tensors.
const CLASSES: &[(&str, DType)] = &[
    ("Bool", DType::Bool),
    ("Byte", DType::U8),
    ("Char", DType::I8),
    ("UInt16", DType::U16),
    ("Short", DType::I16),
    ("UInt32", DType::U32),
    ("Int", DType::I32),
    ("UInt64", DType::U64),
    ("Long", DType::I64),
    ("Half", DType::F16),
    ("BFloat16", DType::BF16),
    ("Float", DType::F32),
    ("Double", DType::F64),
];

/// The sizes of axes, as the class `lampyr.Size`.
pub(super) fn size<'py>(py: Python<'py>, sizes: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    static SIZE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    SIZE.import(py, "lampyr.size", "Size")?.call1((PyTuple::new(py, sizes)?,))
}

/// The name of a format.
pub(super) fn order(format: Option<&Bound<'_, MemoryFormat>>) -> Option<&'static str> {
    format.map(|f| f.get().name)
}

/// As `dtype`: the same object when it has that already.
fn cast(slf: &Bound<'_, PyTensor>, dtype: DType, format: Option<&Bound<'_, MemoryFormat>>) -> Result<Py<PyTensor>> {
    let x = slf.get().t();
    let made =
        if x.dtype() == dtype { x.clone() } else { crate::error::run(slf.py(), x.len() as f64, || x.to_dtype(dtype))? };
    let made = f::formatted(made, order(format))?;
    if made.same(&x) {
        return Ok(slf.clone().unbind());
    }
    Ok(Py::new(slf.py(), PyTensor::of(made))?)
}

#[pymethods]
impl PyTensor {
    /// Bytes of one element.
    fn element_size(&self) -> usize {
        self.t().dtype().size()
    }

    /// Number of elements.
    fn nelement(&self) -> usize {
        self.t().len()
    }

    /// Number of axes.
    fn ndimension(&self) -> usize {
        self.t().rank()
    }

    /// Place of the first element in the memory, in elements.
    fn storage_offset(&self) -> usize {
        self.t().layout().offset
    }

    /// Bytes of all elements.
    fn __sizeof__(&self) -> usize {
        self.t().len() * self.t().dtype().size()
    }

    /// Strided; there is no other.
    #[getter]
    fn layout(&self) -> crate::dtype::MemoryLayout {
        crate::dtype::MemoryLayout
    }

    /// The same memory without history, whose changes in place the tape does not see. Setting it makes this tensor
    /// share the memory, sizes and dtype of another.
    #[getter(data)]
    fn get_data(&self) -> PyTensor {
        PyTensor::of(self.t().data())
    }

    #[setter(data)]
    fn set_data(&self, data: &Ob<'_>) -> Result<()> {
        let Ok(data) = data.cast::<PyTensor>() else {
            let name = crate::interop::type_name(data);
            return Err(Error::dtype(format!("Variable data has to be a tensor, but got {name}")).into());
        };
        let made = self.t().with_data(&data.get().t())?;
        self.put(made);
        Ok(())
    }

    /// The matrix transposed; real numbers are their own conjugates.
    #[getter(H)]
    fn conjugate_transposed(&self) -> Result<PyTensor> {
        match self.t().rank() {
            0 => Ok(PyTensor::of(self.t().permute(&[])?)),
            2 => Ok(PyTensor::of(self.t().transpose(0, 1)?)),
            n => Err(Error::shape(format!("H of a tensor with {n} axes")).with_help("use mH").into()),
        }
    }

    /// The last two axes exchanged; real numbers are their own conjugates.
    #[getter(mH)]
    fn matrices_conjugate_transposed(&self) -> Result<PyTensor> {
        if self.t().rank() < 2 {
            return Err(Error::shape(format!("mH of a tensor with {} axes", self.t().rank()))
                .with_expected("a matrix or a batch of matrices")
                .into());
        }
        Ok(PyTensor::of(self.t().transpose(-2, -1)?))
    }

    /// Real numbers are their own real part.
    #[getter]
    fn real(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[getter]
    fn imag(&self) -> Result<PyTensor> {
        Err(Error::unsupported("the imaginary part of a real tensor").into())
    }

    /// Whether it lies in memory that other processes see.
    fn is_shared(&self) -> bool {
        false
    }
    /// Whether it lies in memory that no other process sees but a device reads fast.
    #[pyo3(signature = (device = None))]
    fn is_pinned(&self, device: Option<&Ob<'_>>) -> Result<bool> {
        crate::dtype::device(device)?;
        Ok(false)
    }
    /// The tensor itself: it was computed when it was made.
    fn eval(slf: Py<Self>) -> Py<Self> {
        slf
    }
    /// On the GPU of a Mac.
    #[pyo3(signature = (device = None))]
    fn metal(slf: Py<Self>, device: Option<&Ob<'_>>) -> Result<Py<Self>> {
        let _ = device;
        drop(slf);
        Err(Error::device("there is no Metal device")
            .with_help("ask lampyr.backends.metal.is_available() first")
            .into())
    }
    /// Memory that other processes see is not supported.
    fn share_memory_(slf: Py<Self>) -> Result<Py<Self>> {
        drop(slf);
        Err(Error::unsupported("memory that several processes share")
            .with_help("threads share tensors as they are; send other processes numpy() arrays")
            .into())
    }
    /// Memory of the CPU needs no pinning.
    fn pin_memory(slf: Py<Self>) -> Py<Self> {
        slf
    }
    #[getter]
    fn is_cuda(&self) -> bool {
        self.t().device().kind == lampyr::DeviceKind::Cuda
    }
    #[getter]
    fn is_cpu(&self) -> bool {
        self.t().device() == lampyr::Device::CPU
    }
    #[getter]
    fn is_metal(&self) -> bool {
        self.t().device().kind == lampyr::DeviceKind::Metal
    }
    #[getter]
    fn is_sparse(&self) -> bool {
        false
    }
    #[getter]
    fn is_quantized(&self) -> bool {
        false
    }
    #[getter]
    fn is_meta(&self) -> bool {
        false
    }
    fn is_complex(&self) -> bool {
        false
    }
    fn is_conj(&self) -> bool {
        false
    }
    fn is_neg(&self) -> bool {
        false
    }
    /// Whether the element type holds negative numbers.
    fn is_signed(&self) -> bool {
        self.t().dtype().is_float() || self.t().dtype().is_signed_integer()
    }
    /// Whether both are over the same memory, with equal sizes, strides and offset.
    fn is_set_to(&self, tensor: &Bound<'_, PyTensor>) -> bool {
        let (x, y) = (&self.t(), &tensor.get().t());
        x.shares_storage(y) && x.layout() == y.layout()
    }

    /// Whether both have the same shape.
    fn is_same_size(&self, other: &Bound<'_, PyTensor>) -> bool {
        self.t().shape() == other.get().t().shape()
    }

    /// The memory behind this tensor.
    fn untyped_storage(&self) -> super::storage::Storage {
        super::storage::Storage(self.t().detach())
    }

    /// The name of the tensor's class, such as `lampyr.FloatTensor`; or this tensor cast to `dtype`.
    #[pyo3(signature = (dtype = None, non_blocking = false))]
    fn r#type<'py>(slf: &Bound<'py, Self>, dtype: Option<&Ob<'py>>, non_blocking: bool) -> Result<Ob<'py>> {
        let _ = non_blocking;
        let Some(dtype) = dtype else {
            let mine = slf.get().t().dtype();
            let name = CLASSES.iter().find(|c| c.1 == mine).map_or("", |c| c.0);
            return Ok(PyString::new(slf.py(), &format!("lampyr.{name}Tensor")).into_any());
        };
        let class = dtype.cast::<PyString>().ok().map(|s| s.to_string()).and_then(|s| {
            let name = s.rsplit('.').next()?.strip_suffix("Tensor")?.to_string();
            CLASSES.iter().find(|c| c.0 == name).map(|c| c.1)
        });
        let to = class.map_or_else(|| parse(dtype), Ok)?;
        Ok(cast(slf, to, None)?.into_bound(slf.py()).into_any())
    }

    /// As the dtype of `other`.
    fn type_as(slf: &Bound<'_, Self>, other: &Bound<'_, PyTensor>) -> Result<Py<Self>> {
        cast(slf, other.get().t().dtype(), None)
    }

    /// As float32.
    #[pyo3(signature = (memory_format = None))]
    fn float(slf: &Bound<'_, Self>, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<Py<Self>> {
        cast(slf, DType::F32, memory_format)
    }
    /// As float64.
    #[pyo3(signature = (memory_format = None))]
    fn double(slf: &Bound<'_, Self>, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<Py<Self>> {
        cast(slf, DType::F64, memory_format)
    }
    /// As float16.
    #[pyo3(signature = (memory_format = None))]
    fn half(slf: &Bound<'_, Self>, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<Py<Self>> {
        cast(slf, DType::F16, memory_format)
    }
    /// As bfloat16.
    #[pyo3(signature = (memory_format = None))]
    fn bfloat16(slf: &Bound<'_, Self>, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<Py<Self>> {
        cast(slf, DType::BF16, memory_format)
    }
    /// As int8.
    #[pyo3(signature = (memory_format = None))]
    fn char(slf: &Bound<'_, Self>, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<Py<Self>> {
        cast(slf, DType::I8, memory_format)
    }
    /// As uint8.
    #[pyo3(signature = (memory_format = None))]
    fn byte(slf: &Bound<'_, Self>, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<Py<Self>> {
        cast(slf, DType::U8, memory_format)
    }
    /// As int16.
    #[pyo3(signature = (memory_format = None))]
    fn short(slf: &Bound<'_, Self>, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<Py<Self>> {
        cast(slf, DType::I16, memory_format)
    }
    /// As int32.
    #[pyo3(signature = (memory_format = None))]
    fn int(slf: &Bound<'_, Self>, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<Py<Self>> {
        cast(slf, DType::I32, memory_format)
    }
    /// As int64.
    #[pyo3(signature = (memory_format = None))]
    fn long(slf: &Bound<'_, Self>, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<Py<Self>> {
        cast(slf, DType::I64, memory_format)
    }
    /// As bool.
    #[pyo3(signature = (memory_format = None))]
    fn bool(slf: &Bound<'_, Self>, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<Py<Self>> {
        cast(slf, DType::Bool, memory_format)
    }

    /// A new tensor with a copy of `data`, by default of this tensor's dtype.
    #[pyo3(signature = (data, *, dtype = None, device = None, requires_grad = false, layout = None, pin_memory = false))]
    #[allow(clippy::too_many_arguments)]
    fn new_tensor(
        &self,
        data: &Ob<'_>,
        dtype: Option<&Ob<'_>>,
        device: Option<&Ob<'_>>,
        requires_grad: bool,
        layout: Option<&Bound<'_, MemoryLayout>>,
        pin_memory: bool,
    ) -> Result<PyTensor> {
        let _ = (layout, pin_memory);
        crate::dtype::device(device)?;
        let to = parse_or(dtype, self.t().dtype())?;
        let made = match (data.cast::<PyTensor>(), number(data)?) {
            (Ok(t), _) => t.get().t().detach().to_dtype(to)?.copy_contiguous()?,
            (_, Some(_)) => from_data(data, Some(to))?,
            _ => match crate::interop::array(data, true)? {
                Some(t) => t.to_dtype(to)?.copy_contiguous()?,
                None => from_data(data, Some(to))?,
            },
        };
        leaf(made, requires_grad)
    }

    /// self == other for all elements, and equal shapes.
    fn equal(&self, other: &Ob<'_>) -> Result<bool> {
        let y = required(other)?.tensor()?;
        if self.t().shape() != y.shape() {
            return Ok(false);
        }
        let same = self.t().detach().equal(&y.detach())?;
        Ok(same.is_empty() || same.sum(&[], false)?.item()? as usize == same.len())
    }
}
