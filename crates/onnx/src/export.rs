//! From a graph to the bytes of a model.

use std::collections::{BTreeMap, HashMap, HashSet};

use lampyr_base::{Dim, Error, Missing, Result};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, dtype_to_onnx};
use lampyr_ir::{
    Builder, Fact, Graph, GraphBuilder, HostTensor, Node, Op, OpRef, SequenceFact, Source, TensorFact, ValueId, Var,
    Vars,
};
use lampyr_ops::build::{Expand, Reshape, Slice};
use prost::Message;

use self::bodies::Parts;
use crate::pb::{
    AttributeProto, AttributeType, ElementType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorType,
    TypeProto, TypeValue, ValueInfoProto,
};
use crate::sizes::Sources;
use crate::tensor::{write, write_shape};

mod bodies;
mod regions;

/// The oldest operator set that is written.
const FIRST_OPSET: u32 = 13;

/// Writes `graph` as an ONNX model of the standard operator set. Ops without an ONNX operator of their own are written
/// out with others where they can be; symbolic sizes of inputs and outputs become named ones.
///
/// # Errors
/// [`lampyr_base::ErrorKind::Unsupported`] with everything that ONNX cannot say.
pub fn export(graph: &Graph) -> Result<Vec<u8>> {
    export_within(graph, None)
}

/// As [`export`], refusing models that need a newer operator set than `newest`.
///
/// # Errors
/// As [`export`].
pub fn export_within(graph: &Graph, newest: Option<u32>) -> Result<Vec<u8>> {
    let outputs = graph.outputs().len();
    let (graph, sizes) = written_out(graph, true)?;
    let mut writer = Writer { opset: FIRST_OPSET, sizes, ..Writer::default() };
    let proto = writer.graph(&graph, &[], outputs)?;
    if let Some(newest) = newest.filter(|n| writer.missing.is_empty() && *n < writer.opset) {
        return Err(Error::unsupported(format!(
            "this model needs operator set {}, and {newest} is the newest that may be used",
            writer.opset
        ))
        .with_help("raise opset_version, or leave it out"));
    }
    if !writer.missing.is_empty() {
        let all = writer.missing.into_iter().map(|(what, nodes)| Missing { what, nodes });
        return Err(Error::unsupported_list(all.collect()));
    }
    let model = ModelProto {
        ir_version: Some(ir_version(writer.opset)),
        producer_name: "lampyr".to_string(),
        producer_version: env!("CARGO_PKG_VERSION").to_string(),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: writer.opset.into() }],
        graph: Some(proto),
        ..ModelProto::default()
    };
    Ok(model.encode_to_vec())
}

/// The first version of the format in which an operator set was published (ONNX, "Versioning").
fn ir_version(opset: u32) -> i64 {
    match opset {
        0..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        _ => 11,
    }
}

/// Inputs behind those of a node, by its first output: sizes that are known when the model runs.
type Sizes = HashMap<ValueId, Vec<ValueId>>;

/// Copies a graph; ops that ONNX does not know are replaced by what they stand for.
#[derive(Default)]
struct Spelling {
    graph: GraphBuilder,
    sources: Sources,
    sizes: Sizes,
    /// Names of constants by the address of their elements, which copies of a constant share.
    names: HashMap<usize, String>,
}

impl Spelling {
    /// `op` with sizes that are computed while the model runs, where it has symbolic ones and ONNX has them as inputs.
    fn sized(&mut self, op: &dyn Op, inputs: &[Var]) -> Result<Option<Vars>> {
        let any = op.as_any();
        let lists: Vec<&[Dim]> = if let Some(op) = any.downcast_ref::<Reshape>() {
            vec![&op.shape]
        } else if let Some(op) = any.downcast_ref::<Expand>() {
            vec![&op.shape]
        } else if let Some(op) = any.downcast_ref::<Slice>() {
            vec![&op.starts, &op.ends]
        } else {
            return Ok(None);
        };
        let known = |d: &Dim| d.known().is_some();
        if self.sources.is_empty()
            || lists.iter().all(|l| l.iter().all(known))
            || !lists.iter().flat_map(|l| l.iter()).all(is_value)
        {
            return Ok(None);
        }
        let mut extra = Vec::new();
        for dims in lists {
            extra.push(self.sources.clone().vector(&mut self.graph, dims)?.node()?);
        }
        let made = self.graph.apply(op, inputs)?;
        if let Some(first) = made.first() {
            self.sizes.insert(first.node()?, extra);
        }
        Ok(Some(made))
    }
}

