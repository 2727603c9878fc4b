use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use lampyr_base::{Error, Result};
use lampyr_ir::{Builder, Fact, Saved, TensorFact, Var, autodiff};
use lampyr_ops::gradient;

use super::node::{Edge, Meta, Node};
use super::with_grad_mode;
use crate::eager::EagerBuilder;
use crate::tensor::Tensor;

/// What a backward pass does besides collecting gradients.
#[derive(Clone, Copy, Debug, Default)]
pub struct GradOptions {
    /// Record the backward pass itself, so that gradients can be differentiated again; implies `retain_graph`.
    pub create_graph: bool,
    /// Keep what was saved for a second pass.
    pub retain_graph: bool,
    /// A missing path gives `None` instead of an error (for [`grad`]).
    pub allow_unused: bool,
}

struct Aged(Arc<Node>);

impl PartialEq for Aged {
    fn eq(&self, other: &Aged) -> bool {
        self.0.age == other.0.age
    }
}
impl Eq for Aged {}
impl PartialOrd for Aged {
    fn partial_cmp(&self, other: &Aged) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Aged {
    fn cmp(&self, other: &Aged) -> std::cmp::Ordering {
        self.0.age.cmp(&other.0.age)
    }
}

type Slots = HashMap<(usize, usize), Var>;

fn fact(meta: &Meta) -> Fact {
    Fact::Tensor(TensorFact::fixed(meta.dtype, &meta.shape))
}

/// Walks the tape from `roots`; `arrive` gets every gradient that reaches a leaf.
fn walk(
    roots: &[(Edge, Var)],
    wanted: &mut Slots,
    options: GradOptions,
    mut arrive: impl FnMut(&mut dyn Builder, &Edge, Var) -> Result<()>,
) -> Result<()> {
    let device = match roots.first() {
        Some((_, seed)) => Tensor::from_var(seed)?.device(),
        None => return Ok(()),
    };
    let mut b = EagerBuilder::on(device);
    let mut grads: Slots = HashMap::new();
    let mut heap = BinaryHeap::new();
    let mut queued = std::collections::HashSet::new();
    let keys: std::collections::HashSet<_> = wanted.keys().copied().collect();
    let mut found = Slots::new();
    let mut send = |b: &mut EagerBuilder,
                    grads: &mut Slots,
                    heap: &mut BinaryHeap<Aged>,
                    found: &mut Slots,
                    edge: &Edge,
                    grad: Var|
     -> Result<()> {
        let key = edge.key();
        if keys.contains(&key) {
            let total = match found.remove(&key) {
                Some(before) => (gradient::OPS.add)(b, &before, &grad)?,
                None => grad.clone(),
            };
            found.insert(key, total);
        }
        match edge {
            Edge::Leaf(_) => arrive(b, edge, grad),
            Edge::Node(node, _) => {
                let total = match grads.remove(&key) {
                    Some(before) => (gradient::OPS.add)(b, &before, &grad)?,
                    None => grad,
                };
                grads.insert(key, total);
                if queued.insert(Arc::as_ptr(node) as usize) {
                    heap.push(Aged(node.clone()));
                }
                Ok(())
            }
        }
    };
    for (edge, seed) in roots {
        send(&mut b, &mut grads, &mut heap, &mut found, edge, seed.clone())?;
    }
    while let Some(Aged(node)) = heap.pop() {
        let address = Arc::as_ptr(&node) as usize;
        let from: Vec<Option<Var>> = (0..node.outputs.len()).map(|k| grads.remove(&(address, k))).collect();
        let (inputs, outputs) = unpack(&node)?;
        if !(options.retain_graph || options.create_graph) {
            *node.saved() = None;
        }
        let needs: Vec<bool> = node.edges.iter().map(Option::is_some).collect();
        let input_facts: Vec<Fact> = node.inputs.iter().map(fact).collect();
        let output_facts: Vec<Fact> = node.outputs.iter().map(fact).collect();
        let saved =
            Saved { inputs: &inputs, outputs: &outputs, input_facts: &input_facts, output_facts: &output_facts };
        let made = autodiff::vjp(&mut b, gradient::OPS, &*node.op, &saved, &from, &needs)?;
        for (i, (edge, grad)) in node.edges.iter().zip(made).enumerate() {
            if let (Some(edge), Some(grad)) = (edge, grad) {
                let have = Tensor::from_var(&grad)?;
                if have.shape() != node.inputs[i].shape.as_slice() || have.dtype() != node.inputs[i].dtype {
                    return Err(Error::autograd(format!(
                        "the gradient of input {i} is {}{:?}",
                        have.dtype(),
                        have.shape()
                    ))
                    .with_expected(format!("{}{:?}, as the input", node.inputs[i].dtype, &node.inputs[i].shape[..]))
                    .with_op(node.op.name()));
                }
                send(&mut b, &mut grads, &mut heap, &mut found, edge, grad)?;
            }
        }
    }
    *wanted = found;
    Ok(())
}

type Unpacked = (Vec<Option<Var>>, Vec<Option<Var>>);

fn unpack(node: &Arc<Node>) -> Result<Unpacked> {
    let saved = node.saved();
    let Some(set) = saved.as_ref() else {
        return Err(Error::autograd("the values saved for the gradient were freed by an earlier backward pass")
            .with_op(node.op.name())
            .with_help("pass retain_graph=True to the first pass, or run the forward pass again"));
    };
    let name = node.op.name();
    let inputs = set
        .inputs
        .iter()
        .map(|s| s.as_ref().map(|s| s.unpack(name, None).map(|t| t.var())).transpose())
        .collect::<Result<_>>()?;
    let outputs = set
        .outputs
        .iter()
        .enumerate()
        .map(|(k, s)| {
            let own = Edge::Node(node.clone(), k);
            s.as_ref().map(|s| s.unpack(name, Some(own)).map(|t| t.var())).transpose()
        })
        .collect::<Result<_>>()?;
    Ok((inputs, outputs))
}

fn seed(output: &Tensor, given: Option<&Tensor>) -> Result<(Edge, Var)> {
    let edge = output.edge()?.ok_or_else(|| {
        Error::autograd("this tensor does not depend on any tensor that requires a gradient")
            .with_help("call requires_grad_() on the inputs before computing it, and compute it outside no_grad()")
    })?;
    let grad = match given {
        Some(g) if g.shape() == output.shape() && g.dtype() == output.dtype() => g.clone(),
        Some(g) => {
            return Err(Error::autograd(format!("the gradient given is {}{:?}", g.dtype(), g.shape()))
                .with_expected(format!("{}{:?}", output.dtype(), output.shape())));
        }
        None if output.len() == 1 => Tensor::full(output.shape(), 1.0, output.dtype(), output.device())?,
        None => {
            return Err(Error::autograd(format!(
                "backward of a tensor of shape {:?} needs the gradient to start from",
                output.shape()
            ))
            .with_help("reduce it to one element first, or pass a gradient of its shape"));
        }
    };
    Ok((edge, grad.var()))
}

/// Adds the gradients of `output` to the `.grad` of all leaves it depends on. `gradient` may be left out for one
/// element. When this fails no `.grad` has changed.
pub fn backward(output: &Tensor, gradient_: Option<&Tensor>, options: GradOptions) -> Result<()> {
    with_grad_mode(options.create_graph, || {
        let root = seed(output, gradient_)?;
        let mut arrived: Vec<(Edge, Var)> = Vec::new();
        let mut at: HashMap<(usize, usize), usize> = HashMap::new();
        walk(&[root], &mut Slots::new(), options, |b, edge, grad| {
            match at.get(&edge.key()) {
                Some(&i) => arrived[i].1 = (gradient::OPS.add)(b, &arrived[i].1, &grad)?,
                None => {
                    at.insert(edge.key(), arrived.len());
                    arrived.push((edge.clone(), grad));
                }
            }
            Ok(())
        })?;
        let mut b = EagerBuilder::on(output.device());
        let mut totals = Vec::with_capacity(arrived.len());
        for (edge, grad) in arrived {
            if let Edge::Leaf(cell) = edge {
                let before = cell.lock().clone();
                let total = match before {
                    Some(before) => Tensor::from_var(&(gradient::OPS.add)(&mut b, &before.var(), &grad)?)?,
                    None => {
                        let grad = Tensor::from_var(&grad)?;
                        // A leaf's gradient must not share memory with anything a user may change in place.
                        if options.create_graph { grad } else { grad.copy_contiguous()? }
                    }
                };
                totals.push((cell, total));
            }
        }
        for (cell, total) in totals {
            *cell.lock() = Some(total);
        }
        Ok(())
    })
}

/// Gradients of the sum of `outputs` (weighted by `seeds` where given) with respect to `inputs`; no `.grad` changes.
///
/// # Errors
/// When an input is not on the path and `allow_unused` is off.
pub fn grad(
    outputs: &[Tensor],
    inputs: &[Tensor],
    seeds: &[Option<Tensor>],
    options: GradOptions,
) -> Result<Vec<Option<Tensor>>> {
    with_grad_mode(options.create_graph, || {
        let roots = outputs
            .iter()
            .enumerate()
            .map(|(i, o)| seed(o, seeds.get(i).and_then(Option::as_ref)))
            .collect::<Result<Vec<_>>>()?;
        let edges = inputs
            .iter()
            .map(|x| {
                x.edge()?.ok_or_else(|| {
                    Error::autograd("an input of grad() does not require a gradient")
                        .with_help("call requires_grad_() on it before the computation")
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let zero = |e: &Edge| Ok::<_, Error>((e.key(), roots[0].1.clone()));
        let mut wanted = match roots.is_empty() {
            true => Slots::new(),
            false => edges.iter().map(zero).collect::<Result<Slots>>()?,
        };
        walk(&roots, &mut wanted, options, |_, _, _| Ok(()))?;
        edges
            .iter()
            .enumerate()
            .map(|(i, edge)| match wanted.get(&edge.key()) {
                Some(grad) => Tensor::from_var(grad).map(Some),
                None if options.allow_unused => Ok(None),
                None => Err(Error::autograd(format!("input {i} of grad() is not used by the outputs"))
                    .with_help("pass allow_unused=True to get None for it")),
            })
            .collect()
    })
}
