use lampyr_base::{Dim, Error, Result, ResultExt, Symbol};

use crate::builder::{Builder, Var, Vars};
use crate::op::checked_infer;
use crate::{
    Class, Fact, Graph, HostTensor, HostValue, Node, NodeId, Op, OpRef, Source, TensorFact, ValueId, ValueInfo,
};

/// Appends nodes to a graph.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: Graph,
    scope: String,
    fold: bool,
    asked: Vec<ValueId>,
}

/// The most elements of a tensor that is computed while the graph is built.
const FOLD_LIMIT: usize = 4096;

impl GraphBuilder {
    /// Starts an empty graph.
    pub fn new(name: &str) -> GraphBuilder {
        GraphBuilder { graph: Graph::new(name), ..GraphBuilder::default() }
    }

    /// Goes on building an existing graph.
    pub fn resume(graph: Graph) -> GraphBuilder {
        GraphBuilder { graph, ..GraphBuilder::default() }
    }

    /// From now on ops on small constants give constants instead of nodes.
    pub fn fold_constants(&mut self) {
        self.fold = true;
    }

    /// The values whose elements were asked for since the last call and that are not known before the graph runs.
    pub fn take_asked(&mut self) -> Vec<ValueId> {
        std::mem::take(&mut self.asked)
    }

    fn known(&self, id: ValueId) -> Result<Option<HostTensor>> {
        if let Some(t) = self.graph.constant(id) {
            return Ok(Some(t.clone()));
        }
        let Fact::Tensor(fact) = self.graph.fact(id) else { return Ok(None) };
        let Some(known) = &fact.known else { return Ok(None) };
        let numbers: Option<Vec<i64>> = known.iter().map(Dim::known).collect();
        let (Some(numbers), Some(shape)) = (numbers, fact.fixed_shape()) else { return Ok(None) };
        HostTensor::from_i64(fact.dtype, &shape, &numbers).map(Some)
    }

    /// The results of `op` where all its inputs are small constants.
    fn folded(&self, op: &dyn Op, ids: &[ValueId], facts: &crate::Facts) -> Option<Vec<HostTensor>> {
        let small =
            |shape: &[usize]| shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).is_some_and(|n| n <= FOLD_LIMIT);
        let fits = |f: &Fact| f.as_tensor().ok().and_then(TensorFact::fixed_shape).is_some_and(|s| small(&s));
        if ids.is_empty() || op.class() == Class::Control || !op.deterministic() || !facts.iter().all(fits) {
            return None;
        }
        let constant = |id: &ValueId| self.known(*id).ok()?.filter(|t| small(t.shape())).map(HostValue::Tensor);
        let values = ids.iter().map(constant).collect::<Option<Vec<_>>>()?;
        let made = op.reference(&values).ok()?;
        let made = made.iter().map(|v| v.tensor().ok().cloned()).collect::<Option<Vec<_>>>()?;
        let same = |(t, f): (&HostTensor, &Fact)| {
            f.as_tensor().is_ok_and(|f| f.dtype == t.dtype() && f.fixed_shape().is_some_and(|s| *s == *t.shape()))
        };
        (made.len() == facts.len() && made.iter().zip(facts).all(same)).then_some(made)
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Ends building.
    pub fn finish(self) -> Graph {
        self.graph
    }

    /// Adds a graph input.
    pub fn input(&mut self, name: &str, fact: Fact) -> Var {
        let source = Source::Input(self.graph.inputs.len());
        let id = self.graph.add_value(name.to_string(), fact, source);
        self.graph.inputs.push(id);
        Var::Node(id)
    }

    /// Declares a graph output. An output called the same as before gets its position as suffix.
    pub fn output(&mut self, name: &str, var: &Var) -> Result<()> {
        let id = var.node()?;
        if id.0 as usize >= self.graph.values.len() {
            return Err(Error::graph(format!("output `{name}` is a value of another graph")));
        }
        self.graph.outputs.push(id);
        if !name.is_empty() && !matches!(self.graph.value(id).source, Source::Input(_)) {
            self.graph.values[id.0 as usize].name = name.to_string();
        }
        Ok(())
    }

    /// Gives a value its name.
    pub fn name(&mut self, var: &Var, name: &str) -> Result<()> {
        let id = var.node()?;
        if let Some(info) = self.graph.values.get_mut(id.0 as usize) {
            info.name = name.to_string();
        }
        Ok(())
    }

