use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lampyr_backend::{Backend, DeviceMemory};
use lampyr_base::{Device, Error, ErrorKind, Result};

/// Arenas between runs: a run takes one per device and gives it back.
#[derive(Debug, Default)]
pub struct Arenas {
    free: Mutex<HashMap<Device, Vec<Arc<dyn DeviceMemory>>>>,
}

impl Arenas {
    /// An arena of at least `bytes` bytes.
    pub fn take(&self, backend: &dyn Backend, bytes: usize) -> Result<Arc<dyn DeviceMemory>> {
        {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(list) = free.get_mut(&backend.device()) {
                let fit = (list.iter().enumerate()).filter(|(_, m)| m.len() >= bytes).min_by_key(|(_, m)| m.len());
                if let Some((i, _)) = fit {
                    return Ok(list.swap_remove(i));
                }
                // None is large enough: the new one replaces one of them.
                list.pop();
            }
        }
        backend.allocate(bytes)
    }

    /// Keeps an arena for later runs.
    pub fn give(&self, memory: Arc<dyn DeviceMemory>) {
        if !memory.is_empty() {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.entry(memory.device()).or_default().push(memory);
        }
    }

    /// Drops all arenas that no run uses.
    pub fn trim(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Bytes of arenas that no run uses.
    pub fn bytes(&self) -> usize {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.values().flatten().map(|m| m.len()).sum()
    }
}

/// Bytes that one run, its nested runs included, may use.
#[derive(Debug)]
pub struct Budget {
    cap: Option<usize>,
    active: usize,
    peak: usize,
}

impl Budget {
    /// A budget of `cap` bytes.
    pub fn new(cap: Option<usize>) -> Budget {
        Budget { cap, active: 0, peak: 0 }
    }

    /// Counts `bytes` as used.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`] above the cap.
    pub fn take(&mut self, bytes: usize) -> Result<()> {
        let next = self.active.saturating_add(bytes);
        if let Some(cap) = self.cap
            && next > cap
        {
            let kind = ErrorKind::OutOfMemory { requested: bytes, active: self.active, limit: Some(cap) };
            let message =
                format!("the run needs {bytes} bytes more; {} are in use and the cap of the run is {cap}", self.active);
            return Err(Error::new(kind, message).with_help("raise the cap or use a smaller batch"));
        }
        self.active = next;
        self.peak = self.peak.max(next);
        Ok(())
    }

    /// Counts `bytes` as free again.
    pub fn give(&mut self, bytes: usize) {
        self.active = self.active.saturating_sub(bytes);
    }

    /// The most bytes in use at one time.
    pub fn peak(&self) -> usize {
        self.peak
    }
}
