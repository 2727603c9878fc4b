//! Tests of the runtime crate, one binary.

mod session;
