"""Second derivatives of every differentiable op of the registry, beside finite differences of the first in float64."""

import pytest

import lampyr as lp
from lampyr.autograd import gradcheck, gradgradcheck
from lampyr.nn import functional as F


def x(*shape, low=-1.5, high=1.5):
    """Numbers far from 0 and from one another, so that no kink is near."""
    count = max(lp.zeros(shape).numel(), 1)
    steps = (lp.randperm(count).double() + 0.5) / count
    made = (low + (high - low) * steps + 0.013).reshape(shape)
    return made.requires_grad_()


def op(name, **attributes):
    def call(*given):
        made = lp.call_op(name, *given, **attributes)
        return tuple(y for y in made if y.is_floating_point()) if isinstance(made, tuple) else made

    return call


def positive(*shape):
    return x(*shape, low=0.3, high=2.0)


def inside(*shape):
    return x(*shape, low=-0.8, high=0.8)


INDEX = lp.tensor([2, 0])
RNN = lp.nn.GRU(2, 2).double()
WINDOW = {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1]}
POOL = {"kernel": [2, 2], **WINDOW}

ANY = (
    "neg exp tanh erf relu gelu abs sigmoid exp2 expm1 sin cos sinh cosh asinh atan softplus logsigmoid softsign silu "
    "mish hard_sigmoid hard_swish leaky_relu elu selu celu thresholded_relu shrink tan"
).split()
POSITIVE = "log sqrt reciprocal rsqrt log2 log10 log1p".split()
INSIDE = "asin acos atanh".split()
REDUCTIONS = (
    "reduce_sum reduce_mean reduce_max reduce_min reduce_prod reduce_l1 reduce_l2 reduce_sum_square logsumexp".split()
)

