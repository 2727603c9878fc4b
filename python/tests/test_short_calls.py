"""Small calls take short ways: they must be told from the long ones by nothing but their time."""

import gc

import pytest

import lampyr


def values(x):
    return x.tolist()


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ((1,), [4.0, 5.0, 6.0, 7.0]),
        ((-1, 2), 10.0),
        ((slice(None), 1), [1.0, 5.0, 9.0]),
        ((slice(0, 3, 2), slice(1, 3)), [[1.0, 2.0], [9.0, 10.0]]),
        ((slice(2, 3, 100), slice(-2, None)), [[10.0, 11.0]]),
        ((slice(2, 1),), []),
    ],
)
@pytest.mark.parametrize("transposed", [False, True])
def test_positions_and_slices(index, expected, transposed):
    x = lampyr.arange(12.0).reshape(3, 4)
    if transposed:
        x = x.t().contiguous().t()
    picked = x[index]
    assert values(picked) == expected
    if picked.numel():
        picked.add_(100.0)
        assert values(x[index]) == values(picked)


@pytest.mark.parametrize("index", [(3,), (-4,), (0, 4), (0, 0, 0)])
def test_positions_outside_are_refused(index):
    with pytest.raises(IndexError):
        lampyr.zeros(3, 4)[index]


@pytest.mark.parametrize("index", [(1,), (slice(None), 1), (slice(0, 3, 2), slice(1, 3))])
def test_gradients_pass_through_views_made_before_they_were_wanted(index):
    x, w = lampyr.arange(12.0).reshape(3, 4), lampyr.tensor(3.0, requires_grad=True)
    view = x[index]
    view.mul_(w)
    (x * 2.0).sum().backward()
    before = lampyr.arange(12.0).reshape(3, 4)
    assert values(w.grad) == values(before[index].sum() * 2.0)


def test_views_of_recorded_tensors_are_recorded():
    x = lampyr.arange(12.0).reshape(3, 4).requires_grad_()
    x[1, 1:3].sum().backward()
    assert values(x.grad) == [[0.0] * 4, [0.0, 1.0, 1.0, 0.0], [0.0] * 4]


@pytest.mark.parametrize("shape", [(2, 6), (-1, 3), (12,)])
def test_shapes_by_numbers_and_by_tuple(shape):
    x = lampyr.arange(12.0)
    assert values(x.reshape(*shape)) == values(x.reshape(shape)) == values(x.reshape(shape=shape))
    assert values(x.view(*shape)) == values(x.view(shape)) == values(x.view(list(shape)))


def test_refusals_of_short_calls_name_the_function():
    x = lampyr.zeros(3, 4)
    with pytest.raises(ValueError, match="reshape"):
        x.reshape(5, 5)
    with pytest.raises(TypeError, match="reshape"):
        x.reshape(2.0, 6)
    with pytest.raises(TypeError, match="transpose"):
        x.transpose(0)
    with pytest.raises(IndexError, match="unsqueeze"):
        x.unsqueeze(7)
    with pytest.raises((ValueError, IndexError), match="order of the axes"):
        x.permute(0, 0)
    assert x.view(lampyr.int32).dtype == lampyr.int32
    with pytest.raises(TypeError, match="reshape"):
        x.reshape(True, 12)


def test_memory_of_dropped_results_is_not_active():
    x = lampyr.ones(8)
    gc.collect()
    lampyr.empty_cache()
    before = lampyr.memory_stats()["active_bytes"]
    for _ in range(100):
        x + x
    assert lampyr.memory_stats()["active_bytes"] == before
    lampyr.empty_cache()
    assert lampyr.memory_stats()["active_bytes"] == before
    kept = [x + x for _ in range(40)]
    assert [values(k) for k in kept] == [[2.0] * 8] * 40
    assert lampyr.memory_stats()["active_bytes"] == before + 40 * 64


def test_memory_still_seen_by_others_is_not_used_again():
    numpy = pytest.importorskip("numpy")
    x = lampyr.ones(8)
    made = x + x
    outside, view = numpy.asarray(made), made[2:4]
    del made
    for _ in range(40):
        x * 5.0
    assert outside.tolist() == [2.0] * 8 and values(view) == [2.0, 2.0]
    changed = x + x
    changed.mul_(3.0)
    del changed
    assert (x + x)._version == 0


def test_parts_of_a_result_serve_other_shapes_and_types():
    x = lampyr.arange(6.0)
    for _ in range(3):
        assert values(x + x) == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
        assert values(x.reshape(2, 3) + x.reshape(2, 3)) == [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]
        whole = x.to(lampyr.int32)
        assert values(whole * whole) == [0, 1, 4, 9, 16, 25] and (whole * whole).dtype == lampyr.int32
        assert values(x > x - 1.0) == [True] * 6
        half = x[3:]
        assert values(half + half) == [6.0, 8.0, 10.0] and values(x[::2] + x[::2]) == [0.0, 4.0, 8.0]
        assert values(x[1:3] + x[:1]) == [1.0, 2.0]
        across = x.reshape(2, 3).t()
        assert values(across + across) == [[0.0, 6.0], [2.0, 8.0], [4.0, 10.0]]


def test_results_go_into_the_memory_that_is_given():
    x, y, out = lampyr.randn(50, 70), lampyr.randn(50, 70), lampyr.empty(50, 70)
    address, view = out.data_ptr(), out[10:20]
    assert lampyr.add(x, y, out=out) is out or out.data_ptr() == address
    assert out._version == 1 and values(out) == values(x + y)
    lampyr.exp(x, out=out)
    assert out._version == 2 and values(view) == values(x.exp()[10:20])
    lampyr.add(x, y, alpha=2.0, out=out)
    assert values(out) == values(x + 2.0 * y)
    across = lampyr.empty(70, 50).t()
    assert values(lampyr.mul(x, y, out=across)) == values(x * y)


def test_arguments_may_be_the_memory_of_the_result():
    x, y = lampyr.randn(50, 70), lampyr.randn(50, 70)
    for f in (lampyr.sub, lampyr.add, lampyr.atan2, lampyr.hypot):
        first, second = x.clone(), y.clone()
        expected = values(f(x, y))
        assert values(f(first, y, out=first)) == expected
        assert values(f(x, second, out=second)) == expected
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(3000, dtype=numpy.float32)
    front, back = (lampyr.from_numpy(part) for part in (array[:-1], array[1:]))
    expected = values(front + back)
    assert values(lampyr.add(front, back, out=back)) == expected
    wide = lampyr.randn(51, 70)
    expected = values(wide[:50] + wide[1:])
    assert values(lampyr.add(wide[:50], wide[1:], out=wide[1:])) == expected
