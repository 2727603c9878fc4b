//! Where memory formats are decided.
//!
//! This pass is the seam for blocked formats: it may set [`lampyr_ir::TensorFact::format`] of values between kernels
//! that declare such a format, and insert relayout nodes at the borders. No kernel declares one yet, so it records that
//! every contraction keeps the plain format.

use lampyr_base::Result;
use lampyr_ir::{Class, Graph, MemoryFormat};

use super::Context;
use crate::report::LayoutRecord;

/// Decides the format of every contraction.
pub fn run(graph: &mut Graph, context: &mut Context) -> Result<usize> {
    for id in graph.order()? {
        let node = graph.node(id)?;
        if node.op.class() == Class::Contraction {
            context.layouts.push(LayoutRecord {
                node: node.name.clone(),
                format: MemoryFormat::Plain,
                reason: "no kernel declares a blocked format",
            });
        }
    }
    Ok(0)
}
