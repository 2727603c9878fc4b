"""The golden subset: small calls with torch's results and gradients, for tests without torch.

A row is `[path, dtype, arguments, named, result, gradients, absolute, relative]`; `encode` says how values are written.
"""

from __future__ import annotations

import functools
import gzip
import json
import math
import warnings
from pathlib import Path
from typing import Any, TextIO

import torch

from conformance.parity import database, pool
from conformance.parity.check import Outcome, compare, compare_derivatives, cotangent
from conformance.parity.convert import tensors, to_torch
from conformance.parity.translate import Missing, attribute, path
from conformance.parity.worker import Sample, attempt, ours_of

# Samples of each dtype, and the most elements that a call may touch.
SAMPLES = {"float32": 4, "float64": 2, "int64": 2, "bool": 2, "bfloat16": 1}
# Samples that are looked at: those with arguments of another look are taken first.
LOOKED_AT = 60
ELEMENTS = 120
LIMIT = 2_000_000


def encode(value: Any) -> Any:
    """JSON: tensors as dtype, shape and bytes; what JSON lacks as an object with one key."""
    if isinstance(value, torch.Tensor):
        raw = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        name = str(value.dtype).removeprefix("torch.")
        return {"tensor": [name, list(value.shape), raw.hex(), value.requires_grad]}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {"dict": {key: encode(item) for key, item in value.items()}}
    if isinstance(value, slice):
        return {"slice": [encode(item) for item in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(type(value).__name__)


def call(op: Any) -> str | None:
    """The path of a function of Lampyr that takes the samples of the operator as they are."""
    for function in (op.op, op.method_variant):
        try:
            found = path(function) if function is not None else None
        except Missing:
            continue
        if found is not None:
            return found
    return None


def row(sample: Sample, where: str) -> list[Any] | None:
    """The row of a sample on which Lampyr agrees with torch; `None` where it is too large.

    Raises what says that it does not agree.
    """
    if sum(t.numel() for t in tensors(sample.arguments, torch.Tensor)) > ELEMENTS:
        return None
    sample.order = min(sample.order, 1)
    theirs = sample.torch_outcome(sample.op.op)
    if sum(t.numel() for t in tensors(theirs.value, torch.Tensor)) > ELEMENTS:
        return None
    verdicts = [attempt(check) for name, check in sample.checks() if name in ("function", "gradient")]
    if any(verdict != "ok" for verdict in verdicts):
        return None
    tolerance = sample.tolerance
    # Tests know no float64 result that could decide between two roundings.
    ours = ours_of(attribute(where), sample.arguments, sample.order)
    compare(theirs.value, to_torch(ours.value), tolerance)
    if len(ours.derivatives) != len(theirs.derivatives):
        return None
    if theirs.derivatives:
        compare_derivatives(theirs, ours, 1, tolerance)
    positional, named = sample.arguments
    head = [where, str(sample.dtype).removeprefix("torch."), encode(list(positional)), encode(named)["dict"]]
    return [*head, encode(theirs.value), gradients(theirs), tolerance.absolute, tolerance.relative]


def gradients(outcome: Outcome) -> Any:
    """`[positions of differentiated results, cotangents, gradients]`; `None` where there are none."""
    results = [outcome.value] if isinstance(outcome.value, torch.Tensor) else list(outcome.value or ())
    if not outcome.derivatives or not all(isinstance(item, torch.Tensor) for item in results):
        return None
    places = [index for index, item in enumerate(results) if item.requires_grad]
    seeds = [cotangent(tuple(results[at].shape), results[at].dtype, 97 + k) for k, at in enumerate(places)]
    return encode([places, seeds, outcome.derivatives[0]])


def look(given: Any) -> str:
    """What a sample shows of an operator: the kinds of its arguments, without their values."""

    def kind(value: Any) -> str:
        if isinstance(value, torch.Tensor):
            return f"{value.dim()}{'e' * (value.numel() == 0)}"
        if isinstance(value, list | tuple):
            return f"({','.join(map(kind, value))})"
        return str(value) if isinstance(value, bool | str) or value is None else type(value).__name__

    return f"{kind(given.input)}{kind(given.args)}{sorted((key, kind(item)) for key, item in given.kwargs.items())}"


def spread(samples: list[Any]) -> list[tuple[int, Any]]:
    """The samples with their positions, one of each look first."""
    seen: set[str] = set()
    first, rest = [], []
    for index, given in enumerate(samples):
        shown = look(given)
        (rest if shown in seen else first).append((index, given))
        seen.add(shown)
    return first + rest


def work(op: Any, where: str, skip: pool.Skip, stream: TextIO) -> None:
    warnings.simplefilter("ignore")
    for name, count in SAMPLES.items():
        dtype = database.DTYPES[name]
        if not op.supports_dtype(dtype, "cpu"):
            continue
        found = 0
        for index, given in spread(list(database.samples(op, dtype, LOOKED_AT))):
            if found == count or (name, index) in skip:
                continue
            stream.write(json.dumps({"begin": [name, index]}) + "\n")
            stream.flush()
            sample = Sample(op, dtype, index, given)
            try:
                made = row(sample, where) if sample.values else None
            except Exception:
                made = None
            found += made is not None
            stream.write(json.dumps({"dtype": name, "index": index, "row": made}) + "\n")


def write(operators: list[Any], target: Path) -> int:
    rows = []
    for op in operators:
        where = call(op)
        if where is not None:
            found = pool.run(functools.partial(work, op, where), 60.0)
            rows += [item["row"] for item in found if item.get("row")]
    text = "[\n" + ",\n".join(json.dumps(item, separators=(",", ":")) for item in rows) + "\n]\n"
    packed = gzip.compress(text.encode(), 9, mtime=0)
    if len(packed) > LIMIT:
        raise SystemExit(f"{len(packed):,} bytes are more than {LIMIT:,}")
    target.write_bytes(packed)
    print(f"{len(rows):,} calls of {len({item[0] for item in rows})} functions in {len(packed):,} bytes: {target}")
    return 0
