"""Eager work from Python beside torch, in turns: small calls, recording, backward passes, training steps, memory.

    cargo xtask eager                # builds the package, measures, writes benches/eager.md and benches/eager.json
    python benches/eager.py [--rounds 25] [--only calls|training]

Ratios are Lampyr's time over torch's, of the least and of the median of all rounds: below 1 Lampyr is faster.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "LAMPYR_THREADS"):
    os.environ.setdefault(variable, "2")

import torch  # noqa: E402

import lampyr  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
import training_steps  # noqa: E402

Case = Callable[[], float]
LENGTH = 100
CALLS = 2000

# What the ratio is meant to be, where something is.
TARGETS = {
    "add": 0.2,
    "add, recorded": 0.4,
    "x[1]": 0.3,
    "x[1:3]": 0.3,
    "x[:, 1]": 0.3,
    "reshape": 0.3,
    "backward of 100 tanh": 0.7,
    "backward of 100 mul": 0.7,
}


def seconds(function: Callable[[], object], count: int = CALLS) -> float:
    start = time.perf_counter()
    for _ in range(count):
        function()
    return (time.perf_counter() - start) / count


def cases(library: Any) -> dict[str, Case]:
    def tensor(**options: Any) -> Any:
        return library.tensor([1.0, 2.0, 3.0, 4.0], **options)

    a, b, x = (tensor(requires_grad=True) for _ in range(3))
    c, d, seed = (tensor() for _ in range(3))
    m = library.ones(3, 4)

    def chain(step: Callable[[Any], Any]) -> Any:
        y = x
        for _ in range(LENGTH):
            y = step(y)
        return y

    def backward(step: Callable[[Any], Any]) -> float:
        y = chain(step)
        start = time.perf_counter()
        y.backward(seed)
        return time.perf_counter() - start

    return {
        "add": lambda: seconds(lambda: c + d),
        "add of a number": lambda: seconds(lambda: c + 1.0),
        "relu": lambda: seconds(lambda: library.relu(c)),
        "x[1]": lambda: seconds(lambda: m[1]),
        "x[1:3]": lambda: seconds(lambda: c[1:3]),
        "x[:, 1]": lambda: seconds(lambda: m[:, 1]),
        "reshape": lambda: seconds(lambda: c.reshape(2, 2)),
        "transpose": lambda: seconds(lambda: m.transpose(0, 1)),
        "sum": lambda: seconds(lambda: c.sum()),
        "matmul 4x4": lambda: seconds(lambda: m @ m.T),
        "add, recorded": lambda: seconds(lambda: a + b),
        "x[1:3], recorded": lambda: seconds(lambda: a[1:3]),
        "chain of 100 mul": lambda: seconds(lambda: chain(lambda y: y * c), 20),
        "backward of 100 add": lambda: backward(lambda y: y + c),
        "backward of 100 mul": lambda: backward(lambda y: y * c),
        "backward of 100 tanh": lambda: backward(library.tanh),
    }


def measured(rounds: int) -> list[dict[str, Any]]:
    ours, theirs = cases(lampyr), cases(torch)
    rows = []
    for name in ours:
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for run, column in zip((ours[name], theirs[name]), times, strict=True):
                column.append(run() * 1e6)
        least, middle = ([pick(column) for column in times] for pick in (min, statistics.median))
        rows.append(
            {
                "case": name,
                "lampyr_us": least[0],
                "torch_us": least[1],
                "least": least[0] / least[1],
                "median": middle[0] / middle[1],
                "target": TARGETS.get(name),
            }
        )
        print(f"{name}: {rows[-1]['least']:.2f}", file=sys.stderr, flush=True)
    return rows


def calls_table(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| call | Lampyr us | torch us | ratio, least | ratio, median | target |", "|---|--:|--:|--:|--:|--:|"]
    for row in rows:
        target = "" if row["target"] is None else f"{row['target']:.1f}"
        lines.append(
            f"| {row['case']} | {row['lampyr_us']:.2f} | {row['torch_us']:.2f} | {row['least']:.2f} "
            f"| {row['median']:.2f} | {target} |"
        )
    return lines


def training_table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| training step | Lampyr ms | torch ms | ratio, least | ratio, median | Lampyr peak MiB | torch peak MiB "
        "| Lampyr growth MiB | torch growth MiB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        ours, theirs = row["lampyr"], row["torch"]
        memory = (f"{one[part]:.0f}" for part in ("peak", "growth") for one in (ours, theirs))
        lines.append(
            f"| {row['model']} | {ours['least']:.2f} | {theirs['least']:.2f} | {ours['least'] / theirs['least']:.2f} "
            f"| {ours['median'] / theirs['median']:.2f} | {' | '.join(memory)} |"
        )
    return lines


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{named[0]}, {len(named)} cores" if named else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--only", choices=("calls", "training"))
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    calls = [] if options.only == "training" else measured(options.rounds)
    kinds = () if options.only == "calls" else training_steps.KINDS
    training = [training_steps.row(kind, 2, options.rounds) for kind in kinds]
    head = (
        f"Measured on {datetime.date.today()}, {processor()}, torch {torch.__version__}, 2 threads,\n"
        f"{options.rounds} rounds in turns, so that both see the same machine. Ratios are Lampyr's time over\n"
        "torch's: below 1 Lampyr is faster. Peak: resident memory of a process that imports the library and makes ten\n"
        "steps; growth: what the steps add to the import. Repeat with `cargo xtask eager`."
    )
    lines = ["# Eager work from Python, beside torch", "", head, ""]
    if calls:
        lines += [*calls_table(calls), ""]
    if training:
        lines += [*training_table(training), ""]
    text = "\n".join(lines)
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
    if options.json:
        options.json.write_text(json.dumps({"calls": calls, "training": training}, indent=1) + "\n")


if __name__ == "__main__":
    main()
