use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lampyr_backend::DeviceMemory;
use lampyr_base::Device;

/// The memory behind one or more tensors, with a version that every in-place change raises.
#[derive(Debug)]
pub struct Storage {
    pub(crate) memory: Arc<dyn DeviceMemory>,
    pub(crate) base: usize,
    device: Device,
    version: AtomicU64,
    rebased: AtomicU64,
}

impl Storage {
    /// The storage that starts at byte `base` of `memory`.
    #[inline]
    pub fn new(memory: Arc<dyn DeviceMemory>, base: usize) -> Storage {
        let device = memory.device();
        Storage { memory, base, device, version: AtomicU64::new(0), rebased: AtomicU64::new(0) }
    }

    /// Starts to count changes again, for memory with new contents.
    #[inline]
    pub(crate) fn renew(&self) {
        self.version.store(0, Ordering::Relaxed);
        self.rebased.store(0, Ordering::Relaxed);
    }

    /// The same memory with a count of changes of its own, which goes on from `version`.
    pub(crate) fn alias(&self, version: u64) -> Storage {
        let storage = Storage::new(self.memory.clone(), self.base);
        storage.version.store(version, Ordering::Release);
        storage
    }

    /// Where it is.
    #[inline]
    pub fn device(&self) -> Device {
        self.device
    }

    /// How often it was changed in place.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Notes a change in place.
    #[inline]
    pub fn bump(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// How often a change in place replaced the history of a tensor over this memory.
    #[inline]
    pub(crate) fn rebased(&self) -> u64 {
        self.rebased.load(Ordering::Acquire)
    }

    pub(crate) fn note_rebased(&self) {
        self.rebased.fetch_add(1, Ordering::AcqRel);
    }
}
