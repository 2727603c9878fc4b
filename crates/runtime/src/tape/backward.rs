use std::sync::Arc;

use lampyr_base::{Error, Result};
use lampyr_ops::build::Add;

use super::hooks::lock;
use super::node::Edge;
use super::walk::{Found, Walk};
use super::with_grad_mode;
use crate::methods::one;
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

fn seed(i: usize, output: &Tensor, given: Option<&Tensor>) -> Result<(Edge, Tensor)> {
    let edge = output.edge()?.ok_or_else(|| {
        Error::autograd(format!("element {i} of tensors does not require grad and does not have a grad_fn"))
            .with_help("call requires_grad_() on the inputs before computing it, and compute it outside no_grad()")
    })?;
    let grad = match given {
        Some(g) if g.shape() == output.shape() && g.dtype() == output.dtype() => g.clone(),
        Some(g) if g.shape() == output.shape() && g.dtype().is_float() => g.to_dtype(output.dtype())?,
        Some(g) => {
            return Err(Error::autograd(format!(
                "Mismatch in shape: the gradient given for output {i} is {}{:?}",
                g.dtype(),
                g.shape()
            ))
            .with_expected(format!("{}{:?}", output.dtype(), output.shape())));
        }
        None if output.len() == 1 => Tensor::full(output.shape(), 1.0, output.dtype(), output.device())?,
        None => {
            return Err(Error::autograd(format!(
                "grad can be implicitly created only for scalar outputs: backward of a tensor of shape {:?} needs the \
                 gradient to start from",
                output.shape()
            ))
            .with_help("reduce it to one element first, or pass a gradient of its shape"));
        }
    };
    Ok((edge, grad))
}

fn seeds(outputs: &[Tensor], given: &[Option<Tensor>]) -> Result<Vec<(Edge, Tensor)>> {
    outputs.iter().enumerate().map(|(i, o)| seed(i, o, given.get(i).and_then(Option::as_ref))).collect()
}

/// Adds the gradients of `output` to the `.grad` of all leaves it depends on. `gradient` may be left out for one
/// element. When this fails no `.grad` has changed.
pub fn backward(output: &Tensor, gradient: Option<&Tensor>, options: GradOptions) -> Result<()> {
    backward_all(std::slice::from_ref(output), &[gradient.cloned()], None, options)
}

impl Tensor {
    /// Adds the gradients of this one element to the `.grad` of all leaves it depends on; [`backward`] has options.
    ///
    /// # Errors
    /// When there is more than one element, or nothing to differentiate. No `.grad` has changed then.
    pub fn backward(&self) -> Result<()> {
        backward(self, None, GradOptions::default())
    }
}

/// As [`backward`], from several outputs at once; with `inputs` only these tensors collect gradients.
pub fn backward_all(
    outputs: &[Tensor],
    seeds_: &[Option<Tensor>],
    inputs: Option<&[Tensor]>,
    options: GradOptions,
) -> Result<()> {
    with_grad_mode(options.create_graph, || {
        let roots = seeds(outputs, seeds_)?;
        let Some(inputs) = inputs else {
            let walk = Walk::new(options, &roots, None);
            return collect(walk.run(roots)?, options);
        };
        let edges = wanted(inputs)?;
        let mut found = Walk::new(options, &roots, Some(&edges)).run(roots)?;
        for (input, edge) in inputs.iter().zip(&edges) {
            if let (Edge::Node(..), Some(grad)) = (edge, found.wanted.get(&edge.key())) {
                found.cells.push((input.cell(), grad.clone(), false));
            }
        }
        collect(found, options)
    })
}

