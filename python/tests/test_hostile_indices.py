"""Indices that point outside are refused, whatever their type and size; nothing outside is read or written."""

from collections.abc import Callable
from typing import Any

import pytest

import lampyr as lp

F = lp.nn.functional
REFUSED = (IndexError, RuntimeError, ValueError)
HUGE = 2**63 - 1
X = lp.arange(12.0).view(3, 4)

OUTSIDE = [3, -4, 100, -100, 2**31, -(2**31), 2**40, HUGE, -HUGE - 1]
"""Not an index of an axis of three elements, from either end."""
WIDTHS = [lp.int8, lp.uint8, lp.int16, lp.int32, lp.int64]


def tensors(rows: int | None = None) -> list[lp.Tensor]:
    """Index tensors with one element outside of three, of every type that holds it."""
    made = []
    for value in OUTSIDE:
        for dtype in WIDTHS:
            info = lp.iinfo(dtype)
            if info.min <= value <= info.max:
                one = lp.tensor([0, value], dtype=dtype)
                made.append(one if rows is None else one.view(rows, -1))
    return made


WRONG = [lp.tensor([0.0, 1.0]), lp.tensor([float("nan")]), lp.tensor([float("inf")]), lp.tensor([1e30])]
"""Of a type that is none of indices."""

BY_VECTOR: dict[str, Callable[[lp.Tensor], Any]] = {
    "index": lambda i: X[i],
    "index pair": lambda i: X[i, i * 0],
    "index store": lambda i: X.clone().__setitem__(i, 1.0),
    "index_put": lambda i: X.index_put((i,), lp.tensor(1.0)),
    "index_put add": lambda i: X.index_put((i,), lp.tensor(1.0), accumulate=True),
    "index_put_": lambda i: X.clone().index_put_((i,), lp.tensor(1.0)),
    "index_select": lambda i: lp.index_select(X, 0, i),
    "index_add": lambda i: X.index_add(0, i, lp.ones(i.shape[0], 4)),
    "index_copy": lambda i: X.index_copy(0, i, lp.ones(i.shape[0], 4)),
    "index_fill": lambda i: X.index_fill(0, i, 1.0),
    "index_reduce": lambda i: X.index_reduce(0, i, lp.ones(i.shape[0], 4), "prod"),
    "index_add_": lambda i: X.clone().index_add_(0, i, lp.ones(i.shape[0], 4)),
    "index_copy_": lambda i: X.clone().index_copy_(0, i, lp.ones(i.shape[0], 4)),
    "index_fill_": lambda i: X.clone().index_fill_(0, i, 1.0),
    "take": lambda i: lp.take(X[0, :3].clone(), i),
    "put_": lambda i: lp.zeros(3).put_(i, lp.ones(i.shape[0])),
    "gather": lambda i: lp.gather(X, 0, i.view(-1, 1)),
    "scatter": lambda i: X.scatter(0, i.view(-1, 1), lp.ones(i.shape[0], 1)),
    "scatter value": lambda i: X.scatter(0, i.view(-1, 1), 1.0),
    "scatter_add": lambda i: X.scatter_add(0, i.view(-1, 1), lp.ones(i.shape[0], 1)),
    "scatter_reduce": lambda i: X.scatter_reduce(0, i.view(-1, 1), lp.ones(i.shape[0], 1), "amax"),
    "scatter_": lambda i: X.clone().scatter_(0, i.view(-1, 1), 1.0),
    "take_along_dim": lambda i: lp.take_along_dim(X, i.view(-1, 1), 0),
    "embedding": lambda i: F.embedding(i, X),
    "embedding_bag": lambda i: F.embedding_bag(i.view(1, -1), X),
    "nll_loss": lambda i: F.nll_loss(lp.zeros(i.shape[0], 3), i, ignore_index=-7),
    "nll_loss none": lambda i: F.nll_loss(lp.zeros(i.shape[0], 3), i, reduction="none", ignore_index=-7),
    "cross_entropy": lambda i: F.cross_entropy(lp.zeros(i.shape[0], 3), i, ignore_index=-7),
    "one_hot": lambda i: F.one_hot(i, 3),
    "multi_margin_loss": lambda i: F.multi_margin_loss(lp.zeros(i.shape[0], 3), i),
}


@pytest.mark.parametrize("name", BY_VECTOR)
def test_outside(name: str) -> None:
    for index in tensors():
        try:
            got = BY_VECTOR[name](index)
        except REFUSED:
            continue
        pytest.fail(f"{name} took {index.tolist()} of {index.dtype}: {got}")


