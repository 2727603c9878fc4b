//! Where images have the channels last.
//!
//! Kernels of convolutions read images faster with the channels last, and most ops between convolutions do not care. So
//! the nodes are divided in two: on one side images have the channels last, and where a value crosses, its axes are
//! permuted. The division is the cheapest one, a minimal cut of a network in which a node's edge to the source is what
//! it gains and the edges between nodes are what permuting a value costs. A value with the channels last is an ordinary
//! tensor with another order of axes; no other pass and no kernel has to know.

mod cut;
mod form;

use std::collections::{HashMap, HashSet};

use lampyr_base::{DType, Dim, Layout, Result};
use lampyr_ir::{
    Builder, Class, Cost, Fact, Graph, HostTensor, Node, NodeId, Op, Patch, TensorFact, ValueId, Var, Wires,
};
use lampyr_ops::build::{Conv, reshape, transpose};
use lampyr_ops::channels_last::{last_fact, to_first, to_last};
use lampyr_ops::common::gather_layout;

use super::Context;
use crate::place;
use crate::report::LayoutRecord;
use cut::{FOREVER, Network, SINK, SOURCE};
use form::{Form, Make, Use};

/// A permuted value is read in one order and written in another, which takes as long as moving this many times its bytes.
const PERMUTED: f64 = 2.0;
/// The part of its estimated time that a convolution saves; the estimate is several times the measured one.
const SAVED: f64 = 0.1;
/// The part of its time that a depthwise convolution saves, which is as fast as memory.
const SAVED_DEPTHWISE: f64 = 1.0;

/// Groups with fewer results than this fill no registers.
const FEW_OUTPUTS: i64 = 16;
/// The part of its estimated time that a convolution of such groups loses.
const LOST: f64 = 0.4;

/// Changes the nodes of the side where images have the channels last.
pub fn run(graph: &mut Graph, context: &mut Context) -> Result<usize> {
    let on = context.options.inference && context.options.channels_last;
    let (changed, patch) = {
        let wires = Wires::new(graph);
        let order = graph.order()?;
        let mut records = HashMap::new();
        let plan = if on { Plan::new(&wires, &order, context, &mut records)? } else { Plan::default() };
        for id in &order {
            let node = graph.node(*id)?;
            if node.op.class() != Class::Contraction {
                continue;
            }
            let last = plan.last.contains(id);
            let reason = match records.get(id) {
                _ if last => "permutes at the borders of its region cost less than is saved",
                Some(reason) => reason,
                None if !on => "switched off",
                None => "no convolution",
            };
            let convolution = node.op.downcast::<Conv>().is_some();
            context.layouts.push(LayoutRecord { node: node.name.clone(), convolution, channels_last: last, reason });
        }
        let mut patch = Patch::new("channels last");
        let count = plan.rewrite(&wires, &order, &mut patch)?;
        (count, patch)
    };
    if changed > 0 {
        graph.apply(patch)?;
    }
    Ok(changed)
}

/// Which nodes have a form for images with the channels last, and which take it.
#[derive(Default)]
struct Plan {
    forms: HashMap<NodeId, Form>,
    last: HashSet<NodeId>,
}

/// Whether permuting moves no element: all axes but one that move have size 1.
fn stays(shape: &[Dim]) -> bool {
    shape.get(1).is_some_and(|c| c.known() == Some(1)) || shape.iter().skip(2).all(|d| d.known() == Some(1))
}

fn seconds(context: &Context, cost: Cost) -> f64 {
    super::fuse::seconds(context.options, cost)
}

fn picoseconds(seconds: f64) -> u64 {
    (seconds.clamp(0.0, 1e3) * 1e12) as u64
}

/// Bytes of `v`, unknown sizes taken to be 64.
fn bytes(graph: &Graph, v: ValueId) -> f64 {
    let size = |d: &Dim| d.known().unwrap_or(64).max(0) as f64;
    let count = |t: &TensorFact| t.shape.iter().map(size).product::<f64>() * t.dtype.size() as f64;
    graph.fact(v).as_tensor().map_or(0.0, count)
}

/// What permuting `v` costs.
fn permuting(graph: &Graph, context: &Context, v: ValueId) -> u64 {
    let Fact::Tensor(t) = graph.fact(v) else { return FOREVER };
    if stays(&t.shape) || graph.constant(v).is_some() {
        return 0;
    }
    picoseconds(seconds(context, Cost { flops: 0.0, bytes: 2.0 * PERMUTED * bytes(graph, v) }))
}

