//! An executable resolved for concrete shapes: steps over planned memory.

mod build;
mod choose;
mod liveness;
mod regions;

pub(crate) use choose::choose;
pub(crate) use liveness::Liveness;

use std::sync::Arc;

use lampyr_backend::{Backend, DeviceMemory, Kernel, Packed, Reason};
use lampyr_base::{Bindings, DType, Device, Layout, Result, Shape, Symbol};
use lampyr_ir::{NodeId, OpRef, ValueId};
use smallvec::SmallVec;

use crate::Executable;
use crate::memory::{Assignment, Slot};

/// What a plan is made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Request {
    /// Shapes of the inputs; `None` for sequences and optionals.
    pub shapes: Vec<Option<Shape>>,
    /// Symbols of outer graphs.
    pub outer: Bindings,
    /// Inputs that may be overwritten.
    pub donated: Vec<usize>,
}

impl Request {
    /// Tensors of these shapes.
    pub fn shapes(shapes: &[&[usize]]) -> Request {
        Request { shapes: shapes.iter().map(|s| Some(Shape::from_slice(s))).collect(), ..Request::default() }
    }
}

/// Where the bytes of a value lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A slot of an arena.
    Slot(usize),
    /// The caller's memory of this input.
    Input(usize),
    /// A constant of the plan.
    Constant(usize),
    /// A buffer that outlives the run.
    Output(usize),
    /// A value whose memory or shape is known only at run time.
    Register(usize),
}

/// One operand of a step. Type and layout of a register are those it has at run time.
#[derive(Clone, Debug)]
pub struct Operand {
    /// Where it lies.
    pub place: Place,
    /// Element type.
    pub dtype: DType,
    /// Layout over the place.
    pub layout: Layout,
}

/// What a step does.
#[allow(missing_docs)]
pub enum Action {
    /// Launches a kernel.
    Kernel {
        kernel: &'static dyn Kernel,
        op: OpRef,
        inputs: SmallVec<[Operand; 4]>,
        outputs: SmallVec<[Option<Operand>; 2]>,
        workspace: Option<Operand>,
        packed: Vec<Option<Packed>>,
    },
    /// Copies elements on one device: an operand that a kernel wants contiguous, or a view that needs a copy.
    Copy { from: Operand, to: Operand },
    /// Copies elements to the step's device.
    Transfer { from: Operand, from_device: usize, to: Operand },
    /// Runs the host reference; operands stay on the step's device.
    Reference { op: OpRef, inputs: SmallVec<[Operand; 4]>, outputs: SmallVec<[Option<Operand>; 2]> },
    /// Runs the op written out with others, because the device has no kernel for it as it is.
    Call { op: OpRef, body: Arc<Executable>, inputs: SmallVec<[Operand; 4]>, outputs: SmallVec<[Option<Operand>; 2]> },
    /// Resolved at run time: shapes or attributes depend on data. Outputs of known shape have a place in the plan, the
    /// others go to registers.
    Dynamic { op: OpRef, inputs: SmallVec<[Operand; 4]>, outputs: SmallVec<[Option<Operand>; 2]> },
    /// Runs sub-graphs, or works on sequences.
    Control { op: OpRef, inputs: SmallVec<[Operand; 4]>, outputs: SmallVec<[Option<Operand>; 2]> },
    /// Reads sizes from an integer tensor.
    Bind { from: Operand, symbols: Vec<(Symbol, usize)> },
}

/// One step of a plan.
pub struct Step {
    /// The node it belongs to, where it belongs to one.
    pub node: Option<NodeId>,
    /// Name in traces.
    pub name: Arc<str>,
    /// Index into [`Plan::devices`].
    pub device: usize,
    /// Why it runs this way.
    pub reason: Reason,
    /// What it does.
    pub action: Action,
    /// Registers that nothing reads after this step.
    pub drops: SmallVec<[usize; 2]>,
}

/// A buffer made for one run.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// Index into [`Plan::devices`].
    pub device: usize,
    /// Size.
    pub bytes: usize,
}

/// Steps over planned memory, for one set of input shapes.
pub struct Plan {
    /// Devices in use; the first one is the preferred device, where inputs are expected.
    pub devices: Vec<Arc<dyn Backend>>,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// Constants that steps read.
    pub constants: Vec<Arc<dyn DeviceMemory>>,
    /// Arena slots.
    pub slots: Vec<Slot>,
    /// Values for which the slots were made first.
    pub slot_values: Vec<Option<ValueId>>,
    /// Offsets, one assignment per device.
    pub arenas: Vec<Assignment>,
    /// Buffers of outputs.
    pub buffers: Vec<Buffer>,
    /// Number of registers.
    pub registers: usize,
    /// Inputs that go to registers: sequences and optionals.
    pub register_inputs: Vec<(usize, usize)>,
    /// Where the graph outputs are at the end; registers that alias arena memory are copied.
    pub results: Vec<Operand>,
    /// Sizes known when the plan was made.
    pub bindings: Bindings,
    /// Concrete shapes by value, where known.
    pub shapes: Vec<Option<Shape>>,
}

impl Plan {
    /// Makes the plan of `executable` for `request`.
    pub fn new(executable: &Executable, request: &Request) -> Result<Plan> {
        build::Build::new(executable, request)?.run()
    }

    /// The device with this index.
    pub fn device(&self, index: usize) -> Device {
        self.devices.get(index).map_or(Device::CPU, |b| b.device())
    }

    /// Bytes of all arenas.
    pub fn arena_bytes(&self) -> usize {
        self.arenas.iter().map(|a| a.bytes).sum()
    }

    /// Bytes of all slots without sharing.
    pub fn unplanned_bytes(&self) -> usize {
        self.slots.iter().map(|s| s.bytes).sum()
    }

    /// No arena layout of these slots can be smaller.
    pub fn lower_bound_bytes(&self) -> usize {
        self.arenas.iter().map(|a| a.lower_bound).sum()
    }

    /// Bytes of the arenas when slots are placed by size alone.
    pub fn greedy_bytes(&self) -> usize {
        self.arenas.iter().map(|a| a.greedy_bytes).sum()
    }

    /// Bytes of the output buffers.
    pub fn output_bytes(&self) -> usize {
        self.buffers.iter().map(|b| b.bytes).sum()
    }
}
