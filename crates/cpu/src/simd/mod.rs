//! Tile primitives and random words for each instruction set tier.

pub mod lane;
pub mod philox;
pub mod prim;

pub use lampyr_kernels::simd::*;
