"""Automatic differentiation: modes, gradients as functions, functions with gradients of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lampyr._lampyr import (
    RemovableHandle,
    Tensor,
    _backward,
    _grad,
    is_grad_enabled,
    is_inference_mode_enabled,
)
from lampyr.autograd.function import Function, FunctionCtx
from lampyr.autograd.mode import (
    detect_anomaly,
    enable_grad,
    inference_mode,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    no_grad,
    set_detect_anomaly,
    set_grad_enabled,
    set_multithreading_enabled,
)

if TYPE_CHECKING:
    from lampyr.autograd import forward_ad, function, functional, graph, profiler
    from lampyr.autograd.checkpoint_ import checkpoint, checkpoint_sequential
    from lampyr.autograd.functional import hessian, hvp, jacobian, jvp, vhp, vjp
    from lampyr.autograd.gradcheck_ import GradcheckError, gradcheck, gradgradcheck

__all__ = [
    "Function",
    "FunctionCtx",
    "GradcheckError",
    "RemovableHandle",
    "backward",
    "checkpoint",
    "checkpoint_sequential",
    "detect_anomaly",
    "enable_grad",
    "forward_ad",
    "function",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "hessian",
    "hvp",
    "inference_mode",
    "is_anomaly_check_nan_enabled",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "jacobian",
    "jvp",
    "no_grad",
    "profiler",
    "set_detect_anomaly",
    "set_grad_enabled",
    "set_multithreading_enabled",
    "vhp",
    "vjp",
]

_LAZY = {
    "GradcheckError": "gradcheck_",
    "checkpoint": "checkpoint_",
    "checkpoint_sequential": "checkpoint_",
    "gradcheck": "gradcheck_",
    "gradgradcheck": "gradcheck_",
    "hessian": "functional",
    "hvp": "functional",
    "jacobian": "functional",
    "jvp": "functional",
    "vhp": "functional",
    "vjp": "functional",
}


def __getattr__(name: str) -> Any:
    if name in ("forward_ad", "function", "functional", "graph", "profiler"):
        return import_module(f"lampyr.autograd.{name}")
    if name in _LAZY:
        value = getattr(import_module(f"lampyr.autograd.{_LAZY[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'lampyr.autograd' has no attribute {name!r}")


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Tensor | Sequence[Tensor | None] | None = None,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Adds the gradients of the sum of ``tensors`` to the ``.grad`` of the leaves, or only of ``inputs``."""
    seeds = grad_variables if grad_tensors is None else grad_tensors
    _backward(tensors, seeds, create_graph if retain_graph is None else retain_graph, create_graph, inputs)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """Gradients of the sum of ``outputs``, weighted by ``grad_outputs``, with respect to ``inputs``.

    With ``is_grads_batched`` the first axis of ``grad_outputs`` counts several passes, and so does that of the result.
    """
    if not only_inputs:
        raise ValueError("only_inputs is always true: call backward() to fill the grad of other leaves")
    if allow_unused is False and materialize_grads:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True")
    unused = bool(allow_unused) or materialize_grads
    wanted: list[Tensor] = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if is_grads_batched:
        made = _batched(outputs, wanted, grad_outputs, retain_graph, create_graph, unused)
    else:
        made = _grad(outputs, wanted, grad_outputs, retain_graph, create_graph, unused)
    if materialize_grads:
        return tuple(x.new_zeros_like() if g is None else g for x, g in zip(map(_Zero, wanted), made, strict=True))
    return made


class _Zero:
    """Makes the zero gradient of a tensor."""

    def __init__(self, like: Tensor) -> None:
        self._like = like

    def new_zeros_like(self) -> Tensor:
        from lampyr._top import zeros_like

        return zeros_like(self._like)


def _batched(
    outputs: Tensor | Sequence[Tensor],
    inputs: list[Tensor],
    seeds: Any,
    retain_graph: bool | None,
    create_graph: bool,
    unused: bool,
) -> tuple[Any, ...]:
    from lampyr.autograd.vmap_ import Mapped

    every: Iterable[Any] = [seeds] if seeds is None or isinstance(seeds, Tensor) else seeds
    rows = list(every)
    counts = {len(s) for s in rows if s is not None}
    if len(counts) != 1:
        raise ValueError(f"is_grads_batched needs grad_outputs of one size along their first axis, got {counts}")
    with Mapped(counts.pop()) as level:
        one = [None if s is None else level.enter(s) for s in rows]
        made = _grad(outputs, inputs, one, retain_graph, create_graph, unused)
        return tuple(None if g is None else level.leave(g) for g in made)