@pytest.mark.parametrize("name", BY_VECTOR)
def test_no_indices(name: str) -> None:
    for index in WRONG:
        try:
            got = BY_VECTOR[name](index)
        except REFUSED:
            continue
        pytest.fail(f"{name} took {index.tolist()} of {index.dtype}: {got}")


@pytest.mark.parametrize("value", OUTSIDE)
def test_numbers(value: int) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: X[value],
        lambda: X[0, value + 1 if 0 < value < HUGE else value - 1 if value < 0 and value > -HUGE else value],
        lambda: X.clone().__setitem__(value, 1.0),
        lambda: X.select(0, value),
        lambda: lp.select(X, value, 0),
        lambda: X.narrow(0, value, 2),
        lambda: X.narrow(0, 0, value) if value != 3 else X.narrow(0, 1, 3),
        lambda: X.unfold(0, value, 1) if value != 3 else X.unfold(0, 4, 1),
        lambda: X.unfold(value, 1, 1),
        lambda: X.sum(value),
        lambda: X.transpose(0, value),
        lambda: lp.index_select(X, value, lp.tensor([0])),
        lambda: lp.gather(X, value, lp.zeros(1, 1, dtype=lp.int64)),
        lambda: X.select_scatter(lp.ones(4), 0, value),
        lambda: X.squeeze(value),
        lambda: X.unbind(value),
        lambda: X.flip(value),
        lambda: lp.stack([X, X], value if value != 3 else 4),
        lambda: X.kthvalue(value if value != 3 else 5),
        lambda: X.topk(value if value != 3 else 5),
        lambda: X.diagonal(0, 0, value),
    ]
    for at, call in enumerate(calls):
        try:
            got = call()
        except REFUSED:
            continue
        pytest.fail(f"call {at} took {value}: {got}")


STRIDED: list[tuple[Any, ...]] = [
    ((13,), (1,)),
    ((2, 7), (6, 1)),
    ((3, 4), (4, 1), 1),
    ((1,), (1,), 12),
    ((1,), (1,), -1),
    ((2,), (HUGE,)),
    ((HUGE,), (1,)),
    ((2**32, 2**32), (0, 0)),
    ((2, 2), (HUGE, HUGE)),
    ((2,), (1,), HUGE),
    ((2,), (-1,)),
    ((-1,), (1,)),
    ((2, 2), (1,)),
    ((4,), (2**61,)),
]


@pytest.mark.parametrize("args", STRIDED)
def test_as_strided(args: tuple[Any, ...]) -> None:
    for call in (X.as_strided, lp.arange(12.0).as_strided_):
        with pytest.raises(REFUSED):
            call(*args)


def test_masks() -> None:
    for mask in (lp.ones(4, dtype=lp.bool), lp.ones(3, 5, dtype=lp.bool), lp.ones(3, 4, 1, dtype=lp.bool)):
        for call in (
            lambda m: X[m],
            lambda m: X.clone().__setitem__(m, 1.0),
            lambda m: X.index_put((m,), lp.tensor(1.0)),
        ):
            with pytest.raises(REFUSED):
                call(mask)


def test_sizes_of_indices() -> None:
    one = lp.zeros(4, 1, dtype=lp.int64)
    wide = lp.zeros(1, 5, dtype=lp.int64)
    calls: list[Callable[[], Any]] = [
        lambda: lp.gather(X, 1, one),
        lambda: lp.gather(X, 0, wide),
        lambda: X.scatter(1, one, 1.0),
        lambda: X.scatter(0, wide, 1.0),
        lambda: X.scatter(0, lp.zeros(2, 2, dtype=lp.int64), lp.ones(1, 2)),
        lambda: X.scatter_add(0, lp.zeros(2, 2, dtype=lp.int64), lp.ones(2, 1)),
        lambda: X.index_add(0, lp.tensor([0, 1]), lp.ones(1, 4)),
        lambda: X.index_copy(0, lp.tensor([0]), lp.ones(1, 5)),
        lambda: lp.take(lp.zeros(0), lp.tensor([0])),
        lambda: lp.zeros(0).put_(lp.tensor([0]), lp.ones(1)),
        lambda: lp.zeros(3).put_(lp.tensor([0, 1]), lp.ones(1)),
        lambda: lp.index_select(lp.zeros(0, 2), 0, lp.tensor([0])),
        lambda: F.embedding(lp.tensor([0]), lp.zeros(0, 3)),
        lambda: F.nll_loss(lp.zeros(2, 0), lp.tensor([0, 0])),
        lambda: F.nll_loss(lp.zeros(2, 3), lp.tensor([0])),
        lambda: F.nll_loss(lp.zeros(2, 3, 2), lp.zeros(2, 3, dtype=lp.int64)),
        lambda: F.cross_entropy(lp.zeros(2, 3), lp.tensor([0, 1]), weight=lp.ones(2)),
        lambda: F.nll_loss(lp.zeros(2, 3), lp.tensor([0, 1]), weight=lp.ones(2)),
        lambda: lp.bincount(lp.tensor([-1])),
        lambda: lp.bincount(lp.tensor([HUGE])),
        lambda: lp.bincount(lp.tensor([1, 2]), weights=lp.ones(1)),
        lambda: lp.bincount(lp.tensor([1]), minlength=-1),
        lambda: lp.bincount(lp.tensor([1.5])),
        lambda: F.one_hot(lp.tensor([-1])),
        lambda: F.one_hot(lp.tensor([HUGE])),
        lambda: lp.repeat_interleave(X, lp.tensor([1, -1, 1]), 0),
        lambda: lp.repeat_interleave(X, lp.tensor([1, HUGE, 1]), 0),
        lambda: lp.repeat_interleave(X, lp.tensor([1, 1]), 0),
        lambda: lp.split(X, [1, -1, 3]),
        lambda: lp.split(X, [1, 9]),
    ]
    for at, call in enumerate(calls):
        try:
            got = call()
        except REFUSED:
            continue
        pytest.fail(f"call {at}: {got}")


