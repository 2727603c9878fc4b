//! A device for tests that is as unlike the host as a GPU: its memory has no address the host can use, its queue is
//! asynchronous, errors surface at the next synchronisation, and it has kernels for only some ops.

mod kernel;
mod memory;
mod queue;

use std::sync::{Arc, OnceLock};

use lampyr_backend::{Arg, Backend, DeviceMemory, Kernel, KernelTable, Launch};
use lampyr_base::alloc::MemoryStats;
use lampyr_base::{Device, DeviceKind, Error, Result};
use lampyr_ir::Cost;

use memory::LoopbackMemory;
use queue::{Command, OwnedArg, Queue};

/// The test device.
pub const LOOPBACK: Device = Device { kind: DeviceKind::Custom("loopback"), index: 0 };

/// The backend of [`LOOPBACK`].
pub struct Loopback {
    queue: Arc<Queue>,
    kernels: KernelTable,
}

impl Loopback {
    fn new() -> Loopback {
        Loopback { queue: Arc::new(Queue::start()), kernels: kernel::table() }
    }
}

/// The loopback device, registered on first use.
pub fn loopback() -> Arc<Loopback> {
    static DEVICE: OnceLock<Arc<Loopback>> = OnceLock::new();
    DEVICE
        .get_or_init(|| {
            let device = Arc::new(Loopback::new());
            lampyr_backend::register(device.clone());
            device
        })
        .clone()
}

fn handle(memory: &Arc<dyn DeviceMemory>) -> Result<Arc<LoopbackMemory>> {
    memory
        .as_any()
        .downcast_ref::<LoopbackMemory>()
        .map(LoopbackMemory::share)
        .ok_or_else(|| Error::device(format!("memory of {} was given to {LOOPBACK}", memory.device())))
}

fn owned(arg: &Arg) -> Result<OwnedArg> {
    if !arg.in_bounds() {
        return Err(Error::device("an operand lies outside its memory"));
    }
    Ok(OwnedArg { memory: handle(arg.memory)?, base: arg.base, dtype: arg.dtype, layout: arg.layout.clone() })
}

impl Backend for Loopback {
    fn device(&self) -> Device {
        LOOPBACK
    }

    fn describe(&self) -> String {
        "loopback test device (host reference behind an asynchronous queue)".to_string()
    }

    fn allocate(&self, bytes: usize) -> Result<Arc<dyn DeviceMemory>> {
        Ok(Arc::new(LoopbackMemory::allocate(&self.queue, bytes)?))
    }

    fn kernels(&self) -> &KernelTable {
        &self.kernels
    }

    fn enqueue(&self, kernel: &'static dyn Kernel, launch: &Launch) -> Result<()> {
        let inputs = launch.inputs.iter().map(owned).collect::<Result<_>>()?;
        let outputs = launch.outputs.iter().map(|o| o.as_ref().map(owned).transpose()).collect::<Result<_>>()?;
        self.queue.send(Command::Launch { kernel, op: launch.op.to_ref(), inputs, outputs })
    }

    fn copy(&self, from: &Arg, to: &Arg) -> Result<()> {
        self.queue.send(Command::Copy { from: owned(from)?, to: owned(to)? })
    }

    fn upload(&self, bytes: &[u8], to: &Arc<dyn DeviceMemory>, offset: usize) -> Result<()> {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > to.len()) {
            return Err(Error::device("an upload reaches outside its memory"));
        }
        self.queue.send(Command::Upload { to: handle(to)?, offset, bytes: bytes.to_vec() })
    }

    fn download(&self, from: &Arc<dyn DeviceMemory>, offset: usize, bytes: &mut [u8]) -> Result<()> {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > from.len()) {
            return Err(Error::device("a download reaches outside its memory"));
        }
        let got = self.queue.download(handle(from)?, offset, bytes.len())?;
        bytes.copy_from_slice(&got);
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        self.queue.synchronize()
    }

    fn memory_stats(&self) -> MemoryStats {
        self.queue.stats()
    }

    fn set_memory_limit(&self, bytes: Option<usize>) {
        self.queue.set_limit(bytes);
    }

    fn trim(&self) {}

    fn estimate(&self, cost: Cost) -> f64 {
        2e-5 + cost.flops / 1e8 + cost.bytes / 1e9
    }
}
