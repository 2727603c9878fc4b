//! Every kernel against the host reference, for every case of every op.

mod cases;
mod channels_last;
mod chains;
mod contraction;
mod gemm;
mod harness;
mod large;
mod layouts;
mod support;
