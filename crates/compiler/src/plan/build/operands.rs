//! Where values lie: slots, buffers, constants, registers.

use std::sync::Arc;

use lampyr_backend::{Backend, Reason, backend};
use lampyr_base::{DType, Device, Dim, Error, Layout, Result, num_elements};
use lampyr_ir::{Fact, HostTensor, Node, NodeId, TensorFact, ValueId};
use lampyr_ops::build::Concat;
use lampyr_ops::common;
use smallvec::SmallVec;

use super::{Build, End};
use crate::constants;
use crate::memory::Slot;
use crate::plan::regions::part_layout;
use crate::plan::{Action, Buffer, Operand, Place, Step};

impl Build<'_> {
    pub(super) fn device(&mut self, device: Device) -> Result<usize> {
        if let Some(i) = self.plan.devices.iter().position(|b| b.device() == device) {
            return Ok(i);
        }
        self.plan.devices.push(backend(device)?);
        Ok(self.plan.devices.len() - 1)
    }

    pub(super) fn backend(&self, device: usize) -> Arc<dyn Backend> {
        self.plan.devices[device].clone()
    }

    pub(super) fn new_register(&mut self) -> usize {
        self.plan.registers += 1;
        self.plan.registers - 1
    }

    pub(super) fn push(&mut self, node: Option<(NodeId, &Node)>, device: usize, reason: Reason, action: Action) {
        self.plan.steps.push(Step {
            node: node.map(|(id, _)| id),
            name: node.map_or("", |(_, n)| n.name.as_str()).into(),
            device,
            reason,
            action,
            drops: SmallVec::new(),
        });
    }

    pub(super) fn slot(&mut self, device: usize, bytes: usize, end: End, value: Option<ValueId>) -> Place {
        let start = self.plan.steps.len();
        self.plan.slots.push(Slot { device, bytes, start, end: start, offset: 0 });
        self.plan.slot_values.push(value);
        self.slot_end.push(end);
        self.slot_min.push(start);
        Place::Slot(self.plan.slots.len() - 1)
    }

    pub(super) fn bytes(dtype: DType, shape: &[usize]) -> Result<usize> {
        let too_large = || Error::shape(format!("a {dtype} tensor of shape {shape:?} is too large"));
        dtype.bytes_for(num_elements(shape)?).filter(|b| *b <= isize::MAX as usize).ok_or_else(too_large)
    }

    /// Row-major storage for `value`: an output buffer when it leaves the run, else a slot.
    pub(super) fn storage(&mut self, device: usize, value: ValueId, dtype: DType, shape: &[usize]) -> Result<Operand> {
        if let Some(region) = self.regions.part(value) {
            let whole = self.base_storage(device, region.base, dtype)?;
            let layout = part_layout(&whole.layout, region.offset, shape);
            return Ok(Operand { place: whole.place, dtype, layout });
        }
        if self.regions.base(value).is_some() {
            return self.base_storage(device, value, dtype);
        }
        let bytes = Self::bytes(dtype, shape)?;
        let place = if self.live.escapes[value.0 as usize] {
            self.plan.buffers.push(Buffer { device, bytes });
            Place::Output(self.plan.buffers.len() - 1)
        } else {
            self.slot(device, bytes, End::Position(self.live.end[value.0 as usize]), Some(value))
        };
        Ok(Operand { place, dtype, layout: Layout::contiguous(shape) })
    }

    /// Storage of a value in which others lie; it is there from the first of them to the last reader of any.
    fn base_storage(&mut self, device: usize, value: ValueId, dtype: DType) -> Result<Operand> {
        if let Some(made) = self.bases.get(&value) {
            return Ok(made.clone());
        }
        let (shape, end) = self.regions.base(value).ok_or_else(|| Error::internal("a region without a base"))?;
        let shape = shape.clone();
        let bytes = Self::bytes(dtype, &shape)?;
        let place = if self.live.escapes[value.0 as usize] {
            self.plan.buffers.push(Buffer { device, bytes });
            Place::Output(self.plan.buffers.len() - 1)
        } else {
            self.slot(device, bytes, End::Position(end), Some(value))
        };
        let made = Operand { place, dtype, layout: Layout::contiguous(&shape) };
        self.bases.insert(value, made.clone());
        Ok(made)
    }

    /// Whether `value` lies in the storage of another value, or others lie in its own.
    pub(super) fn is_shared(&self, value: ValueId) -> bool {
        self.regions.part(value).is_some() || self.regions.base(value).is_some()
    }

    /// A concatenation whose storage its parts share: only those that lie elsewhere are copied.
    pub(super) fn join(
        &mut self,
        (id, node): (NodeId, &Node),
        device: usize,
        inputs: &[Operand],
        target: &[(DType, Layout)],
    ) -> Result<()> {
        let ([out], [(dtype, layout)]) = (node.outputs.as_slice(), target) else {
            return Err(Error::internal("a concatenation has one output"));
        };
        let whole = self.storage(device, *out, *dtype, &layout.shape)?;
        let axis = match node.op.downcast::<Concat>() {
            Some(op) => common::axis(op.axis, layout.rank())?,
            None => return Err(Error::internal("a concatenation was expected")),
        };
        let rows = layout.shape[..axis].iter().all(|d| *d == 1);
        let (mut offset, mut start) = (0, 0);
        for input in inputs {
            let count = input.layout.shape.get(axis).copied().unwrap_or(1);
            let layout = match rows {
                true => part_layout(&whole.layout, offset, &input.layout.shape),
                false => whole.layout.slice(axis, start, 1, count),
            };
            offset += layout.len();
            start += count;
            if input.place != whole.place || input.layout != layout {
                let to = Operand { place: whole.place, dtype: *dtype, layout };
                self.push(Some((id, node)), device, Reason::Kernel, Action::Copy { from: input.clone(), to });
            }
        }
        self.places[out.0 as usize] = Some(whole);
        Ok(())
    }

    pub(super) fn place_device(&self, place: Place) -> Option<usize> {
        match place {
            Place::Slot(i) => Some(self.plan.slots[i].device),
            Place::Input(_) => Some(0),
            Place::Output(i) => Some(self.plan.buffers[i].device),
            Place::Constant(i) => {
                let device = self.plan.constants[i].device();
                self.plan.devices.iter().position(|b| b.device() == device)
            }
            Place::Register(_) => None,
        }
    }

    /// The place and type of `value` on `device`, transferred there when it is elsewhere.
    pub(super) fn operand(&mut self, value: ValueId, device: usize) -> Result<Operand> {
        let i = value.0 as usize;
        let Some(operand) = self.places[i].clone() else { return self.constant(value, device) };
        let Some(from_device) = self.place_device(operand.place) else { return Ok(operand) };
        if from_device == device {
            return Ok(operand);
        }
        if let Some(moved) = self.moved.get(&(value, device)) {
            return Ok(moved.clone());
        }
        let bytes = Self::bytes(operand.dtype, &operand.layout.shape)?;
        let place = self.slot(device, bytes, End::Position(self.live.end[i]), Some(value));
        let to = Operand { place, dtype: operand.dtype, layout: Layout::contiguous(&operand.layout.shape) };
        self.push(None, device, Reason::Kernel, Action::Transfer { from: operand, from_device, to: to.clone() });
        self.moved.insert((value, device), to.clone());
        Ok(to)
    }

    pub(super) fn constant(&mut self, value: ValueId, device: usize) -> Result<Operand> {
        let backend = self.backend(device);
        let made;
        let (tensor, shared) = match self.graph.constant(value) {
            Some(t) => (t, true),
            None => {
                made = self.known(value).ok_or_else(|| Error::internal(format!("value %{} has no place", value.0)))?;
                (&made, false)
            }
        };
        let index = match self.constant_at.get(&(value, device)) {
            Some(i) => *i,
            None => {
                let memory = if shared {
                    self.exe.constants().get(&*backend, value, tensor)?
                } else {
                    constants::place(&*backend, tensor)?
                };
                self.plan.constants.push(memory);
                self.constant_values.push(shared.then_some(value));
                self.constant_at.insert((value, device), self.plan.constants.len() - 1);
                self.plan.constants.len() - 1
            }
        };
        let layout = Layout::contiguous(tensor.shape());
        Ok(Operand { place: Place::Constant(index), dtype: tensor.dtype(), layout })
    }

    /// The elements of an integer value that follow from shapes alone.
    pub(super) fn known(&self, value: ValueId) -> Option<HostTensor> {
        let Some(Fact::Tensor(fact)) = &self.facts[value.0 as usize] else { return None };
        let numbers: Vec<i64> = fact.known.as_ref()?.iter().map(Dim::known).collect::<Option<_>>()?;
        HostTensor::from_i64(fact.dtype, &fact.fixed_shape()?, &numbers).ok()
    }

    pub(super) fn fact(&self, value: ValueId) -> Option<Fact> {
        match self.graph.constant(value) {
            Some(t) => Some(TensorFact::of(t).into()),
            None => self.facts[value.0 as usize].clone(),
        }
    }

    /// Binds the symbols that are read from `value`: now when its elements are known, else by a step.
    pub(super) fn bind_symbols(&mut self, value: ValueId) -> Result<()> {
        let symbols: Vec<_> = (self.graph.symbol_sources())
            .filter(|(s, v, _)| *v == value && self.plan.bindings.get(s).is_none())
            .map(|(s, _, k)| (s.clone(), k))
            .collect();
        if symbols.is_empty() {
            return Ok(());
        }
        if let Some(known) = self.known(value) {
            let numbers = known.to_i64();
            for (s, k) in symbols {
                let n = numbers.get(k).ok_or_else(|| Error::index(format!("size {k} of {} sizes", numbers.len())))?;
                self.plan.bindings.set(s, *n);
            }
            return Ok(());
        }
        let from = match &self.places[value.0 as usize] {
            Some(operand) => operand.clone(),
            None => self.constant(value, 0)?,
        };
        if let Place::Slot(s) = from.place {
            self.slot_min[s] = self.slot_min[s].max(self.plan.steps.len());
        }
        let device = self.place_device(from.place).unwrap_or(0);
        self.push(None, device, Reason::Control, Action::Bind { from, symbols });
        Ok(())
    }
}
