import copy
import io
import pickle

import numpy as np
import pytest

import lampyr as lp


def test_casts_keep_what_has_the_type():
    x = lp.ones(2)
    assert x.float() is x and x.to(lp.float32) is x and x.to("cpu") is x and x.to(x) is x and x.cpu() is x
    assert x.to(lp.float32, copy=True) is not x and x.type(lp.float32) is x and x.contiguous() is x
    for name, dtype in [
        ("double", "float64"),
        ("half", "float16"),
        ("bfloat16", "bfloat16"),
        ("char", "int8"),
        ("byte", "uint8"),
        ("short", "int16"),
        ("int", "int32"),
        ("long", "int64"),
        ("bool", "bool"),
    ]:
        assert getattr(x, name)().dtype is getattr(lp, dtype)
    assert x.to("cpu", lp.int8).dtype is x.to(lp.int8).dtype is x.to(dtype=lp.int8, device="cpu").dtype is lp.int8
    assert x.to("cpu", lp.int8, True, copy=True).dtype is lp.int8 and x.to(lp.zeros(1, dtype=lp.int8)).dtype is lp.int8
    assert x.type() == "lampyr.FloatTensor" and x.type("lampyr.DoubleTensor").dtype is lp.float64
    assert x.type_as(lp.tensor(1)).dtype is lp.int64
    with pytest.raises(RuntimeError):
        x.to("cuda")
    with pytest.raises((TypeError, RuntimeError)):
        x.to("nonsense")


def test_what_a_tensor_says_of_itself():
    x = lp.zeros(2, 3)[:, 1:]
    assert x.element_size() == x.itemsize == 4 and x.nelement() == 4 and x.ndimension() == 2
    assert x.storage_offset() == 1 and x.stride(0) == 3 and x.stride() == (3, 1) and x.nbytes == 16
    assert not x.is_contiguous() and x.contiguous().is_contiguous(memory_format=lp.contiguous_format)
    assert x.layout == lp.strided and repr(x.layout) == "lampyr.strided" and repr(lp.contiguous_format)
    assert x.get_device() == -1 and not x.is_cuda and x.is_cpu and not x.is_shared() and not x.is_complex()
    assert x.real is x and x.is_signed() and not lp.zeros(1, dtype=lp.uint8).is_signed()
    assert x.data.data_ptr() == x.data_ptr() and x._version == 0
    x += 1
    assert x._version == 1 and x.data._version == 0
    assert x.is_set_to(x.data) and x.is_same_size(lp.ones(2, 2)) and x.equal(lp.ones(2, 2)) and not x.equal(lp.ones(2))
    assert not x.is_contiguous(memory_format=lp.channels_last)
    with pytest.raises(RuntimeError):
        x.to(memory_format=lp.channels_last)
    image = lp.arange(24.0).reshape(1, 2, 3, 4)
    turned = image.to(memory_format=lp.channels_last)
    assert turned.stride() == (24, 1, 8, 2) and turned.tolist() == image.tolist()
    assert turned.is_contiguous(memory_format=lp.channels_last) and not turned.is_contiguous()
    assert turned.half(memory_format=lp.channels_last).stride() == turned.stride()
    with pytest.raises(RuntimeError):
        _ = x.imag
    x.data = lp.full((2, 2), 5.0)
    assert x.tolist() == [[5, 5], [5, 5]]
    assert x.set_(lp.zeros(2, 2)) is x and x.sum().item() == 0 and x.resize_(2, 2) is x


