"""Writes the tiny models of conformance/zoo: `NAME.onnx`, and `NAME.safetensors` with inputs and outputs of torch.

python -m zoo.small FOLDER [NAMES]

Keys are `TRIAL.in.NAME` and `TRIAL.out.NAME`. Inputs are integers: the numbers of a float input times 16. Of a large
output every `step`-th element is stored, flat; the metadata has `shape` and `step` of each output.
"""

import argparse
import json
import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from zoo.export import as_tuple, export
from zoo.models import ZOO, built, example

KEPT = 160
TOTAL = 1_000_000
STEP = 16
CODES = {
    "int8": "I8",
    "float16": "F16",
    "float32": "F32",
    "uint8": "U8",
    "int32": "I32",
    "int64": "I64",
    "bool": "BOOL",
}


def strip(model: onnx.ModelProto) -> None:
    """Drops texts and inferred shapes and gives inner values short names."""
    kept = {v.name for v in [*model.graph.input, *model.graph.output]}
    short: dict[str, str] = {"": ""}

    def rename(name: str) -> str:
        if name in kept:
            return name
        return short.setdefault(name, f"v{len(short)}")

    def strip_graph(graph: onnx.GraphProto, inner: bool) -> None:
        del graph.value_info[:]
        del graph.metadata_props[:]
        graph.doc_string = ""
        for value in [*graph.input, *graph.output]:
            value.doc_string = ""
            del value.metadata_props[:]
            if inner:
                value.name = rename(value.name)
        for tensor in graph.initializer:
            tensor.name = rename(tensor.name)
            tensor.doc_string = ""
        for node in graph.node:
            node.name = ""
            node.doc_string = ""
            del node.metadata_props[:]
            node.input[:] = [rename(i) for i in node.input]
            node.output[:] = [rename(o) for o in node.output]
            for attribute in node.attribute:
                attribute.doc_string = ""
                for body in [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs:
                    strip_graph(body, True)

    model.doc_string = ""
    del model.metadata_props[:]
    strip_graph(model.graph, False)


def smallest(array: np.ndarray) -> np.ndarray:
    """Whole numbers in the smallest type that holds them."""
    for dtype in (np.uint8, np.int32) if array.dtype == np.int64 else ():
        if np.array_equal(array.astype(dtype), array):
            return array.astype(dtype)
    return array


def whole(array: np.ndarray) -> np.ndarray:
    """Inputs as they are stored: numbers that are no integers times `STEP`."""
    if array.dtype.kind != "f":
        return smallest(array)
    steps = (array * STEP).astype(np.int8)
    if not np.array_equal(steps.astype(array.dtype) / STEP, array):
        raise SystemExit("an input is no small multiple of 1 / STEP")
    return steps


def save(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes a safetensors file."""
    header: dict[str, object] = {"__metadata__": metadata}
    data = b""
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": CODES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write(name: str, folder: Path) -> int:
    """Writes one model and its trials; returns the bytes written. ONNX Runtime must agree with torch."""
    entry = ZOO[name]
    model = built(name, small=True)
    raw = folder / f"{name}.onnx"
    export(model, example(name, small=True), entry, entry.exporters[0], raw)
    proto = onnx.load(raw)
    strip(proto)
    raw.write_bytes(proto.SerializeToString())
    session = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
    arrays: dict[str, np.ndarray] = {}
    metadata: dict[str, str] = {}
    for trial, sizes in enumerate(({}, *entry.small_trials)):
        inputs = example(name, small=True, sizes=sizes)
        with torch.no_grad():
            made = [t.numpy() for t in as_tuple(model(*inputs))]
        feeds = {n: t.numpy() for n, t in zip(entry.names, inputs, strict=True)}
        peer = session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()})
        for output, a, b in zip(entry.outputs, made, peer, strict=True):
            error = np.abs(a - b).max() / np.abs(a).max() if a.size else 0.0
            if a.shape != b.shape or not error < 1e-4:
                raise SystemExit(f"{name} {sizes} {output}: ONNX Runtime differs from torch ({a.shape} {error:.1e})")
        for n, array in feeds.items():
            arrays[f"{trial}.in.{n}"] = whole(array)
        for n, array in zip(entry.outputs, made, strict=True):
            step = max(1, array.size // KEPT) | 1
            key = f"{trial}.out.{n}"
            arrays[key] = array.reshape(-1)[::step] if array.dtype.kind == "f" else smallest(array.reshape(-1)[::step])
            metadata[key] = json.dumps({"shape": array.shape, "step": step}, separators=(",", ":"))
    held = raw.with_suffix(".safetensors")
    save(held, arrays, metadata)
    return raw.stat().st_size + held.stat().st_size


def main() -> int:
    """Writes what is asked for and prints the sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.names or ZOO:
        print(f"{name:20} {write(name, options.folder):8}", flush=True)
    total = sum(f.stat().st_size for f in options.folder.iterdir() if f.suffix in (".onnx", ".safetensors"))
    print(f"{'total':20} {total:8}")
    return int(total > TOTAL)


if __name__ == "__main__":
    sys.exit(main())