fn is_value(dim: &Dim) -> bool {
    crate::sizes::products(dim).is_some()
}

impl Builder for Spelling {
    fn apply(&mut self, op: &dyn Op, inputs: &[Var]) -> Result<Vars> {
        if let Some(op) = bodies::written_out(op)? {
            return self.graph.apply(&*op, inputs);
        }
        if let Some(made) = self.sized(op, inputs)? {
            return Ok(made);
        }
        if let Some(made) = regions::joined(self, op, inputs)? {
            return Ok(std::iter::once(made).collect());
        }
        let facts = inputs.iter().map(|v| self.graph.fact(v)).collect::<Result<Vec<_>>>()?;
        if op.to_onnx(&facts.iter().collect::<Vec<_>>()).is_none()
            && let Some(Ok(made)) = op.decompose(self, inputs)
        {
            return Ok(made);
        }
        self.graph.apply(op, inputs)
    }
    fn fact(&self, var: &Var) -> Result<Fact> {
        self.graph.fact(var)
    }
    fn constant(&mut self, value: HostTensor) -> Result<Var> {
        let name = self.names.get(&address(&value)).cloned();
        let var = self.graph.constant(value)?;
        if let Some(name) = name {
            self.graph.name(&var, &name)?;
        }
        Ok(var)
    }
    fn read(&mut self, var: &Var) -> Result<Option<HostTensor>> {
        self.graph.read(var)
    }
    fn dims(&mut self, var: &Var) -> Result<Vec<Dim>> {
        self.graph.dims(var)
    }
    fn scope(&mut self, name: &str) {
        self.graph.scope(name);
    }
}

fn address(value: &HostTensor) -> usize {
    value.bytes().as_ptr() as usize
}

/// `graph` in words of ONNX. Sizes that nodes read besides their inputs are kept alive as outputs behind its own.
fn written_out(graph: &Graph, outermost: bool) -> Result<(Graph, Sizes)> {
    let mut b = Spelling { graph: GraphBuilder::new(&graph.name), ..Spelling::default() };
    for (id, value) in (0..graph.value_count()).map(|i| ValueId(i as u32)).filter_map(|v| Some((v, graph.constant(v)?)))
    {
        if !value.bytes().is_empty() {
            b.names.insert(address(value), graph.value(id).name.clone());
        }
    }
    let inputs: Vec<Var> =
        graph.inputs().iter().map(|v| b.graph.input(&graph.value(*v).name, graph.fact(*v).clone())).collect();
    if outermost {
        b.sources = Sources::of(&b.graph, &inputs)?;
    }
    let outputs = lampyr_ir::interpret::inline(&mut b, graph, &inputs)?;
    for (id, var) in graph.outputs().iter().zip(&outputs) {
        b.graph.output(&graph.value(*id).name, var)?;
    }
    let kept: Vec<ValueId> = b.sizes.values().flatten().copied().collect();
    for id in kept {
        b.graph.output("", &Var::Node(id))?;
    }
    let mut graph = b.graph.finish();
    graph.remove_dead();
    Ok((graph, b.sizes))
}

#[derive(Default)]
struct Writer {
    opset: u32,
    sizes: Sizes,
    /// Whether a sub-graph is being written, whose values have numbers of their own.
    inside: bool,
    missing: BTreeMap<String, Vec<String>>,
    taken: HashSet<String>,
}

impl Writer {
    /// `wanted`, or with a number behind it when that name is taken.
    fn unique(&mut self, wanted: &str) -> String {
        let wanted = if wanted.is_empty() { "value" } else { wanted };
        let mut name = wanted.to_string();
        let mut n = 1;
        while !self.taken.insert(name.clone()) {
            name = format!("{wanted}.{n}");
            n += 1;
        }
        name
    }

    fn lacks(&mut self, what: String, node: &str) {
        self.missing.entry(what).or_default().push(node.to_string());
    }

