"""Writes expressions.json: what PyTorch makes of Python expressions with tensors, by group: dtype, shape and elements,
or the printed form, or the class of the exception. In an expression `T` is the library. Needs torch."""

import itertools
import json
import pathlib
import random
import warnings
from typing import Any

import torch

warnings.simplefilter("ignore")

INTS = [-7, -3, -1, 0, 1, 3, 7]
DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
NUMBERS = ["True", "3", "-2", "2.5", "0"]


def text(dtype: str, values: list[Any]) -> str:
    return f"T.tensor({values}, dtype=T.{dtype})"


def operators() -> list[str]:
    made = []
    values = {"bool": [True, False, True], "uint8": [200, 3, 7], "int8": [-128, 100, 5]}
    for op in ["+", "-", "*", "/", "//", "%", "**", "&", "|", "^", "<<", ">>", "<", "<=", "==", "!=", ">", ">="]:
        for d in DTYPES:
            x = text(d, values.get(d, [-7, 3, 5] if "int" in d else [-7.5, 3, 0.25]))
            for n in NUMBERS:
                made += [f"{x} {op} {n}", f"{n} {op} {x}"]
            made.append(f"{x} {op} {text('int64', [2, 1, 3])}")
            made.append(f"{x} {op} {text('float32', [2, 0.5, 3])}")
            made.append(f"{x} {op} T.tensor(2, dtype=T.int16)")
    for a, b in itertools.product(["int8", "int64"], ["//", "%", "**"]):
        made.append(f"{text(a, INTS)} {b} {text(a, [2, -2, 3, -3, 5, -5, 1])}")
    for b in ["//", "%", "/"]:
        made.append(f"{text('float32', [1.0, -1.0, 0.0, 5.5])} {b} 0.0")
        made.append(f"{text('float64', [1.0, -1.0, 0.0, 5.5])} {b} -0.3")
        made.append(f"T.tensor([float('inf'), float('nan'), -0.0]) {b} 2")
    made += ["T.tensor([-128], dtype=T.int8) // -1", "T.tensor([2**63 - 1]) + 1", "T.tensor([-(2**63)]) - 1"]
    made += ["T.tensor([2**62]) * 4", "~T.tensor([0, -1, 5])", "~T.tensor([True, False])", "~T.tensor([1.0])"]
    made += ["-T.tensor([True])", "-T.tensor([-128], dtype=T.int8)", "abs(T.tensor([-3, 2]))", "+T.tensor([1])"]
    made += ["T.tensor([1, 2]) == None", "T.tensor([1, 2]) != 'a'", "T.tensor([1]) < None", "T.tensor([1]) + 'a'"]
    made += ["divmod(T.tensor([1]), 2)", "round(T.tensor([1.5]))", "T.ones(2) @ 2", "T.ones(2, 2) @ T.ones(3)"]
    made += ["2 in T.tensor([1, 2])", "5 in T.tensor([1, 2])", "None in T.tensor([1])", "2.0 in T.tensor([1, 2])"]
    made += ["T.ones(2, dtype=T.bool).sum()", "T.ones(2, dtype=T.int8).sum()", "T.tensor([]).sum()"]
    return made


