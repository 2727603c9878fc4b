//! The pass list: short, fixed, and stoppable after any step.

mod batch_norm;
mod canonical;
mod fuse;
mod layout;
mod rewrite;
mod scalar;
mod taps;

use std::time::Instant;

use lampyr_base::{Error, Result};
use lampyr_ir::{Graph, passes, verify};

use crate::Options;
use crate::place::{self, Placements};
use crate::report::{FusionRecord, LayoutRecord, PassRecord};

/// What passes share.
pub(crate) struct Context<'a> {
    pub options: &'a Options,
    pub fusions: Vec<FusionRecord>,
    pub layouts: Vec<LayoutRecord>,
    pub placements: Placements,
}

/// One pass: returns how much it changed.
pub(crate) struct Pass {
    pub name: &'static str,
    pub run: fn(&mut Graph, &mut Context) -> Result<usize>,
}

/// All passes in order. Memory is planned after them, per shape.
pub(crate) static PASSES: &[Pass] = &[
    Pass { name: "verify", run: |g, _| verify::verify(g).map(|()| 0) },
    Pass { name: "canonicalise", run: rewrite::simplify },
    Pass { name: "fold", run: |g, c| passes::fold_constants(g, c.options.fold_limit) },
    Pass { name: "common_subexpressions", run: |g, _| passes::common_subexpressions(g) },
    Pass { name: "recognise", run: rewrite::recognise },
    Pass { name: "batch_norm", run: batch_norm::run },
    Pass { name: "taps", run: taps::run },
    Pass { name: "dead_code", run: |g, _| Ok(passes::dead_code(g)) },
    Pass { name: "layout", run: layout::run },
    Pass { name: "fuse_contraction", run: fuse::contraction },
    Pass { name: "fuse_elementwise", run: fuse::elementwise },
    Pass { name: "place", run: place::run },
];

/// The names of all passes, in order.
pub fn names() -> Vec<&'static str> {
    PASSES.iter().map(|p| p.name).collect()
}

/// Runs the passes that the options ask for.
pub(crate) fn run(graph: &mut Graph, context: &mut Context) -> Result<Vec<PassRecord>> {
    let count = context.options.stop_after.unwrap_or(PASSES.len()).min(PASSES.len());
    let mut records = Vec::with_capacity(count);
    for pass in &PASSES[..count] {
        let (before, start) = (graph.len(), Instant::now());
        let changes = (pass.run)(graph, context)?;
        records.push(PassRecord {
            name: pass.name,
            nodes_before: before,
            nodes_after: graph.len(),
            changes,
            nanoseconds: start.elapsed().as_nanos() as u64,
        });
        if context.options.verify {
            verify::verify(graph).map_err(|e| {
                Error::internal(format!("pass `{}` broke the graph: {}", pass.name, e.message())).with_source(e)
            })?;
        }
    }
    Ok(records)
}
