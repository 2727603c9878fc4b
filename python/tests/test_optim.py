"""Optimisers: groups, options, states, hooks, and steps that happen wholly or not at all."""

import copy
import math
import pickle

import numpy as np
import pytest

import lampyr as lp
from lampyr import nn, optim


def parameters(*shapes, dtype="float32"):
    random = np.random.RandomState(0)
    made = [nn.Parameter(lp.tensor(random.randn(*shape)).to(dtype)) for shape in shapes]
    for p in made:
        p.grad = lp.tensor(random.randn(*p.shape)).to(dtype)
    return made


def adamw(p, g, m, v, t, lr=0.1, betas=(0.9, 0.999), eps=1e-8, decay=0.01):
    p = p * (1 - lr * decay)
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g * g
    return p - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps), m, v


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5), ("bfloat16", 5e-2)])
def test_adamw_beside_numpy(dtype, tolerance):
    (p,) = parameters((300, 7), dtype=dtype)
    opt = optim.AdamW([p], lr=0.1)
    want, grad = p.detach().to("float64").numpy(), p.grad.to("float64").numpy()
    m, v = np.zeros_like(want), np.zeros_like(want)
    for t in range(1, 4):
        want, m, v = adamw(want, grad, m, v, t)
        opt.step()
    np.testing.assert_allclose(p.detach().to("float64").numpy(), want, atol=tolerance, rtol=tolerance)
    assert p.dtype == getattr(lp, dtype) and opt.state[p]["exp_avg"].dtype == p.dtype


def test_steps_are_made_in_place():
    (p,) = parameters((64, 64))
    view, address = p.detach(), p.data_ptr()
    opt = optim.SGD([p], 0.5, momentum=0.9)
    opt.step()
    assert p.data_ptr() == address and p.is_leaf and p.requires_grad
    np.testing.assert_array_equal(view.numpy(), p.detach().numpy())
    address = opt.state[p]["momentum_buffer"].data_ptr()
    opt.step()
    assert opt.state[p]["momentum_buffer"].data_ptr() == address


def test_parameters_that_are_views():
    whole = lp.zeros(4, 6)
    p = nn.Parameter(whole[:, ::2])
    p.grad = lp.ones(4, 3)
    optim.SGD([p], 1.0).step()
    np.testing.assert_array_equal(whole.numpy()[:, ::2], -np.ones((4, 3)))
    np.testing.assert_array_equal(whole.numpy()[:, 1::2], np.zeros((4, 3)))


def test_groups():
    a, b = parameters((2,), (3,))
    opt = optim.AdamW([{"params": [a], "lr": 0.0}, {"params": b}], lr=0.1, weight_decay=0.5)
    before = a.tolist(), b.tolist()
    opt.step()
    assert a.tolist() == before[0] and b.tolist() != before[1]
    assert [g["lr"] for g in opt.param_groups] == [0.0, 0.1]
    assert [g["weight_decay"] for g in opt.param_groups] == [0.5, 0.5]
    (c,) = parameters((1,))
    opt.add_param_group({"params": c, "amsgrad": True})
    opt.step()
    assert "max_exp_avg_sq" in opt.state[c] and "max_exp_avg_sq" not in opt.state[b]
    assert "Parameter Group 2" in repr(opt)
    named = optim.SGD([("x", a), ("y", b)])
    assert named.param_groups[0]["param_names"] == ["x", "y"]


def test_parameters_without_gradients_stay():
    a, b = parameters((2,), (2,))
    a.grad = None
    before = a.tolist()
    opt = optim.Adam([a, b])
    opt.step()
    assert a.tolist() == before and a not in opt.state
    opt.zero_grad(set_to_none=False)
    assert b.grad.tolist() == [0.0, 0.0]
    opt.zero_grad()
    assert b.grad is None


def test_a_failed_step_changes_nothing():
    a, b = parameters((2, 2), (3,))
    opt = optim.AdamW([{"params": [a]}, {"params": [b]}], lr=0.1)
    opt.step()
    before = a.tolist(), b.tolist(), opt.state[a]["exp_avg"].tolist(), opt.state[a]["step"]
    opt.state[b]["exp_avg_sq"] = lp.zeros(5)
    with pytest.raises(RuntimeError, match="exp_avg_sq"):
        opt.step()
    assert (a.tolist(), b.tolist(), opt.state[a]["exp_avg"].tolist(), opt.state[a]["step"]) == before