@pytest.mark.parametrize("offsets", [[1], [0, 3], [0, -1], [0, HUGE], [2, 0], [-HUGE - 1]])
def test_embedding_bag_offsets(offsets: list[int]) -> None:
    with pytest.raises(REFUSED):
        F.embedding_bag(lp.tensor([0, 1]), X, lp.tensor(offsets))


@pytest.mark.parametrize("value", [16, -1, 100, HUGE, -HUGE - 1])
def test_unpool(value: int) -> None:
    at = lp.full((1, 1, 2, 2), value, dtype=lp.int64)
    with pytest.raises(REFUSED):
        F.max_unpool2d(lp.ones(1, 1, 2, 2), at, 2)
    with pytest.raises(REFUSED):
        F.max_unpool1d(lp.ones(1, 1, 2), at[0, 0, :1].view(1, 1, 2) * 1, 2)
    with pytest.raises(REFUSED):
        F.max_unpool2d(lp.ones(1, 1, 2, 2), at.float(), 2)


@pytest.mark.parametrize("sample", [2.0, -1.0, float("nan"), float("inf"), 1e30])
def test_fractional(sample: float) -> None:
    samples = lp.full((1, 1, 2), sample)
    x = lp.arange(25.0).view(1, 1, 5, 5)
    try:
        got = F.fractional_max_pool2d(x, 2, output_size=(3, 3), _random_samples=samples)
    except REFUSED:
        return
    assert got.min().item() >= 0 and got.max().item() <= 24


CTC: list[tuple[Any, Any, Any]] = [
    ([[1, 2]], [9], [2]),
    ([[1, 2]], [-1], [2]),
    ([[1, 2]], [5], [3]),
    ([[1, 2]], [5], [-1]),
    ([[1, 2]], [5], [HUGE]),
    ([[1, 2]], [HUGE], [2]),
    ([[1, 7]], [5], [2]),
    ([[1, -1]], [5], [2]),
    ([[1, HUGE]], [5], [2]),
    ([[1, 2]], [5, 5], [2]),
    ([[1, 2]], [5], [2, 2]),
    ([[1, 2], [1, 2]], [5], [2]),
    ([1, 2], [5], [3]),
]


@pytest.mark.parametrize(("targets", "lengths", "target_lengths"), CTC)
def test_ctc(targets: Any, lengths: Any, target_lengths: Any) -> None:
    log_probs = lp.zeros(5, 1, 3)
    with pytest.raises(REFUSED):
        F.ctc_loss(log_probs, lp.tensor(targets), lp.tensor(lengths), lp.tensor(target_lengths))


def test_grids_of_points_stay_inside() -> None:
    image = lp.arange(16.0).view(1, 1, 4, 4)
    for value in (1e30, -1e30, float("nan"), float("inf"), 3e9):
        grid = lp.full((1, 2, 2, 2), value)
        for mode in ("bilinear", "nearest", "bicubic"):
            for padding in ("zeros", "border", "reflection"):
                got = F.grid_sample(image, grid, mode=mode, padding_mode=padding, align_corners=False)
                seen = got.nan_to_num(0.0)
                assert seen.min().item() >= -64 and seen.max().item() <= 64, (value, mode, padding, got)
