"""The forward pass and the loop are those of ``examples/digits/golden_training.py``, which recorded the losses."""

import json
from pathlib import Path

import numpy as np
import pytest

import lampyr as lp

GOLDEN = Path(__file__).parents[2] / "examples" / "digits" / "golden_training.json"
EPS, BN_MOMENTUM, MOMENTUM = 1e-5, 0.1, 0.9


def forward(p, stats, x, y):
    h = lp.conv2d(x, p["w1"], p["b1"], padding=1)
    mean = h.mean(dim=(0, 2, 3))
    centred = h - mean[None, :, None, None]
    var = (centred * centred).mean(dim=(0, 2, 3))
    count = h.numel() // h.shape[1]
    unbiased = var.detach() * (count / (count - 1))
    stats["mean"] = (1 - BN_MOMENTUM) * stats["mean"] + BN_MOMENTUM * mean.detach()
    stats["var"] = (1 - BN_MOMENTUM) * stats["var"] + BN_MOMENTUM * unbiased
    scale = p["gamma"] / lp.sqrt(var + EPS)
    h = centred * scale[None, :, None, None] + p["beta"][None, :, None, None]
    h = lp.max_pool2d(lp.relu(h), 2)
    h = lp.relu(lp.conv2d(h, p["w2"], p["b2"], padding=1))
    h = h.mean(dim=(2, 3))
    logits = h @ p["w3"].T + p["b3"]
    log_probs = lp.log_softmax(logits, dim=1)
    return -log_probs[lp.arange(len(y)), y].mean()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-9)])
def test_fifty_steps(dtype, tolerance):
    golden = json.loads(GOLDEN.read_text())
    setup = golden["hyperparameters"]
    short = "f32" if dtype == "float32" else "f64"
    p = {k: lp.tensor(v["data"]).reshape(v["shape"]).to(dtype).requires_grad_() for k, v in golden["initial"].items()}
    velocity = {k: lp.zeros_like(t) for k, t in p.items()}
    stats = {"mean": lp.zeros(8, dtype=dtype), "var": lp.ones(8, dtype=dtype)}
    batches = [
        (lp.tensor(b["pixels"]).reshape(-1, 1, 8, 8).to(dtype) / 16, lp.tensor(b["labels"])) for b in golden["batches"]
    ]
    losses = []
    for step in range(setup["steps"]):
        x, y = batches[step % len(batches)]
        loss = forward(p, stats, x, y)
        losses.append(loss.item())
        grads = lp.grad(loss, list(p.values()))
        with lp.no_grad():
            for (name, param), grad in zip(p.items(), grads, strict=True):
                velocity[name] = MOMENTUM * velocity[name] + grad
                param -= setup["lr"] * velocity[name]
    np.testing.assert_allclose(losses, golden[f"losses_{short}"], rtol=0, atol=tolerance)
    mean, var = ("running_mean", "running_var") if short == "f32" else ("running_mean_f64", "running_var_f64")
    np.testing.assert_allclose(stats["mean"].numpy(), golden[mean], atol=tolerance * 10)
    np.testing.assert_allclose(stats["var"].numpy(), golden[var], atol=tolerance * 10)
