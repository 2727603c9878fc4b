use std::collections::HashMap;
use std::sync::Arc;

use lampyr_backend::{Arg, Backend, Reason, backend};
use lampyr_base::{Bindings, DType, Device, Dim, Error, ErrorKind, Layout, Result, ResultExt, Shape, num_elements};
use lampyr_ir::{AttrValue, Class, Fact, Graph, HostTensor, Node, NodeId, OpRef, TensorFact, ValueId};
use smallvec::{SmallVec, smallvec};

use super::choose::{Chosen, choose};
use super::liveness::Liveness;
use super::{Action, Buffer, Operand, Place, Plan, Request, Step};
use crate::memory::{self, Slot};
use crate::{Executable, constants};

/// When a slot is free again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// After the node at this position of the order.
    Position(usize),
    /// After this step.
    Step(usize),
}

/// A plan under construction.
pub struct Build<'a> {
    exe: &'a Executable,
    graph: &'a Graph,
    live: Liveness,
    donated: &'a [usize],
    /// By value: its fact with numbers for all sizes, where they are known.
    facts: Vec<Option<Fact>>,
    places: Vec<Option<Operand>>,
    constant_at: HashMap<(ValueId, usize), usize>,
    constant_values: Vec<Option<ValueId>>,
    moved: HashMap<(ValueId, usize), Operand>,
    slot_end: Vec<End>,
    slot_min: Vec<usize>,
    input_end: Vec<usize>,
    last_step: Vec<usize>,
    plan: Plan,
}

fn register(index: usize, dtype: DType) -> Operand {
    Operand { place: Place::Register(index), dtype, layout: Layout::contiguous(&[0]) }
}

fn symbolic(op: &OpRef) -> bool {
    op.attrs().iter().any(|(_, v)| match v {
        AttrValue::Dim(d) => d.known().is_none(),
        AttrValue::Dims(ds) => ds.iter().any(|d| d.known().is_none()),
        _ => false,
    })
}

fn fixed(fact: &Fact, bindings: &Bindings) -> Option<Fact> {
    match fact {
        Fact::Tensor(t) => {
            let dims: Option<Vec<Dim>> =
                t.shape.iter().map(|d| d.eval(bindings).filter(|n| *n >= 0).map(Dim::Known)).collect();
            Some(Fact::tensor(t.dtype, dims?))
        }
        other => Some(other.clone()),
    }
}