def test_state_goes_to_another_optimiser():
    a, b = parameters((2, 3), (4,))
    opt = optim.Adam([a, b], lr=0.1, amsgrad=True)
    opt.step()
    other = [nn.Parameter(p.detach().clone()) for p in (a, b)]
    for p, q in zip(other, (a, b), strict=True):
        p.grad = q.grad
    loaded = optim.Adam(other, lr=1.0)
    loaded.load_state_dict(pickle.loads(pickle.dumps(opt.state_dict())))
    assert loaded.param_groups[0]["lr"] == 0.1 and loaded.param_groups[0]["amsgrad"] is True
    loaded.step()
    opt.step()
    np.testing.assert_array_equal(other[0].detach().numpy(), a.detach().numpy())
    assert opt.state_dict()["state"][0]["step"].item() == 2.0
    again = copy.deepcopy(opt)
    again.step()
    assert again.param_groups[0]["params"][0].tolist() != a.tolist()
    with pytest.raises(RuntimeError, match="size of optimizer's group"):
        optim.Adam([nn.Parameter(lp.zeros(1))]).load_state_dict(opt.state_dict())
    with pytest.raises(RuntimeError, match="parameter groups"):
        optim.Adam([{"params": [a]}, {"params": [b]}]).load_state_dict(opt.state_dict())


def test_closures_and_hooks():
    (p,) = parameters((2,))
    opt = optim.SGD([p], 0.1)
    calls = []
    opt.register_step_pre_hook(lambda o, args, kwargs: calls.append("before"))
    handle = opt.register_step_post_hook(lambda o, args, kwargs: calls.append("after"))

    def closure():
        opt.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        calls.append("closure")
        return loss

    with lp.no_grad():
        loss = opt.step(closure)
    handle.remove()
    opt.step()
    assert calls == ["before", "closure", "after", "before"] and loss.item() > 0


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda p: optim.SGD([]), ValueError),
        (lambda p: optim.SGD(p), TypeError),
        (lambda p: optim.SGD([p], lr=-1), ValueError),
        (lambda p: optim.SGD([p], 0.1, nesterov=True), ValueError),
        (lambda p: optim.SGD([p, p]), ValueError),
        (lambda p: optim.SGD([{"params": [p]}, {"params": [p]}]), ValueError),
        (lambda p: optim.SGD([{"params": {p}}]), TypeError),
        (lambda p: optim.SGD([3]), TypeError),
        (lambda p: optim.SGD([p * 2]), ValueError),
        (lambda p: optim.Adam([p], betas=(1.0, 0.9)), ValueError),
        (lambda p: optim.AdamW([p], eps=-1), ValueError),
        (lambda p: optim.lr_scheduler.OneCycleLR(optim.SGD([p]), 0.1), ValueError),
        (lambda p: optim.lr_scheduler.ReduceLROnPlateau(optim.SGD([p]), factor=2.0), ValueError),
        (lambda p: optim.lr_scheduler.StepLR(p, 1), TypeError),
    ],
)
def test_errors(make, kind):
    with pytest.raises(kind):
        make(nn.Parameter(lp.ones(2)))


def test_schedules_are_saved():
    opt = optim.SGD([nn.Parameter(lp.zeros(1))], 1.0)
    schedule = optim.lr_scheduler.CosineAnnealingLR(opt, 10)
    for _ in range(3):
        opt.step()
        schedule.step()
    other = optim.SGD([nn.Parameter(lp.zeros(1))], opt.param_groups[0]["lr"])
    loaded = optim.lr_scheduler.CosineAnnealingLR(other, 10)
    loaded.load_state_dict(schedule.state_dict())
    other.load_state_dict(opt.state_dict())
    schedule.step()
    loaded.step()
    assert loaded.get_last_lr() == schedule.get_last_lr()
    assert loaded.get_last_lr()[0] == pytest.approx((1 + math.cos(math.pi * 0.4)) / 2)