/// Seconds that a convolution gains, or why it does not.
fn gain(graph: &Graph, context: &Context, node: &Node, op: &Conv, form: &Form) -> Result<f64, &'static str> {
    let facts: Vec<&Fact> = node.inputs.iter().map(|v| graph.fact(*v)).collect();
    let outputs: Vec<Fact> = node.outputs.iter().map(|v| graph.fact(*v).clone()).collect();
    let ([Fact::Tensor(x), Fact::Tensor(w), ..], [Fact::Tensor(y)]) = (&facts[..], &outputs[..]) else {
        return Err("its operands are no tensors");
    };
    if x.dtype != DType::F32 {
        return Err("not float32");
    }
    if graph.constant(node.inputs[1]).is_none() {
        return Err("its weights are not constant");
    }
    if stays(&x.shape) && stays(&y.shape) {
        return Err("a single position, the same in both orders");
    }
    let cost = seconds(context, op.cost(&facts, &outputs));
    let image = Fact::Tensor(last_fact(x));
    let moved: Vec<&Fact> = std::iter::once(&image).chain(facts[1..].iter().copied()).collect();
    let Make::Op(last) = &form.make else { return Err("it has no such form") };
    if !context.options.assume_kernels
        && !place::supported(context.options.policy.device, &**last, &moved, &[Fact::Tensor(last_fact(y))])
    {
        return Err("the device has no kernel for channels last");
    }
    let depthwise = op.group > 1 && w.shape.get(1).is_some_and(|c| c.known() == Some(1));
    let outputs = w.shape.first().and_then(Dim::known).unwrap_or(i64::MAX) / op.group.max(1);
    Ok(match () {
        () if depthwise => cost * SAVED_DEPTHWISE,
        () if outputs < FEW_OUTPUTS => -cost * LOST,
        () => cost * SAVED,
    })
}

impl Plan {
    fn new(
        wires: &Wires,
        order: &[NodeId],
        context: &Context,
        records: &mut HashMap<NodeId, &'static str>,
    ) -> Result<Plan> {
        let graph = wires.graph();
        let mut plan = Plan::default();
        let mut network = Network::new();
        let mut places: HashMap<NodeId, usize> = HashMap::new();
        let mut gains = false;
        for id in order {
            let node = graph.node(*id)?;
            let Some(form) = form::of(wires, node) else { continue };
            let place = network.place();
            if form.own {
                network.edge(SOURCE, place, FOREVER);
            } else if let Some(op) = node.op.downcast::<Conv>() {
                match gain(graph, context, node, op, &form) {
                    Ok(saved) => {
                        network.edge(SOURCE, place, picoseconds(saved));
                        network.edge(place, SINK, picoseconds(-saved));
                        records.insert(*id, "permutes at the borders would cost more than is saved");
                        gains = true;
                    }
                    Err(reason) => {
                        network.edge(place, SINK, FOREVER);
                        records.insert(*id, reason);
                    }
                }
            }
            if form.copies > 0.0 {
                let bytes = 2.0 * form.copies * node.outputs.iter().map(|v| bytes(graph, *v)).sum::<f64>();
                network.edge(place, SINK, picoseconds(seconds(context, Cost { flops: 0.0, bytes })));
            }
            for inner in &form.absorbed {
                places.remove(inner);
                plan.forms.remove(inner);
            }
            places.insert(*id, place);
            plan.forms.insert(*id, form);
        }
        if !gains {
            return Ok(Plan::default());
        }
        let absorbed: HashSet<NodeId> = plan.forms.values().flat_map(|f| f.absorbed.iter().copied()).collect();
        // Who reads each value, `None`: in its plain order.
        let mut values: Vec<ValueId> = Vec::new();
        let mut readers: HashMap<ValueId, Vec<Option<usize>>> = HashMap::new();
        let mut note = |v: ValueId, place: Option<usize>| {
            readers.entry(v).or_insert_with(|| {
                values.push(v);
                Vec::new()
            });
            readers.entry(v).or_default().push(place);
        };
        for id in order.iter().filter(|id| !absorbed.contains(id)) {
            let node = graph.node(*id)?;
            match plan.forms.get(id) {
                Some(form) => {
                    for (v, taken) in &form.inputs {
                        match taken {
                            Use::Image => note(*v, places.get(id).copied()),
                            _ if form.own => {}
                            Use::Spread(_) | Use::Plain => note(*v, None),
                        }
                    }
                }
                None => node.inputs.iter().for_each(|v| note(*v, None)),
            }
        }
        graph.outputs().iter().for_each(|v| note(*v, None));
        for v in values {
            let image =
                |(id, _): (NodeId, usize)| plan.forms.get(&id).filter(|f| f.image).and(places.get(&id)).copied();
            let from = graph.producer(v).and_then(image);
            let all = &readers[&v];
            if from.is_none() && all.iter().all(Option::is_none) {
                continue;
            }
            let cost = permuting(graph, context, v);
            if cost == 0 {
                continue;
            }
            let (plain, last) = (network.place(), network.place());
            // Once for all readers on the other side.
            network.edge(from.unwrap_or(SINK), plain, cost);
            network.edge(last, from.unwrap_or(SINK), cost);
            for reader in all {
                network.edge(plain, reader.unwrap_or(SINK), FOREVER);
                if let Some(reader) = reader {
                    network.edge(*reader, last, FOREVER);
                }
            }
        }
        let sides = network.cut();
        plan.last = places.iter().filter(|(_, p)| sides[**p]).map(|(id, _)| *id).collect();
        let moved = |id: &NodeId| plan.forms.get(id).is_some_and(|f| !f.own);
        if !plan.last.iter().any(moved) {
            return Ok(Plan::default());
        }
        Ok(plan)
    }

