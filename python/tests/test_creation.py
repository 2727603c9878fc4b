"""Functions that make tensors take PyTorch's arguments everywhere."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import lampyr as lp

WHERE: dict[str, Any] = {"layout": lp.strided, "device": "cpu", "pin_memory": False}
X = lp.ones(2, 3)

MADE: dict[str, Callable[..., lp.Tensor]] = {
    "zeros": lambda **k: lp.zeros(2, 3, **k),
    "zeros_tuple": lambda **k: lp.zeros((2, 3), **k),
    "zeros_size": lambda **k: lp.zeros(size=(2, 3), **k),
    "ones": lambda **k: lp.ones([2, 3], **k),
    "empty": lambda **k: lp.empty(2, 3, **k),
    "full": lambda **k: lp.full((2, 3), 1.5, **k),
    "eye": lambda **k: lp.eye(2, 3, **k),
    "arange": lambda **k: lp.arange(0.0, 6.0, **k),
    "linspace": lambda **k: lp.linspace(0, 1, 6, **k),
    "logspace": lambda **k: lp.logspace(0, 1, steps=6, **k),
    "rand": lambda **k: lp.rand(2, 3, **k),
    "randn": lambda **k: lp.randn((2, 3), **k),
    "randint": lambda **k: lp.randint(5, (2, 3), **k),
    "randint_low": lambda **k: lp.randint(low=1, high=5, size=(2, 3), **k),
    "randperm": lambda **k: lp.randperm(6, **k),
    "normal": lambda **k: lp.normal(1.0, 2.0, (2, 3), **k),
}
LIKE: dict[str, Callable[..., lp.Tensor]] = {
    "zeros_like": lambda **k: lp.zeros_like(X, **k),
    "ones_like": lambda **k: lp.ones_like(X, **k),
    "empty_like": lambda **k: lp.empty_like(X, **k),
    "full_like": lambda **k: lp.full_like(X, 2, **k),
    "rand_like": lambda **k: lp.rand_like(X, **k),
    "randn_like": lambda **k: lp.randn_like(X, **k),
    "randint_like": lambda **k: lp.randint_like(X, 5, **k),
    "randint_like_low": lambda **k: lp.randint_like(X, 1, 5, **k),
}
NEW: dict[str, Callable[..., lp.Tensor]] = {
    "new_zeros": lambda **k: X.new_zeros(2, 3, **k),
    "new_ones": lambda **k: X.new_ones((2, 3), **k),
    "new_empty": lambda **k: X.new_empty(2, 3, **k),
    "new_full": lambda **k: X.new_full((2, 3), 2, **k),
    "new_tensor": lambda **k: X.new_tensor([1, 2], **k),
    "scalar_tensor": lambda **k: lp.scalar_tensor(2, **k),
}


@pytest.mark.parametrize("name", [*MADE, *LIKE, *NEW])
def test_where_and_what(name: str) -> None:
    call = (MADE | LIKE | NEW)[name]
    made = call(dtype=lp.float64, requires_grad=True, **WHERE)
    assert made.dtype == lp.float64 and made.requires_grad and made.is_leaf
    assert not call().requires_grad
    with pytest.raises((RuntimeError, ValueError, TypeError)):
        call(device="no such device")
    with pytest.raises(TypeError):
        call(no_such_argument=1)
    if name in LIKE:
        assert call(memory_format=lp.preserve_format).dtype == lp.float32


@pytest.mark.parametrize("name", MADE)
def test_outputs(name: str) -> None:
    call = MADE[name]
    out = lp.empty(0, dtype=lp.float64)
    assert call(out=out) is out and out.dtype == lp.float64 and out.numel() == 6
    with pytest.raises(RuntimeError, match="does not match dtype of out"):
        call(out=out, dtype=lp.float32)


@pytest.mark.parametrize("name", ["rand", "randn", "randint", "randperm", "normal", "rand_like", "randn_like"])
def test_generators(name: str) -> None:
    call = (MADE | LIKE)[name]
    a, b = lp.Generator().manual_seed(3), lp.Generator().manual_seed(3)
    assert call(generator=a).tolist() == call(generator=b).tolist()
    assert call(generator=a).tolist() != call(generator=None).tolist()
    with pytest.raises(TypeError):
        call(generator=3)


IN_PLACE: list[tuple[str, tuple[Any, ...]]] = [
    ("uniform_", (2.0, 3.0)),
    ("normal_", (1.0, 2.0)),
    ("exponential_", (2.0,)),
    ("cauchy_", ()),
    ("log_normal_", ()),
    ("geometric_", (0.5,)),
    ("random_", ()),
    ("random_", (9,)),
    ("random_", (3, 9)),
    ("random_", (3, None)),
    ("bernoulli_", (0.5,)),
    ("bernoulli_", (lp.full((40,), 0.5),)),
]


@pytest.mark.parametrize(("name", "args"), IN_PLACE)
def test_in_place(name: str, args: tuple[Any, ...]) -> None:
    a, b = lp.zeros(40), lp.zeros(40)
    assert getattr(a, name)(*args, generator=lp.Generator().manual_seed(1)) is a
    getattr(b, name)(*args, generator=lp.Generator().manual_seed(1))
    assert a.tolist() == b.tolist() and len(set(a.tolist())) > 1
    with pytest.raises(RuntimeError, match="leaf Variable"):
        getattr(lp.zeros(3, requires_grad=True), name)(*(x for x in args if not isinstance(x, lp.Tensor)))


def test_named_bounds() -> None:
    x = lp.zeros(100).uniform_(**{"from": 2.0, "to": 3.0})
    assert 2 <= x.min().item() and x.max().item() < 3
    assert lp.zeros(100, dtype=lp.int8).random_(120, None).min().item() >= 120


def test_other_forms() -> None:
    assert lp.normal(lp.zeros(3), 0.0).tolist() == [0, 0, 0]
    assert lp.normal(2.0, lp.zeros(3)).tolist() == [2, 2, 2]
    assert tuple(lp.normal(lp.zeros(2, 1), lp.ones(3)).shape) == (2, 3)
    assert lp.bernoulli(lp.tensor([0.0, 1.0])).tolist() == [0, 1]
    assert lp.tensor([5.0]).bernoulli(1.0).tolist() == [1]
    assert lp.multinomial(lp.tensor([0.0, 1.0]), 2, True).tolist() == [1, 1]
    assert lp.tril_indices(2, 2, layout=lp.strided, device="cpu").tolist() == [[0, 1, 1], [0, 0, 1]]
    assert lp.arange(3).dtype == lp.int64 and lp.arange(end=3).tolist() == [0, 1, 2]
    assert lp.arange(1, 4, 2).tolist() == [1, 3] and lp.arange(start=1, end=3).tolist() == [1, 2]
    assert lp.full((), True).dtype == lp.bool and lp.full((1,), 2).dtype == lp.int64
    assert tuple(lp.zeros(()).shape) == () and tuple(lp.ones(0).shape) == (0,)
    assert lp.empty(1, 2, 2, 2, memory_format=lp.channels_last).stride() == (8, 1, 4, 2)
    assert "requires_grad" in inspect.signature(lp.zeros).parameters


@pytest.mark.parametrize(
    "call",
    [
        lambda: lp.zeros(-1),
        lambda: lp.zeros(2**40, 2**40),
        lambda: lp.full((2,), 300, dtype=lp.uint8),
        lambda: lp.arange(10**15),
        lambda: lp.arange(0, 1, 0),
        lambda: lp.linspace(0, 1, -1),
        lambda: lp.linspace(0, 1, 10**15),
        lambda: lp.eye(-1),
        lambda: lp.eye(2**31, 2**31),
        lambda: lp.randperm(-1),
        lambda: lp.randperm(10**15),
        lambda: lp.randint(5, 5, (1,)),
        lambda: lp.randint(300, (1,), dtype=lp.uint8),
        lambda: lp.multinomial(lp.ones(2), 3),
        lambda: lp.bernoulli(lp.tensor([2.0])),
        lambda: lp.normal(lp.zeros(2), -lp.ones(2)),
        lambda: lp.zeros(2, dtype=lp.int64, requires_grad=True),
    ],
)
def test_refused(call: Callable[[], Any]) -> None:
    with pytest.raises((RuntimeError, ValueError, TypeError, IndexError, MemoryError)):
        call()
