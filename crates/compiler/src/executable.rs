use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lampyr_base::{Device, Result};
use lampyr_ir::{Fact, Graph, NodeId, ValueId};

use crate::Options;
use crate::constants::Constants;
use crate::plan::{Plan, Request};

/// Plans kept per executable; the oldest goes first.
const PLANS: usize = 64;

/// Where a node runs, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Device.
    pub device: Device,
    /// Stable code: `policy`, `preferred`, `faster`, `no_kernel`, `control`.
    pub reason: &'static str,
}

/// An input or output of an executable.
#[derive(Clone, Debug)]
pub struct Port<'a> {
    /// Name.
    pub name: &'a str,
    /// Type and shape.
    pub fact: &'a Fact,
}

/// A compiled graph: immutable, shared by sessions and threads. Weights are uploaded and packed once; shapes get their
/// plans when they are first seen.
pub struct Executable {
    graph: Graph,
    options: Options,
    order: Vec<NodeId>,
    placements: HashMap<NodeId, Placement>,
    bodies: HashMap<NodeId, Vec<Arc<Executable>>>,
    constants: Constants,
    plans: Mutex<Vec<(Request, Arc<Plan>)>>,
    planned: AtomicU64,
}

impl Executable {
    pub(crate) fn build(graph: Graph, options: &Options) -> Result<Executable> {
        lampyr_backend::backend(options.policy.device)?;
        let order = graph.order()?;
        let mut bodies = HashMap::new();
        for (id, node) in graph.nodes() {
            let made = (node.op.bodies().iter())
                .map(|body| crate::compile(body, options).map(Arc::new))
                .collect::<Result<Vec<_>>>()?;
            if !made.is_empty() {
                bodies.insert(id, made);
            }
        }
        Ok(Executable {
            graph,
            options: options.clone(),
            order,
            placements: HashMap::new(),
            bodies,
            constants: Constants::default(),
            plans: Mutex::default(),
            planned: AtomicU64::new(0),
        })
    }

    /// The graph after all passes.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The options it was compiled with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Nodes in execution order.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// The preferred device, where inputs are expected.
    pub fn device(&self) -> Device {
        self.options.policy.device
    }

    /// Where a node runs.
    pub fn placement(&self, node: NodeId) -> Option<&Placement> {
        self.placements.get(&node)
    }

    /// Compiled sub-graphs of a control node, in the order of [`lampyr_ir::Op::bodies`].
    pub fn bodies(&self, node: NodeId) -> &[Arc<Executable>] {
        self.bodies.get(&node).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn constants(&self) -> &Constants {
        &self.constants
    }

    fn port(&self, v: &ValueId) -> Port<'_> {
        let info = self.graph.value(*v);
        Port { name: &info.name, fact: &info.fact }
    }

    /// Inputs in order.
    pub fn inputs(&self) -> impl Iterator<Item = Port<'_>> {
        self.graph.inputs().iter().map(|v| self.port(v))
    }

    /// Outputs in order.
    pub fn outputs(&self) -> impl Iterator<Item = Port<'_>> {
        self.graph.outputs().iter().map(|v| self.port(v))
    }

    /// The plan for a request, made when it is first asked for.
    ///
    /// # Errors
    /// When the shapes do not fit the graph, or the memory cap is too small.
    pub fn plan(&self, request: &Request) -> Result<Arc<Plan>> {
        if let Some((_, plan)) = self.lock().iter().find(|(r, _)| r == request) {
            return Ok(plan.clone());
        }
        let plan = Arc::new(Plan::new(self, request)?);
        self.planned.fetch_add(1, Ordering::Relaxed);
        let mut all = self.lock();
        if let Some((_, plan)) = all.iter().find(|(r, _)| r == request) {
            return Ok(plan.clone());
        }
        if all.len() >= PLANS {
            all.remove(0);
        }
        all.push((request.clone(), plan.clone()));
        Ok(plan)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Request, Arc<Plan>)>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many plans were made.
    pub fn plans_made(&self) -> u64 {
        self.planned.load(Ordering::Relaxed)
    }

    /// Forgets all plans.
    pub fn clear_plans(&self) {
        self.lock().clear();
    }

    /// Bytes of constants and packed forms on devices.
    pub fn weight_bytes(&self) -> usize {
        self.constants.bytes() + self.bodies.values().flatten().map(|b| b.weight_bytes()).sum::<usize>()
    }
}

impl fmt::Debug for Executable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Executable({}, {} nodes on {})", self.graph.name, self.graph.len(), self.device())
    }
}
