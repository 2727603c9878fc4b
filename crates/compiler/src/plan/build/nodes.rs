//! How each node runs.

use lampyr_backend::Reason;
use lampyr_base::{DType, Error, Layout, Result, Shape, num_elements};
use lampyr_ir::{Class, Fact, Node, NodeId, OpRef, ValueId};
use lampyr_ops::build::Concat;
use smallvec::{SmallVec, smallvec};

use super::{Build, fixed, register, symbolic};
use crate::plan::choose::choose;
use crate::plan::{Action, Operand, Place};

impl Build<'_> {
    pub(super) fn node(&mut self, position: usize, id: NodeId, node: &Node) -> Result<()> {
        let op = node.op.substitute(&self.plan.bindings).unwrap_or_else(|| node.op.clone());
        let device = self.exe.placement(id).map_or(self.exe.device(), |p| p.device);
        let device = self.device(device)?;
        let facts: Option<Vec<Fact>> = node.inputs.iter().map(|v| self.fact(*v)).collect();
        let tensors = |v: &ValueId| matches!(self.graph.fact(*v), Fact::Tensor(_));
        let control = op.class() == Class::Control || !node.inputs.iter().chain(&node.outputs).all(tensors);
        let in_register = node
            .inputs
            .iter()
            .any(|v| matches!(&self.places[v.0 as usize], Some(Operand { place: Place::Register(_), .. })));
        if let (Some(facts), false, false, false) = (&facts, control, symbolic(&op), in_register) {
            let outs = op.infer(&facts.iter().collect::<Vec<_>>()).map_err(|e| e.with_inputs(facts))?;
            if outs.iter().all(|f| matches!(f, Fact::Tensor(t) if t.fixed_shape().is_some())) {
                return self.fixed_node(position, id, node, &op, device, &outs);
            }
        }
        self.open_node(position, id, node, device, control)
    }

    /// A node whose shapes are all known.
    pub(super) fn fixed_node(
        &mut self,
        position: usize,
        id: NodeId,
        node: &Node,
        op: &OpRef,
        device: usize,
        outs: &[Fact],
    ) -> Result<()> {
        let mut types: Vec<(DType, Shape)> = Vec::with_capacity(outs.len());
        for (v, fact) in node.outputs.iter().zip(outs) {
            let t = fact.as_tensor()?;
            let shape = t.fixed_shape().ok_or_else(|| Error::internal("a size is not known"))?;
            num_elements(&shape)?;
            if let Fact::Tensor(old) = self.graph.fact(*v) {
                self.plan.bindings.unify(&old.shape, &shape)?;
            }
            types.push((t.dtype, shape));
            self.facts[v.0 as usize] = Some(fact.clone());
        }
        if op.deterministic() && node.outputs.iter().all(|v| self.known(*v).is_some()) {
            return Ok(());
        }
        let mut inputs: SmallVec<[Operand; 4]> =
            node.inputs.iter().map(|v| self.operand(*v, device)).collect::<Result<_>>()?;
        let target: Vec<(DType, Layout)> = types.iter().map(|(d, s)| (*d, Layout::contiguous(s))).collect();
        if op.class() == Class::View
            && let (Some(base), Some(out)) = (inputs.first_mut(), node.outputs.first())
        {
            let wanted = op.view(&base.layout);
            let wanted = match wanted {
                None if !base.layout.is_contiguous() => {
                    let to = self.storage(device, *out, base.dtype, &base.layout.shape)?;
                    let from = std::mem::replace(base, to.clone());
                    self.push(Some((id, node)), device, Reason::View, Action::Copy { from, to });
                    op.view(&base.layout)
                }
                wanted => wanted,
            };
            if let Some(layout) = wanted {
                let dtype = target.first().map_or(base.dtype, |(d, _)| *d);
                self.places[out.0 as usize] = Some(Operand { place: base.place, dtype, layout });
                return Ok(());
            }
        }
        if op.downcast::<Concat>().is_some() && node.outputs.first().is_some_and(|v| self.is_shared(*v)) {
            return self.join((id, node), device, &inputs, &target);
        }
        let given: Vec<(DType, Layout)> = inputs.iter().map(|o| (o.dtype, o.layout.clone())).collect();
        let backend = self.backend(device);
        match choose(&*backend, &**op, &given, &target) {
            Ok(chosen) => self.kernel(position, (id, node), op, device, inputs, &target, &chosen),
            Err(reason) => {
                let mut outputs = SmallVec::new();
                for (v, (dtype, layout)) in node.outputs.iter().zip(&target) {
                    let to = self.storage(device, *v, *dtype, &layout.shape)?;
                    self.places[v.0 as usize] = Some(to.clone());
                    outputs.push(self.wanted(node, op, *v).then_some(to));
                }
                let facts: Vec<Fact> = given.iter().map(|(d, l)| Fact::fixed(*d, &l.shape)).collect();
                let action = match self.exe.written_out(op, &facts)? {
                    Some(body) => Action::Call { op: op.clone(), body, inputs, outputs },
                    None => Action::Reference { op: op.clone(), inputs, outputs },
                };
                self.push(Some((id, node)), device, reason, action);
                Ok(())
            }
        }
    }

    pub(super) fn wanted(&self, node: &Node, op: &OpRef, value: ValueId) -> bool {
        let k = node.outputs.iter().position(|v| *v == value).unwrap_or(0);
        op.visible_outputs().is_none_or(|n| k < n) || self.live.used[value.0 as usize]
    }

    /// A node that is resolved at run time.
    pub(super) fn open_node(
        &mut self,
        position: usize,
        id: NodeId,
        node: &Node,
        device: usize,
        control: bool,
    ) -> Result<()> {
        let mut inputs: SmallVec<[Operand; 4]> = SmallVec::new();
        for v in &node.inputs {
            inputs.push(self.operand(*v, device)?);
        }
        let view = node.op.class() == Class::View;
        let mut outputs: SmallVec<[Option<Operand>; 2]> = SmallVec::new();
        let mut drops: SmallVec<[usize; 2]> = smallvec![];
        for v in &node.outputs {
            if !self.wanted(node, &node.op, *v) {
                outputs.push(None);
                continue;
            }
            let fact = fixed(self.graph.fact(*v), &self.plan.bindings);
            let operand = match &fact {
                Some(Fact::Tensor(t)) if !view => {
                    let shape = t.fixed_shape().ok_or_else(|| Error::internal("a size is not known"))?;
                    self.storage(device, *v, t.dtype, &shape)?
                }
                _ => {
                    let r = self.new_register();
                    if !self.live.used[v.0 as usize] {
                        drops.push(r);
                    }
                    register(r, self.graph.fact(*v).dtype())
                }
            };
            self.facts[v.0 as usize] = fact;
            self.places[v.0 as usize] = Some(operand.clone());
            outputs.push(Some(operand));
        }
        let op = node.op.clone();
        let (reason, action) = if control {
            (Reason::Control, Action::Control { op, inputs, outputs })
        } else {
            (Reason::Kernel, Action::Dynamic { op, inputs, outputs })
        };
        self.push(Some((id, node)), device, reason, action);
        for v in &node.inputs {
            if let Some(Operand { place: Place::Register(r), .. }) = &self.places[v.0 as usize]
                && self.live.last_read[v.0 as usize] == position
                && !drops.contains(r)
            {
                drops.push(*r);
            }
        }
        if let Some(step) = self.plan.steps.last_mut() {
            step.drops = drops;
        }
        Ok(())
    }
}
