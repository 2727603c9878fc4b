"""ONNX's own backend tests: every case passes or is listed, with its reason, in `onnx_refused.txt`; none is wrong.

`python python/tests/test_onnx_backend.py --write` writes the list anew; `--match TEXT` runs some cases and shows them.
"""

from __future__ import annotations

import argparse
import glob
import os
import re
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

import lampyr

LIST = Path(__file__).with_name("onnx_refused.txt")
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
DOWNLOAD = "the model must be downloaded"
# Cases whose expected values ONNX leaves open.
OPEN = {
    name: "the expected values are the random numbers of NumPy, which ONNX does not prescribe"
    for name in (
        "test_training_dropout",
        "test_training_dropout_default",
        "test_training_dropout_default_mask",
        "test_training_dropout_mask",
    )
}
# Relative tolerances other than the case's: float16 values that the reference rounds after each of many steps.
WIDER = {"test_attention_4d_causal_fp16_expanded": 2e-3}
# Expected values that are rounding noise around 0: the sums of both sides round differently.
NOISE = {
    "test_basic_deform_conv_with_padding": 1e-6,
    "test_dft_inverse": 1e-6,
    "test_dft_inverse_opset19": 1e-6,
}
HEADER = """\
# The cases of ONNX's backend tests that Lampyr refuses, by reason. The list may only shrink: the test fails when a
# listed case passes and when a case that is not listed is refused. After a change:
#     python python/tests/test_onnx_backend.py --write
"""


@dataclass
class Outcome:
    """What came of one case: `passed`, `refused` or `wrong`."""

    state: str
    reason: str = ""


# Running the cases


