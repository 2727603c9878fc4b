//! Integration tests of the CPU backend.

mod gemm;