def test_new_tensors_like_one():
    x = lp.zeros(2, dtype=lp.float64)
    for made in (x.new_zeros(2, 3), x.new_ones((2, 3)), x.new_full([2, 3], 7), x.new_empty(2, 3)):
        assert made.dtype is lp.float64 and made.shape == (2, 3)
    assert x.new_tensor([1, 2]).dtype is lp.float64 and x.new_zeros(1, dtype=lp.int8).dtype is lp.int8
    assert x.new_ones(1, requires_grad=True).requires_grad and x.new_tensor(np.ones(2)).tolist() == [1, 1]
    assert lp.empty_like(x).shape == (2,) and lp.zeros_like(x, dtype=lp.int8).dtype is lp.int8
    assert lp.full_like(x, 3).tolist() == [3, 3] and lp.scalar_tensor(3).dtype is lp.float32
    assert lp.as_tensor(x) is x and lp.as_tensor([1]).tolist() == [1]


def test_identity():
    x, y = lp.ones(2), lp.ones(2)
    assert hash(x) == hash(x) and hash(x) != hash(y) and len({x, y}) == 2
    assert x.detach() is not x and hash(x.detach()) != hash(x)


def test_copies():
    x = lp.arange(6.0)
    rows, part = x.view(2, 3), x[2:]
    a, b, c = copy.deepcopy([x, rows, part])
    b[1, 2] = 50
    c[0] = 20
    assert a.tolist() == [0, 1, 20, 3, 4, 50] and x.tolist() == [0, 1, 2, 3, 4, 5]
    assert a.untyped_storage() == b.untyped_storage() == c.untyped_storage() and c.storage_offset() == 2
    w = lp.ones(3, requires_grad=True)
    (w * 2).sum().backward()
    v = copy.deepcopy(w)
    assert v.grad.tolist() == [2, 2, 2] and v.grad is not w.grad and v.requires_grad and v.is_leaf
    v.grad.zero_()
    assert w.grad.tolist() == [2, 2, 2]
    alias = copy.copy(w)
    assert alias.data_ptr() == w.data_ptr() and alias.requires_grad and alias is not w
    d = {"a": x, "b": [x]}
    e = copy.deepcopy(d)
    assert e["a"] is e["b"][0]
    assert copy.deepcopy(lp.zeros(0, 3)).shape == (0, 3) and copy.deepcopy(lp.tensor(3)).item() == 3
    assert copy.deepcopy(lp.arange(6).reshape(2, 3).T).stride() == (1, 3)


def test_devices():
    cpu = lp.device("cpu")
    assert cpu == lp.zeros(1).device == lp.device(cpu) == "cpu" and cpu.type == "cpu" and cpu.index is None
    assert (
        repr(cpu) == "device(type='cpu')" and str(lp.device("cuda:1")) == "cuda:1" and lp.device("cuda", 1).index == 1
    )
    assert pickle.loads(pickle.dumps(cpu)) == cpu and lp.get_default_device() == cpu
    assert lp.zeros(1, device=cpu).device == cpu and lp.zeros(1, device=None).device == cpu
    lp.set_default_device("cpu")
    for bad in (lambda: lp.device("gpu"), lambda: lp.zeros(1, device="cuda"), lambda: lp.device("cuda:x")):
        with pytest.raises(RuntimeError):
            bad()
    with pytest.raises((TypeError, RuntimeError)):
        lp.device(None)


@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
def test_finfo(name):
    ours, want = lp.finfo(getattr(lp, name)), np.finfo(name)
    for field in ("bits", "eps", "max", "min", "tiny", "smallest_normal"):
        assert getattr(ours, field) == getattr(want, field)
    assert ours.dtype == name and ours.resolution == float(str(want.resolution))
    assert lp.finfo().dtype == "float32" and lp.finfo(lp.bfloat16).max == 3.3895313892515355e38
    assert repr(lp.finfo(lp.float32)) == (
        "finfo(resolution=1e-06, min=-3.40282e+38, max=3.40282e+38, eps=1.19209e-07, smallest_normal=1.17549e-38, "
        "tiny=1.17549e-38, dtype=float32)"
    )
    with pytest.raises(TypeError):
        lp.finfo(lp.int8)


