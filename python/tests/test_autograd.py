import numpy as np
import pytest

import lampyr as lp


def numeric(f, arrays, eps=1e-5):
    grads = []
    for k, a in enumerate(arrays):
        g = np.zeros_like(a)
        for i in np.ndindex(a.shape):
            ends = []
            for sign in (1, -1):
                moved = [b.copy() for b in arrays]
                moved[k][i] += sign * eps
                ends.append(f(*[lp.from_numpy(b) for b in moved]).item())
            g[i] = (ends[0] - ends[1]) / (2 * eps)
        grads.append(g)
    return grads


CASES = {
    "arithmetic": (lambda x, y: ((x + y) * (x - y) / (y * y + 1)).sum(), [(2, 3), (2, 3)]),
    "broadcast": (lambda x, y: (x * y).sum(), [(2, 3), (3,)]),
    "exp_log": (lambda x: (lp.log(lp.exp(x) + 1)).sum(), [(4,)]),
    "sqrt": (lambda x: lp.sqrt(x * x + 1).sum(), [(4,)]),
    "tanh": (lambda x: lp.tanh(x).sum(), [(4,)]),
    "gelu": (lambda x: lp.gelu(x).sum(), [(4,)]),
    "relu": (lambda x: (lp.relu(x) * x).sum(), [(5,)]),
    "pow": (lambda x: (x**3).sum(), [(3,)]),
    "matmul": (lambda x, y: (x @ y).sum(), [(2, 3), (3, 4)]),
    "batched": (lambda x, y: ((x @ y) ** 2).sum(), [(2, 2, 3), (3, 4)]),
    "softmax": (lambda x: (lp.softmax(x, 1) * lp.arange(3).double()).sum(), [(2, 3)]),
    "log_softmax": (lambda x: (lp.log_softmax(x, 1) * lp.arange(3).double()).sum(), [(2, 3)]),
    "mean": (lambda x: (x.mean(0) ** 2).sum(), [(3, 2)]),
    "amax": (lambda x: x.amax(1).sum(), [(3, 4)]),
    "views": (lambda x: (x.reshape(2, 6).transpose(0, 1)[1:, :1].expand(5, 3) ** 2).sum(), [(3, 4)]),
    "cat": (lambda x, y: (lp.cat([x, y, x]) ** 2).sum(), [(2, 2), (1, 2)]),
    "where": (lambda x, y: lp.where(x > y, x * y, y * y).sum(), [(4,), (4,)]),
    "gather": (lambda x: (x.gather(1, lp.tensor([[0, 0], [2, 1]])) ** 2).sum(), [(2, 3)]),
    "topk": (lambda x: (x.topk(2, dim=1)[0] ** 2).sum(), [(2, 4)]),
    "max": (lambda x: (x.max(1)[0] ** 2).sum(), [(2, 4)]),
    "conv": (lambda x, w, b: (lp.conv2d(x, w, b, stride=2, padding=1) ** 2).sum(), [(1, 2, 4, 4), (3, 2, 3, 3), (3,)]),
    "pool": (lambda x: (lp.max_pool2d(x, 2) ** 2).sum(), [(1, 1, 4, 4)]),
    "norm": (
        lambda x, w, b: (lp.nn.functional.batch_norm(x, None, None, w, b, training=True) ** 3).sum(),
        [(3, 2, 2, 2), (2,), (2,)],
    ),
    "clone": (lambda x: (x.clone() * x.contiguous()).sum(), [(3,)]),
    "cast": (lambda x: (x.float().double() ** 2).sum() * 0 + (x**2).sum(), [(3,)]),
}


@pytest.mark.parametrize("name", CASES)
def test_against_finite_differences(name):
    f, shapes = CASES[name]
    rng = np.random.default_rng(7)
    arrays = [rng.standard_normal(s) for s in shapes]
    inputs = [lp.tensor(a, requires_grad=True) for a in arrays]
    f(*inputs).backward()
    for x, want in zip(inputs, numeric(f, arrays), strict=True):
        np.testing.assert_allclose(x.grad.numpy(), want, rtol=1e-5, atol=1e-6)


SMOOTH = [
    "arithmetic",
    "broadcast",
    "exp_log",
    "sqrt",
    "tanh",
    "gelu",
    "pow",
    "matmul",
    "softmax",
    "log_softmax",
    "conv",
]


