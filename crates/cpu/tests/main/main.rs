//! Every kernel against the host reference, for every case of every op.

mod cases;
mod chains;
mod channels_last;
mod contraction;
mod gemm;
mod harness;
mod large;
mod layouts;
mod support;
