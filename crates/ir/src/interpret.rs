//! Running a graph node by node: into another builder, or through the plain reference implementations.

use std::collections::HashMap;

use lampyr_base::{Bindings, Dim, Error, Result, ResultExt};

use crate::builder::{Builder, Var, Vars};
use crate::op::checked_infer;
use crate::{Fact, Graph, HostTensor, HostValue, OpRef, Source, ValueId};

/// Applies the nodes of `graph` to `b`, its inputs replaced by `inputs`; the values of its outputs. An eager builder
/// thereby runs the graph, a graph builder copies it.
pub fn inline(b: &mut dyn Builder, graph: &Graph, inputs: &[Var]) -> Result<Vec<Var>> {
    if inputs.len() != graph.inputs().len() {
        return Err(Error::value(format!(
            "graph `{}` takes {} inputs, got {}",
            graph.name,
            graph.inputs().len(),
            inputs.len()
        )));
    }
    let mut values: HashMap<ValueId, Var> = graph.inputs().iter().copied().zip(inputs.iter().cloned()).collect();
    let mut sizes: Vec<(lampyr_base::Symbol, Dim)> = Vec::new();
    for (id, var) in graph.inputs().iter().zip(inputs) {
        if let (Fact::Tensor(want), Fact::Tensor(have)) = (graph.fact(*id), b.fact(var)?) {
            for (w, h) in want.shape.iter().zip(&have.shape) {
                if let Some(s) = w.symbol()
                    && w != h
                {
                    sizes.push((s.clone(), h.clone()));
                }
            }
        }
    }
    for id in graph.order()? {
        let node = graph.node(id)?;
        for (symbol, value, k) in graph.symbol_sources() {
            if sizes.iter().any(|(s, _)| s == symbol) {
                continue;
            }
            if let Some(var) = values.get(&value).cloned() {
                let dims = b.dims(&var)?;
                let dim = dims.get(k).ok_or_else(|| Error::index(format!("size {k} of a shape of {}", dims.len())))?;
                sizes.push((symbol.clone(), dim.clone()));
            }
        }
        let args = node
            .inputs
            .iter()
            .map(|v| match (values.get(v), graph.constant(*v)) {
                (Some(var), _) => Ok(var.clone()),
                (None, Some(t)) => {
                    let var = b.constant(t.clone())?;
                    values.insert(*v, var.clone());
                    Ok(var)
                }
                (None, None) => Err(Error::graph(format!("value %{} is read before it is made", v.0))),
            })
            .collect::<Result<Vars>>()?;
        let op = rename(&node.op, &sizes);
        let made = b.apply(&*op, &args).node(&node.name)?;
        // Data-dependent sizes are named anew by every application; carry the new names on.
        for (v, var) in node.outputs.iter().zip(&made) {
            if let (Fact::Tensor(want), Fact::Tensor(have)) = (graph.fact(*v), b.fact(var)?) {
                for (w, h) in want.shape.iter().zip(&have.shape) {
                    if let Some(s) = w.symbol()
                        && w != h
                        && !sizes.iter().any(|(x, _)| x == s)
                    {
                        sizes.push((s.clone(), h.clone()));
                    }
                }
            }
        }
        values.extend(node.outputs.iter().copied().zip(made));
    }
    graph
        .outputs()
        .iter()
        .map(|v| match (values.get(v), graph.constant(*v)) {
            (Some(var), _) => Ok(var.clone()),
            (None, Some(t)) => b.constant(t.clone()),
            (None, None) => Err(Error::graph(format!("output %{} is never made", v.0))),
        })
        .collect()
}

/// `op` with symbols replaced by sizes, numbers where they are known.
fn rename(op: &OpRef, sizes: &[(lampyr_base::Symbol, Dim)]) -> OpRef {
    if sizes.is_empty() {
        return op.clone();
    }
    let mut bindings = Bindings::new();
    for (s, d) in sizes {
        if let Some(n) = d.known() {
            bindings.set(s.clone(), n);
        }
    }
    let bound = op.substitute(&bindings).unwrap_or_else(|| op.clone());
    if sizes.iter().all(|(_, d)| d.known().is_some()) {
        return bound;
    }
    let mut replace = |s: &lampyr_base::Symbol| match sizes.iter().find(|(x, _)| x == s) {
        Some((_, d)) => d.clone(),
        None => Dim::of(s),
    };
    bound.map_symbols(&mut replace).unwrap_or(bound)
}

/// Binds the symbols of the graph's inputs to the shapes of `inputs`.
pub fn bind(graph: &Graph, inputs: &[HostValue], bindings: &mut Bindings) -> Result<()> {
    for (id, value) in graph.inputs().iter().zip(inputs) {
        if let (Fact::Tensor(fact), HostValue::Tensor(t)) = (graph.fact(*id), value) {
            if fact.dtype != t.dtype() {
                return Err(Error::dtype(format!(
                    "input `{}` is {}, not {}",
                    graph.value(*id).name,
                    t.dtype(),
                    fact.dtype
                )));
            }
            bindings.unify(&fact.shape, t.shape()).node(&graph.value(*id).name)?;
        }
    }
    Ok(())
}

