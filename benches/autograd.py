"""Times recording and backward passes beside PyTorch, in turns, and prints Markdown.

python benches/autograd.py [--rounds N]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

for variable in ("OMP_NUM_THREADS", "LAMPYR_THREADS"):
    os.environ.setdefault(variable, "2")

import torch  # noqa: E402

import lampyr  # noqa: E402

Case = Callable[[], float]
LENGTH = 100


def seconds(function: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        function()
    return (time.perf_counter() - start) / count


def cases(library: Any) -> dict[str, Case]:
    def tensor(**options: Any) -> Any:
        return library.tensor([1.0, 2.0, 3.0, 4.0], **options)

    a, b, x = (tensor(requires_grad=True) for _ in range(3))
    c, d, seed = (tensor() for _ in range(3))

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
        "add": lambda: seconds(lambda: c + d, 2000),
        "add, recorded": lambda: seconds(lambda: a + b, 2000),
        "mul, recorded": lambda: seconds(lambda: a * b, 2000),
        "chain of 100 mul": lambda: seconds(lambda: chain(lambda y: y * c), 20),
        "backward of 100 add": lambda: backward(lambda y: y + c),
        "backward of 100 mul": lambda: backward(lambda y: y * c),
        "backward of 100 tanh": lambda: backward(library.tanh),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    ours, theirs = cases(lampyr), cases(torch)
    print("| | Lampyr min, median (us) | PyTorch min, median (us) | ratio of minima |\n|---|---|---|---|")
    for name in ours:
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for run, column in zip((ours[name], theirs[name]), times, strict=True):
                column.append(run() * 1e6)
        (l0, l1), (t0, t1) = ((min(t), statistics.median(t)) for t in times)
        print(f"| {name} | {l0:.2f}, {l1:.2f} | {t0:.2f}, {t1:.2f} | {l0 / t0:.2f} |")


if __name__ == "__main__":
    main()