@pytest.mark.parametrize("name", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_iinfo(name):
    ours, want = lp.iinfo(getattr(lp, name)), np.iinfo(name)
    assert (ours.bits, ours.max, ours.min, ours.dtype) == (want.bits, want.max, want.min, name)
    assert repr(lp.iinfo(lp.int8)) == "iinfo(min=-128, max=127, dtype=int8)"
    for bad in (lp.float32, lp.bool):
        with pytest.raises(TypeError):
            lp.iinfo(bad)


def test_print_options():
    x = lp.tensor([1.23456789, 1000.5])
    try:
        lp.set_printoptions(precision=2)
        assert repr(x) == "tensor([   1.23, 1000.50])"
        lp.set_printoptions(sci_mode=True)
        assert repr(x) == "tensor([1.23e+00, 1.00e+03])"
        lp.set_printoptions(profile="default", threshold=5, edgeitems=1, sci_mode=False)
        assert repr(lp.arange(10)) == "tensor([0,  ..., 9])"
        lp.set_printoptions(profile="full")
        assert "..." not in repr(lp.arange(5000))
        lp.set_printoptions(profile="default", linewidth=20)
        assert repr(lp.arange(8)) == "tensor([0, 1, 2, 3,\n        4, 5, 6, 7])"
        with pytest.raises(ValueError):
            lp.set_printoptions(profile="none")
    finally:
        lp.set_printoptions(profile="default")


def test_printed_history():
    x = lp.ones(2, requires_grad=True)
    assert repr(x * 2) == "tensor([2., 2.], grad_fn=<MulBackward0>)"
    assert repr(x.detach()) == "tensor([1., 1.])"


def test_memory_and_modes():
    lp.reset_peak_memory_stats()
    peak = lp.memory_stats()["peak_bytes"]
    x = lp.zeros(1 << 20)
    assert lp.memory_stats()["peak_bytes"] >= peak + (4 << 20)
    del x
    assert not lp.are_deterministic_algorithms_enabled()
    lp.use_deterministic_algorithms(True)
    try:
        assert lp.are_deterministic_algorithms_enabled() and lp.backends.accelerate.deterministic
        assert (lp.ones(3) + 1).sum().item() == 6
        lp.use_deterministic_algorithms(True, warn_only=True)
        assert lp.is_deterministic_algorithms_warn_only_enabled()
    finally:
        lp.set_deterministic(False)
    assert not lp.backends.metal.is_available() and lp.backends.cpu.is_available()
    assert lp.get_num_interop_threads() >= 1
    with pytest.raises(ValueError):
        lp.set_num_interop_threads(0)


def test_questions():
    x = lp.ones(2)
    assert lp.is_tensor(x) and not lp.is_tensor([1]) and lp.is_floating_point(x) and lp.numel(x) == 2
    assert not lp.is_complex(x) and lp.is_signed(x) and lp.is_storage(x.untyped_storage())
    assert lp.typename(x) == "lampyr.FloatTensor" and lp.typename(1) == "int" and lp.newaxis is None
    assert np.isclose(lp.pi, np.pi) and lp.inf > 0 and lp.nan != lp.nan
    assert lp.from_dlpack(x).data_ptr() == x.data_ptr() and lp.to_dlpack(x) is not None


def test_bfloat16_arrays():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = lp.tensor([1.5, -2.0], dtype=lp.bfloat16)
    assert x.numpy().dtype == ml_dtypes.bfloat16 and x.numpy().astype(np.float32).tolist() == [1.5, -2]


def test_storages():
    x = lp.arange(3, dtype=lp.int16)
    s = x.untyped_storage()
    assert s.nbytes() == len(s) and s.tolist()[:6] == [0, 0, 1, 0, 2, 0] and s.data_ptr() == x.data_ptr()
    assert s == x[1:].untyped_storage() and s != lp.zeros(3).untyped_storage() and hash(s) == hash(x.untyped_storage())
    buffer = io.BytesIO()
    pickle.dump(x.T, buffer)
    assert pickle.loads(buffer.getvalue()).tolist() == x.tolist()
