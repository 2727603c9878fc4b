"""Training steps beside torch eager: MLP, LeNet-like CNN, Transformer; time, and peak memory in processes of their own.

    python benches/training_steps.py [--threads 2] [--rounds 15] [--only mlp]

The libraries take turns, so that both see the same machine. Needs torch; prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
KINDS = ("mlp", "cnn", "transformer")


def library(name):
    if name == "torch":
        import torch as lib
    else:
        import lampyr as lib
        from lampyr import nn, optim  # noqa: F401
    return lib


def make(lib, kind):
    """A model and a batch."""
    nn = lib.nn
    lib.manual_seed(0)
    if kind == "mlp":
        model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
        return model, lib.randn(64, 784), lib.tensor([i * 7 % 10 for i in range(64)])
    classes = lib.tensor([i * 7 % 10 for i in range(64)])
    if kind == "cnn":
        model = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 10),
        )
        return model, lib.randn(64, 1, 28, 28), classes

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(1000, 256)
            layer = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 4)
            self.head = nn.Linear(256, 10)

        def forward(self, x):
            return self.head(self.encoder(self.embedding(x)).mean(dim=1))

    tokens = lib.tensor([[(i * 31 + j * 17) % 1000 for j in range(128)] for i in range(8)])
    return Transformer(), tokens, lib.tensor([i % 10 for i in range(8)])


class Trainer:
    """One model of one library."""

    def __init__(self, name, kind, threads):
        lib = library(name)
        lib.set_num_threads(threads)
        self.model, self.x, self.y = make(lib, kind)
        self.loss = lib.nn.CrossEntropyLoss()
        self.optimiser = lib.optim.AdamW(self.model.parameters(), 1e-3)
        self.parts = {"forward": 0.0, "backward": 0.0, "step": 0.0}

    def step(self):
        """Seconds of one step."""
        t0 = time.perf_counter()
        self.optimiser.zero_grad()
        loss = self.loss(self.model(self.x), self.y)
        t1 = time.perf_counter()
        loss.backward()
        t2 = time.perf_counter()
        self.optimiser.step()
        t3 = time.perf_counter()
        for part, seconds in zip(self.parts, (t1 - t0, t2 - t1, t3 - t2), strict=True):
            self.parts[part] += seconds
        return t3 - t0


def resident(key):
    """MiB of a line of /proc/self/status; a peak counts from the start of the program."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def memory(name, kind, threads):
    """Resident peak in MiB, and its growth over importing the library, of a fresh process."""
    code = f"import training_steps as b; b.report({name!r}, {kind!r}, {threads})"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HERE)
    return json.loads(made.stdout)


def report(name, kind, threads):
    """Prints what ten steps take."""
    library(name)
    before = resident("VmRSS")
    trainer = Trainer(name, kind, threads)
    for _ in range(10):
        trainer.step()
    peak = resident("VmHWM")
    print(json.dumps({"peak": peak, "growth": peak - before}))


def row(kind, threads, rounds):
    """Times and memory of one model, by library; the libraries take turns."""
    trainers = {name: Trainer(name, kind, threads) for name in ("lampyr", "torch")}
    times = {name: [] for name in trainers}
    inner = 2 if kind == "transformer" else 20
    for trainer in trainers.values():
        for _ in range(3):
            trainer.step()
        trainer.parts = dict.fromkeys(trainer.parts, 0.0)
    for _ in range(rounds):
        for name, trainer in trainers.items():
            times[name] += [trainer.step() for _ in range(inner)]
    made = {"model": kind}
    for name, trainer in trainers.items():
        count = len(times[name])
        parts = {part: 1e3 * seconds / count for part, seconds in trainer.parts.items()}
        least, median = 1e3 * min(times[name]), 1e3 * statistics.median(times[name])
        made[name] = {"least": least, "median": median, **parts, **memory(name, kind, threads)}
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=KINDS)
    args = parser.parse_args()
    columns = ("least", "median", "forward", "backward", "step", "peak", "growth")
    print(f"| model | library | {' | '.join(columns)} |\n|---|---|{'--:|' * len(columns)}")
    for kind in [args.only] if args.only else KINDS:
        made = row(kind, args.threads, args.rounds)
        for name in ("lampyr", "torch"):
            print(f"| {kind} | {name} | {' | '.join(f'{made[name][c]:.3f}' for c in columns)} |")


if __name__ == "__main__":
    main()
