"""Switching the recording of operations, and gradients as functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, cast

from lampyr._lampyr import _set_grad_enabled, grad, is_grad_enabled

__all__ = ["enable_grad", "grad", "is_grad_enabled", "no_grad", "set_grad_enabled"]

F = TypeVar("F", bound=Callable[..., Any])


class set_grad_enabled:  # noqa: N801
    """Switches recording at once; as a context manager, until the end of the block."""

    def __init__(self, mode: bool) -> None:
        self._mode = mode
        self._before = [_set_grad_enabled(mode)]

    def __enter__(self) -> None:
        _set_grad_enabled(self._mode)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _set_grad_enabled(self._before[-1])


class _Mode:
    """A context manager and decorator; blocks may nest, and one object may be entered again."""

    _on = False

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(_set_grad_enabled(self._on))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _set_grad_enabled(self._before.pop())

    def __call__(self, function: F) -> F:
        mode = type(self)

        @functools.wraps(function)
        def wrapped(*args: Any, **named: Any) -> Any:
            with mode():
                return function(*args, **named)

        return cast(F, wrapped)


class no_grad(_Mode):  # noqa: N801
    """Operations are not recorded in the block or the decorated function."""


class enable_grad(_Mode):  # noqa: N801
    """Operations are recorded in the block or the decorated function."""

    _on = True
