import numpy as np
import pytest

import lampyr as lp

N = None
GETS = [
    0,
    -1,
    slice(None),
    slice(1, 3),
    slice(None, None, 2),
    slice(10, None),
    slice(-2, None),
    slice(3, 1),
    ...,
    N,
    (1, 2),
    (slice(None), 1),
    (..., 0),
    (0, ...),
    (0, ..., 1),
    (slice(None), N, slice(1, 2)),
    (N, ..., N),
    (1, 2, 3),
    (slice(0, 0),),
    np.array([0, 2]),
    np.array([[0, -1], [1, 1]]),
    [2, 0],
    (slice(None), [1, 0, 1]),
    (..., [3, 0]),
    ([0, 1], [1, 2]),
    (np.array([[0], [2]]), np.array([1, 3])),
    (slice(None), [0, 1], [1, 2]),
    ([0, 1], slice(None), [1, 2]),
    (1, slice(None), [0, 2]),
    (N, [0, 2], slice(1, 3)),
    np.array([], dtype=np.int64),
    np.int64(2),
    (np.array([0]), 1),
]


def translated(index):
    if isinstance(index, tuple):
        return tuple(translated(i) for i in index)
    return lp.from_numpy(index) if isinstance(index, np.ndarray) else index


@pytest.mark.parametrize("index", GETS, ids=str)
def test_get_matches_numpy(index):
    a = np.arange(3 * 5 * 4, dtype=np.float32).reshape(3, 5, 4)
    if isinstance(index, tuple) and isinstance(index[0], np.ndarray) and isinstance(index[1], int):
        want = a[:, index[1]][index[0]]
    elif isinstance(index, tuple) and isinstance(index[0], int) and isinstance(index[-1], list):
        want = a[1][:, [0, 2]]
    else:
        want = a[index]
    t = lp.from_numpy(a)
    for form in (index, translated(index)):
        got = t[form]
        assert got.shape == want.shape
        np.testing.assert_array_equal(got.numpy(), want)


@pytest.mark.parametrize("index", GETS, ids=str)
def test_set_matches_numpy(index):
    a = np.arange(3 * 5 * 4, dtype=np.float32).reshape(3, 5, 4)
    t = lp.tensor(a)
    special = isinstance(index, tuple) and index[0] is not None and isinstance(index[-1], list) and len(index) == 3
    if special and isinstance(index[0], int):
        a[1][:, [0, 2]] = -1
        t[index] = -1
        np.testing.assert_array_equal(t.numpy(), a)
        return
    a[index] = -1
    t[index] = -1
    np.testing.assert_array_equal(t.numpy(), a)
    shape = a[index].shape
    value = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    a[index] = value
    t[index] = lp.from_numpy(value)
    np.testing.assert_array_equal(t.numpy(), a)


def test_masks():
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    t = lp.from_numpy(a)
    for mask in (a > 4, a[:, 0] > 2, a > 99):
        m = lp.from_numpy(np.asarray(mask))
        np.testing.assert_array_equal(t[m].numpy(), a[mask])
    np.testing.assert_array_equal(t[:, t[0] > 1].numpy(), a[:, a[0] > 1])
    b, u = a.copy(), lp.tensor(a)
    b[b > 4] = 0
    u[u > 4] = 0
    np.testing.assert_array_equal(u.numpy(), b)
    b[b[:, 1] > 0] = [1, 2, 3, 4]
    u[u[:, 1] > 0] = [1, 2, 3, 4]
    np.testing.assert_array_equal(u.numpy(), b)
    with pytest.raises(IndexError):
        t[lp.tensor([True, False])]


def test_views_share_memory():
    t = lp.zeros(3, 4)
    row = t[1]
    row[2] = 5
    assert t[1, 2].item() == 5 and row.data_ptr() == t.data_ptr() + 16
    t[:, 0] = lp.tensor([1.0, 2.0, 3.0])
    assert t[:, 0].tolist() == [1, 2, 3]
    t[...] = 2
    assert t.tolist() == [[2] * 4] * 3
    t[0] += 1
    assert t[0].tolist() == [3] * 4
    assert t[[0, 1]].data_ptr() != t.data_ptr()


def test_overlapping_assignment():
    a = np.arange(6, dtype=np.float32)
    t = lp.tensor(a)
    t[1:] = t[:-1]
    a[1:] = a[:-1].copy()
    np.testing.assert_array_equal(t.numpy(), a)


def test_errors():
    t = lp.zeros(3, 4)
    for index in (3, -4, (0, 4), (0, 0, 0), [3], 1.5, "a", 1j, object(), 2**64, -(2**70), lp.zeros(2), ["a"]):
        with pytest.raises((IndexError, TypeError)):
            t[index]
    for step in (0, -1, -(2**63), -(2**80)):
        with pytest.raises(ValueError):
            t[::step]
    with pytest.raises(TypeError):
        t[0:2.5]
    with pytest.raises(lp.ShapeError):
        t[0] = lp.zeros(3)
    with pytest.raises(lp.OutOfRangeError) as caught:
        t[0, 9]
    assert "axis 1" in str(caught.value) and "size 4" in str(caught.value)