def array(value: Any) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def to_lampyr(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return [to_lampyr(item) for item in value]
    value = array(value)
    if value.dtype.name == "bfloat16":
        return lampyr.from_numpy(value.astype(np.float32)).to(lampyr.bfloat16)
    return lampyr.from_numpy(np.ascontiguousarray(value).reshape(value.shape))


def compare(got: Any, want: Any, rtol: float, atol: float) -> None:
    """The comparison of `onnx.backend.test.runner`, for tensors, lists and absent values."""
    if want is None or (isinstance(want, np.ndarray) and want.dtype == object and want.shape == ()):
        assert got is None, f"got {got}, expected nothing"
        return
    assert got is not None, "got nothing"
    if isinstance(want, (list, tuple)):
        assert isinstance(got, list), f"got {type(got).__name__}, expected a list"
        assert len(got) == len(want), f"got {len(got)} tensors, expected {len(want)}"
        for g, w in zip(got, want, strict=True):
            compare(g, w, rtol, atol)
        return
    want = array(want)
    assert isinstance(got, lampyr.Tensor), f"got {type(got).__name__}, expected a tensor"
    name = str(got.dtype).removeprefix("lampyr.")
    assert name == want.dtype.name, f"got {name}, expected {want.dtype.name}"
    if name == "bfloat16":
        got, want, rtol = got.to(lampyr.float32), want.astype(np.float32), max(rtol, 2**-6)
    found = np.asarray(got)
    assert found.shape == want.shape, f"shape {found.shape}, expected {want.shape}"
    np.testing.assert_allclose(found, want, rtol=rtol, atol=atol)


def load_value(path: str, kind: onnx.TypeProto) -> Any:
    data = Path(path).read_bytes()
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def prepare(case: Any) -> tuple[onnx.ModelProto, list[tuple[list[Any], list[Any]]]] | None:
    """The model of a case and its inputs and outputs; none when the model is not in the package."""
    if case.model is not None:
        return case.model, case.data_sets
    if case.model_dir is not None:
        model = onnx.load(os.path.join(case.model_dir, "model.onnx"))
        sets = []
        for folder in sorted(glob.glob(os.path.join(case.model_dir, "test_data_set*"))):

            def values(name: str, infos: Any, folder: str = folder) -> list[Any]:
                count = len(glob.glob(os.path.join(folder, f"{name}_*.pb")))
                return [load_value(os.path.join(folder, f"{name}_{i}.pb"), infos[i].type) for i in range(count)]

            sets.append((values("input", model.graph.input), values("output", model.graph.output)))
        return model, sets
    path = os.path.join(os.path.dirname(onnx.__file__), os.path.relpath(case.url or "", "onnx"))
    if not os.path.exists(path):
        return None
    model = onnx.load(path)
    constants = {t.name for t in model.graph.initializer}
    inputs = [Runner.generate_dummy_data(i) for i in model.graph.input if i.name not in constants]
    stem = os.path.splitext(path)[0]
    outputs = [load_value(f"{stem}_output_{i}.pb", o.type) for i, o in enumerate(model.graph.output)]
    return model, [(inputs, outputs)]


def refusal(error: lampyr.errors.UnsupportedError) -> str:
    """What is missing, without the names and numbers of one case."""
    reasons = {re.sub(r" \(operator set \d+\)", "", what) for what, _ in error.missing}
    return "; ".join(sorted(" ".join(r.split()) for r in reasons))


def run_case(case: Any) -> Outcome:
    try:
        made = prepare(case)
        if made is None:
            return Outcome("refused", DOWNLOAD)
        proto, sets = made
        model = lampyr.load_onnx(proto.SerializeToString())
        for inputs, want in sets:
            got = model(*[to_lampyr(i) for i in inputs])
            rtol = max(case.rtol, WIDER.get(case.name, 0.0))
            atol = max(case.atol, NOISE.get(case.name, 0.0))
            if case.name not in OPEN:
                compare(list(got) if isinstance(got, tuple) else [got], list(want), rtol, atol)
    except lampyr.errors.UnsupportedError as error:
        return Outcome("refused", refusal(error))
    except Exception as error:  # noqa: BLE001
        return Outcome("wrong", f"{type(error).__name__}: {error}")
    return Outcome("refused", OPEN[case.name]) if case.name in OPEN else Outcome("passed")


def cases() -> Iterator[tuple[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind in KINDS:
            for case in load_model_tests(kind=kind):
                yield f"{kind}/{case.name}", case


def run_all(match: str = "") -> dict[str, Outcome]:
    results = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, case in cases():
            if match in name:
                results[name] = run_case(case)
    return results


# The list


def read_list(text: str) -> dict[str, str]:
    listed: dict[str, str] = {}
    reason = ""
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line.startswith(" "):
            listed[line.strip()] = reason
        else:
            reason = line.strip()
    return listed


def write_list(results: dict[str, Outcome]) -> str:
    groups = defaultdict(list)
    for name, outcome in results.items():
        if outcome.state == "refused":
            groups[outcome.reason].append(name)
    lines = [HEADER]
    for reason in sorted(groups):
        lines += [reason, *(f"    {name}" for name in sorted(groups[reason])), ""]
    return "\n".join(lines)


def problems(results: dict[str, Outcome], listed: dict[str, str]) -> list[str]:
    """Everything that keeps the run from being right."""
    found = [f"{name}: listed, but there is no such case" for name in listed if name not in results]
    for name, outcome in results.items():
        if outcome.state == "wrong":
            found.append(f"{name}: wrong: {outcome.reason}")
        elif outcome.state == "passed" and name in listed:
            found.append(f"{name}: passes, take it off the list")
        elif outcome.state == "refused" and name not in listed:
            found.append(f"{name}: refused, but not listed: {outcome.reason}")
        elif outcome.state == "refused" and listed[name] != outcome.reason:
            found.append(f"{name}: refused for another reason than listed: {outcome.reason}")
    return found


def summary(results: dict[str, Outcome]) -> str:
    lines = [f"{'kind':18} {'cases':>6} {'passed':>7} {'refused':>8} {'wrong':>6}"]
    for kind in (*KINDS, "all"):
        states = Counter(o.state for n, o in results.items() if kind == "all" or n.startswith(kind + "/"))
        row = (sum(states.values()), states["passed"], states["refused"], states["wrong"])
        lines.append(f"{kind:18} {row[0]:6} {row[1]:7} {row[2]:8} {row[3]:6}")
    reasons = Counter(o.reason for o in results.values() if o.state == "refused")
    lines += ["", "refused, by reason:"] if reasons else []
    lines += [f"{count:5} {reason}" for reason, count in reasons.most_common()]
    return "\n".join(lines)


# Tests


def test_every_case() -> None:
    results = run_all()
    print(summary(results))
    found = problems(results, read_list(LIST.read_text()))
    assert not found, f"{len(found)}:\n" + "\n".join(sorted(found)[:100])
    assert sum(o.state == "passed" for o in results.values()) >= 1450


def test_the_check_notices() -> None:
    listed = {"node/a": "reason", "node/b": "reason", "node/gone": "reason"}
    good = {"node/a": Outcome("refused", "reason"), "node/b": Outcome("refused", "reason"), "node/c": Outcome("passed")}
    assert problems(good, {"node/a": "reason", "node/b": "reason"}) == []
    assert problems(good, listed) == ["node/gone: listed, but there is no such case"]
    for name, outcome, word in [
        ("node/a", Outcome("passed"), "take it off"),
        ("node/a", Outcome("refused", "other"), "another reason"),
        ("node/c", Outcome("refused", "reason"), "not listed"),
        ("node/c", Outcome("wrong", "ValueError"), "wrong"),
        ("node/a", Outcome("wrong", "ValueError"), "wrong"),
    ]:
        found = problems({**good, name: outcome}, {"node/a": "reason", "node/b": "reason"})
        assert len(found) == 1 and word in found[0], found


def test_the_list_is_read_as_it_is_written() -> None:
    results = {"node/b": Outcome("refused", "x"), "node/a": Outcome("refused", "y"), "node/c": Outcome("passed")}
    assert read_list(write_list(results)) == {"node/b": "x", "node/a": "y"}


def test_wrong_answers_are_noticed() -> None:
    one = lampyr.from_numpy(np.array([1.0, np.nan], dtype=np.float32))
    compare(one, np.array([1.0, np.nan], dtype=np.float32), 1e-3, 1e-7)
    compare([one], [np.asarray(one)], 1e-3, 1e-7)
    compare(None, None, 0, 0)
    for got, want in [
        (one, np.array([1.1, np.nan], dtype=np.float32)),
        (one, np.array([1.0, np.nan])),
        (one, np.array([[1.0, np.nan]], dtype=np.float32)),
        ([one], [np.asarray(one)] * 2),
        (one, None),
        (None, np.asarray(one)),
    ]:
        try:
            compare(got, want, 1e-3, 1e-7)
        except AssertionError:
            continue
        raise AssertionError(f"{got} passed for {want}")


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--write", action="store_true", help="write the list of refused cases")
    arguments.add_argument("--match", default="", help="run cases whose name holds this text")
    given = arguments.parse_args()
    start = time.monotonic()
    results = run_all(given.match)
    for name, outcome in results.items():
        if outcome.state == "wrong" or (given.match and not given.write):
            print(f"{name}: {outcome.state} {outcome.reason}")
    print(summary(results))
    print(f"{time.monotonic() - start:.1f} s")
    if given.write and not given.match:
        LIST.write_text(write_list(results))
    return int(any(o.state == "wrong" for o in results.values()))


if __name__ == "__main__":
    sys.exit(main())
