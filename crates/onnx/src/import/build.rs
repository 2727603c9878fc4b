//! Makes graphs through a builder: nodes, sub-graphs and calls of functions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lampyr_base::{Error, ErrorKind, Result, ResultExt};
use lampyr_ir::onnx::OnnxBody;
use lampyr_ir::{Builder, Fact, Graph, GraphBuilder, Source, ValueId, Var};
use lampyr_ops::registry;

use super::names::{free, node_name, order, reads};
use super::node::NodeView;
use super::{Importer, Opsets, domain, facts, scan};
use crate::pb::{AttributeProto, FunctionProto, GraphProto, NodeProto, ValueInfoProto};
use crate::tensor;

/// Values by their names in one graph or function; `None` for parameters that the caller left out.
pub type Values<'m> = HashMap<&'m str, Option<Var>>;

/// The deepest nesting of sub-graphs and functions.
const DEEPEST: usize = 64;

/// What the nodes of one graph or function see besides values.
#[derive(Clone)]
pub struct Frame<'m> {
    opsets: Opsets,
    attrs: HashMap<&'m str, &'m AttributeProto>,
    prefix: String,
    depth: usize,
    /// Whether this is a sub-graph.
    inside: bool,
}

impl<'m> Frame<'m> {
    /// The attribute itself, or the caller's that it refers to.
    pub fn resolve(&self, attr: &'m AttributeProto) -> Option<&'m AttributeProto> {
        match attr.ref_attr_name.as_str() {
            "" => Some(attr),
            name => self.attrs.get(name).copied(),
        }
    }

    fn deeper(&self) -> Result<Frame<'m>> {
        if self.depth >= DEEPEST {
            return Err(Error::format(format!("sub-graphs and functions are nested more than {DEEPEST} deep"))
                .with_help("a function of the model may call itself"));
        }
        Ok(Frame { depth: self.depth + 1, ..self.clone() })
    }
}

/// The names of the graph inputs that `asked` follow from, where these are few numbers.
fn needs(graph: &Graph, asked: &[ValueId]) -> Vec<String> {
    let few = |fact: &Fact| match fact {
        Fact::Tensor(t) if t.rank() == 0 => true,
        Fact::Tensor(t) if t.rank() == 1 => match t.shape[0].known() {
            Some(n) => n <= if t.dtype.is_float() { 16 } else { 256 },
            None => !t.dtype.is_float(),
        },
        _ => false,
    };
    let mut names = Vec::new();
    for root in asked {
        let (mut found, mut open, mut seen) = (Vec::new(), vec![*root], HashSet::new());
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let value = graph.value(id);
            match &value.source {
                Source::Input(_) if few(&value.fact) => found.push(value.name.clone()),
                Source::Input(_) => {
                    found.clear();
                    break;
                }
                Source::Constant(_) => {}
                Source::Node(node, _) => open.extend(graph.node(*node).iter().flat_map(|n| n.inputs.iter().copied())),
            }
        }
        names.extend(found);
    }
    names
}

impl<'m> Importer<'m> {
    /// The graph of the model.
    pub fn model_graph(&self, proto: &'m GraphProto, opsets: &Opsets) -> Result<Graph> {
        let frame =
            Frame { opsets: opsets.clone(), attrs: HashMap::new(), prefix: String::new(), depth: 0, inside: false };
        let mut b = GraphBuilder::new(&proto.name);
        b.fold_constants();
        let mut values = Values::new();
        self.constants(&mut b, proto, &mut values)?;
        let mut seen = HashSet::new();
        for input in &proto.input {
            if !seen.insert(input.name.as_str()) || input.name.is_empty() {
                return Err(Error::graph(format!("two inputs are called `{}`", input.name)));
            }
            if !values.contains_key(input.name.as_str()) {
                let mut var = b.input(&input.name, facts::declared(input)?);
                if let Some(value) = self.fixed.get(&input.name) {
                    var = b.constant(value.clone())?;
                }
                values.insert(&input.name, Some(var));
            }
        }
        self.finish(b, &frame, proto, values)
    }