    /// Puts the other forms of the nodes chosen into `patch`; how many there are.
    fn rewrite(&self, wires: &Wires, order: &[NodeId], patch: &mut Patch) -> Result<usize> {
        let graph = wires.graph();
        let mut images: HashMap<ValueId, Var> = HashMap::new();
        let mut count = 0;
        for id in order {
            let Some(form) = self.forms.get(id).filter(|_| self.last.contains(id)) else { continue };
            let node = graph.node(*id)?;
            patch.scope(&node.name);
            let mut args = Vec::with_capacity(form.inputs.len());
            for (v, taken) in &form.inputs {
                args.push(match taken {
                    Use::Plain => patch.tap(graph, *v)?,
                    Use::Spread(rank) => spread(graph, patch, *v, *rank)?,
                    Use::Image => match images.get(v) {
                        Some(var) => var.clone(),
                        None => {
                            let plain = patch.tap(graph, *v)?;
                            let image = permuted(patch, &plain, to_last)?;
                            images.insert(*v, image.clone());
                            image
                        }
                    },
                });
            }
            let made: Vec<Var> = match &form.make {
                Make::Op(op) => patch.apply(&**op, &args)?.into_vec(),
                Make::Operand => args,
                Make::Shuffle(rows) => match args.first() {
                    Some(x) => vec![shuffled(patch, x, rows)?],
                    None => Vec::new(),
                },
            };
            for (v, var) in node.outputs.iter().zip(made) {
                if form.image {
                    let plain = permuted(patch, &var, to_first)?;
                    patch.replace(*v, &plain)?;
                    images.insert(*v, var);
                } else {
                    patch.replace(*v, &var)?;
                }
            }
            count += usize::from(!form.own);
        }
        Ok(count)
    }
}

/// `x` with its axes in another order, which is a reshape where no element moves.
fn permuted(b: &mut dyn Builder, x: &Var, order: fn(usize) -> Vec<usize>) -> Result<Var> {
    let fact = b.tensor_fact(x)?;
    let order = order(fact.rank());
    let moving: Vec<usize> = order.iter().copied().filter(|&a| fact.shape[a].known() != Some(1)).collect();
    if moving.is_sorted() {
        return reshape(b, x, order.iter().map(|&a| fact.shape[a].clone()).collect());
    }
    transpose(b, x, &order.iter().map(|&a| a as i64).collect::<Vec<_>>())
}

/// An operand that is broadcast against images of `rank` axes.
fn spread(graph: &Graph, patch: &mut Patch, v: ValueId, rank: usize) -> Result<Var> {
    if let Some(t) = graph.constant(v) {
        let mut shape = vec![1; rank - t.shape().len().min(rank)];
        shape.extend_from_slice(t.shape());
        let wide: HostTensor = t.reshaped(&shape)?;
        return patch.constant(gather_layout(&wide, &Layout::contiguous(&shape).permute(&to_last(rank)))?);
    }
    let x = patch.tap(graph, v)?;
    let mut shape = (patch as &mut dyn Builder).tensor_fact(&x)?.shape.to_vec();
    while shape.len() < rank {
        shape.insert(0, Dim::Known(1));
    }
    let x = reshape(patch, &x, shape)?;
    permuted(patch, &x, to_last)
}

/// The channels of `x`, which are last, as a matrix of `rows` rows, transposed.
fn shuffled(b: &mut dyn Builder, x: &Var, rows: &Dim) -> Result<Var> {
    let whole = b.tensor_fact(x)?.shape.to_vec();
    let rank = whole.len();
    let mut split = whole.clone();
    if let Some(channels) = split.pop() {
        split.extend([rows.clone(), channels.floor_div(rows)]);
    }
    let matrix = reshape(b, x, split)?;
    let mut order: Vec<i64> = (0..=rank as i64).collect();
    order.swap(rank - 1, rank);
    let swapped = transpose(b, &matrix, &order)?;
    reshape(b, &swapped, whole)
}
