//! Outputs, offsets and the cap.

use lampyr_backend::Reason;
use lampyr_base::{Error, ErrorKind, Layout, Result};
use lampyr_ir::TensorFact;

use super::{Build, End};
use crate::memory;
use crate::plan::{Action, Buffer, Operand, Place, Plan};

impl Build<'_> {
    pub(super) fn results(&mut self) -> Result<()> {
        for v in self.graph.outputs() {
            let operand = match &self.places[v.0 as usize] {
                Some(operand) => operand.clone(),
                None => self.constant(*v, 0)?,
            };
            let operand = match operand.place {
                Place::Slot(_) | Place::Constant(_) => {
                    let device = self.place_device(operand.place).unwrap_or(0);
                    let bytes = Self::bytes(operand.dtype, &operand.layout.shape)?;
                    self.plan.buffers.push(Buffer { device, bytes });
                    let place = Place::Output(self.plan.buffers.len() - 1);
                    let layout = Layout::contiguous(&operand.layout.shape);
                    let to = Operand { place, dtype: operand.dtype, layout };
                    self.push(None, device, Reason::Kernel, Action::Copy { from: operand, to: to.clone() });
                    to
                }
                _ => operand,
            };
            self.plan.results.push(operand);
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Plan> {
        let last = self.plan.steps.len().saturating_sub(1);
        for (i, slot) in self.plan.slots.iter_mut().enumerate() {
            let end = match self.slot_end[i] {
                End::Step(s) => s,
                End::Position(p) => self.last_step.get(p).copied().unwrap_or(last),
            };
            slot.end = end.max(slot.start).max(self.slot_min[i]).min(last);
        }
        for device in 0..self.plan.devices.len() {
            let hint = self.exe.slot_order(device);
            let (arena, order) = memory::assign_from(&mut self.plan.slots, device, &hint);
            self.plan.arenas.push(arena);
            self.exe.keep_slot_order(device, order);
        }
        self.plan.shapes = (self.facts.iter())
            .map(|f| f.as_ref().and_then(|f| f.as_tensor().ok()).and_then(TensorFact::fixed_shape))
            .collect();
        self.check_cap()?;
        Ok(self.plan)
    }

    pub(super) fn check_cap(&self) -> Result<()> {
        let Some(cap) = self.exe.options().memory_cap else { return Ok(()) };
        let need = self.plan.arena_bytes().saturating_add(self.plan.output_bytes());
        if need <= cap {
            return Ok(());
        }
        let peak = self.plan.arenas.iter().max_by_key(|a| a.lower_bound).map_or(0, |a| a.peak_step);
        let step = self.plan.steps.get(peak).map_or("", |s| &*s.name);
        let mut live: Vec<_> =
            self.plan.slots.iter().enumerate().filter(|(_, s)| s.start <= peak && peak <= s.end).collect();
        live.sort_by_key(|(_, s)| std::cmp::Reverse(s.bytes));
        let largest = (live.iter().take(4))
            .map(|(i, s)| {
                let name = self.plan.slot_values[*i].map_or("workspace", |v| &self.graph.value(v).name);
                format!("`{name}` {} bytes", s.bytes)
            })
            .collect::<Vec<_>>()
            .join(", ");
        let kind = ErrorKind::OutOfMemory { requested: need, active: 0, limit: Some(cap) };
        let message = format!(
            "this run needs {need} bytes ({} arena, {} outputs), the cap is {cap}; the peak is at step {peak} with {largest}",
            self.plan.arena_bytes(),
            self.plan.output_bytes(),
        );
        Err(Error::new(kind, message).with_node(step).with_help("raise the cap or use a smaller batch"))
    }
}
