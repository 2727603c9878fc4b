//! The op library: one file and one line per op. `ops!` below is the registry; everything else about an op is in its
//! file.

pub mod activations;
mod bodies;
mod cases;
pub mod channels_last;
pub mod common;
mod extremes;
pub mod gradient;
mod loops;
#[macro_use]
mod macros;
mod onnx_attention;
pub mod onnx_broadcast;
mod onnx_fourier;
mod onnx_recurrent;
mod onnx_state;
mod onnx_tables;
mod pattern_attention;
mod pattern_norms;
mod pattern_rotary;
mod patterns;
pub mod philox;
pub mod positions;
pub mod registry;
mod resizing;
mod running;
pub mod sample;
mod sampling;
mod scans;
pub mod scatter;
mod strided;
pub mod window;

ops! {
    /// Element by element, with broadcasting.
    elementwise {
        add: Add,
        sub: Sub,
        mul: Mul,
        div: Div,
        neg: Neg,
        exp: Exp,
        log: Log,
        sqrt: Sqrt,
        tanh: Tanh,
        erf: Erf,
        relu: Relu,
        gelu: Gelu,
        select_where: Where,
        cast: Cast,
        equal: Equal,
        greater: Greater,
        less: Less,
        not: Not,
        floor: Floor,
        ceil: Ceil,
        round: Round,
        trunc: Trunc,
        abs: Abs,
        sign: Sign,
        reciprocal: Reciprocal,
        rsqrt: Rsqrt,
        sigmoid: Sigmoid,
        exp2: Exp2,
        expm1: Expm1,
        log2: Log2,
        log10: Log10,
        log1p: Log1p,
        sin: Sin,
        cos: Cos,
        tan: Tan,
        asin: Asin,
        acos: Acos,
        atan: Atan,
        sinh: Sinh,
        cosh: Cosh,
        asinh: Asinh,
        acosh: Acosh,
        atanh: Atanh,
        softplus: Softplus,
        logsigmoid: LogSigmoid,
        softsign: Softsign,
        silu: Silu,
        mish: Mish,
        hard_sigmoid: HardSigmoid,
        hard_swish: HardSwish,
        leaky_relu: LeakyRelu,
        elu: Elu,
        selu: Selu,
        celu: Celu,
        thresholded_relu: ThresholdedRelu,
        shrink: Shrink,
        prelu: Prelu,
        clip: Clip,
        maximum: Maximum,
        minimum: Minimum,
        pow: Pow,
        fmod: Fmod,
        remainder: Remainder,
        less_equal: LessEqual,
        greater_equal: GreaterEqual,
        not_equal: NotEqual,
        logical_and: LogicalAnd,
        bitwise_and: BitwiseAnd,
        logical_or: LogicalOr,
        bitwise_or: BitwiseOr,
        logical_xor: LogicalXor,
        bitwise_xor: BitwiseXor,
        bitwise_not: BitwiseNot,
        bitwise_left_shift: BitwiseLeftShift,
        bitwise_right_shift: BitwiseRightShift,
        isnan: IsNan,
        isinf: IsInf,
        isfinite: IsFinite,
    }

    /// Axes folded away.
    reduce {
        sum_to_shape: SumToShape,
        reduce_sum: ReduceSum,
        reduce_mean: ReduceMean,
        reduce_max: ReduceMax,
        reduce_min: ReduceMin,
        reduce_prod: ReduceProd,
        reduce_l1: ReduceL1,
        reduce_l2: ReduceL2,
        reduce_log_sum: ReduceLogSum,
        reduce_sum_square: ReduceSumSquare,
        logsumexp: Logsumexp,
        argmax: Argmax,
        argmin: Argmin,
        cumsum: Cumsum,
        cumprod: Cumprod,
        variance: Variance,
    }

    /// Matrix products.
    linalg {
        matmul: Matmul,
        gemm: Gemm,
        einsum: Einsum,
        det: Det,
    }

    /// Convolution and pooling.
    conv {
        conv: Conv,
        conv_input_grad: ConvInputGrad,
        conv_weight_grad: ConvWeightGrad,
        max_pool: MaxPool,
        global_average_pool: GlobalAveragePool,
        avg_pool: AvgPool,
        resample_grad: ResampleGrad,
        resize: Resize,
        lp_pool: LpPool,
        max_unpool: MaxUnpool,
        col2im: Col2im,
    }

    /// Images: regions, points and blocks.
    vision {
        depth_to_space: DepthToSpace,
        space_to_depth: SpaceToDepth,
        roi_align: RoiAlign,
        roi_align_grad: RoiAlignGrad,
        grid_sample: GridSample,
        affine_grid: AffineGrid,
        center_crop_pad: CenterCropPad,
        deform_conv: DeformConv,
    }

    /// Normalisation.
    norm {
        softmax: Softmax,
        log_softmax: LogSoftmax,
        hardmax: Hardmax,
        batch_norm: BatchNorm,
        layer_norm: LayerNorm,
        rms_norm: RmsNorm,
        group_norm: GroupNorm,
        local_response_norm: LocalResponseNorm,
        normalize: Normalize,
    }

    /// Attention.
    attention {
        scaled_dot_product_attention: ScaledDotProductAttention,
        rotary_embedding: RotaryEmbedding,
    }

    /// Losses.
    loss {
        nll_loss: NllLoss,
    }

    /// Recurrent layers.
    rnn {
        recurrence: Recurrence,
    }

    /// Shapes and views.
    shape {
        expand: Expand,
        transpose: Transpose,
        reshape: Reshape,
        slice: Slice,
        set_slice: SetSlice,
        concat: Concat,
        shape_of: ShapeOf,
        flatten: Flatten,
        squeeze: Squeeze,
        unsqueeze: Unsqueeze,
        identity: Identity,
        bit_cast: BitCast,
        constant: Constant,
        numel: Numel,
        split: Split,
        tile: Tile,
        pad: Pad,
        unfold: Unfold,
        diagonal: Diagonal,
        as_strided: AsStrided,
    }

    /// Picking and placing elements.
    index {
        gather: Gather,
        index_add: IndexAdd,
        gather_elements: GatherElements,
        scatter_add_elements: ScatterAddElements,
        nonzero: Nonzero,
        topk: Topk,
        gather_nd: GatherNd,
        scatter_nd: ScatterNd,
        scatter_elements: ScatterElements,
        trilu: Trilu,
        eye_like: EyeLike,
        arange: Arange,
        one_hot: OneHot,
        non_max_suppression: NonMaxSuppression,
        reverse_sequence: ReverseSequence,
        tensor_scatter: TensorScatter,
        unique: Unique,
    }

    /// Sub-graphs and sequences.
    control {
        if_: If,
        loop_: Loop,
        sequence_construct: SequenceConstruct,
        sequence_empty: SequenceEmpty,
        sequence_insert: SequenceInsert,
        sequence_at: SequenceAt,
        sequence_length: SequenceLength,
        sequence_erase: SequenceErase,
        split_to_sequence: SplitToSequence,
        concat_from_sequence: ConcatFromSequence,
        optional: Optional,
        optional_none: OptionalNone,
        optional_get_element: OptionalGetElement,
        optional_has_element: OptionalHasElement,
    }

    /// Random numbers.
    random {
        dropout: Dropout,
        random_uniform: RandomUniform,
        random_normal: RandomNormal,
    }

    /// Steps of optimisers.
    optim {
        adam_step: AdamStep,
        sgd_step: SgdStep,
    }

    /// Ops that the compiler makes; each carries the plain ops it stands for.
    fused {
        elementwise_chain: ElementwiseChain,
        fused_contraction: FusedContraction,
    }
}
