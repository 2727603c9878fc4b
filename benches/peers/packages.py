"""What the engines cost before any model: import time and installed size."""

import os
import re
import statistics
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path

MODULES = {"lampyr": "lampyr", "torch": "torch", "onnxruntime": "onnxruntime", "openvino": "openvino"}
REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(.*)$")


def import_seconds(module: str, rounds: int = 7) -> dict[str, float]:
    """Seconds of importing a module in a new interpreter: least and median."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    # Compiled files are kept, as an installed package has them; the first run may write them.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times = []
    for _ in range(rounds + 1):
        made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=variables)
        times.append(float(made.stdout))
    return {"least": min(times[1:]), "median": statistics.median(times[1:])}


def installed(module: str) -> dict[str, int]:
    """Bytes of a package and of it with all that it requires."""
    alone = size(module)
    if alone is None:
        # A package that lies on the path without having been installed.
        found = util.find_spec(module)
        folder = Path(found.origin).parent if found and found.origin else None
        alone = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) if folder else 0
    return {"alone": alone, "whole": alone + sum(size(name) or 0 for name in required(module) - {module})}


def size(name: str) -> int | None:
    """Bytes of an installed distribution."""
    try:
        files = metadata.files(name)
    except metadata.PackageNotFoundError:
        return None
    places = (Path(str(f.locate())) for f in files or ())
    return sum(place.stat().st_size for place in places if place.is_file())


def required(name: str) -> set[str]:
    """Names of the distributions that one needs, itself included, extras left out."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop().lower().replace("_", "-")
        if one in seen:
            continue
        seen.add(one)
        try:
            needs = metadata.requires(one) or []
        except metadata.PackageNotFoundError:
            continue
        for need in needs:
            found = REQUIREMENT.match(need)
            if found and "extra ==" not in found[2]:
                waiting.append(found[1])
    return seen


def everything() -> dict[str, dict[str, float | int | str]]:
    """Import time and size of every engine, by name; a reason where one is absent."""
    table: dict[str, dict[str, float | int | str]] = {}
    for name, module in MODULES.items():
        try:
            times = import_seconds(module)
            table[name] = {"import": times["least"], "import_median": times["median"], **installed(module)}
        except (subprocess.CalledProcessError, metadata.PackageNotFoundError) as problem:
            table[name] = {"problem": str(problem)}
    return table
