"""The engines that run exported models, behind one face: `load`, `run`, `names`.

Each imports its library only when it is loaded. All compute in float32; the number of threads is `THREADS`.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

THREADS = int(os.environ.get("ZOO_THREADS", "2"))

Arrays = dict[str, np.ndarray]
"""Sizes of inputs by name, where they are to be fixed when a model is loaded."""
Shapes = dict[str, list[int]]
"""Values of symbolic dimensions by name."""
Dims = dict[str, int]


class OnnxRuntime:
    """ONNX Runtime with its defaults but the number of threads."""

    MODULE = "onnxruntime"

    def load(self, path: str, shapes: Shapes, dims: Dims) -> None:
        """Opens a session."""
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.inter_op_num_threads = 1
        for name, size in dims.items():
            options.add_free_dimension_override_by_name(name, size)
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

    MODULE = "lampyr"

    def load(self, path: str, shapes: Shapes, dims: Dims) -> None:
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


class OpenVino:
    """OpenVINO's CPU device in float32, one stream; with the sizes of the inputs where they are given."""

    MODULE = "openvino"

    def load(self, path: str, shapes: Shapes, dims: Dims) -> None:
        """Reads, compiles and makes a request."""
        import openvino

        core = openvino.Core()
        model = core.read_model(path)
        known = {name: shape for port in model.inputs for name, shape in shapes.items() if name in port.names}
        if known:
            model.reshape(known)
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": THREADS,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = core.compile_model(model, "CPU", settings)
        self.request = compiled.create_infer_request()
        # A port may have further names, of values that the compiler has merged with it.
        self.inputs = [port.names for port in compiled.inputs]
        self.outputs = list(compiled.outputs)
        self.names = [next(iter(port.names), "") for port in self.outputs]

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        """One inference; the outputs are views that the next one overwrites."""
        given = {i: inputs[next(n for n in names if n in inputs)] for i, names in enumerate(self.inputs)}
        made = self.request.infer(given, share_inputs=True, share_outputs=True)
        return [made[port] for port in self.outputs]


class Torch:
    """The torch model that an export was made of, run eagerly without gradients."""

    MODULE = "torch"

    def load(self, path: str, shapes: Shapes, dims: Dims) -> None:
        """Builds the model; its weights are seeded, so they are those of the export."""
        import torch

        from zoo.models import ZOO, built

        torch.set_num_threads(THREADS)
        name = Path(path).name.split(".")[0]
        self.model = built(name)
        self.names = list(ZOO[name].outputs)

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        """One inference."""
        import torch

        with torch.inference_mode():
            made = self.model(*(torch.from_numpy(array) for array in inputs.values()))
        return [t.numpy() for t in (made if isinstance(made, tuple) else (made,))]


def number_called(name: str, tree: Any) -> int | None:
    """The first number of that name in a tree of JSON."""
    if isinstance(tree, dict) and isinstance(tree.get(name), int):
        return tree[name]
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return next((found for part in inner if (found := number_called(name, part)) is not None), None)


ENGINES: dict[str, type] = {engine.MODULE: engine for engine in (Lampyr, Torch, OnnxRuntime, OpenVino)}
