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
    slice(None, None, -1),
    slice(10, None),
    slice(-2, None),
    slice(3, 1),
    slice(2, 0, -1),
    slice(None, -10, -1),
    ...,
    N,
    (1, 2),
    (slice(None), 1),
    (..., 0),
    (0, ...),
    (0, ..., 1),
    (slice(None), N, slice(1, 2)),
    (N, ..., N),
    (slice(None, None, -2), slice(4, None, -1), 2),
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
    for index in (3, -4, (0, 4), (0, 0, 0), [3], (..., ...), 1.5, "a", True):
        with pytest.raises((IndexError, TypeError)):
            t[index]
    with pytest.raises(ValueError):
        t[::0]
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
