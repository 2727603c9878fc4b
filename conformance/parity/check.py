"""The helper: value, gradient and second derivative of one call, by torch and by Lampyr."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

import lampyr
from conformance.parity.convert import tensors, to_lampyr, to_torch


class Differs(Exception):
    """Both computed the value, and it is not the same."""


class Refused(Exception):
    """Lampyr raised where torch computed."""


# The tolerances of torch.testing.assert_close.
DEFAULTS = {
    torch.float16: (1e-5, 1e-3),
    torch.bfloat16: (1e-5, 1.6e-2),
    torch.float32: (1e-5, 1.3e-6),
    torch.float64: (1e-7, 1e-7),
}


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """`|ours - theirs| <= absolute + relative * |theirs|`."""

    absolute: float
    relative: float

    def of(self, dtype: torch.dtype) -> Tolerance:
        """At least what `torch.testing.assert_close` allows results of the dtype."""
        absolute, relative = DEFAULTS.get(dtype, (0.0, 0.0))
        return Tolerance(max(self.absolute, absolute), max(self.relative, relative))


@dataclasses.dataclass
class Outcome:
    """What a call gave: its result, and derivatives by level (1: gradients, 2: gradients of these)."""

    value: Any
    derivatives: list[list[Any]]


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two libraries."""

    module: Any
    kind: type
    convert: Callable[[torch.Tensor], Any]

    def differentiable(self, value: Any) -> list[Any]:
        return [t for t in tensors(value, self.kind) if t.requires_grad]


TORCH = Side(torch, torch.Tensor, lambda tensor: tensor)
LAMPYR = Side(lampyr, lampyr.Tensor, to_lampyr)


def cotangent(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def dtype_of(tensor: Any) -> torch.dtype:
    return tensor.dtype if isinstance(tensor, torch.Tensor) else getattr(torch, tensor.dtype.name)


def evaluate(
    side: Side, function: Callable[..., Any], arguments: Any, order: int, rounded: torch.dtype | None = None
) -> Outcome:
    """Calls `function(*args, **kwargs)` and differentiates `order` times by all leaves.

    With `rounded` what is differentiated against has values of that dtype.
    """
    inputs = side.differentiable(arguments) if order else []
    value = function(*arguments[0], **arguments[1])
    outcome = Outcome(value, [])
    level = side.differentiable(value) if inputs else []
    for step in range(1, order + 1):
        if not level:
            break
        seeds = [
            side.convert(
                cotangent(tuple(tensor.shape), rounded or dtype_of(tensor), 97 * step + index).to(dtype_of(tensor))
            )
            for index, tensor in enumerate(level)
        ]
        gradients = side.module.autograd.grad(
            level, inputs, grad_outputs=seeds, create_graph=step < order, allow_unused=True
        )
        outcome.derivatives.append(list(gradients))
        level = [gradient for gradient in gradients if gradient is not None and gradient.requires_grad]
    return outcome


def compare(theirs: Any, ours: Any, tolerance: Tolerance, where: str = "result", values: bool = True) -> None:
    """Raises `Differs` where two results are not the same; with `values` off only dtypes and shapes count."""
    if isinstance(theirs, torch.Tensor):
        if not isinstance(ours, torch.Tensor):
            raise Differs(f"{where}: {type(ours).__name__} instead of a tensor")
        return compare_tensors(theirs, ours, tolerance, where, values)
    if isinstance(theirs, list | tuple):
        if not isinstance(ours, list | tuple) or len(theirs) != len(ours):
            count = len(ours) if isinstance(ours, list | tuple) else type(ours).__name__
            raise Differs(f"{where}: {count} instead of {len(theirs)} items")
        for index, (a, b) in enumerate(zip(theirs, ours, strict=True)):
            compare(a, b, tolerance, f"{where}[{index}]", values)
        return None
    if isinstance(theirs, bool | int | float | complex):
        same = isinstance(ours, bool | int | float | complex) and isinstance(theirs, bool) == isinstance(ours, bool)
        if not same:
            raise Differs(f"{where}: {ours!r} instead of {theirs!r}")
        if values:
            compare_tensors(torch.tensor(theirs), torch.tensor(ours), tolerance, where, values)
        return None
    if theirs != ours:
        raise Differs(f"{where}: {ours!r} instead of {theirs!r}")
    return None


def compare_tensors(theirs: torch.Tensor, ours: torch.Tensor, tolerance: Tolerance, where: str, values: bool) -> None:
    if theirs.dtype != ours.dtype:
        raise Differs(f"{where}: dtype {ours.dtype} instead of {theirs.dtype}".replace("torch.", ""))
    if theirs.shape != ours.shape:
        raise Differs(f"{where}: shape {list(ours.shape)} instead of {list(theirs.shape)}")
    if not values or theirs.numel() == 0:
        return
    theirs, ours = theirs.detach(), ours.detach()
    if theirs.is_floating_point() or theirs.is_complex():
        tolerance = tolerance.of(theirs.dtype)
        wide = torch.complex128 if theirs.is_complex() else torch.float64
        a, b = theirs.to(wide), ours.to(wide)
        good = torch.isclose(b, a, rtol=tolerance.relative, atol=tolerance.absolute, equal_nan=True)
    else:
        good = theirs == ours
    if not bool(good.all()):
        bad = (~good).nonzero()
        first = tuple(bad[0].tolist())
        count = f", {len(bad)} of {theirs.numel()}" if theirs.numel() > 1 else ""
        raise Differs(f"{where}: {ours[first].item()!r} instead of {theirs[first].item()!r} at {list(first)}{count}")


def compare_derivatives(theirs: Outcome, ours: Outcome, level: int, tolerance: Tolerance) -> None:
    """Compares the gradients of one level; a gradient that is absent equals one of zeros."""
    wanted = theirs.derivatives[level - 1]
    if len(ours.derivatives) < level:
        if all(gradient is None or not gradient.any() for gradient in wanted):
            return
        raise Differs("the result does not require a gradient")
    for index, (a, b) in enumerate(zip(wanted, ours.derivatives[level - 1], strict=True)):
        if a is None and b is None:
            continue
        b = torch.zeros_like(a) if b is None else to_torch(b)
        a = torch.zeros_like(b) if a is None else a
        compare_tensors(a, b, tolerance, f"gradient {index}", True)
