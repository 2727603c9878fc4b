"""Sequences of different lengths in one tensor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import lampyr
from lampyr import Tensor, tensor
from lampyr.errors import InvalidValueError, ShapeError

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpad_sequence",
]


class PackedSequence(NamedTuple):
    """The elements of sequences step by step, longest sequence first, without padding."""

    data: Tensor
    """``[sum of lengths, ...]``"""
    batch_sizes: Tensor
    """How many sequences reach every step."""
    sorted_indices: Tensor | None = None
    """Where the sorted sequences came from."""
    unsorted_indices: Tensor | None = None
    """Where the original sequences are among the sorted ones."""

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The sequences on another device or of another type."""
        return self._replace(data=self.data.to(*args, **kwargs))

    def float(self) -> PackedSequence:
        """The sequences as ``float32``."""
        return self.to(lampyr.float32)

    def double(self) -> PackedSequence:
        """The sequences as ``float64``."""
        return self.to(lampyr.float64)


def _take(t: Tensor, index: Tensor, axis: int = 0) -> Tensor:
    made: Tensor = lampyr.call_op("gather", t, index, axis=axis)
    return made


def _numbers(lengths: Any) -> list[int]:
    return [int(n) for n in (lengths.tolist() if isinstance(lengths, Tensor) else lengths)]


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes another."""
    if permutation is None:
        return None
    made = [0] * permutation.numel()
    for i, p in enumerate(permutation.tolist()):
        made[p] = i
    return tensor(made, dtype=lampyr.int64)


def _places(lengths: Sequence[int]) -> tuple[list[int], list[int]]:
    """Flat positions ``t * batch + b`` of all elements step by step, and the sequences per step."""
    places, sizes = [], []
    for t in range(lengths[0]):
        alive = sum(n > t for n in lengths)
        sizes.append(alive)
        places += [t * len(lengths) + b for b in range(alive)]
    return places, sizes


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Packs ``[T, B, ...]`` (``[B, T, ...]`` with ``batch_first``) whose sequences have ``lengths``."""
    if batch_first:
        input = input.transpose(0, 1)
    numbers = _numbers(lengths)
    if len(numbers) != input.shape[1]:
        raise ShapeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(numbers)} (batch_size={input.shape[1]})"
        )
    if not numbers or min(numbers) <= 0:
        raise InvalidValueError("Length of all samples has to be greater than 0, but found an element that is <= 0")
    if max(numbers) > input.shape[0]:
        raise ShapeError(f"a sequence has length {max(numbers)}", expected=f"at most {input.shape[0]}")
    order = None
    if not enforce_sorted:
        by_length = sorted(range(len(numbers)), key=lambda i: -numbers[i])
        numbers = [numbers[i] for i in by_length]
        order = tensor(by_length, dtype=lampyr.int64)
        input = _take(input, order, 1)
    elif numbers != sorted(numbers, reverse=True):
        raise InvalidValueError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True",
            help="pass enforce_sorted=False",
        )
    places, sizes = _places(numbers)
    flat = input.reshape(input.shape[0] * input.shape[1], *input.shape[2:])
    data = _take(flat, tensor(places, dtype=lampyr.int64))
    return PackedSequence(data, tensor(sizes, dtype=lampyr.int64), order, invert_permutation(order))


def _lengths(sizes: Sequence[int]) -> list[int]:
    return [sum(size > b for size in sizes) for b in range(sizes[0])]


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The sequences as ``[T, B, ...]`` with ``padding_value`` at their ends, and their lengths."""
    sizes = _numbers(sequence.batch_sizes)
    lengths = _lengths(sizes)
    steps, batch = len(sizes), sizes[0]
    if total_length is not None:
        if total_length < steps:
            raise InvalidValueError(
                f"Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {steps}"
            )
        steps = total_length
    rest = sequence.data.shape[1:]
    wide = lampyr.cat([sequence.data, lampyr.full((1, *rest), padding_value, dtype=sequence.data.dtype)])
    places = [sequence.data.shape[0]] * (steps * batch)
    at = 0
    for t, size in enumerate(sizes):
        for b in range(size):
            places[t * batch + b] = at
            at += 1
    padded = _take(wide, tensor(places, dtype=lampyr.int64)).reshape(steps, batch, *rest)
    order = sequence.unsorted_indices
    if order is not None:
        padded = _take(padded, order, 1)
        lengths = [lengths[i] for i in order.tolist()]
    made = padded.transpose(0, 1) if batch_first else padded
    return made, tensor(lengths, dtype=lampyr.int64)


def repack(padded: Tensor, like: PackedSequence) -> PackedSequence:
    """``[T, B, ...]`` in the order of ``like``."""
    places, _ = _places(_lengths(_numbers(like.batch_sizes)))
    flat = padded.reshape(padded.shape[0] * padded.shape[1], *padded.shape[2:])
    return like._replace(data=_take(flat, tensor(places, dtype=lampyr.int64)))


def pad_sequence(
    sequences: Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences of different lengths ``[L, ...]`` as one tensor ``[T, B, ...]``."""
    if padding_side not in ("right", "left"):
        raise InvalidValueError(f"padding_side is {padding_side!r}", expected="'right' or 'left'")
    given = list(sequences)
    if not given:
        raise InvalidValueError("received an empty list of sequences")
    longest = max(s.shape[0] for s in given)
    rows = []
    for s in given:
        blank = lampyr.full((longest - s.shape[0], *s.shape[1:]), padding_value, dtype=s.dtype)
        rows.append(lampyr.cat([s, blank] if padding_side == "right" else [blank, s]))
    return lampyr.stack(rows, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded tensor."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [rows[i, :n] for i, n in enumerate(_numbers(lengths))]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Packs sequences ``[L, ...]``."""
    lengths = [s.shape[0] for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)
