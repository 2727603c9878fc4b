use std::sync::Arc;

use lampyr_backend::{Arg, Backend, DeviceMemory, Launch, Packed, Reason, backend, reference};
use lampyr_base::{Bindings, Device, Error, Layout, Result, ResultExt, SmallVec};
use lampyr_compiler::Executable;
use lampyr_compiler::plan::{Action, Operand, Place, Plan, Request, Step};
use lampyr_ir::{Fact, HostTensor, HostValue, Op};

use super::arena::{Arenas, Budget};
use super::{TensorValue, Value};
use crate::trace;

/// One run of one plan.
pub struct Run<'a> {
    pub exe: &'a Executable,
    pub plan: &'a Plan,
    pub pool: &'a Arenas,
    pub budget: &'a mut Budget,
    pub bindings: Bindings,
    pub registers: Vec<Option<Value>>,
    /// By register: bytes counted against the budget.
    pub register_bytes: Vec<usize>,
    arenas: Vec<Arc<dyn DeviceMemory>>,
    inputs: Vec<Option<TensorValue>>,
    outputs: Vec<Arc<dyn DeviceMemory>>,
}

/// Runs `exe` with `inputs`; `outer` binds symbols of outer graphs.
pub fn execute(
    exe: &Executable,
    pool: &Arenas,
    budget: &mut Budget,
    inputs: Vec<Value>,
    donated: &[usize],
    outer: &Bindings,
) -> Result<Vec<Value>> {
    let home = backend(exe.device())?;
    let count = exe.graph().inputs().len();
    if inputs.len() != count {
        let names = exe.inputs().map(|p| format!("`{}` {}", p.name, p.fact)).collect::<Vec<_>>().join(", ");
        return Err(Error::value(format!("got {} inputs", inputs.len())).with_expected(format!("{count}: {names}")));
    }
    let mut ready = Vec::with_capacity(count);
    for (port, value) in exe.inputs().zip(inputs) {
        if !value.fits(port.fact) {
            return Err(Error::dtype(format!("input `{}` is {}", port.name, value.describe()))
                .with_expected(port.fact.to_string()));
        }
        ready.push(match value {
            Value::Tensor(t) if t.device() != home.device() || !t.layout.is_contiguous() => {
                let start = trace::now();
                let moved = t.copy_to(&*home).node(port.name)?;
                let op = if t.device() == home.device() { "copy" } else { "transfer" };
                note(op, port.name, "", home.device(), "input", start, &[&moved.layout]);
                Value::Tensor(moved)
            }
            other => other,
        });
    }
    let mut shared: Vec<usize> = donated.iter().copied().filter(|&i| i < count && unique(&ready, i)).collect();
    shared.sort_unstable();
    shared.dedup();
    let shapes = ready.iter().map(|v| v.tensor().ok().map(|t| t.layout.shape.clone())).collect();
    let plan = exe.plan(&Request { shapes, outer: exe.relevant(outer), donated: shared })?;
    let (arena_bytes, output_bytes) = (plan.arena_bytes(), plan.output_bytes());
    budget.take(arena_bytes.saturating_add(output_bytes))?;
    let mut run = Run {
        exe,
        plan: &plan,
        pool,
        budget,
        bindings: plan.bindings.clone(),
        registers: vec![None; plan.registers],
        register_bytes: vec![0; plan.registers],
        arenas: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    };
    let result = run.all(ready);
    let Run { arenas, register_bytes, budget, .. } = run;
    for arena in arenas {
        pool.give(arena);
    }
    budget.give(arena_bytes.saturating_add(output_bytes));
    budget.give(register_bytes.iter().sum());
    result
}

/// Whether no other input lies in the memory of input `i`.
fn unique(inputs: &[Value], i: usize) -> bool {
    let Some(Value::Tensor(t)) = inputs.get(i) else { return false };
    let mut alone = true;
    for (j, other) in inputs.iter().enumerate() {
        if j != i {
            other.each(&mut |o| alone &= !same(&o.memory, &t.memory));
        }
    }
    alone
}

/// Whether both handles are the same memory.
pub fn same(a: &Arc<dyn DeviceMemory>, b: &Arc<dyn DeviceMemory>) -> bool {
    Arc::as_ptr(a).cast::<u8>() == Arc::as_ptr(b).cast::<u8>()
        || (a.host_ptr().is_some() && a.host_ptr() == b.host_ptr())
}

