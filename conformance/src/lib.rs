//! What every backend must do, as data and thin runners: the cases of all ops, a device for tests, goldens made with
//! torch, and the documents generated from the registry.

pub mod documents;
pub mod fuzz;
pub mod goldens;
pub mod graphs;
pub mod loopback;
pub mod plan_check;
pub mod runner;
