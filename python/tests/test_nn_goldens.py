"""Layers, losses, optimisers, schedules and trainings beside what PyTorch computed (``conformance/nn/record.py``)."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import lampyr as lp
from lampyr import nn, optim

HERE = Path(__file__).parents[2] / "conformance" / "nn"
GOLDENS = json.loads((HERE / "goldens.json").read_text())
SPEC = importlib.util.spec_from_file_location("nn_cases", HERE / "cases.py")
cases = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(cases)
LAYERS = {**cases.LAYERS, **cases.LOSSES}


def filled(module, name):
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    module.load_state_dict({k: lp.tensor(v) for k, v in cases.fill(name, shapes).items()})
    return module


def flat(made):
    if isinstance(made, lp.Tensor):
        return [made]
    return [t for part in made if part is not None for t in flat(part)]


def close(tensor, wanted, what):
    got = tensor.detach().numpy().ravel()
    np.testing.assert_allclose(got, np.array(wanted), rtol=2e-4, atol=2e-5, err_msg=what)


def test_every_case_is_recorded():
    assert set(GOLDENS["layers"]) == set(LAYERS)
    assert set(GOLDENS["optimisers"]) == set(cases.OPTIMISERS)
    assert set(GOLDENS["schedules"]) == set(cases.SCHEDULES)
    assert set(GOLDENS["trainings"]) == set(cases.TRAININGS)


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name):
    make, inputs = LAYERS[name]
    golden = GOLDENS["layers"][name]
    module = make(nn)
    assert list(module.state_dict()) == golden["keys"]
    if "<function" not in golden["repr"]:
        assert repr(module) == golden["repr"]
    filled(module, name)
    given = []
    for i, x in enumerate(inputs):
        array = x if isinstance(x, np.ndarray) else cases.floats(f"{name}{i}", x)
        given.append(lp.tensor(array))
        if not isinstance(x, np.ndarray) or (i == 0 and array.dtype == np.float32):
            given[-1].requires_grad_()
    outputs = flat(module(*given))
    assert [list(o.shape) for o in outputs] == [o["shape"] for o in golden["outputs"]]
    total = 0.0
    for i, (output, wanted) in enumerate(zip(outputs, golden["outputs"], strict=True)):
        close(output, wanted["data"], f"output {i}")
        total = total + (output * lp.tensor(cases.floats(f"{name}seed{i}", tuple(output.shape)))).sum()
    total.backward()
    grads = [t.grad for t in [*given, *module.parameters()] if t.grad is not None]
    assert len(grads) == len(golden["grads"])
    for i, (grad, wanted) in enumerate(zip(grads, golden["grads"], strict=True)):
        close(grad, wanted, f"gradient {i}")
    for buffer, wanted in zip(module.buffers(), golden["buffers"], strict=True):
        close(buffer, wanted, "buffer")


@pytest.mark.parametrize("name", cases.OPTIMISERS)
def test_optimiser(name):
    golden = GOLDENS["optimisers"][name]
    p = [nn.Parameter(lp.tensor(cases.floats(name + n, s))) for n, s in (("a", (3, 2)), ("b", (4,)))]
    opt = cases.OPTIMISERS[name](optim, p)
    for step in range(10):
        for i, t in enumerate(p):
            t.grad = lp.tensor(cases.floats(f"{name}{i}{step}", tuple(t.shape)))
        if step == 5:  # A new optimiser goes on from the state of the old one.
            state = opt.state_dict()
            opt = cases.OPTIMISERS[name](optim, p)
            opt.load_state_dict(state)
        opt.step()
    for t, wanted in zip(p, golden["params"], strict=True):
        close(t, wanted, name)
    state = opt.state_dict()
    assert sorted(state["state"].get(0, {})) == golden["state"]
    assert sorted(state["param_groups"][0]) == golden["options"]


@pytest.mark.parametrize("name", cases.SCHEDULES)
def test_schedule(name):
    p = nn.Parameter(lp.zeros(1))
    opt = optim.SGD([p], 0.2, momentum=0.9)
    schedule = cases.SCHEDULES[name](optim.lr_scheduler, opt)
    for epoch, (lr, momentum) in enumerate(GOLDENS["schedules"][name]):
        group = opt.param_groups[0]
        assert group["lr"] == pytest.approx(lr, rel=1e-9), epoch
        assert group["momentum"] == pytest.approx(momentum, rel=1e-9), epoch
        if name == "plateau":
            schedule.step(cases.metric(epoch))
        else:
            schedule.step()


@pytest.mark.parametrize("kind", cases.TRAININGS)
def test_training(kind):
    losses = cases.losses(kind, lp)
    np.testing.assert_allclose(losses, GOLDENS["trainings"][kind], rtol=0, atol=1e-4)
