import itertools

import numpy as np
import pytest

import lampyr as lp

numbers = itertools.count()


def register(forward, infer=lambda inputs: [inputs[0]], vjp=None):
    return lp.register_op(f"test_op_{next(numbers)}", forward, infer, vjp)


def test_forward_and_vjp():
    cube = register(
        lambda xs: xs[0] * xs[0] * xs[0],
        vjp=lambda inputs, outputs, grads: [grads[0] * inputs[0] * inputs[0] * 3],
    )
    x = lp.tensor([1.0, -2.0], requires_grad=True)
    y = cube(x)
    assert y.tolist() == [1, -8] and y.requires_grad
    (y * 2).sum().backward()
    assert x.grad.tolist() == [6, 24]
    (g,) = lp.grad(cube(x).sum(), x, create_graph=True)
    (gg,) = lp.grad(g.sum(), x)
    assert gg.tolist() == [6, -12]


def test_numpy_inside():
    sort = register(lambda xs: [np.sort(xs[0].numpy())])
    assert sort(lp.tensor([3.0, 1.0, 2.0])).tolist() == [1, 2, 3]
    x = lp.ones(2, requires_grad=True)
    assert not sort(x).requires_grad


def test_several_inputs_and_outputs():
    both = register(
        lambda xs: [xs[0] + xs[1], xs[0] - xs[1]],
        infer=lambda xs: [xs[0], xs[0]],
        vjp=lambda inputs, outputs, grads: [
            sum_of(grads[0], grads[1]),
            None if grads[0] is None else grads[0],
        ],
    )

    def sum_of(a, b):
        return a if b is None else b if a is None else a + b

    x, y = lp.ones(2, requires_grad=True), lp.ones(2)
    s, d = both(x, y)
    assert s.tolist() == [2, 2] and d.tolist() == [0, 0]
    (s * 3).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_errors_are_chained():
    def fail(xs):
        raise KeyError("my own")

    with pytest.raises(lp.UserError) as caught:
        register(fail)(lp.ones(1))
    assert isinstance(caught.value.__cause__, KeyError) and caught.value.op.startswith("test_op_")
    with pytest.raises(lp.UserError, match="infer"):
        register(lambda xs: xs[0], infer=fail)(lp.ones(1))

    def fail_vjp(inputs, outputs, grads):
        raise ZeroDivisionError

    x = lp.ones(1, requires_grad=True)
    with pytest.raises(lp.UserError) as caught:
        register(lambda xs: xs[0] + 0, vjp=fail_vjp)(x).backward()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_wrong_results_are_errors():
    with pytest.raises(lp.ShapeError, match="infer says"):
        register(lambda xs: lp.zeros(7))(lp.ones(1))
    with pytest.raises(lp.UserError):
        register(lambda xs: "text")(lp.ones(1))
    x = lp.ones(1, requires_grad=True)
    with pytest.raises(lp.InvalidValueError, match="one per input"):
        register(lambda xs: xs[0] * 2, vjp=lambda i, o, g: [])(x).backward()
    with pytest.raises(lp.AutogradError):
        register(lambda xs: xs[0] * 2, vjp=lambda i, o, g: [lp.ones(3)])(x).backward()


def test_registration():
    op = lp.register_op("test_named", lambda xs: xs[0], lambda xs: [xs[0]])
    assert op.name == "test_named" and "test_named" in repr(op)
    assert any(o.name == "test_named" and o.family == "user" for o in lp.ops())
    assert lp.call_op("test_named", lp.ones(2)).tolist() == [1, 1]
    with pytest.raises(lp.InvalidValueError, match="exists already"):
        lp.register_op("test_named", lambda xs: xs[0], lambda xs: [xs[0]])
    with pytest.raises(lp.InvalidValueError):
        lp.register_op("add", lambda xs: xs[0], lambda xs: [xs[0]])
    with pytest.raises(lp.DTypeError):
        lp.register_op("test_other", 3, lambda xs: [xs[0]])
