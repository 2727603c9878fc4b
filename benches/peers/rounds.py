"""Engines side by side on one model: outputs compared first, then timed in turns."""

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from zoo.process import LIMIT, Engine, EngineError, load_arrays, relative_error

OURS, REFERENCE = "lampyr", "torch"
NAMES = (OURS, REFERENCE, "onnxruntime", "openvino")
# Seconds that one engine is timed before it is the next one's turn.
TURN = 0.08
# Inputs that take turns.
INPUTS = 4

Factory = Callable[[str, int], Engine]


@dataclass
class Examples:
    """Files of inputs with torch's outputs, and the sizes of the inputs."""

    paths: list[str]
    shapes: dict[str, list[int]]
    dims: dict[str, int]


@dataclass
class Measured:
    """What is known of one engine on one model; seconds and bytes."""

    times: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    error: float | None = None
    rss: int | None = None
    problem: str | None = None

    @property
    def least(self) -> float | None:
        """The least time of a run."""
        return min(self.times, default=None)

    @property
    def median(self) -> float | None:
        """The median time of a run."""
        return statistics.median(self.times) if self.times else None

    @property
    def first(self) -> float | None:
        """The least time from nothing to the first result: load, compile, run."""
        return min(self.firsts, default=None)

    @property
    def load(self) -> float | None:
        """The least time of loading and compiling."""
        return min(self.loads, default=None)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for inputs and outputs."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def examples(torch: Engine, model: str, path: Path, sizes: dict[str, int], folder: Path, count: int) -> Examples:
    """Inputs of a model and what torch makes of them; `torch` loads the model."""
    torch.ask("load", path=str(path))
    return Examples(**torch.ask("examples", name=model, sizes=sizes, folder=str(folder), count=count))


def start(engine: Engine, path: Path, given: Examples, found: Measured, folder: Path) -> None:
    """Loads a model, runs it for the first time, and refuses a wrong output of any of the inputs."""
    made = folder / f"{engine.name}.npz"
    loaded = engine.ask("load", path=str(path), shapes=given.shapes, dims=given.dims)["seconds"]
    engine.ask("feed", paths=given.paths)
    for i, expected in enumerate(given.paths):
        ran = engine.ask("run", index=i, path=str(made))["seconds"]
        if i == 0:
            found.loads.append(loaded)
            found.firsts.append(loaded + ran)
        error = relative_error(load_arrays(made, "arr_"), load_arrays(Path(expected), "out_"))
        found.error = max(found.error or 0.0, error)
        if not error <= LIMIT:
            raise EngineError(f"wrong result: relative error {error:.1e} with inputs {i}")
    found.rss = found.rss or engine.ask("rss")["peak_bytes"]


def turns(engines: dict[str, Engine], found: dict[str, Measured], rounds: int) -> None:
    """Times engines one after the other, again and again; those that wait are stopped. One that fails drops out."""
    counts: dict[str, int] = {}
    for turn in range(rounds + 1):
        for name, engine in engines.items():
            if found[name].problem:
                continue
            engine.resume()
            try:
                if turn == 0:
                    once = min(engine.ask("time", count=3)["times"])
                    counts[name] = max(1, min(50, int(TURN / max(once, 1e-9))))
                else:
                    # The first run of a turn finds the other engines' data in the caches.
                    found[name].times += engine.ask("time", count=counts[name] + 1)["times"][1:]
            except EngineError as problem:
                found[name].problem, found[name].times = str(problem), []
            engine.pause()


def measure(
    model: str, path: Path, sizes: dict[str, int], rounds: int, threads: int, starts: int, make: Factory = Engine
) -> dict[str, Measured]:
    """Every engine on one model. One that fails or is wrong keeps its reason and is not timed."""
    found = {name: Measured() for name in NAMES}
    running: dict[str, Engine] = {}
    with scratch() as folder:
        try:
            running[REFERENCE] = make(REFERENCE, threads)
            given = examples(running[REFERENCE], model, path, sizes, folder, INPUTS)
            running[REFERENCE].pause()
            for name in NAMES:
                engine = running[name] if name == REFERENCE else make(name, threads)
                running[name] = engine
                engine.resume()
                try:
                    start(engine, path, given, found[name], folder)
                except EngineError as problem:
                    found[name].problem = str(problem)
                    running.pop(name).stop()
                    continue
                engine.pause()
            for name in (n for n in running if n != REFERENCE for _ in range(starts - 1)):
                again(make(name, threads), path, given, found[name])
            turns(running, found, rounds)
        except EngineError as problem:
            for one in found.values():
                one.problem = one.problem or f"torch: {problem}"
        finally:
            for engine in running.values():
                engine.stop()
    return found


def again(engine: Engine, path: Path, given: Examples, found: Measured) -> None:
    """One more first inference in a process of its own."""
    try:
        loaded = engine.ask("load", path=str(path), shapes=given.shapes, dims=given.dims)["seconds"]
        engine.ask("feed", paths=given.paths[:1])
        found.loads.append(loaded)
        found.firsts.append(loaded + engine.ask("run")["seconds"])
        found.rss = min(found.rss or 0, engine.ask("rss")["peak_bytes"])
    except EngineError as problem:
        found.problem = f"started again: {problem}"
    finally:
        engine.stop()
