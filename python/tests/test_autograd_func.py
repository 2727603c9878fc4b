"""`lampyr.func`, `lampyr.autograd.functional` and gradcheck."""

from collections import namedtuple

import numpy as np
import pytest

import lampyr as lp
from lampyr import func
from lampyr.autograd import functional, gradcheck, gradgradcheck


def cube(x):
    return (x**3).sum()


def test_grad():
    x = lp.tensor([1.0, 2.0])
    assert func.grad(cube)(x).tolist() == [3, 12] and not x.requires_grad
    g, value = func.grad_and_value(cube)(x)
    assert g.tolist() == [3, 12] and value.item() == 9 and not value.requires_grad
    g, (value, aux) = func.grad_and_value(lambda v: (cube(v), v * 2), has_aux=True)(x)
    assert aux.tolist() == [2, 4] and not aux.requires_grad
    g, aux = func.grad(lambda v: (cube(v), {"a": v}), has_aux=True)(x)
    assert aux["a"].tolist() == [1, 2]
    ga, gb = func.grad(lambda a, b: (a * a * b).sum(), argnums=(0, 1))(x, x)
    assert ga.tolist() == [2, 8] and gb.tolist() == [1, 4]
    assert func.grad(lambda a, b: (a * b).sum(), argnums=-1)(x, x * 3).tolist() == [1, 2]
    assert func.grad(lambda v: lp.ones(()) * 2)(x).tolist() == [0, 0]
    with pytest.raises(RuntimeError, match="scalar tensor"):
        func.grad(lambda v: v * 2)(x)
    with pytest.raises(RuntimeError, match="argnums"):
        func.grad(cube, argnums=3)(x)
    with pytest.raises(RuntimeError):
        func.grad(cube)(lp.tensor([1, 2]))


def test_nested_values():
    Pair = namedtuple("Pair", "w b")

    def loss(p, x):
        return ((x * p["pair"].w + p["pair"].b) ** 2).sum() + sum(t.sum() for t in p["list"])

    p = {"pair": Pair(lp.tensor(2.0), lp.tensor(1.0)), "list": [lp.ones(2), lp.ones(1)], "none": None}
    g = func.grad(loss)(p, lp.tensor([1.0, 2.0]))
    assert isinstance(g["pair"], Pair) and g["pair"].w.item() == 26 and g["pair"].b.item() == 16
    assert g["list"][0].tolist() == [1, 1] and g["none"] is None


def test_nesting():
    x = lp.tensor(2.0)
    assert func.grad(func.grad(lambda v: v**4))(x).item() == 48
    assert func.grad(func.grad(func.grad(lambda v: v**4)))(x).item() == 48
    assert func.vmap(func.grad(lambda v: v * v))(lp.tensor([1.0, 2.0])).tolist() == [2, 4]
    third = func.jacfwd(func.jacrev(lambda v: v**3))(lp.tensor([1.0, 2.0]))
    assert third.tolist() == [[[6, 0], [0, 0]], [[0, 0], [0, 12]]]
    assert func.jacrev(func.jacfwd(lambda v: v**3))(lp.tensor([1.0, 2.0])).tolist() == third.tolist()
    outer = func.grad(lambda v: v * func.grad(lambda u: u * u * v)(lp.tensor(3.0)))(x)
    assert outer.item() == 24
    assert func.hessian(cube)(lp.tensor([1.0, 2.0])).tolist() == [[6, 0], [0, 12]]


def test_with_the_surrounding_tape():
    w = lp.tensor(3.0, requires_grad=True)
    g = func.grad(lambda v: (v * w) ** 2)(lp.tensor(2.0))
    g.backward()
    assert g.item() == 36 and w.grad.item() == 24
    x = lp.tensor(2.0, requires_grad=True)
    func.grad(lambda v: v**3)(x).backward()
    assert x.grad.item() == 12
    with lp.no_grad():
        g = func.grad(lambda v: (v * w) ** 2)(x)
    assert not g.requires_grad and g.item() == 36


