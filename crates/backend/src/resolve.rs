use std::fmt;

use lampyr_ir::Op;
use lampyr_ops::registry;

use crate::{ArgInfo, Backend, Kernel, KernelTable};

/// Why a call runs the way it does; the codes are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The device has a kernel.
    Kernel,
    /// The device has no kernel for the op.
    NoKernel,
    /// The device has kernels for the op, but none for these types, shapes or attributes.
    KernelRefused,
    /// The op runs sub-graphs or works on sequences, on every device.
    Control,
    /// The op only changes the layout.
    View,
    /// The op is a user's own.
    UserOp,
}

impl Reason {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Reason::Kernel => "kernel",
            Reason::NoKernel => "no_kernel",
            Reason::KernelRefused => "kernel_refused",
            Reason::Control => "control",
            Reason::View => "view",
            Reason::UserOp => "user_op",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// How a call of an op runs on a device.
#[derive(Clone, Copy)]
pub enum Choice {
    /// By this kernel.
    Kernel(&'static dyn Kernel),
    /// Not by a kernel: by decomposition where the op has one, else by the host reference.
    Fallback(Reason),
}

/// Chooses the kernel of `backend` for a call, or says why there is none.
pub fn resolve(backend: &dyn Backend, op: &dyn Op, inputs: &[ArgInfo], outputs: &[ArgInfo]) -> Choice {
    let table = backend.kernels();
    match table.find(op, inputs, outputs) {
        Some(kernel) => Choice::Kernel(kernel),
        None => Choice::Fallback(missing(table, op)),
    }
}

/// Why no kernel of `table` does a call of `op`.
pub fn missing(table: &KernelTable, op: &dyn Op) -> Reason {
    if usize::from(op.id().0) >= registry::builtin().len() {
        Reason::UserOp
    } else if table.has_own(op.id()) {
        Reason::KernelRefused
    } else {
        Reason::NoKernel
    }
}
