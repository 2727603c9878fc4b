"""Switching the recording of operations, and anomaly mode."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, TypeVar, cast

from lampyr._lampyr import _detect_anomaly, _set_detect_anomaly, _set_grad_enabled, _set_inference_mode

F = TypeVar("F", bound=Callable[..., Any])

_GENERATOR = 0x20


def _stepwise(make: Callable[[], _Block], function: Callable[..., Any]) -> Callable[..., Any]:
    """A generator function whose steps run inside of a block each, so that the caller's mode holds between them."""

    @functools.wraps(function)
    def steps(*args: Any, **named: Any) -> Generator[Any, Any, Any]:
        inner = function(*args, **named)
        try:
            with make():
                answer = inner.send(None)
            while True:
                try:
                    request = yield answer
                except GeneratorExit:
                    with make():
                        inner.close()
                    raise
                except BaseException:
                    with make():
                        answer = inner.throw(cast(BaseException, sys.exc_info()[1]))
                else:
                    with make():
                        answer = inner.send(request)
        except StopIteration as stop:
            return stop.value

    return steps


class _Block:
    """A context manager that also decorates functions; blocks may nest, and one object may be entered again."""

    def __init__(self) -> None:
        self._before: list[Any] = []

    def _enter(self) -> Any:
        raise NotImplementedError

    def _leave(self, before: Any) -> None:
        raise NotImplementedError

    def _again(self) -> _Block:
        return type(self)()

    def __enter__(self) -> None:
        self._before.append(self._enter())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(self._before.pop())

    def __call__(self, function: F) -> F:
        if getattr(getattr(function, "__code__", None), "co_flags", 0) & _GENERATOR:
            return cast(F, _stepwise(self._again, function))

        @functools.wraps(function)
        def wrapped(*args: Any, **named: Any) -> Any:
            with self._again():
                return function(*args, **named)

        return cast(F, wrapped)


class _Plain(_Block):
    """A block without arguments: may decorate without being called."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        made = super().__new__(cls)
        if function is None:
            return made
        made.__init__()  # type: ignore[misc]
        return made(function)

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        super().__init__()


class no_grad(_Plain):  # noqa: N801
    """Operations are not recorded in the block or the decorated function."""

    def _enter(self) -> bool:
        return _set_grad_enabled(False)

    def _leave(self, before: bool) -> None:
        _set_grad_enabled(before)


class enable_grad(_Plain):  # noqa: N801
    """Operations are recorded in the block or the decorated function."""

    def _enter(self) -> bool:
        return _set_grad_enabled(True)

    def _leave(self, before: bool) -> None:
        _set_grad_enabled(before)


class set_grad_enabled(_Block):  # noqa: N801
    """Switches recording at once; as a context manager, until the end of the block."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.mode = mode
        self._outside = _set_grad_enabled(mode)

    def _enter(self) -> bool:
        _set_grad_enabled(self.mode)
        return self._outside

    def _leave(self, before: bool) -> None:
        _set_grad_enabled(before)

    def _again(self) -> _Block:
        return set_grad_enabled(self.mode)

    def __call__(self, function: F) -> F:
        _set_grad_enabled(self._outside)
        return super().__call__(function)


class inference_mode(_Block):  # noqa: N801
    """Nothing is recorded in the block, whatever the gradient mode; ``inference_mode(False)`` lifts that."""

    def __new__(cls, mode: bool | Callable[..., Any] = True) -> Any:
        if isinstance(mode, bool):
            return super().__new__(cls)
        return cls()(mode)

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.mode = mode

    def _enter(self) -> tuple[bool, bool]:
        return _set_inference_mode(self.mode), _set_grad_enabled(not self.mode)

    def _leave(self, before: tuple[bool, bool]) -> None:
        _set_inference_mode(before[0])
        _set_grad_enabled(before[1])

    def _again(self) -> _Block:
        return cast(_Block, inference_mode(self.mode))


class set_detect_anomaly(_Block):  # noqa: N801
    """Switches anomaly mode for all threads; as a context manager, until the end of the block.

    Errors of backward passes then name the line of the forward call, and a gradient that is NaN is an error.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        super().__init__()
        self._outside = _set_detect_anomaly(mode, check_nan)

    def _enter(self) -> tuple[bool, bool]:
        return self._outside

    def _leave(self, before: tuple[bool, bool]) -> None:
        _set_detect_anomaly(before[0], before[1])


class detect_anomaly(_Block):  # noqa: N801
    """Anomaly mode inside of the block."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__()
        self.check_nan = check_nan

    def _enter(self) -> tuple[bool, bool]:
        return _set_detect_anomaly(True, self.check_nan)

    def _leave(self, before: tuple[bool, bool]) -> None:
        _set_detect_anomaly(before[0], before[1])

    def _again(self) -> _Block:
        return detect_anomaly(self.check_nan)


class set_multithreading_enabled(_Block):  # noqa: N801
    """Accepted for PyTorch's sake: a backward pass runs in the thread that calls it."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.mode = mode

    def _enter(self) -> None:
        return None

    def _leave(self, before: None) -> None:
        return None


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on."""
    return _detect_anomaly()[0]


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly mode is on and looks for NaN."""
    return _detect_anomaly()[1]
