import copy
import gc
import math
import pickle
import weakref

import numpy as np
import pytest

import lampyr as lp

DTYPES = {
    "bool": np.bool_,
    "uint8": np.uint8,
    "int8": np.int8,
    "uint16": np.uint16,
    "int16": np.int16,
    "uint32": np.uint32,
    "int32": np.int32,
    "uint64": np.uint64,
    "int64": np.int64,
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
}


def test_creation_defaults_follow_the_data():
    assert lp.tensor(1).dtype is lp.int64
    assert lp.tensor(1.0).dtype is lp.float32
    assert lp.tensor(True).dtype is lp.bool
    assert lp.tensor([1, 2.5]).dtype is lp.float32
    assert lp.tensor([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert lp.tensor([]).shape == (0,)
    assert lp.tensor(2**62 + 1).item() == 2**62 + 1
    assert lp.zeros(2, 3).shape == lp.zeros((2, 3)).shape == (2, 3)
    assert lp.ones(2, dtype=lp.int32).tolist() == [1, 1]
    assert lp.full((2,), 7).dtype is lp.int64
    assert lp.full([2], 0.5).tolist() == [0.5, 0.5]
    assert lp.arange(5).tolist() == [0, 1, 2, 3, 4]
    assert lp.arange(1, 2, 0.25).tolist() == [1.0, 1.25, 1.5, 1.75]
    assert lp.arange(5, 0, -2).tolist() == [5, 3, 1]
    assert lp.eye(2).tolist() == [[1, 0], [0, 1]]
    assert lp.tensor([lp.tensor(1.5), np.float32(2)]).tolist() == [1.5, 2]
    assert lp.full_like(lp.zeros(2, dtype=lp.int32), 3).dtype is lp.int32


def test_random_numbers_follow_the_seed():
    lp.manual_seed(3)
    a, b = lp.randn(1000), lp.rand(1000)
    lp.manual_seed(3)
    assert np.array_equal(a.numpy(), lp.randn(1000).numpy())
    assert np.array_equal(b.numpy(), lp.rand(1000).numpy())
    assert abs(a.mean().item()) < 0.15 and 0.8 < (a * a).mean().item() < 1.2
    assert 0 <= b.min().item() and b.max().item() < 1
    assert not np.array_equal(lp.randn(8).numpy(), lp.randn(8).numpy())


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes(name):
    dtype = getattr(lp, name)
    assert dtype is lp.zeros(1, dtype=dtype).dtype
    assert repr(dtype) == f"lampyr.{name}"
    assert dtype.itemsize == np.dtype(DTYPES[name]).itemsize
    assert lp.zeros(2, dtype=name).dtype is dtype
    assert lp.zeros(2, dtype=np.dtype(DTYPES[name])).dtype is dtype
    x = lp.tensor([0, 1, 1], dtype=dtype)
    assert x.numpy().dtype == DTYPES[name]
    assert x.to(lp.float32).tolist() == [0, 1, 1]
    assert x.tolist() == [0, 1, 1]
    assert type(x[1].item()) is type(DTYPES[name](1).item())


def test_casts():
    x = lp.tensor([-1.5, 0.0, 2.7])
    assert x.int().tolist() == [-1, 0, 2] and x.int().dtype is lp.int32
    assert x.long().dtype is lp.int64 and x.double().dtype is lp.float64
    assert x.half().dtype is lp.float16 and x.bfloat16().dtype is lp.bfloat16
    assert x.bool().tolist() == [True, False, True]
    assert x.to("float64").dtype is lp.float64
    assert x.to(x) is x and x.to("cpu") is x and x.float() is not None
    assert x.to(lp.float32, copy=True) is not x
    assert lp.tensor([1.0]).bfloat16().float().tolist() == [1.0]


def test_properties():
    x = lp.zeros(2, 3, 4)
    assert (x.ndim, x.dim(), x.numel(), len(x)) == (3, 3, 24, 2)
    assert x.size() == (2, 3, 4) and x.size(-1) == 4
    assert x.stride() == (12, 4, 1)
    assert str(x.device) == "cpu" and x.device == "cpu"
    assert x.nbytes == 96 and x.itemsize == 4
    assert x.is_contiguous() and not x.transpose(0, 1).is_contiguous()
    assert x.transpose(0, 1).contiguous().is_contiguous()
    assert x.contiguous() is x
    assert [row.shape for row in x] == [(3, 4)] * 2
    assert x.T.shape == (4, 3, 2) and x.mT.shape == (2, 4, 3)
    assert hash(x) == hash(x)
    assert x in {x: 1}


def test_numbers():
    assert lp.tensor(3).item() == 3 and isinstance(lp.tensor(3).item(), int)
    assert float(lp.tensor([2.5])) == 2.5 and int(lp.tensor(2.9)) == 2
    assert bool(lp.tensor([1])) and not bool(lp.tensor(0.0))
    assert [10, 20, 30][lp.tensor(1)] == 20
    assert lp.from_numpy(np.array([2**64 - 1], dtype=np.uint64)).item() == 2**64 - 1
    with pytest.raises(lp.ShapeError):
        lp.zeros(2).item()
    with pytest.raises(lp.InvalidValueError):
        bool(lp.zeros(2))
    with pytest.raises(TypeError):
        len(lp.tensor(1))
    with pytest.raises(TypeError):
        iter(lp.tensor(1))


REPR = [
    ([[1.0, 2.0], [3.0, 4.0]], "tensor([[1., 2.],\n        [3., 4.]])"),
    ([1, 20, 3], "tensor([ 1, 20,  3])"),
    (2.5, "tensor(2.5000)"),
    ([True, False], "tensor([ True, False])"),
    ([0.5, 100.25], "tensor([  0.5000, 100.2500])"),
    ([1e-5, 1.0], "tensor([1.0000e-05, 1.0000e+00])"),
    ([float("nan"), float("inf"), -1.0], "tensor([nan, inf, -1.])"),
    ([], "tensor([])"),
]


@pytest.mark.parametrize(("data", "text"), REPR)
def test_repr(data, text):
    assert repr(lp.tensor(data)) == text


def test_repr_suffixes():
    assert repr(lp.zeros(2, dtype=lp.float64)) == "tensor([0., 0.], dtype=lampyr.float64)"
    assert repr(lp.zeros(1, requires_grad=True)) == "tensor([0.], requires_grad=True)"
    assert repr(lp.zeros(0, 3)) == "tensor([], size=(0, 3))"
    assert repr(lp.arange(2000)) == "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])"
    rows = repr(lp.zeros(2, 2, 2)).split("\n")
    assert rows[2] == "" and rows[3].startswith("        [[0., 0.],")
    assert all(len(line) <= 80 for line in repr(lp.rand(3, 30)).split("\n"))


def test_functions_match_numpy():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((3, 4)).astype(np.float32)
    b = rng.standard_normal((3, 4)).astype(np.float32)
    x, y = lp.from_numpy(a), lp.from_numpy(b)
    cases = [
        (x + y, a + b),
        (x - y, a - b),
        (x * y, a * b),
        (x / y, a / b),
        (-x, -a),
        (abs(x), np.abs(a)),
        (lp.exp(x), np.exp(a)),
        (lp.log(abs(x)), np.log(np.abs(a))),
        (lp.sqrt(abs(x)), np.sqrt(np.abs(a))),
        (lp.tanh(x), np.tanh(a)),
        (lp.relu(x), np.maximum(a, 0)),
        (lp.gelu(x), np.vectorize(lambda v: v * 0.5 * (1 + math.erf(v / math.sqrt(2))))(a)),
        (x.sum(), a.sum()),
        (x.sum(0), a.sum(0)),
        (x.sum((0, 1), keepdim=True), a.sum((0, 1), keepdims=True)),
        (x.mean(-1), a.mean(-1)),
        (x.amax(1), a.max(1)),
        (x.amin(0), a.min(0)),
        (x.max(), a.max()),
        (x @ y.T, a @ b.T),
        (lp.softmax(x, 1), np.exp(a) / np.exp(a).sum(1, keepdims=True)),
        (lp.log_softmax(x, 1), a - np.log(np.exp(a).sum(1, keepdims=True))),
        (x**2, a**2),
        (x**-1, 1 / a),
        (x.reshape(2, -1), a.reshape(2, -1)),
        (x.transpose(0, 1), a.T),
        (x.permute(1, 0), a.T),
        (x.flatten(), a.ravel()),
        (x[0].expand(2, 4), np.broadcast_to(a[0], (2, 4))),
        (lp.cat([x, y], 1), np.concatenate([a, b], 1)),
        (lp.stack([x, y]), np.stack([a, b])),
        (lp.where(x > 0, x, 0.0), np.where(a > 0, a, 0)),
        (x.argmax(1), a.argmax(1)),
        (x.argmin(), a.argmin()),
        ((x > 0).nonzero(), np.argwhere(a > 0)),
        (x.gather(1, lp.tensor([[0], [3], [1]])), np.take_along_axis(a, np.array([[0], [3], [1]]), 1)),
        (x.unsqueeze(0).squeeze(0), a),
        (x >= y, a >= b),
        (x <= 0, a <= 0),
        (x != y, a != b),
        (2 - x, 2 - a),
        (1 / x, 1 / a),
    ]
    for i, (mine, theirs) in enumerate(cases):
        assert mine.shape == theirs.shape, i
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=2e-5, atol=1e-6, err_msg=str(i))
    values, at = x.topk(2, dim=1)
    np.testing.assert_array_equal(values.numpy(), -np.sort(-a, 1)[:, :2])
    np.testing.assert_array_equal(at.numpy(), np.argsort(-a, 1)[:, :2])
    values, at = x.max(0)
    np.testing.assert_array_equal(values.numpy(), a.max(0))
    np.testing.assert_array_equal(at.numpy(), a.argmax(0))


def test_comparisons_with_nan():
    x = lp.tensor([float("nan"), 1.0])
    assert (x >= 1).tolist() == [False, True] and (x <= 1).tolist() == [False, True]
    assert (x != x).tolist() == [True, False]
    assert (x == None) is False  # noqa: E711


def test_layers():
    x, w, b = lp.randn(2, 3, 8, 8), lp.randn(4, 3, 3, 3), lp.randn(4)
    y = lp.conv2d(x, w, b, stride=(2, 2), padding=(1, 1))
    assert y.shape == (2, 4, 4, 4)
    xp = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    want = (xp[1, :, 2:5, 4:7] * w.numpy()[3]).sum() + b.numpy()[3]
    assert abs(y[1, 3, 1, 2].item() - want) < 1e-4
    assert lp.max_pool2d(x, 2).numpy()[0, 0, 0, 0] == x.numpy()[0, 0, :2, :2].max()
    values, at = lp.max_pool2d(x, 2, return_indices=True)
    assert at.dtype is lp.int64 and values.shape == at.shape == (2, 3, 4, 4)
    mean, var = lp.zeros(3), lp.ones(3)
    out = lp.nn.functional.batch_norm(x, mean, var, training=True)
    assert abs(out.mean().item()) < 1e-5
    np.testing.assert_allclose(mean.numpy(), 0.1 * x.numpy().mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    dropped = lp.dropout(lp.ones(1000), 0.5)
    assert set(dropped.tolist()) == {0.0, 2.0} and 350 < (dropped > 0).sum().item() < 650
    assert lp.dropout(x, 0.5, False) is not None


def test_in_place():
    x = lp.tensor([1.0, -2.0, 3.0])
    same = x
    x += 1
    x -= lp.tensor([1.0, 0.0, 0.0])
    x *= 2
    x /= 2
    assert x is same and x.tolist() == [1, -1, 4]
    assert x.add_(1, alpha=2).relu_().tolist() == [3, 1, 6]
    assert x.mul_(2).copy_(5).tolist() == [5, 5, 5]
    assert x.zero_() is x and x.tolist() == [0, 0, 0]
    assert x.fill_(2).sub_(1).div_(2).tolist() == [0.5] * 3
    view = x[1:]
    view += 1
    assert x.tolist() == [0.5, 1.5, 1.5]
    whole = lp.tensor([1, 2])
    with pytest.raises(lp.DTypeError):
        whole += 0.5
    with pytest.raises(lp.ShapeError):
        x += lp.zeros(2, 3)


def test_copies():
    x = lp.randn(3, requires_grad=True)
    y = copy.deepcopy(x)
    assert y.requires_grad and y.is_leaf and np.array_equal(x.detach().numpy(), y.detach().numpy())
    assert x.data_ptr() != y.data_ptr() and x.detach().data_ptr() == x.data_ptr()
    assert lp.tensor(x).data_ptr() != x.data_ptr()
    with pytest.raises(lp.AutogradError):
        copy.deepcopy(x * 2)


def test_subclasses_and_weak_references():
    class Parameter(lp.Tensor):
        def __new__(cls, data):
            return super().__new__(cls, data, requires_grad=True)

        def __init__(self, data):
            self.note = "kept"

    data = lp.ones(2)
    p = Parameter(data)
    assert isinstance(p, lp.Tensor) and p.requires_grad and p.note == "kept"
    assert p.data_ptr() == data.data_ptr() and not data.requires_grad
    assert type(p + 1) is lp.Tensor
    ref = weakref.ref(p)
    del p
    gc.collect()
    assert ref() is None


def test_memory_does_not_grow():
    def steps(n):
        w = lp.randn(16, 16, requires_grad=True)
        for _ in range(n):
            loss = (lp.tanh(lp.ones(4, 16) @ w) ** 2).mean()
            loss.backward()
            with lp.no_grad():
                w -= 0.1 * w.grad
            w.grad = None
        return lp.memory_stats()["active_bytes"]

    steps(2)
    gc.collect()
    assert steps(10) == steps(1000)


def test_memory_limit():
    stats = lp.memory_stats()
    lp.set_memory_limit(stats["active_bytes"] + (1 << 20))
    try:
        with pytest.raises(lp.OutOfMemoryError) as caught:
            lp.zeros(1 << 22)
        assert isinstance(caught.value, MemoryError) and caught.value.requested >= 1 << 24
    finally:
        lp.set_memory_limit(None)
    lp.empty_cache()
    assert lp.memory_stats()["cached_bytes"] == 0


def test_threads():
    before = lp.get_num_threads()
    lp.set_num_threads(1)
    assert lp.get_num_threads() == 1
    lp.set_num_threads(before)


def test_ops_table():
    table = {op.name: op for op in lp.ops()}
    assert {"add", "matmul", "conv", "softmax"} <= table.keys()
    assert table["softmax"].attributes[0][0] == "axis"
    assert lp.float32 in table["add"].dtypes and table["add"].doc
    x = lp.randn(2, 3)
    np.testing.assert_array_equal(lp.call_op("softmax", x, axis=1).numpy(), lp.softmax(x, 1).numpy())
    np.testing.assert_array_equal(lp.call_op("add", x, 1).numpy(), (x + 1).numpy())
    with pytest.raises(lp.NotFoundError):
        lp.call_op("no_such_op", x)
    with pytest.raises(lp.NotFoundError):
        lp.call_op("softmax", x, wrong=1)


def test_the_three_line_example():
    x = lp.randn(1, 3, 32, 32)
    w = lp.randn(8, 3, 3, 3)
    z = lp.relu(lp.conv2d(x, w, stride=(1, 1), padding=(1, 1)))
    assert z.shape == (1, 8, 32, 32) and z.min().item() >= 0


def test_ops_as_functions():
    from lampyr import _ops

    x = lp.randn(2, 3)
    np.testing.assert_array_equal(_ops.softmax(x, axis=1).numpy(), lp.softmax(x, 1).numpy())
    assert _ops.cast(x, to=lp.float64).dtype is lp.float64
    assert _ops.not_(lp.tensor([True])).tolist() == [False]
    assert _ops.reduce_sum(x, axes=[0], keepdims=True).shape == (1, 3)
    assert _ops.transpose(x, perm=(1, 0)).shape == (3, 2)
    assert "add" in dir(_ops) and _ops.add.__doc__
    with pytest.raises(AttributeError):
        _ = _ops.nothing_like_this


def test_pickle():
    x = lp.randn(2, 3, requires_grad=True)
    y = pickle.loads(pickle.dumps(x))
    assert y.requires_grad and y.tolist() == x.tolist()
    for t in (lp.arange(6).reshape(2, 3).T, lp.tensor(True), lp.zeros(0, 2), lp.ones(2).bfloat16()):
        back = pickle.loads(pickle.dumps(t))
        assert back.dtype is t.dtype and back.shape == t.shape and back.tolist() == t.tolist()
    assert pickle.loads(pickle.dumps(lp.int8)) is lp.int8
    with pytest.raises(lp.AutogradError):
        pickle.dumps(x * 2)