def test_gradients_of_indexing():
    x = lp.randn(3, 4, requires_grad=True)
    (x[1:, ::2] * 2).sum().backward()
    want = np.zeros((3, 4))
    want[1:, ::2] = 2
    np.testing.assert_array_equal(x.grad.numpy(), want)
    x.grad = None
    x[[0, 0, 2], [1, 1, 3]].sum().backward()
    want = np.zeros((3, 4))
    want[0, 1], want[2, 3] = 2, 1
    np.testing.assert_array_equal(x.grad.numpy(), want)
    x.grad = None
    x[x > 100].sum().backward()
    assert x.grad.numpy().sum() == 0


def test_gradients_of_setting():
    x = lp.ones(3, 4, requires_grad=True)
    v = lp.full((4,), 3.0, requires_grad=True)
    y = x * 2
    y[1] = v
    y[:, 0] *= 5
    (y * y).sum().backward()
    want = np.full((3, 4), 8.0)
    want[:, 0] = 2 * 10 * 10
    want[1] = 0
    np.testing.assert_allclose(x.grad.numpy(), want)
    np.testing.assert_allclose(v.grad.numpy(), [2 * 3 * 25, 6, 6, 6])
    x.grad = v.grad = None
    y = x * 2
    y[[0, 2], [1, 1]] = v[:2]
    y.sum().backward()
    want = np.full((3, 4), 2.0)
    want[0, 1] = want[2, 1] = 0
    np.testing.assert_allclose(x.grad.numpy(), want)
    np.testing.assert_allclose(v.grad.numpy(), [1, 1, 0, 0])


HOSTILE = [2**31, 2**62, 2**63 - 1, -(2**63), -4, 3, 127, -128]


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"])
def test_positions_outside_are_refused(dtype):
    info = np.iinfo(dtype)
    x = lp.arange(3.0).reshape(3, 1).expand(3, 5)[:, :2]
    for i in HOSTILE + [info.max, info.min]:
        if not info.min <= i <= info.max or -3 <= i < 3:
            continue
        for at in (lp.from_numpy(np.array([0, i], dtype=dtype)), lp.from_numpy(np.array(i, dtype=dtype))):
            for index in (at, (at, 0), (slice(None), at), (at, at), (lp.tensor([0]), at)):
                with pytest.raises(IndexError) as caught:
                    x[index]
                assert "size" in str(caught.value)
                target = lp.zeros(3, 2)
                with pytest.raises(IndexError):
                    target[index] = 1
                assert target.sum().item() == 0
    assert x[lp.from_numpy(np.array([2, 1], dtype=dtype))].tolist() == [[2, 2], [1, 1]]


def test_large_products_of_positions_are_refused():
    x = lp.zeros(4)
    rows, columns = lp.zeros(1 << 20, 1, dtype=lp.int64), lp.zeros(1, 1 << 20, dtype=lp.int64)
    y = x[:, None].expand(4, 4)
    lp.set_memory_limit(lp.memory_stats()["active_bytes"] + (1 << 26))
    try:
        with pytest.raises(MemoryError):
            y[rows, columns]
        with pytest.raises(MemoryError):
            lp.zeros(4, 4)[rows, columns] = 1
    finally:
        lp.set_memory_limit(None)


def test_basic_indexing_takes_no_memory():
    x = lp.zeros(4, 5, 6)
    before = lp.memory_stats()["allocations"]
    for index in (0, (0, 1, 2), slice(1, 3), (..., 0), None, (slice(None, None, 2), None, 1), (), ...):
        x[index]
    assert lp.memory_stats()["allocations"] == before


def test_few_and_many_positions_agree():
    a = np.arange(6000, dtype=np.float32).reshape(3000, 2)
    t = lp.tensor(a)
    at = np.array([5, 2999, 17])
    a[at], t[lp.tensor(at)] = 1, 1
    a[at, 1], t[lp.tensor(at), 1] = [7, 8, 9], lp.tensor([7.0, 8.0, 9.0])
    a[::2][at[:1]], t[::2][lp.tensor(at[:1])] = 3, 3
    u = t[::2]
    u[lp.tensor([4])] = 11
    a[::2][np.array([4])] = 11
    np.testing.assert_array_equal(t.numpy(), a)
    x = lp.zeros(500)
    x[[3, 3, 4]] = lp.tensor([1.0, 2.0, 3.0])
    assert x[3].item() == 2 and x[4].item() == 3


def test_setting_with_gradients_through_views():
    x = lp.ones(4, 3, requires_grad=True)
    y = x * 3
    v = lp.tensor([5.0, 6.0], requires_grad=True)
    part = y[1:3]
    part[[0, 1], [2, 0]] = v
    part[lp.tensor([[True, False, False], [False, False, True]])] = 0.0
    (y**2).sum().backward()
    want = np.full((4, 3), 18.0)
    want[1, 2] = want[2, 0] = want[1, 0] = want[2, 2] = 0
    np.testing.assert_allclose(x.grad.numpy(), want)
    assert v.grad.tolist() == [10, 12]
    with pytest.raises(RuntimeError):
        x[0] = 1
    with lp.no_grad():
        x[0] = 1


def test_slices_of_an_index_may_be_tensors():
    x = lp.arange(10)
    assert x[lp.tensor(2) : lp.tensor(5)].tolist() == [2, 3, 4] and x[np.int64(3)].item() == 3
    assert x[2 : 2**80].tolist() == list(range(2, 10)) and x[-(2**80) : 1].tolist() == [0]
