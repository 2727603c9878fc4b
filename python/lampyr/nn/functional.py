"""Temporary: replaced by the table of names of the extension."""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lampyr
from lampyr import Tensor, call_op
from lampyr.nn import _functional


def linear(x: Tensor, w: Any, b: Any = None) -> Tensor:
    if x.ndim == 2 and b is not None:
        return call_op("gemm", x, w, b, trans_b=True)
    y = x @ w.T
    return y if b is None else y + b


def _t(v: Any, n: int) -> list[int]:
    return [v] * n if isinstance(v, int) else list(v)


def _conv(n: int) -> Callable[..., Tensor]:
    def f(
        x: Tensor, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> Tensor:
        if padding == "same" or x.ndim == n + 1:
            raise NotImplementedError(padding)
        p = _t(padding, n)
        args = (x, w) if b is None else (x, w, b)
        return call_op("conv", *args, strides=_t(stride, n), pads=p + p, dilations=_t(dilation, n), group=groups)

    return f


conv1d, conv2d, conv3d = _conv(1), _conv(2), _conv(3)


def max_pool2d(x: Tensor, k: Any, s: Any = None, p: Any = 0, d: Any = 1, c: bool = False, i: bool = False) -> Tensor:
    return lampyr.max_pool2d(x, k, s, p, d, c, i)


def relu(x: Tensor, inplace: bool = False) -> Tensor:
    return x.relu()


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    return x.gelu(approximate)


def softmax(x: Tensor, dim: Any = None) -> Tensor:
    return x.softmax(dim)


def log_softmax(x: Tensor, dim: Any = None) -> Tensor:
    return x.log_softmax(dim)


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return x.dropout(p, training)


def embedding(x: Tensor, w: Any, *rest: Any) -> Tensor:
    if rest:
        raise NotImplementedError("padding")
    return call_op("gather", w, x, axis=0)


def batch_norm(
    x: Tensor, m: Any, v: Any, w: Any = None, b: Any = None, t: bool = False, mo: float = 0.1, eps: float = 1e-5
) -> Tensor:
    return lampyr.batch_norm(x, m, v, w, b, t, mo, eps)


def layer_norm(x: Tensor, shape: Any, w: Any = None, b: Any = None, eps: float = 1e-5) -> Tensor:
    return call_op("layer_norm", x, *[t for t in (w, b) if t is not None], axis=-len(shape), epsilon=eps)


def scaled_dot_product_attention(
    q: Any, k: Any, v: Any, mask: Any = None, p: float = 0.0, causal: bool = False
) -> Tensor:
    return call_op("scaled_dot_product_attention", q, k, v, *([] if mask is None else [mask]), is_causal=causal)


def nll_loss(x: Tensor, t: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    return call_op(
        "nll_loss", x, t, *([] if weight is None else [weight]), ignore_index=ignore_index, reduction=reduction
    )


def cross_entropy(
    x: Tensor,
    t: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    if label_smoothing or t.is_floating_point():
        raise NotImplementedError("soft targets")
    return nll_loss(x.log_softmax(1), t, weight, ignore_index, reduction)


def mse_loss(x: Tensor, t: Any, reduction: str = "mean") -> Tensor:
    d = (x - t) * (x - t)
    return d.mean() if reduction == "mean" else d.sum() if reduction == "sum" else d


def __getattr__(name: str) -> Callable[..., Tensor]:
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*args: Any, **kwargs: Any) -> Tensor:
        raise NotImplementedError(name)

    return missing


def sigmoid(x: Tensor) -> Tensor:
    return call_op("sigmoid", x)


globals().update({name: getattr(_functional, name) for name in _functional.__all__})
