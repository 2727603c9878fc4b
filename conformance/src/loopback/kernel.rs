use lampyr_backend::{Accepts, Arg, ArgInfo, Kernel, KernelTable, Launch};
use lampyr_base::{Error, Result};
use lampyr_ir::{HostTensor, HostValue, Op};
use lampyr_ops::registry;

/// The ops this device has kernels for; the rest falls back, which is what the device is there to show.
const OPS: &[&str] = &[
    "add",
    "sub",
    "mul",
    "div",
    "exp",
    "tanh",
    "relu",
    "where",
    "cast",
    "equal",
    "greater",
    "matmul",
    "conv",
    "max_pool",
    "reduce_sum",
    "reduce_mean",
    "softmax",
    "concat",
    "gather",
    "sum_to_shape",
    "set_slice",
];

struct Plain;

static PLAIN: Plain = Plain;

pub fn table() -> KernelTable {
    let mut table = KernelTable::new();
    for entry in registry::builtin().iter().filter(|e| OPS.contains(&e.name)) {
        table.add(entry.id, &PLAIN);
    }
    table
}

/// The elements of `arg`; only for memory as the device itself sees it.
pub fn read(arg: &Arg) -> Result<HostTensor> {
    let start = arg.host_ptr().ok_or_else(|| Error::device("this memory is not the device's own"))?;
    let size = arg.dtype.size();
    let offset = arg.layout.offset as isize;
    HostTensor::build(arg.dtype, arg.shape(), |to| {
        for (to, i) in to.chunks_exact_mut(size).zip(arg.layout.indices()) {
            // SAFETY: `owned` checked that the layout lies inside the memory, which lives during the launch.
            let from = unsafe { std::slice::from_raw_parts(start.offset((i as isize - offset) * size as isize), size) };
            to.copy_from_slice(from);
        }
    })
}

/// Writes `value` to `arg`.
pub fn write(arg: &Arg, value: &HostTensor) -> Result<()> {
    let start = arg.host_ptr().ok_or_else(|| Error::device("this memory is not the device's own"))?;
    if value.dtype() != arg.dtype || value.shape() != arg.shape().as_slice() {
        return Err(Error::internal(format!("{} does not fit {}{:?}", value.describe(), arg.dtype, arg.shape())));
    }
    let size = arg.dtype.size();
    let offset = arg.layout.offset as isize;
    for (from, i) in value.bytes().chunks_exact(size).zip(arg.layout.indices()) {
        // SAFETY: as in `read`; the queue runs one command at a time, so nothing else touches the memory.
        unsafe {
            std::ptr::copy_nonoverlapping(from.as_ptr(), start.offset((i as isize - offset) * size as isize), size);
        }
    }
    Ok(())
}

impl Kernel for Plain {
    fn name(&self) -> &'static str {
        "loopback_plain"
    }

    fn supports(&self, _op: &dyn Op, _inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        true
    }

    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Strided
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let inputs = launch.inputs.iter().map(|a| read(a).map(HostValue::Tensor)).collect::<Result<Vec<_>>>()?;
        let made = launch.op.reference(&inputs)?;
        for (value, out) in made.iter().zip(launch.outputs) {
            if let Some(out) = out {
                write(out, value.tensor()?)?;
            }
        }
        Ok(())
    }
}
