"""Exports models of the zoo to ONNX, with the outputs of torch beside them.

python -m zoo.export FOLDER [--exporter dynamo|torchscript|default|all] [NAMES]
"""

import argparse
import json
import sys
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from zoo.models import DYNAMO, TORCHSCRIPT, ZOO, Entry, Inputs, built, example

DYNAMO_OPSET = 18
TORCHSCRIPT_OPSET = 17


def export(model: nn.Module, inputs: Inputs, entry: Entry, exporter: str, path: Path) -> None:
    """Writes `model` to `path` in one file."""
    if exporter == DYNAMO:
        shapes = tuple(entry.dynamic.get(name) for name in entry.names)
        torch.onnx.export(
            model, inputs, str(path), dynamo=True, opset_version=DYNAMO_OPSET, external_data=False,
            input_names=list(entry.names), output_names=list(entry.outputs),
            dynamic_shapes=shapes if entry.dynamic else None, verbose=False,
        )  # fmt: skip
    else:
        torch.onnx.export(
            model, inputs, str(path), dynamo=False, opset_version=TORCHSCRIPT_OPSET,
            input_names=list(entry.names), output_names=list(entry.outputs), dynamic_axes=entry.dynamic,
        )  # fmt: skip


def as_tuple(made: object) -> tuple[torch.Tensor, ...]:
    """Outputs of a model as a tuple."""
    return made if isinstance(made, tuple) else (made,)  # type: ignore[return-value]


def export_entry(name: str, exporter: str, folder: Path) -> None:
    """Writes `NAME.EXPORTER.onnx` and `NAME.npz` with inputs and outputs."""
    entry = ZOO[name]
    model, inputs = built(name), example(name)
    with torch.no_grad():
        made = as_tuple(model(*inputs))
    arrays = {f"in_{n}": t.numpy() for n, t in zip(entry.names, inputs, strict=True)}
    arrays |= {f"out_{n}": t.numpy() for n, t in zip(entry.outputs, made, strict=True)}
    np.savez(folder / f"{name}.npz", **arrays)
    path = folder / f"{name}.{exporter}.onnx"
    part = path.with_suffix(".part")
    export(model, inputs, entry, exporter, part)
    part.rename(path)


def main() -> int:
    """Exports what is asked for; the exit status is 1 when a default export failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--exporter", choices=[DYNAMO, TORCHSCRIPT, "default", "all"], default="default")
    parser.add_argument("--again", action="store_true", help="replace exports that are there")
    options = parser.parse_intermixed_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    order = {name: entry.exporters for name, entry in ZOO.items()}
    (options.folder / "order.json").write_text(json.dumps(order))
    status = 0
    for name in options.names or ZOO:
        exporters = ZOO[name].exporters
        if options.exporter == "default":
            exporters = exporters[:1]
        elif options.exporter != "all":
            exporters = tuple(e for e in exporters if e == options.exporter)
        for exporter in exporters:
            if (options.folder / f"{name}.{exporter}.onnx").is_file() and not options.again:
                continue
            start = time.perf_counter()
            record = {"name": name, "exporter": exporter, "error": None}
            try:
                export_entry(name, exporter, options.folder)
            except Exception as error:  # noqa: BLE001 - exporters raise anything
                record["error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
                traceback.print_exc(file=sys.stderr)
                status |= exporter == ZOO[name].exporters[0]
            record["seconds"] = round(time.perf_counter() - start, 1)
            print(json.dumps(record), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
