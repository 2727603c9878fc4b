//! Addresses of operands.

use lampyr_backend::Arg;
use lampyr_base::{Error, Result};

/// Address of the element at index zero.
///
/// # Errors
/// When the host cannot reach the memory.
#[inline]
pub(crate) fn start(arg: &Arg) -> Result<*mut u8> {
    arg.host_ptr().ok_or_else(|| Error::device(format!("memory of {} given to a CPU kernel", arg.memory.device())))
}

/// An address that chunks of a parallel loop may share.
#[derive(Clone, Copy)]
pub(crate) struct Shared(pub *mut u8);

// SAFETY: only an address; who follows it says why that is sound.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The address `bytes` further on.
    #[inline]
    pub(crate) fn at(self, bytes: isize) -> *mut u8 {
        self.0.wrapping_offset(bytes)
    }
}
