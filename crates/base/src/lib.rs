//! What every Lampyr crate stands on: data types, symbolic dimensions, layouts, errors, knobs, the allocator and the
//! thread pool. Nothing here knows about ops, graphs or devices' kernels.

pub mod alloc;
mod device;
mod dim;
mod dtype;
mod element;
mod error;
pub mod knobs;
mod layout;
pub mod pool;
mod spread;

pub use device::{Device, DeviceKind};
pub use dim::{Bindings, Dim, Symbol};
pub use dtype::{BlockFormat, DType, TypeKind};
pub use element::Element;
pub use error::{Error, ErrorKind, Missing, Result, ResultExt};
pub use half::{bf16, f16};
pub use layout::{Layout, Shape, Strides, broadcast_shapes, contiguous_strides, num_elements};
pub use smallvec::{SmallVec, smallvec};
