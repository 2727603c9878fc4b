"""Nested tuples, lists and dictionaries of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lampyr._lampyr import Tensor

Rebuild = Callable[[Sequence[Any]], Any]


def _named(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def flatten(value: Any) -> tuple[list[Any], Rebuild]:
    """The leaves of ``value``, and what puts others in their places."""
    leaves: list[Any] = []

    def walk(v: Any) -> Callable[[Any], Any]:
        if isinstance(v, dict):
            keys = list(v)
            parts = [walk(v[k]) for k in keys]
            kind: Any = type(v)
            plain = kind is dict
            return lambda it: (dict if plain else kind)(zip(keys, [p(it) for p in parts], strict=True))
        if isinstance(v, list | tuple):
            parts = [walk(x) for x in v]
            if _named(v):
                named: Any = type(v)
                return lambda it: named(*[p(it) for p in parts])
            sequence: Any = type(v)
            return lambda it: sequence([p(it) for p in parts])
        if v is None:
            return lambda it: None
        leaves.append(v)
        return next

    rebuild = walk(value)

    def make(new: Sequence[Any]) -> Any:
        return rebuild(iter(new))

    return leaves, make


def map_tree(function: Callable[[Any], Any], value: Any) -> Any:
    """``value`` with ``function`` applied to its leaves."""
    leaves, rebuild = flatten(value)
    return rebuild([function(leaf) for leaf in leaves])


def spread(prefix: Any, value: Any, what: str) -> list[Any]:
    """``prefix``, which may end above the leaves of ``value``, as one entry per leaf."""
    if isinstance(value, dict):
        if isinstance(prefix, dict):
            if set(prefix) != set(value):
                raise ValueError(f"{what} has other keys than the value it is for: {list(prefix)}, {list(value)}")
            return [x for k in value for x in spread(prefix[k], value[k], what)]
        return [x for v in value.values() for x in spread(prefix, v, what)]
    if isinstance(value, list | tuple):
        if isinstance(prefix, list | tuple):
            if len(prefix) != len(value):
                raise ValueError(f"{what} has {len(prefix)} entries for {len(value)} values")
            return [x for p, v in zip(prefix, value, strict=True) for x in spread(p, v, what)]
        return [x for v in value for x in spread(prefix, v, what)]
    if value is None:
        return []
    if isinstance(prefix, dict | list | tuple):
        raise ValueError(f"{what} is deeper than the value it is for")
    return [prefix]


def tensors(value: Any) -> list[Tensor]:
    """The tensors among the leaves."""
    return [t for t in flatten(value)[0] if isinstance(t, Tensor)]
