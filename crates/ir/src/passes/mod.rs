//! Passes that need to know only op classes: dead code, common subexpressions, folding. Each returns how much it
//! changed, and changes graphs only through patches.

mod common;
mod fold;

pub use common::common_subexpressions;
pub use fold::fold_constants;

use crate::Graph;

/// Removes nodes that reach no output; the number removed.
pub fn dead_code(graph: &mut Graph) -> usize {
    graph.remove_dead()
}
