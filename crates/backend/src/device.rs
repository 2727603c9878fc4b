use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use lampyr_base::alloc::MemoryStats;
use lampyr_base::{Device, Error, Result};

use crate::{Arg, Kernel, KernelTable, Launch};

/// A piece of device memory; freed (or given back to a cache) when dropped.
pub trait DeviceMemory: Send + Sync + fmt::Debug {
    /// Where it is.
    fn device(&self) -> Device;
    /// Its size in bytes.
    fn len(&self) -> usize;
    /// True for zero bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Its address, when the host can read and write it directly.
    fn host_ptr(&self) -> Option<NonNull<u8>>;
    /// For downcasts by the backend that made it.
    fn as_any(&self) -> &dyn Any;
    /// Counts the memory as free while its owner keeps it for reuse; false where that cannot be.
    fn park(&self) -> bool {
        false
    }
    /// Counts parked memory as used again, for `bytes` bytes. False where that cannot be: it must be dropped then.
    fn unpark(&self, _bytes: usize) -> bool {
        false
    }
}

/// A device: memory, an in-order queue and kernels. Work may be asynchronous; [`Backend::download`] and
/// [`Backend::synchronize`] wait for it, and failures of queued work surface there.
pub trait Backend: Send + Sync {
    /// Which device.
    fn device(&self) -> Device;

    /// A line for people: processor, SIMD tier, driver.
    fn describe(&self) -> String;

    /// Memory of `bytes` bytes, which may be 0, aligned to 64. Contents are arbitrary.
    ///
    /// # Errors
    /// [`lampyr_base::ErrorKind::OutOfMemory`].
    fn allocate(&self, bytes: usize) -> Result<Arc<dyn DeviceMemory>>;

    /// Its kernels.
    fn kernels(&self) -> &KernelTable;

    /// Runs a kernel of this backend, now or later. Operands stay alive and unchanged until it has run: a backend that
    /// defers work keeps the memories of the launch.
    fn enqueue(&self, kernel: &'static dyn Kernel, launch: &Launch) -> Result<()>;

    /// Copies elements between two layouts of equal shape and dtype on this device.
    fn copy(&self, from: &Arg, to: &Arg) -> Result<()>;

    /// Copies host bytes to `to` from byte `offset` on; `bytes` may be reused when this returns.
    fn upload(&self, bytes: &[u8], to: &Arc<dyn DeviceMemory>, offset: usize) -> Result<()>;

    /// Waits for queued work on `from` and copies its bytes from `offset` on to the host.
    fn download(&self, from: &Arc<dyn DeviceMemory>, offset: usize, bytes: &mut [u8]) -> Result<()>;

    /// Waits for all queued work.
    fn synchronize(&self) -> Result<()>;

    /// Memory in use.
    fn memory_stats(&self) -> MemoryStats;

    /// Sets or removes the cap on live bytes.
    fn set_memory_limit(&self, bytes: Option<usize>);

    /// Gives cached memory back to the system.
    fn trim(&self);

    /// Estimated seconds of one call, for placement before anything was measured.
    fn estimate(&self, cost: lampyr_ir::Cost) -> f64;
}

static BACKENDS: RwLock<Vec<Arc<dyn Backend>>> = RwLock::new(Vec::new());
static CPU: OnceLock<Arc<dyn Backend>> = OnceLock::new();

/// Makes a device known; an earlier one for the same device is replaced. The CPU stays the one registered first, so that
/// looking it up takes no lock.
pub fn register(backend: Arc<dyn Backend>) {
    if backend.device() == Device::CPU && CPU.set(backend.clone()).is_err() {
        return;
    }
    let mut all = BACKENDS.write().unwrap_or_else(PoisonError::into_inner);
    all.retain(|b| b.device() != backend.device());
    all.push(backend);
}

/// All known devices.
pub fn backends() -> Vec<Arc<dyn Backend>> {
    BACKENDS.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The backend of `device`.
///
/// # Errors
/// [`lampyr_base::ErrorKind::Device`] when there is none.
#[inline]
pub fn backend(device: Device) -> Result<Arc<dyn Backend>> {
    match CPU.get() {
        Some(cpu) if device == Device::CPU => Ok(cpu.clone()),
        _ => look_up(device),
    }
}

/// The CPU of this process, once it is registered.
#[inline]
pub fn host() -> Option<&'static dyn Backend> {
    CPU.get().map(|cpu| &**cpu)
}

fn look_up(device: Device) -> Result<Arc<dyn Backend>> {
    let all = BACKENDS.read().unwrap_or_else(PoisonError::into_inner);
    all.iter().find(|b| b.device() == device).cloned().ok_or_else(|| {
        let known = all.iter().map(|b| b.device().to_string()).collect::<Vec<_>>().join(", ");
        Error::device(format!("there is no device `{device}`")).with_expected(format!("one of: {known}"))
    })
}
