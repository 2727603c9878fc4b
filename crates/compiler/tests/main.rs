//! Tests of the compiler crate, one binary.

mod suite;
