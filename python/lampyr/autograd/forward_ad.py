"""Forward-mode derivatives: tensors that carry a tangent inside of a ``dual_level``.

Tangents are found when they are asked for, by differentiating the gradient with respect to its weights.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from lampyr._lampyr import Tensor, _depends_on_others, _vmap_spread
from lampyr.autograd.derive_ import Pushforward
from lampyr.autograd.mode import enable_grad

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]


class UnpackedDualTensor(NamedTuple):
    """What :func:`unpack_dual` gives: the tensor, and its tangent or None where it has none."""

    primal: Tensor
    tangent: Tensor | None


class _Dual:
    """The tensors with tangents of one level."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.tangents: list[Tensor] = []
        self.fresh: list[Tensor] = []
        self.recording = enable_grad()
        self.recording.__enter__()


class _Levels(threading.local):
    def __init__(self) -> None:
        self.all: list[_Dual] = []


_thread = _Levels()


def enter_dual_level() -> int:
    """Begins a level, and records ops until it ends; its number. Levels do not nest."""
    if _thread.all:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _thread.all.append(_Dual())
    return len(_thread.all) - 1


def exit_dual_level(*, level: int | None = None) -> None:
    """Ends the level; tensors made in it lose their tangents."""
    if not _thread.all:
        raise RuntimeError("Trying to exit a forward AD level but none is active: enter_dual_level() begins one")
    if level is not None and level != len(_thread.all) - 1:
        raise RuntimeError("Trying to exit a forward AD level that was not the last one that was created")
    _thread.all.pop().recording.__exit__(None, None, None)


class dual_level:  # noqa: N801
    """A level of forward derivatives for the time of a ``with`` block."""

    def __enter__(self) -> int:
        self._level = enter_dual_level()
        return self._level

    def __exit__(self, *_: object) -> None:
        exit_dual_level(level=self._level)


def _level(level: int | None, what: str) -> _Dual:
    if not _thread.all or (level is not None and level != len(_thread.all) - 1):
        raise RuntimeError(
            f"Trying to {what} a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    return _thread.all[-1]


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """A view of ``tensor`` that carries ``tangent``, a tensor of its shape and dtype."""
    dual = _level(level, "create")
    if not tensor.is_floating_point() or not tangent.is_floating_point():
        raise ValueError(f"Expected tensors of a float type, got {tensor.dtype} and {tangent.dtype}")
    if tuple(tensor.shape) != tuple(tangent.shape) or tensor.dtype != tangent.dtype:
        raise RuntimeError(
            f"Expected tangent to have the shape and dtype of the tensor: {tangent.dtype}{list(tangent.shape)} and "
            f"{tensor.dtype}{list(tensor.shape)}"
        )
    x = _vmap_spread(tensor)
    with enable_grad():
        if x.requires_grad:
            made = x.view(x.shape)
        else:
            made = x.detach().requires_grad_()
            dual.fresh.append(made)
    dual.inputs.append(made)
    dual.tangents.append(tangent)
    return made


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """``tensor`` and its tangent. Gradients flow through both where the surrounding program records them."""
    if not _thread.all:
        return UnpackedDualTensor(tensor, None)
    dual = _level(level, "unpack")
    if not tensor.requires_grad or not dual.inputs:
        return UnpackedDualTensor(tensor, None)
    outer = _depends_on_others([tensor], dual.fresh)
    recorded = outer or any(t.requires_grad for t in dual.tangents)
    push = Pushforward([tensor], dual.inputs)
    if push.is_zero:
        return UnpackedDualTensor(tensor, None)
    with enable_grad():
        (tangent,) = push(dual.tangents, recorded)
    primal = tensor if outer else tensor.detach()
    return UnpackedDualTensor(primal, tangent if recorded else tangent.detach())
