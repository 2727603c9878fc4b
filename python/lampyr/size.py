"""The sizes of a tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, SupportsIndex, overload


class Size(tuple[int, ...]):
    """Sizes of the axes of a tensor: a tuple whose slices, sums and repetitions are sizes too."""

    __slots__ = ()

    def numel(self) -> int:
        """Number of elements of a tensor of these sizes."""
        return math.prod(self)

    @overload
    def __getitem__(self, key: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> Size: ...
    def __getitem__(self, key: Any) -> Any:
        found = tuple.__getitem__(self, key)
        return Size(found) if type(found) is tuple else found

    def __add__(self, other: Any) -> Any:
        made = tuple.__add__(self, other)
        return made if made is NotImplemented else Size(made)

    def __radd__(self, other: Any) -> Any:
        return Size((*other, *self)) if isinstance(other, tuple) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> Size:
        return Size(tuple.__mul__(self, times))

    def __rmul__(self, times: SupportsIndex) -> Size:
        return Size(tuple.__rmul__(self, times))

    def __repr__(self) -> str:
        return f"lampyr.Size({list(self)})"

    def __reduce__(self) -> tuple[type[Size], tuple[Iterable[int]]]:
        return Size, (tuple(self),)
