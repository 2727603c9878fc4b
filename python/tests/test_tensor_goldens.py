"""Expressions with tensors give what PyTorch gives; the goldens come from conformance/tensor/*.py."""

import builtins
import json
import math
import pathlib

import pytest

import lampyr as lp

FOLDER = pathlib.Path(__file__).parents[2] / "conformance" / "tensor"
GOLDEN = json.loads((FOLDER / "expressions.json").read_text())
PROMOTION = json.loads((FOLDER / "promotion.json").read_text())


class Key:
    def __getitem__(self, index):
        return index


def put(x, change, value):
    change(x, value)
    return x


def run(expression):
    return eval(expression, {"T": lp, "put": put, "key": Key()})


def close(a, b, dtype):
    if isinstance(b, str):
        a, b = float(a), float(b)
        if math.isnan(b):
            return math.isnan(a)
        steps = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 2e-6, "float64": 1e-14}
        # A float result shows its sign at zero.
        return a == b and math.copysign(1, a) == math.copysign(1, b) or abs(a - b) <= steps[dtype] * abs(b)
    return a == b and type(a) is type(b)


def differences(group):
    for expression, want in GOLDEN[group].items():
        error = want["error"] if isinstance(want, dict) and "error" in want else None
        try:
            got = run(expression)
        except Exception as e:
            if error is None:
                yield f"{expression}: {type(e).__name__} {e}, PyTorch gives {want}"
            else:
                # Whoever catches PyTorch's class catches ours.
                kind = getattr(builtins, error)
                if not isinstance(e, (RuntimeError,) if kind is NotImplementedError else kind):
                    yield f"{expression}: {type(e).__mro__}, PyTorch raises {error}"
            continue
        if error is not None:
            yield f"{expression}: {got}, PyTorch raises {error}"
        elif isinstance(want, str):
            if repr(got).replace("lampyr.", "torch.") != want:
                yield f"{expression}:\n{got!r}\nPyTorch prints\n{want}"
        elif isinstance(want, dict):
            if repr(got) != want["value"] and not isinstance(got, (float, complex)):
                yield f"{expression}: {got!r}, PyTorch gives {want['value']}"
        elif not isinstance(got, lp.Tensor):
            yield f"{expression}: {got!r}, PyTorch gives {want}"
        else:
            dtype, shape, values = want
            flat = got.reshape(-1).tolist()
            same = len(flat) == len(values) and all(close(a, b, dtype) for a, b in zip(flat, values, strict=True))
            if got.dtype.name != dtype or list(got.shape) != shape or not same:
                yield f"{expression}: {got.dtype.name} {list(got.shape)} {flat}, PyTorch gives {want}"


@pytest.mark.parametrize("group", GOLDEN)
def test_expressions(group):
    wrong = list(differences(group))
    assert not wrong, f"{len(wrong)} of {len(GOLDEN[group])}:\n" + "\n".join(wrong[:40])


def test_promote_types():
    for a, row in PROMOTION["promote_types"].items():
        for b, want in row.items():
            got = lp.promote_types(getattr(lp, a), getattr(lp, b))
            # PyTorch has no common type of the wider unsigned types and other integers; Lampyr has.
            assert want is None or got.name == want, (a, b, got, want)
            assert got is lp.promote_types(b, a)


def operand(name):
    numbers = {"True": True, "2": 2, "2.5": 2.5}
    if name in numbers:
        return numbers[name]
    kind, _, dtype = name.partition(":")
    return lp.ones((2,) if kind == "tensor" else (), dtype=dtype)


def test_result_types():
    count = 0
    for a, row in PROMOTION["result_type"].items():
        for b, want in row.items():
            if want is None:
                continue
            x, y = operand(a), operand(b)
            assert lp.result_type(x, y).name == want, (a, b)
            if (isinstance(x, lp.Tensor) or isinstance(y, lp.Tensor)) and want != "bool":
                assert (x * y).dtype.name == want, (a, b)
            count += 1
    assert count > 700


def test_casts():
    for a, targets in PROMOTION["can_cast"].items():
        for b in PROMOTION["can_cast"]:
            assert lp.can_cast(getattr(lp, a), getattr(lp, b)) == (b in targets)


def test_default_dtype():
    assert lp.get_default_dtype() is lp.float32
    lp.set_default_dtype(lp.float64)
    try:
        for made in (
            lp.zeros(2),
            lp.tensor(1.5),
            lp.rand(2),
            lp.tensor([1]) / 2,
            lp.tensor([1]) + 0.5,
            lp.arange(2.0),
            lp.linspace(0, 1, 2),
            lp.eye(2),
            lp.full((2,), 1.0),
            lp.exp(lp.tensor([1])),
        ):
            assert made.dtype is lp.float64
        assert repr(lp.tensor([1.5])) == "tensor([1.5000])"
        assert lp.finfo().bits == 64
    finally:
        lp.set_default_dtype(lp.float32)
    with pytest.raises(TypeError):
        lp.set_default_dtype(lp.int64)
