"""What the function transforms share: levels of differentiation, and forward derivatives from backward ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lampyr._lampyr import Tensor, _depends_on_others, _grad, _vmap_spread, is_grad_enabled
from lampyr._top import zeros, zeros_like
from lampyr.autograd.tree_ import map_tree


class Level:
    """One transform being applied: fresh tensors stand for its arguments, so that derivatives end there.

    A tensor that the surrounding program differentiates stays connected with it through a node of its own.
    """

    def __init__(self) -> None:
        self.outside = is_grad_enabled()
        self._fresh: list[Tensor] = []

    def open(self, x: Tensor) -> Tensor:
        """The tensor that stands for ``x``; gradients must be switched on."""
        x = _vmap_spread(x)
        if self.outside and x.requires_grad:
            return x.view(x.shape)
        fresh = x.detach().requires_grad_()
        self._fresh.append(fresh)
        return fresh

    def watched(self, *values: Tensor) -> bool:
        """Whether the surrounding program differentiates through any of ``values``."""
        tracked = [v for v in values if v.requires_grad]
        return self.outside and bool(tracked) and _depends_on_others(tracked, self._fresh)

    def close(self, value: Any) -> Any:
        """``value`` (tensors in any nest) as the surrounding program may see it."""
        return map_tree(self._one, value)

    def _one(self, x: Any) -> Any:
        if not isinstance(x, Tensor) or not x.requires_grad:
            return x
        return x if self.watched(x) else x.detach()


def gradients(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    seeds: Sequence[Tensor | None] | None,
    create_graph: bool,
    retain_graph: bool = True,
) -> list[Tensor | None]:
    """Gradients with None where there is no path; outputs without a history count as constants."""
    live = [i for i, y in enumerate(outputs) if y.requires_grad]
    if not live or not inputs:
        return [None] * len(inputs)
    given = None if seeds is None else [seeds[i] for i in live]
    return list(_grad([outputs[i] for i in live], list(inputs), given, retain_graph, create_graph, True))


class Pushforward:
    """Forward derivatives of ``outputs`` with respect to ``inputs``, by differentiating the gradient with respect to
    its weights, in which it is linear."""

    def __init__(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
        self._outputs = list(outputs)
        self._weights = [
            _vmap_spread(zeros_like(y.detach())).requires_grad_() if y.requires_grad else None for y in outputs
        ]
        made = gradients(self._outputs, inputs, self._weights, create_graph=True)
        self.is_zero = all(g is None for g in made)
        self._grads = [g if g is not None and g.requires_grad else None for g in made]

    def __call__(self, tangents: Sequence[Tensor], create_graph: bool) -> list[Tensor]:
        grads = [(g, t) for g, t in zip(self._grads, tangents, strict=True) if g is not None]
        weights = [w for w in self._weights if w is not None]
        found: list[Tensor | None] = [None] * len(weights)
        if grads and weights:
            found = gradients([g for g, _ in grads], weights, [t for _, t in grads], create_graph)
        it = iter(found)
        columns = [next(it) if w is not None else None for w in self._weights]
        return [zeros_like(y.detach()) if c is None else c for y, c in zip(self._outputs, columns, strict=True)]


def units(x: Tensor, chunk_size: int | None = None) -> Iterator[Tensor]:
    """The unit tensors of the shape of ``x`` along a new first axis, ``chunk_size`` at a time."""
    count = x.numel()
    step = chunk_size or max(count, 1)
    for start in range(0, count, step):
        rows = min(step, count - start)
        unit = zeros(rows, count, dtype=x.dtype)
        unit.as_strided((rows,), (count + 1,), start).fill_(1)
        yield unit.reshape(rows, *x.shape)
