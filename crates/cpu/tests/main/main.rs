//! Every kernel against the host reference, for every case of every op.

mod cases;
mod contraction;
mod gemm;
mod harness;
mod layouts;
mod support;
