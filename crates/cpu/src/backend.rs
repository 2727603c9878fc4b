use std::sync::{Arc, OnceLock};

use lampyr_backend::{Arg, Backend, DeviceMemory, Kernel, KernelTable, Launch};
use lampyr_base::alloc::{CachingAllocator, MemoryStats};
use lampyr_base::{Device, Error, Result};
use lampyr_ir::Cost;

use crate::kernels;
use crate::memory::HostMemory;
use crate::simd::Tier;

/// The host processor as a device. Launches run at once, on the calling thread and the shared pool.
pub struct CpuBackend {
    allocator: &'static CachingAllocator,
    kernels: KernelTable,
}

impl CpuBackend {
    /// A CPU device whose memory comes from `allocator`.
    pub fn new(allocator: &'static CachingAllocator) -> CpuBackend {
        let mut table = KernelTable::new();
        kernels::register(&mut table);
        CpuBackend { allocator, kernels: table }
    }
}

/// The CPU device of this process.
pub fn backend() -> Arc<CpuBackend> {
    static BACKEND: OnceLock<Arc<CpuBackend>> = OnceLock::new();
    BACKEND.get_or_init(|| Arc::new(CpuBackend::new(CachingAllocator::global()))).clone()
}

/// Makes the CPU known to [`lampyr_backend`]; calling it again changes nothing.
pub fn register() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| lampyr_backend::register(backend()));
}

#[cold]
fn outside(what: &str, i: usize, arg: &Arg) -> Error {
    let (low, high) = arg.layout.span();
    Error::internal(format!(
        "{what} {i} reaches elements {low}..{high} of {} behind byte {}, outside its {} bytes",
        arg.dtype,
        arg.base,
        arg.memory.len()
    ))
}

fn check(what: &str, i: usize, arg: &Arg) -> Result<()> {
    if arg.in_bounds() { Ok(()) } else { Err(outside(what, i, arg)) }
}

/// Address of bytes `offset..offset + len` of `memory`.
fn bytes_of(memory: &Arc<dyn DeviceMemory>, offset: usize, len: usize) -> Result<*mut u8> {
    let start = memory.host_ptr().ok_or_else(|| Error::device(format!("{} is not host memory", memory.device())))?;
    match offset.checked_add(len) {
        Some(end) if end <= memory.len() => Ok(start.as_ptr().wrapping_add(offset)),
        _ => Err(Error::internal(format!("bytes {offset}..+{len} lie outside a memory of {} bytes", memory.len()))),
    }
}

impl Backend for CpuBackend {
    fn device(&self) -> Device {
        Device::CPU
    }

    fn describe(&self) -> String {
        let threads = lampyr_base::pool::num_threads();
        format!("{} CPU, {} kernels, {threads} threads", std::env::consts::ARCH, Tier::current().name())
    }

    #[inline]
    fn allocate(&self, bytes: usize) -> Result<Arc<dyn DeviceMemory>> {
        Ok(Arc::new(HostMemory(self.allocator.allocate(bytes)?)))
    }

    fn kernels(&self) -> &KernelTable {
        &self.kernels
    }

    #[inline]
    fn enqueue(&self, kernel: &'static dyn Kernel, launch: &Launch) -> Result<()> {
        for (i, arg) in launch.inputs.iter().enumerate() {
            check("input", i, arg)?;
        }
        for (i, arg) in launch.outputs.iter().enumerate() {
            if let Some(arg) = arg {
                check("output", i, arg)?;
            }
        }
        if let Some(arg) = &launch.workspace {
            check("workspace", 0, arg)?;
        }
        kernel.launch(launch)
    }

    fn copy(&self, from: &Arg, to: &Arg) -> Result<()> {
        check("copy source", 0, from)?;
        check("copy target", 0, to)?;
        if from.dtype != to.dtype || from.layout.shape != to.layout.shape {
            return Err(Error::internal(format!(
                "copy of {}{:?} to {}{:?}",
                from.dtype, from.layout.shape, to.dtype, to.layout.shape
            )));
        }
        kernels::copy::copy(from, to)
    }

    fn upload(&self, bytes: &[u8], to: &Arc<dyn DeviceMemory>, offset: usize) -> Result<()> {
        let ptr = bytes_of(to, offset, bytes.len())?;
        // SAFETY: `bytes_of` checked the range; the caller gives the memory for writing, and `bytes` is another object.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), ptr, bytes.len()) };
        Ok(())
    }

    fn download(&self, from: &Arc<dyn DeviceMemory>, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let ptr = bytes_of(from, offset, bytes.len())?;
        // SAFETY: `bytes_of` checked the range, and `bytes` is borrowed uniquely, hence another object.
        unsafe { std::ptr::copy_nonoverlapping(ptr, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn memory_stats(&self) -> MemoryStats {
        self.allocator.stats()
    }

    fn set_memory_limit(&self, bytes: Option<usize>) {
        self.allocator.set_limit(bytes);
    }

    fn trim(&self) {
        self.allocator.trim();
    }

    fn estimate(&self, cost: Cost) -> f64 {
        const LAUNCH: f64 = 2e-7;
        const FLOPS_PER_THREAD: f64 = 2e10;
        const BYTES: f64 = 1e10;
        let threads = lampyr_base::pool::num_threads() as f64;
        LAUNCH + (cost.flops / (FLOPS_PER_THREAD * threads)).max(cost.bytes / BYTES)
    }
}