    /// A sub-graph whose own inputs have the facts `given` (where there are fewer, what the file says), closed over the
    /// values it reads from `outer`.
    pub fn body(
        &self,
        frame: &Frame<'m>,
        proto: &'m GraphProto,
        outer: &Values<'m>,
        outer_builder: &mut dyn Builder,
        given: &[Fact],
    ) -> Result<OnnxBody> {
        let frame = Frame { inside: true, ..frame.deeper()? };
        if given.len() > proto.input.len() {
            return Err(Error::graph(format!("sub-graph `{}` takes {} inputs", proto.name, proto.input.len()))
                .with_expected(given.len().to_string()));
        }
        let mut b = GraphBuilder::new(&proto.name);
        b.fold_constants();
        let mut values = Values::new();
        for (i, input) in proto.input.iter().enumerate() {
            let fact = match given.get(i) {
                Some(fact) => fact.clone(),
                None => facts::declared(input)?,
            };
            let var = b.input(&input.name, fact);
            if values.insert(&input.name, Some(var)).is_some() {
                return Err(Error::graph(format!(
                    "two inputs of sub-graph `{}` are called `{}`",
                    proto.name, input.name
                )));
            }
        }
        self.constants(&mut b, proto, &mut values)?;
        let mut captured = Vec::new();
        for name in free(proto) {
            let Some(var) = outer.get(name) else { continue };
            let inside = match var {
                None => None,
                Some(var) => Some(match outer_builder.read(var) {
                    Ok(Some(value)) => b.constant(value)?,
                    _ => {
                        captured.push(var.clone());
                        b.input(name, outer_builder.fact(var)?)
                    }
                }),
            };
            values.insert(name, inside);
        }
        let finished = self.finish(b, &frame, proto, values);
        for name in self.asked_inside.take() {
            if let Some(Some(var)) = outer.get(name.as_str()) {
                outer_builder.read(var)?;
            }
        }
        let graph = Arc::new(finished?);
        Ok(OnnxBody { graph, captured })
    }

    fn constants(&self, b: &mut GraphBuilder, proto: &'m GraphProto, values: &mut Values<'m>) -> Result<()> {
        for tensor in &proto.initializer {
            let var = b.constant(tensor::read(tensor, &mut self.files.borrow_mut())?)?;
            b.name(&var, &tensor.name)?;
            if values.insert(&tensor.name, Some(var)).is_some() {
                return Err(Error::graph(format!("two initializers are called `{}`", tensor.name)));
            }
        }
        Ok(())
    }

    fn finish(
        &self,
        mut b: GraphBuilder,
        frame: &Frame<'m>,
        proto: &'m GraphProto,
        mut values: Values<'m>,
    ) -> Result<Graph> {
        self.nodes(&mut b, frame, &proto.node, &mut values)?;
        self.whole()?;
        for ValueInfoProto { name, .. } in &proto.output {
            let missing = || {
                Error::not_found(format!("output `{name}` of graph `{}` is never made", proto.name))
                    .with_expected("the name of an input, an initializer or an output of a node")
            };
            let var = values.get(name.as_str()).cloned().flatten().ok_or_else(missing)?;
            b.output(name, &var)?;
        }
        Ok(b.finish())
    }

