//! Integration tests of the CPU backend: every kernel against the host reference, for every case of every op.

mod cases;
mod gemm;
mod harness;
mod layouts;