def test_vjp_and_jvp():
    x = lp.tensor([1.0, 2.0])
    y, pull = func.vjp(lambda v: v * v, x)
    assert y.tolist() == [1, 4] and pull(lp.ones(2))[0].tolist() == [2, 4] and pull(lp.ones(2))[0].tolist() == [2, 4]
    y, pull, aux = func.vjp(lambda a, b: ((a * b, a), 5), x, x * 3, has_aux=True)
    ga, gb = pull((lp.ones(2), lp.ones(2)))
    assert ga.tolist() == [4, 7] and gb.tolist() == [1, 2] and aux == 5
    y, t = func.jvp(lambda v: v**3, (x,), (lp.tensor([1.0, 10.0]),))
    assert t.tolist() == [3, 120]
    y, t = func.jvp(lambda a, b: {"s": a * b}, (x, x), (lp.ones(2), lp.zeros(2)))
    assert t["s"].tolist() == [1, 2]
    _, t = func.jvp(lambda v: lp.ones(2), (x,), (x,))
    assert t.tolist() == [0, 0]
    with pytest.raises(RuntimeError, match="same shapes"):
        func.jvp(lambda v: v, (x,), (lp.ones(3),))
    y, push = func.linearize(lambda v: v**2, x)
    assert push(lp.ones(2)).tolist() == [2, 4] and push(x).tolist() == [2, 8]


def test_jacobians():
    a = lp.tensor(np.arange(6.0).reshape(2, 3))
    b = lp.tensor(np.arange(12.0).reshape(3, 4))
    want = np.zeros((2, 4, 2, 3))
    for i in range(2):
        for j in range(4):
            want[i, j, i, :] = b.numpy()[:, j]
    for transform in (func.jacrev, func.jacfwd):
        np.testing.assert_allclose(transform(lambda v: v @ b)(a).numpy(), want)
        both = transform(lambda u, v: (u @ v, u.sum()), argnums=(0, 1))(a, b)
        np.testing.assert_allclose(both[0][0].numpy(), want)
        assert tuple(both[0][1].shape) == (2, 4, 3, 4) and both[1][0].tolist() == [[1, 1, 1], [1, 1, 1]]
        assert both[1][1].sum().item() == 0
        made, aux = transform(lambda v: (v * 2, v.sum()), has_aux=True)(lp.ones(2))
        assert made.tolist() == [[2, 0], [0, 2]] and aux.item() == 2


def test_vmap():
    x = lp.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    v = lp.tensor([1.0, 10.0])
    assert func.vmap(lambda r: r.sum())(x).tolist() == [3, 7, 11]
    assert func.vmap(lambda r, u: (r * u).sum(), in_dims=(0, None))(x, v).tolist() == [21, 43, 65]
    assert func.vmap(lambda c: c.sum(), in_dims=1)(x).tolist() == [9, 12]
    assert tuple(func.vmap(lambda r: r * 2, out_dims=1)(x).shape) == (2, 3)
    two = func.vmap(lambda r: {"s": r.sum(), "r": (r,)})(x)
    assert two["s"].tolist() == [3, 7, 11] and two["r"][0].tolist() == x.tolist()
    both = func.vmap(lambda d, k: d["a"] * k, in_dims=({"a": 0}, None))({"a": v}, 3)
    assert both.tolist() == [3, 30]
    assert func.vmap(func.vmap(lambda s: s * s))(x).tolist() == (x * x).tolist()
    assert func.vmap(lambda r: r.sum(), in_dims=-1)(x).tolist() == [9, 12]
    w = lp.ones(3, 2, requires_grad=True)
    func.vmap(lambda r: (r * r).sum())(w).sum().backward()
    assert w.grad.tolist() == [[2, 2]] * 3
    for bad in (
        lambda: func.vmap(lambda a, b: a)(x, v),
        lambda: func.vmap(lambda a: a, in_dims=5)(x),
        lambda: func.vmap(lambda a: a, in_dims=(None,))(x),
        lambda: func.vmap(lambda a: 3)(x),
        lambda: func.vmap(lambda a: a, in_dims=(0, 0))(x),
    ):
        with pytest.raises(ValueError):
            bad()
    lp.start_trace()
    func.vmap(lambda r: lp.nonzero(r))(x)
    assert any(e["op"] == "nonzero" and e["reason"] == "vmap_loop" for e in lp.stop_trace())


def test_random_numbers_under_vmap():
    x = lp.zeros(4)

    def noisy(v):
        return v + lp.rand(1)[0]

    with pytest.raises(RuntimeError, match="randomness"):
        func.vmap(noisy)(x)
    assert len(set(func.vmap(noisy, randomness="different")(x).tolist())) == 4
    assert len(set(func.vmap(noisy, randomness="same")(x).tolist())) == 1


