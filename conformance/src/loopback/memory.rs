use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;

use lampyr_backend::DeviceMemory;
use lampyr_base::{Device, Result};

use super::LOOPBACK;
use super::queue::{Command, Queue};

/// A handle of memory that only the queue's thread can reach.
#[derive(Debug)]
pub struct LoopbackMemory(Arc<Allocation>);

#[derive(Debug)]
struct Allocation {
    id: u64,
    len: usize,
    queue: Arc<Queue>,
}

impl LoopbackMemory {
    pub fn allocate(queue: &Arc<Queue>, len: usize) -> Result<LoopbackMemory> {
        let id = queue.reserve(len)?;
        queue.send(Command::Allocate { id, len })?;
        Ok(LoopbackMemory(Arc::new(Allocation { id, len, queue: queue.clone() })))
    }

    /// Another handle of the same memory, for commands that are still queued.
    pub fn share(&self) -> Arc<LoopbackMemory> {
        Arc::new(LoopbackMemory(self.0.clone()))
    }

    pub fn id(&self) -> u64 {
        self.0.id
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        self.queue.release(self.id, self.len);
    }
}

impl DeviceMemory for LoopbackMemory {
    fn device(&self) -> Device {
        LOOPBACK
    }

    fn len(&self) -> usize {
        self.0.len
    }

    fn host_ptr(&self) -> Option<NonNull<u8>> {
        None
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