CASES = {
    **{name: (op(name), lambda: [x(5)]) for name in ANY},
    **{name: (op(name), lambda: [positive(5)]) for name in POSITIVE},
    **{name: (op(name), lambda: [inside(5)]) for name in INSIDE},
    **{name: (op(name, axes=[1], keepdims=False), lambda: [x(2, 3)]) for name in REDUCTIONS},
    "acosh": (op("acosh"), lambda: [x(4, low=1.3, high=3.0)]),
    "reduce_log_sum": (op("reduce_log_sum", axes=[1], keepdims=True), lambda: [positive(2, 3)]),
    "add": (op("add"), lambda: [x(2, 3), x(3)]),
    "sub": (op("sub"), lambda: [x(2, 1), x(3)]),
    "mul": (op("mul"), lambda: [x(2, 3), x(3)]),
    "div": (op("div"), lambda: [x(2, 3), positive(3)]),
    "maximum": (op("maximum"), lambda: [x(2, 3), x(2, 3, low=-1.2)]),
    "minimum": (op("minimum"), lambda: [x(2, 3), x(3, low=-1.2)]),
    "pow": (op("pow"), lambda: [positive(3), x(3)]),
    "fmod": (op("fmod"), lambda: [x(3), positive(3) * 5]),
    "remainder": (op("remainder"), lambda: [x(3), positive(3) * 5]),
    "where": (lambda a, b: lp.where(lp.tensor([True, False, True]), a * b, b), lambda: [x(3), x(3)]),
    "prelu": (op("prelu"), lambda: [x(2, 3), x(3)]),
    "clip": (op("clip", min=-1.0, max=1.0), lambda: [x(5)]),
    "cumsum": (op("cumsum", axis=1), lambda: [x(2, 3)]),
    "cumprod": (op("cumprod", axis=1), lambda: [x(2, 3)]),
    "var": (lambda a: a.var(1), lambda: [x(2, 3)]),
    "sum_to_shape": (op("sum_to_shape", shape=[1, 3]), lambda: [x(2, 3)]),
    "matmul": (op("matmul"), lambda: [x(2, 3), x(3, 2)]),
    "gemm": (op("gemm", trans_b=True, alpha=0.5, beta=2.0), lambda: [x(2, 3), x(2, 3), x(2)]),
    "einsum": (op("einsum", equation="ij,kj->ik"), lambda: [x(2, 3), x(2, 3)]),
    "conv": (lambda a, w, b: F.conv2d(a, w, b, 2, 1), lambda: [x(1, 2, 3, 3), x(2, 2, 2, 2), x(2)]),
    "conv_input_grad": (lambda a, w: F.conv_transpose2d(a, w), lambda: [x(1, 2, 2, 2), x(2, 1, 2, 2)]),
    "conv_weight_grad": (op("conv_weight_grad", kernel=[2, 2], **WINDOW), lambda: [x(1, 2, 3, 3), x(1, 1, 2, 2)]),
    "max_pool": (lambda a: F.max_pool2d(a, 2), lambda: [x(1, 1, 4, 4)]),
    "avg_pool": (lambda a: F.avg_pool2d(a, 2), lambda: [x(1, 1, 4, 4)]),
    "lp_pool": (lambda a: F.lp_pool2d(a, 2.0, 2), lambda: [positive(1, 1, 4, 4)]),
    "global_average_pool": (op("global_average_pool"), lambda: [x(1, 2, 2, 2)]),
    "resize": (lambda a: F.interpolate(a, scale_factor=2, mode="linear"), lambda: [x(1, 1, 3)]),
    "col2im": (lambda a: F.fold(a, (3, 3), (2, 2)), lambda: [x(1, 4, 4)]),
    "depth_to_space": (lambda a: F.pixel_shuffle(a, 2), lambda: [x(1, 4, 1, 2)]),
    "space_to_depth": (op("space_to_depth", blocksize=2), lambda: [x(1, 1, 2, 4)]),
    "grid_sample": (lambda a, g: F.grid_sample(a, g, align_corners=False), lambda: [x(1, 1, 3, 3), inside(1, 2, 2, 2)]),
    "affine_grid": (lambda t: F.affine_grid(t, (1, 1, 2, 2), align_corners=True), lambda: [x(1, 2, 3)]),
    "softmax": (op("softmax", axis=1), lambda: [x(2, 3)]),
    "log_softmax": (op("log_softmax", axis=0), lambda: [x(2, 3)]),
    "layer_norm": (lambda a, w, b: F.layer_norm(a, (3,), w, b), lambda: [x(2, 3), x(3), x(3)]),
    "rms_norm": (lambda a, w: F.rms_norm(a, (3,), w), lambda: [x(2, 3), x(3)]),
    "group_norm": (lambda a, w, b: F.group_norm(a, 2, w, b), lambda: [x(1, 4, 2), x(4), x(4)]),
    "batch_norm": (
        lambda a, w, b: F.batch_norm(a, None, None, w, b, training=True),
        lambda: [x(4, 2), x(2), x(2)],
    ),
    "local_response_norm": (lambda a: F.local_response_norm(a, 2), lambda: [x(1, 3, 2)]),
    "normalize": (op("normalize", p=2, axis=1), lambda: [x(2, 3)]),
    "scaled_dot_product_attention": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        lambda: [x(1, 2, 2), x(1, 3, 2), x(1, 3, 2)],
    ),
    "rotary_embedding": (op("rotary_embedding"), lambda: [x(1, 1, 2, 4), x(1, 2, 2), x(1, 2, 2)]),
    "nll_loss": (lambda a: F.nll_loss(a, lp.tensor([1, 0])), lambda: [x(2, 3)]),
    "recurrence": (lambda a, h: RNN(a, h)[0], lambda: [x(2, 1, 2), x(1, 1, 2)]),
    "concat": (op("concat", axis=1), lambda: [x(2, 2), x(2, 1)]),
    "split": (lambda a: lp.split(a, [1, 2], 1), lambda: [x(2, 3)]),
    "tile": (lambda a: a.repeat(2, 2), lambda: [x(1, 2)]),
    "pad": (lambda a: F.pad(a, (1, 1), mode="reflect"), lambda: [x(1, 1, 3)]),
    "set_slice": (lambda a, b: lp.slice_scatter(a, b, 0, 1, 3), lambda: [x(4, 2), x(2, 2)]),
    "gather": (lambda a: a.index_select(1, INDEX), lambda: [x(2, 3)]),
    "index_add": (lambda a, b: a.index_add(0, INDEX, b), lambda: [x(3, 2), x(2, 2)]),
    "gather_elements": (lambda a: a.gather(0, lp.tensor([[1, 0], [1, 1]])), lambda: [x(2, 2)]),
    "scatter_add_elements": (lambda a, b: a.scatter_add(0, lp.tensor([[1, 0]]), b), lambda: [x(2, 2), x(1, 2)]),
    "scatter_elements": (lambda a, b: a.scatter(0, lp.tensor([[1, 0]]), b), lambda: [x(2, 2), x(1, 2)]),
    "gather_nd": (lambda a: lp.call_op("gather_nd", a, lp.tensor([[1], [0]])), lambda: [x(2, 2)]),
    "scatter_nd": (
        lambda a, b: lp.call_op("scatter_nd", a, lp.tensor([[1]]), b, reduction="none"),
        lambda: [x(2, 2), x(1, 2)],
    ),
    "topk": (lambda a: a.topk(2, 1)[0], lambda: [x(2, 3)]),
    "trilu": (lambda a: lp.tril(a), lambda: [x(3, 3)]),
    "reverse_sequence": (
        lambda a: lp.call_op("reverse_sequence", a, lp.tensor([2, 1]), batch_axis=1, time_axis=0),
        lambda: [x(2, 2)],
    ),
    "views": (
        lambda a: a.reshape(2, 6).T[1:, :1].expand(5, 3).diagonal() * a.as_strided((3,), (2,), 1),
        lambda: [x(3, 4)],
    ),
    "unfold": (lambda a: a.unfold(0, 2, 1), lambda: [x(4)]),
    "cast": (lambda a: a.float().double() * 0 + a, lambda: [x(3)]),
}


