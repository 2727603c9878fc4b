use lampyr_backend::{Accepts, Arg, ArgInfo, Kernel, Launch, Packed};
use lampyr_base::{Error, Result};
use lampyr_ir::Op;
use lampyr_ops::build::{Conv, FusedContraction, Gemm, Matmul};

use super::tail::Tail;
use super::{conv, gemm, matmul};

/// A contraction with a scalar expression that runs on each block of the result while it is in cache.
pub(super) struct FusedContractionKernel;

type Run = fn(&Launch, Option<&Tail>) -> Result<()>;

/// The kernel of a contraction, and how it runs with an expression behind.
fn main_kernel(op: &dyn Op) -> Option<(&'static dyn Kernel, Run)> {
    let op = op.as_any();
    if op.is::<Matmul>() {
        Some((&matmul::MatmulKernel, matmul::run))
    } else if op.is::<Gemm>() {
        Some((&gemm::GemmKernel, gemm::run))
    } else if op.is::<Conv>() {
        Some((&conv::ConvKernel, conv::run))
    } else {
        None
    }
}

fn of(op: &dyn Op) -> Option<(&FusedContraction, &'static dyn Kernel, Run)> {
    let op: &FusedContraction = op.as_any().downcast_ref()?;
    let (kernel, run) = main_kernel(&*op.main)?;
    Some((op, kernel, run))
}

impl Kernel for FusedContractionKernel {
    fn name(&self) -> &'static str {
        "fused_contraction"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], outputs: &[ArgInfo]) -> bool {
        let Some((op, kernel, _)) = of(op) else { return false };
        let split = op.main_inputs(inputs.len());
        let (Some(first), [out]) = (inputs.first(), outputs) else { return false };
        let dtypes = inputs.get(split..).unwrap_or_default().iter().map(|a| a.dtype);
        out.dtype == first.dtype
            && op.epilogue.outputs.len() == 1
            && op.epilogue.inputs.iter().copied().eq(std::iter::once(out.dtype).chain(dtypes))
            && kernel.supports(&*op.main, &inputs[..split.min(inputs.len())], outputs)
    }

    fn accepts(&self, op: &dyn Op, i: usize) -> Accepts {
        match of(op) {
            // Inputs from 2 on may be operands of the expression; all contractions take those as they are.
            Some((op, kernel, _)) if i < 2 => kernel.accepts(&*op.main, i),
            _ => Accepts::Strided,
        }
    }

    fn workspace(&self, op: &dyn Op, inputs: &[ArgInfo], outputs: &[ArgInfo]) -> usize {
        let Some((op, kernel, _)) = of(op) else { return 0 };
        kernel.workspace(&*op.main, &inputs[..op.main_inputs(inputs.len())], outputs)
    }

    fn pack(&self, op: &dyn Op, i: usize, input: &Arg) -> Option<Result<Packed>> {
        let (op, kernel, _) = of(op).filter(|_| i < 2)?;
        kernel.pack(&*op.main, i, input)
    }

    fn packs_unaligned(&self, op: &dyn Op, i: usize) -> bool {
        of(op).is_some_and(|(op, kernel, _)| kernel.packs_unaligned(&*op.main, i))
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let (op, _, run) = of(launch.op).ok_or_else(|| Error::internal("no contraction is fused here"))?;
        let split = op.main_inputs(launch.inputs.len());
        let tail = Tail::new(&op.epilogue, &launch.inputs[split..], launch.output(0)?)?;
        let main = Launch {
            op: &*op.main,
            inputs: &launch.inputs[..split],
            outputs: launch.outputs,
            workspace: launch.workspace,
            packed: &launch.packed[..split.min(launch.packed.len())],
            backend: launch.backend,
        };
        run(&main, Some(&tail))
    }
}