impl<'a> Build<'a> {
    /// Binds the inputs.
    pub fn new(exe: &'a Executable, request: &'a Request) -> Result<Build<'a>> {
        let graph = exe.graph();
        let n = graph.value_count();
        let mut build = Build {
            exe,
            graph,
            live: Liveness::of(graph, exe.order().to_vec())?,
            donated: &request.donated,
            facts: vec![None; n],
            places: vec![None; n],
            constant_at: HashMap::new(),
            constant_values: Vec::new(),
            moved: HashMap::new(),
            slot_end: Vec::new(),
            slot_min: Vec::new(),
            input_end: vec![0; graph.inputs().len()],
            last_step: Vec::new(),
            plan: Plan {
                devices: Vec::new(),
                steps: Vec::new(),
                constants: Vec::new(),
                slots: Vec::new(),
                slot_values: Vec::new(),
                arenas: Vec::new(),
                buffers: Vec::new(),
                registers: 0,
                register_inputs: Vec::new(),
                results: Vec::new(),
                bindings: request.outer.clone(),
                shapes: Vec::new(),
            },
        };
        build.device(exe.device())?;
        if request.shapes.len() != graph.inputs().len() {
            return Err(Error::value(format!("got {} inputs", request.shapes.len()))
                .with_expected(format!("{} inputs", graph.inputs().len())));
        }
        // Twice: a size like 2*n can be checked only after n has been bound by another axis.
        for _ in 0..2 {
            for (v, shape) in graph.inputs().iter().zip(&request.shapes) {
                if let (Fact::Tensor(fact), Some(shape)) = (graph.fact(*v), shape) {
                    build.plan.bindings.unify(&fact.shape, shape).node(&graph.value(*v).name)?;
                }
            }
        }
        for (k, (v, shape)) in graph.inputs().iter().zip(&request.shapes).enumerate() {
            let i = v.0 as usize;
            match (graph.fact(*v), shape) {
                (Fact::Tensor(fact), Some(shape)) => {
                    build.facts[i] = Some(Fact::fixed(fact.dtype, shape));
                    build.input_end[k] = build.live.end[i];
                    let layout = Layout::contiguous(shape);
                    build.places[i] = Some(Operand { place: Place::Input(k), dtype: fact.dtype, layout });
                }
                (fact, None) if !matches!(fact, Fact::Tensor(_)) => {
                    build.facts[i] = Some(fact.clone());
                    let r = build.new_register();
                    build.plan.register_inputs.push((k, r));
                    build.places[i] = Some(register(r, fact.dtype()));
                }
                (fact, _) => {
                    return Err(Error::dtype(format!("input `{}` is not {fact}", graph.value(*v).name)));
                }
            }
        }
        Ok(build)
    }

    /// Plans all nodes.
    pub fn run(mut self) -> Result<Plan> {
        for v in self.graph.inputs() {
            self.bind_symbols(*v)?;
        }
        for position in 0..self.live.order.len() {
            let id = self.live.order[position];
            let node = self.graph.node(id)?;
            self.node(position, id, node).op(node.op.name()).node(&node.name)?;
            for v in &node.outputs {
                self.bind_symbols(*v)?;
            }
            self.last_step.push(self.plan.steps.len().saturating_sub(1));
        }
        self.results()?;
        self.finish()
    }

    fn device(&mut self, device: Device) -> Result<usize> {
        if let Some(i) = self.plan.devices.iter().position(|b| b.device() == device) {
            return Ok(i);
        }
        self.plan.devices.push(backend(device)?);
        Ok(self.plan.devices.len() - 1)
    }

    fn backend(&self, device: usize) -> Arc<dyn Backend> {
        self.plan.devices[device].clone()
    }

    fn new_register(&mut self) -> usize {
        self.plan.registers += 1;
        self.plan.registers - 1
    }

    fn push(&mut self, node: Option<(NodeId, &Node)>, device: usize, reason: Reason, action: Action) {
        self.plan.steps.push(Step {
            node: node.map(|(id, _)| id),
            name: node.map_or("", |(_, n)| n.name.as_str()).into(),
            device,
            reason,
            action,
            drops: SmallVec::new(),
        });
    }

    fn slot(&mut self, device: usize, bytes: usize, end: End, value: Option<ValueId>) -> Place {
        let start = self.plan.steps.len();
        self.plan.slots.push(Slot { device, bytes, start, end: start, offset: 0 });
        self.plan.slot_values.push(value);
        self.slot_end.push(end);
        self.slot_min.push(start);
        Place::Slot(self.plan.slots.len() - 1)
    }

    fn bytes(dtype: DType, shape: &[usize]) -> Result<usize> {
        let too_large = || Error::shape(format!("a {dtype} tensor of shape {shape:?} is too large"));
        dtype.bytes_for(num_elements(shape)?).filter(|b| *b <= isize::MAX as usize).ok_or_else(too_large)
    }

    /// Row-major storage for `value`: an output buffer when it leaves the run, else a slot.
    fn storage(&mut self, device: usize, value: ValueId, dtype: DType, shape: &[usize]) -> Result<Operand> {
        let bytes = Self::bytes(dtype, shape)?;
        let place = if self.live.escapes[value.0 as usize] {
            self.plan.buffers.push(Buffer { device, bytes });
            Place::Output(self.plan.buffers.len() - 1)
        } else {
            self.slot(device, bytes, End::Position(self.live.end[value.0 as usize]), Some(value))
        };
        Ok(Operand { place, dtype, layout: Layout::contiguous(shape) })
    }

    fn place_device(&self, place: Place) -> Option<usize> {
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
    fn operand(&mut self, value: ValueId, device: usize) -> Result<Operand> {
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

    fn constant(&mut self, value: ValueId, device: usize) -> Result<Operand> {
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
    fn known(&self, value: ValueId) -> Option<HostTensor> {
        let Some(Fact::Tensor(fact)) = &self.facts[value.0 as usize] else { return None };
        let numbers: Vec<i64> = fact.known.as_ref()?.iter().map(Dim::known).collect::<Option<_>>()?;
        HostTensor::from_i64(fact.dtype, &fact.fixed_shape()?, &numbers).ok()
    }

    fn fact(&self, value: ValueId) -> Option<Fact> {
        match self.graph.constant(value) {
            Some(t) => Some(TensorFact::of(t).into()),
            None => self.facts[value.0 as usize].clone(),
        }
    }

    /// Binds the symbols that are read from `value`: now when its elements are known, else by a step.
    fn bind_symbols(&mut self, value: ValueId) -> Result<()> {
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

    fn node(&mut self, position: usize, id: NodeId, node: &Node) -> Result<()> {
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
    fn fixed_node(
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
        if op.class() == Class::View {
            if let (Some(base), Some(out)) = (inputs.first_mut(), node.outputs.first()) {
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
                let action = Action::Reference { op: op.clone(), inputs, outputs };
                self.push(Some((id, node)), device, reason, action);
                Ok(())
            }
        }
    }

    fn wanted(&self, node: &Node, op: &OpRef, value: ValueId) -> bool {
        let k = node.outputs.iter().position(|v| *v == value).unwrap_or(0);
        op.visible_outputs().is_none_or(|n| k < n) || self.live.used[value.0 as usize]
    }

    #[allow(clippy::too_many_arguments)]
    fn kernel(
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
        for (i, input) in inputs.iter().enumerate() {
            let Place::Constant(c) = input.place else { continue };
            let (Some(value), Some(memory)) = (self.constant_values[c], self.plan.constants.get(c)) else { continue };
            let arg = Arg::new(memory, 0, input.dtype, &input.layout);
            if let Some(p) = self.exe.constants().pack(chosen.kernel, &**op, i, value, &arg)? {
                packed.resize(inputs.len(), None);
                packed[i] = Some(p);
            }
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
        let ins: Vec<_> = inputs.iter().map(|o| lampyr_backend::ArgInfo::new(o.dtype, &o.layout)).collect();
        let outs: Vec<_> = target.iter().map(|(d, l)| lampyr_backend::ArgInfo::new(*d, l)).collect();
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
    fn reuse(
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

    /// A node that is resolved at run time.
    fn open_node(&mut self, position: usize, id: NodeId, node: &Node, device: usize, control: bool) -> Result<()> {
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

    fn results(&mut self) -> Result<()> {
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

    fn finish(mut self) -> Result<Plan> {
        let last = self.plan.steps.len().saturating_sub(1);
        for (i, slot) in self.plan.slots.iter_mut().enumerate() {
            let end = match self.slot_end[i] {
                End::Step(s) => s,
                End::Position(p) => self.last_step.get(p).copied().unwrap_or(last),
            };
            slot.end = end.max(slot.start).max(self.slot_min[i]).min(last);
        }
        for device in 0..self.plan.devices.len() {
            self.plan.arenas.push(memory::assign(&mut self.plan.slots, device));
        }
        self.plan.shapes = (self.facts.iter())
            .map(|f| f.as_ref().and_then(|f| f.as_tensor().ok()).and_then(TensorFact::fixed_shape))
            .collect();
        self.check_cap()?;
        Ok(self.plan)
    }

    fn check_cap(&self) -> Result<()> {
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
