"""torch's database of operators: which of them count, in which family, with which tolerances."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo import core

from conformance.parity.check import Tolerance

DTYPES = {
    name: getattr(torch, name) for name in ("float32", "float64", "bfloat16", "float16", "int64", "int32", "bool")
}
PACKAGES = ("nn.functional", "linalg", "fft", "special")
# Internal names, other layouts, and packages that are not torch's core.
LEFT_OUT = ("jiterator", "torch.", "sparse.", "masked.", "signal.")
CREATION = set(
    "arange empty empty_like empty_permuted empty_strided eye fill full full_like linspace logspace new_empty "
    "new_empty_strided new_full new_ones new_zeros ones ones_like scalar_tensor tril_indices triu_indices zeros "
    "zeros_like zero_ complex polar".split()
)
RANDOM = set(
    "bernoulli cauchy exponential geometric log_normal multinomial normal rand_like randint randint_like randn "
    "randn_like uniform".split()
)
PRODUCTS = set(
    "__rmatmul__ addbmm addmm addmv addr baddbmm bmm cdist cov corrcoef cross dot einsum inner kron matmul mm mv "
    "outer tensordot trace vdot trapezoid trapz cumulative_trapezoid".split()
)
INDEXING = set(
    "__getitem__ argwhere bincount bucketize gather histc histogram histogramdd index_add index_copy index_fill "
    "index_put index_reduce index_select isin kthvalue masked_fill masked_scatter masked_select median mode msort "
    "nanmedian nanquantile nonzero nonzero_static put quantile scatter scatter_add scatter_reduce searchsorted sort "
    "take take_along_dim topk unique unique_consecutive unravel_index where argsort cummax cummin".split()
)


def operators() -> list[Any]:
    """Every entry that a CPU tensor library can have."""
    return [op for op in op_db if not op.name.startswith(LEFT_OUT) and (op.name[0] != "_" or op.name[1] == "_")]


def family(op: Any) -> str:
    for package in PACKAGES:
        if op.name.startswith(package + "."):
            return package
    for name, members in (
        ("creation", CREATION),
        ("random", RANDOM),
        ("products", PRODUCTS),
        ("indexing and sorting", INDEXING),
    ):
        if op.name in members:
            return name
    if isinstance(op, core.UnaryUfuncInfo):
        return "unary"
    if isinstance(op, core.BinaryUfuncInfo):
        return "binary"
    if isinstance(op, core.ReductionOpInfo) or op.name in (
        "std",
        "var",
        "std_mean",
        "var_mean",
        "logsumexp",
        "max",
        "min",
    ):
        return "reduction"
    return "shape and other"


def tolerance(op: Any, dtype: torch.dtype) -> Tolerance:
    """The widest that the entry gives for the dtype on the CPU."""
    absolute, relative = 0.0, 0.0
    for decorate in op.decorators:
        if not isinstance(decorate, core.DecorateInfo) or decorate.device_type not in (None, "cpu"):
            continue
        for decorator in decorate.decorators:
            override = getattr(decorator, "d", {}).get(dtype)
            if isinstance(override, tuple):
                absolute, relative = max(absolute, override.atol), max(relative, override.rtol)
            elif isinstance(override, float):
                absolute = max(absolute, override)
    return Tolerance(absolute, relative)


def samples(op: Any, dtype: torch.dtype, limit: int | None) -> Iterator[Any]:
    """The CPU sample inputs; those of floating dtypes require gradients where the operator has them."""
    differentiable = op.supports_autograd and dtype.is_floating_point
    torch.manual_seed(0)
    return itertools.islice(op.sample_inputs("cpu", dtype, requires_grad=differentiable), limit)


def errors(op: Any) -> Iterator[Any]:
    """The inputs that torch refuses, each with its type of exception."""
    if op.error_inputs_func is None:
        return iter(())
    torch.manual_seed(0)
    return iter(op.error_inputs("cpu"))


MIXED = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")


def mixed(op: Any) -> Iterator[Any]:
    """Operands of unequal dtypes for a binary operator: tensors, tensors without axes, and numbers of Python."""
    if not isinstance(op, core.BinaryUfuncInfo):
        return
    named = (
        {"rounding_mode": op.variant_test_name.removesuffix("_rounding")} if "_rounding" in op.variant_test_name else {}
    )
    if op.variant_test_name == "no_rounding_mode":
        named = {}

    def made(name: str, values: list[int], axes: int) -> torch.Tensor:
        return torch.tensor(values if axes else values[0], dtype=getattr(torch, name))

    for left in MIXED:
        for right in MIXED:
            for axes in ((1, 1), (1, 0), (0, 1)) if left != right else ():
                x, y = made(left, [3, 1, 2], axes[0]), made(right, [2, 1, 3], axes[1])
                yield core.SampleInput(x, args=(y,), kwargs=dict(named))
        for number in (True, 2, 1.5):
            for axes in (1, 0):
                yield core.SampleInput(made(left, [3, 1, 2], axes), args=(number,), kwargs=dict(named))
