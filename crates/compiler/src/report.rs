//! What the compiler did and why, as data and as JSON.

use lampyr_base::Device;
use lampyr_ir::{Fact, Graph, Node};

use crate::Executable;
use crate::json::Json;
use crate::place::{self, Placement};
use crate::plan::{Action, Operand, Place, Plan};

/// One pass.
#[derive(Clone, Debug, PartialEq)]
pub struct PassRecord {
    /// Name.
    pub name: &'static str,
    /// Nodes before it ran.
    pub nodes_before: usize,
    /// Nodes after it ran.
    pub nodes_after: usize,
    /// How much it changed; what is counted depends on the pass.
    pub changes: usize,
    /// Duration.
    pub nanoseconds: u64,
}

/// One fusion that was considered.
#[derive(Clone, Debug, PartialEq)]
pub struct FusionRecord {
    /// Pattern.
    pub pattern: &'static str,
    /// Names of the nodes.
    pub nodes: Vec<String>,
    /// Estimated seconds of the fused op; NaN when it was refused before it was weighed.
    pub fused_seconds: f64,
    /// Estimated seconds of the plain ops; NaN likewise.
    pub unfused_seconds: f64,
    /// Whether it was done.
    pub taken: bool,
    /// Why, or why not.
    pub reason: &'static str,
}

/// The order of axes of one contraction.
#[derive(Clone, Debug, PartialEq)]
pub struct LayoutRecord {
    /// Name of the node.
    pub node: String,
    /// Whether it is a convolution.
    pub convolution: bool,
    /// Whether its images have the channels last.
    pub channels_last: bool,
    /// Why.
    pub reason: &'static str,
}

/// The device of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacementRecord {
    /// Name of the node.
    pub node: String,
    /// Name of its op.
    pub op: &'static str,
    /// Device.
    pub device: Device,
    /// Reason code.
    pub reason: &'static str,
    /// Estimated or measured seconds.
    pub seconds: f64,
    /// Whether they were measured.
    pub measured: bool,
    /// Arithmetic operations of one call.
    pub flops: f64,
    /// Bytes read and written by one call.
    pub bytes: f64,
}

impl PlacementRecord {
    pub(crate) fn new(graph: &Graph, node: &Node, p: &Placement) -> PlacementRecord {
        let cost = place::cost(graph, node);
        PlacementRecord {
            node: node.name.clone(),
            op: node.op.name(),
            device: p.device,
            reason: p.reason,
            seconds: p.seconds,
            measured: p.measured,
            flops: cost.flops,
            bytes: cost.bytes,
        }
    }
}

/// In which order the nodes run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OrderRecord {
    /// The order taken: `imported`, `depth_first` or `least_growth`.
    pub chosen: &'static str,
    /// Orders considered, with the estimated largest sum of live bytes.
    pub peaks: Vec<(&'static str, f64)>,
}

/// What the passes did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Name of the graph.
    pub graph: String,
    /// Passes in order.
    pub passes: Vec<PassRecord>,
    /// Fusions considered.
    pub fusions: Vec<FusionRecord>,
    /// Orders of axes.
    pub layouts: Vec<LayoutRecord>,
    /// The order of the nodes.
    pub order: OrderRecord,
    /// Devices, in execution order.
    pub placements: Vec<PlacementRecord>,
}

