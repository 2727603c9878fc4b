"""Records in ``goldens.json`` what PyTorch computes for ``cases.py``. Needs torch and numpy."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import cases


def numbers(t):
    return [float(np.format_float_scientific(v, 6)) for v in t.detach().numpy().astype(np.float64).ravel()]


def layer(name, make, inputs):
    module = make(torch.nn)
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    module.load_state_dict({k: torch.tensor(v) for k, v in cases.fill(name, shapes).items()})
    given = []
    for i, x in enumerate(inputs):
        array = x if isinstance(x, np.ndarray) else cases.floats(f"{name}{i}", x)
        given.append(torch.tensor(array))
        if not isinstance(x, np.ndarray) or (i == 0 and array.dtype == np.float32):
            given[-1].requires_grad_()
    made = module(*given)
    outputs = flat_outputs(made)
    total = sum((o * torch.tensor(cases.floats(f"{name}seed{i}", tuple(o.shape)))).sum() for i, o in enumerate(outputs))
    total.backward()
    grads = [t.grad for t in [*given, *module.parameters()] if t.grad is not None]
    return {
        "repr": repr(module).replace("NonDynamicallyQuantizableLinear", "Linear"),
        "keys": list(shapes),
        "outputs": [{"shape": list(o.shape), "data": numbers(o)} for o in outputs],
        "grads": [numbers(g) for g in grads],
        "buffers": [numbers(b) for b in module.buffers()],
    }


def flat_outputs(made):
    if isinstance(made, torch.Tensor):
        return [made]
    return [t for part in made if part is not None for t in flat_outputs(part)]


def optimiser(name, make):
    p = [torch.nn.Parameter(torch.tensor(cases.floats(name + n, s))) for n, s in (("a", (3, 2)), ("b", (4,)))]
    opt = make(torch.optim, p)
    for step in range(10):
        for i, t in enumerate(p):
            t.grad = torch.tensor(cases.floats(f"{name}{i}{step}", tuple(t.shape)))
        opt.step()
    state = opt.state_dict()
    return {
        "params": [numbers(t) for t in p],
        "state": sorted(state["state"].get(0, {})),
        "options": sorted(state["param_groups"][0]),
    }


def schedule(make):
    p = torch.nn.Parameter(torch.zeros(1))
    opt = torch.optim.SGD([p], 0.2, momentum=0.9)
    s = make(torch.optim.lr_scheduler, opt)
    rates = []
    for epoch in range(30):
        rates.append([opt.param_groups[0]["lr"], opt.param_groups[0]["momentum"]])
        p.grad = torch.zeros(1)
        opt.step()
        if isinstance(s, torch.optim.lr_scheduler.ReduceLROnPlateau):
            s.step(cases.metric(epoch))
        else:
            s.step()
    return rates


def main():
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    record = {
        "torch": torch.__version__.split("+")[0],
        "layers": {n: layer(n, *case) for n, case in {**cases.LAYERS, **cases.LOSSES}.items()},
        "optimisers": {n: optimiser(n, make) for n, make in cases.OPTIMISERS.items()},
        "schedules": {n: schedule(make) for n, make in cases.SCHEDULES.items()},
        "trainings": {kind: cases.losses(kind, torch) for kind in cases.TRAININGS},
    }
    out = Path(__file__).with_name("goldens.json")
    out.write_text(json.dumps(record, separators=(",", ":")) + "\n")
    print(f"wrote {out.name}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