    /// The last inputs of a sub-graph are read under the names of `captured` around it.
    fn graph(&mut self, graph: &Graph, captured: &[String], outputs: usize) -> Result<GraphProto> {
        let mut proto = GraphProto { name: self.unique(&graph.name), ..GraphProto::default() };
        let own = graph.inputs().len().saturating_sub(captured.len());
        let (own, outer) = graph.inputs().split_at(own);
        let mut names: HashMap<ValueId, String> = outer.iter().copied().zip(captured.iter().cloned()).collect();
        for id in own {
            let name = self.unique(&graph.value(*id).name);
            proto.input.push(info(&name, graph.fact(*id)));
            names.insert(*id, name);
        }
        let results = graph.outputs().get(..outputs).unwrap_or_default();
        // Names of outputs are part of the interface: they are given before other names can take them.
        for id in results {
            if matches!(graph.value(*id).source, Source::Node(..)) && !names.contains_key(id) {
                let name = self.unique(&graph.value(*id).name);
                names.insert(*id, name);
            }
        }
        for id in graph.order()? {
            let node = graph.node(id)?;
            self.node(graph, node, &mut names, &mut proto)?;
        }
        let mut used: HashSet<ValueId> = HashSet::new();
        for id in results {
            let mut name = self.value(graph, *id, &mut names, &mut proto);
            if !used.insert(*id) || !matches!(graph.value(*id).source, Source::Node(..)) {
                let copy = self.unique(&format!("{name}.out"));
                proto.node.push(NodeProto {
                    op_type: "Identity".to_string(),
                    name: copy.clone(),
                    input: vec![name],
                    output: vec![copy.clone()],
                    ..NodeProto::default()
                });
                name = copy;
            }
            proto.output.push(info(&name, graph.fact(*id)));
        }
        Ok(proto)
    }

    /// The name of a value; constants become initializers when they are first read.
    fn value(
        &mut self,
        graph: &Graph,
        id: ValueId,
        names: &mut HashMap<ValueId, String>,
        proto: &mut GraphProto,
    ) -> String {
        if let Some(name) = names.get(&id) {
            return name.clone();
        }
        let name = self.unique(&graph.value(id).name);
        if let Some(value) = graph.constant(id) {
            proto.initializer.push(write(&name, value));
        }
        names.insert(id, name.clone());
        name
    }

    fn node(
        &mut self,
        graph: &Graph,
        node: &Node,
        names: &mut HashMap<ValueId, String>,
        proto: &mut GraphProto,
    ) -> Result<()> {
        let facts: Vec<&Fact> = node.inputs.iter().map(|v| graph.fact(*v)).collect();
        if let Some(parts) = Parts::of(&node.op) {
            return self.control(graph, node, &parts, names, proto);
        }
        let first = node.outputs.first().filter(|_| !self.inside);
        let sizes = first.and_then(|v| self.sizes.get(v)).cloned().unwrap_or_default();
        let export = if sizes.is_empty() { node.op.to_onnx(&facts) } else { sized(&node.op) };
        let Some(export) = export else {
            self.lacks(describe(&node.op), &node.name);
            return Ok(());
        };
        self.opset = self.opset.max(export.opset);
        let all = node.inputs.iter().chain(&sizes);
        let mut input: Vec<String> = all.map(|v| self.value(graph, *v, names, proto)).collect();
        for extra in &export.extra {
            let name = self.unique(&format!("{}.constant", node.name));
            proto.initializer.push(write(&name, extra));
            input.push(name);
        }
        let output = node.outputs.iter().take(export.outputs).map(|v| self.value(graph, *v, names, proto)).collect();
        let name = self.unique(&node.name);
        let attribute = self.attributes(&export, &node.name);
        let op_type = export.op_type;
        proto.node.push(NodeProto { op_type, name, input, output, attribute, ..NodeProto::default() });
        Ok(())
    }

    /// A node with sub-graphs, which read what they capture by name.
    fn control(
        &mut self,
        graph: &Graph,
        node: &Node,
        parts: &Parts,
        names: &mut HashMap<ValueId, String>,
        proto: &mut GraphProto,
    ) -> Result<()> {
        if let Some(what) = parts.lacks(graph, node) {
            self.lacks(what, &node.name);
            return Ok(());
        }
        self.opset = self.opset.max(parts.opset(graph, node));
        let given: Vec<String> = node.inputs.iter().map(|v| self.value(graph, *v, names, proto)).collect();
        let (read, captured) = given.split_at(parts.read.min(given.len()));
        let mut read = read.iter().cloned();
        let input =
            parts.given.iter().map(|there| if *there { read.next().unwrap_or_default() } else { String::new() });
        let input = input.collect::<Vec<_>>().into_iter().chain(read).collect();
        let output = node.outputs.iter().map(|v| self.value(graph, *v, names, proto)).collect();
        let mut attribute = Vec::new();
        let outer = std::mem::replace(&mut self.inside, true);
        for (name, body) in &parts.bodies {
            attribute.push(AttributeProto {
                name: (*name).to_string(),
                g: Some(self.graph(body, captured, body.outputs().len())?),
                r#type: Some(AttributeType::Graph as i32),
                ..AttributeProto::default()
            });
        }
        self.inside = outer;
        let (op_type, name) = (parts.op_type.to_string(), self.unique(&node.name));
        proto.node.push(NodeProto { op_type, name, input, output, attribute, ..NodeProto::default() });
        Ok(())
    }

