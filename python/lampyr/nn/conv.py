"""Convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from lampyr import Tensor, empty
from lampyr.errors import InvalidValueError
from lampyr.nn import functional as F
from lampyr.nn import init
from lampyr.nn.module import Module
from lampyr.nn.parameter import Parameter

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

Sizes = int | Sequence[int]

_PADDINGS = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def spread(value: Any, rank: int, name: str) -> tuple[Any, ...]:
    """``value`` for each of ``rank`` axes."""
    if isinstance(value, int):
        return (value,) * rank
    made = tuple(value)
    if len(made) == 1:
        return made * rank
    if len(made) != rank:
        raise InvalidValueError(f"{name} has {len(made)} elements", expected=f"one or {rank}")
    return made


class _ConvNd(Module):
    _rank: int
    _transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        output_padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if groups <= 0:
            raise InvalidValueError("groups must be a positive integer")
        if in_channels % groups:
            raise InvalidValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise InvalidValueError("out_channels must be divisible by groups")
        if padding_mode not in _PADDINGS:
            raise InvalidValueError(
                f"padding_mode must be one of {list(_PADDINGS)}, but got padding_mode='{padding_mode}'"
            )
        rank = self._rank
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = spread(kernel_size, rank, "kernel_size")
        self.stride = spread(stride, rank, "stride")
        self.padding: str | tuple[int, ...]
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise InvalidValueError(f"Invalid padding string '{padding}', should be one of 'valid', 'same'")
            if padding == "same" and any(s != 1 for s in self.stride):
                raise InvalidValueError("padding='same' is not supported for strided convolutions")
            self.padding = padding
        else:
            self.padding = spread(padding, rank, "padding")
        self.dilation = spread(dilation, rank, "dilation")
        self.transposed = self._transposed
        self.output_padding = spread(output_padding, rank, "output_padding")
        self.groups = groups
        self.padding_mode = padding_mode
        channels = (in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(empty(*channels, *self.kernel_size, device=device, dtype=dtype))
        self.bias: Parameter | None
        self.register_parameter("bias", Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform numbers up to ``1 / sqrt(fan_in)``."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in = math.prod(self.weight.shape[1:])
            if fan_in:
                init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    def _around(self) -> list[int]:
        """Padding on both sides of every axis, the last axis first."""
        both: list[int] = []
        for axis in reversed(range(self._rank)):
            if self.padding == "same":
                total = self.dilation[axis] * (self.kernel_size[axis] - 1)
                both += [total // 2, total - total // 2]
            else:
                both += [0, 0] if self.padding == "valid" else [int(self.padding[axis])] * 2
        return both

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        ones, zeros = (1,) * self._rank, (0,) * self._rank
        if self.padding != zeros:
            text += f", padding={self.padding}"
        if self.dilation != ones:
            text += f", dilation={self.dilation}"
        if self.output_padding != zeros:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Conv(_ConvNd):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            0,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _convolve(self, function: Callable[..., Tensor], input: Tensor) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._around(), mode=_PADDINGS[self.padding_mode])
            padding = (0,) * self._rank
        return function(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv1d(_Conv):
    """Convolution of ``[N, C, L]`` or ``[C, L]``."""

    _rank = 1

    def forward(self, input: Tensor) -> Tensor:
        return self._convolve(F.conv1d, input)


class Conv2d(_Conv):
    """Convolution of ``[N, C, H, W]`` or ``[C, H, W]``."""

    _rank = 2

    def forward(self, input: Tensor) -> Tensor:
        return self._convolve(F.conv2d, input)


class Conv3d(_Conv):
    """Convolution of ``[N, C, D, H, W]`` or ``[C, D, H, W]``."""

    _rank = 3

    def forward(self, input: Tensor) -> Tensor:
        return self._convolve(F.conv3d, input)


class _ConvTranspose(_ConvNd):
    _transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise InvalidValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _missing_sizes(self, input: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """Padding that makes the result as large as ``output_size``."""
        if output_size is None:
            return self.output_padding
        wanted = tuple(output_size)[-self._rank :]
        if len(wanted) != self._rank or len(output_size) not in (self._rank, input.ndim):
            raise InvalidValueError(f"output_size has {len(output_size)} elements", expected=f"{self._rank}")
        made: list[int] = []
        for i, want in enumerate(wanted):
            size = input.shape[input.ndim - self._rank + i]
            least = (size - 1) * self.stride[i] - 2 * int(self.padding[i])
            least += self.dilation[i] * (self.kernel_size[i] - 1) + 1
            if not least <= want < least + self.stride[i]:
                raise InvalidValueError(
                    f"requested an output size of {wanted}",
                    expected=f"{least} to {least + self.stride[i] - 1} on axis {i}",
                )
            made.append(want - least)
        return tuple(made)

    def _convolve(self, function: Callable[..., Tensor], input: Tensor, output_size: Sequence[int] | None) -> Tensor:
        extra = self._missing_sizes(input, output_size)
        return function(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)


class ConvTranspose1d(_ConvTranspose):
    """The adjoint of :class:`Conv1d`."""

    _rank = 1

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return self._convolve(F.conv_transpose1d, input, output_size)


class ConvTranspose2d(_ConvTranspose):
    """The adjoint of :class:`Conv2d`."""

    _rank = 2

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return self._convolve(F.conv_transpose2d, input, output_size)


class ConvTranspose3d(_ConvTranspose):
    """The adjoint of :class:`Conv3d`."""

    _rank = 3

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return self._convolve(F.conv_transpose3d, input, output_size)
