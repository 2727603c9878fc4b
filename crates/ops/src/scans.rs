//! ONNX Scan and SequenceMap, written with loops.

use std::sync::Arc;

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::onnx::{OnnxNode, optional, required};
use lampyr_ir::{Builder, Fact, Graph, GraphBuilder, HostTensor, SequenceFact, TensorFact, Var, Vars, interpret};

use crate::bodies::{any_elements, fresh};
use crate::build::{
    concat, gather, loop_, sequence_at, sequence_empty, sequence_insert, sequence_length, shape_of, slice, sub,
    transpose, unsqueeze,
};
use crate::common;

/// Rows of a batch are written out one by one up to this many.
const MOST_ROWS: i64 = 64;

/// `list[i]` of an attribute with one entry per value; 0 where it is left out.
fn entries(node: &dyn OnnxNode, name: &str, count: usize) -> Result<Vec<i64>> {
    match node.ints(name)? {
        None => Ok(vec![0; count]),
        Some(list) if list.len() == count => Ok(list),
        Some(list) => Err(Error::format(format!("{name} has {} entries", list.len())).with_expected(count.to_string())),
    }
}

fn reversed(b: &mut dyn Builder, x: &Var, axis: i64) -> Result<Var> {
    slice(b, x, &[axis], vec![Dim::Known(-1)], vec![Dim::Known(i64::MIN)], &[-1])
}

/// `x` with its first axis moved to `axis`.
fn first_axis_to(b: &mut dyn Builder, x: &Var, axis: i64) -> Result<Var> {
    let rank = b.tensor_fact(x)?.rank();
    let to = common::axis(axis, rank)?;
    let mut perm: Vec<i64> = (1..rank as i64).collect();
    perm.insert(to, 0);
    transpose(b, x, &perm)
}

/// What one Scan does, without a batch.
struct Plan {
    scanned: usize,
    axes: Vec<i64>,
    backward: Vec<i64>,
    out_axes: Vec<i64>,
    out_backward: Vec<i64>,
}

fn scan(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Var], plan: &Plan) -> Result<Vars> {
    let carried = inputs.len() - plan.scanned;
    let (states, scans) = inputs.split_at(carried);
    let mut facts = Vec::new();
    for state in states {
        facts.push(any_elements(&b.fact(state)?));
    }
    let mut rows = Vec::new();
    for (x, axis) in scans.iter().zip(&plan.axes) {
        let fact = b.tensor_fact(x)?;
        let mut shape = fact.shape.to_vec();
        shape.remove(common::axis(*axis, fact.rank())?);
        let row = Fact::tensor(fact.dtype, shape);
        facts.push(row.clone());
        rows.push(row);
    }
    let body = node.body("body", b, &facts)?;
    let outs = body.graph.outputs().len().checked_sub(carried).ok_or_else(|| {
        Error::format(format!("the body of a scan with {carried} states has {} outputs", body.graph.outputs().len()))
    })?;
    let (first, axis) = match (scans.first(), plan.axes.first()) {
        (Some(x), Some(axis)) => (x, *axis),
        _ => return Err(Error::format("a scan over nothing")),
    };
    let sizes = shape_of(b, first)?;
    let at = common::axis(axis, b.tensor_fact(first)?.rank())? as i64;
    let at = b.constant(HostTensor::scalar(at))?;
    let trip = gather(b, &sizes, &at, 0)?;

    let mut g = GraphBuilder::new(&body.graph.name);
    let i = g.input("iteration", Fact::fixed(DType::I64, &[]));
    let go = g.input("go", Fact::fixed(DType::Bool, &[]));
    let mut args: Vec<Var> = (0..carried).map(|k| g.input(&format!("state{k}"), facts[k].clone())).collect();
    let count = g.input("count", Fact::fixed(DType::I64, &[]));
    let mut outer = vec![trip.clone()];
    let mut wholes = Vec::new();
    for (k, x) in scans.iter().enumerate() {
        wholes.push(g.input(&format!("scan{k}"), b.fact(x)?));
        outer.push(x.clone());
    }
    let mut captured = Vec::new();
    for (k, x) in body.captured.iter().enumerate() {
        captured.push(g.input(&format!("outer{k}"), b.fact(x)?));
        outer.push(x.clone());
    }
    for (k, whole) in wholes.iter().enumerate() {
        let at = if plan.backward[k] != 0 {
            let one = g.constant(HostTensor::scalar(1i64))?;
            let last = sub(&mut g, &count, &one)?;
            sub(&mut g, &last, &i)?
        } else {
            i.clone()
        };
        args.push(gather(&mut g, whole, &at, plan.axes[k])?);
    }
    args.extend(captured);
    let made = interpret::inline(&mut g, &body.graph, &args)?;
    g.output("", &go)?;
    for v in &made {
        g.output("", v)?;
    }
    let mut made = loop_(b, Arc::new(g.finish()), Some(&trip), None, states, &outer)?;
    let out_axes = if plan.out_axes.is_empty() { vec![0; outs] } else { plan.out_axes.clone() };
    let out_backward = if plan.out_backward.is_empty() { vec![0; outs] } else { plan.out_backward.clone() };
    if out_axes.len() != outs || out_backward.len() != outs {
        return Err(Error::format(format!("a scan with {outs} results has attributes for another number")));
    }
    for k in 0..outs {
        let mut y = made[carried + k].clone();
        if out_backward[k] != 0 {
            y = reversed(b, &y, 0)?;
        }
        if out_axes[k] != 0 {
            y = first_axis_to(b, &y, out_axes[k])?;
        }
        made[carried + k] = y;
    }
    Ok(made)
}

