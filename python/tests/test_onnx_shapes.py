"""Shapes that Lampyr infers, beside those of `onnx.shape_inference`, on the small models of the zoo."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import onnx
import pytest
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parents[2]
MODELS = sorted((ROOT / "conformance" / "zoo").glob("*.onnx"))


@pytest.fixture(scope="module")
def shapes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("zoo_shapes", ROOT / "zoo" / "shapes.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_models() -> None:
    assert len(MODELS) >= 25


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_shapes_are_as_sharp_as_those_of_onnx(path: Path, shapes: ModuleType) -> None:
    found = shapes.compare(onnx.load(path))
    assert found.compared > 0
    assert not found.worse, "\n".join(found.worse)


def test_what_is_less_sharp_is_found(shapes: ModuleType) -> None:
    assert shapes.judge([2, "n"], [2, "n"]) == 0
    assert shapes.judge([2, "n"], [2, 3]) == 1
    assert shapes.judge([2, None], [2, "n"]) == 1
    assert shapes.judge(None, [2]) == 1
    assert shapes.judge([2, "n"], [2, "m"]) == -1
    assert shapes.judge([2], ["n"]) == -1
    assert shapes.judge([2], [3]) == -1
    assert shapes.judge([2], [2, 1]) == -1


def test_a_size_that_lampyr_computes_is_sharper(shapes: ModuleType) -> None:
    nodes = [helper.make_node("Concat", ["x", "y"], ["z"], axis=0), helper.make_node("Relu", ["z"], ["r"])]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, 3]) for name, size in (("x", "n"), ("y", "m"))
    ]
    output = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, [output]))
    found = shapes.compare(model)
    assert (found.compared, found.sharper, found.worse) == (2, 2, [])
