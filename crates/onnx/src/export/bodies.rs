//! Ops with sub-graphs as ONNX writes them.

use std::sync::Arc;

use lampyr_base::{DType, Result};
use lampyr_ir::{Fact, Graph, Node, Op, OpRef};
use lampyr_ops::build::{If, Loop};

/// How an op with sub-graphs becomes a node.
pub(super) struct Parts<'a> {
    pub op_type: &'static str,
    /// For the first inputs of the node, whether the op has them.
    pub given: Vec<bool>,
    /// How many inputs of the op the node reads; sub-graphs read the others, as their last inputs.
    pub read: usize,
    pub bodies: Vec<(&'static str, &'a Graph)>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(op: &'a OpRef) -> Option<Parts<'a>> {
        if let Some(op) = op.downcast::<If>() {
            let bodies = vec![("then_branch", &*op.then_body), ("else_branch", &*op.else_body)];
            return Some(Parts { op_type: "If", given: vec![true], read: 1, bodies });
        }
        let op = op.downcast::<Loop>()?;
        let given = vec![op.has_trip, op.has_cond];
        let read = given.iter().filter(|there| **there).count() + usize::try_from(op.carried).unwrap_or(0);
        Some(Parts { op_type: "Loop", given, read, bodies: vec![("body", &*op.body)] })
    }

    /// What ONNX cannot say about `node`.
    pub(super) fn lacks(&self, graph: &Graph, node: &Node) -> Option<String> {
        let first = node.inputs.first().map(|v| graph.fact(*v).dtype());
        let counted = self.op_type == "Loop" && self.given.first() == Some(&true);
        (counted && first != Some(DType::I64)).then(|| "a trip count that is not int64".to_string())
    }

    pub(super) fn opset(&self, graph: &Graph, node: &Node) -> u32 {
        let optional = |v| matches!(graph.fact(v), Fact::Optional(_));
        if node.inputs.iter().chain(&node.outputs).any(|v| optional(*v)) { 16 } else { 13 }
    }
}

/// An op with sub-graphs whose bodies hold only what ONNX knows; `None` for other ops.
pub(super) fn written_out(op: &dyn Op) -> Result<Option<OpRef>> {
    let spelled = |body: &Graph| super::written_out(body, false).map(|(g, _)| Arc::new(g));
    if let Some(op) = op.as_any().downcast_ref::<If>() {
        let (then_body, else_body) = (spelled(&op.then_body)?, spelled(&op.else_body)?);
        return Ok(Some(OpRef::new(If { then_body, else_body })));
    }
    let Some(op) = op.as_any().downcast_ref::<Loop>() else { return Ok(None) };
    Ok(Some(OpRef::new(Loop { body: spelled(&op.body)?, ..op.clone() })))
}
