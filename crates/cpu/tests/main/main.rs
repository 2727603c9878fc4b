//! Every kernel against the host reference, for every case of every op.

mod cases;
mod harness;
mod layouts;
