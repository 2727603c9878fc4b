"""Names for the types of arguments, for annotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from lampyr._lampyr import Tensor, device, dtype

Scalar: TypeAlias = bool | int | float
TensorOrScalar: TypeAlias = Tensor | bool | int | float
TensorLike: TypeAlias = Tensor | bool | int | float | Sequence[Any]
DeviceLike: TypeAlias = device | str
DTypeLike: TypeAlias = dtype | str | type
ShapeLike: TypeAlias = int | Sequence[int]


@runtime_checkable
class HasShape(Protocol):
    """Has a shape."""

    @property
    def shape(self) -> tuple[int, ...]: ...


@runtime_checkable
class SupportsNumpyConversion(Protocol):
    """Becomes an array of NumPy."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any: ...


@runtime_checkable
class SupportsGrad(Protocol):
    """Takes part in differentiation."""

    @property
    def requires_grad(self) -> bool: ...

    @property
    def grad(self) -> Any: ...

    def backward(self, *args: Any, **kwargs: Any) -> None: ...


@runtime_checkable
class TensorLikeProtocol(HasShape, SupportsNumpyConversion, Protocol):
    """Has a shape and a dtype and becomes an array of NumPy."""

    @property
    def dtype(self) -> Any: ...


__all__ = [
    "DTypeLike",
    "DeviceLike",
    "HasShape",
    "Scalar",
    "ShapeLike",
    "SupportsGrad",
    "SupportsNumpyConversion",
    "TensorLike",
    "TensorLikeProtocol",
    "TensorOrScalar",
]
