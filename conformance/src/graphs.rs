//! Cases as graphs: alone, with symbols, inside branches and loops, between neighbours, and differentiated.

use std::sync::Arc;

use lampyr_backend::backend;
use lampyr_base::{DType, Device, Dim, Error, Result, Symbol};
use lampyr_compiler::{Executable, Options, compile};
use lampyr_ir::autodiff;
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::{Builder, Fact, Graph, GraphBuilder, HostTensor, HostValue, TensorFact, Var};
use lampyr_ops::build;
use lampyr_ops::gradient::OPS;
use lampyr_runtime::session::{Session, Value};

use crate::runner::weights;

/// The facts of a case's inputs; `symbolic` axes are symbols.
pub fn facts(case: &Case, symbolic: bool) -> Result<Vec<Fact>> {
    let mut facts = Vec::new();
    for (i, input) in case.inputs.iter().enumerate() {
        let mut fact = TensorFact::fixed(input.dtype, &input.shape);
        for (_, axis, name) in case.symbolic.iter().filter(|(k, ..)| symbolic && *k == i) {
            fact.shape[*axis] = Dim::of(&Symbol::new(name));
        }
        facts.push(match input.sequence {
            None => Fact::Tensor(fact),
            Some(n) => {
                let mut b = GraphBuilder::new("sequence");
                let items: Vec<Var> = (0..n.max(1)).map(|_| b.input("item", Fact::Tensor(fact.clone()))).collect();
                let all = build::sequence_construct(&mut b, &items)?;
                b.fact(&all)?
            }
        });
    }
    Ok(facts)
}

fn start(case: &Case, symbolic: bool) -> Result<(GraphBuilder, Vec<Var>)> {
    let mut b = GraphBuilder::new(&case.name);
    let inputs =
        facts(case, symbolic)?.into_iter().enumerate().map(|(i, f)| b.input(&format!("input{i}"), f)).collect();
    Ok((b, inputs))
}

fn visible(case: &Case, made: &[Var]) -> Vec<Var> {
    made.iter().take(case.op.visible_outputs().unwrap_or(made.len())).cloned().collect()
}

/// The op of a case as a graph.
pub fn alone(case: &Case, symbolic: bool) -> Result<Graph> {
    let (mut b, inputs) = start(case, symbolic)?;
    let made = b.apply(&*case.op, &inputs)?;
    for (k, var) in visible(case, &made).iter().enumerate() {
        b.output(&format!("output{k}"), var)?;
    }
    Ok(b.finish())
}

/// The op in both branches of an If whose condition is the first input.
pub fn in_branch(case: &Case) -> Result<Graph> {
    let body = Arc::new(alone(case, true)?);
    let mut b = GraphBuilder::new("branch");
    let condition = b.input("condition", Fact::fixed(DType::Bool, &[]));
    let inputs: Vec<Var> =
        facts(case, true)?.into_iter().enumerate().map(|(i, f)| b.input(&format!("input{i}"), f)).collect();
    let made = build::if_(&mut b, &condition, body.clone(), body, &inputs)?;
    for (k, var) in made.iter().enumerate() {
        b.output(&format!("output{k}"), var)?;
    }
    Ok(b.finish())
}

/// The op as the scan results of a Loop that runs as often as the first input says.
pub fn in_loop(case: &Case) -> Result<Graph> {
    let mut body = GraphBuilder::new("body");
    body.input("iteration", Fact::fixed(DType::I64, &[]));
    let condition = body.input("condition", Fact::fixed(DType::Bool, &[]));
    let inputs: Vec<Var> =
        facts(case, true)?.into_iter().enumerate().map(|(i, f)| body.input(&format!("input{i}"), f)).collect();
    let made = body.apply(&*case.op, &inputs)?;
    body.output("condition", &condition)?;
    for (k, var) in visible(case, &made).iter().enumerate() {
        body.output(&format!("scan{k}"), var)?;
    }
    let body = Arc::new(body.finish());
    let mut b = GraphBuilder::new("loop");
    let trip = b.input("trip", Fact::fixed(DType::I64, &[]));
    let inputs: Vec<Var> =
        facts(case, true)?.into_iter().enumerate().map(|(i, f)| b.input(&format!("input{i}"), f)).collect();
    let made = build::loop_(&mut b, body, Some(&trip), None, &[], &inputs)?;
    for (k, var) in made.iter().enumerate() {
        b.output(&format!("output{k}"), var)?;
    }
    Ok(b.finish())
}

