"""Writes promotion.json: the dtype that PyTorch gives to every pair of operands, as tensors with axes, 0-d tensors and
Python numbers. Needs torch."""

import json
import pathlib

import torch

NAMES = [
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
]
NUMBERS = {"True": True, "2": 2, "2.5": 2.5}


def operand(name: str) -> torch.Tensor | float:
    if name in NUMBERS:
        return NUMBERS[name]
    kind, _, dtype = name.partition(":")
    return torch.ones((2,) if kind == "tensor" else (), dtype=getattr(torch, dtype))


def name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def result(left: str, right: str) -> str | None:
    """None where PyTorch refuses the pair."""
    try:
        return name(torch.result_type(operand(left), operand(right)))
    except RuntimeError:
        return None


def pair(left: str, right: str) -> str | None:
    try:
        return name(torch.promote_types(getattr(torch, left), getattr(torch, right)))
    except RuntimeError:
        return None


def cast(source: str, target: str) -> bool:
    return torch.can_cast(getattr(torch, source), getattr(torch, target))


operands = [f"{kind}:{n}" for kind in ("tensor", "zero") for n in NAMES] + list(NUMBERS)
golden = {
    "promote_types": {a: {b: pair(a, b) for b in NAMES} for a in NAMES},
    "can_cast": {a: [b for b in NAMES if cast(a, b)] for a in NAMES},
    "result_type": {a: {b: result(a, b) for b in operands} for a in operands},
}
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
