"""Writes small ONNX models with their inputs and the outputs of onnxruntime beside them.

Needs the packages `onnx` and `onnxruntime`; run it in this folder: `python make.py`.

`NAME.onnx` is a model, `NAME.json` holds `{"inputs": [[tensor, ...], ...], "outputs": [[tensor, ...], ...]}`, one list
per run. A tensor is `{"dtype": "float32", "shape": [2, 3], "values": [...]}`; a sequence is a list of tensors.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
F, INT, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def ints(name, values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def floats(name, values):
    return numpy_helper.from_array(np.array(values, np.float32), name)


def reference(name, of):
    """A float attribute that takes its value from the attribute `of` of the function."""
    attribute = helper.make_attribute_ref(name, onnx.AttributeProto.FLOAT)
    attribute.ref_attr_name = of
    return attribute


def flag(name, truth):
    return numpy_helper.from_array(np.array(truth), name)


def describe(x):
    if isinstance(x, list):
        return [describe(item) for item in x]
    x = np.asarray(x)
    return {"dtype": str(x.dtype), "shape": list(x.shape), "values": x.ravel().tolist()}


def save(name, graph, runs, functions=(), opset=18, imports=()):
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in imports)]
    model = helper.make_model(graph, opset_imports=opsets, functions=list(functions), producer_name="make.py")
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, HERE / f"{name}.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    outputs = [session.run(None, dict(zip(names, run, strict=True))) for run in runs]
    data = {
        "inputs": [[describe(x) for x in run] for run in runs],
        "outputs": [[describe(x) for x in o] for o in outputs],
    }
    (HERE / f"{name}.json").write_text(json.dumps(data) + "\n")


def x(*shape):
    return (np.arange(np.prod(shape), dtype=np.float32).reshape(shape) * 0.37 - 1.5).astype(np.float32)


def branches():
    """If whose branches read values and weights of the graph around them, one of them through another If."""
    inner_then = helper.make_graph(
        [helper.make_node("Add", ["doubled", "weight"], ["inner_a"])], "inner_then", [], [value("inner_a", F, ["n", 3])]
    )
    inner_else = helper.make_graph(
        [helper.make_node("Sub", ["doubled", "x"], ["inner_b"])], "inner_else", [], [value("inner_b", F, ["n", 3])]
    )
    then = helper.make_graph(
        [helper.make_node("If", ["inner_flag"], ["then_out"], then_branch=inner_then, else_branch=inner_else)],
        "then",
        [],
        [value("then_out", F, ["n", 3])],
    )
    other = helper.make_graph(
        [helper.make_node("Mul", ["x", "local"], ["else_out"])],
        "else",
        [],
        [value("else_out", F, ["n", 3])],
        initializer=[floats("local", [[1, 2, 3]])],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "x"], ["doubled"]),
            helper.make_node("If", ["flag"], ["y"], name="choice", then_branch=then, else_branch=other),
        ],
        "branches",
        [value("x", F, ["n", 3]), value("flag", B, []), value("inner_flag", B, [])],
        [value("y", F, ["n", 3])],
        initializer=[floats("weight", [10, 20, 30])],
    )
    flags = [(a, b) for a in (True, False) for b in (True, False)]
    save("if", graph, [[x(2, 3), np.array(a), np.array(b)] for a, b in flags])


def constant_branch():
    """If whose condition is known: only one branch counts, the other one may have another shape."""
    then = helper.make_graph([helper.make_node("Identity", ["x"], ["a"])], "then", [], [value("a", F, ["n", 3])])
    other = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["b"], keepdims=0)], "else", [], [value("b", F, [])]
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=other)],
        "constant_branch",
        [value("x", F, ["n", 3])],
        [value("y", F, ["n", 3])],
        initializer=[flag("flag", True)],
    )
    save("if_constant", graph, [[x(2, 3)]])


def loops():
    """Loop with a trip count, a carried value, a captured weight and a scan result."""
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["state", "weight"], ["scaled"]),
            helper.make_node("Cast", ["i"], ["fi"], to=F),
            helper.make_node("Add", ["scaled", "fi"], ["next"]),
            helper.make_node("Identity", ["go"], ["go_out"]),
            helper.make_node("ReduceSum", ["next"], ["total"], keepdims=0),
        ],
        "body",
        [value("i", INT, []), value("go", B, []), value("state", F, [3])],
        [value("go_out", B, []), value("next", F, [3]), value("total", F, [])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["trip", "", "start"], ["end", "totals"], body=body)],
        "loops",
        [value("trip", INT, []), value("start", F, [3])],
        [value("end", F, [3]), value("totals", F, ["trips"])],
        initializer=[floats("weight", [0.5, 1.5, -1])],
    )
    save("loop", graph, [[np.array(n, np.int64), x(3)] for n in (4, 1, 0)])


def while_loop():
    """Loop that runs until its own condition fails."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["state", "state"], ["next"]),
            helper.make_node("Less", ["next", "limit"], ["go_out"]),
        ],
        "body",
        [value("i", INT, []), value("go", B, []), value("state", F, [])],
        [value("go_out", B, []), value("next", F, [])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "go", "start"], ["end"], body=body)],
        "while_loop",
        [value("start", F, []), value("limit", F, []), value("go", B, [])],
        [value("end", F, [])],
    )
    runs = [(1, 100, True), (3, 1, True), (3, 100, False)]
    save(
        "while", graph, [[np.array(s, np.float32), np.array(limit, np.float32), np.array(go)] for s, limit, go in runs]
    )


