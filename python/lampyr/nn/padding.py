"""Padding."""

from __future__ import annotations

from collections.abc import Sequence

from lampyr import Tensor
from lampyr.nn import functional as F
from lampyr.nn.conv import spread
from lampyr.nn.module import Module

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _Pad(Module):
    _rank: int
    _mode: str

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        self.padding = spread(padding, 2 * self._rank, "padding")

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, mode=self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class CircularPad1d(_Pad):
    """Elements of the other end around the last axis."""

    _rank = 1
    _mode = "circular"


class CircularPad2d(_Pad):
    """Elements of the other end around the last two axes."""

    _rank = 2
    _mode = "circular"


class CircularPad3d(_Pad):
    """Elements of the other end around the last three axes."""

    _rank = 3
    _mode = "circular"


class ConstantPad1d(_ConstantPad):
    """``value`` around the last axis."""

    _rank = 1


class ConstantPad2d(_ConstantPad):
    """``value`` around the last two axes."""

    _rank = 2


class ConstantPad3d(_ConstantPad):
    """``value`` around the last three axes."""

    _rank = 3


class ReflectionPad1d(_Pad):
    """Mirrored elements around the last axis."""

    _rank = 1
    _mode = "reflect"


class ReflectionPad2d(_Pad):
    """Mirrored elements around the last two axes."""

    _rank = 2
    _mode = "reflect"


class ReflectionPad3d(_Pad):
    """Mirrored elements around the last three axes."""

    _rank = 3
    _mode = "reflect"


class ReplicationPad1d(_Pad):
    """Border elements repeated around the last axis."""

    _rank = 1
    _mode = "replicate"


class ReplicationPad2d(_Pad):
    """Border elements repeated around the last two axes."""

    _rank = 2
    _mode = "replicate"


class ReplicationPad3d(_Pad):
    """Border elements repeated around the last three axes."""

    _rank = 3
    _mode = "replicate"


class ZeroPad1d(_ZeroPad):
    """Zeros around the last axis."""

    _rank = 1


class ZeroPad2d(_ZeroPad):
    """Zeros around the last two axes."""

    _rank = 2


class ZeroPad3d(_ZeroPad):
    """Zeros around the last three axes."""

    _rank = 3
