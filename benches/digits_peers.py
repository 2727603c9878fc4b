"""Times Lampyr beside ONNX Runtime, NumPy and PyTorch, in turns, and prints Markdown.

python benches/digits_peers.py [--rounds N]

Peers that are not installed are left out.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

THREADS = "2"
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LAMPYR_THREADS"):
    os.environ.setdefault(variable, THREADS)

import numpy as np  # noqa: E402

import lampyr  # noqa: E402

MODEL = Path(__file__).resolve().parent.parent / "examples" / "digits" / "digits.onnx"
OURS = "Lampyr"

Calls = dict[str, Callable[[], object]]


def measure(calls: Calls, rounds: int, repeat: int) -> dict[str, list[float]]:
    """Seconds per call: `rounds` samples of `repeat` calls each, the peers taking turns."""
    for call in calls.values():
        for _ in range(repeat):
            call()
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeat):
                call()
            samples[name].append((time.perf_counter() - start) / repeat)
    return samples


def print_table(title: str, samples: dict[str, list[float]]) -> None:
    print(f"\n{title}\n")
    print("| | min (us) | median (us) | Lampyr's median / this one |")
    print("|---|---:|---:|---:|")
    ours = statistics.median(samples[OURS])
    for name, times in samples.items():
        median = statistics.median(times)
        print(f"| {name} | {min(times) * 1e6:.2f} | {median * 1e6:.2f} | {ours / median:.2f} |")


def digits(batch: int) -> Calls:
    """The model on random pictures."""
    calls: Calls = {}
    images = np.random.default_rng(0).random((batch, 1, 8, 8), dtype=np.float32)
    model = lampyr.load_onnx(MODEL).compile()
    calls[OURS] = lambda: model(images)
    try:
        import onnxruntime
    except ImportError:
        return calls
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(THREADS)
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    calls["ONNX Runtime"] = lambda: session.run(None, {name: images})
    return calls


def add() -> Calls:
    """The sum of two tensors of four elements."""
    a, b = np.ones(4, np.float32), np.ones(4, np.float32)
    x, y = lampyr.ones(4), lampyr.ones(4)
    calls: Calls = {OURS: lambda: x + y, "NumPy": lambda: a + b}
    try:
        import torch
    except ImportError:
        return calls
    torch.set_num_threads(int(THREADS))
    p, q = torch.ones(4), torch.ones(4)
    calls["PyTorch"] = lambda: p + q
    return calls


def imports(rounds: int) -> dict[str, list[float]]:
    """A new interpreter that imports a package; the bare interpreter is one of the rows."""
    statements = {"bare interpreter": "pass", OURS: "import lampyr", "NumPy": "import numpy"}
    for name, package in (("ONNX Runtime", "onnxruntime"), ("PyTorch", "torch")):
        if subprocess.run([sys.executable, "-c", f"import {package}"], capture_output=True).returncode == 0:
            statements[name] = f"import {package}"

    def run(statement: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", statement], check=True)

    return measure({name: run(text) for name, text in statements.items()}, rounds, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="samples per row (30)")
    rounds = parser.parse_args().rounds
    for batch in (1, 32):
        print_table(f"digits.onnx, batch {batch}, {THREADS} threads", measure(digits(batch), rounds, 20))
    print_table("add, two tensors of 4 elements", measure(add(), rounds, 20_000))
    print_table("import, in a new interpreter", imports(max(5, rounds // 3)))


if __name__ == "__main__":
    main()
