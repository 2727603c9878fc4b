"""The cases of all ops from Python: called by name, and as ONNX models beside ONNX Runtime."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import lampyr

ROOT = Path(__file__).resolve().parents[2]
Row = dict[str, Any]
BFLOAT16 = "bfloat16"
# What ONNX Runtime answers when it has no kernel for a type, or does not implement the operator at all.
REFUSALS = (
    "NOT_IMPLEMENTED",
    "INVALID_GRAPH",
    "Could not find an implementation",
    "not a registered function",
    "lrn.h",
    "Ellipsis represents incompatible dimensions",
    "Indices tensor must have rank >= 1",
    "bound to different types",
)
# Cases in which ONNX Runtime's answer is one of several: integers that overflow on the way through floats, a grid of
# one place, queries without keys.
OTHERWISE = {
    "affine_grid/centres-single",
    "pow/broadcast-int64",
    "pow/special-int32",
    "pow/special-int64",
    "reduce_l1/special-int32",
    "reduce_prod/special-int32",
    "reduce_sum_square/special-int32",
    "reduce_sum_square/special-int64",
    "scaled_dot_product_attention/mask-row-of-none-float64",
}


@pytest.fixture(scope="module")
def cases() -> dict[str, Row]:
    command = ["cargo", "run", "--quiet", "--release", "-p", "lampyr-conformance", "--bin", "cases", "--", "--complete"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def array(item: list[Any]) -> np.ndarray:
    dtype, shape, text = item
    raw = np.frombuffer(bytes.fromhex(text), dtype=np.uint8).copy()
    return raw.view(np.uint16 if dtype == BFLOAT16 else dtype).reshape(shape)


def tensor(item: list[Any]) -> lampyr.Tensor:
    """A tensor of any dtype; NumPy has no bfloat16, float32 holds it exactly."""
    value = array(item)
    if item[0] == BFLOAT16:
        wide = (value.astype(np.uint32) << 16).view(np.float32)
        return lampyr.from_numpy(wide).to(lampyr.bfloat16)
    return lampyr.from_numpy(value)


def numbers(value: lampyr.Tensor) -> np.ndarray:
    return np.asarray(value.to(lampyr.float32) if value.dtype == lampyr.bfloat16 else value)


def differ(got: np.ndarray, want: np.ndarray, tolerance: list[float]) -> str | None:
    if got.shape != want.shape:
        return f"shape {got.shape}, expected {want.shape}"
    absolute, relative = tolerance
    if np.issubdtype(want.dtype, np.floating):
        close = np.isclose(
            got.astype(np.float64), want.astype(np.float64), rtol=relative, atol=absolute, equal_nan=True
        )
    else:
        close = got == want
    return None if bool(close.all()) else f"{got[~close][:3]}, expected {want[~close][:3]}"


def dtyped(name: str, value: Any) -> Any:
    return getattr(lampyr, value) if name in ("to", "dtype") and isinstance(value, str) else value


def test_every_case_eagerly(cases: dict[str, Row]) -> None:
    wrong = []
    for key, row in cases.items():
        integers = all("int" in i[0] for i in row["inputs"])
        if not row["inputs"] or (row["op"] == "div" and integers):  # by name, too, `div` divides truly, as in PyTorch
            continue
        attributes = {k: dtyped(k, v) for k, v in row["attrs"].items()}
        made = lampyr.call_op(row["op"], *(tensor(i) for i in row["inputs"]), **attributes)
        outputs = made if isinstance(made, tuple) else (made,)
        for got, want in zip(outputs, row["outputs"], strict=True):
            problem = differ(numbers(got), numbers(tensor(want)), row["tolerance"])
            if problem or str(got.dtype).removeprefix("lampyr.") != want[0]:
                wrong.append(f"{key}: {got.dtype} {problem}")
    print(f"{len(cases)} cases from Python")
    assert len(cases) > 1000
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:40])


def test_every_onnx_case(cases: dict[str, Row]) -> None:
    """Each case as an ONNX file: Lampyr and ONNX Runtime, where it has a kernel, give the reference's result."""
    wrong, ran, compared, refused = [], 0, 0, 0
    for key, row in cases.items():
        if "onnx" not in row:
            continue
        ran += 1
        data = bytes.fromhex(row["onnx"])
        model = lampyr.load_onnx(data)
        made = model(*(tensor(i) for i in row["inputs"]))
        outputs = [numbers(t) for t in (made if isinstance(made, tuple) else (made,))]
        # ONNX keeps attributes such as epsilon in float32.
        tolerance = [max(t, 1e-6) for t in row["tolerance"]] if "float" in row["outputs"][0][0] else row["tolerance"]
        for got, want in zip(outputs, row["outputs"], strict=True):
            if problem := differ(got, numbers(tensor(want)), tolerance):
                wrong.append(f"{key}: {problem}")
        if any(i[0] == BFLOAT16 for i in row["inputs"] + row["outputs"]) or skip_peer(key, row):
            continue
        peer = run_peer(data, row)
        if peer is None:
            refused += 1
            continue
        compared += 1
        for got, want in zip(outputs, peer, strict=False):
            if problem := differ(got, want, [4 * t for t in tolerance]):
                wrong.append(f"{key}: against ONNX Runtime: {problem}")
    print(f"{ran} ONNX cases, {compared} also run by ONNX Runtime, {refused} refused by it")
    assert ran > 500 and compared > 300 and refused < ran // 4
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:200])


def skip_peer(key: str, row: Row) -> bool:
    """Where ONNX Runtime stops the process, or ONNX leaves the result open."""
    values = [array(i) for i in row["inputs"]]
    if key in OTHERWISE:
        return True
    if row["op"] == "div" and not np.issubdtype(values[0].dtype, np.floating):
        return True
    if row["op"] == "nonzero" and values[0].ndim == 0:
        return True
    if row["op"] == "reduce_sum" and "special" in key:
        return True
    special = any(np.issubdtype(v.dtype, np.floating) and not np.isfinite(v).all() for v in values)
    return special or any(math.prod(i[1]) == 0 for i in row["inputs"]) or row["op"] in ("dropout",)


STATE = onnxruntime.capi.onnxruntime_pybind11_state


def run_peer(data: bytes, row: Row) -> list[np.ndarray] | None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001
        assert any(word in str(error) for word in REFUSALS), str(error)
        return None
    names = [i.name for i in session.get_inputs()]
    try:
        return session.run(None, {n: array(i) for n, i in zip(names, row["inputs"], strict=False)})
    except (STATE.InvalidArgument, STATE.Fail, STATE.RuntimeException, STATE.NotImplemented):
        return None
