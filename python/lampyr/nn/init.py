"""First values of parameters."""

from __future__ import annotations

import math
import warnings
from typing import Any

import lampyr
from lampyr import Tensor, no_grad
from lampyr.errors import InvalidValueError, ShapeError

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def _write(tensor: Tensor, values: Any) -> Tensor:
    with no_grad():
        return tensor.copy_(values)


def _random(make: Any, shape: tuple[int, ...], dtype: Any, generator: Any) -> Tensor:
    named = {} if generator is None else {"generator": generator}
    made: Tensor = make(*shape, dtype=dtype, **named) if shape else make(1, dtype=dtype, **named).reshape(())
    return made


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The recommended factor of the standard deviation for a nonlinearity."""
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        if param is not None and (isinstance(param, bool) or not isinstance(param, (int, float))):
            raise InvalidValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity == "selu":
        return 3.0 / 4
    if nonlinearity == "sigmoid" or nonlinearity.startswith(("linear", "conv")):
        return 1.0
    raise InvalidValueError(f"Unsupported nonlinearity {nonlinearity}")


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform numbers from ``a`` to ``b``."""
    values = _random(lampyr.rand, tensor.shape, tensor.dtype, generator)
    return _write(tensor, values * (b - a) + a)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normal numbers."""
    values = _random(lampyr.randn, tensor.shape, tensor.dtype, generator)
    return _write(tensor, values * std + mean)


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Any = None
) -> Tensor:
    """Normal numbers between ``a`` and ``b``, by rejection."""
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn("mean is more than 2 std from [a, b]; the distribution of values may be incorrect", stacklevel=2)
    if not a < b:
        raise InvalidValueError(f"no number lies between {a} and {b}")
    values = _random(lampyr.randn, tensor.shape, lampyr.float64, generator) * std + mean
    for _ in range(64):
        outside = lampyr.call_op("logical_or", values < a, values > b)
        if not outside.to(lampyr.int64).sum().item():
            break
        again = _random(lampyr.randn, tensor.shape, lampyr.float64, generator) * std + mean
        values = lampyr.where(outside, again, values)
    values = lampyr.where(values < a, a, lampyr.where(values > b, b, values))
    return _write(tensor, values.to(tensor.dtype))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """All elements ``val``."""
    with no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """All elements 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """All elements 0."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix."""
    if tensor.ndim != 2:
        raise ShapeError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    wide = lampyr.eye(max(rows, columns), dtype=tensor.dtype)
    return _write(tensor, wide[:rows, :columns])


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Convolution weights that pass their input through."""
    if tensor.ndim not in (3, 4, 5):
        raise ShapeError("Only tensors with 3, 4, or 5 dimensions are supported")
    if tensor.shape[0] % groups:
        raise ShapeError("dim 0 must be divisible by groups")
    per_group = tensor.shape[0] // groups
    middle = tuple(size // 2 for size in tensor.shape[2:])
    with no_grad():
        tensor.zero_()
        for g in range(groups):
            for d in range(min(per_group, tensor.shape[1])):
                tensor[(g * per_group + d, d, *middle)] = 1
    return tensor


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise ShapeError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def _fan(tensor: Tensor, mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise InvalidValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return fan_in if mode == "fan_in" else fan_out


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform numbers of variance ``gain^2 * 2 / (fan_in + fan_out)`` (Glorot and Bengio 2010)."""
    bound = gain * math.sqrt(6.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Normal numbers of variance ``gain^2 * 2 / (fan_in + fan_out)`` (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor))), generator)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Uniform numbers of variance ``gain^2 / fan`` (He et al. 2015)."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    bound = math.sqrt(3.0) * calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Normal numbers of variance ``gain^2 / fan`` (He et al. 2015)."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return normal_(tensor, 0.0, std, generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """A (semi-)orthogonal matrix times ``gain`` (Saxe et al. 2013)."""
    if tensor.ndim < 2:
        raise ShapeError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    rows, columns = tensor.shape[0], tensor.numel() // tensor.shape[0]
    flat = _random(lampyr.randn, (max(rows, columns), min(rows, columns)), lampyr.float64, generator)
    basis: list[Tensor] = []
    for i in range(flat.shape[1]):
        v = flat[:, i]
        for _ in range(2):  # The second pass removes what rounding left (Giraud et al. 2005).
            if basis:
                q = lampyr.stack(basis, 1)
                v = v - q @ (q.T @ v)
        basis.append(v / (v * v).sum().sqrt())
    q = lampyr.stack(basis, 1)
    return _write(tensor, ((q if rows >= columns else q.T) * gain).reshape(tensor.shape).to(tensor.dtype))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Normal numbers, of which a fraction ``sparsity`` of every column is 0 (Martens 2010)."""
    if tensor.ndim != 2:
        raise ShapeError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    normal_(tensor, 0, std, generator)
    for j in range(columns):
        order = _random(lampyr.rand, (rows,), lampyr.float32, generator).topk(zeros)[1].tolist() if zeros else []
        with no_grad():
            for i in order:
                tensor[i, j] = 0
    return tensor


def __getattr__(name: str) -> Any:
    made = globals().get(name + "_")
    if made is None or name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return made