def conversions() -> list[str]:
    made = []
    for value in ["3", "3.7", "-3.7", "True", "float('nan')", "float('inf')", "1e30", "[1]", "[1, 2]", "[]", "[[2.5]]"]:
        for to in ["int", "float", "bool", "complex", "[4, 5, 6, 7].__getitem__", "len", "list"]:
            made.append(f"{to}(T.tensor({value}))")
        made += [f"T.tensor({value}).item()", f"T.tensor({value}).tolist()", f"format(T.tensor({value}), '.2f')"]
        made.append(f"f'{{T.tensor({value})}}'")
    for source, target in itertools.product(DTYPES, DTYPES):
        values = [True, False] if source == "bool" else [0, 1, 100] if "int" in source else [0.0, 1.75, -0.5, 100.0]
        if target == "uint8" and "float" in source:
            values = [0.0, 1.75, 100.0]
        made.append(f"{text(source, values)}.to(T.{target})")
    made += ["T.tensor([300], dtype=T.uint8)", "T.tensor([-1], dtype=T.uint8)", "T.tensor([2**31], dtype=T.int32)"]
    made += ["T.full((2,), 300, dtype=T.uint8)", "T.tensor([1.5, 2], dtype=T.int32)", "T.tensor([[1, 2], [3]])"]
    made += ["T.tensor([1, 2.5])", "T.tensor([True, 2])", "T.tensor([True, False])", "T.tensor([T.tensor(1), 2])"]
    made += ["T.tensor([[]])", "T.tensor(())", "T.tensor('a')", "T.tensor([None])", "T.zeros(-1)", "T.zeros(2, 0)"]
    made += ["T.ones(3).mT", "T.ones(2, 3).H.shape == (3, 2)", "T.ones(2, 3, 4).mH.shape == (2, 4, 3)", "T.ones(3).H"]
    made += ["T.arange(5)", "T.arange(1, 2, 0.25)", "T.arange(5, 1, -2)", "T.arange(0, 5, 0)", "T.arange(5.0)"]
    made += ["T.linspace(0, 1, 5)", "T.linspace(0, 10, 1)", "T.linspace(0, 1, 0)", "T.linspace(0, 5, 4, dtype=T.int64)"]
    made += ["T.logspace(0, 2, 3)", "T.eye(2, 3)", "T.eye(2, dtype=T.int8)", "T.linspace(0, 1, -1)"]
    made += ["T.tensor([1, 2, 3], dtype=T.int32).view(T.int16)", "T.tensor([1.0, 2.0]).view(T.int32)"]
    made += ["T.tensor([[1, 2], [3, 4]], dtype=T.uint8).view(T.int16)", "T.zeros(3, dtype=T.uint8).view(T.int16)"]
    made += ["T.zeros(2, 2).T.view(T.float64)", "T.tensor(1.0).view(T.int32)", "T.tensor(1.0).view(T.float64)"]
    return made


def printed() -> list[str]:
    made = []
    for body in [
        "1",
        "1.5",
        "True",
        "[]",
        "[1, 20, -3]",
        "[1.0, 2.0]",
        "[1.5, -20.25]",
        "[1e-5, 1.0]",
        "[1e9, 1.0]",
        "[1e5, 1.0]",
        "[float('nan'), 1.0]",
        "[float('inf'), 1.5]",
        "[float('-inf'), 0.0]",
        "[0.0, 0.0]",
        "[0.00001]",
        "[123456789.0]",
        "[[1, 2], [3, 4]]",
        "[[[1.0], [2.0]], [[3.0], [4.5]]]",
        "[True, False]",
        "[[], []]",
        "[1e-8]",
        "[1000.5, 1.0]",
        "[0.1, 0.2, 0.30000001]",
        "[1e38]",
        "[-0.0, 1.0]",
        "[float('nan')]",
        "[1e10, float('inf')]",
    ]:
        made.append(f"T.tensor({body})")
    for d in ["float64", "float16", "bfloat16", "int32", "uint8", "int16", "int8"]:
        made += [f"T.tensor([1, 2], dtype=T.{d})", f"T.tensor(3, dtype=T.{d})", f"T.zeros(0, dtype=T.{d})"]
    made += ["T.zeros(0, 3)", "T.zeros(2, 0, dtype=T.int64)", "T.arange(1001)", "T.arange(2000).reshape(40, 50)"]
    made += ["T.arange(24.0).reshape(2, 3, 4)", "T.arange(100)", "T.arange(100.0) / 7", "T.zeros(1, 1001)"]
    made += [
        "T.arange(30.0).reshape(1, 1, 30)",
        "T.arange(5000.0).reshape(10, 10, 50)",
        "T.ones(8, 1000, dtype=T.bool)",
    ]
    made += ["T.ones(2, requires_grad=True)", "T.ones(20, dtype=T.float64, requires_grad=True)"]
    made += ["T.arange(17.0, dtype=T.float64)", "T.arange(14) * 1000000", "T.ones(13, dtype=T.float16)"]
    return made


