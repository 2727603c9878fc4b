"""Recurrent layers and their cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import lampyr
from lampyr import Tensor, empty, zeros
from lampyr.errors import InvalidValueError, ShapeError
from lampyr.nn import functional as F
from lampyr.nn import init
from lampyr.nn.module import Module
from lampyr.nn.parameter import Parameter
from lampyr.nn.utils.rnn import PackedSequence, pad_packed_sequence, repack

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell"]


class _Kind(NamedTuple):
    cell: str
    activations: str
    order: tuple[int, ...]
    """Where the op's gates are among ours: input, output, forget, cell; update, reset, hidden."""


_KINDS = {
    "LSTM": _Kind("lstm", "Sigmoid,Tanh,Tanh", (0, 3, 1, 2)),
    "GRU": _Kind("gru", "Sigmoid,Tanh", (1, 0, 2)),
    "RNN_TANH": _Kind("rnn", "Tanh", (0,)),
    "RNN_RELU": _Kind("rnn", "Relu", (0,)),
}


def _gates(t: Tensor, order: Sequence[int]) -> Tensor:
    """Rows of ``t`` with the gates in another order."""
    if len(order) == 1:
        return t
    h = t.shape[0] // len(order)
    return lampyr.cat([t[g * h : (g + 1) * h] for g in order])