@pytest.mark.parametrize("name", CASES)
def test_first_and_second_derivatives(name):
    lp.manual_seed(11)
    call, make = CASES[name]
    inputs = [t.detach().requires_grad_() for t in make()]
    nonlinear = lambda *a: tuple(y * y for y in _outputs(call(*a)))  # noqa: E731
    assert gradcheck(nonlinear, inputs, atol=1e-4)
    assert gradgradcheck(nonlinear, inputs, atol=1e-4)


def _outputs(made):
    return tuple(made) if isinstance(made, tuple | list) else (made,)


# Without a gradient, or made only by the compiler; control ops are inlined, and the tape sees through them.
LEFT_OUT = set(
    "equal greater less not floor ceil round trunc sign less_equal greater_equal not_equal logical_and bitwise_and "
    "logical_or bitwise_or logical_xor bitwise_xor bitwise_not bitwise_left_shift bitwise_right_shift isnan isinf "
    "isfinite argmax argmin det hardmax shape_of bit_cast constant numel nonzero eye_like arange one_hot "
    "non_max_suppression unique if loop sequence_construct sequence_empty sequence_insert sequence_at sequence_length "
    "sequence_erase split_to_sequence concat_from_sequence optional optional_none optional_get_element "
    "optional_has_element dropout random_uniform random_normal adam_step sgd_step elementwise_chain fused_contraction "
    "expand transpose reshape slice flatten squeeze unsqueeze identity diagonal as_strided".split()
)
# Checked with their gradients by the cases of their op files only.
ELSEWHERE = {"resample_grad", "max_unpool", "roi_align", "roi_align_grad", "center_crop_pad", "deform_conv"} | {
    "tensor_scatter"
}


def test_every_differentiable_op_is_checked():
    names = {o.name for o in lp.ops() if o.family != "user"}
    assert names - LEFT_OUT - ELSEWHERE - set(CASES) == set()