def index_of(rng: random.Random, shape: list[int]) -> str:
    items: list[str] = []
    left = list(shape)
    wide = rng.choice([[2], [3], [2, 2], [1], []])
    while left and rng.random() < 0.85:
        kind = rng.choice(["int", "slice", "none", "dots", "list", "tensor", "mask", "mask2", "bool"])
        n = left[0]
        if kind == "int":
            items.append(str(rng.randint(-n, n - 1) if n else 0))
        elif kind == "slice":
            part = [rng.choice(["", str(rng.randint(-n - 2, n + 2))]) for _ in range(2)]
            items.append(":".join([*part, rng.choice(["1", "2", "3", ""])]))
        elif kind == "none":
            items.append("None")
            continue
        elif kind == "dots":
            if "..." in items:
                continue
            items.append("...")
            left = left[rng.randint(0, len(left)) :]
            continue
        elif kind in ("list", "tensor") and n:
            size = 1
            for w in wide:
                size *= w
            values: Any = [rng.randint(-n, n - 1) for _ in range(size)]
            if wide == [2, 2]:
                values = [values[:2], values[2:]]
            dtype = rng.choice(["int64", "int32"])
            items.append(
                f"T.tensor({values if wide else values[0]}, dtype=T.{dtype})" if kind == "tensor" else str(values)
            )
        elif kind == "mask":
            items.append(str([rng.random() < 0.5 for _ in range(n)]) if n else "T.zeros(0, dtype=T.bool)")
            wide = [-1]
        elif kind == "mask2" and len(left) > 1:
            items.append(f"T.tensor({[[rng.random() < 0.5 for _ in range(left[1])] for _ in range(n)]})")
            left = left[1:]
        elif kind == "bool" and rng.random() < 0.3:
            items.append(rng.choice(["True", "False"]))
            continue
        else:
            continue
        left = left[1:]
    return ", ".join(items) or "..."


def indexing() -> list[str]:
    rng = random.Random(7)
    made = []
    for _ in range(420):
        shape = rng.choice([[4], [3, 4], [2, 3, 4], [3, 1, 2], [2, 0, 3], [2, 2, 3, 2]])
        count = 1
        for d in shape:
            count *= d
        made.append(f"T.arange({count}).reshape({shape})[{index_of(rng, shape)}]")
    base = "T.arange(12).reshape(3, 4)"
    for index in [
        "1.0",
        "3",
        "-4",
        "T.tensor([5])",
        "::-1",
        "::0",
        "True",
        "False",
        "(True, 0)",
        "[slice(0, 1)]",
        "()",
        "[[0, 1], [1, 2]]",
        "T.tensor(1, dtype=T.uint8)",
        "T.tensor([1, 0, 1], dtype=T.uint8)",
        "T.tensor([1.0])",
        "0, 0, 0",
        "0:2.5",
        "T.tensor([True, False])",
        "[True, False, True]",
        "([0, 1], [0, 1, 2])",
        "0:T.tensor(2)",
        "[]",
        "[2**62]",
        "T.tensor([-2**63])",
        "T.tensor([2**63 - 1])",
        "T.tensor([3, 0])",
        "T.tensor([-4])",
        "1j",
        "T.zeros(0, dtype=T.int64)",
        "[[]]",
        "2**63 - 1",
        "-2**63",
        "2**40:2**62",
        "-2**62:2**62:2**62",
        "T.tensor(0), :, T.tensor([1])",
        "[0], :, None, [1]",
        "None, [0, 1], [0, 1]",
        ":, None, [1, 0]",
    ]:
        made.append(f"{base}[{index}]")
    made += ["T.tensor(5)[None]", "T.tensor(5)[...]", "T.tensor(5)[()]", "T.tensor(5)[0]", "T.tensor(5)[True]"]
    return made


