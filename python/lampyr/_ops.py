"""Every op of the registry as a function: tensors first, attributes by keyword. Names that Python reserves end in _."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lampyr._lampyr import call_op, ops


def __dir__() -> list[str]:
    return [op.name for op in ops()]


def __getattr__(name: str) -> Callable[..., Any]:
    info = {op.name: op for op in ops()}.get(name.removesuffix("_"))
    if name.startswith("__") or info is None:
        raise AttributeError(f"there is no op called {name!r}")
    op = info.name

    def function(*inputs: Any, **attributes: Any) -> Any:
        return call_op(op, *inputs, **attributes)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = info.doc
    globals()[name] = function
    return function
