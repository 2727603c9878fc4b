"""One engine in a process of its own, driven by lines of JSON on standard input.

python -m zoo.worker lampyr|onnxruntime

Commands: `load` (path), `feed` (npz of inputs), `run` (npz to write outputs to), `time` (count), `plan`, `rss`, `stop`.
Each answers with one line of JSON; a failure answers {"error": ...}.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

THREADS = int(os.environ.get("ZOO_THREADS", "2"))

Arrays = dict[str, np.ndarray]


class OnnxRuntime:
    """ONNX Runtime with its defaults but the number of threads."""

    def load(self, path: str) -> None:
        """Opens a session."""
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        """One inference."""
        return self.session.run(None, inputs)

    def plan(self) -> dict[str, Any]:
        """ONNX Runtime does not tell its plan."""
        return {}


class Lampyr:
    """Lampyr with its defaults but the number of threads."""

    def load(self, path: str) -> None:
        """Loads and compiles."""
        import lampyr

        lampyr.set_num_threads(THREADS)
        self.model = lampyr.load_onnx(path).compile()
        self.names = [port.name for port in self.model.outputs]

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        """One inference."""
        made = self.model(**inputs)
        return [np.asarray(t) for t in (made if isinstance(made, tuple) else (made,))]

    def plan(self) -> dict[str, Any]:
        """Bytes of the memory plan and what the trace and the compiler say."""
        found = self.model.explain()
        names = ("arena_bytes", "lower_bound_bytes", "greedy_bytes", "unplanned_bytes", "weight_bytes")
        return {name: number_called(name, json.loads(found.to_json())) for name in names}


def number_called(name: str, tree: Any) -> int | None:
    """The first number of that name in a tree of JSON."""
    if isinstance(tree, dict) and isinstance(tree.get(name), int):
        return tree[name]
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return next((found for part in inner if (found := number_called(name, part)) is not None), None)


ENGINES = {"lampyr": Lampyr, "onnxruntime": OnnxRuntime}


def answer(engine: Any, state: Arrays, command: dict[str, Any]) -> dict[str, Any]:
    """Performs one command."""
    verb = command["verb"]
    if verb == "load":
        start = time.perf_counter()
        engine.load(command["path"])
        return {"seconds": time.perf_counter() - start}
    if verb == "feed":
        with np.load(command["path"]) as file:
            state.clear()
            state.update({name[3:]: file[name] for name in file.files if name.startswith("in_")})
        return {}
    if verb == "run":
        start = time.perf_counter()
        made = engine.run(state)
        seconds = time.perf_counter() - start
        if command.get("path"):
            np.savez(command["path"], *made)
        return {"seconds": seconds, "names": engine.names}
    if verb == "time":
        times = []
        for _ in range(command["count"]):
            start = time.perf_counter()
            engine.run(state)
            times.append(time.perf_counter() - start)
        return {"times": times}
    if verb == "plan":
        return engine.plan()
    if verb == "rss":
        return {"peak_bytes": peak_rss()}
    raise ValueError(f"unknown verb {verb}")


def peak_rss() -> int:
    """Largest resident size of this process so far."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """Answers commands until the input ends."""
    # Anything the engine prints goes to the error stream, so that the answers stay lines of JSON.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    engine = ENGINES[sys.argv[1]]()
    state: Arrays = {}
    for line in sys.stdin:
        command = json.loads(line)
        if command["verb"] == "stop":
            break
        try:
            result = answer(engine, state, command)
        except BaseException as error:  # noqa: BLE001 - reported to the parent
            result = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(result) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
