//! Which rule applies an op to tensors that stand for many.

use lampyr_base::{Error, Layout, Result};
use lampyr_ir::{AttrMap, AttrValue, Class, Op, OpRef, Var};
use smallvec::SmallVec;

use super::{Lead, axes, contraction, fold, index};
use crate::eager::{EagerBuilder, Outputs, compute as run_once, view};
use crate::tape::no_grad;
use crate::tensor::Tensor;
use crate::trace;

/// One application of an op.
pub(super) struct Call<'a> {
    pub op: &'a dyn Op,
    pub inputs: &'a [&'a Tensor],
    pub lead: &'a Lead,
    pub wanted: &'a dyn Fn(usize) -> bool,
}

impl Call<'_> {
    /// Sizes of the levels.
    pub fn sizes(&self) -> SmallVec<[usize; 6]> {
        self.lead.iter().map(|(_, n)| *n).collect()
    }

    /// How many tensors each stands for.
    pub fn count(&self) -> usize {
        self.lead.iter().map(|(_, n)| *n).product()
    }

    /// Number of levels.
    pub fn depth(&self) -> usize {
        self.lead.len()
    }

    /// Axes of input `i` as the caller sees it.
    pub fn rank(&self, i: usize) -> usize {
        self.inputs.get(i).map_or(0, |t| t.rank())
    }

    /// Whether input `i` stands for many.
    pub fn batched(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(|t| t.is_batched())
    }

    /// Input `i` with axes for all levels in front.
    pub fn whole(&self, i: usize) -> Result<Tensor> {
        let t = self.input(i)?;
        Ok(t.physical(self.lead, t.rank(), true))
    }

    /// Input `i`.
    pub fn input(&self, i: usize) -> Result<&Tensor> {
        self.inputs.get(i).copied().ok_or_else(|| Error::internal("an input is missing").with_op(self.op.name()))
    }

    /// All inputs with axes for all levels.
    pub fn all(&self) -> Result<Vec<Tensor>> {
        (0..self.inputs.len()).map(|i| self.whole(i)).collect()
    }

    /// Applies the op itself.
    pub fn run(&self, op: &dyn Op, inputs: &[Tensor]) -> Result<Outputs> {
        run_once(op, &inputs.iter().collect::<SmallVec<[&Tensor; 4]>>(), self.wanted)
    }

    /// The op with other attributes; `None` when it cannot have them.
    pub fn with(&self, attrs: &[(&str, AttrValue)]) -> Option<OpRef> {
        let mut map: AttrMap = self.op.attrs().into_iter().map(|(n, v)| (n.to_string(), v)).collect();
        map.extend(attrs.iter().map(|(n, v)| ((*n).to_string(), v.clone())));
        self.op.remake(map)
    }

    /// An attribute.
    pub fn attr(&self, name: &str) -> Option<AttrValue> {
        self.op.attrs().into_iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }
}

/// `t` in another shape of as many elements; a copy only where strides need it.
pub(super) fn reshaped(t: &Tensor, shape: &[usize]) -> Result<Tensor> {
    if let Some(layout) = t.layout().reshape(shape) {
        return Ok(Tensor::over(t.storage().clone(), layout, t.dtype()));
    }
    let copy = t.copy_contiguous()?;
    Ok(Tensor::over(copy.storage().clone(), Layout::contiguous(shape), t.dtype()))
}

/// `t` with axes in another order.
pub(super) fn permuted(t: &Tensor, order: &[usize]) -> Tensor {
    Tensor::over(t.storage().clone(), t.layout().permute(order), t.dtype())
}