/// How many inputs are scanned.
fn scanned(node: &dyn OnnxNode, inputs: usize) -> Result<usize> {
    let n = node.int("num_scan_inputs", 0)?;
    usize::try_from(n)
        .ok()
        .filter(|&n| n > 0 && n <= inputs)
        .ok_or_else(|| Error::format(format!("num_scan_inputs is {n}")).with_expected(format!("1 to {inputs}")))
}

/// ONNX Scan from opset 9 on.
pub(crate) fn scan_9(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let all = (0..inputs.len()).map(|i| required(inputs, i)).collect::<Result<Vec<_>>>()?;
    let scanned = scanned(node, all.len())?;
    let plan = Plan {
        scanned,
        axes: entries(node, "scan_input_axes", scanned)?,
        backward: entries(node, "scan_input_directions", scanned)?,
        out_axes: node.ints("scan_output_axes")?.unwrap_or_default(),
        out_backward: node.ints("scan_output_directions")?.unwrap_or_default(),
    };
    scan(node, b, &all, &plan)
}

/// ONNX Scan of opset 8: every value has a batch as its first axis.
pub(crate) fn scan_8(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    if optional(inputs, 0).is_some() {
        return Err(Error::unsupported("Scan over rows of different lengths (sequence_lens of opset 8)"));
    }
    let all = (1..inputs.len()).map(|i| required(inputs, i)).collect::<Result<Vec<_>>>()?;
    let scanned = scanned(node, all.len())?;
    let plan = Plan {
        scanned,
        axes: vec![0; scanned],
        backward: entries(node, "directions", scanned)?,
        out_axes: Vec::new(),
        out_backward: Vec::new(),
    };
    let first = b.tensor_fact(&all[0])?;
    let rows =
        first.shape.first().and_then(Dim::known).filter(|n| (1..=MOST_ROWS).contains(n)).ok_or_else(|| {
            Error::unsupported(format!("Scan of opset 8 over a batch other than 1 to {MOST_ROWS} rows"))
        })?;
    let mut made: Vec<Vec<Var>> = Vec::new();
    for row in 0..rows {
        let at = b.constant(HostTensor::scalar(row))?;
        let args = all.iter().map(|x| gather(b, x, &at, 0)).collect::<Result<Vec<_>>>()?;
        for (k, y) in scan(node, b, &args, &plan)?.into_iter().enumerate() {
            let y = unsqueeze(b, &y, &[0])?;
            match made.get_mut(k) {
                Some(rows) => rows.push(y),
                None => made.push(vec![y]),
            }
        }
    }
    made.iter().map(|rows| concat(b, rows, 0)).collect()
}

/// The fact of one tensor of a sequence.
fn item(sequence: &SequenceFact) -> Result<Fact> {
    let shape = sequence
        .shape
        .as_ref()
        .ok_or_else(|| Error::unsupported("a tensor out of a sequence whose tensors have an unknown number of axes"))?;
    Ok(Fact::tensor(sequence.dtype, shape.iter().map(|d| d.clone().unwrap_or_else(fresh))))
}

/// ONNX SequenceMap: the body runs for the tensors at each position of the sequences; tensors are given to every run.
pub(crate) fn sequence_map(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let all = (0..inputs.len()).map(|i| required(inputs, i)).collect::<Result<Vec<_>>>()?;
    let mut facts = Vec::new();
    for x in &all {
        facts.push(match b.fact(x)? {
            Fact::Sequence(s) => item(&s)?,
            other => any_elements(&other),
        });
    }
    let body = node.body("body", b, &facts)?;
    let first = all.first().ok_or_else(|| Error::format("a map over nothing"))?;
    let trip = sequence_length(b, first)?;

    let mut g = GraphBuilder::new(&body.graph.name);
    let i = g.input("iteration", Fact::fixed(DType::I64, &[]));
    let go = g.input("go", Fact::fixed(DType::Bool, &[]));
    let (mut lists, mut empty) = (Vec::new(), Vec::new());
    for (k, v) in body.graph.outputs().iter().enumerate() {
        let t: &TensorFact = body.graph.fact(*v).as_tensor()?;
        let shape = Some(t.shape.iter().map(|_| None).collect());
        lists.push(g.input(&format!("list{k}"), Fact::Sequence(SequenceFact { dtype: t.dtype, shape })));
        empty.push(sequence_empty(b, t.dtype)?);
    }
    let mut args = Vec::new();
    for (k, x) in all.iter().enumerate() {
        args.push(g.input(&format!("input{k}"), b.fact(x)?));
    }
    for (k, x) in body.captured.iter().enumerate() {
        args.push(g.input(&format!("outer{k}"), b.fact(x)?));
    }
    for arg in &mut args[..all.len()] {
        if let Fact::Sequence(_) = g.fact(arg)? {
            *arg = sequence_at(&mut g, arg, &i)?;
        }
    }
    let made = interpret::inline(&mut g, &body.graph, &args)?;
    g.output("", &go)?;
    for (list, v) in lists.iter().zip(&made) {
        let longer = sequence_insert(&mut g, list, v, None)?;
        g.output("", &longer)?;
    }
    let graph: Arc<Graph> = Arc::new(g.finish());
    let outer: Vec<Var> = all.iter().chain(&body.captured).cloned().collect();
    loop_(b, graph, Some(&trip), None, &empty, &outer)
}
