"""One engine in a process of its own, driven by lines of JSON on standard input.

python -m zoo.worker lampyr|torch|onnxruntime|openvino

Commands: `load` (path, shapes, dims), `feed` (npz files of inputs), `run` (which feed, npz to write outputs to), `time`
(count), `sessions` (count), `idle` (seconds), `examples` (torch only), `plan`, `rss`, `stop`.
Each answers with one line of JSON; a failure answers {"error": ...}.
"""

import importlib
import json
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from zoo.engines import ENGINES, Arrays


def inputs_of(path: str) -> Arrays:
    """The inputs in a file of inputs and outputs."""
    with np.load(path) as file:
        return {name[3:]: file[name] for name in file.files if name.startswith("in_")}


def answer(engine: Any, feeds: list[Arrays], command: dict[str, Any]) -> dict[str, Any]:
    """Performs one command."""
    verb = command["verb"]
    if verb == "load":
        importlib.import_module(engine.MODULE)
    start = time.perf_counter()
    if verb == "load":
        engine.load(command["path"], command.get("shapes", {}), command.get("dims", {}))
        return {"seconds": time.perf_counter() - start}
    if verb == "feed":
        feeds[:] = [inputs_of(path) for path in command["paths"]]
        return {}
    if verb == "run":
        made = engine.run(feeds[command.get("index", 0)])
        seconds = time.perf_counter() - start
        if command.get("path"):
            np.savez(command["path"], *made)
        return {"seconds": seconds, "names": engine.names}
    if verb == "time":
        times = []
        for i in range(command["count"]):
            feed = feeds[i % len(feeds)]
            start = time.perf_counter()
            engine.run(feed)
            times.append(time.perf_counter() - start)
        return {"times": times}
    if verb == "sessions":
        return sessions(engine, feeds[0], command["count"])
    if verb == "idle":
        return idle(command["after"], command["seconds"])
    if verb == "examples":
        return engine_examples(engine, command["name"], command["sizes"], command["folder"], command["count"])
    if verb == "plan":
        return engine.plan()
    if verb == "rss":
        return {"peak_bytes": status_bytes("VmHWM") or peak_rss()}
    raise ValueError(f"unknown verb {verb}")


def sessions(engine: Any, feed: Arrays, count: int) -> dict[str, Any]:
    """Resident bytes after one run, and after `count` threads have run the one loaded model at once."""
    first = [np.array(array) for array in engine.run(feed)]
    one, barrier, wrong = status_bytes("VmRSS"), threading.Barrier(count), []

    def run() -> None:
        barrier.wait()
        made = engine.run(feed)
        if not all(np.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(first, made, strict=True)):
            wrong.append("a result of a run beside others differs")

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise ValueError(wrong[0])
    return {"one": one, "all": status_bytes("VmRSS")}


def idle(after: float, seconds: float) -> dict[str, Any]:
    """Part of a processor that this process uses while it has nothing to do, from `after` seconds on."""
    time.sleep(after)
    start, busy = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    return {"share": (time.process_time() - busy) / (time.perf_counter() - start)}


def engine_examples(engine: Any, name: str, sizes: dict[str, int], folder: str, count: int) -> dict[str, Any]:
    """Writes `count` files of inputs and torch's outputs for them; returns their paths and the inputs' shapes."""
    from zoo.models import ZOO, example

    entry, paths, shapes = ZOO[name], [], {}
    for i in range(count):
        inputs = {n: t.numpy() for n, t in zip(entry.names, example(name, sizes=sizes, trial=i), strict=True)}
        made = engine.run(inputs)
        arrays = {f"in_{n}": a for n, a in inputs.items()}
        arrays |= {f"out_{n}": a for n, a in zip(entry.outputs, made, strict=True)}
        paths.append(str(Path(folder) / f"{i}.npz"))
        np.savez(paths[-1], **arrays)
        shapes = {n: list(a.shape) for n, a in inputs.items()}
    dims = {d: shapes[n][axis] for n, axes in entry.dynamic.items() for axis, d in axes.items()}
    return {"paths": paths, "shapes": shapes, "dims": dims}


def status_bytes(key: str) -> int | None:
    """A size in /proc/self/status, where there is one."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    return None


def peak_rss() -> int:
    """Largest resident size of this process so far, where there is no /proc."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """Answers commands until the input ends."""
    # Anything the engine prints goes to the error stream, so that the answers stay lines of JSON.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    engine = ENGINES[sys.argv[1]]()
    feeds: list[Arrays] = []
    for line in sys.stdin:
        command = json.loads(line)
        if command["verb"] == "stop":
            break
        try:
            result = answer(engine, feeds, command)
        except BaseException as error:  # noqa: BLE001 - reported to the parent
            result = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(result) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
