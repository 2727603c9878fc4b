"""The exceptions of Lampyr. Each is a :class:`LampyrError` and one or two of Python's own
classes: what fits it best, and what PyTorch raises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class LampyrError(Exception):
    """Base of all errors: a message, and the context that it is about."""

    op: str | None
    """The op that failed."""
    node: str | None
    """The graph node that failed."""
    inputs: tuple[str, ...]
    """Types and shapes of the op's inputs."""
    expected: str | None
    """What was expected."""
    help: str | None
    """What to do."""

    def __init__(
        self,
        message: str = "",
        *,
        op: str | None = None,
        node: str | None = None,
        inputs: Sequence[str] = (),
        expected: str | None = None,
        help: str | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.op = op
        self.node = node
        self.inputs = tuple(inputs)
        self.expected = expected
        self.help = help
        for name, value in details.items():
            setattr(self, name, value)

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ShapeError(LampyrError, ValueError, RuntimeError):
    """Shapes do not fit together."""


class DTypeError(LampyrError, TypeError, RuntimeError):
    """A data type is not accepted."""


class InvalidValueError(LampyrError, ValueError, RuntimeError):
    """An argument has a value outside its domain."""


class OutOfRangeError(LampyrError, IndexError, RuntimeError):
    """An index is out of range."""


class NotFoundError(LampyrError, KeyError):
    """Something named is not there."""


class UnsupportedError(LampyrError, NotImplementedError):
    """This build lacks something; ``missing`` lists everything, each with the nodes that need it."""

    missing: list[tuple[str, list[str]]] = []


class OutOfMemoryError(LampyrError, MemoryError):
    """The memory limit is reached, or the system has none left."""

    requested: int = 0
    active: int = 0
    limit: int | None = None


class FormatError(LampyrError, ValueError):
    """A file or byte stream is not what it should be."""


class GraphError(LampyrError, RuntimeError):
    """A graph breaks one of its rules."""


class AutogradError(LampyrError, RuntimeError):
    """Differentiation is impossible here."""


class DeviceError(LampyrError, RuntimeError):
    """A device failed or does not exist."""


class StateDictError(LampyrError, RuntimeError):
    """A state dictionary does not fit a module or an optimiser."""


class IoError(LampyrError, OSError):
    """Reading or writing a file failed."""


class UserError(LampyrError, RuntimeError):
    """A callback failed; its exception is the ``__cause__``."""


class InternalError(LampyrError, RuntimeError):
    """A defect in Lampyr itself."""


class VersionMismatch(FormatError, RuntimeError):
    """A saved object is of a version that this build cannot read."""


class GpuNotAvailable(DeviceError):
    """An operation needs a GPU, and there is none."""


OutOfMemory = OutOfMemoryError
ShapeMismatch = ShapeError
DtypeMismatch = DTypeError
DeviceMismatch = DeviceError
IndexError = OutOfRangeError
NotImplementedError = UnsupportedError
