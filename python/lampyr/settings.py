"""Settings of the whole process, and questions about objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

from lampyr._lampyr import (
    Tensor,
    UntypedStorage,
    device,
    dtype,
    float16,
    float32,
    float64,
    set_default_dtype,
    use_deterministic_algorithms,
)
from lampyr._top import empty
from lampyr.errors import DTypeError, InvalidValueError, ShapeError

pi = math.pi
e = math.e
inf = math.inf
nan = math.nan
newaxis = None

_CPU = device("cpu")
_interop = 1


def is_tensor(obj: object, /) -> TypeGuard[Tensor]:
    """Whether ``obj`` is a tensor."""
    return isinstance(obj, Tensor)


def is_storage(obj: object, /) -> TypeGuard[UntypedStorage]:
    """Whether ``obj`` is the memory behind a tensor."""
    return isinstance(obj, UntypedStorage)


def is_floating_point(input: Tensor) -> bool:
    """Whether the element type is a float type."""
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    """Whether the element type is complex."""
    return input.is_complex()


def is_signed(input: Tensor) -> bool:
    """Whether the element type holds negative numbers."""
    return input.is_signed()


def numel(input: Tensor) -> int:
    """Number of elements."""
    return input.numel()


def broadcast_shapes(*shapes: int | Sequence[int]) -> tuple[int, ...]:
    """The shape that tensors of the given shapes are broadcast to."""
    all = [(shape,) if isinstance(shape, int) else tuple(int(size) for size in shape) for shape in shapes]
    found = [1] * max((len(shape) for shape in all), default=0)
    for shape in all:
        for axis, size in enumerate(reversed(shape), 1):
            if size < 0:
                raise InvalidValueError(f"a size of {size}", expected="0 or more")
            if size != 1 and found[-axis] not in (1, size):
                raise ShapeError(f"shapes {all} do not broadcast", expected="equal sizes, or 1")
            found[-axis] = size if size != 1 else found[-axis]
    return tuple(found)


def eval(*tensors: Tensor) -> None:
    """Does nothing: tensors are computed when they are made."""


def resize_as_(input: Tensor, the_template: Tensor, *, memory_format: Any = None) -> Tensor:
    """The tensor itself, with the sizes of another."""
    return input.resize_as_(the_template, memory_format=memory_format)


def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule of the tensor's memory."""
    return tensor.__dlpack__()


def typename(obj: object, /) -> str:
    """The name of the object's class; of a tensor, with its element type."""
    if isinstance(obj, Tensor):
        return str(obj.type())
    kind = type(obj)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def get_default_device() -> device:
    """Where new tensors lie."""
    return _CPU


def set_default_device(device: Any) -> None:  # noqa: A002
    """Sets where new tensors lie; this build has the CPU alone."""
    empty(0, device=device)


def set_default_tensor_type(t: str | dtype, /) -> None:
    """Sets the default float type by the name of a tensor class, such as ``lampyr.DoubleTensor``."""
    if isinstance(t, dtype):
        set_default_dtype(t)
        return
    known = {"HalfTensor": float16, "FloatTensor": float32, "DoubleTensor": float64}
    name = str(t).rsplit(".", 1)[-1]
    if name not in known:
        raise DTypeError(f"{t} is not a class of float tensors", expected=", ".join(known))
    set_default_dtype(known[name])


def set_deterministic(mode: bool) -> None:
    """As :func:`lampyr.use_deterministic_algorithms`."""
    use_deterministic_algorithms(mode)


def get_num_interop_threads() -> int:
    """Threads that run operations side by side; Lampyr runs them one after another, each on all threads."""
    return _interop


def set_num_interop_threads(threads: int) -> None:
    """Kept for programs that set it; it has no effect."""
    global _interop
    if threads < 1:
        raise InvalidValueError(f"{threads} threads", expected="1 or more")
    _interop = threads


def _get_device(self: Tensor) -> int:
    """Index of the device among those of its kind; -1 for the CPU."""
    return -1 if self.device.index is None else self.device.index


setattr(Tensor, "get_device", _get_device)  # noqa: B010
