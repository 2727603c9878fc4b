"""Functions over an axis: tensors with a hidden axis go through ops that are applied to all elements at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lampyr._lampyr import Tensor, _vmap_enter, _vmap_has, _vmap_leave, _vmap_pop, _vmap_push
from lampyr._top import cat
from lampyr.autograd.tree_ import flatten, spread


class Mapped:
    """A level of ``size`` elements, for the time of a ``with`` block."""

    def __init__(self, size: int, randomness: str = "same") -> None:
        self.size = size
        self._randomness = randomness
        self.level = 0

    def __enter__(self) -> Mapped:
        self.level = _vmap_push(self.size, self._randomness)
        return self

    def __exit__(self, *_: object) -> None:
        _vmap_pop(self.level)

    def enter(self, x: Tensor, dim: int = 0) -> Tensor:
        """``x`` with its axis ``dim`` hidden."""
        return _vmap_enter(x, self.level, dim)

    def leave(self, x: Tensor, dim: int = 0) -> Tensor:
        """``x`` with the elements along axis ``dim``; expanded where they are equal."""
        return _vmap_leave(x, self.level, dim, self.size)


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that maps ``func`` over an axis of its arguments: each ``in_dims`` is an axis, or None for arguments
    given whole.

    Ops run on all elements at once. Ops without a rule run on one after another; the trace says so with the reason
    ``vmap_loop``. At most ``chunk_size`` elements are mapped at a time. Reading values inside is an error.
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, rebuild = flatten(args)
        if not leaves:
            raise ValueError("vmap: got no inputs. Expected at least one Tensor to vmap over.")
        given = list(in_dims) if isinstance(in_dims, tuple | list) else in_dims
        dims = spread(given, list(args), "vmap: in_dims")
        count = _count(leaves, dims)

        def part(start: int, size: int) -> tuple[list[Tensor], Any, list[Any]]:
            with Mapped(size, randomness) as level:
                one = [
                    x if d is None else level.enter(x if size == count else x.narrow(d, start, size), d)
                    for x, d in zip(leaves, dims, strict=True)
                ]
                made = func(*rebuild(one), **kwargs)
                results, shape = flatten(made)
                wanted = list(out_dims) if isinstance(out_dims, tuple | list) else out_dims
                places = spread(wanted, made, "vmap: out_dims")
                for k, (y, dim) in enumerate(zip(results, places, strict=True)):
                    results[k], places[k] = _leave(level, y, dim)
                return results, shape, places

        if chunk_size is None or chunk_size >= count:
            results, shape, _ = part(0, count)
            return shape(results)
        parts = [part(start, min(chunk_size, count - start)) for start in range(0, count, chunk_size)]
        _, shape, places = parts[0]
        columns = zip(*[p[0] for p in parts], strict=True)
        return shape([c[0] if d is None else cat(list(c), d) for c, d in zip(columns, places, strict=True)])

    return wrapped


def _count(leaves: list[Any], dims: list[Any]) -> int:
    sizes: set[int] = set()
    for k, (leaf, dim) in enumerate(zip(leaves, dims, strict=True)):
        if dim is None:
            continue
        if not isinstance(leaf, Tensor):
            raise ValueError(f"vmap: in_dim {dim} for an input of type {type(leaf).__name__}; use None for it")
        if not -leaf.dim() <= dim < leaf.dim():
            raise ValueError(f"vmap: in_dim {dim} is out of range for an input with {leaf.dim()} axes")
        dims[k] = dim % leaf.dim()
        sizes.add(leaf.shape[dims[k]])
    if not sizes:
        raise ValueError("vmap: at least one input must be mapped; all in_dims are None")
    if len(sizes) > 1:
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sorted(sizes)} for the mapped dimension"
        )
    count = sizes.pop()
    if count == 0:
        raise ValueError("vmap: the mapped dimension has size 0")
    return count


def _leave(level: Mapped, y: Any, dim: Any) -> tuple[Tensor, int | None]:
    if not isinstance(y, Tensor):
        raise ValueError(f"vmap: func must only return tensors, got a {type(y).__name__}")
    if dim is None:
        if _vmap_has(y, level.level):
            raise ValueError("vmap: out_dims is None for a result that differs between the mapped elements")
        return y, None
    if not -y.dim() - 1 <= dim <= y.dim():
        raise ValueError(f"vmap: out_dim {dim} is out of range for a result with {y.dim()} axes")
    at = dim % (y.dim() + 1)
    return level.leave(y, at), at