/// Adds what was found to the cells, all at once, then calls the hooks of leaves.
fn collect(found: Found, options: GradOptions) -> Result<()> {
    let mut cells = found.cells;
    drop(found.wanted);
    // One order of locks for all threads.
    cells.sort_by_key(|c| (Arc::as_ptr(&c.0) as usize, !c.2));
    cells.dedup_by(|a, b| Arc::ptr_eq(&a.0, &b.0));
    let leaves: Vec<_> = cells.iter().filter(|c| c.2 && c.0.hooks.get().is_some()).map(|c| c.0.clone()).collect();
    let (handles, grads): (Vec<_>, Vec<_>) = cells.into_iter().map(|(cell, grad, _)| (cell, grad)).unzip();
    {
        let mut guards: Vec<_> = handles.iter().map(|cell| cell.lock()).collect();
        let mut totals = Vec::with_capacity(grads.len());
        for (guard, grad) in guards.iter().zip(grads) {
            totals.push(match guard.as_ref() {
                Some(before) if before.shape() != grad.shape() || before.dtype() != grad.dtype() => {
                    return Err(Error::autograd(format!("a .grad is {}{:?}", before.dtype(), before.shape()))
                        .with_expected(format!("{}{:?}, as the gradient to be added", grad.dtype(), grad.shape())));
                }
                Some(before) => one(&Add, &[before, &grad])?,
                // A leaf's gradient must not share memory with anything a user may change in place.
                None if options.create_graph || grad.is_sole_owner() => grad,
                None => grad.copy_contiguous()?,
            });
        }
        for (guard, total) in guards.iter_mut().zip(totals) {
            **guard = Some(total);
        }
    }
    for cell in leaves {
        let hooks: Vec<_> = lock(&cell.hooks).after.iter().map(|h| h.1.clone()).collect();
        if let Some(leaf) = cell.owner() {
            for hook in hooks {
                hook(&leaf)?;
            }
        }
    }
    Ok(())
}

fn wanted(inputs: &[Tensor]) -> Result<Vec<Edge>> {
    inputs
        .iter()
        .map(|x| {
            x.edge()?.ok_or_else(|| {
                Error::autograd("One of the differentiated Tensors does not require grad")
                    .with_help("call requires_grad_() on it before the computation")
            })
        })
        .collect()
}

/// Gradients of the sum of `outputs` (weighted by `seeds` where given) with respect to `inputs`; no `.grad` changes.
///
/// # Errors
/// When an input is not on the path and `allow_unused` is off.
pub fn grad(
    outputs: &[Tensor],
    inputs: &[Tensor],
    seeds_: &[Option<Tensor>],
    options: GradOptions,
) -> Result<Vec<Option<Tensor>>> {
    with_grad_mode(options.create_graph, || {
        let roots = seeds(outputs, seeds_)?;
        let edges = wanted(inputs)?;
        let found = Walk::new(options, &roots, Some(&edges)).run(roots)?;
        edges
            .iter()
            .enumerate()
            .map(|(i, edge)| match found.wanted.get(&edge.key()) {
                Some(grad) => Ok(Some(grad.clone())),
                None if options.allow_unused => Ok(None),
                None => Err(Error::autograd(format!(
                    "One of the differentiated Tensors appears to not have been used in the graph: input {i}"
                ))
                .with_help("pass allow_unused=True to get None for it")),
            })
            .collect()
    })
}

/// Whether `output` depends on a leaf other than `known`.
pub fn depends_on_others(output: &Tensor, known: &[Tensor]) -> Result<bool> {
    let known = known.iter().filter_map(|t| t.edge().transpose()).collect::<Result<Vec<_>>>()?;
    let known: std::collections::HashSet<_> = known.iter().map(Edge::key).collect();
    let mut seen = std::collections::HashSet::new();
    let mut stack: Vec<Edge> = output.edge()?.into_iter().collect();
    while let Some(edge) = stack.pop() {
        if known.contains(&edge.key()) {
            continue;
        }
        match &edge {
            Edge::Leaf(_) => return Ok(true),
            Edge::Node(node, _) => {
                if seen.insert(Arc::as_ptr(node) as usize) {
                    stack.extend(node.edges.iter().flatten().cloned());
                }
            }
        }
    }
    Ok(false)
}
