"""Histograms of one and several dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from lampyr._lampyr import Tensor, int64
from lampyr._top import linspace, ones, zeros
from lampyr.errors import InvalidValueError, ShapeError


class Histogram(NamedTuple):
    """Counts per bin, and the edges of the bins."""

    hist: Tensor
    bin_edges: Tensor


class HistogramDD(NamedTuple):
    """Counts per bin, and the edges of the bins of each dimension."""

    hist: Tensor
    bin_edges: tuple[Tensor, ...]


def _limits(values: Tensor, given: tuple[float, float] | None) -> tuple[float, float]:
    if given is not None:
        low, high = float(given[0]), float(given[1])
        if low > high or not math.isfinite(low) or not math.isfinite(high):
            raise InvalidValueError(f"the range of a histogram is ({low}, {high})", expected="finite, min <= max")
    elif values.numel() == 0:
        low, high = 0.0, 1.0
    else:
        low, high = float(values.min().item()), float(values.max().item())
        if not math.isfinite(low) or not math.isfinite(high):
            raise InvalidValueError(f"the values range from {low} to {high}", help="give `range`")
    return (low - 0.5, high + 0.5) if low == high else (low, high)


def _edges(values: Tensor, bins: int | Tensor, given: tuple[float, float] | None) -> Tensor:
    if isinstance(bins, Tensor):
        if bins.ndim != 1 or bins.numel() == 0:
            raise ShapeError(f"edges of shape {tuple(bins.shape)}", expected="a vector that is not empty")
        return bins
    if bins < 1:
        raise InvalidValueError(f"a histogram of {bins} bins", expected="one or more")
    low, high = _limits(values, given)
    return linspace(low, high, bins + 1, dtype=values.dtype)


def histogramdd(
    input: Tensor,
    bins: int | Sequence[int] | Sequence[Tensor],
    range: Sequence[float] | None = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> HistogramDD:
    """The histogram of points: the last axis of ``input`` holds the coordinates."""
    if input.ndim < 2:
        raise ShapeError(f"points of shape {tuple(input.shape)}", expected="two or more axes")
    size = input.shape[-1]
    points: Any = input.detach().reshape(-1, size)
    per: list[Any] = [bins] * size if isinstance(bins, int) else list(bins)
    if len(per) != size:
        raise ShapeError(f"{len(per)} bins for points of {size} coordinates", expected="as many")
    if range is not None and len(range) != 2 * size:
        raise ShapeError(f"a range of {len(range)} numbers", expected=f"{2 * size}: two per coordinate")
    limits = [None] * size if range is None else list(zip(range[::2], range[1::2], strict=True))
    edges = tuple(_edges(points[:, k], count, limit) for k, (count, limit) in enumerate(zip(per, limits, strict=True)))
    weights = ones(points.shape[0], dtype=input.dtype) if weight is None else weight.detach().reshape(-1)
    if weights.numel() != points.shape[0]:
        raise ShapeError(f"{weights.numel()} weights for {points.shape[0]} points", expected="as many")
    counts = [edge.numel() - 1 for edge in edges]
    hist: Any = zeros(math.prod(counts), dtype=input.dtype)
    place = zeros(points.shape[0], dtype=int64)
    for k, edge in enumerate(edges):
        column = points[:, k].contiguous()
        at: Any = _search(edge.contiguous(), column) - 1
        last = column == edge[-1]
        at = at - last.to(int64)
        weights = weights * ((column >= edge[0]) & (column <= edge[-1])).to(weights.dtype)
        place = place * counts[k] + at.clamp(0, max(counts[k] - 1, 0))
    if hist.numel() and points.shape[0]:
        hist = hist.index_add(0, place, weights.to(input.dtype))
    hist = hist.reshape(counts)
    if density:
        hist = hist / hist.sum()
        for k, edge in enumerate(edges):
            shape = [1] * size
            shape[k] = counts[k]
            hist = hist / (edge[1:] - edge[:-1]).reshape(shape)
    return HistogramDD(hist, edges)


def _search(edges: Tensor, values: Tensor) -> Any:
    import lampyr

    return lampyr.searchsorted(edges, values, right=True)


def histogram(
    input: Tensor,
    bins: int | Tensor = 100,
    *,
    range: Sequence[float] | None = None,
    weight: Tensor | None = None,
    density: bool = False,
    out: Sequence[Tensor] | None = None,
) -> Histogram:
    """The histogram of all elements."""
    if weight is not None and tuple(weight.shape) != tuple(input.shape):
        raise ShapeError(f"weights of shape {tuple(weight.shape)}", expected=f"that of the input, {tuple(input.shape)}")
    given: Any = [bins]
    made = histogramdd(input.reshape(-1, 1), given, range, weight, density)
    found = Histogram(made.hist, made.bin_edges[0])
    if out is None:
        return found
    for target, value in zip(out, found, strict=True):
        target.resize_(value.shape).copy_(value)
    return Histogram(*out)


def histogram2d(
    x: Tensor,
    y: Tensor,
    bins: int | Sequence[int] | Sequence[Tensor] = 10,
    *,
    range: Sequence[float] | None = None,
    weights: Tensor | None = None,
    density: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The histogram of points with the coordinates ``x`` and ``y``, and the edges of the bins of both."""
    import lampyr

    made = histogramdd(lampyr.stack([x.reshape(-1), y.reshape(-1)], -1), bins, range, weights, density)
    return made.hist, made.bin_edges[0], made.bin_edges[1]


__all__ = ["Histogram", "HistogramDD", "histogram", "histogram2d", "histogramdd"]
