"""Tensors that belong to a module."""

from __future__ import annotations

from typing import Any, Self

from lampyr import Tensor, empty

__all__ = ["Buffer", "Parameter"]


class Parameter(Tensor):
    """A tensor that a module lists among its parameters once it is one of its attributes.

    It shares the memory of ``data`` and has no history.
    """

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Self:
        return super().__new__(cls, empty(0) if data is None else data, requires_grad=requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        known: Self | None = memo.get(id(self))
        if known is not None:
            return known
        copy = type(self)(self.detach().clone(), self.requires_grad)
        if self.grad is not None:
            copy.grad = self.grad.detach().clone()
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.detach(), self.requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Tensor):
    """A tensor without gradient that a module lists among its buffers once it is one of its attributes."""

    persistent: bool

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Self:
        made = super().__new__(cls, empty(0) if data is None else data)
        made.persistent = persistent
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_buffer, (self.detach(), self.persistent)


def _rebuild(kind: type[Parameter], data: Tensor, requires_grad: bool) -> Parameter:
    return kind(data, requires_grad)


def _rebuild_buffer(data: Tensor, persistent: bool) -> Buffer:
    return Buffer(data, persistent=persistent)