def assigning() -> list[str]:
    rng = random.Random(11)
    made = []
    while len(made) < 300:
        shape = rng.choice([[4], [3, 4], [2, 3, 4], [2, 0, 3], [2, 2, 3, 2]])
        count = 1
        for d in shape:
            count *= d
        index = index_of(rng, shape)
        base = f"T.arange({count}).reshape({shape})"
        try:
            part = eval(f"{base}[{index}]", {"T": torch})
        except Exception:
            continue
        # Where places repeat, PyTorch does not say which value stays.
        places = part.flatten().tolist()
        kind = rng.choice(["number", "full", "row", "lead", "zero"])
        if len(set(places)) < len(places) and kind in ("full", "row"):
            continue
        size = list(part.shape)
        if kind == "full":
            value = f"-T.arange({part.numel()}).reshape({size})"
        elif kind == "row" and size:
            value = f"-T.arange({size[-1]})"
        elif kind == "lead" and size and size[0] != 0:
            value = f"-T.ones({[1, 1, *[1] * len(size)]}, dtype=T.int64)"
        elif kind == "zero":
            value = "T.tensor(-5)"
        else:
            value = "-9"
        made.append(f"put({base}, lambda x, v: x.__setitem__({index_tuple(index)}, v), {value})")
    base = "T.arange(12).reshape(3, 4)"
    for index, value in [
        ("0", "T.ones(5, dtype=T.int64)"),
        ("[0, 1]", "T.ones(3, 4, dtype=T.int64)"),
        ("5", "0"),
        ("[7]", "0"),
        ("0", "2.7"),
        ("slice(None, None, -1)", "0"),
        ("T.tensor([1.0])", "0"),
        ("(0, 0, 0)", "1"),
        ("[]", "1"),
        ("T.ones(3, 4, dtype=T.bool)", "T.arange(12)"),
        ("T.ones(3, 4, dtype=T.bool)", "T.arange(5)"),
    ]:
        made.append(f"put({base}, lambda x, v: x.__setitem__({index}, v), {value})")
    return made


def index_tuple(index: str) -> str:
    """The index inside brackets as an expression."""
    return f"key[{index}]"


class Key:
    def __getitem__(self, index: object) -> object:
        return index


def put(x: Any, change: Any, value: Any) -> Any:
    change(x, value)
    return x


def outcome(expression: str, as_text: bool) -> object:
    try:
        made = eval(expression, {"T": torch, "put": put, "key": Key()})
    except Exception as e:
        return {"error": type(e).__name__}
    if as_text:
        return repr(made)
    if isinstance(made, torch.Tensor):
        values = [repr(v) if isinstance(v, float) else v for v in made.flatten().tolist()]
        return [str(made.dtype).removeprefix("torch."), list(made.shape), values]
    return {"value": repr(made)}


GROUPS = {
    "operators": operators,
    "conversions": conversions,
    "printed": printed,
    "indexing": indexing,
    "assigning": assigning,
}

if __name__ == "__main__":
    golden = {n: {e: outcome(e, n == "printed") for e in make()} for n, make in GROUPS.items()}
    path = pathlib.Path(__file__).with_suffix(".json")
    lines = []
    for group, cases in golden.items():
        body = ",\n".join(f"{json.dumps(e)}:{json.dumps(o, separators=(',', ':'))}" for e, o in cases.items())
        lines.append(f"{json.dumps(group)}:{{\n{body}\n}}")
    path.write_text("{" + ",\n".join(lines) + "}\n")
    print({n: len(c) for n, c in golden.items()})