    fn nodes(
        &self,
        b: &mut GraphBuilder,
        frame: &Frame<'m>,
        nodes: &'m [NodeProto],
        values: &mut Values<'m>,
    ) -> Result<()> {
        let made_here: HashSet<&str> = nodes.iter().flat_map(|n| &n.output).map(String::as_str).collect();
        for i in order(nodes, values)? {
            let node = &nodes[i];
            let name = format!("{}{}", frame.prefix, node_name(node, i));
            let left = self
                .nodes_left
                .get()
                .checked_sub(1)
                .ok_or_else(|| Error::unsupported(format!("models of more than {} nodes", super::MOST_NODES)))?;
            self.nodes_left.set(left);
            b.scope(&name);
            let before = b.graph().value_count();
            // A value that is not there comes from a node that has failed: nothing can be said of what reads it.
            if reads(node).any(|n| !values.contains_key(n) && made_here.contains(n)) {
                continue;
            }
            let known = self.problems.borrow().len();
            b.take_asked();
            let made = match self.node(b, frame, node, &name, values).op(&node.op_type).node(&name) {
                Ok(made) => {
                    // Sizes of 0 and -1 have a meaning of their own here, so an expression cannot stand for them.
                    let asked = b.take_asked();
                    if node.op_type == "Reshape" && asked.iter().any(|v| b.graph().inputs().contains(v)) {
                        self.needs.borrow_mut().extend(needs(b.graph(), &asked));
                    }
                    made
                }
                Err(e) => {
                    let mut problems = self.problems.borrow_mut();
                    let asked = b.take_asked();
                    let needs = match e.kind() {
                        ErrorKind::Unsupported(_) => needs(b.graph(), &asked),
                        _ => Vec::new(),
                    };
                    if !needs.is_empty() && frame.inside {
                        self.asked_inside.borrow_mut().extend(needs);
                    } else if !needs.is_empty() {
                        problems.truncate(known);
                        self.needs.borrow_mut().extend(needs);
                        self.waiting.borrow_mut().push(e);
                        continue;
                    }
                    if problems.len() == known {
                        problems.push(e);
                    }
                    continue;
                }
            };
            for (k, output) in node.output.iter().enumerate().filter(|(_, o)| !o.is_empty()) {
                let var = made.get(k).cloned().ok_or_else(|| {
                    Error::format(format!("output {k} `{output}` does not exist"))
                        .with_expected(format!("at most {} outputs", made.len()))
                        .with_op(&node.op_type)
                        .with_node(&name)
                })?;
                if var.node()?.0 as usize >= before {
                    b.name(&var, output)?;
                }
                values.insert(output, Some(var));
            }
        }
        b.scope("");
        Ok(())
    }

    /// # Errors
    /// When a node has failed; its own error is among the problems.
    fn whole(&self) -> Result<()> {
        match self.problems.borrow().first().or(self.waiting.borrow().first()) {
            None => Ok(()),
            Some(problem) => Err(problem.clone()),
        }
    }

    fn node(
        &self,
        b: &mut GraphBuilder,
        frame: &Frame<'m>,
        node: &'m NodeProto,
        name: &str,
        values: &Values<'m>,
    ) -> Result<Vec<Var>> {
        let inputs: Vec<Option<Var>> = node
            .input
            .iter()
            .map(|n| if n.is_empty() { None } else { values.get(n.as_str()).cloned().flatten() })
            .collect();
        if let Some(function) = self.function(node) {
            return self.call(b, frame, node, function, name, &inputs);
        }
        let space = domain(&node.domain);
        let none = || Error::unsupported(scan::no_operator_set(node));
        let opset = *frame.opsets.get(space).ok_or_else(none)?;
        let missing = || Error::unsupported(scan::no_operator(node, opset));
        let mapping = registry::onnx(space, &node.op_type, opset).ok_or_else(missing)?;
        let view = NodeView::new(self, frame, values, node, name.to_string(), opset)?;
        Ok((mapping.build)(&view, b, &inputs)?.into_vec())
    }

    /// Writes the nodes of `function` in place of a call of it.
    fn call(
        &self,
        b: &mut GraphBuilder,
        caller: &Frame<'m>,
        node: &'m NodeProto,
        function: &'m FunctionProto,
        name: &str,
        inputs: &[Option<Var>],
    ) -> Result<Vec<Var>> {
        if inputs.len() > function.input.len() {
            return Err(Error::graph(format!("{} inputs", inputs.len()))
                .with_expected(format!("at most {}", function.input.len())));
        }
        let mut frame = caller.deeper()?;
        frame.prefix = format!("{name}/");
        frame.opsets.extend(super::opsets(&function.opset_import)?);
        frame.attrs = function.attribute_proto.iter().map(|a| (a.name.as_str(), a)).collect();
        for attr in &node.attribute {
            if let Some(value) = caller.resolve(attr) {
                frame.attrs.insert(&attr.name, value);
            }
        }
        let mut values: Values<'m> = Values::new();
        for (i, parameter) in function.input.iter().enumerate() {
            values.insert(parameter, inputs.get(i).cloned().flatten());
        }
        self.nodes(b, &frame, &function.node, &mut values)?;
        self.whole()?;
        let result = |output: &String| {
            let missing = || Error::not_found(format!("function result `{output}` is never made"));
            values.get(output.as_str()).cloned().flatten().ok_or_else(missing)
        };
        function.output.iter().map(result).collect()
    }
}
