import gc

import numpy as np
import pytest

import lampyr as lp
from lampyr import _ops


def allocations():
    return lp.memory_stats()["allocations"], lp.memory_stats()["active_bytes"]


def windows(x, axis, size, step):
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(x, size, axis), -1, -1)[
        tuple(slice(None, None, step) if a == axis else slice(None) for a in range(x.ndim + 1))
    ]


VIEWS = [
    ("reshape", lambda x: x.reshape(12, 10), lambda a: a.reshape(12, 10)),
    ("view", lambda x: x.view(2, 60), lambda a: a.reshape(2, 60)),
    ("view -1", lambda x: x.view(-1), lambda a: a.reshape(-1)),
    ("permute", lambda x: x.permute(2, 0, 1), lambda a: a.transpose(2, 0, 1)),
    ("transpose", lambda x: x.transpose(0, 2), lambda a: a.swapaxes(0, 2)),
    ("T", lambda x: x[0].T, lambda a: a[0].T),
    ("mT", lambda x: x.mT, lambda a: a.swapaxes(1, 2)),
    ("slice", lambda x: x[1:3, :, ::2], lambda a: a[1:3, :, ::2]),
    ("select", lambda x: x[2], lambda a: a[2]),
    ("last", lambda x: x[..., -1], lambda a: a[..., -1]),
    ("new axis", lambda x: x[:, None], lambda a: a[:, None]),
    ("expand", lambda x: x[:1].expand(7, 5, 6), lambda a: np.broadcast_to(a[:1], (7, 5, 6))),
    ("squeeze", lambda x: x[:1].squeeze(), lambda a: a[:1].squeeze()),
    ("unsqueeze", lambda x: x.unsqueeze(1), lambda a: a[:, None]),
    ("flatten", lambda x: x.flatten(1), lambda a: a.reshape(4, 30)),
    ("unfold", lambda x: _ops.unfold(x, axis=2, size=3, step=2), lambda a: windows(a, 2, 3, 2)),
    ("unfold of a view", lambda x: _ops.unfold(x.T, axis=0, size=2, step=1), lambda a: windows(a.T, 0, 2, 1)),
    ("diagonal", lambda x: _ops.diagonal(x, offset=1, axis1=1, axis2=2), lambda a: np.diagonal(a, 1, 1, 2)),
    (
        "diagonal of a view",
        lambda x: _ops.diagonal(x.T, offset=-1, axis1=0, axis2=2),
        lambda a: np.diagonal(a.T, -1, 0, 2),
    ),
    (
        "as_strided",
        lambda x: _ops.as_strided(x, size=[3, 2], stride=[7, 2], offset=5),
        lambda a: a.reshape(-1)[5 + np.arange(3)[:, None] * 7 + np.arange(2) * 2],
    ),
    ("view as int32", lambda x: x.view(lp.int32), lambda a: a.view(np.int32)),
    ("view as float64", lambda x: x.view(lp.float64), lambda a: a.view(np.float64)),
    ("view as int16", lambda x: x.view(lp.int16), lambda a: a.view(np.int16)),
    ("data", lambda x: x.data, lambda a: a),
    ("detach", lambda x: x.detach(), lambda a: a),
    ("H", lambda x: x[0].H, lambda a: a[0].T),
]


@pytest.mark.parametrize(("make", "want"), [v[1:] for v in VIEWS], ids=[v[0] for v in VIEWS])
def test_views_take_no_memory(make, want):
    a = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    x = lp.tensor(a)
    gc.collect()
    before = allocations()
    y = make(x)
    assert allocations() == before
    np.testing.assert_array_equal(y.numpy(), want(a))
    assert y.untyped_storage() == x.untyped_storage() and y.untyped_storage().nbytes() >= 480
    if y.numel() == 0 or y.dtype is not lp.float32 or not y.is_contiguous():
        return
    y.fill_(-1)
    assert (x.numpy() == -1).sum() == y.numel()


@pytest.mark.parametrize(
    ("make", "unchanged"),
    [
        (lambda x: _ops.diagonal(x, offset=0, axis1=0, axis2=1), lambda a: a * (1 - np.eye(4, 6))),
        (lambda x: _ops.unfold(x, axis=1, size=2, step=3), lambda a: a * np.tile([0, 0, 1], 2)),
        (lambda x: _ops.as_strided(x, size=[2, 3], stride=[6, 1], offset=3), None),
        (lambda x: x[1:3, ::2], None),
        (lambda x: x.T[1], None),
    ],
)
def test_gradients_through_changed_views(make, unchanged):
    a = np.arange(24, dtype=np.float64).reshape(4, 6)
    leaf = lp.tensor(a, requires_grad=True)
    x = leaf * 1
    part = make(x)
    value = lp.tensor(2.0, dtype=lp.float64, requires_grad=True)
    part.copy_(value * lp.ones(*part.shape, dtype=lp.float64))
    (x * lp.tensor(a)).sum().backward()
    hit = make(lp.tensor(a)).numpy()
    assert value.grad.item() == hit.sum()
    touched = np.isin(a, hit)
    np.testing.assert_array_equal(leaf.grad.numpy(), np.where(touched, 0, a))
    if unchanged is not None:
        np.testing.assert_array_equal(np.where(touched, 0, a), unchanged(a))
    np.testing.assert_array_equal(x.detach().numpy(), np.where(touched, 2.0, a))


def test_gradients_of_overlapping_views():
    x = lp.arange(6.0).requires_grad_()
    (_ops.unfold(x, axis=0, size=3, step=1) ** 2).sum().backward()
    assert x.grad.tolist() == [0, 4, 12, 18, 16, 10]
    y = lp.ones(4, requires_grad=True)
    _ops.as_strided(y, size=[2, 3], stride=[0, 1], offset=1).sum().backward()
    assert y.grad.tolist() == [0, 2, 2, 2]


def test_hostile_strides():
    x = lp.arange(12.0)
    for size, stride, offset in [
        ([13], [1], 0),
        ([2], [12], 0),
        ([1], [1], 12),
        ([3, 3], [2**62, 1], 0),
        ([2**62], [2], 0),
        ([2], [-1], 1),
        ([-1], [1], 0),
        ([2], [1, 1], 0),
        ([1], [1], -1),
        ([2**40, 2**40], [0, 0], 0),
        ([0], [1], 13),
    ]:
        with pytest.raises((RuntimeError, IndexError)):
            _ops.as_strided(x, size=size, stride=stride, offset=offset)
    for axis, size, step in [(0, 13, 1), (0, -1, 1), (0, 2, 0), (1, 1, 1), (0, 2**62, 1), (0, 1, -1)]:
        with pytest.raises((RuntimeError, IndexError)):
            _ops.unfold(x, axis=axis, size=size, step=step)
    for offset in (2**62, -(2**62), -(2**63), 2**63 - 1):
        assert _ops.diagonal(x.reshape(3, 4), offset=offset, axis1=0, axis2=1).shape == (0,)
    with pytest.raises((RuntimeError, MemoryError)):
        lp.zeros(1).expand(2**40, 2**40)


def test_writing_to_shared_elements_is_refused():
    x = lp.zeros(1).expand(3)
    with pytest.raises(RuntimeError):
        x += 1
    with pytest.raises(RuntimeError):
        x[0:2] = 1
    with pytest.raises(RuntimeError):
        _ops.unfold(lp.zeros(4), axis=0, size=2, step=1).zero_()