/// Outputs in other shapes.
pub(super) fn each(outputs: Outputs, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Option<Outputs>> {
    outputs.iter().map(|t| t.as_ref().map(&f).transpose()).collect::<Result<Outputs>>().map(Some)
}

/// Runs `op` on all elements at once: by the rule of its class, else by its decomposition, else one after another.
pub(crate) fn compute(op: &dyn Op, inputs: &[&Tensor], wanted: &dyn Fn(usize) -> bool) -> Result<Outputs> {
    let facts: SmallVec<[lampyr_ir::Fact; 4]> = inputs.iter().map(|t| t.fact()).collect();
    let inferred = lampyr_ir::checked_infer(op, &facts.iter().collect::<SmallVec<[_; 4]>>())?;
    if op.class() == Class::View {
        return view(op, inputs[0], &inferred).map(|t| smallvec::smallvec![Some(t)]);
    }
    let lead = super::lead(inputs)?;
    let call = Call { op, inputs, lead: &lead, wanted };
    no_grad(|| {
        if let Some(made) = rule(&call)? {
            return hidden(&made, &lead);
        }
        let vars: Vec<Var> = inputs.iter().map(|t| t.var()).collect();
        if lead.iter().all(|(_, n)| *n > 0)
            && let Some(Ok(made)) = op.decompose(&mut EagerBuilder::on(inputs[0].device()), &vars)
        {
            return made.iter().map(|v| Tensor::from_var(v).map(Some)).collect();
        }
        hidden(&one_by_one(&call)?, &lead)
    })
}

fn hidden(made: &Outputs, lead: &Lead) -> Result<Outputs> {
    made.iter().map(|t| t.as_ref().map(|t| t.hide(lead)).transpose()).collect()
}

/// The rules, by class; `None` where none fits.
fn rule(call: &Call) -> Result<Option<Outputs>> {
    match call.op.class() {
        Class::Elementwise => elementwise(call).map(Some),
        Class::Reduce(_) => axes::reduction(call),
        Class::Contraction => contraction::rule(call),
        _ => {
            for rule in [axes::rule, index::rule, fold::rule, contraction::einsum] {
                if let Some(made) = rule(call)? {
                    return Ok(Some(made));
                }
            }
            Ok(None)
        }
    }
}

fn elementwise(call: &Call) -> Result<Outputs> {
    let rank = call.inputs.iter().map(|t| t.rank()).max().unwrap_or(0);
    let fit = |t: &&Tensor| if t.is_batched() { t.physical(call.lead, rank, false) } else { (*t).clone() };
    call.run(call.op, &call.inputs.iter().map(fit).collect::<Vec<_>>())
}

/// Applies the op to one element after another; written to the trace as `vmap_loop`.
fn one_by_one(call: &Call) -> Result<Outputs> {
    let start = trace::now();
    let sizes = call.sizes();
    let count = call.count();
    if count == 0 {
        return Err(Error::unsupported("an op without a batching rule over no elements").with_op(call.op.name()));
    }
    let flat: Vec<Option<Tensor>> = (0..call.inputs.len())
        .map(|i| {
            if !call.batched(i) {
                return Ok(None);
            }
            let t = call.whole(i)?;
            let shape: Vec<usize> = [&[count], call.input(i)?.shape()].concat();
            reshaped(&t, &shape).map(Some)
        })
        .collect::<Result<_>>()?;
    let mut stacks: Vec<Option<Tensor>> = Vec::new();
    for k in 0..count {
        let inputs: Vec<Tensor> = flat
            .iter()
            .zip(call.inputs)
            .map(|(all, one)| all.as_ref().map_or_else(|| (*one).clone(), |all| row(all, k)))
            .collect();
        let made = call.run(call.op, &inputs)?;
        if k == 0 {
            for t in &made {
                let empty = |t: &Tensor| Tensor::empty(&[&[count], t.shape()].concat(), t.dtype(), t.device());
                stacks.push(t.as_ref().map(empty).transpose()?);
            }
        }
        for (stack, t) in stacks.iter().zip(&made) {
            let (Some(stack), Some(t)) = (stack, t) else { continue };
            let to = row(stack, k);
            if to.shape() != t.shape() {
                return Err(Error::shape(format!(
                    "elements of a vmap give results of different shapes: {:?} and {:?}",
                    to.shape(),
                    t.shape()
                ))
                .with_op(call.op.name()));
            }
            if !t.is_empty() {
                t.backend()?.copy(&t.arg(), &to.arg())?;
            }
        }
    }
    let device = call.input(0)?.device();
    crate::eager::note(call.op, "loop", device, "vmap_loop", start, call.inputs);
    stacks
        .iter()
        .map(|t| t.as_ref().map(|t| reshaped(t, &[&sizes[..], &t.shape()[1..]].concat())).transpose())
        .collect()
}

/// Element `k` along the first axis.
fn row(t: &Tensor, k: usize) -> Tensor {
    let mut layout = t.layout().slice(0, k, 1, 1);
    layout.shape.remove(0);
    layout.strides.remove(0);
    Tensor::over(t.storage().clone(), layout, t.dtype())
}
