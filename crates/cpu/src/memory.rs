use std::any::Any;
use std::ptr::NonNull;

use lampyr_backend::DeviceMemory;
use lampyr_base::Device;
use lampyr_base::alloc::Block;

/// A block of host memory as device memory of the CPU.
#[derive(Debug)]
pub(crate) struct HostMemory(pub(crate) Block);

impl DeviceMemory for HostMemory {
    fn device(&self) -> Device {
        Device::CPU
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn host_ptr(&self) -> Option<NonNull<u8>> {
        Some(self.0.ptr())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn park(&self) -> bool {
        self.0.park();
        true
    }

    fn unpark(&self, bytes: usize) -> bool {
        self.0.unpark(bytes)
    }
}