/// Runs `graph` with the reference implementation of every op. `bindings` holds symbols of outer graphs.
pub fn reference(graph: &Graph, inputs: &[HostValue], bindings: &Bindings) -> Result<Vec<HostValue>> {
    if inputs.len() != graph.inputs().len() {
        return Err(Error::value(format!(
            "graph `{}` takes {} inputs, got {}",
            graph.name,
            graph.inputs().len(),
            inputs.len()
        )));
    }
    let mut bindings = bindings.clone();
    bind(graph, inputs, &mut bindings)?;
    let mut values: HashMap<ValueId, HostValue> = graph.inputs().iter().copied().zip(inputs.iter().cloned()).collect();
    let fetch = |values: &HashMap<ValueId, HostValue>, v: ValueId| -> Result<HostValue> {
        match (values.get(&v), &graph.value(v).source) {
            (Some(value), _) => Ok(value.clone()),
            (None, Source::Constant(t)) => Ok(t.clone().into()),
            _ => Err(Error::graph(format!("value %{} is read before it is made", v.0))),
        }
    };
    let bind_read = |values: &HashMap<ValueId, HostValue>, bindings: &mut Bindings| -> Result<()> {
        for (symbol, v, k) in graph.symbol_sources() {
            if bindings.get(symbol).is_none()
                && let Some(HostValue::Tensor(t)) = values.get(&v)
            {
                let all = t.to_i64();
                let n = all.get(k).ok_or_else(|| Error::index(format!("size {k} of a shape of {}", all.len())))?;
                bindings.set(symbol.clone(), *n);
            }
        }
        Ok(())
    };
    bind_read(&values, &mut bindings)?;
    for id in graph.order()? {
        let node = graph.node(id)?;
        let args = node.inputs.iter().map(|v| fetch(&values, *v)).collect::<Result<Vec<_>>>()?;
        let op = node.op.substitute(&bindings).unwrap_or_else(|| node.op.clone());
        let facts: Vec<Fact> = args.iter().zip(&node.inputs).map(|(a, v)| live_fact(a, graph.fact(*v))).collect();
        checked_infer(&*op, &facts.iter().collect::<Vec<_>>()).node(&node.name)?;
        let made = op.reference(&args).op(op.name()).node(&node.name)?;
        for (v, value) in node.outputs.iter().zip(made) {
            if let (Fact::Tensor(fact), HostValue::Tensor(t)) = (graph.fact(*v), &value) {
                for (d, &n) in fact.shape.iter().zip(t.shape()) {
                    if let Some(s) = d.symbol()
                        && bindings.get(s).is_none()
                    {
                        bindings.set(s.clone(), n as i64);
                    }
                }
            }
            values.insert(*v, value);
        }
        bind_read(&values, &mut bindings)?;
    }
    graph.outputs().iter().map(|v| fetch(&values, *v)).collect()
}

/// A builder that runs every op through its reference implementation, for checking decompositions and gradients
/// without any backend.
#[derive(Debug, Default)]
pub struct ReferenceBuilder;

impl ReferenceBuilder {
    /// A live value.
    pub fn value(value: impl Into<HostValue>) -> Var {
        Var::Live(std::sync::Arc::new(value.into()))
    }

    /// The host value of a variable of this builder.
    pub fn get(var: &Var) -> Result<&HostValue> {
        match var {
            Var::Live(v) => v.downcast_ref().ok_or_else(|| Error::internal("value of another builder")),
            Var::Node(_) => Err(Error::internal("value of a graph builder")),
        }
    }
}

/// The fact of a value with the sizes it has now; `before` where the value does not say.
fn live_fact(value: &HostValue, before: &Fact) -> Fact {
    match value {
        HostValue::Tensor(t) => crate::TensorFact::of(t).into(),
        HostValue::Sequence(s) if !s.is_empty() => sequence_fact(s).unwrap_or_else(|_| before.clone()),
        _ => before.clone(),
    }
}

fn sequence_fact(items: &[HostTensor]) -> Result<Fact> {
    let mut all = items.iter().map(|t| crate::SequenceFact {
        dtype: t.dtype(),
        shape: Some(t.shape().iter().map(|&d| Some(Dim::from(d))).collect()),
    });
    let Some(first) = all.next() else { return Ok(Fact::sequence(lampyr_base::DType::F32)) };
    all.try_fold(first, |joined, next| joined.join(&next)).map(Fact::Sequence)
}

impl Builder for ReferenceBuilder {
    fn apply(&mut self, op: &dyn crate::Op, inputs: &[Var]) -> Result<Vars> {
        let facts = inputs.iter().map(|v| self.fact(v)).collect::<Result<Vec<_>>>()?;
        checked_infer(op, &facts.iter().collect::<Vec<_>>())?;
        let values = inputs.iter().map(|v| ReferenceBuilder::get(v).cloned()).collect::<Result<Vec<_>>>()?;
        Ok(op.reference(&values).op(op.name())?.into_iter().map(ReferenceBuilder::value).collect())
    }

    fn fact(&self, var: &Var) -> Result<Fact> {
        Ok(match ReferenceBuilder::get(var)? {
            HostValue::Tensor(t) => crate::TensorFact::of(t).into(),
            HostValue::Sequence(s) => sequence_fact(s)?,
            HostValue::Optional(_) => return Err(Error::unsupported("optional values in the reference builder")),
        })
    }

    fn constant(&mut self, value: HostTensor) -> Result<Var> {
        Ok(ReferenceBuilder::value(value))
    }

    fn read(&mut self, var: &Var) -> Result<Option<HostTensor>> {
        Ok(Some(ReferenceBuilder::get(var)?.tensor()?.clone()))
    }

    fn dims(&mut self, var: &Var) -> Result<Vec<Dim>> {
        Ok(ReferenceBuilder::get(var)?.tensor()?.to_i64().into_iter().map(Dim::Known).collect())
    }
}
