"""The state of the default generator."""

from __future__ import annotations

from typing import Any

from lampyr import _lampyr


def _generator() -> Any:
    make = getattr(_lampyr, "_default_generator", None)
    return None if make is None else make()


def get_state() -> Any:
    """The state of the default generator."""
    generator = _generator()
    return None if generator is None else generator.get_state()


def set_state(state: Any) -> None:
    """Puts the default generator back to ``state``."""
    generator = _generator()
    if generator is not None:
        generator.set_state(state)


def same(a: Any, b: Any) -> bool:
    """Whether two states are equal."""
    return a is None or a.tolist() == b.tolist()
