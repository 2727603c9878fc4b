//! From a graph to an [`Executable`]: a short fixed list of passes, placement on devices, and a memory plan per shape.

mod constants;
mod executable;
pub mod memory;
mod options;
pub mod plan;

pub use executable::{Executable, Placement, Port};
pub use options::{Options, Policy};
pub use plan::{Plan, Request};

use lampyr_base::Result;
use lampyr_ir::Graph;

/// Compiles `graph`.
///
/// # Errors
/// When the graph breaks a rule, or the preferred device does not exist.
pub fn compile(graph: &Graph, options: &Options) -> Result<Executable> {
    Executable::build(graph.clone(), options)
}