class RNNBase(Module):
    """What LSTM, GRU and RNN share."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if mode not in _KINDS:
            raise InvalidValueError("Unrecognized RNN mode: " + mode)
        if not isinstance(hidden_size, int):
            raise TypeError(f"hidden_size should be of type int, got: {type(hidden_size).__name__}")
        if hidden_size <= 0:
            raise InvalidValueError("hidden_size must be greater than zero")
        if num_layers <= 0:
            raise InvalidValueError("num_layers must be greater than zero")
        if isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise InvalidValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if not 0 <= proj_size < hidden_size:
            raise InvalidValueError("proj_size should be a non-negative integer smaller than hidden_size")
        if proj_size and mode != "LSTM":
            raise InvalidValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._suffixes = [
            f"_l{layer}{way}" for layer in range(num_layers) for way in (("", "_reverse") if bidirectional else ("",))
        ]
        rows, out = len(_KINDS[mode].order) * hidden_size, proj_size or hidden_size
        ways = 2 if bidirectional else 1
        for i, suffix in enumerate(self._suffixes):
            width = input_size if i < ways else out * ways
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, out)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for name, shape in shapes.items():
                setattr(self, name + suffix, Parameter(empty(*shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform numbers up to ``1 / sqrt(hidden_size)``."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def flatten_parameters(self) -> None:
        """Does nothing: weights are read where they are."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """Parameters per layer and direction."""
        names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.bias else [])]
        names += ["weight_hr"] if self.proj_size else []
        return [[self._parameters[n + s] for n in names] for s in self._suffixes]  # type: ignore[misc]

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if not self.bias:
            text += f", bias={self.bias}"
        if self.batch_first:
            text += f", batch_first={self.batch_first}"
        if self.dropout:
            text += f", dropout={self.dropout}"
        return text + (f", bidirectional={self.bidirectional}" if self.bidirectional else "")

    def _direction(
        self, x: Tensor, h: Tensor, c: Tensor | None, at: int, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Hidden states ``[T, B, H]`` of layer and direction ``at``, and the last hidden and cell state."""
        kind, suffix, p = _KINDS[self.mode], self._suffixes[at], self._parameters
        reverse = suffix.endswith("_reverse")
        order = kind.order
        w_ih, w_hh = p["weight_ih" + suffix], p["weight_hh" + suffix]
        b_ih, b_hh = p.get("bias_ih" + suffix), p.get("bias_hh" + suffix)
        assert w_ih is not None and w_hh is not None
        if self.proj_size:
            return self._projected(x, h, c, at, lengths)
        bias: Tensor | None = None
        inputs: list[Tensor] = [h] if c is None else [h, c]
        if b_ih is not None and b_hh is not None:
            bias = b_ih + b_hh
            if kind.cell == "gru":
                n = self.hidden_size
                # The hidden gate's recurrent bias is multiplied by the reset gate.
                bias = lampyr.cat([bias[: 2 * n], b_ih[2 * n :]])
                inputs.append(b_hh[2 * n :])
        elif kind.cell == "gru":
            inputs.append(zeros(self.hidden_size, dtype=w_hh.dtype))
        if lengths is not None:
            inputs.append(lengths)
        gates = F.linear(x, _gates(w_ih, order), None if bias is None else _gates(bias, order))
        made = lampyr.call_op(
            "recurrence",
            gates,
            _gates(w_hh, order),
            *inputs,
            cell=kind.cell,
            activations=kind.activations,
            reverse=reverse,
            linear_before_reset=kind.cell == "gru",
            lengths=lengths is not None,
        )
        return made[0], made[1], made[2] if kind.cell == "lstm" else None

    def _projected(
        self, x: Tensor, h: Tensor, c: Tensor | None, at: int, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        p, suffix = self._parameters, self._suffixes[at]
        w_hr = p["weight_hr" + suffix]
        steps = range(x.shape[0])
        made: dict[int, Tensor] = {}
        gates = F.linear(x, p["weight_ih" + suffix], p.get("bias_ih" + suffix))  # type: ignore[arg-type]
        for t in reversed(steps) if suffix.endswith("_reverse") else steps:
            all4 = gates[t] + F.linear(h, p["weight_hh" + suffix], p.get("bias_hh" + suffix))  # type: ignore[arg-type]
            next_c, next_h = _lstm(all4, c)
            next_h = F.linear(next_h, w_hr)  # type: ignore[arg-type]
            if lengths is not None:
                alive = (lengths > t).reshape(-1, 1)
                made[t] = lampyr.where(alive, next_h, 0.0)
                assert c is not None
                next_h, next_c = lampyr.where(alive, next_h, h), lampyr.where(alive, next_c, c)
            else:
                made[t] = next_h
            h, c = next_h, next_c
        return lampyr.stack([made[t] for t in steps]), h, c

    def _check(self, input: Tensor, packed: bool) -> None:
        if not packed and input.ndim not in (2, 3):
            raise ShapeError(f"{self.mode}: Expected input to be 2D or 3D, got {input.ndim}D instead")
        if input.shape[-1] != self.input_size:
            raise ShapeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.shape[-1]}"
            )

    def _first(self, given: Tensor | None, size: int, like: Tensor, batched: bool, name: str) -> Tensor:
        n, batch = len(self._suffixes), like.shape[1]
        if given is None:
            return zeros(n, batch, size, dtype=like.dtype)
        given = given if batched else given.unsqueeze(1)
        if tuple(given.shape) != (n, batch, size):
            raise ShapeError(f"Expected {name} size {(n, batch, size)}, got {list(given.shape)}")
        return given

    def _run(self, input: Any, hx: Any) -> tuple[Any, Tensor, Tensor | None]:
        packed = isinstance(input, PackedSequence)
        lengths, order = None, None
        if packed:
            order = input.unsorted_indices
            self._check(input.data, True)
            x, lengths = pad_packed_sequence(PackedSequence(input.data, input.batch_sizes))
            batched = True
        else:
            self._check(input, False)
            batched = input.ndim == 3
            x = input.unsqueeze(1) if not batched else input.transpose(0, 1) if self.batch_first else input
        h, c = hx if isinstance(hx, (tuple, list)) else (hx, None)
        if packed and input.sorted_indices is not None:
            h, c = (None if s is None else lampyr.call_op("gather", s, input.sorted_indices, axis=1) for s in (h, c))
        h = self._first(h, self.proj_size or self.hidden_size, x, batched, "hidden[0]")
        if self.mode == "LSTM":
            c = self._first(c, self.hidden_size, x, batched, "hidden[1]")
        ways = 2 if self.bidirectional else 1
        last_h: list[Tensor] = []
        last_c: list[Tensor] = []
        for layer in range(self.num_layers):
            outs = []
            for way in range(ways):
                at = layer * ways + way
                y, hn, cn = self._direction(x, h[at], None if c is None else c[at], at, lengths)
                outs.append(y)
                last_h.append(hn)
                if cn is not None:
                    last_c.append(cn)
            x = outs[0] if ways == 1 else lampyr.cat(outs, -1)
            if self.dropout and self.training and layer + 1 < self.num_layers:
                x = F.dropout(x, self.dropout)
        hn = lampyr.stack(last_h)
        cn = lampyr.stack(last_c) if last_c else None
        if packed:
            if order is not None:
                hn = lampyr.call_op("gather", hn, order, axis=1)
                cn = None if cn is None else lampyr.call_op("gather", cn, order, axis=1)
            return repack(x, input), hn, cn
        if not batched:
            return x.squeeze(1), hn.squeeze(1), None if cn is None else cn.squeeze(1)
        return (x.transpose(0, 1) if self.batch_first else x), hn, cn


