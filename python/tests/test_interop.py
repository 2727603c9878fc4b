import array
import gc
import hashlib
import importlib.util

import numpy as np
import pytest

import lampyr as lp

TYPES = [
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
    "float32",
    "float64",
]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("take", [lp.from_numpy, lp.from_dlpack, lp.asarray])
def test_numpy_to_lampyr_shares_memory(dtype, take):
    a = np.arange(12).reshape(3, 4).astype(dtype)
    t = take(a)
    assert t.dtype is getattr(lp, dtype) and t.shape == (3, 4)
    a[1, 2] = 1 - a[1, 2].astype(bool)
    np.testing.assert_array_equal(t.numpy(), a)
    assert t.data_ptr() == a.ctypes.data


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("give", [lambda t: t.numpy(), np.asarray, np.from_dlpack, memoryview])
def test_lampyr_to_numpy_shares_memory(dtype, give):
    t = lp.arange(6, dtype=dtype).reshape(2, 3)
    a = np.asarray(give(t))
    assert a.dtype == dtype and a.shape == (2, 3) and a.ctypes.data == t.data_ptr()
    t[1, 1] = 0
    assert a[1, 1] == 0
    if a.flags.writeable:
        a[0, 1] = 1
        assert t[0, 1].item() == 1


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::-1],
        lambda a: a[:, ::2],
        lambda a: a.T,
        lambda a: a[1:, ::-2],
        lambda a: a[..., None],
        lambda a: a[:0],
        lambda a: np.broadcast_to(a[0], (5, 6)),
        lambda a: a[2, 3],
    ],
)
def test_strides(view):
    a = np.arange(24, dtype=np.float32).reshape(4, 6)
    v = np.asarray(view(a))
    for t in (lp.from_numpy(v), lp.asarray(v), lp.from_dlpack(v) if v.flags.writeable else lp.from_numpy(v)):
        np.testing.assert_array_equal(t.numpy(), v)
        np.testing.assert_array_equal(np.from_dlpack(t), v)
        np.testing.assert_array_equal(t.contiguous().numpy(), v)


def test_a_tensor_keeps_an_array_alive():
    made = []

    class Noted(np.ndarray):
        def __del__(self):
            made.append("gone")

    a = np.arange(10, dtype=np.float32).view(Noted)
    t = lp.from_numpy(a)
    part = t[3:]
    del a, t
    gc.collect()
    assert made == [] and part.tolist() == [3, 4, 5, 6, 7, 8, 9]
    del part
    gc.collect()
    assert made == ["gone"]


@pytest.mark.parametrize("give", [lambda t: t.numpy(), np.asarray, np.from_dlpack, memoryview])
def test_an_array_keeps_a_tensor_alive(give):
    before = lp.memory_stats()["active_bytes"]
    t = lp.ones(4096)
    a = give(t)
    del t
    gc.collect()
    lp.full((4096,), 7.0)
    assert np.asarray(a).sum() == 4096
    assert lp.memory_stats()["active_bytes"] > before
    del a
    gc.collect()
    assert lp.memory_stats()["active_bytes"] == before


def test_capsules_that_nobody_takes_free_their_memory():
    before = lp.memory_stats()["active_bytes"]
    for version in (None, (1, 0)):
        t = lp.ones(4096)
        capsule = t.__dlpack__(max_version=version)
        del t, capsule
        gc.collect()
        assert lp.memory_stats()["active_bytes"] == before


def test_both_dlpack_versions():
    t = lp.arange(4)
    assert "dltensor_versioned" in repr(t.__dlpack__(max_version=(1, 0)))
    assert '"dltensor"' in repr(t.__dlpack__())
    assert t.__dlpack_device__() == (1, 0)

    class Old:
        def __init__(self, tensor):
            self.tensor = tensor

        def __dlpack__(self):
            return self.tensor.__dlpack__()

        def __dlpack_device__(self):
            return (1, 0)

    shared = lp.from_dlpack(Old(t))
    shared[0] = 9
    assert t[0].item() == 9
    copied = np.from_dlpack(t, copy=True)
    copied[0] = 1
    assert t[0].item() == 9
    assert lp.from_dlpack(lp.ones(2).bfloat16()).dtype is lp.bfloat16


def test_read_only_arrays_are_copied():
    a = np.arange(3, dtype=np.float32)
    a.flags.writeable = False
    for take in (lp.from_numpy, lp.asarray, lp.from_dlpack):
        t = take(a)
        t[0] = 5
        assert a[0] == 0 and t[0].item() == 5


def test_unaligned_and_odd_arrays():
    raw = np.zeros(4 * 4 + 1, dtype=np.uint8)
    a = raw[1:].view(np.float32)
    a[:] = [1, 2, 3, 4]
    assert lp.from_numpy(a).tolist() == [1, 2, 3, 4]
    record = np.zeros(3, dtype=[("a", np.int8), ("b", np.float32)])
    with pytest.raises(lp.InvalidValueError):
        lp.from_numpy(record["b"])
    with pytest.raises(lp.DTypeError):
        lp.from_numpy(np.zeros(2, dtype=">f4"))
    with pytest.raises(lp.DTypeError):
        lp.from_numpy(np.zeros(2, dtype=np.complex64))
    with pytest.raises(lp.DTypeError):
        lp.from_numpy(np.array(["a"]))
    with pytest.raises(lp.DTypeError):
        lp.from_numpy(3)


def test_other_buffers():
    assert lp.from_numpy(array.array("d", [1, 2])).tolist() == [1, 2]
    assert lp.from_numpy(bytearray(b"ab")).tolist() == [97, 98]
    assert lp.asarray(memoryview(b"ab")).tolist() == [97, 98]
    assert lp.asarray([1, 2], dtype=lp.float64).dtype is lp.float64
    t = lp.ones(2)
    assert lp.asarray(t) is t


def test_gradients_guard_memory():
    t = lp.ones(2, requires_grad=True)
    with pytest.raises(lp.AutogradError):
        t.numpy()
    with pytest.raises(BufferError):
        t.__dlpack__()
    assert memoryview(t).readonly and not memoryview(t.detach()).readonly
    assert t.detach().numpy().flags.writeable
    assert t.numpy(force=True).tolist() == [1, 1]


def test_bfloat16_has_no_numpy_form():
    t = lp.ones(2).bfloat16()
    if importlib.util.find_spec("ml_dtypes") is None:
        with pytest.raises(lp.DTypeError):
            t.numpy()
    with pytest.raises(BufferError):
        memoryview(t)


def test_arithmetic_with_arrays():
    a = np.ones(2, dtype=np.float32)
    t = lp.ones(2)
    assert isinstance(a + t, lp.Tensor) and isinstance(t + a, lp.Tensor)
    assert (a + t).tolist() == [2, 2]
    assert (t * np.float32(3)).tolist() == [3, 3]
    assert np.array(t, dtype=np.float64).dtype == np.float64


def test_contiguous_requests():
    t = lp.arange(6).reshape(2, 3)
    assert bytes(t) == t.numpy().tobytes()
    with pytest.raises(BufferError):
        hashlib.sha256(t.T)
