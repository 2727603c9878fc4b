"""Elementwise work from Python beside torch, and the machine's peaks beside it.

    cargo xtask elementwise          # builds the package, measures, writes benches/elementwise.md
    python benches/elementwise.py [--rounds 25] [--markdown FILE]

The libraries take turns; the least time of all rounds counts. Ratios are torch's time over Lampyr's: above 1 Lampyr is
faster. Rates count the bytes that must be read and written once.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", "2"))
os.environ.setdefault("LAMPYR_THREADS", str(THREADS))

import torch  # noqa: E402

import lampyr  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from zoo.process import processor  # noqa: E402

SIZES = (65_536, 262_144, 1 << 20, 1 << 22)
SMALL, LARGE = 1 << 14, 1 << 20
FUNCTIONS = ("exp", "tanh", "erf", "sigmoid", "silu", "gelu", "gelu, tanh", "log", "sin", "sqrt")
# Elements per nanosecond and thread that are aimed at.
AIMS = {"sigmoid": 3.9, "silu": 4.0, "gelu, tanh": 3.6, "exp": 6.0, "erf": 2.5, "tanh": 2.8}
Case = tuple[str, int, Callable[[Any], Callable[[], object]]]


def call(library: Any, name: str) -> Callable[[Any], Any]:
    if name == "gelu, tanh":
        return lambda x: library.nn.functional.gelu(x, approximate="tanh")
    if name in ("silu", "gelu"):
        return getattr(library.nn.functional, name)
    return getattr(library, name)


def chains() -> list[Case]:
    """Name, bytes read and written, and what makes the call for a library."""

    def operands(library: Any, n: int, count: int) -> list[Any]:
        library.manual_seed(0)
        return [library.rand(n) for _ in range(count)]

    def add(n: int) -> Case:
        def make(library: Any) -> Callable[[], object]:
            a, b = operands(library, n, 2)
            return lambda: a + b

        return f"add, {n:,}", 12 * n, make

    def add_out(n: int) -> Case:
        def make(library: Any) -> Callable[[], object]:
            a, b, out = operands(library, n, 3)
            return lambda: library.add(a, b, out=out)

        return f"add with out, {n:,}", 12 * n, make

    def four(n: int) -> Case:
        def make(library: Any) -> Callable[[], object]:
            a, b, c, d = operands(library, n, 4)
            return lambda: ((a + b) * c - d) * a

        return f"chain of 4, {n:,}", 48 * n, make

    def rows(name: str, run: Callable[[Any, Any], object], rows: int, width: int) -> Case:
        def make(library: Any) -> Callable[[], object]:
            x = operands(library, rows * width, 1)[0].reshape(rows, width)
            return lambda: run(library, x)

        return f"{name}, {rows:,}x{width}", 8 * rows * width, make

    def layer_norm(library: Any, x: Any) -> object:
        return library.nn.functional.layer_norm(x, (x.shape[-1],))

    made = [kind(n) for n in SIZES for kind in (add, add_out, four)]
    made += [rows("softmax", lambda lib, x: lib.softmax(x, -1), 1024, w) for w in (128, 1024)]
    made += [rows("layer_norm", layer_norm, 1024, w) for w in (128, 768)]
    made += [rows("sum of rows", lambda lib, x: lib.sum(x, 1), 1024, 1024)]
    made += [rows("sum of columns", lambda lib, x: lib.sum(x, 0), 1024, 1024)]
    made += [rows("sum", lambda lib, x: lib.sum(x), 1024, 1024), rows("max", lambda lib, x: lib.max(x), 1024, 1024)]
    return made


def function(name: str, n: int) -> Case:
    def make(library: Any) -> Callable[[], object]:
        library.manual_seed(0)
        x, run = library.rand(n) * 8.0 - 4.0, call(library, name)
        return lambda: run(x)

    return f"{name}, {n:,}", 8 * n, make


def turns(case: Case, rounds: int, threads: int) -> tuple[float, float]:
    """Least seconds of Lampyr and of torch."""
    best = [float("inf"), float("inf")]
    libraries = (lampyr, torch)
    for library in libraries:
        library.set_num_threads(threads)
    made = [case[2](library) for library in libraries]
    counts = []
    for run in made:
        run()
        start = time.perf_counter()
        run()
        counts.append(max(3, min(200, int(1e-3 / (time.perf_counter() - start)))))
    for _ in range(rounds):
        for k, run in enumerate(made):
            run()
            for _ in range(counts[k]):
                start = time.perf_counter()
                run()
                best[k] = min(best[k], time.perf_counter() - start)
    return best[0], best[1]


def bandwidth(bytes_: int) -> float:
    """Bytes per second of copies between two buffers that together have so many bytes; the best of many."""
    size = bytes_ // 2
    source, target = bytearray(size), memoryview(bytearray(size))
    view, best = memoryview(source), float("inf")
    for _ in range(max(5, (256 << 20) // bytes_)):
        start = time.perf_counter()
        target[:] = view
        best = min(best, time.perf_counter() - start)
    return bytes_ / best


def flops(threads: int) -> float:
    """Floating-point operations per second of torch's product of matrices of 2,048, which is close to the peak."""
    torch.set_num_threads(threads)
    a, best = torch.rand(2048, 2048), float("inf")
    for _ in range(8):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--accuracy", type=Path, help="lines `| name | ulp | argument | kind |` of the accuracy test")
    options = parser.parse_args()
    one, all_ = flops(1) / 1e9, flops(THREADS) / 1e9
    lines = [
        "# Elementwise work, beside torch",
        "",
        f"Measured on {datetime.date.today()}, {processor()}, {os.cpu_count()} cores, torch {torch.__version__}.",
        "Float32; least of many rounds in turns; ratios are torch's time over Lampyr's: above 1 Lampyr is faster.",
        "Rates count what must be read and written once. Repeat with `cargo xtask elementwise`.",
        "",
        f"Peaks of the machine: {one:.0f} GFLOP/s with one thread, {all_:.0f} with {THREADS} (products, MKL);",
        f"copies {bandwidth(1 << 20) / 1e9:.1f} GB/s within 1 MiB, {bandwidth(16 << 20) / 1e9:.1f} within 16 MiB, "
        f"{bandwidth(1 << 29) / 1e9:.1f} within 512 MiB, one thread.",
        "",
        f"## Chains, rows and reductions, {THREADS} threads",
        "",
        "| work | Lampyr us | torch us | ratio | Lampyr GB/s |",
        "|---|--:|--:|--:|--:|",
    ]
    for case in chains():
        ours, theirs = turns(case, options.rounds, THREADS)
        rate = case[1] / ours / 1e9
        lines.append(f"| {case[0]} | {ours * 1e6:.1f} | {theirs * 1e6:.1f} | {theirs / ours:.2f} | {rate:.1f} |")
        print(lines[-1], file=sys.stderr, flush=True)
    lines += [
        "",
        "## Functions",
        "",
        f"Elements per nanosecond: {SMALL:,} elements with one thread, {LARGE:,} with {THREADS}.",
        "",
        "| function | aim | Lampyr, 1 thread | torch, 1 thread | ratio | Lampyr | torch | ratio |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in FUNCTIONS:
        cells = []
        for n, threads in ((SMALL, 1), (LARGE, THREADS)):
            ours, theirs = turns(function(name, n), options.rounds, threads)
            cells.append(f"{n / ours / 1e9:.2f} | {n / theirs / 1e9:.2f} | {theirs / ours:.2f}")
        lines.append(f"| {name} | {AIMS.get(name, '')} | {' | '.join(cells)} |")
        print(lines[-1], file=sys.stderr, flush=True)
    if options.accuracy:
        lines += [
            "",
            "## Accuracy",
            "",
            "Largest error in ulp over every 64th bit pattern and the edges (`cargo test -p lampyr-kernels accurate`),",
            "with and without fused multiply-add.",
            "",
            "| function | ulp | at | multiply-add |",
            "|---|--:|--:|---|",
            *sorted({line for line in options.accuracy.read_text().splitlines() if line.startswith("| ")}),
        ]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.markdown:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