    /// Copies the nodes of `body` here with its inputs replaced by `inputs`; the values of its outputs.
    pub fn inline(&mut self, body: &Graph, inputs: &[Var]) -> Result<Vec<Var>> {
        crate::interpret::inline(self, body, inputs)
    }
}

impl Graph {
    pub(crate) fn add_value(&mut self, name: String, fact: Fact, source: Source) -> ValueId {
        let id = ValueId(self.values.len() as u32);
        self.values.push(ValueInfo { name, fact, source });
        id
    }

    pub(crate) fn add_node(&mut self, name: String, op: OpRef, inputs: &[ValueId], facts: crate::Facts) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        let outputs = facts
            .into_iter()
            .enumerate()
            .map(|(k, fact)| {
                let value_name = if k == 0 { name.clone() } else { format!("{name}.{k}") };
                self.add_value(value_name, fact, Source::Node(id, k))
            })
            .collect();
        self.nodes.push(Some(Node { name, op, inputs: inputs.into(), outputs }));
        id
    }
}

impl Builder for GraphBuilder {
    fn apply(&mut self, op: &dyn Op, inputs: &[Var]) -> Result<Vars> {
        let ids = inputs.iter().map(Var::node).collect::<Result<Vec<_>>>()?;
        if let Some(bad) = ids.iter().find(|id| id.0 as usize >= self.graph.values.len()) {
            return Err(Error::graph(format!("value %{} belongs to another graph", bad.0)).with_op(op.name()));
        }
        let name = match self.scope.as_str() {
            "" => format!("{}_{}", op.name(), self.graph.nodes.len()),
            scope => scope.to_string(),
        };
        let facts = {
            let facts: Vec<&Fact> = ids.iter().map(|id| self.graph.fact(*id)).collect();
            checked_infer(op, &facts).node(&name)?
        };
        if self.fold
            && let Some(values) = self.folded(op, &ids, &facts)
        {
            return values.into_iter().map(|value| self.constant(value)).collect();
        }
        let node = self.graph.add_node(name, op.to_ref(), &ids, facts);
        Ok(self.graph.node(node)?.outputs.iter().map(|v| Var::Node(*v)).collect())
    }

    fn fact(&self, var: &Var) -> Result<Fact> {
        let id = var.node()?;
        let missing = || Error::graph(format!("value %{} belongs to another graph", id.0));
        Ok(self.graph.values.get(id.0 as usize).ok_or_else(missing)?.fact.clone())
    }

    fn constant(&mut self, value: HostTensor) -> Result<Var> {
        let fact = TensorFact::of(&value).into();
        let name = format!("constant_{}", self.graph.values.len());
        Ok(Var::Node(self.graph.add_value(name, fact, Source::Constant(value))))
    }

    fn read(&mut self, var: &Var) -> Result<Option<HostTensor>> {
        let id = var.node()?;
        let found = self.known(id)?;
        if found.is_none() && self.asked.last() != Some(&id) {
            self.asked.push(id);
        }
        Ok(found)
    }

    fn dims(&mut self, var: &Var) -> Result<Vec<Dim>> {
        if let Some(value) = self.read(var)? {
            return Ok(value.to_i64().into_iter().map(Dim::Known).collect());
        }
        let id = var.node()?;
        let fact = self.graph.fact(id).as_tensor()?.clone();
        if !fact.dtype.is_integer() || fact.rank() > 1 {
            return Err(Error::dtype(format!("sizes cannot be read from {fact}")).with_expected("an integer vector"));
        }
        if let Some(known) = &fact.known {
            return Ok(known.to_vec());
        }
        let count = match fact.shape.first() {
            None => 1,
            Some(d) => {
                d.known().and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= crate::fact::KNOWN_LIMIT).ok_or_else(
                    || Error::unsupported(format!("a shape given by a tensor of unknown length ({fact})")),
                )?
            }
        };
        let bound: Vec<Dim> = (0..count)
            .map(|i| {
                let hit = self.graph.symbol_sources.iter().find(|(_, (v, k))| *v == id && *k == i);
                match hit {
                    Some((s, _)) => Dim::of(s),
                    None => {
                        let s = Symbol::fresh_element();
                        self.graph.symbol_sources.insert(s.clone(), (id, i));
                        Dim::of(&s)
                    }
                }
            })
            .collect();
        Ok(bound)
    }

    fn scope(&mut self, name: &str) {
        self.scope = name.to_string();
    }
}
