import pytest

import lampyr as lp

GOLDEN = [
    ("int32", "int64", "int64"),
    ("uint8", "int8", "int16"),
    ("uint8", "int32", "int32"),
    ("bool", "uint8", "uint8"),
    ("bool", "bool", "bool"),
    ("int64", "float16", "float16"),
    ("int64", "bfloat16", "bfloat16"),
    ("float16", "bfloat16", "float32"),
    ("float16", "float32", "float32"),
    ("float32", "float64", "float64"),
    ("uint8", "float32", "float32"),
    ("bool", "float16", "float16"),
]


@pytest.mark.parametrize(("a", "b", "want"), GOLDEN)
def test_tensors(a, b, want):
    x, y = lp.ones(2, dtype=a), lp.ones(2, dtype=b)
    assert lp.promote_types(a, b) is lp.promote_types(b, a) is getattr(lp, want)
    if want != "bool":
        assert (x + y).dtype is (y + x).dtype is getattr(lp, want)
        assert (x * y).tolist() == [1, 1]
    assert (x == y).dtype is lp.bool


SCALARS = [
    ("int8", 2, "int8"),
    ("int8", 2.5, "float32"),
    ("float16", 2.5, "float16"),
    ("float16", 2, "float16"),
    ("float64", 2.5, "float64"),
    ("bool", 2, "int64"),
    ("bool", True, "bool"),
    ("uint8", True, "uint8"),
    ("int32", True, "int32"),
]


@pytest.mark.parametrize(("a", "scalar", "want"), SCALARS)
def test_python_numbers_are_weak(a, scalar, want):
    x = lp.ones(2, dtype=a)
    assert lp.result_type(x, scalar) is getattr(lp, want)
    if want != "bool":
        assert (x + scalar).dtype is (scalar + x).dtype is getattr(lp, want)


ZERO_D = [
    ("int8", "int64", "int8"),
    ("float16", "float64", "float16"),
    ("int64", "float16", "float16"),
    ("int8", "float64", "float64"),
    ("bool", "int16", "int16"),
]


@pytest.mark.parametrize(("dims", "zero", "want"), ZERO_D)
def test_zero_d_tensors_count_less(dims, zero, want):
    x, z = lp.ones(2, dtype=dims), lp.ones((), dtype=zero)
    assert (x + z).dtype is (z + x).dtype is getattr(lp, want)
    assert (z + z).dtype is getattr(lp, zero)


def test_results():
    x = lp.tensor([3, 4])
    assert (x / 2).dtype is lp.float32 and (x / 2).tolist() == [1.5, 2]
    assert (1 / x).dtype is lp.float32
    assert (1.5 - x).tolist() == [-1.5, -2.5]
    assert lp.exp(lp.tensor([0])).dtype is lp.float32
    assert x.sum().dtype is lp.int64
    assert lp.ones(3, dtype=lp.bool).sum().item() == 3
    assert lp.ones(3, dtype=lp.int8).sum().dtype is lp.int64
    assert lp.where(x > 3, x, 0.5).dtype is lp.float32
    assert lp.cat([x, lp.ones(1)]).dtype is lp.float32
    assert (x**2).dtype is lp.int64 and (x**2.0).dtype is lp.float32
    with pytest.raises(lp.DTypeError):
        x.mean()
    with pytest.raises(lp.DTypeError):
        lp.ones(2, 2) @ lp.ones(2, 2, dtype=lp.int64)
    with pytest.raises(TypeError):
        x + "a"
    with pytest.raises(TypeError):
        x + None
