//! Finds everything that a model needs and this build lacks, before anything is built.

use std::collections::{BTreeMap, HashSet};

use lampyr_base::{Error, Missing, Result};
use lampyr_ir::onnx::{dtype_from_onnx, unknown_dtype};
use lampyr_ops::registry;

use super::names::node_name;
use super::{Importer, Opsets, domain};
use crate::pb::{AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto, TypeProto, TypeValue};

/// What is missing, with the nodes that need it.
#[derive(Default)]
struct Findings<'m> {
    missing: BTreeMap<String, Vec<String>>,
    functions: HashSet<[&'m str; 3]>,
}

impl Findings<'_> {
    fn add(&mut self, what: String, node: &str) {
        let nodes = self.missing.entry(what).or_default();
        if nodes.last().is_none_or(|last| last != node) {
            nodes.push(node.to_string());
        }
    }
}

impl<'m> Importer<'m> {
    /// # Errors
    /// One error that lists every unsupported operator, data type and kind of value of the model.
    pub(super) fn scan(&self, graph: &'m GraphProto, opsets: &Opsets) -> Result<()> {
        let mut findings = Findings::default();
        self.scan_graph(graph, opsets, &mut findings);
        if findings.missing.is_empty() {
            return Ok(());
        }
        let all = findings.missing.into_iter().map(|(what, nodes)| Missing { what, nodes });
        Err(Error::unsupported_list(all.collect()))
    }

    fn scan_graph(&self, graph: &'m GraphProto, opsets: &Opsets, findings: &mut Findings<'m>) {
        for tensor in &graph.initializer {
            scan_tensor(tensor, &tensor.name, findings);
        }
        for sparse in &graph.sparse_initializer {
            let name = sparse.values.as_ref().map_or("", |v| v.name.as_str());
            findings.add("sparse tensors".to_string(), name);
        }
        for input in &graph.input {
            if let Some(ty) = &input.r#type {
                scan_type(ty, &input.name, findings);
            }
        }
        self.scan_nodes(&graph.node, opsets, findings);
    }

    fn scan_nodes(&self, nodes: &'m [NodeProto], opsets: &Opsets, findings: &mut Findings<'m>) {
        for (i, node) in nodes.iter().enumerate() {
            let name = node_name(node, i);
            let space = domain(&node.domain);
            match (self.function(node), opsets.get(space)) {
                (Some(f), _) => self.scan_function(f, opsets, findings),
                (None, None) => {
                    findings.add(no_operator_set(node), &name);
                }
                (None, Some(&opset)) if registry::onnx(space, &node.op_type, opset).is_none() => {
                    findings.add(no_operator(node, opset), &name);
                }
                _ => {}
            }
            for attr in &node.attribute {
                self.scan_attribute(attr, opsets, &name, findings);
            }
        }
    }

    fn scan_function(&self, f: &'m FunctionProto, caller: &Opsets, findings: &mut Findings<'m>) {
        if findings.functions.insert([domain(&f.domain), &f.name, &f.overload]) {
            let mut opsets = caller.clone();
            opsets.extend(super::opsets(&f.opset_import).unwrap_or_default());
            self.scan_nodes(&f.node, &opsets, findings);
        }
    }

    fn scan_attribute(&self, attr: &'m AttributeProto, opsets: &Opsets, node: &str, findings: &mut Findings<'m>) {
        for tensor in attr.t.iter().chain(&attr.tensors) {
            scan_tensor(tensor, node, findings);
        }
        for graph in attr.g.iter().chain(&attr.graphs) {
            self.scan_graph(graph, opsets, findings);
        }
    }
}

/// What is missing where no operator set is imported for `node`.
pub fn no_operator_set(node: &NodeProto) -> String {
    format!("operator {}: the model imports no operator set", full_name(node))
}

/// What is missing where the operator of `node` is unknown.
pub fn no_operator(node: &NodeProto, opset: u32) -> String {
    format!("operator {} (operator set {opset})", full_name(node))
}

fn full_name(node: &NodeProto) -> String {
    match domain(&node.domain) {
        "" => node.op_type.clone(),
        space => format!("{space}.{}", node.op_type),
    }
}

fn scan_tensor(tensor: &TensorProto, node: &str, findings: &mut Findings) {
    if dtype_from_onnx(tensor.data_type).is_none() {
        findings.add(unknown_dtype(tensor.data_type), node);
    }
}

fn scan_type(ty: &TypeProto, name: &str, findings: &mut Findings) {
    match &ty.value {
        Some(TypeValue::TensorType(t)) if t.elem_type != 0 && dtype_from_onnx(t.elem_type).is_none() => {
            findings.add(unknown_dtype(t.elem_type), name);
        }
        Some(TypeValue::SequenceType(e) | TypeValue::OptionalType(e)) => {
            if let Some(inner) = &e.elem_type {
                scan_type(inner, name, findings);
            }
        }
        Some(TypeValue::MapType(_)) => findings.add("maps".to_string(), name),
        Some(TypeValue::SparseTensorType(_)) => findings.add("sparse tensors".to_string(), name),
        Some(TypeValue::OpaqueType(t)) => findings.add(format!("values of type {}.{}", t.domain, t.name), name),
        _ => {}
    }
}
