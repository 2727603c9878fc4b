"""Gradients kept small."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import lampyr
from lampyr import Tensor, no_grad

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def _list(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


def _norm(t: Tensor, p: float) -> Tensor:
    if p == math.inf:
        return t.abs().amax()
    if p == 2:
        return (t * t).sum().sqrt()
    return t.abs().pow(p).sum().pow(1.0 / p)


@no_grad()
def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all elements together."""
    norms = [_norm(t.detach(), float(norm_type)) for t in _list(tensors) if t.numel()]
    if not norms:
        return lampyr.tensor(0.0)
    total = _norm(lampyr.stack([n.to(lampyr.float32) if n.dtype != norms[0].dtype else n for n in norms]), norm_type)
    if error_if_nonfinite and not math.isfinite(float(total)):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return total


@no_grad()
def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Multiplies the gradients by ``max_norm / total_norm`` where that is below 1."""
    factor = float(max_norm) / (float(total_norm) + 1e-6)
    if factor < 1.0 or math.isnan(factor):
        for p in _list(parameters):
            if p.grad is not None:
                p.grad.mul_(factor)


@no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales the gradients so that their norm is at most ``max_norm``; the norm before."""
    given = _list(parameters)
    grads = [p.grad for p in given if p.grad is not None]
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    clip_grads_with_norm_(given, max_norm, total)
    return total


clip_grad_norm: Any = clip_grad_norm_


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Keeps the elements of gradients between ``-clip_value`` and ``clip_value``."""
    limit = float(clip_value)
    for p in _list(parameters):
        if p.grad is not None:
            p.grad.copy_(lampyr.call_op("clip", p.grad, min=-limit, max=limit))