def sequences():
    """A sequence that is made, extended and read."""
    graph = helper.make_graph(
        [
            helper.make_node("SequenceConstruct", ["a", "b"], ["two"]),
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("SequenceInsert", ["two", "sum", "first"], ["three"]),
            helper.make_node("SequenceAt", ["three", "first"], ["front"]),
            helper.make_node("SequenceAt", ["three", "last"], ["back"]),
            helper.make_node("SequenceLength", ["three"], ["count"]),
        ],
        "sequences",
        [value("a", F, [2, 3]), value("b", F, [2, 3])],
        [value("front", F, [2, 3]), value("back", F, [2, 3]), value("count", INT, [])],
        initializer=[ints("first", 0), ints("last", -1)],
    )
    save("sequence", graph, [[x(2, 3), -x(2, 3)]])


def collected():
    """A sequence that grows in a loop."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["x", "state"], ["next"]),
            helper.make_node("SequenceInsert", ["items", "next"], ["more"]),
            helper.make_node("Identity", ["go"], ["go_out"]),
        ],
        "body",
        [
            value("i", INT, []),
            value("go", B, []),
            value("state", F, [2]),
            helper.make_tensor_sequence_value_info("items", F, None),
        ],
        [value("go_out", B, []), value("next", F, [2]), helper.make_tensor_sequence_value_info("more", F, None)],
    )
    graph = helper.make_graph(
        [
            helper.make_node("SequenceEmpty", [], ["none"], dtype=F),
            helper.make_node("Loop", ["trip", "", "x", "none"], ["end", "items_out"], body=body),
            helper.make_node("SequenceLength", ["items_out"], ["count"]),
            helper.make_node("SequenceAt", ["items_out", "last"], ["back"]),
        ],
        "collected",
        [value("x", F, [2]), value("trip", INT, [])],
        [value("end", F, [2]), value("count", INT, []), value("back", F, [2])],
        initializer=[ints("last", -1)],
    )
    save("sequence_loop", graph, [[x(2), np.array(n, np.int64)] for n in (3, 1)])


def functions():
    """Functions of the model: one calls the other, with an attribute handed on, and an input left out."""
    space = "local.test"
    scale = helper.make_function(
        space,
        "Scaled",
        ["a"],
        ["out"],
        [helper.make_node("Constant", [], ["factor"]), helper.make_node("Mul", ["a", "factor"], ["out"])],
        [helper.make_opsetid("", 18)],
        attributes=["factor"],
    )
    scale.node[0].attribute.append(reference("value_float", "factor"))
    shift = helper.make_function(
        space,
        "Shifted",
        ["a", "b"],
        ["out"],
        [
            helper.make_node("Scaled", ["a"], ["scaled"], domain=space),
            helper.make_node("Add", ["scaled", "b"], ["out"]),
        ],
        [helper.make_opsetid("", 18), helper.make_opsetid(space, 1)],
        attribute_protos=[helper.make_attribute("by", 2.0)],
    )
    shift.node[0].attribute.append(reference("factor", "by"))
    graph = helper.make_graph(
        [
            helper.make_node("Shifted", ["x", "x"], ["tripled"], domain=space, name="first"),
            helper.make_node("Shifted", ["tripled", "x"], ["y"], domain=space, by=-0.5, name="second"),
        ],
        "functions",
        [value("x", F, ["n"])],
        [value("y", F, ["n"])],
    )
    save("functions", graph, [[x(4)]], functions=[scale, shift], imports=[(space, 1)])


def typed():
    """Initializers in typed fields, an initializer that is an input too, unsorted nodes, and an output left out."""
    weight = helper.make_tensor("weight", F, [3], [1.0, 2.0, 3.0])
    half = helper.make_tensor("half", TensorProto.FLOAT16, [3], [0.5, 1.5, 2.5])
    shape = helper.make_tensor("shape", INT, [2], [-1, 3])
    graph = helper.make_graph(
        [
            helper.make_node("MaxPool", ["x"], ["pooled", ""], kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
            helper.make_node("Reshape", ["pooled", "shape"], ["rows"]),
            helper.make_node("Cast", ["half"], ["wide"], to=F),
            helper.make_node("Mul", ["rows", "weight"], ["weighted"]),
            helper.make_node("Add", ["weighted", "wide"], ["y"]),
        ],
        "typed",
        [value("x", F, ["n", 1, 4, "w"]), value("weight", F, [3])],
        [value("y", F, ["rows", 3])],
        initializer=[weight, half, shape],
    )
    onnx.checker.check_graph(graph)
    save("typed", graph, [[x(2, 1, 4, 3)]])
    model = onnx.load(HERE / "typed.onnx")
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    onnx.save(model, HERE / "typed.onnx")


def convolutions():
    """Convolution and its transpose with automatic padding over open sizes."""
    weights = [floats("w", x(4, 1, 3, 3) * 0.1), floats("b", [0.1, -0.2, 0.3, -0.4]), floats("t", x(4, 2, 3, 3) * 0.1)]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], auto_pad="SAME_LOWER", strides=[2, 2]),
            helper.make_node(
                "ConvTranspose", ["c", "t"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 0]
            ),
            helper.make_node("ConvTranspose", ["c", "t"], ["z"], strides=[2, 2], auto_pad="SAME_UPPER"),
        ],
        "convolutions",
        [value("x", F, ["n", 1, "h", "w"])],
        [value(name, F, [None, None, None, None]) for name in "cyz"],
        initializer=weights,
    )
    save("conv", graph, [[x(1, 1, 5, 6)], [x(2, 1, 4, 7)]])


def external():
    """Weights in a file beside the model."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])],
        "external",
        [value("x", F, ["n", 3])],
        [value("y", F, ["n", 2])],
        initializer=[floats("w", x(3, 2)), floats("b", [0.25, -0.25])],
    )
    save("external", graph, [[x(2, 3)]])
    model = onnx.load(HERE / "external.onnx")
    (HERE / "external.bin").unlink(missing_ok=True)
    onnx.save_model(
        model, HERE / "external.onnx", save_as_external_data=True, location="external.bin", size_threshold=0
    )


for make in (
    branches,
    constant_branch,
    loops,
    while_loop,
    sequences,
    collected,
    functions,
    typed,
    convolutions,
    external,
):
    make()
