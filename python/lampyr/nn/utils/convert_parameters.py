"""Parameters as one vector."""

from __future__ import annotations

from collections.abc import Iterable

import lampyr
from lampyr import Tensor, no_grad
from lampyr.errors import ShapeError

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of ``parameters`` one after another."""
    return lampyr.cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Writes the elements of ``vec`` into ``parameters``."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected lampyr.Tensor, but got: {type(vec).__name__}")
    given = list(parameters)
    total = sum(p.numel() for p in given)
    if vec.ndim != 1 or vec.numel() < total:
        raise ShapeError(f"a vector of shape {vec.shape}", expected=f"at least {total} elements on one axis")
    at = 0
    with no_grad():
        for p in given:
            p.copy_(vec[at : at + p.numel()].reshape(*p.shape))
            at += p.numel()
