//! The CPU device: SIMD kernels chosen at run time, on a shared thread pool and a caching allocator.

// Hot loops go by index: iterator adaptors are not inlined from other codegen units.
#![allow(clippy::needless_range_loop)]

mod backend;
mod fold;
mod kernels;
mod memory;
pub mod simd;
mod tile;

pub use lampyr_kernels::channels_last;
pub use lampyr_kernels::gemm;

pub use backend::{CpuBackend, backend, register};
