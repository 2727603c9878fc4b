//! A plan for concrete shapes, node by node.

mod finish;
mod kernel;
mod nodes;
mod operands;

use std::collections::HashMap;

use lampyr_base::{Bindings, DType, Dim, Error, Layout, Result, ResultExt};
use lampyr_ir::{AttrValue, Fact, Graph, OpRef, ValueId};

use super::liveness::Liveness;
use super::regions::Regions;
use super::{Operand, Place, Plan, Request};
use crate::Executable;

/// When a slot is free again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// After the node at this position of the order.
    Position(usize),
    /// After this step.
    Step(usize),
}

/// A plan under construction.
pub struct Build<'a> {
    exe: &'a Executable,
    graph: &'a Graph,
    live: &'a Liveness,
    regions: Regions,
    /// Storage in which parts of concatenations lie, by its value.
    bases: HashMap<ValueId, Operand>,
    donated: &'a [usize],
    /// By value: its fact with numbers for all sizes, where they are known.
    facts: Vec<Option<Fact>>,
    places: Vec<Option<Operand>>,
    constant_at: HashMap<(ValueId, usize), usize>,
    constant_values: Vec<Option<ValueId>>,
    moved: HashMap<(ValueId, usize), Operand>,
    slot_end: Vec<End>,
    slot_min: Vec<usize>,
    input_end: Vec<usize>,
    last_step: Vec<usize>,
    plan: Plan,
}

fn register(index: usize, dtype: DType) -> Operand {
    Operand { place: Place::Register(index), dtype, layout: Layout::contiguous(&[0]) }
}

fn symbolic(op: &OpRef) -> bool {
    op.attrs().iter().any(|(_, v)| match v {
        AttrValue::Dim(d) => d.known().is_none(),
        AttrValue::Dims(ds) => ds.iter().any(|d| d.known().is_none()),
        _ => false,
    })
}

fn fixed(fact: &Fact, bindings: &Bindings) -> Option<Fact> {
    match fact {
        Fact::Tensor(t) => {
            let dims: Option<Vec<Dim>> =
                t.shape.iter().map(|d| d.eval(bindings).filter(|n| *n >= 0).map(Dim::Known)).collect();
            Some(Fact::tensor(t.dtype, dims?))
        }
        other => Some(other.clone()),
    }
}

impl<'a> Build<'a> {
    /// Binds the inputs.
    pub fn new(exe: &'a Executable, request: &'a Request) -> Result<Build<'a>> {
        let graph = exe.graph();
        let n = graph.value_count();
        let mut build = Build {
            exe,
            graph,
            live: exe.liveness(),
            regions: Regions::default(),
            bases: HashMap::new(),
            donated: &request.donated,
            facts: vec![None; n],
            places: vec![None; n],
            constant_at: HashMap::new(),
            constant_values: Vec::new(),
            moved: HashMap::new(),
            slot_end: Vec::new(),
            slot_min: Vec::new(),
            input_end: vec![0; graph.inputs().len()],
            last_step: Vec::new(),
            plan: Plan {
                devices: Vec::new(),
                steps: Vec::new(),
                constants: Vec::new(),
                slots: Vec::new(),
                slot_values: Vec::new(),
                arenas: Vec::new(),
                buffers: Vec::new(),
                registers: 0,
                register_inputs: Vec::new(),
                results: Vec::new(),
                bindings: request.outer.clone(),
                shapes: Vec::new(),
            },
        };
        build.device(exe.device())?;
        if request.shapes.len() != graph.inputs().len() {
            return Err(Error::value(format!("got {} inputs", request.shapes.len()))
                .with_expected(format!("{} inputs", graph.inputs().len())));
        }
        // Twice: a size like 2*n can be checked only after n has been bound by another axis.
        for _ in 0..2 {
            for (v, shape) in graph.inputs().iter().zip(&request.shapes) {
                if let (Fact::Tensor(fact), Some(shape)) = (graph.fact(*v), shape) {
                    build.plan.bindings.unify(&fact.shape, shape).node(&graph.value(*v).name)?;
                }
            }
        }
        if exe.on_one_device() {
            build.regions = Regions::of(graph, build.live, &build.plan.bindings);
        }
        for (k, (v, shape)) in graph.inputs().iter().zip(&request.shapes).enumerate() {
            let i = v.0 as usize;
            match (graph.fact(*v), shape) {
                (Fact::Tensor(fact), Some(shape)) => {
                    build.facts[i] = Some(Fact::fixed(fact.dtype, shape));
                    build.input_end[k] = build.live.end[i];
                    let layout = Layout::contiguous(shape);
                    build.places[i] = Some(Operand { place: Place::Input(k), dtype: fact.dtype, layout });
                }
                (fact, None) if !matches!(fact, Fact::Tensor(_)) => {
                    build.facts[i] = Some(fact.clone());
                    let r = build.new_register();
                    build.plan.register_inputs.push((k, r));
                    build.places[i] = Some(register(r, fact.dtype()));
                }
                (fact, _) => {
                    return Err(Error::dtype(format!("input `{}` is not {fact}", graph.value(*v).name)));
                }
            }
        }
        Ok(build)
    }

    /// Plans all nodes.
    pub fn run(mut self) -> Result<Plan> {
        for v in self.graph.inputs() {
            self.bind_symbols(*v)?;
        }
        for position in 0..self.live.order.len() {
            let id = self.live.order[position];
            let node = self.graph.node(id)?;
            self.node(position, id, node).op(node.op.name()).node(&node.name)?;
            for v in &node.outputs {
                self.bind_symbols(*v)?;
            }
            self.last_step.push(self.plan.steps.len().saturating_sub(1));
        }
        self.results()?;
        self.finish()
    }
}
