"""Every op of the registry as a function: tensors first, attributes by keyword."""

from collections.abc import Callable
from typing import Any

from lampyr._lampyr import call_op, ops


def __getattr__(name: str) -> Callable[..., Any]:
    # A trailing underscore keeps names such as `not` usable.
    wanted = name.removesuffix("_")
    if all(op.name != wanted for op in ops()):
        raise AttributeError(f"there is no op called {wanted}")

    def function(*inputs: Any, **attributes: Any) -> Any:
        return call_op(wanted, *inputs, **attributes)

    function.__name__ = name
    return function
