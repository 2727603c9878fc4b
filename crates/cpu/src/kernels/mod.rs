//! The kernels of the CPU, one file per op or class of ops.

mod contraction;
mod conv;
mod conv_input_grad;
mod conv_weight_grad;
pub(crate) mod copy;
mod elementwise;
mod gemm;
mod image;
mod matmul;
mod operand;

use lampyr_backend::KernelTable;

/// Adds all kernels.
pub(crate) fn register(table: &mut KernelTable) {
    register_plain(table);
    contraction::register(table);
}

fn register_plain(table: &mut KernelTable) {
    table.add_general(&elementwise::ElementwiseKernel);
}
