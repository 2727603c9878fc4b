"""How times and memory grow: with threads, batch, sequence, sessions; and what an idle process costs."""

from pathlib import Path
from typing import Any

from benches.peers.cases import SCALED
from benches.peers.rounds import NAMES, OURS, REFERENCE, Measured, examples, measure, scratch, start, turns
from zoo.process import Engine, EngineError

BATCHES = (1, 2, 4, 8, 16, 32)
LENGTHS = (128, 256, 512, 1024, 2048, 4096)
SESSIONS = 64
Row = dict[str, Any]


def threads(path_of: Any, rounds: int) -> list[Row]:
    """Times at one and at two threads; each count has processes of its own, all take turns."""
    rows = []
    for model in SCALED["threads"]:
        found: dict[str, Measured] = {}
        running: dict[str, Engine] = {}
        with scratch() as folder:
            try:
                reference = running[f"{REFERENCE} 1"] = Engine(REFERENCE, 1)
                given = examples(reference, model, path_of(model), {}, folder, 2)
                for name, count in ((name, count) for name in NAMES for count in (1, 2)):
                    label = f"{name} {count}"
                    if label not in running:
                        running[label] = Engine(name, count)
                    found[label] = Measured()
                    start(running[label], path_of(model), given, found[label], folder)
                turns(running, found, rounds)
                for name in NAMES:
                    one, two = found[f"{name} 1"].least, found[f"{name} 2"].least
                    rows.append({"model": model, "engine": name, "one": one, "two": two})
            except EngineError as problem:
                rows.append({"model": model, "problem": str(problem)})
            finally:
                for engine in running.values():
                    engine.stop()
    return rows


def grown(model: str, path: Path, axis: str, sizes: tuple[int, ...], rounds: int, count: int) -> list[Row]:
    """Times and peak memory of a model at growing sizes of one axis."""
    rows = []
    for size in sizes:
        given = {"batch": 1, axis: size}
        found = measure(model, path, given, max(2, rounds // (1 if size < 1024 else 3)), count, 1)
        rows.append({axis: size} | {name: cell(one) for name, one in found.items()})
    return rows


def cell(one: Measured) -> Row:
    """The numbers of one engine at one size."""
    return {"least": one.least, "median": one.median, "rss": one.rss, "problem": one.problem}


def sessions(model: str, path: Path, count: int) -> list[Row]:
    """Resident memory after one run, and after many runs at once of one loaded model."""
    rows = []
    for name in (OURS, "onnxruntime"):
        reference, engine = Engine(REFERENCE, count), Engine(name, count)
        with scratch() as folder:
            try:
                given = examples(reference, model, path, {}, folder, 1)
                start(engine, path, given, Measured(), folder)
                rows.append({"engine": name, **engine.ask("sessions", count=SESSIONS)})
            except EngineError as problem:
                rows.append({"engine": name, "problem": str(problem)})
            finally:
                reference.stop()
                engine.stop()
    return rows


def idle(model: str, path: Path, count: int) -> list[Row]:
    """Processor time of engines 10 ms after their last run."""
    rows = []
    for name in NAMES:
        reference, engine = Engine(REFERENCE, count), Engine(name, count)
        with scratch() as folder:
            try:
                given = examples(reference, model, path, {}, folder, 1)
                start(engine, path, given, Measured(), folder)
                engine.ask("time", count=3)
                rows.append({"engine": name, **engine.ask("idle", after=0.01, seconds=0.5)})
            except EngineError as problem:
                rows.append({"engine": name, "problem": str(problem)})
            finally:
                reference.stop()
                engine.stop()
    return rows


def everything(path_of: Any, rounds: int, count: int) -> dict[str, list[Row]]:
    """All tables of growth."""
    return {
        "threads": threads(path_of, rounds),
        "batch": grown(SCALED["batch"], path_of(SCALED["batch"]), "batch", BATCHES, rounds, count),
        "sequence": grown(SCALED["sequence"], path_of(SCALED["sequence"]), "seq", LENGTHS, rounds, count),
        "sessions": sessions(SCALED["sessions"], path_of(SCALED["sessions"]), count),
        "idle": idle(SCALED["sessions"], path_of(SCALED["sessions"]), count),
    }
