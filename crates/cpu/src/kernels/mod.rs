//! The kernels of the CPU, one file per op or class of ops.

mod contraction;
mod conv;
mod conv_input_grad;
mod conv_weight_grad;
mod elements;
mod fused_contraction;
mod gemm;
mod global_average_pool;
mod image;
mod matmul;
mod max_pool;
mod nonzero;
mod number;
mod tail;
mod topk;

mod concat;
pub(crate) mod copy;
mod elementwise;
mod gather;
mod known;
mod operand;
mod set_slice;

use lampyr_backend::KernelTable;
use lampyr_ops::build::*;

/// Adds all kernels.
pub(crate) fn register(table: &mut KernelTable) {
    register_plain(table);
    contraction::register(table);
}

fn register_plain(table: &mut KernelTable) {
    lampyr_backend::kernels! { table;
        Concat => &concat::ConcatKernel;
        Constant => &known::ConstantKernel;
        Gather => &gather::GatherKernel;
        Numel => &known::NumelKernel;
        SetSlice => &set_slice::SetSliceKernel;
        ShapeOf => &known::ShapeOfKernel;
    }
    table.add_general(&elementwise::ElementwiseKernel);
}
