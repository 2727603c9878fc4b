use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use lampyr_base::{DType, Error, Result, Shape};
use lampyr_ir::{Op, OpId};
use smallvec::SmallVec;

use crate::{Arg, ArgInfo, Backend, Dense};

/// Which strides a kernel takes for an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// Any, zero and negative ones included.
    Strided,
    /// Row-major without gaps; others are copied before the launch.
    Contiguous,
}

/// A constant operand in the form a kernel likes best, made once and shared.
#[derive(Clone)]
pub struct Packed {
    /// The kernel's own form.
    pub data: Arc<dyn Any + Send + Sync>,
    /// Bytes it takes.
    pub bytes: usize,
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({} bytes)", self.bytes)
    }
}

/// Everything a kernel gets. Shapes have been inferred and all operands lie inside their memories.
pub struct Launch<'a> {
    /// The op; attributes hold no symbols.
    pub op: &'a dyn Op,
    /// Inputs.
    pub inputs: &'a [Arg<'a>],
    /// Outputs; `None` for hidden ones nobody wants. Row-major unless they alias an input (see [`Kernel::in_place`]).
    pub outputs: &'a [Option<Arg<'a>>],
    /// As many bytes as [`Kernel::workspace`] asked for.
    pub workspace: Option<Arg<'a>>,
    /// Packed forms of inputs, where [`Kernel::pack`] made one; the plain input is given too. Empty when there is none.
    pub packed: &'a [Option<Packed>],
    /// The device it runs on.
    pub backend: &'a dyn Backend,
}

impl<'a> Launch<'a> {
    /// Output `i`.
    ///
    /// # Errors
    /// When it is hidden and not wanted.
    #[inline]
    pub fn output(&self, i: usize) -> Result<&Arg<'a>> {
        self.outputs.get(i).and_then(Option::as_ref).ok_or_else(|| Error::internal(format!("output {i} is needed")))
    }

    /// The concrete op.
    pub fn op<T: Op>(&self) -> Result<&'a T> {
        self.op
            .as_any()
            .downcast_ref()
            .ok_or_else(|| Error::internal(format!("kernel launched for op `{}`", self.op.name())))
    }
}

/// One implementation of one op (or of a class of ops) on one device.
pub trait Kernel: Send + Sync {
    /// Name in traces and reports.
    fn name(&self) -> &'static str;

    /// Whether it can do this call. Output layouts are row-major.
    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], outputs: &[ArgInfo]) -> bool;

    /// Which strides it takes for input `i`.
    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Contiguous
    }

    /// Bytes of workspace it needs; a kernel does not allocate.
    fn workspace(&self, _op: &dyn Op, _inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> usize {
        0
    }

    /// Whether output `output` may lie exactly where input `input` (of equal shape, strides and element size) lies.
    fn in_place(&self, _op: &dyn Op, _input: usize, _output: usize) -> bool {
        false
    }

    /// Output shapes that depend on the elements of the inputs; `None` when inference told them already.
    fn measure(&self, _backend: &dyn Backend, _op: &dyn Op, _inputs: &[Arg]) -> Option<Result<SmallVec<[Shape; 2]>>> {
        None
    }

    /// The packed form of the constant input `i`, when the kernel has one.
    fn pack(&self, _op: &dyn Op, _i: usize, _input: &Arg) -> Option<Result<Packed>> {
        None
    }

    /// Whether [`Kernel::pack`] reads input `i` wherever it lies, aligned for its type or not.
    fn packs_unaligned(&self, _op: &dyn Op, _i: usize) -> bool {
        false
    }

    /// Whether [`Kernel::launch`] reads input `i` wherever it lies, aligned for its type or not.
    fn reads_unaligned(&self, _op: &dyn Op, _i: usize) -> bool {
        false
    }

    /// The function of an elementwise `op` over operands of type `dtype`, where a call needs nothing else.
    fn direct(&self, _op: &dyn Op, _dtype: DType) -> Option<&'static dyn Direct> {
        None
    }

    /// Runs it.
    fn launch(&self, launch: &Launch) -> Result<()>;
}

/// A function of row-major operands of one dtype, looked up once and called without a [`Launch`].
pub trait Direct: Send + Sync {
    /// Element type of the output.
    fn output(&self) -> DType;

    /// Writes the function of `inputs`, which have the shape of the output or one element, to `output`, fresh memory of
    /// its own. False, with nothing done, when the operands are not of that kind.
    fn run(&self, inputs: &[Arg], output: &Arg) -> bool;

    /// As [`Direct::run`] for operands of the same number of elements and of the types that this was looked up for, on
    /// the calling thread.
    fn run_dense(&self, inputs: &[Dense], output: Dense) -> bool;
}

/// The kernels of one device, by op id; several per op, best first.
#[derive(Default)]
pub struct KernelTable {
    by_op: Vec<SmallVec<[&'static dyn Kernel; 2]>>,
    general: Vec<&'static dyn Kernel>,
    direct: OnceLock<Box<[Slot]>>,
}

/// What is known of one op and dtype.
type Slot = OnceLock<Option<&'static dyn Direct>>;

impl KernelTable {
    /// No kernels.
    pub fn new() -> KernelTable {
        KernelTable::default()
    }

    /// Adds a kernel for `op`, behind those added before.
    pub fn add(&mut self, op: OpId, kernel: &'static dyn Kernel) {
        let i = op.0 as usize;
        if self.by_op.len() <= i {
            self.by_op.resize_with(i + 1, SmallVec::new);
        }
        self.by_op[i].push(kernel);
    }

    /// Adds a kernel for all ops that it supports (a whole class), tried after those of the op itself.
    pub fn add_general(&mut self, kernel: &'static dyn Kernel) {
        self.general.push(kernel);
    }

    /// The kernels to try for `op`, best first.
    #[inline]
    pub fn candidates(&self, op: OpId) -> impl Iterator<Item = &'static dyn Kernel> + '_ {
        self.by_op.get(op.0 as usize).into_iter().flatten().chain(&self.general).copied()
    }

    /// The direct function of the best kernel of a built-in op, if it has one.
    #[inline]
    pub fn direct(&self, op: &dyn Op, dtype: DType) -> Option<&'static dyn Direct> {
        const TYPES: usize = DType::ALL.len();
        let slots = self.direct.get_or_init(|| {
            let count = lampyr_ops::registry::builtin().len() * TYPES;
            (0..count).map(|_| Slot::new()).collect()
        });
        let slot = slots.get(op.id().0 as usize * TYPES + dtype as usize)?;
        *slot.get_or_init(|| self.candidates(op.id()).next()?.direct(op, dtype))
    }

    /// Whether a kernel was added for `op` itself.
    pub fn has_own(&self, op: OpId) -> bool {
        self.by_op.get(op.0 as usize).is_some_and(|list| !list.is_empty())
    }

    /// The first kernel that can do this call.
    #[inline]
    pub fn find(&self, op: &dyn Op, inputs: &[ArgInfo], outputs: &[ArgInfo]) -> Option<&'static dyn Kernel> {
        self.candidates(op.id()).find(|k| k.supports(op, inputs, outputs))
    }
}

impl fmt::Debug for KernelTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: usize = self.by_op.iter().map(SmallVec::len).sum();
        write!(f, "KernelTable({count} for single ops, {} general)", self.general.len())
    }
}

/// Adds kernels to a table, one line each: `kernels! { table; MatMul => &MatMulKernel; ... }`.
#[macro_export]
macro_rules! kernels {
    ($table:expr; $($op:ty => $kernel:expr;)*) => {
        $( $table.add(<$op as $crate::__Listed>::ID, $kernel); )*
    };
}
