"""Record the loss curve that another training implementation has to follow.

Plain tensors and autograd only: ``forward`` and ``run`` are the text to port.
Writes ``golden_training.json`` with the initial parameters, the batches, the
losses in float32 and float64 and a summary of the final state.

Needs torch, scikit-learn and numpy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

SHAPES: dict[str, tuple[int, ...]] = {
    "w1": (8, 1, 3, 3),
    "b1": (8,),
    "gamma": (8,),
    "beta": (8,),
    "w2": (16, 8, 3, 3),
    "b2": (16,),
    "w3": (10, 16),
    "b3": (10,),
}
Params = dict[str, Tensor]
EPS = 1e-5
BN_MOMENTUM = 0.1
MOMENTUM = 0.9


def initial(generator: torch.Generator) -> Params:
    """He-normal weights, small random biases, gamma near one."""
    params = {}
    for name, shape in SHAPES.items():
        value = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            fan_in = value[0].numel()
            params[name] = value * (2.0 / fan_in) ** 0.5
        else:
            params[name] = value * 0.05 + (1.0 if name == "gamma" else 0.0)
    return params


def forward(p: Params, stats: Params, x: Tensor, y: Tensor) -> Tensor:
    """One training-mode forward pass: the mean negative log likelihood."""
    h = F.conv2d(x, p["w1"], p["b1"], padding=1)  # [n, 8, 8, 8]
    mean = h.mean(dim=(0, 2, 3))
    centred = h - mean[None, :, None, None]
    var = (centred * centred).mean(dim=(0, 2, 3))  # biased: used to normalise
    count = h.numel() // h.shape[1]
    unbiased = var.detach() * (count / (count - 1))  # used for the running variance
    stats["mean"] = (1 - BN_MOMENTUM) * stats["mean"] + BN_MOMENTUM * mean.detach()
    stats["var"] = (1 - BN_MOMENTUM) * stats["var"] + BN_MOMENTUM * unbiased
    scale = p["gamma"] / torch.sqrt(var + EPS)
    h = centred * scale[None, :, None, None] + p["beta"][None, :, None, None]
    h = F.max_pool2d(torch.relu(h), 2)  # [n, 8, 4, 4]
    h = torch.relu(F.conv2d(h, p["w2"], p["b2"], padding=1))  # [n, 16, 4, 4]
    h = h.mean(dim=(2, 3))  # [n, 16]
    logits = h @ p["w3"].T + p["b3"]  # [n, 10]
    log_probs = torch.log_softmax(logits, dim=1)
    return -log_probs[torch.arange(len(y)), y].mean()


def run(
    start: Params,
    pixels: Tensor,
    labels: Tensor,
    steps: int,
    lr: float,
    dtype: torch.dtype,
) -> tuple[list[float], Params, Params]:
    """SGD with momentum; returns losses (before each update), final state."""
    p = {k: v.to(dtype).clone().requires_grad_() for k, v in start.items()}
    v = {k: torch.zeros_like(t, dtype=dtype) for k, t in start.items()}
    stats = {"mean": torch.zeros(8, dtype=dtype), "var": torch.ones(8, dtype=dtype)}
    losses = []
    for step in range(steps):
        index = step % len(pixels)
        x = pixels[index].to(dtype) / 16
        loss = forward(p, stats, x, labels[index])
        losses.append(loss.item())
        grads = torch.autograd.grad(loss, list(p.values()))
        with torch.no_grad():
            for (name, param), grad in zip(p.items(), grads, strict=True):
                v[name] = MOMENTUM * v[name] + grad
                param -= lr * v[name]
    return losses, {k: t.detach() for k, t in p.items()}, stats


def floats(values: Tensor | list[float], dtype: torch.dtype) -> list[float]:
    """Shortest decimal that reads back as the same value in ``dtype``."""
    if dtype == torch.float64:
        return [float(value) for value in values]
    flat = np.asarray(values, dtype=np.float32).ravel()
    return [float(str(value)) for value in flat]


def summary(params: Params) -> dict[str, Any]:
    """Sum and sum of magnitudes of every parameter, added up in float64."""
    return {k: {"sum": t.double().sum().item(), "abs_sum": t.double().abs().sum().item()} for k, t in params.items()}


def main() -> None:
    default = Path(__file__).with_suffix(".json")
    parser = argparse.ArgumentParser(description="Record the reference loss curve.")
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(args.seed)
    start = initial(generator)
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=generator)
    picked = order[: args.batches * args.batch].numpy()
    shape = (args.batches, args.batch)
    pixels = torch.from_numpy(digits.images[picked]).long().reshape(*shape, 1, 8, 8)
    labels = torch.from_numpy(digits.target[picked]).long().reshape(shape)

    f32, f64 = torch.float32, torch.float64
    narrow, final, stats = run(start, pixels, labels, args.steps, args.lr, f32)
    wide, final64, stats64 = run(start, pixels, labels, args.steps, args.lr, f64)
    gap = max(abs(a - b) for a, b in zip(narrow, wide, strict=True))
    print(f"loss {narrow[0]:.6f} -> {narrow[-1]:.6f}; f32 against f64: {gap:.2e}")

    record = {
        "versions": {"torch": torch.__version__.split("+")[0], "numpy": np.__version__},
        "seed": args.seed,
        "hyperparameters": {
            "lr": args.lr,
            "momentum": MOMENTUM,
            "batch": args.batch,
            "batches": args.batches,
            "steps": args.steps,
            "pixel_scale": 16,
            "bn_eps": EPS,
            "bn_momentum": BN_MOMENTUM,
        },
        "initial": {k: {"shape": SHAPES[k], "data": floats(t, f32)} for k, t in start.items()},
        "batches": [
            {"labels": labels[i].tolist(), "pixels": pixels[i].flatten().tolist()} for i in range(args.batches)
        ],
        "losses_f32": floats(narrow, f32),
        "losses_f64": floats(wide, f64),
        "running_mean": floats(stats["mean"], f32),
        "running_var": floats(stats["var"], f32),
        "running_mean_f64": floats(stats64["mean"], f64),
        "running_var_f64": floats(stats64["var"], f64),
        "final": summary(final),
        "final_f64": summary(final64),
    }
    args.out.write_text(json.dumps(record, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
