"""Measures Lampyr beside torch, ONNX Runtime and OpenVINO and writes the tables.

python -m benches.peers FOLDER_OF_EXPORTS [--models KEYS] [--rounds N] [--threads N] [--only models|packages|growth]
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from benches.peers import packages, report, scaling
from benches.peers.cases import CASES, SCALED, Case, chosen
from benches.peers.rounds import NAMES, Measured, measure
from zoo.process import exports, number, processor

PARTS = ("models", "packages", "growth")


def versions() -> dict[str, str]:
    """Versions of what is measured."""
    found = {}
    for name in NAMES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def path_in(folder: Path, model: str) -> Path:
    """The default export of a model of the zoo."""
    found = exports(folder, [model], every=False)
    if not found:
        raise FileNotFoundError(f"{model} was not exported")
    return found[0]


def models(options: argparse.Namespace, cases: list[Case]) -> Iterator[dict[str, Any]]:
    """The rows of the models; a model that fails has a row that says why."""
    for case in cases:
        try:
            path = path_in(options.folder, case.model)
            found = measure(case.model, path, case.sizes, options.rounds, options.threads, options.starts)
        except Exception as problem:  # noqa: BLE001 - one row must not end the table
            found = {name: Measured(problem=f"{type(problem).__name__}: {problem}") for name in NAMES}
        row = report.row(case.key, case.title, found)
        times = "  ".join(f"{name} {report.ms(one.least)}" for name, one in found.items())
        print(f"{case.title:24} {times}  ratio {number(row['ratio_least'])}  {report.remark(row)}", flush=True)
        yield row


def export(folder: Path, names: list[str]) -> None:
    """Exports models that are not there yet; one that cannot be exported has a row that says so."""
    subprocess.run([sys.executable, "-m", "zoo.export", str(folder), *dict.fromkeys(names)], check=False)


def write(options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Writes the files that were asked for; called after every row, so that a long run loses nothing."""
    order = [case.key for case in CASES]
    found["models"].sort(key=lambda row: order.index(row["key"]))
    found["summary"] = report.summary(found["models"])
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(report.markdown(found))
    if options.svg:
        options.svg.write_text(report.chart(found["models"]))


def main() -> int:
    """Measures; the exit status is 1 when an output of Lampyr's is wrong or it does not run a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", default="", help="keys of the models, with commas between; all without this")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--starts", type=int, default=3, help="new processes for the first inference")
    parser.add_argument("--only", choices=PARTS, help="measure one part")
    parser.add_argument("--update", action="store_true", help="keep what the JSON file has and is not measured again")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--command", default="cargo xtask peers")
    options = parser.parse_args()
    keys = [key for key in options.models.split(",") if key]
    parts = (options.only,) if options.only else ("models",) if keys else PARTS
    cases = chosen(keys) if "models" in parts else []
    scaled = [*SCALED["threads"], *(SCALED[k] for k in ("batch", "sequence", "sessions"))] if "growth" in parts else []
    export(options.folder, [case.model for case in cases] + scaled)
    kept = json.loads(options.json.read_text()) if options.update and options.json and options.json.is_file() else {}
    about = {
        "date": datetime.date.today().isoformat(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "rounds": options.rounds,
        "command": options.command,
        "versions": versions(),
    }
    if kept and "models" not in parts:
        about = kept["about"]
    found: dict[str, Any] = kept | {"about": about, "models": list(kept.get("models", []))}
    measured = []
    for row in models(options, cases):
        measured.append(row)
        found["models"] = [r for r in found["models"] if r["key"] != row["key"]] + [row]
        write(options, found)
    if "packages" in parts:
        found["packages"] = packages.everything()
        write(options, found)
    if "growth" in parts:
        rounds = max(3, options.rounds // 2)
        found["growth"] = scaling.everything(lambda model: path_in(options.folder, model), rounds, options.threads)
    write(options, found)
    print(report.markdown(found))
    return int(any(row["engines"]["lampyr"]["problem"] for row in measured))


if __name__ == "__main__":
    sys.exit(main())
