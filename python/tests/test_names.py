import inspect
import re
import threading
from pathlib import Path

import pytest

import lampyr as lp
from lampyr import return_types
from lampyr._lampyr import _names

ALL = [(space, name, f) for space, names in _names.items() for name, f in names.items()]
TABLE = re.findall(r"    def (\w+)\(", (Path(lp.__file__).parent / "_methods.pyi").read_text())
METHODS = [(name, f) for name, f in vars(lp.Tensor).items() if name in TABLE]


def x():
    return lp.tensor([[1.0, -2.0], [3.0, 4.0]])


def test_every_name_is_callable_and_documented():
    assert len(ALL) > 90
    for space, name, f in ALL:
        assert callable(f) and f.__name__ == name and f.__module__ == space, name
        assert f.__doc__ and len(f.__doc__.splitlines()[0]) > 3, name
        assert inspect.signature(f).parameters, name
        with pytest.raises(TypeError, match=name):
            f(no_such_argument=1)
    for name, f in METHODS:
        assert f.__doc__ and next(iter(inspect.signature(f).parameters)) == "self", name


def test_signatures():
    assert str(inspect.signature(lp.add)) == "(input, other, *, alpha=1, out=None)"
    assert str(inspect.signature(lp.Tensor.sum)) == "(self, /, dim=None, keepdim=False, *, dtype=None)"
    assert "keepdim = False" in lp.max.__doc__


def test_arguments_by_position_and_name():
    assert lp.sum(x(), 0).tolist() == x().sum(dim=0).tolist() == lp.sum(input=x(), axis=(0,)).tolist() == [4, 2]
    assert lp.sum(x(), [0, 1], True).shape == x().sum((0, 1), keepdims=True).shape == (1, 1)
    assert lp.add(2, x(), alpha=3).tolist() == [[5, -4], [11, 14]]
    assert lp.where(x() > 0, x(), 0).tolist() == x().where(x() > 0, 0).tolist() == [[1, 0], [3, 4]]
    assert lp.sum(x(), lp.tensor(1)).tolist() == [-1, 7]


def test_forms():
    assert lp.max(x()).item() == 4
    values, indices = found = lp.max(x(), 1)
    assert values.tolist() == [1, 4] and indices.tolist() == [0, 1] and found.indices is indices
    assert type(found) is return_types.max and type(x().min(0)) is return_types.min
    assert x().max(lp.tensor([2.0, 0.0])).tolist() == [[2, 0], [3, 4]]
    with pytest.raises(AttributeError, match="no_such"):
        _ = return_types.no_such


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: lp.abs(3), r"abs: the argument `input` \(position 1\) must be Tensor, not int"),
        (lambda: x().sum("a"), r"the argument `dim` \(position 1\) must be int or tuple of ints, not str"),
        (lambda: x().sum(keepdim=1), "the argument `keepdim` must be bool, not int"),
        (lambda: x().abs(1), "takes 0 positional arguments but 1 were given"),
        (lambda: x().sum(dims=1), "there is no argument `dims`"),
        (lambda: lp.add(x()), "the argument `other` is missing"),
        (lambda: lp.add(x(), 1, other=2), "the argument `other` is given twice"),
        (lambda: x().max(x(), 3), r"no form takes \(Tensor, int\)"),
        (lambda: lp.Tensor.abs(3), "abs"),
    ],
)
def test_wrong_arguments(call, text):
    with pytest.raises(TypeError, match=text):
        call()


def test_numbers_that_are_too_large():
    with pytest.raises(ValueError, match="64 bits"):
        x().sum(1 << 70)


def test_out():
    out = lp.zeros(2, 2, dtype=lp.float64)
    assert lp.exp(lp.zeros(2, 2), out=out) is out and out.tolist() == [[1, 1], [1, 1]]
    values, indices = lp.zeros(2), lp.zeros(2, dtype=lp.int64)
    made = lp.max(x(), 1, out=(values, indices))
    assert made[0] is values and made.indices is indices and indices.tolist() == [0, 1]
    with pytest.raises(TypeError, match="float32 result cannot be kept"):
        lp.exp(x(), out=lp.zeros(2, 2, dtype=lp.int64))
    with pytest.raises(RuntimeError, match="out"):
        lp.exp(x().requires_grad_(), out=out)
    with lp.no_grad():
        assert lp.exp(x().requires_grad_(), out=out) is out


def test_in_place():
    y = x()
    assert y.abs_() is y and y.tolist() == [[1, 2], [3, 4]]
    assert y.add_(1, alpha=2) is y and y[0, 0] == 3
    with pytest.raises(TypeError, match="cannot be kept"):
        lp.tensor([1, 2]).div_(2)
    with pytest.raises(ValueError, match="in place"):
        lp.tensor([1.0]).add_(lp.ones(2))
    leaf = lp.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        leaf.exp_()
    z = leaf * 1
    z.exp_().mul_(2)
    z.sum().backward()
    assert leaf.grad.tolist() == pytest.approx([2 * 2.718281828] * 2)


def test_a_function_that_changes_nothing_gives_back_its_argument():
    y = x()
    assert y.positive() is y


def test_arrays_of_other_libraries():
    numpy = pytest.importorskip("numpy")
    assert lp.abs(numpy.float32([-1, 2])).tolist() == [1, 2]
    assert lp.ones(2).add(numpy.float32(2)).tolist() == [3, 3]
    assert lp.ones(2, 3).sum(numpy.int64(1)).tolist() == [3, 3]


def test_threads():
    big, made = lp.ones(300, 300), []

    def work():
        made.extend(lp.exp(big, out=lp.empty(300, 300)).sum().item() for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(made) == 20 and len(set(made)) == 1
