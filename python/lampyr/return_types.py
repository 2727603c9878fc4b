"""The named tuples that functions with several results give back."""

from typing import Any

from lampyr._lampyr import _return_type


def __getattr__(name: str) -> Any:
    made = _return_type(name)
    if made is None:
        raise AttributeError(f"there is no named tuple {name!r}")
    return made