impl Report {
    /// As a JSON object.
    pub fn to_json(&self) -> String {
        let passes = self.passes.iter().map(|p| {
            Json::Object(vec![
                ("name", p.name.into()),
                ("nodes_before", p.nodes_before.into()),
                ("nodes_after", p.nodes_after.into()),
                ("changes", p.changes.into()),
                ("nanoseconds", Json::Whole(p.nanoseconds)),
            ])
        });
        let fusions = self.fusions.iter().map(|f| {
            Json::Object(vec![
                ("pattern", f.pattern.into()),
                ("nodes", f.nodes.iter().map(String::as_str).collect()),
                ("fused_seconds", Json::Number(f.fused_seconds)),
                ("unfused_seconds", Json::Number(f.unfused_seconds)),
                ("taken", Json::Bool(f.taken)),
                ("reason", f.reason.into()),
            ])
        });
        let layouts = self.layouts.iter().map(|l| {
            let format = if l.channels_last { "channels_last" } else { "plain" };
            Json::Object(vec![("node", l.node.as_str().into()), ("format", format.into()), ("reason", l.reason.into())])
        });
        let placements = self.placements.iter().map(|p| {
            Json::Object(vec![
                ("node", p.node.as_str().into()),
                ("op", p.op.into()),
                ("device", Json::Text(p.device.to_string())),
                ("reason", p.reason.into()),
                ("seconds", Json::Number(p.seconds)),
                ("measured", Json::Bool(p.measured)),
                ("flops", Json::Number(p.flops)),
                ("bytes", Json::Number(p.bytes)),
            ])
        });
        Json::Object(vec![
            ("graph", self.graph.as_str().into()),
            ("passes", passes.collect()),
            ("fusions", fusions.collect()),
            ("layouts", layouts.collect()),
            (
                "order",
                Json::Object(vec![
                    ("chosen", self.order.chosen.into()),
                    (
                        "peaks",
                        (self.order.peaks.iter())
                            .map(|(name, bytes)| {
                                Json::Object(vec![("name", (*name).into()), ("bytes", Json::Number(*bytes))])
                            })
                            .collect(),
                    ),
                ]),
            ),
            ("placements", placements.collect()),
        ])
        .write()
    }
}

/// One arena slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotReport {
    /// The value it was made for, or `workspace`.
    pub value: String,
    /// Device.
    pub device: Device,
    /// Offset in the arena.
    pub offset: usize,
    /// Size.
    pub bytes: usize,
    /// Size as an expression of the graph's symbols.
    pub size: String,
    /// First step that uses it.
    pub start: usize,
    /// Last step that uses it.
    pub end: usize,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReport {
    /// Node.
    pub node: String,
    /// `kernel`, `copy`, `transfer`, `reference`, `call`, `dynamic`, `control` or `bind`.
    pub action: &'static str,
    /// Op; empty where none is run.
    pub op: &'static str,
    /// Kernel; empty where it is chosen at run time.
    pub kernel: &'static str,
    /// Device.
    pub device: Device,
    /// Reason code.
    pub reason: &'static str,
    /// Whether an output lies where an input was.
    pub in_place: bool,
    /// Slots that it reads, by index.
    pub reads: Vec<usize>,
    /// Slots that it writes, workspace included.
    pub writes: Vec<usize>,
}

