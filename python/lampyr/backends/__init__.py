"""Switches of the devices' libraries. Results are the same bits on every run whatever they say."""

from __future__ import annotations

from lampyr._lampyr import (
    are_deterministic_algorithms_enabled,
    device,
    use_deterministic_algorithms,
)
from lampyr._top import empty as _empty
from lampyr.errors import DeviceError

__all__ = ["accelerate", "cpu", "cuda", "metal", "mps"]


def _has(name: str) -> bool:
    try:
        _empty(0, device=device(name))
    except DeviceError:
        return False
    return True


class _Switches:
    """What may be asked of a device's library and set on it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.benchmark = False
        """Kernels are not chosen by measuring at run time; the switch has no effect."""

    @property
    def deterministic(self) -> bool:
        """As :func:`lampyr.use_deterministic_algorithms`."""
        return are_deterministic_algorithms_enabled()

    @deterministic.setter
    def deterministic(self, on: bool) -> None:
        use_deterministic_algorithms(on)

    def is_available(self) -> bool:
        """Whether this machine and build have the device."""
        return _has(self._name)

    def is_built(self) -> bool:
        """Whether this build can drive the device."""
        return _has(self._name)


accelerate = _Switches("cpu")
"""The library of matrix products on the CPU: Lampyr's own."""
cpu = _Switches("cpu")
cuda = _Switches("cuda")
metal = _Switches("metal")
mps = metal
