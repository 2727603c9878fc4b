"""What changes a tensor's sizes, steps, dtype or memory in place; expectations are PyTorch's."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest

import lampyr as lp

CHANGES: list[tuple[str, tuple[Any, ...], tuple[int, ...]]] = [
    ("squeeze_", (), (3,)),
    ("squeeze_", (0,), (3,)),
    ("unsqueeze_", (1,), (1, 1, 3)),
    ("t_", (), (3, 1)),
    ("transpose_", (0, 1), (3, 1)),
    ("swapaxes_", (0, -1), (3, 1)),
    ("swapdims_", (0, 1), (3, 1)),
    ("as_strided_", ((2,), (2,)), (2,)),
]


@pytest.mark.parametrize(("name", "args", "shape"), CHANGES)
def test_views_in_place(name: str, args: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    x = lp.arange(3.0).reshape(1, 3)
    address, version = x.data_ptr(), x._version
    expected = getattr(x, name[:-1])(*args).tolist()
    assert getattr(x, name)(*args) is x
    assert tuple(x.shape) == shape and x.tolist() == expected
    assert x.data_ptr() == address and x._version == version + 1

    leaf = lp.ones(1, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        getattr(leaf, name)(*args)
    assert tuple(leaf.shape) == (1, 3)
    with lp.no_grad():
        getattr(leaf, name)(*args)
    assert tuple(leaf.shape) == shape and leaf.requires_grad and leaf.is_leaf
    (leaf * 2).sum().backward()
    assert leaf.grad is not None and tuple(leaf.grad.shape) == shape

    source = lp.arange(3.0).reshape(1, 3).requires_grad_()
    y = source * 1
    getattr(y, name)(*args)
    (y * y).sum().backward()
    reference = lp.arange(3.0).reshape(1, 3).requires_grad_()
    (getattr(reference * 1, name[:-1])(*args) ** 2).sum().backward()
    assert source.grad is not None and reference.grad is not None
    assert source.grad.tolist() == reference.grad.tolist()


def test_views_of_a_changed_tensor() -> None:
    x = lp.ones(2, 3, requires_grad=True)
    y = x * 1
    row = y[0]
    y.t_()
    row.mul_(3)
    y[0].mul_(5)
    assert y.tolist() == [[15, 5], [3, 1], [3, 1]]
    y.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [[15, 3, 3], [5, 1, 1]]

    base = lp.zeros(2, 3)
    row = base[0]
    base.t_()
    g = lp.ones(3, requires_grad=True)
    row.add_(g)
    base.sum().backward()
    assert g.grad is not None and g.grad.tolist() == [1, 1, 1]


def test_many_changes_leave_nothing_behind() -> None:
    x = lp.ones(4, 3)
    before = lp.memory_stats()["active_bytes"]
    for _ in range(2000):
        x.t_()
        x.data = lp.ones(3, 4).t()
    # The memory that it was made with stays, and one other.
    assert lp.memory_stats()["active_bytes"] <= before + 4096


def test_resize() -> None:
    x = lp.arange(6.0).view(2, 3)
    row = x[1]
    assert row.resize_(2) is row and row.tolist() == [3, 4]
    first = x[0]
    assert first.resize_(5).tolist() == [0, 1, 2, 3, 4] and first.data_ptr() == x.data_ptr()
    grown = lp.arange(2.0)
    grown.resize_(2, 2)
    assert grown.flatten()[:2].tolist() == [0, 1] and tuple(grown.shape) == (2, 2)
    assert tuple(grown.resize_as_(lp.zeros(0, 7)).shape) == (0, 7)
    assert lp.arange(6.0)[::2].resize_(4).tolist() == [0, 1, 2, 3]
    for sizes in [(-1,), (2**62, 8), (2**40, 2**40)]:
        with pytest.raises((ValueError, RuntimeError)):
            grown.resize_(*sizes)
        assert tuple(grown.shape) == (0, 7)
    p = lp.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="cannot resize variables that require grad"):
        p.resize_(3)


def test_set() -> None:
    x, source = lp.empty(0), lp.arange(6.0).view(2, 3)
    assert x.set_(source) is x and x.tolist() == source.tolist() and x.is_set_to(source)
    source.add_(1)
    assert x.tolist() == [[1, 2, 3], [4, 5, 6]]
    storage = source.untyped_storage()
    assert x.set_(storage, 1, (2, 2), (3, 1)).tolist() == [[2, 3], [5, 6]]
    assert x.set_(source, 4, (2,)).tolist() == [5, 6]
    assert x.set_(storage).tolist() == [1, 2, 3, 4, 5, 6]
    for offset, size, stride in [
        (1, (5, 2), (2, 1)),
        (6, (1,), (1,)),
        (0, (2,), (6,)),
        (-1, (1,), (1,)),
        (5, (2,), (-1,)),
    ]:
        with pytest.raises((RuntimeError, ValueError, IndexError)):
            x.set_(storage, offset, size, stride)
    with pytest.raises(RuntimeError):
        x.set_(lp.zeros(3, dtype=lp.int64))
    assert tuple(x.set_().shape) == (0,)


def test_data_shares_memory() -> None:
    p = lp.nn.Parameter(lp.ones(3))
    loss = (p * p).sum()
    p.data.add_(1)
    assert p.tolist() == [2, 2, 2] and p._version == 0
    loss.backward()
    other = lp.zeros(2, 2)
    p.data = other
    other.fill_(7)
    assert p.tolist() == [[7, 7], [7, 7]] and p.requires_grad and p.is_leaf and isinstance(p, lp.nn.Parameter)
    assert p._version == 0 and p.grad is not None and tuple(p.grad.shape) == (3,)
    p.grad = None
    (p * 2).sum().backward()
    assert p.grad is not None and p.grad.tolist() == [[2, 2], [2, 2]]
    p.data = other.double()
    assert p.dtype == lp.float64
    with pytest.raises(RuntimeError, match="floating point"):
        p.data = lp.zeros(3, dtype=lp.int64)
    with pytest.raises(TypeError):
        p.data = 5


def test_data_of_what_a_gradient_needs() -> None:
    w = lp.full((2,), 3.0, requires_grad=True)
    y = (w * w).sum()
    w.data = lp.zeros(2)
    y.backward()
    assert w.grad is not None and w.grad.tolist() == [6, 6]


def test_hash_and_hooks_stay() -> None:
    p = lp.ones(2, requires_grad=True)
    seen: list[Any] = []
    names = {p: "p"}
    p.register_hook(lambda g: seen.append(tuple(g.shape)))
    p.data = lp.ones(3)
    assert names[p] == "p"
    (p * 2).sum().backward()
    assert seen == [(3,)]


def test_detach_in_place() -> None:
    y = lp.ones(2, requires_grad=True) * 2
    assert y.detach_() is y and y.is_leaf and not y.requires_grad
    with pytest.raises(RuntimeError, match="detach views"):
        (lp.ones(2, requires_grad=True) * 2)[:1].detach_()


def test_out_is_resized() -> None:
    x = lp.tensor([[1.0, 3.0], [4.0, 2.0]])
    out = lp.empty(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lp.add(x, 1, out=out) is out
    assert out.tolist() == [[2, 4], [5, 3]]
    with pytest.warns(UserWarning, match=r"resized since it had shape \[2, 2\]"):
        lp.sum(x, 0, out=out)
    assert out.tolist() == [5, 5]
    values, at = lp.empty(0), lp.empty(0, dtype=lp.int64)
    made = lp.max(x, 1, out=(values, at))
    assert made.values is values and values.tolist() == [3, 4] and at.tolist() == [1, 0]
    refused: list[Callable[[], Any]] = [
        lambda: lp.add(x, 1, out=lp.zeros(2, 2, dtype=lp.int64)),
        lambda: lp.add(x, 1, out=lp.zeros(1, 2).expand(2, 2)),
        lambda: lp.add(lp.ones(2, requires_grad=True), 1, out=lp.zeros(2)),
    ]
    for call in refused:
        with pytest.raises(RuntimeError):
            call()
