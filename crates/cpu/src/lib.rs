//! The CPU device: SIMD kernels chosen at run time, on a shared thread pool and a caching allocator.

mod backend;
mod fold;
pub mod gemm;
mod kernels;
mod memory;
pub mod simd;
mod tile;

pub use backend::{CpuBackend, backend, register};
