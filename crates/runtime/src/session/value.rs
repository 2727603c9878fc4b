use std::sync::Arc;

use lampyr_backend::{Arg, Backend, DeviceMemory, backend, reference};
use lampyr_base::{DType, Device, Error, Layout, Result};
use lampyr_ir::{Fact, HostTensor, HostValue, TensorFact};

use crate::Tensor;

/// A tensor in device memory.
#[derive(Clone, Debug)]
pub struct TensorValue {
    /// The memory.
    pub memory: Arc<dyn DeviceMemory>,
    /// Element type.
    pub dtype: DType,
    /// Sizes, steps and offset in elements from the start of the memory.
    pub layout: Layout,
}

impl TensorValue {
    /// The value of a tensor; both share the memory.
    pub fn of(tensor: &Tensor) -> Result<TensorValue> {
        crate::recorder::check_readable(tensor)?;
        let storage = tensor.storage();
        let size = tensor.dtype().size();
        if !storage.base.is_multiple_of(size) {
            return TensorValue::of(&tensor.copy_contiguous()?);
        }
        let mut layout = tensor.layout().clone();
        layout.offset += storage.base / size;
        Ok(TensorValue { memory: storage.memory.clone(), dtype: tensor.dtype(), layout })
    }

    /// A tensor that shares the memory.
    pub fn to_tensor(&self) -> Result<Tensor> {
        Tensor::from_memory(self.memory.clone(), 0, self.layout.clone(), self.dtype)
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.memory.device()
    }

    /// As an operand.
    pub fn arg(&self) -> Arg<'_> {
        Arg::new(&self.memory, 0, self.dtype, &self.layout)
    }

    /// A copy on the host.
    pub fn to_host(&self) -> Result<HostTensor> {
        reference::to_host(&*backend(self.device())?, &self.arg())
    }

    /// A host tensor in fresh memory of `backend`.
    pub fn upload(backend: &dyn Backend, tensor: &HostTensor) -> Result<TensorValue> {
        let (memory, layout) = reference::to_device(backend, tensor)?;
        Ok(TensorValue { memory, dtype: tensor.dtype(), layout })
    }

    /// What is known of it.
    pub fn fact(&self) -> TensorFact {
        TensorFact::fixed(self.dtype, &self.layout.shape)
    }

    /// The same elements, row-major in fresh memory of `to`.
    pub fn copy_to(&self, to: &dyn Backend) -> Result<TensorValue> {
        let bytes = self.dtype.bytes_for(self.layout.len()).ok_or_else(|| Error::shape("a tensor is too large"))?;
        if to.device() != self.device() {
            return TensorValue::upload(to, &self.to_host()?);
        }
        let copy = TensorValue {
            memory: to.allocate(bytes)?,
            dtype: self.dtype,
            layout: Layout::contiguous(&self.layout.shape),
        };
        to.copy(&self.arg(), &copy.arg())?;
        Ok(copy)
    }
}

/// A value that goes into or comes out of a run.
#[derive(Clone, Debug)]
pub enum Value {
    /// A tensor.
    Tensor(TensorValue),
    /// Tensors of one dtype.
    Sequence(Vec<TensorValue>),
    /// A value that may be absent.
    Optional(Option<Box<Value>>),
}

impl Value {
    /// The tensor.
    ///
    /// # Errors
    /// [`lampyr_base::ErrorKind::DType`] when this is none.
    pub fn tensor(&self) -> Result<&TensorValue> {
        match self {
            Value::Tensor(t) => Ok(t),
            Value::Sequence(_) => Err(Error::dtype("got a sequence where a tensor is needed")),
            Value::Optional(_) => Err(Error::dtype("got an optional where a tensor is needed")),
        }
    }

    /// A copy on the host.
    pub fn to_host(&self) -> Result<HostValue> {
        Ok(match self {
            Value::Tensor(t) => HostValue::Tensor(t.to_host()?),
            Value::Sequence(all) => HostValue::Sequence(all.iter().map(TensorValue::to_host).collect::<Result<_>>()?),
            Value::Optional(None) => HostValue::Optional(None),
            Value::Optional(Some(v)) => HostValue::Optional(Some(Box::new(v.to_host()?))),
        })
    }

    /// A host value in fresh memory of `backend`.
    pub fn upload(backend: &dyn Backend, value: &HostValue) -> Result<Value> {
        Ok(match value {
            HostValue::Tensor(t) => Value::Tensor(TensorValue::upload(backend, t)?),
            HostValue::Sequence(all) => {
                Value::Sequence(all.iter().map(|t| TensorValue::upload(backend, t)).collect::<Result<_>>()?)
            }
            HostValue::Optional(None) => Value::Optional(None),
            HostValue::Optional(Some(v)) => Value::Optional(Some(Box::new(Value::upload(backend, v)?))),
        })
    }

    /// Whether it can stand for `fact`.
    pub fn fits(&self, fact: &Fact) -> bool {
        match (self, fact) {
            (Value::Tensor(t), Fact::Tensor(f)) => t.dtype == f.dtype,
            (Value::Sequence(all), Fact::Sequence(d)) => all.iter().all(|t| t.dtype == d.dtype),
            (Value::Optional(None), Fact::Optional(_)) => true,
            (Value::Optional(Some(v)), Fact::Optional(f)) => v.fits(f),
            _ => false,
        }
    }

    /// What it is, for messages.
    pub fn describe(&self) -> String {
        match self {
            Value::Tensor(t) => format!("{}{:?}", t.dtype, t.layout.shape.as_slice()),
            Value::Sequence(all) => format!("sequence of {}", all.len()),
            Value::Optional(v) => format!("optional({})", v.as_ref().map_or("absent".to_string(), |v| v.describe())),
        }
    }

    /// Calls `f` for every tensor in it.
    pub fn each(&self, f: &mut dyn FnMut(&TensorValue)) {
        match self {
            Value::Tensor(t) => f(t),
            Value::Sequence(all) => all.iter().for_each(f),
            Value::Optional(v) => {
                if let Some(v) = v {
                    v.each(f);
                }
            }
        }
    }
}

impl From<TensorValue> for Value {
    fn from(t: TensorValue) -> Value {
        Value::Tensor(t)
    }
}