@pytest.mark.parametrize("name", SMOOTH)
def test_second_derivatives(name):
    f, shapes = CASES[name]
    rng = np.random.default_rng(8)
    arrays = [rng.standard_normal(s) for s in shapes]

    def first(*inputs):
        inputs = [x.detach().requires_grad_() for x in inputs]
        grads = lp.grad(f(*inputs), inputs, create_graph=True)
        total = sum(((g * g).sum() for g in grads[1:]), (grads[0] * grads[0]).sum())
        return total, inputs

    total, inputs = first(*[lp.tensor(a) for a in arrays])
    total.backward()
    for x, want in zip(inputs, numeric(lambda *xs: first(*xs)[0], arrays), strict=True):
        np.testing.assert_allclose(x.grad.numpy(), want, rtol=1e-4, atol=1e-5)


def test_grad_accumulates_and_clears():
    x = lp.ones(2, requires_grad=True)
    (x * 3).sum().backward()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [6, 6]
    x.grad.zero_()
    assert x.grad.tolist() == [0, 0]
    x.grad = None
    assert x.grad is None
    with pytest.raises(lp.AutogradError):
        x.grad = lp.ones(3)


def test_gradient_arguments():
    x = lp.ones(2, requires_grad=True)
    y = x * x
    with pytest.raises(lp.AutogradError):
        y.backward()
    y.backward(lp.tensor([1.0, 10.0]), retain_graph=True)
    y.backward(gradient=lp.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [4, 40]
    with pytest.raises(lp.AutogradError, match="retain_graph"):
        y.backward(lp.ones(2))
    with pytest.raises(RuntimeError):
        lp.ones(1).backward()
    a, b = lp.ones(1, requires_grad=True), lp.ones(1, requires_grad=True)
    with pytest.raises(lp.AutogradError):
        lp.grad(a * 2, [a, b])
    assert lp.grad(a * 2, [a, b], allow_unused=True)[1] is None
    assert lp.grad([a * 2, a * 3], a, grad_outputs=[lp.ones(1), None])[0].item() == 5
    assert a.grad is None


def test_modes():
    x = lp.ones(1, requires_grad=True)
    with lp.no_grad():
        assert not lp.is_grad_enabled() and not (x * 2).requires_grad
        with lp.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert lp.is_grad_enabled()

    @lp.no_grad()
    def f(v):
        """doc"""
        return v * 2

    assert not f(x).requires_grad and f.__doc__ == "doc" and lp.is_grad_enabled()
    with pytest.raises(KeyError), lp.no_grad():
        raise KeyError
    assert lp.is_grad_enabled()
    with lp.set_grad_enabled(False):
        assert not lp.is_grad_enabled()
    assert lp.is_grad_enabled()
    assert not x.detach().requires_grad


def test_leaves():
    x = lp.ones(2)
    assert x.is_leaf and not x.requires_grad
    assert x.requires_grad_() is x and x.requires_grad
    assert not (x * 2).is_leaf
    x.requires_grad = False
    assert not x.requires_grad
    with pytest.raises(lp.AutogradError):
        lp.ones(2, dtype=lp.int64).requires_grad_()
    leaf = lp.ones(2, requires_grad=True)
    with pytest.raises(lp.AutogradError, match="no_grad"):
        leaf += 1
    with lp.no_grad():
        leaf += 1
    assert leaf.tolist() == [2, 2]


def test_changes_in_place_are_part_of_the_history():
    x = lp.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 1
    view = y[1:]
    view *= 10
    assert y.tolist() == [1, 20, 30]
    (y * y).sum().backward()
    assert x.grad.tolist() == [2, 400, 600]

    x.grad = None
    y = x * 1
    view = y[:2]
    y += 1
    (view * 2).sum().backward()
    assert x.grad.tolist() == [2, 2, 0]


def test_saved_tensors_are_guarded():
    x = lp.ones(2, requires_grad=True)
    y = lp.exp(x)
    y += 1
    with pytest.raises(lp.AutogradError, match="changed in place"):
        y.sum().backward()


def test_long_chains():
    x = lp.ones(1, requires_grad=True)
    y = x
    for _ in range(20000):
        y = y + 1
    y.backward()
    assert x.grad.item() == 1
    del y