/// The slots among operands, each once.
fn slots<'a>(operands: impl IntoIterator<Item = &'a Operand>) -> Vec<usize> {
    let mut all: Vec<usize> =
        (operands.into_iter()).filter_map(|o| if let Place::Slot(i) = o.place { Some(i) } else { None }).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn uses(action: &Action) -> (Vec<usize>, Vec<usize>) {
    match action {
        Action::Kernel { inputs, outputs, workspace, .. } => {
            (slots(inputs), slots(outputs.iter().flatten().chain(workspace)))
        }
        Action::Copy { from, to } | Action::Transfer { from, to, .. } => (slots([from]), slots([to])),
        Action::Reference { inputs, outputs, .. }
        | Action::Call { inputs, outputs, .. }
        | Action::Dynamic { inputs, outputs, .. }
        | Action::Control { inputs, outputs, .. } => (slots(inputs), slots(outputs.iter().flatten())),
        Action::Bind { from, .. } => (slots([from]), Vec::new()),
    }
}

/// What one plan looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanReport {
    /// Steps in order.
    pub steps: Vec<StepReport>,
    /// Arena slots.
    pub slots: Vec<SlotReport>,
    /// Bytes of the arenas.
    pub arena_bytes: usize,
    /// Bytes of all slots without sharing.
    pub unplanned_bytes: usize,
    /// Bytes of all intermediates of the graph before any pass, without sharing.
    pub imported_bytes: usize,
    /// No arena layout can be smaller.
    pub lower_bound_bytes: usize,
    /// Bytes of the arenas when slots are placed by size alone.
    pub greedy_bytes: usize,
    /// Bytes of constants and packed weights.
    pub weight_bytes: usize,
    /// Bytes of the output buffers.
    pub output_bytes: usize,
    /// The heuristic that won, by device.
    pub heuristics: Vec<(Device, &'static str)>,
}

fn in_place(inputs: &[Operand], outputs: &[Option<Operand>]) -> bool {
    let shared =
        |o: &Operand| matches!(o.place, Place::Slot(_) | Place::Input(_)) && inputs.iter().any(|i| i.place == o.place);
    outputs.iter().flatten().any(shared)
}

impl PlanReport {
    pub(crate) fn new(exe: &Executable, plan: &Plan) -> PlanReport {
        let graph = exe.graph();
        let steps = plan.steps.iter().map(|step| {
            let (action, op, kernel, in_place) = match &step.action {
                Action::Kernel { kernel, op, inputs, outputs, .. } => {
                    ("kernel", op.name(), kernel.name(), in_place(inputs, outputs))
                }
                Action::Copy { .. } => ("copy", "", "", false),
                Action::Transfer { .. } => ("transfer", "", "", false),
                Action::Reference { op, .. } => ("reference", op.name(), "reference", false),
                Action::Call { op, .. } => ("call", op.name(), "", false),
                Action::Dynamic { op, .. } => ("dynamic", op.name(), "", false),
                Action::Control { op, .. } => ("control", op.name(), "", false),
                Action::Bind { .. } => ("bind", "", "", false),
            };
            let (device, reason) = (plan.device(step.device), step.reason.code());
            let (reads, writes) = uses(&step.action);
            StepReport { node: step.name.to_string(), action, op, kernel, device, reason, in_place, reads, writes }
        });
        let slots = plan.slots.iter().zip(&plan.slot_values).map(|(s, v)| SlotReport {
            value: v.map_or("workspace", |v| &graph.value(v).name).to_string(),
            device: plan.device(s.device),
            offset: s.offset,
            bytes: s.bytes,
            size: match v.map(|v| graph.fact(v)) {
                Some(Fact::Tensor(t)) => t.bytes().to_string(),
                _ => s.bytes.to_string(),
            },
            start: s.start,
            end: s.end,
        });
        PlanReport {
            steps: steps.collect(),
            slots: slots.collect(),
            arena_bytes: plan.arena_bytes(),
            unplanned_bytes: plan.unplanned_bytes(),
            imported_bytes: exe.imported_bytes(&plan.bindings),
            lower_bound_bytes: plan.lower_bound_bytes(),
            greedy_bytes: plan.greedy_bytes(),
            weight_bytes: exe.weight_bytes(),
            output_bytes: plan.output_bytes(),
            heuristics: plan.arenas.iter().enumerate().map(|(i, a)| (plan.device(i), a.heuristic)).collect(),
        }
    }

    /// As a JSON object.
    pub fn to_json(&self) -> String {
        let steps = self.steps.iter().map(|s| {
            Json::Object(vec![
                ("node", s.node.as_str().into()),
                ("action", s.action.into()),
                ("op", s.op.into()),
                ("kernel", s.kernel.into()),
                ("device", Json::Text(s.device.to_string())),
                ("reason", s.reason.into()),
                ("in_place", Json::Bool(s.in_place)),
                ("reads", s.reads.iter().map(|i| Json::from(*i)).collect()),
                ("writes", s.writes.iter().map(|i| Json::from(*i)).collect()),
            ])
        });
        let slots = self.slots.iter().map(|s| {
            Json::Object(vec![
                ("value", s.value.as_str().into()),
                ("device", Json::Text(s.device.to_string())),
                ("offset", s.offset.into()),
                ("bytes", s.bytes.into()),
                ("size", s.size.as_str().into()),
                ("start", s.start.into()),
                ("end", s.end.into()),
            ])
        });
        let heuristics = self
            .heuristics
            .iter()
            .map(|(d, name)| Json::Object(vec![("device", Json::Text(d.to_string())), ("name", (*name).into())]));
        Json::Object(vec![
            ("arena_bytes", self.arena_bytes.into()),
            ("unplanned_bytes", self.unplanned_bytes.into()),
            ("imported_bytes", self.imported_bytes.into()),
            ("lower_bound_bytes", self.lower_bound_bytes.into()),
            ("greedy_bytes", self.greedy_bytes.into()),
            ("weight_bytes", self.weight_bytes.into()),
            ("output_bytes", self.output_bytes.into()),
            ("heuristics", heuristics.collect()),
            ("steps", steps.collect()),
            ("slots", slots.collect()),
        ])
        .write()
    }
}
