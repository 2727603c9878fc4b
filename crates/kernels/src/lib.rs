//! Inner loops of the CPU on plain memory: they know sizes, strides and instruction sets, and nothing of ops or graphs.

// Hot loops go by index: iterator adaptors are not inlined from other codegen units.
#![allow(clippy::needless_range_loop)]

pub mod channels_last;
pub mod conv;
pub mod gemm;
pub mod simd;
