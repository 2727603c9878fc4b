//! From a graph to an [`Executable`]: a short fixed list of passes, placement on devices, and a memory plan per shape.

mod constants;
mod executable;
mod json;
pub mod memory;
mod options;
mod order;
mod passes;
mod place;
pub mod plan;
pub mod report;
mod svg;
pub mod tuning;

pub use executable::{Executable, Port};
pub use options::{Options, Policy};
pub use passes::names as pass_names;
pub use place::Placement;
pub use plan::{Plan, Request};
pub use report::{PlanReport, Report};
pub use svg::memory_map_svg;

use lampyr_base::Result;
use lampyr_ir::Graph;

/// Compiles `graph`.
///
/// # Errors
/// When the graph breaks a rule, or the preferred device does not exist.
pub fn compile(graph: &Graph, options: &Options) -> Result<Executable> {
    Executable::build(graph.clone(), options)
}
