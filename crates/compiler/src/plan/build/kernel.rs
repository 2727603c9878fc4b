//! Launches of kernels: copies of operands, packed weights, workspace, outputs in place.

use lampyr_backend::{Arg, ArgInfo, Reason};
use lampyr_base::{DType, DeviceKind, Layout, Result};
use lampyr_ir::{HostTensor, Node, NodeId, OpRef, ValueId};
use lampyr_ops::build::{Conv, FusedContraction, Gemm, Matmul};
use smallvec::SmallVec;

use super::{Build, End};
use crate::constants;
use crate::plan::choose::Chosen;
use crate::plan::{Action, Operand, Place};

/// Whether a kernel with a packed form of input `i` leaves the input itself alone.
fn reads_packed_only(op: &OpRef, i: usize, target: &[(DType, Layout)]) -> bool {
    let main = op.downcast::<FusedContraction>().map_or(op, |f| &f.main);
    let positions = target.first().and_then(|(_, y)| y.shape.get(2..)).map_or(0, |d| d.iter().product::<usize>());
    // Grouped convolutions and those of a single position have ways that read plain weights.
    let whole = main.downcast::<Conv>().is_some_and(|c| c.group == 1 && positions > 1);
    i == 1 && (whole || main.downcast::<Matmul>().is_some() || main.downcast::<Gemm>().is_some())
}

impl Build<'_> {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn kernel(
        &mut self,
        position: usize,
        (id, node): (NodeId, &Node),
        op: &OpRef,
        device: usize,
        mut inputs: SmallVec<[Operand; 4]>,
        target: &[(DType, Layout)],
        chosen: &Chosen,
    ) -> Result<()> {
        let copies = chosen.copies.iter().filter(|c| **c).count();
        for (input, _) in inputs.iter_mut().zip(&chosen.copies).filter(|(_, copy)| **copy) {
            let bytes = Self::bytes(input.dtype, &input.layout.shape)?;
            let place = self.slot(device, bytes, End::Step(self.plan.steps.len() + copies), None);
            let to = Operand { place, dtype: input.dtype, layout: Layout::contiguous(&input.layout.shape) };
            let from = std::mem::replace(input, to.clone());
            self.push(Some((id, node)), device, Reason::Kernel, Action::Copy { from, to });
        }
        let backend = self.backend(device);
        let mut packed = Vec::new();
        let mut lying = Vec::new();
        for (i, input) in inputs.iter().enumerate() {
            let Place::Constant(c) = input.place else { continue };
            let (Some(value), Some(memory)) = (self.constant_values[c], self.plan.constants.get(c)) else { continue };
            let host = backend.device().kind == DeviceKind::Cpu;
            let anywhere = |plain: &HostTensor| host && !plain.is_aligned();
            if let Some(plain) = self.graph.constant(value).filter(|plain| anywhere(plain))
                && chosen.kernel.reads_unaligned(&**op, i)
            {
                lying.push((i, constants::as_it_lies(plain)));
                continue;
            }
            // The address that packing asks for may be that of a copy, which goes right after.
            let own = match self.graph.constant(value) {
                Some(plain) if anywhere(plain) && chosen.kernel.packs_unaligned(&**op, i) => {
                    Some(constants::as_it_lies(plain))
                }
                Some(plain) if !plain.is_aligned() => Some(constants::place(&*backend, plain)?),
                _ => None,
            };
            let arg = Arg::new(own.as_ref().unwrap_or(memory), 0, input.dtype, &input.layout);
            if let Some(p) = self.exe.constants().pack(chosen.kernel, &**op, i, value, &arg)? {
                if let Some(plain) = self.graph.constant(value).filter(|_| reads_packed_only(op, i, target)) {
                    plain.release();
                    if own.is_some() {
                        lying.push((i, constants::as_it_lies(plain)));
                    }
                }
                packed.resize(inputs.len(), None);
                packed[i] = Some(p);
            }
        }
        for (i, memory) in lying {
            self.plan.constants.push(memory);
            self.constant_values.push(None);
            inputs[i].place = Place::Constant(self.plan.constants.len() - 1);
        }
        let mut outputs: SmallVec<[Option<Operand>; 2]> = SmallVec::new();
        for (k, (v, (dtype, layout))) in node.outputs.iter().zip(target).enumerate() {
            if !self.wanted(node, op, *v) {
                outputs.push(None);
                continue;
            }
            let to = match self.reuse(position, op, chosen, k, *v, *dtype, layout, &inputs, &outputs) {
                Some(operand) => operand,
                None => self.storage(device, *v, *dtype, &layout.shape)?,
            };
            self.places[v.0 as usize] = Some(to.clone());
            outputs.push(Some(to));
        }
        let is_packed = |i: usize| packed.get(i).is_some_and(Option::is_some);
        let ins: Vec<_> = (inputs.iter().enumerate())
            .map(|(i, o)| ArgInfo { packed: is_packed(i), ..ArgInfo::new(o.dtype, &o.layout) })
            .collect();
        let outs: Vec<_> = target.iter().map(|(d, l)| ArgInfo::new(*d, l)).collect();
        let scratch = chosen.kernel.workspace(&**op, &ins, &outs);
        let workspace = (scratch > 0).then(|| Operand {
            place: self.slot(device, scratch, End::Step(self.plan.steps.len()), None),
            dtype: DType::U8,
            layout: Layout::contiguous(&[scratch]),
        });
        drop(backend);
        let action = Action::Kernel { kernel: chosen.kernel, op: op.clone(), inputs, outputs, workspace, packed };
        self.push(Some((id, node)), device, Reason::Kernel, action);
        Ok(())
    }

    /// The storage of an input that dies here, when the kernel may write output `k` over it.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn reuse(
        &mut self,
        position: usize,
        op: &OpRef,
        chosen: &Chosen,
        k: usize,
        value: ValueId,
        dtype: DType,
        layout: &Layout,
        inputs: &[Operand],
        outputs: &[Option<Operand>],
    ) -> Option<Operand> {
        let bytes = dtype.bytes_for(layout.len())?;
        if self.is_shared(value) {
            return None;
        }
        for (i, input) in inputs.iter().enumerate() {
            let dies = match input.place {
                Place::Slot(s) => {
                    self.slot_end[s] == End::Position(position)
                        && self.plan.slots[s].bytes == bytes
                        && !self.live.escapes[value.0 as usize]
                }
                Place::Input(n) => self.donated.contains(&n) && self.input_end[n] == position,
                _ => false,
            };
            let fits = input.layout.shape == layout.shape
                && input.layout.offset == 0
                && input.layout.is_contiguous()
                && input.dtype.size() == dtype.size();
            let alone = inputs.iter().enumerate().all(|(j, other)| {
                other.place != input.place || (other.layout == input.layout && chosen.kernel.in_place(&**op, j, k))
            });
            let free = !outputs.iter().flatten().any(|o| o.place == input.place);
            if dies && fits && alone && free && chosen.kernel.in_place(&**op, i, k) {
                let end = self.live.end[value.0 as usize].max(position);
                match input.place {
                    Place::Slot(s) => self.slot_end[s] = End::Position(end),
                    Place::Input(n) => self.input_end[n] = end,
                    _ => {}
                }
                return Some(Operand { place: input.place, dtype, layout: layout.clone() });
            }
        }
        None
    }
}
