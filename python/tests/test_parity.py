"""Calls whose results and gradients torch computed (conformance/goldens/parity.json.gz; see conformance/parity)."""

import functools
import gzip
import importlib.util
import itertools
import json
import math
import operator
import os
import signal
import sys
import time
from pathlib import Path

import pytest

import lampyr as lp

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "conformance/goldens/parity.json.gz"
ROWS = json.loads(gzip.decompress(FILE.read_bytes()))
BY_FUNCTION = {name: list(rows) for name, rows in itertools.groupby(sorted(ROWS, key=lambda r: r[0]), lambda r: r[0])}
# Absolute and relative, as torch's assert_close has them.
CLOSE = {"float16": (1e-5, 1e-3), "bfloat16": (1e-5, 1.6e-2), "float32": (1e-5, 1.3e-6), "float64": (1e-7, 1e-7)}


def decode(value, leaves):
    if isinstance(value, list):
        return [decode(item, leaves) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    match kind:
        case "tensor":
            dtype, shape, text, wanted = inner
            made = lp._lampyr._rebuild(bytes.fromhex(text), getattr(lp, dtype), tuple(shape), wanted)
            if wanted:
                leaves.append(made)
            return made
        case "dtype":
            return getattr(lp, inner)
        case "float":
            return float(inner)
        case "tuple":
            return tuple(decode(item, leaves) for item in inner)
        case "dict":
            return {key: decode(item, leaves) for key, item in inner.items()}
        case "slice":
            return slice(*(decode(item, leaves) for item in inner))
        case _:
            return Ellipsis


def flat(value):
    return [x for item in value for x in flat(item)] if isinstance(value, list) else [value]


def same(want, got, tolerance):
    """Raises AssertionError where a result is not the golden one."""
    if isinstance(want, list | tuple):
        assert len(want) == len(got)
        for a, b in zip(want, got, strict=True):
            same(a, b, tolerance)
        return
    if not isinstance(want, lp.Tensor):
        want, got = lp.tensor(want), lp.tensor(got)
    assert (got.dtype, tuple(got.shape)) == (want.dtype, tuple(want.shape))
    floor = CLOSE.get(want.dtype.name, (0.0, 0.0))
    absolute, relative = max(tolerance[0], floor[0]), max(tolerance[1], floor[1])
    for a, b in zip(flat(want.tolist()), flat(got.tolist()), strict=True):
        if a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)):
            continue
        assert math.isclose(a, b, rel_tol=0.0, abs_tol=absolute + relative * abs(a)), (a, b)


def function(path):
    if path == "Tensor.__getitem__":
        return operator.getitem
    return functools.reduce(getattr, path.split("."), lp)


def check(row):
    """Raises AssertionError where a call does not give its golden result and gradients."""
    path, _, arguments, named, result, gradients, absolute, relative = row
    leaves = []
    given = decode(arguments, leaves)
    keywords = {key: decode(item, leaves) for key, item in named.items()}
    got = function(path)(*given, **keywords)
    same(decode(result, []), got, (absolute, relative))
    assert len(leaves) == len(gradients[2]) if gradients else True
    if gradients is not None:
        places, cotangents, wanted = (decode(item, []) for item in gradients)
        made = [got] if isinstance(got, lp.Tensor) else [got[at] for at in places]
        found = lp.autograd.grad(made, leaves, grad_outputs=cotangents, allow_unused=True)
        for a, b in zip(wanted, found, strict=True):
            if a is not None or b is not None:
                zero = lp.zeros_like(b if a is None else a)
                same(zero if a is None else a, zero if b is None else b, (absolute, relative))


@pytest.mark.parametrize("path", BY_FUNCTION)
def test_golden_calls(path):
    for row in BY_FUNCTION[path]:
        check(row)


@pytest.mark.parametrize("part", [4, 5])
def test_a_damaged_golden_is_seen(part):
    row = next(row for row in BY_FUNCTION["mul"] if row[1] == "float32" and row[5] and "tensor" in row[4])
    damaged = json.loads(json.dumps(row))
    value = damaged[4] if part == 4 else damaged[5][2][0]
    text = value["tensor"][2]
    value["tensor"][2] = f"{text[:6]}{'41' if text[6:8] == '40' else '40'}{text[8:]}"
    check(row)
    with pytest.raises(AssertionError):
        check(damaged)


def test_a_wrong_value_is_seen():
    want = lp.tensor([1.0, float("nan")])
    same(want, lp.tensor([1.0 + 1e-6, float("nan")]), (0.0, 0.0))
    for wrong in (lp.tensor([1.1, float("nan")]), lp.tensor([1.0, 2.0]), lp.tensor([1, 2]), lp.tensor([1.0])):
        with pytest.raises(AssertionError):
            same(want, wrong, (0.0, 0.0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the harness forks")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_crash_or_a_hang_costs_one_sample():
    spec = importlib.util.spec_from_file_location("parity_pool", ROOT / "conformance/parity/pool.py")
    pool = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = pool
    spec.loader.exec_module(pool)
    pool.SILENCE_SECONDS = 0.5

    def work(skip, stream):
        for index in range(5):
            if ("float32", index) in skip:
                continue
            stream.write(json.dumps({"begin": ["float32", index]}) + "\n")
            stream.flush()
            if index == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            if index == 3:
                time.sleep(60)
            stream.write(json.dumps({"dtype": "float32", "index": index, "checks": {"function": "ok"}}) + "\n")
            stream.flush()

    found = {row["index"]: row["checks"]["function"] for row in pool.run(work, 30.0)}
    assert found == {0: "ok", 1: "broken crash: SIGKILL", 2: "ok", 3: "broken hang: no answer in time", 4: "ok"}