    fn attributes(&mut self, export: &OnnxExport, node: &str) -> Vec<AttributeProto> {
        let mut all = Vec::with_capacity(export.attrs.len());
        for (name, value) in &export.attrs {
            let mut attr = AttributeProto { name: name.clone(), ..AttributeProto::default() };
            let kind = match value {
                OnnxAttr::Int(v) => {
                    attr.i = Some(*v);
                    AttributeType::Int
                }
                OnnxAttr::Float(v) => {
                    attr.f = Some(*v);
                    AttributeType::Float
                }
                OnnxAttr::Str(v) => {
                    attr.s = Some(v.clone().into());
                    AttributeType::String
                }
                OnnxAttr::Ints(v) => {
                    attr.ints = v.clone();
                    AttributeType::Ints
                }
                OnnxAttr::Floats(v) => {
                    attr.floats = v.clone();
                    AttributeType::Floats
                }
                OnnxAttr::Strs(v) => {
                    attr.strings = v.iter().map(|s| s.clone().into()).collect();
                    AttributeType::Strings
                }
                OnnxAttr::Tensor(v) => {
                    attr.t = Some(write("", v));
                    AttributeType::Tensor
                }
                OnnxAttr::Graph(_) | OnnxAttr::Type(_) => {
                    self.lacks(format!("sub-graphs of {}", export.op_type), node);
                    AttributeType::Graph
                }
            };
            attr.r#type = Some(kind as i32);
            all.push(attr);
        }
        all
    }
}

/// The node for an op whose sizes are inputs behind its own.
fn sized(op: &OpRef) -> Option<OnnxExport> {
    if op.downcast::<Reshape>().is_some() {
        return Some(OnnxExport::new("Reshape", 14).attr("allowzero", OnnxAttr::Int(1)));
    }
    if let Some(op) = op.downcast::<Slice>() {
        let export = OnnxExport::new("Slice", 13).input(HostTensor::ints(&op.axes).ok()?);
        return Some(export.input(HostTensor::ints(&op.steps).ok()?));
    }
    op.downcast::<Expand>().map(|_| OnnxExport::new("Expand", 13))
}

fn describe(op: &OpRef) -> String {
    let symbolic = op.attrs().iter().any(|(_, v)| match v {
        lampyr_ir::AttrValue::Dim(d) => d.known().is_none(),
        lampyr_ir::AttrValue::Dims(ds) => ds.iter().any(|d| d.known().is_none()),
        _ => false,
    });
    if symbolic { format!("op {} with symbolic sizes", op.name()) } else { format!("op {}", op.name()) }
}

fn info(name: &str, fact: &Fact) -> ValueInfoProto {
    ValueInfoProto { name: name.to_string(), r#type: Some(TypeProto { value: Some(type_of(fact)) }) }
}

fn type_of(fact: &Fact) -> TypeValue {
    let element = |value| Box::new(ElementType { elem_type: Some(Box::new(TypeProto { value: Some(value) })) });
    match fact {
        Fact::Tensor(TensorFact { dtype, shape, .. }) => TypeValue::TensorType(TensorType {
            elem_type: dtype_to_onnx(*dtype),
            shape: Some(write_shape(shape.iter().map(Some))),
        }),
        Fact::Sequence(SequenceFact { dtype, shape }) => {
            TypeValue::SequenceType(element(TypeValue::TensorType(TensorType {
                elem_type: dtype_to_onnx(*dtype),
                shape: shape.as_ref().map(|s| write_shape(s.iter().map(Option::as_ref))),
            })))
        }
        Fact::Optional(inner) => TypeValue::OptionalType(element(type_of(inner))),
    }
}
