use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lampyr_base::{Bindings, Device, Dim, Result, Symbol};
use lampyr_ir::{Class, Fact, Graph, GraphBuilder, NodeId, OpRef, ValueId, Var};

use crate::constants::Constants;
use crate::order;
use crate::passes::{self, Context};
use crate::place::{Placement, Placements};
use crate::plan::{Liveness, Plan, Request};
use crate::report::{PlacementRecord, Report};
use crate::{Options, PlanReport};

/// Plans kept per executable; the oldest goes first.
const PLANS: usize = 64;

/// An input or output of an executable.
#[derive(Clone, Debug)]
pub struct Port<'a> {
    /// Name.
    pub name: &'a str,
    /// Type and shape.
    pub fact: &'a Fact,
}

/// An op with the facts of its inputs.
type Call = (OpRef, Vec<Fact>);

/// A compiled graph: immutable, shared by sessions and threads. Weights are uploaded and packed once; shapes get their
/// plans when they are first seen.
pub struct Executable {
    graph: Graph,
    options: Options,
    live: Liveness,
    one_device: bool,
    placements: Placements,
    report: Report,
    symbols: BTreeSet<Symbol>,
    /// Bytes of everything that the nodes of the graph as it came make, views left aside.
    imported: Vec<Dim>,
    bodies: HashMap<NodeId, Vec<Arc<Executable>>>,
    constants: Constants,
    plans: Mutex<Vec<(Request, Arc<Plan>)>>,
    planned: AtomicU64,
    /// By device of a plan: the order in which the last plan placed its slots.
    slot_orders: Mutex<HashMap<usize, Arc<[u32]>>>,
    written: Mutex<HashMap<Call, Option<Arc<Executable>>>>,
}

/// Symbols in the facts and attributes of a graph.
fn mentioned(graph: &Graph) -> BTreeSet<Symbol> {
    let mut all = BTreeSet::new();
    let boundary = graph.inputs().iter().chain(graph.outputs());
    for fact in boundary.map(|v| graph.fact(*v)) {
        if let Fact::Tensor(t) = fact {
            t.shape.iter().for_each(|d| all.extend(d.symbols()));
        }
    }
    graph.nodes().for_each(|(_, node)| all.extend(graph.node_symbols(node)));
    all
}

/// Bytes of what the nodes make.
fn intermediates(graph: &Graph) -> Vec<Dim> {
    let made = graph.nodes().filter(|(_, n)| n.op.class() != Class::View).flat_map(|(_, n)| &n.outputs);
    made.filter(|v| !graph.outputs().contains(v))
        .filter_map(|v| if let Fact::Tensor(t) = graph.fact(*v) { Some(t.bytes()) } else { None })
        .collect()
}

impl Executable {
    pub(crate) fn build(mut graph: Graph, options: &Options) -> Result<Executable> {
        lampyr_backend::backend(options.policy.device)?;
        let imported = intermediates(&graph);
        let mut context = Context { options, fusions: Vec::new(), layouts: Vec::new(), placements: Placements::new() };
        let records = passes::run(&mut graph, &mut context)?;
        let Context { fusions, layouts, placements, .. } = context;
        let (order, chosen) = order::choose(&graph)?;
        let live = Liveness::of(&graph, order)?;
        let one_device = placements.values().all(|p| p.device == options.policy.device);
        let symbols = mentioned(&graph);
        let mut bodies = HashMap::new();
        for (id, node) in graph.nodes() {
            let made = (node.op.bodies().iter())
                .map(|body| crate::compile(body, options).map(Arc::new))
                .collect::<Result<Vec<_>>>()?;
            if !made.is_empty() {
                bodies.insert(id, made);
            }
        }
        let mut report = Report {
            graph: graph.name.clone(),
            passes: records,
            fusions,
            layouts,
            order: chosen,
            placements: Vec::new(),
        };
        for id in &live.order {
            let node = graph.node(*id)?;
            if let Some(p) = placements.get(id) {
                report.placements.push(PlacementRecord::new(&graph, node, p));
            }
        }
        Ok(Executable {
            graph,
            options: options.clone(),
            live,
            one_device,
            placements,
            report,
            symbols,
            imported,
            bodies,
            constants: Constants::default(),
            plans: Mutex::default(),
            planned: AtomicU64::new(0),
            slot_orders: Mutex::default(),
            written: Mutex::default(),
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

    /// What the passes did and why.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What a plan looks like: steps, slots and bytes.
    pub fn explain(&self, plan: &Plan) -> PlanReport {
        PlanReport::new(self, plan)
    }

    /// Nodes in execution order.
    pub fn order(&self) -> &[NodeId] {
        &self.live.order
    }

    pub(crate) fn liveness(&self) -> &Liveness {
        &self.live
    }

    /// Bytes of all intermediates of the graph before any pass, sizes taken from `bindings`; those of unknown size are
    /// left out.
    pub fn imported_bytes(&self, bindings: &Bindings) -> usize {
        self.imported.iter().filter_map(|d| usize::try_from(d.eval(bindings)?).ok()).fold(0, usize::saturating_add)
    }

    /// Whether all nodes are placed on the preferred device.
    pub(crate) fn on_one_device(&self) -> bool {
        self.one_device
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

    /// What of `outer`, the sizes of an outer graph, this graph mentions.
    pub fn relevant(&self, outer: &Bindings) -> Bindings {
        let mut bindings = Bindings::new();
        for (symbol, value) in outer.iter().filter(|(s, _)| self.symbols.contains(s)) {
            bindings.set(symbol.clone(), value);
        }
        bindings
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

    /// The order in which an earlier plan placed its slots on the device with this index.
    pub(crate) fn slot_order(&self, device: usize) -> Arc<[u32]> {
        let all = self.slot_orders.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&device).cloned().unwrap_or_default()
    }

    pub(crate) fn keep_slot_order(&self, device: usize, order: Vec<u32>) {
        self.slot_orders.lock().unwrap_or_else(PoisonError::into_inner).insert(device, order.into());
    }

    /// `op` written out with others for inputs of these facts, compiled; `None` where it is primitive.
    pub(crate) fn written_out(&self, op: &OpRef, facts: &[Fact]) -> Result<Option<Arc<Executable>>> {
        if self.options.assume_kernels {
            return Ok(None);
        }
        let key = (op.clone(), facts.to_vec());
        if let Some(made) = self.written.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(made.clone());
        }
        let mut b = GraphBuilder::new(op.name());
        let vars: Vec<Var> = facts.iter().enumerate().map(|(i, f)| b.input(&format!("x{i}"), f.clone())).collect();
        let made = match op.decompose(&mut b, &vars) {
            Some(outputs) => {
                for v in outputs? {
                    b.output("", &v)?;
                }
                let options = Options { fuse: false, tuning: None, ..self.options.clone() };
                Some(Arc::new(crate::compile(&b.finish(), &options)?))
            }
            None => None,
        };
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(key, made.clone());
        Ok(made)
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
