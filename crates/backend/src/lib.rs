//! What a device is to the rest of Lampyr: memory, a queue, and a table of kernels; and what happens where a kernel is
//! missing. The plain host reference is here too.

mod arg;
mod device;
mod kernel;
pub mod reference;
mod resolve;

pub use arg::{Arg, ArgInfo, Dense};
pub use device::{Backend, DeviceMemory, backend, backends, host, register};
pub use kernel::{Accepts, Direct, Kernel, KernelTable, Launch, Packed};
#[doc(hidden)]
pub use lampyr_ir::Listed as __Listed;
pub use resolve::{Choice, Reason, missing, resolve};
