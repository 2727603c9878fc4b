"""Values of torch as values of Lampyr and back: tensors keep strides, sharing and ``requires_grad``."""

from __future__ import annotations

from typing import Any

import torch

import lampyr


class Unrepresentable(Exception):
    """A value that Lampyr has no counterpart of: the sample says nothing about it."""


def named(value: Any) -> Any:
    """The object of Lampyr that has the name of an object of torch: `torch.float32`, `torch.strided`, ..."""
    name = str(value).removeprefix("torch.")
    try:
        return getattr(lampyr, name)
    except AttributeError:
        raise Unrepresentable(str(value)) from None


def storage_copy(tensor: torch.Tensor) -> torch.Tensor:
    """A copy with the same strides, also where elements share memory."""
    tensor = tensor.detach().resolve_neg().resolve_conj()
    if tensor.numel() == 0:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.as_strided((extent,), (1,)).clone().as_strided(tensor.shape, tensor.stride())


def tensor_to_lampyr(tensor: torch.Tensor) -> Any:
    """The same tensor in memory of its own."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise Unrepresentable(f"{tensor.layout} on {tensor.device}")
    named(tensor.dtype)
    ours = lampyr.from_dlpack(storage_copy(tensor))
    return ours.requires_grad_() if tensor.requires_grad else ours


def to_lampyr(value: Any, memo: dict[int, Any] | None = None) -> Any:
    """A value, or one built of such values; a tensor that occurs twice stays one tensor."""
    memo = {} if memo is None else memo
    if isinstance(value, torch.Tensor):
        if id(value) not in memo:
            memo[id(value)] = tensor_to_lampyr(value)
        return memo[id(value)]
    if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
        return named(value)
    if isinstance(value, torch.device):
        return lampyr.device(str(value))
    if isinstance(value, torch.Generator):
        raise Unrepresentable("a generator of torch")
    if isinstance(value, dict):
        return {key: to_lampyr(item, memo) for key, item in value.items()}
    if isinstance(value, list):
        return [to_lampyr(item, memo) for item in value]
    if isinstance(value, tuple):
        return tuple(to_lampyr(item, memo) for item in value)
    if isinstance(value, slice):
        return slice(*(to_lampyr(item, memo) for item in (value.start, value.stop, value.step)))
    if value is None or value is Ellipsis or isinstance(value, bool | int | float | complex | str):
        return value
    if callable(value):
        from conformance.parity.translate import translate

        return translate(value)
    raise Unrepresentable(type(value).__name__)


def to_torch(value: Any) -> Any:
    """A result of Lampyr as one of torch."""
    if isinstance(value, lampyr.Tensor):
        return torch.from_dlpack(value.detach()) if value.numel() else empty(value)
    if isinstance(value, dict):
        return {key: to_torch(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_torch(item) for item in value]
    if isinstance(value, lampyr.dtype):
        return getattr(torch, value.name)
    return value


def empty(tensor: Any) -> torch.Tensor:
    return torch.empty(tuple(tensor.shape), dtype=getattr(torch, tensor.dtype.name))


def tensors(value: Any, kind: type) -> list[Any]:
    """All tensors in a value, in order, each once."""
    found: list[Any] = []

    def walk(item: Any) -> None:
        if isinstance(item, kind):
            if all(item is not other for other in found):
                found.append(item)
        elif isinstance(item, dict):
            for child in item.values():
                walk(child)
        elif isinstance(item, list | tuple):
            for child in item:
                walk(child)

    walk(value)
    return found