def test_functional():
    x = lp.tensor([1.0, 2.0])
    assert functional.jacobian(lambda v: v**2, x).tolist() == [[2, 0], [0, 4]]
    pair = functional.jacobian(lambda a, b: (a * b, b), (x, x))
    assert pair[0][0].tolist() == [[1, 0], [0, 2]] and pair[1][0].tolist() == [[0, 0], [0, 0]]
    assert functional.hessian(cube, x).tolist() == [[6, 0], [0, 12]]
    blocks = functional.hessian(lambda a, b: (a * a * b).sum(), (x, x))
    assert blocks[0][1].tolist() == [[2, 0], [0, 4]] and blocks[1][1].tolist() == [[0, 0], [0, 0]]
    assert functional.vjp(lambda v: v**2, x, lp.ones(2))[1].tolist() == [2, 4]
    assert functional.jvp(lambda v: v**2, x, lp.ones(2))[1].tolist() == [2, 4]
    for product in (functional.hvp, functional.vhp):
        value, made = product(cube, x, lp.ones(2))
        assert value.item() == 9 and made.tolist() == [6, 12]
    w = lp.tensor([1.0, 2.0], requires_grad=True)
    functional.jacobian(lambda v: v**2, w, create_graph=True).sum().backward()
    assert w.grad.tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="v can only be None"):
        functional.vjp(lambda v: v, x)
    with pytest.raises(RuntimeError, match="independent"):
        functional.jacobian(lambda a, b: a * 1, (x, x), strict=True)


class Wrong(lp.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * 3


def test_gradcheck():
    x = lp.tensor([0.5, 2.0], dtype=lp.float64, requires_grad=True)
    y = lp.tensor([[1.0], [3.0]], dtype=lp.float64, requires_grad=True)
    assert gradcheck(lambda a, b: (a * b, lp.exp(a)), (x, y))
    assert gradgradcheck(lambda a, b: a * a * b, (x, y))
    with pytest.raises(RuntimeError, match="Jacobian mismatch for output 0 with respect to input 0") as caught:
        gradcheck(Wrong.apply, (x,))
    assert "numerical:" in str(caught.value) and "analytical:" in str(caught.value)
    assert not gradcheck(Wrong.apply, x, raise_exception=False)
    with pytest.raises(ValueError, match="require gradient"):
        gradcheck(lp.exp, lp.ones(2))
    calls = [0]

    def changing(v):
        calls[0] += 1
        return v * 1

    assert gradcheck(changing, x) and calls[0] > 4


class Module:
    """The part of a module that `functional_call` needs."""

    def __init__(self):
        self._parameters = {"w": lp.tensor([2.0, 3.0], requires_grad=True)}
        self._buffers = {"scale": lp.tensor(10.0)}

    def named_parameters(self, remove_duplicate=True):
        return self._parameters.items()

    def named_buffers(self, remove_duplicate=True):
        return self._buffers.items()

    def __call__(self, x, power=1):
        return (self._parameters["w"] * x * self._buffers["scale"]) ** power


def test_functional_call_and_ensembles():
    m = Module()
    own = m._parameters["w"]
    made = func.functional_call(m, {"w": lp.ones(2), "scale": lp.ones(())}, (lp.tensor([5.0, 6.0]),), {"power": 2})
    assert made.tolist() == [25, 36] and m._parameters["w"] is own
    with pytest.raises(RuntimeError, match="unexpected names"):
        func.functional_call(m, {"other": lp.ones(2)}, (lp.ones(2),))
    g = func.grad(lambda p: func.functional_call(m, p, lp.ones(2)).sum())({"w": own.detach()})
    assert g["w"].tolist() == [10, 10]
    params, buffers = func.stack_module_state([m, Module()])
    assert tuple(params["w"].shape) == (2, 2) and params["w"].requires_grad and buffers["scale"].tolist() == [10, 10]
    call = func.vmap(lambda p, b, x: func.functional_call(m, (p, b), x), in_dims=(0, 0, None))
    made = call(params, buffers, lp.ones(2))
    assert made.tolist() == [[20, 30], [20, 30]]


def test_ops_differentiated_by_their_decomposition():
    from lampyr.nn import functional as f

    lp.manual_seed(0)
    x = lp.randn(2, 4, 3, dtype=lp.float64).requires_grad_()
    w = lp.randn(4, dtype=lp.float64).requires_grad_()
    assert gradcheck(lambda x, w: f.group_norm(x, 2, w, w), (x, w))
    assert gradgradcheck(lambda x, w: f.group_norm(x, 2, w, w), (x, w))
