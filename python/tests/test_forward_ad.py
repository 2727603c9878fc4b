"""Tensors that carry tangents."""

import pytest

import lampyr as lp
from lampyr import func
from lampyr.autograd import forward_ad as fw


def f(x):
    return (x.sin() * x.sum()).tanh()


def close(a, b):
    return bool(lp.allclose(a, b, atol=1e-10, rtol=1e-10))


@pytest.fixture
def x():
    lp.manual_seed(3)
    return lp.randn(4, dtype=lp.float64)


def test_tangents(x):
    v = x.cos()
    with fw.dual_level():
        dual = fw.make_dual(x, v)
        assert close(fw.unpack_dual(dual).tangent, v)
        primal, tangent = fw.unpack_dual(f(dual))
        assert fw.unpack_dual(x * 2).tangent is None
        assert fw.unpack_dual(lp.ones(2).double().requires_grad_() * 2).tangent is None
    assert close(primal, f(x)) and not primal.requires_grad and not tangent.requires_grad
    assert close(tangent, func.jvp(f, (x,), (v,))[1])
    assert fw.unpack_dual(f(dual)).tangent is None


def test_several_duals(x):
    y, v = x * 2, lp.ones_like(x)
    with fw.dual_level():
        out = fw.make_dual(x, v) * fw.make_dual(y, 3 * v) + x
        tangent = fw.unpack_dual(out).tangent
    assert close(tangent, y + 3 * x)


def test_without_recording_around(x):
    with lp.no_grad(), fw.dual_level():
        tangent = fw.unpack_dual(f(fw.make_dual(x, x))).tangent
    assert close(tangent, func.jvp(f, (x,), (x,))[1])


def test_gradients_of_tangents(x):
    x = x.requires_grad_()
    v = lp.ones_like(x.detach()).requires_grad_()
    with fw.dual_level():
        tangent = fw.unpack_dual(f(fw.make_dual(x, v))).tangent
        by_x, by_v = lp.autograd.grad(tangent.sum(), (x, v))
    jacobian = func.jacrev(f)(x.detach())
    hessian = func.hessian(lambda u: f(u).sum())(x.detach())
    assert close(by_v, jacobian.sum(0)) and close(by_x, hessian @ v.detach())


def test_mapped(x):
    rows = lp.stack([x, x * 2, x - 1])

    def derivative(r):
        with fw.dual_level():
            return fw.unpack_dual(f(fw.make_dual(r, r))).tangent

    got = func.vmap(derivative)(rows)
    assert close(got, lp.stack([func.jvp(f, (r,), (r,))[1] for r in rows]))


def test_transforms_nest(x):
    v = lp.ones_like(x)

    def along(u):
        return func.jvp(f, (u,), (v,))[1]

    second = func.jvp(along, (x,), (v,))[1]
    want = lp.stack([v @ func.hessian(lambda u, i=i: f(u)[i])(x) @ v for i in range(4)])
    assert close(second, want)
    out, push = func.linearize(along, x)
    assert close(out, along(x)) and close(push(v), second)
    assert close(func.jacfwd(along)(x), func.jacrev(along)(x))


def test_errors(x):
    with pytest.raises(RuntimeError, match="no level exists"):
        fw.make_dual(x, x)
    with pytest.raises(RuntimeError, match="none is active"):
        fw.exit_dual_level()
    with fw.dual_level():
        with pytest.raises(RuntimeError, match="Nested forward mode"), fw.dual_level():
            pass
        with pytest.raises(RuntimeError, match=r"\[3\].*\[4\]"):
            fw.make_dual(x, x[:3])
        with pytest.raises(ValueError, match="float type"):
            fw.make_dual(x, lp.ones(4, dtype=lp.int64))
