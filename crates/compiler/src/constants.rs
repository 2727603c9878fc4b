//! Constants on devices: uploaded once per executable, packed once per kernel, shared by all plans and sessions.

use std::any::Any;
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lampyr_backend::{Arg, Backend, DeviceMemory, Kernel, Packed, reference};
use lampyr_base::{Device, DeviceKind, Layout, Result};
use lampyr_ir::{HostTensor, Op, OpRef, ValueId};
use lampyr_ops::build::FusedContraction;

/// The bytes of a constant where they are, as memory of the host processor; nobody writes to constants. Bytes that are
/// not aligned for their type are copied when somebody asks for their address.
#[derive(Debug)]
struct HostConstant {
    tensor: HostTensor,
    aligned: OnceLock<Option<HostTensor>>,
}

impl HostConstant {
    fn new(tensor: &HostTensor) -> HostConstant {
        HostConstant { tensor: tensor.clone(), aligned: OnceLock::new() }
    }
}

/// The bytes of a constant where they are, aligned or not: for kernels that need no alignment, or never read them
/// because they have a packed form.
#[derive(Debug)]
struct AsItLies(HostTensor);

impl DeviceMemory for AsItLies {
    fn device(&self) -> Device {
        Device::CPU
    }
    fn len(&self) -> usize {
        self.0.bytes().len()
    }
    fn host_ptr(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.0.bytes().as_ptr().cast_mut())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `tensor` without a copy, whatever its alignment.
pub fn as_it_lies(tensor: &HostTensor) -> Arc<dyn DeviceMemory> {
    Arc::new(AsItLies(tensor.clone()))
}

impl DeviceMemory for HostConstant {
    fn device(&self) -> Device {
        Device::CPU
    }
    fn len(&self) -> usize {
        self.tensor.bytes().len()
    }
    fn host_ptr(&self) -> Option<NonNull<u8>> {
        let t = &self.tensor;
        let copy = || HostTensor::copy_bytes(t.dtype(), t.shape(), t.bytes()).ok();
        let bytes = if t.is_aligned() { t.bytes() } else { self.aligned.get_or_init(copy).as_ref()?.bytes() };
        NonNull::new(bytes.as_ptr().cast_mut())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `tensor` in memory of `backend`; without a copy on the host processor.
pub fn place(backend: &dyn Backend, tensor: &HostTensor) -> Result<Arc<dyn DeviceMemory>> {
    if backend.device().kind == DeviceKind::Cpu {
        return Ok(Arc::new(HostConstant::new(tensor)));
    }
    Ok(reference::to_device(backend, tensor)?.0)
}

#[derive(PartialEq, Eq, Hash)]
struct PackKey {
    value: ValueId,
    input: usize,
    kernel: &'static str,
    op: OpRef,
    layout: Layout,
    device: Device,
}

/// The constants of one executable.
#[derive(Default)]
pub struct Constants {
    memory: Mutex<HashMap<(ValueId, Device), Arc<dyn DeviceMemory>>>,
    packed: Mutex<HashMap<PackKey, Option<Packed>>>,
}

impl Constants {
    /// The memory of constant `value` on `backend`.
    pub fn get(&self, backend: &dyn Backend, value: ValueId, tensor: &HostTensor) -> Result<Arc<dyn DeviceMemory>> {
        let mut all = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(m) = all.get(&(value, backend.device())) {
            return Ok(m.clone());
        }
        let memory = place(backend, tensor)?;
        all.insert((value, backend.device()), memory.clone());
        Ok(memory)
    }

    /// The packed form of a constant operand for `kernel`.
    pub fn pack(
        &self,
        kernel: &'static dyn Kernel,
        op: &dyn Op,
        input: usize,
        value: ValueId,
        arg: &Arg,
    ) -> Result<Option<Packed>> {
        let key = PackKey {
            value,
            input,
            kernel: kernel.name(),
            op: op.as_any().downcast_ref::<FusedContraction>().map_or_else(|| op.to_ref(), |f| f.main.clone()),
            layout: arg.layout.clone(),
            device: arg.memory.device(),
        };
        let mut all = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(p) = all.get(&key) {
            return Ok(p.clone());
        }
        let packed = kernel.pack(op, input, arg).transpose()?;
        all.insert(key, packed.clone());
        Ok(packed)
    }

    /// Bytes of all constants and packed forms on devices.
    pub fn bytes(&self) -> usize {
        let plain: usize = self.memory.lock().unwrap_or_else(PoisonError::into_inner).values().map(|m| m.len()).sum();
        let packed: usize =
            (self.packed.lock().unwrap_or_else(PoisonError::into_inner).values()).flatten().map(|p| p.bytes).sum();
        plain + packed
    }
}
