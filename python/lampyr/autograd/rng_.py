"""The state of the default generator."""

from __future__ import annotations

from lampyr._lampyr import Tensor, _default_generator


def get_state() -> Tensor:
    """The state of the default generator."""
    return _default_generator().get_state()


def set_state(state: Tensor) -> None:
    """Puts the default generator back to ``state``."""
    _default_generator().set_state(state)


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two states are equal."""
    return bool(a.tolist() == b.tolist())
