//! Ops written as ONNX nodes and read back compute the same.

use std::collections::HashMap;

use lampyr_base::{Error, Result};
use lampyr_ir::case::Tolerance;
use lampyr_ir::interpret::ReferenceBuilder;
use lampyr_ir::onnx::{OnnxAttr, OnnxBody, OnnxNode};
use lampyr_ir::{AttrValue, Builder, Fact, HostValue, Var};
use lampyr_ops::registry;

use crate::support::{bound, close, every_case, fact_of, symbolic_facts, text, widest};

/// A node without a file.
pub struct Node {
    pub op_type: String,
    pub opset: u32,
    pub attrs: HashMap<String, OnnxAttr>,
    pub outputs: usize,
}

impl OnnxNode for Node {
    fn name(&self) -> &str {
        "node"
    }
    fn op_type(&self) -> &str {
        &self.op_type
    }
    fn opset(&self) -> u32 {
        self.opset
    }
    fn attr(&self, name: &str) -> Option<&OnnxAttr> {
        self.attrs.get(name)
    }
    fn output_count(&self) -> usize {
        self.outputs
    }
    fn has_output(&self, i: usize) -> bool {
        i < self.outputs
    }
    fn body(&self, _name: &str, _b: &mut dyn Builder, _inputs: &[Fact]) -> Result<OnnxBody> {
        Err(Error::unsupported("bodies in this test"))
    }
}

#[test]
fn exported_nodes_mean_the_op() {
    every_case(|case| {
        let values = case.values().map_err(text)?;
        let op = bound(&case.op, &symbolic_facts(case, &values).1);
        let facts: Vec<Fact> = values.iter().map(fact_of).collect();
        let Some(export) = op.to_onnx(&facts.iter().collect::<Vec<_>>()) else { return Ok(false) };
        if op.attrs().iter().any(|(_, v)| matches!(v, AttrValue::Graph(_))) {
            return Ok(false);
        }
        let mapping = registry::onnx("", &export.op_type, export.opset)
            .ok_or_else(|| format!("nothing reads {} of opset {}", export.op_type, export.opset))?;
        let rounded = export.attrs.iter().any(|(_, v)| matches!(v, OnnxAttr::Float(_) | OnnxAttr::Floats(_)));
        let slack = if rounded { 1e-6 } else { 0.0 };
        let extra = export.extra.into_iter().map(HostValue::Tensor);
        let inputs: Vec<Option<Var>> =
            values.iter().cloned().chain(extra).map(|v| Some(ReferenceBuilder::value(v))).collect();
        let node = Node {
            op_type: export.op_type,
            opset: export.opset,
            attrs: export.attrs.into_iter().collect(),
            outputs: export.outputs,
        };
        let have = (mapping.build)(&node, &mut ReferenceBuilder, &inputs).map_err(text)?;
        if have.len() < node.outputs {
            return Err(format!("{} outputs, want {}", have.len(), node.outputs));
        }
        let want = op.reference(&values).map_err(text)?;
        for (have, want) in have.iter().zip(&want).take(node.outputs) {
            let tolerance = Tolerance { absolute: slack, relative: slack };
            let tolerance = widest(case.tolerance, fact_of(want).dtype(), tolerance);
            close(ReferenceBuilder::get(have).map_err(text)?, want, tolerance)?;
        }
        Ok(true)
    });
}
