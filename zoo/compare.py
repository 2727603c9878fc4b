"""Runs exported models on Lampyr and ONNX Runtime, each in a process of its own, and writes a table.

python -m zoo.compare FOLDER [--json FILE] [--markdown FILE] [--rounds N] [NAMES]

The error of an output is max|a - b| / max|b| against torch; the engines take turns while they are timed.
"""

import argparse
import dataclasses
import datetime
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from zoo.process import LIMIT, Engine, EngineError, exports, load_arrays, number, processor, relative_error

OURS, PEER = "lampyr", "onnxruntime"
# Seconds before each turn, in which the threads of the engine that ran before go to sleep.
PAUSE = 0.03
LENGTHS = (1, 2, 3, 7, 8, 16, 31, 64, 77, 128, 200, 256, 384, 512)


@dataclasses.dataclass
class Row:
    """One line of the table; times in milliseconds, sizes in bytes."""

    name: str
    exporter: str
    error: str | None = None
    relative_error: float | None = None
    peer_relative_error: float | None = None
    ms_min: float | None = None
    ms: float | None = None
    peer_ms_min: float | None = None
    peer_ms: float | None = None
    load_s: float | None = None
    first_ms: float | None = None
    peer_load_s: float | None = None
    arena_bytes: int | None = None
    lower_bound_bytes: int | None = None
    greedy_bytes: int | None = None
    unplanned_bytes: int | None = None
    peak_rss: int | None = None
    peer_peak_rss: int | None = None
    shapes_compared: int | None = None
    shapes_sharper: int | None = None
    shapes_worse: list[str] = dataclasses.field(default_factory=list)
    fallbacks: list[str] = dataclasses.field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Our median time over that of the peer."""
        return self.ms / self.peer_ms if self.ms and self.peer_ms else None


def compare(path: Path, folder: Path, rounds: int, budget: float) -> Row:
    """The row of one export."""
    name, exporter = path.stem.split(".")
    row = Row(name, exporter)
    arrays = folder / f"{name}.npz"
    expected = load_arrays(arrays, "out_")
    peer, ours = Engine(PEER), Engine(OURS)
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made.npz"
        try:
            row.peer_load_s = peer.ask("load", path=str(path))["seconds"]
            peer.ask("feed", paths=[str(arrays)])
            peer.ask("run", path=str(made))
            row.peer_relative_error = relative_error(load_arrays(made, "arr_"), expected)
            peer.ask("time", count=3)
            row.peer_peak_rss = peer.ask("rss")["peak_bytes"]
        except EngineError as error:
            row.error = f"ONNX Runtime: {error}"
        try:
            row.load_s = ours.ask("load", path=str(path))["seconds"]
            ours.ask("feed", paths=[str(arrays)])
            row.first_ms = 1e3 * ours.ask("run", path=str(made))["seconds"]
            row.relative_error = relative_error(load_arrays(made, "arr_"), expected)
            ours.ask("time", count=3)
            row.peak_rss = ours.ask("rss")["peak_bytes"]
            plan = ours.ask("plan")
            for key in ("arena_bytes", "lower_bound_bytes", "greedy_bytes", "unplanned_bytes"):
                setattr(row, key, plan.get(key))
            if row.relative_error > LIMIT:
                row.error = f"relative error {row.relative_error:.1e}"
            if row.peer_load_s is not None and rounds:
                interleave(row, ours, peer, rounds, budget)
        except EngineError as error:
            row.error = str(error)
        row.fallbacks = sorted({line for line in ours.warnings() if "no kernel" in line})
    peer.stop()
    ours.stop()
    return row


def infer_shapes(row: Row, path: Path) -> None:
    """Compares the shapes that both sides infer; fewer facts than ONNX has are an error of the row."""
    import onnx

    from zoo import shapes

    try:
        found = shapes.compare(onnx.load(path))
    except Exception as error:  # noqa: BLE001 - reported in the table
        row.error = row.error or f"shapes: {error}"
        return
    row.shapes_compared, row.shapes_sharper, row.shapes_worse = found.compared, found.sharper, found.worse
    if found.worse:
        row.error = row.error or f"{len(found.worse)} shapes less sharp than ONNX's, first {found.worse[0]}"


def interleave(row: Row, ours: Engine, peer: Engine, rounds: int, budget: float) -> None:
    """Times both in turns until the rounds or the seconds are used up."""
    times: dict[str, list[float]] = {OURS: [], PEER: []}
    once = sum(engine.ask("time", count=1)["times"][0] for engine in (ours, peer))
    rounds = max(3, min(rounds, int(budget / max(once, 1e-6))))
    count = max(1, min(20, int(0.02 / max(once, 1e-6))))
    for _ in range(rounds):
        for engine in (ours, peer):
            time.sleep(PAUSE)
            times[engine.name] += engine.ask("time", count=count)["times"]
    row.ms, row.ms_min = 1e3 * statistics.median(times[OURS]), 1e3 * min(times[OURS])
    row.peer_ms, row.peer_ms_min = 1e3 * statistics.median(times[PEER]), 1e3 * min(times[PEER])


def lengths(path: Path, rounds: int) -> list[dict[str, float]]:
    """Times of dynamic BERT by length, from one compile: the first call at a length and repeated ones."""
    peer, ours = Engine(PEER), Engine(OURS)
    table = []
    with tempfile.TemporaryDirectory() as scratch:
        feed, made = Path(scratch) / "feed.npz", Path(scratch) / "made.npz"
        for engine in (ours, peer):
            engine.ask("load", path=str(path))
        random = np.random.default_rng(0)
        warm = {"in_input_ids": np.ones((1, 5), np.int64), "in_attention_mask": np.ones((1, 5), np.int64)}
        for arrays in [warm] + [
            {
                "in_input_ids": random.integers(0, 30000, (1, length)),
                "in_attention_mask": np.ones((1, length), np.int64),
            }
            for length in LENGTHS
        ]:
            np.savez(feed, **arrays)
            row: dict[str, float] = {"length": arrays["in_input_ids"].shape[1]}
            outputs = []
            for engine, key in ((ours, ""), (peer, "peer_")):
                engine.ask("feed", paths=[str(feed)])
                row[key + "first_ms"] = 1e3 * engine.ask("run")["seconds"]
            times: dict[str, list[float]] = {OURS: [], PEER: []}
            for _ in range(rounds):
                for engine in (ours, peer):
                    time.sleep(PAUSE)
                    times[engine.name] += engine.ask("time", count=1)["times"]
            for engine, key in ((ours, ""), (peer, "peer_")):
                row[key + "ms"] = 1e3 * statistics.median(times[engine.name])
                engine.ask("run", path=str(made))
                outputs.append(load_arrays(made, "arr_"))
            row["difference"] = relative_error(*outputs)
            table.append(row)
    for engine in (ours, peer):
        engine.stop()
    return table[1:]


def markdown(rows: list[Row], by_length: list[dict[str, float]], about: dict[str, Any]) -> str:
    """The tables as Markdown."""
    passed = sum(row.error is None for row in rows)
    slow = [row.name for row in rows if row.ratio and row.ratio > 2]
    lines = [
        "# The zoo", "",
        f"{about['date']}, {about['cpu']}, {about['threads']} threads, torch {about['torch']}, "
        f"ONNX Runtime {about['onnxruntime']}. Made by `{about['command']}`.", "",
        f"{passed} of {len(rows)} models within {LIMIT:g} of torch and with shapes as sharp as those of "
        "`onnx.shape_inference` or sharper; "
        f"{len(slow)} slower than twice ONNX Runtime{': ' + ', '.join(slow) if slow else ''}.", "",
        "Times are medians (minima in brackets) of calls in turns with ONNX Runtime; load includes compiling; "
        "arena, bound and greedy are MiB of the memory plan, its lower bound and what greedy-by-size needs; "
        "RSS is the peak of a process that loads the model and runs it, in MiB; "
        "shapes counts the values for which more is known than `onnx.shape_inference` says, and all compared.", "",
        "| model | exporter | max rel. error | ms | ONNX Runtime ms | ratio | load s | ONNX Runtime load s "
        "| arena | bound | greedy | RSS | ONNX Runtime RSS | shapes | remarks |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]  # fmt: skip
    mib = 1 / (1 << 20)
    for row in rows:
        remarks = "; ".join(filter(None, [row.error, *row.fallbacks])).replace("|", "/").replace("\n", " ")
        lines.append(
            f"| {row.name} | {row.exporter} | {number(row.relative_error, '{:.1e}')} "
            f"| {number(row.ms)} ({number(row.ms_min)}) | {number(row.peer_ms)} ({number(row.peer_ms_min)}) "
            f"| {number(row.ratio)} | {number(row.load_s)} | {number(row.peer_load_s)} "
            f"| {number(row.arena_bytes, scale=mib)} | {number(row.lower_bound_bytes, scale=mib)} "
            f"| {number(row.greedy_bytes, scale=mib)} | {number(row.peak_rss, '{:.0f}', mib)} "
            f"| {number(row.peer_peak_rss, '{:.0f}', mib)} "
            f"| {number(row.shapes_sharper, '{:.0f}')} of {number(row.shapes_compared, '{:.0f}')} | {remarks} |"
        )
    if by_length:
        lines += [
            "", "## Dynamic BERT by length", "",
            "One compile; the first call at a length and the median of repeated ones, in ms.", "",
            "| tokens | first | repeated | ONNX Runtime first | ONNX Runtime repeated | ratio | difference |",
            "|---:|---:|---:|---:|---:|---:|---:|",
        ]  # fmt: skip
        lines += [
            f"| {r['length']:.0f} | {r['first_ms']:.2f} | {r['ms']:.2f} | {r['peer_first_ms']:.2f} "
            f"| {r['peer_ms']:.2f} | {r['ms'] / r['peer_ms']:.2f} | {r['difference']:.1e} |"
            for r in by_length
        ]
    return "\n".join(lines) + "\n"


def versions() -> dict[str, str]:
    """Versions of the peers."""
    from importlib import metadata

    return {name: metadata.version(name) for name in ("torch", "torchvision", "transformers", "onnx", "onnxruntime")}


def main() -> int:
    """Compares; the exit status is 1 when a model is wrong or does not run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    parser.add_argument("--rounds", type=int, default=60, help="most rounds of timing; 0 times nothing")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds of timing per model")
    parser.add_argument("--exporter", choices=["default", "all"], default="default")
    parser.add_argument("--command", default="cargo xtask zoo", help="what to name as the command of the tables")
    options = parser.parse_intermixed_args()
    rows: list[Row] = []
    for path in exports(options.folder, options.names, options.exporter == "all"):
        row = compare(path, options.folder, options.rounds, options.budget)
        infer_shapes(row, path)
        rows.append(row)
        print(
            f"{row.name:20} {row.exporter:12} {number(row.relative_error, '{:.1e}'):>8} "
            f"{number(row.ms):>8} ms {number(row.peer_ms):>8} ms  x{number(row.ratio):5} {row.error or 'ok'}"
            + "".join(f"\n    {line}" for line in row.fallbacks),
            flush=True,
        )
    by_length: list[dict[str, float]] = []
    dynamic = [options.folder / f"{r.name}.{r.exporter}.onnx" for r in rows if r.name == "bert_dynamic" and not r.error]
    if dynamic and options.rounds:
        by_length = lengths(dynamic[0], min(options.rounds, 15))
    about = {
        "date": datetime.date.today().isoformat(),
        "cpu": processor(),
        "threads": int(os.environ.get("ZOO_THREADS", "2")),
        "command": options.command,
        **versions(),
    }
    text = markdown(rows, by_length, about)
    if options.json:
        found = {"about": about, "models": [dataclasses.asdict(r) | {"ratio": r.ratio} for r in rows]}
        options.json.write_text(json.dumps(found | {"bert_by_length": by_length}, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(text)
    return int(any(row.error for row in rows))


if __name__ == "__main__":
    sys.exit(main())
