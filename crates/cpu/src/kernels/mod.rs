//! The kernels of the CPU, one file per op or class of ops.

mod activated;
mod affine_grid;
mod arange;
mod axis_table;
mod contraction;
mod conv;
mod conv_input_grad;
mod conv_last;
mod conv_weight_grad;
mod depthwise;
mod depthwise_last;
mod elements;
mod frames;
mod fused_contraction;
mod gemm;
mod global_average_pool;
mod grid_sample;
mod image;
mod matmul;
mod max_pool;
mod max_unpool;
mod nd;
mod nearest;
mod non_max_suppression;
mod nonzero;
mod number;
mod planes;
mod pool_last;
mod position;
mod resample;
mod roi_align;
mod rotary_embedding;
mod running;
mod scatter;
mod tail;
mod topk;
mod trilu;
mod unique;

mod attention;
mod attention_row;
mod batch_norm;
mod bit_cast;
mod concat;
pub(crate) mod copy;
mod det;
mod elementwise;
mod gather;
mod known;
mod norm_rows;
pub(crate) mod operand;
mod optim;
mod pad;
mod random;
mod recurrence;
mod reduce;
mod set_slice;
mod softmax;

use lampyr_backend::KernelTable;
use lampyr_ops::build::*;

/// Adds all kernels.
pub(crate) fn register(table: &mut KernelTable) {
    register_plain(table);
    contraction::register(table);
}

fn register_plain(table: &mut KernelTable) {
    lampyr_backend::kernels! { table;
        AffineGrid => &affine_grid::AffineGridKernel;
        AvgPool => &pool_last::PoolLastKernel;
        AvgPool => &resample::ResampleKernel;
        BatchNorm => &batch_norm::BatchNormKernel;
        BitCast => &bit_cast::BitCastKernel;
        Concat => &concat::ConcatKernel;
        Constant => &known::ConstantKernel;
        Det => &det::DetKernel;
        Dropout => &random::DropoutKernel;
        Gather => &gather::GatherKernel;
        LayerNorm => &norm_rows::LayerNormKernel;
        GridSample => &grid_sample::GridSampleKernel;
        LogSoftmax => &softmax::LogSoftmaxKernel;
        MaxUnpool => &max_unpool::MaxUnpoolKernel;
        Numel => &known::NumelKernel;
        Pad => &pad::PadKernel;
        RandomNormal => &random::NormalKernel;
        RandomUniform => &random::UniformKernel;
        Recurrence => &recurrence::RecurrenceKernel;
        ReduceMax => &reduce::ReduceKernel;
        ReduceMean => &reduce::ReduceKernel;
        ReduceMin => &reduce::ReduceKernel;
        ReduceProd => &reduce::ReduceKernel;
        ReduceSum => &reduce::ReduceKernel;
        RmsNorm => &norm_rows::RmsNormKernel;
        RotaryEmbedding => &rotary_embedding::RotaryEmbeddingKernel;
        ScaledDotProductAttention => &attention::AttentionKernel;
        ResampleGrad => &resample::ResampleKernel;
        Resize => &nearest::NearestKernel;
        Resize => &resample::ResampleKernel;
        RoiAlign => &roi_align::RoiAlignKernel;
        RoiAlignGrad => &roi_align::RoiAlignGradKernel;
        SetSlice => &set_slice::SetSliceKernel;
        ShapeOf => &known::ShapeOfKernel;
        AdamStep => &optim::StepKernel;
        SgdStep => &optim::StepKernel;
        Softmax => &softmax::SoftmaxKernel;
        SumToShape => &reduce::ReduceKernel;
    }
    table.add_general(&elementwise::ElementwiseKernel);
}
