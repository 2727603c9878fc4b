"""ONNX models: reading and writing them, and finding out beforehand whether they can run here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lampyr._lampyr import Check, Problem, Tensor, _record_onnx
from lampyr._lampyr import check_onnx as check
from lampyr._lampyr import load_onnx as load
from lampyr.autograd.tree_ import flatten

__all__ = ["Check", "Problem", "check", "export", "load"]


def export(
    model: Callable[..., Any],
    args: Any = (),
    f: str | os.PathLike[str] | None = None,
    *,
    kwargs: dict[str, Any] | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset_version: int | None = None,
    dynamic_axes: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    training: bool = False,
) -> bytes:
    """The bytes of an ONNX model of one call ``model(*args, **kwargs)``, also written to the file ``f``.

    A module (or a method of one) is called in evaluation mode unless ``training``; parameters and buffers become
    initializers with the names of its state dict. Tensors in nests of lists, tuples and dicts are inputs; other
    arguments stay as they are given.

    Sizes are those of the example, except for axes that vary: ``dynamic_axes`` maps names of inputs to lists of axes or
    to dicts from axes to names of sizes; ``dynamic_shapes`` has the nest of the arguments with such dicts for tensors.
    Axes whose size has one name have one size. Numbers that Python code takes from such sizes are found by calling the
    model with other sizes; they may be sums and products of sizes. Everything else is refused with an error, as are
    reading values (``item()``, ``bool()``), random numbers and changing inputs or weights in place.

    ``opset_version`` is the newest operator set that may be used; the oldest that suffices is written.
    """
    given = args if isinstance(args, tuple) else (args,)
    named = dict(kwargs or {})
    nest = (*given, *named.values())
    leaves, rebuild = flatten(nest)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    names = _input_names(model, nest, given, named, input_names)
    shapes = _shapes(dynamic_shapes, given, named, leaves)
    axes = [_axes(names[k], leaves[i], dynamic_axes, shapes[i]) for k, i in enumerate(places)]
    unknown = set(dynamic_axes or ()) - set(names) - set(output_names or ())
    if unknown:
        raise ValueError(f"dynamic_axes names {sorted(unknown)}; the inputs are {names}")
    outputs = list(output_names or ())

    def call(tensors: list[Tensor]) -> list[Tensor]:
        new = list(leaves)
        for i, t in zip(places, tensors, strict=True):
            new[i] = t
        built = rebuild(new)
        made = model(*built[: len(given)], **dict(zip(named, built[len(given) :], strict=True)))
        results, _ = flatten(made)
        for r in results:
            if not isinstance(r, Tensor):
                raise TypeError(f"export: the model returned a {type(r).__name__}; expected tensors")
        if outputs and len(outputs) != len(results):
            raise ValueError(f"export: {len(outputs)} output names for {len(results)} outputs")
        return results

    examples = [(names[k], leaves[i].detach(), axes[k]) for k, i in enumerate(places)]
    module = getattr(model, "__self__", model)
    data = _in_mode(module, training, lambda: _record_onnx(call, examples, _weights(module), outputs, opset_version))
    if f is not None:
        _write(Path(f), data)
    return data


def _in_mode(model: Any, training: bool, run: Callable[[], bytes]) -> bytes:
    from lampyr.autograd.mode import no_grad
    from lampyr.nn import Module

    before = [(m, m.training) for m in model.modules()] if isinstance(model, Module) else []
    try:
        for module, _ in before:
            module.training = training
        with no_grad():
            return run()
    finally:
        for module, mode in before:
            module.training = mode


def _weights(model: Any) -> list[tuple[str, Tensor]]:
    from lampyr.nn import Module

    if not isinstance(model, Module):
        return []
    named: Iterable[tuple[str, Any]] = [*model.named_parameters(), *model.named_buffers()]
    return [(name, t.detach()) for name, t in named if t is not None]


def _input_names(
    model: Any, nest: tuple[Any, ...], given: tuple[Any, ...], named: dict[str, Any], wanted: Sequence[str] | None
) -> list[str]:
    """One name per tensor among the arguments: those given, then those of the parameters."""
    import inspect

    try:
        known = list(inspect.signature(getattr(model, "forward", model)).parameters.values())
    except (TypeError, ValueError):
        known = []
    words = [
        p.name if i < len(known) and (p := known[i]).kind is not inspect.Parameter.VAR_POSITIONAL else f"input_{i}"
        for i in range(len(given))
    ]
    names: list[str] = []
    for word, value in zip([*words, *named], nest, strict=True):
        count = sum(isinstance(leaf, Tensor) for leaf in flatten(value)[0])
        names += [word] if count == 1 else [f"{word}_{k}" for k in range(count)]
    if wanted is not None and len(wanted) > len(names):
        raise ValueError(f"export: {len(wanted)} input names for {len(names)} inputs {names}")
    made = [*(wanted or ()), *names[len(wanted or ()) :]]
    if len(set(made)) != len(made):
        raise ValueError(f"export: input names must differ, got {made}")
    return made


def _shapes(shapes: Any, given: tuple[Any, ...], named: dict[str, Any], leaves: list[Any]) -> list[Any]:
    """What ``dynamic_shapes`` says of each leaf."""
    if shapes is None:
        return [None] * len(leaves)
    nest = (*given, *named.values())
    if isinstance(shapes, dict):
        if not named and len(shapes) != len(given):
            raise ValueError(f"dynamic_shapes has {len(shapes)} entries for {len(given)} arguments")
        entries = list(shapes.values())
    else:
        entries = list(shapes)
    if len(entries) != len(nest):
        raise ValueError(f"dynamic_shapes has {len(entries)} entries for {len(nest)} arguments")
    found: list[Any] = []

    def walk(entry: Any, value: Any) -> None:
        if isinstance(value, Tensor):
            found.append(entry)
        elif isinstance(value, list | tuple):
            parts = entry if entry is not None else [None] * len(value)
            if len(parts) != len(value):
                raise ValueError(f"dynamic_shapes has {len(parts)} entries for {len(value)} values")
            for e, v in zip(parts, value, strict=True):
                walk(e, v)
        elif isinstance(value, dict):
            for k, v in value.items():
                walk(None if entry is None else entry.get(k), v)
        elif value is not None:
            found.append(None)

    for entry, value in zip(entries, nest, strict=True):
        walk(entry, value)
    return found


def _axes(name: str, x: Tensor, dynamic_axes: Mapping[str, Any] | None, shape: Any) -> list[tuple[int, str]]:
    """The axes of input ``name`` that vary, with the names of their sizes."""
    entry = (dynamic_axes or {}).get(name, shape)
    if entry is None:
        return []
    if not isinstance(entry, Mapping):
        marked = list(entry)
        if name in (dynamic_axes or {}):
            entry = {axis: None for axis in marked}
        else:
            entry = {axis: size for axis, size in enumerate(marked) if size is not None}
    found = []
    for axis, size in entry.items():
        if size is None and name not in (dynamic_axes or {}):
            continue
        if not isinstance(axis, int) or not -x.dim() <= axis < x.dim():
            raise IndexError(f"export: axis {axis!r} of the input {name}, which has {x.dim()} axes")
        at = axis % x.dim()
        word = size if isinstance(size, str) else getattr(size, "__name__", None)
        found.append((at, word if isinstance(word, str) else f"{name}_{at}"))
    return found


def _write(path: Path, data: bytes) -> None:
    """Written beside and renamed, so that no reader finds half a file."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