class RNN(RNNBase):
    """``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)`` (Elman 1990); ``nonlinearity`` is ``tanh`` or ``relu``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if len(args) > 3:
            nonlinearity = args[3]
            args = args[:3] + args[4:]
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise InvalidValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """Hidden states ``[T, N, H]`` and the last ones ``[layers, N, H]``."""
        y, h, _ = self._run(input, hx)
        return y, h


class GRU(RNNBase):
    """Gated recurrent unit (Cho et al. 2014)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("GRU", *args, **kwargs)

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """Hidden states ``[T, N, H]`` and the last ones ``[layers, N, H]``."""
        y, h, _ = self._run(input, hx)
        return y, h


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber 1997)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def forward(self, input: Any, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Any, tuple[Tensor, Tensor]]:
        """Hidden states ``[T, N, H]``, and the last hidden and cell states ``[layers, N, H]``."""
        y, h, c = self._run(input, hx)
        assert c is not None
        return y, (h, c)


def _lstm(gates: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
    n = gates.shape[-1] // 4
    i, f, g, o = (gates[..., k * n : (k + 1) * n] for k in range(4))
    kept = F.sigmoid(i) * g.tanh()
    c = kept if c is None else F.sigmoid(f) * c + kept
    return c, F.sigmoid(o) * c.tanh()


class RNNCellBase(Module):
    """What the cells share."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(empty(rows, input_size, device=device, dtype=dtype))
        self.weight_hh = Parameter(empty(rows, hidden_size, device=device, dtype=dtype))
        self.bias_ih: Parameter | None
        self.bias_hh: Parameter | None
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(empty(rows, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform numbers up to ``1 / sqrt(hidden_size)``."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if not self.bias:
            text += f", bias={self.bias}"
        nonlinearity = self.__dict__.get("nonlinearity", "tanh")
        return text + (f", nonlinearity={nonlinearity}" if nonlinearity != "tanh" else "")

    def _both(self, input: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return F.linear(input, self.weight_ih, self.bias_ih), F.linear(h, self.weight_hh, self.bias_hh)

    def _state(self, input: Tensor, h: Tensor | None) -> Tensor:
        if input.ndim not in (1, 2):
            raise ShapeError(f"{self._get_name()}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        if h is None:
            return zeros(*input.shape[:-1], self.hidden_size, dtype=input.dtype)
        if h.ndim != input.ndim:
            raise ShapeError(f"{self._get_name()}: Expected hidden to be {input.ndim}D, got {h.ndim}D instead")
        return h


class RNNCell(RNNCellBase):
    """One step of :class:`RNN`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        x, h = self._both(input, self._state(input, hx))
        return (x + h).tanh() if self.nonlinearity == "tanh" else (x + h).relu()


class GRUCell(RNNCellBase):
    """One step of :class:`GRU`."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        h = self._state(input, hx)
        x, s = self._both(input, h)
        n = self.hidden_size
        r = F.sigmoid(x[..., :n] + s[..., :n])
        z = F.sigmoid(x[..., n : 2 * n] + s[..., n : 2 * n])
        new = (x[..., 2 * n :] + r * s[..., 2 * n :]).tanh()
        return new + z * (h - new)


class LSTMCell(RNNCellBase):
    """One step of :class:`LSTM`."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        h, c = (None, None) if hx is None else hx
        h, c = self._state(input, h), self._state(input, c)
        x, s = self._both(input, h)
        c, h = _lstm(x + s, c)
        return h, c