/// Adds an event to the trace, when it is on.
pub fn note(
    op: &'static str,
    node: &str,
    kernel: &'static str,
    device: Device,
    reason: &'static str,
    start: u64,
    layouts: &[&Layout],
) {
    if trace::enabled() {
        trace::record(trace::Event {
            op,
            node: node.into(),
            kernel,
            device,
            reason,
            start_ns: start,
            duration_ns: trace::now().saturating_sub(start),
            shapes: layouts.iter().map(|l| l.shape.clone()).collect(),
            thread: 0,
        });
    }
}

impl Run<'_> {
    fn all(&mut self, inputs: Vec<Value>) -> Result<Vec<Value>> {
        for (device, arena) in self.plan.devices.iter().zip(&self.plan.arenas) {
            self.arenas.push(self.pool.take(&**device, arena.bytes)?);
        }
        for buffer in &self.plan.buffers {
            self.outputs.push(self.backend(buffer.device)?.allocate(buffer.bytes)?);
        }
        for (k, r) in &self.plan.register_inputs {
            if let (Some(value), Some(slot)) = (inputs.get(*k), self.registers.get_mut(*r)) {
                *slot = Some(value.clone());
            }
        }
        self.inputs = inputs.into_iter().map(|v| if let Value::Tensor(t) = v { Some(t) } else { None }).collect();
        for step in &self.plan.steps {
            self.step(step).node(&step.name)?;
            for r in &step.drops {
                self.drop_register(*r);
            }
        }
        self.plan.results.iter().zip(self.exe.outputs()).map(|(o, port)| self.result(o).node(port.name)).collect()
    }

    /// The backend with this index in the plan.
    pub fn backend(&self, index: usize) -> Result<&Arc<dyn Backend>> {
        self.plan.devices.get(index).ok_or_else(|| Error::internal("a plan names a device that it does not have"))
    }

    /// Forgets a register. Its bytes are free again, unless a view in another register still lies in them.
    fn drop_register(&mut self, r: usize) {
        let Some(value) = self.registers.get_mut(r).and_then(Option::take) else { return };
        let bytes = self.register_bytes.get_mut(r).map(std::mem::take).unwrap_or(0);
        if bytes > 0
            && let Value::Tensor(t) = &value
        {
            let heir = |v: &Option<Value>| matches!(v, Some(Value::Tensor(u)) if same(&t.memory, &u.memory));
            if let Some(counted) = self.registers.iter().position(heir).and_then(|i| self.register_bytes.get_mut(i)) {
                *counted += bytes;
                return;
            }
        }
        self.budget.give(bytes);
    }

    /// Whether `memory` belongs to this run and is reused after it.
    pub fn is_arena(&self, memory: &Arc<dyn DeviceMemory>) -> bool {
        self.arenas.iter().any(|a| same(a, memory))
    }

    /// The operand as an argument of a launch.
    pub fn arg<'b>(&'b self, o: &'b Operand) -> Result<Arg<'b>> {
        let lost = || Error::internal(format!("a plan names {:?}, which it does not have", o.place));
        let (memory, base) = match o.place {
            Place::Slot(i) => {
                let slot = self.plan.slots.get(i).ok_or_else(lost)?;
                (self.arenas.get(slot.device).ok_or_else(lost)?, slot.offset)
            }
            Place::Input(i) => {
                let t = self.inputs.get(i).and_then(Option::as_ref).ok_or_else(lost)?;
                (&t.memory, t.layout.offset * t.dtype.size())
            }
            Place::Constant(i) => (self.plan.constants.get(i).ok_or_else(lost)?, 0),
            Place::Output(i) => (self.outputs.get(i).ok_or_else(lost)?, 0),
            Place::Register(_) => return Ok(self.register(o)?.tensor()?.arg()),
        };
        Ok(Arg::new(memory, base, o.dtype, &o.layout))
    }

    fn register(&self, o: &Operand) -> Result<&Value> {
        let Place::Register(r) = o.place else { return Err(Error::internal("an operand is not a register")) };
        self.registers.get(r).and_then(Option::as_ref).ok_or_else(|| Error::internal(format!("register {r} is empty")))
    }

    /// The operand as a value; a tensor shares the memory of its place.
    pub fn value(&self, o: &Operand) -> Result<Value> {
        if let Place::Register(_) = o.place {
            return self.register(o).cloned();
        }
        let arg = self.arg(o)?;
        let mut layout = arg.layout.clone();
        if !arg.base.is_multiple_of(arg.dtype.size()) {
            return Err(Error::internal("an operand is not aligned for its type"));
        }
        layout.offset += arg.base / arg.dtype.size();
        Ok(Value::Tensor(TensorValue { memory: arg.memory.clone(), dtype: arg.dtype, layout }))
    }

    fn result(&self, o: &Operand) -> Result<Value> {
        let value = self.value(o)?;
        match value {
            Value::Tensor(t) => self.own(t).map(Value::Tensor),
            Value::Sequence(all) => all.into_iter().map(|t| self.own(t)).collect::<Result<_>>().map(Value::Sequence),
            other => Ok(other),
        }
    }

    /// `t`, copied out of the arena when it lies there.
    pub fn own(&self, t: TensorValue) -> Result<TensorValue> {
        if self.is_arena(&t.memory) { t.copy_to(&*backend(t.device())?) } else { Ok(t) }
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let backend = self.backend(step.device)?.clone();
        let start = if trace::enabled() { trace::now() } else { 0 };
        match &step.action {
            Action::Kernel { kernel, op, inputs, outputs, workspace, packed } => {
                let ins: SmallVec<[Arg; 4]> = inputs.iter().map(|o| self.arg(o)).collect::<Result<_>>()?;
                let outs: SmallVec<[Option<Arg>; 2]> =
                    outputs.iter().map(|o| o.as_ref().map(|o| self.arg(o)).transpose()).collect::<Result<_>>()?;
                let workspace = workspace.as_ref().map(|o| self.arg(o)).transpose()?;
                launch(&*backend, *kernel, &**op, &ins, &outs, workspace, packed)?;
                if trace::enabled() {
                    let layouts: Vec<&Layout> = ins.iter().chain(outs.iter().flatten()).map(|a| a.layout).collect();
                    note(op.name(), &step.name, kernel.name(), backend.device(), step.reason.code(), start, &layouts);
                }
            }
            Action::Copy { from, to } => {
                backend.copy(&self.arg(from)?, &self.arg(to)?)?;
                note("copy", &step.name, "", backend.device(), step.reason.code(), start, &[&to.layout]);
            }
            Action::Transfer { from, from_device, to } => {
                let source = self.backend(*from_device)?.clone();
                let host = reference::to_host(&*source, &self.arg(from)?)?;
                let target = self.arg(to)?;
                backend.upload(host.bytes(), target.memory, target.base + to.layout.offset * to.dtype.size())?;
                note("transfer", &step.name, "", backend.device(), "placement", start, &[&to.layout]);
            }
            Action::Reference { op, inputs, outputs } => {
                trace::fallback(op.name(), backend.device(), step.reason)?;
                let ins: SmallVec<[Arg; 4]> = inputs.iter().map(|o| self.arg(o)).collect::<Result<_>>()?;
                let made = reference::run(&*backend, &**op, &ins)?;
                for (o, tensor) in outputs.iter().zip(&made) {
                    if let Some(o) = o {
                        self.store(&*backend, o, tensor)?;
                    }
                }
                if trace::enabled() {
                    let layouts: Vec<&Layout> = ins.iter().map(|a| a.layout).collect();
                    let reason = step.reason.code();
                    note(op.name(), &step.name, "reference", backend.device(), reason, start, &layouts);
                }
            }
            Action::Call { op, body, inputs, outputs } => {
                let values = inputs.iter().map(|o| self.value(o)).collect::<Result<Vec<_>>>()?;
                let made = execute(body, self.pool, self.budget, values, &[], &Bindings::new())?;
                note(op.name(), &step.name, "written_out", backend.device(), step.reason.code(), start, &[]);
                self.place(step, outputs, made.into_iter().map(Some).collect())?;
            }
            Action::Bind { from, symbols } => {
                let arg = self.arg(from)?;
                let numbers = reference::to_host(&**self.backend(step.device)?, &arg)?.to_i64();
                for (symbol, k) in symbols {
                    let n = numbers.get(*k).ok_or_else(|| {
                        Error::index(format!("size {k} is read from a tensor of {} elements", numbers.len()))
                    })?;
                    self.bindings.set(symbol.clone(), *n);
                }
                note("bind", &step.name, "", backend.device(), step.reason.code(), start, &[]);
            }
            Action::Dynamic { op, inputs, outputs } => self.dynamic(step, op, inputs, outputs)?,
            Action::Control { op, inputs, outputs } => self.control(step, op, inputs, outputs)?,
        }
        Ok(())
    }

    /// Writes a host tensor to a planned place, or to a register.
    fn store(&self, backend: &dyn Backend, o: &Operand, tensor: &HostTensor) -> Result<()> {
        let target = self.arg(o)?;
        if tensor.dtype() != o.dtype || tensor.shape() != o.layout.shape.as_slice() {
            return Err(Error::internal(format!(
                "got {} where {}{:?} was inferred",
                tensor.describe(),
                o.dtype,
                o.layout.shape.as_slice()
            )));
        }
        backend.upload(tensor.bytes(), target.memory, target.base + o.layout.offset * o.dtype.size())
    }

    /// Puts the values a run-time step made where the plan wants them.
    pub fn place(&mut self, step: &Step, outputs: &[Option<Operand>], made: Vec<Option<Value>>) -> Result<()> {
        if made.len() < outputs.len() {
            return Err(Error::internal(format!("got {} outputs of {}", made.len(), outputs.len())));
        }
        for (o, value) in outputs.iter().zip(made) {
            let (Some(o), Some(value)) = (o, value) else { continue };
            if let Place::Register(r) = o.place {
                let mut fresh = 0usize;
                value.each(&mut |t| fresh += if Arc::strong_count(&t.memory) == 1 { t.memory.len() } else { 0 });
                self.budget.take(fresh)?;
                if let (Some(slot), Some(bytes)) = (self.registers.get_mut(r), self.register_bytes.get_mut(r)) {
                    *slot = Some(value);
                    *bytes += fresh;
                }
                continue;
            }
            let t = value.tensor()?;
            if t.dtype != o.dtype || t.layout.shape != o.layout.shape {
                return Err(Error::shape(format!("got {} where the graph promises another shape", value.describe()))
                    .with_expected(format!("{}{:?}", o.dtype, o.layout.shape.as_slice())));
            }
            let backend = self.backend(step.device)?;
            if t.device() == backend.device() {
                backend.copy(&t.arg(), &self.arg(o)?)?;
            } else {
                self.store(&**backend, o, &t.to_host()?)?;
            }
        }
        Ok(())
    }

    /// Binds the symbols of a node's outputs to the shapes that came out.
    pub fn learn(&mut self, step: &Step, made: &[Option<Value>]) -> Result<()> {
        let Some(id) = step.node else { return Ok(()) };
        let graph = self.exe.graph();
        for (v, value) in graph.node(id)?.outputs.iter().zip(made) {
            if let (Fact::Tensor(fact), Some(Value::Tensor(t))) = (graph.fact(*v), value) {
                self.bindings.unify(&fact.shape, &t.layout.shape)?;
            }
        }
        Ok(())
    }
}

/// Checks the operands and runs the kernel.
pub fn launch<'a>(
    backend: &'a dyn Backend,
    kernel: &'static dyn lampyr_backend::Kernel,
    op: &'a dyn Op,
    inputs: &'a [Arg<'a>],
    outputs: &'a [Option<Arg<'a>>],
    workspace: Option<Arg<'a>>,
    packed: &'a [Option<Packed>],
) -> Result<()> {
    if !inputs.iter().chain(outputs.iter().flatten()).chain(&workspace).all(Arg::in_bounds) {
        return Err(Error::internal("an operand lies outside its memory").with_op(op.name()));
    }
    backend.enqueue(kernel, &Launch { op, inputs, outputs, workspace, packed, backend }).op(op.name())
}

/// Runs the reference of `op` on values.
pub fn host(op: &dyn Op, device: Device, reason: Reason, inputs: &[Value]) -> Result<Vec<HostValue>> {
    if reason != Reason::Control {
        trace::fallback(op.name(), device, reason)?;
    }
    let values = inputs.iter().map(Value::to_host).collect::<Result<Vec<_>>>()?;
    op.reference(&values).op(op.name())
}
