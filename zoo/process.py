"""The side of `zoo.worker` that gives the commands, and what its users share: errors of outputs, cells of tables."""

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

# Relative error up to which an output is right.
LIMIT = 1e-4


class EngineError(Exception):
    """What an engine answered instead of a result."""


class Engine:
    """A worker process."""

    def __init__(self, name: str, threads: int | None = None) -> None:
        self.name = name
        self.log = tempfile.TemporaryFile("w+")
        told = {} if threads is None else {"ZOO_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "zoo.worker", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.log, text=True, env=os.environ | {"LAMPYR_FALLBACK": "warn"} | told,
        )  # fmt: skip

    def ask(self, verb: str, **rest: Any) -> dict[str, Any]:
        """The answer to one command."""
        pipe, back = self.process.stdin, self.process.stdout
        assert pipe and back
        try:
            pipe.write(json.dumps({"verb": verb, **rest}) + "\n")
            pipe.flush()
            line = back.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.log.seek(0)
            said = self.log.read().strip().splitlines()[-1:]
            raise EngineError(" ".join([f"the process of {self.name} ended with {self.process.wait()}", *said]))
        found = json.loads(line)
        if "error" in found:
            raise EngineError(found["error"])
        return found

    def pause(self) -> None:
        """Stops the threads of the process, so that none spins or wakes while another engine is timed."""
        if hasattr(signal, "SIGSTOP") and self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undoes `pause`."""
        if hasattr(signal, "SIGCONT") and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)

    def warnings(self) -> list[str]:
        """What the engine has written to its error stream."""
        self.log.seek(0)
        return [line.split("Warning:", 1)[1].strip() for line in self.log if "Warning:" in line]

    def stop(self) -> None:
        """Ends the process."""
        self.resume()
        try:
            self.process.communicate('{"verb": "stop"}\n', timeout=20)
        except (subprocess.TimeoutExpired, BrokenPipeError, ValueError):
            self.process.kill()
            self.process.wait()


def relative_error(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The largest of the outputs' errors; shapes must agree."""
    worst = 0.0
    if len(found) != len(expected):
        raise EngineError(f"{len(found)} outputs, {len(expected)} expected")
    for a, b in zip(found, expected, strict=True):
        if a.shape != b.shape:
            raise EngineError(f"shape {a.shape}, {b.shape} expected")
        if not b.size:
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        if not np.isfinite(a).all():
            raise EngineError("an output is not finite")
        worst = max(worst, float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)))
    return worst


def load_arrays(path: Path, prefix: str) -> list[np.ndarray]:
    """Arrays of a file whose names begin so, in order."""
    with np.load(path) as file:
        return [file[name] for name in file.files if name.startswith(prefix)]


def exports(folder: Path, names: list[str], every: bool) -> list[Path]:
    """The exports in a folder: of each model all, or the one that is the default."""
    order = json.loads((folder / "order.json").read_text())
    unknown = sorted(set(names) - set(order))
    if unknown:
        raise SystemExit(f"unknown models: {', '.join(unknown)}; the zoo has {', '.join(order)}")
    paths = []
    for name, exporters in order.items():
        if names and name not in names:
            continue
        there = [folder / f"{name}.{e}.onnx" for e in exporters if (folder / f"{name}.{e}.onnx").is_file()]
        paths += there if every else there[:1]
    return paths


def processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def number(value: float | None, form: str = "{:.2f}", scale: float = 1.0) -> str:
    """A cell of a table."""
    return "-" if value is None else form.format(value * scale)