/// The op between elementwise neighbours: its float inputs are negated first, and `relu(y) * y + y` follows each float
/// output. `None` where nothing is a float tensor.
pub fn between(case: &Case) -> Result<Option<Graph>> {
    let (mut b, mut inputs) = start(case, true)?;
    let is_float = |b: &GraphBuilder, v: &Var| matches!(b.fact(v), Ok(Fact::Tensor(t)) if t.dtype.is_float());
    let mut touched = false;
    for var in &mut inputs {
        if is_float(&b, var) {
            *var = build::neg(&mut b, var)?;
            touched = true;
        }
    }
    let made = b.apply(&*case.op, &inputs)?;
    for (k, var) in visible(case, &made).iter().enumerate() {
        let mut out = var.clone();
        if is_float(&b, var) {
            let positive = build::relu(&mut b, var)?;
            let square = build::mul(&mut b, &positive, var)?;
            out = build::add(&mut b, &square, var)?;
            touched = true;
        }
        b.output(&format!("output{k}"), &out)?;
    }
    Ok(touched.then(|| b.finish()))
}

/// First and second gradients of a case as one joint graph, with the weights of [`crate::runner::eager_gradients`];
/// and which inputs have which.
pub struct Differentiated {
    /// Outputs: the first gradients that exist, then the second ones.
    pub graph: Graph,
    /// Inputs with a first gradient.
    pub first: Vec<usize>,
    /// Inputs with a second gradient.
    pub second: Vec<usize>,
}

/// Differentiates a case twice through the graph. `reference` are its visible outputs.
pub fn differentiated(case: &Case, reference: &[HostValue]) -> Result<Differentiated> {
    let (mut b, inputs) = start(case, false)?;
    let made = b.apply(&*case.op, &inputs)?;
    let floats: Vec<usize> = (0..inputs.len()).filter(|&i| case.inputs[i].dtype.is_float()).collect();
    let wrt: Vec<Var> = floats.iter().map(|&i| inputs[i].clone()).collect();
    let mut seeds = Vec::new();
    for (k, var) in visible(case, &made).iter().enumerate() {
        let value = reference[k].tensor()?;
        if value.dtype().is_float() {
            let seed = b.constant(weights(value, 100 + k as u64)?)?;
            seeds.push((var.clone(), seed));
        }
    }
    let first = autodiff::gradients(&mut b, OPS, &seeds, &wrt)?;
    let mut seeds = Vec::new();
    for (slot, g) in first.iter().enumerate() {
        if let Some(g) = g {
            let input = &case.inputs[floats[slot]];
            let like = HostTensor::zeros(input.dtype, &input.shape)?;
            let seed = b.constant(weights(&like, 200 + floats[slot] as u64)?)?;
            seeds.push((g.clone(), seed));
        }
    }
    let second = autodiff::gradients(&mut b, OPS, &seeds, &wrt)?;
    let mut result = Differentiated { graph: Graph::new(""), first: Vec::new(), second: Vec::new() };
    for (order, list) in [(1, &first), (2, &second)] {
        for (slot, g) in list.iter().enumerate() {
            if let Some(g) = g {
                b.output(&format!("grad{order}_{}", floats[slot]), g)?;
                if order == 1 { result.first.push(floats[slot]) } else { result.second.push(floats[slot]) }
            }
        }
    }
    let mut graph = b.finish();
    graph.remove_dead();
    result.graph = graph;
    Ok(result)
}

/// A compiled graph ready to run on host values.
pub struct Ready {
    /// The session.
    pub session: Session,
    device: Device,
}

impl Ready {
    /// Compiles `graph` for `device`, verifying it between all passes.
    pub fn new(graph: &Graph, device: Device, fuse: bool) -> Result<Ready> {
        let mut options = Options { verify: true, fuse, ..Options::default() };
        options.policy.device = device;
        Ready::with(graph, &options)
    }

    /// Compiles `graph` with `options`.
    pub fn with(graph: &Graph, options: &Options) -> Result<Ready> {
        let executable = Arc::new(compile(graph, options)?);
        Ok(Ready { session: Session::new(executable), device: options.policy.device })
    }

    /// The compiled graph.
    pub fn executable(&self) -> &Executable {
        self.session.executable()
    }

    /// Runs on host values.
    pub fn run(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let device = backend(self.device)?;
        let inputs = inputs.iter().map(|v| Value::upload(&*device, v)).collect::<Result<Vec<_>>>()?;
        self.session.run(inputs)?.iter().map(Value::to_host).collect()
    }
}

/// The case with every symbolic axis at another size, where the op allows one.
pub fn resized(case: &Case) -> Vec<Case> {
    let mut found = Vec::new();
    let Some((_, _, first)) = case.symbolic.first() else { return found };
    for change in [|n: usize| n + 3, |n: usize| n * 2, |_: usize| 1usize] {
        let mut other = case.clone();
        for (i, axis, name) in &case.symbolic {
            if name == first {
                let input: &mut CaseInput = &mut other.inputs[*i];
                input.shape[*axis] = change(input.shape[*axis]);
            }
        }
        if other.values().and_then(|v| runnable(&other, &v)).is_ok() {
            found.push(other);
        }
    }
    found
}

fn runnable(case: &Case, values: &[HostValue]) -> Result<()> {
    let graph = alone(case, false)?;
    if graph.inputs().len() != values.len() {
        return Err(Error::internal("inputs were lost"));
    }
    lampyr_ir::interpret::reference(&graph, values, &lampyr_base::Bindings::new()).map(|_| ())
}
