"""Kernels beside ONNX Runtime: `python benches/kernels.py [FILTER ...]`.

Build first: `cargo bench -p lampyr-cpu --bench kernels --no-run`.

Needs numpy, onnx and onnxruntime. Each shape becomes a model of one node. Rounds of both engines alternate; the least
time of all rounds counts. Prints a Markdown table.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def session(shape, threads):
    node = dict(shape["node"])
    op = node.pop("op")
    transposed = node.pop("transposed", False)
    names = [f"i{k}" for k in range(len(shape["inputs"]))]
    inputs, constants, feed, nodes = [], [], {}, []
    for k, (name, sizes) in enumerate(zip(names, shape["inputs"], strict=True)):
        sizes = list(sizes)
        if transposed and k == 1:
            sizes[-1], sizes[-2] = sizes[-2], sizes[-1]
        value = ((np.arange(np.prod(sizes), dtype=np.int64) * 37 % 61) / 61 - 0.5).astype(np.float32).reshape(sizes)
        if shape["constant"][k]:
            constants.append(numpy_helper.from_array(value, name))
        else:
            inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes))
            feed[name] = value
        if transposed and k == 1:
            order = list(range(len(sizes)))
            order[-1], order[-2] = order[-2], order[-1]
            nodes.append(helper.make_node("Transpose", [name], ["t"], perm=order))
            names[k] = "t"
    nodes.append(helper.make_node(op, names, ["y"], **node))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    made = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    bound = made.io_binding()
    for name, value in feed.items():
        bound.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
    first = made.run(None, feed)[0]
    bound.bind_ortvalue_output("y", onnxruntime.OrtValue.ortvalue_from_numpy(first))
    return made, bound


def least(made, bound, budget):
    best, start, runs = float("inf"), time.perf_counter(), 0
    while runs < 5 or time.perf_counter() - start < budget:
        begin = time.perf_counter()
        made.run_with_iobinding(bound)
        best = min(best, time.perf_counter() - begin)
        runs += 1
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("filters", nargs="*")
    parser.add_argument("--bench", help="the benchmark's executable; by default the newest one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak", type=float, default=248.0, help="GFLOP/s of one core")
    arguments = parser.parse_args()
    bench = arguments.bench
    if bench is None:
        found = [p for p in Path("target/release/deps").glob("kernels-*") if not p.suffix]
        bench = str(max(found, key=lambda p: p.stat().st_mtime))
    rows = {}
    for _ in range(arguments.rounds):
        lines = subprocess.run(
            [bench, "--ms=40", *arguments.filters], check=True, capture_output=True, text=True
        ).stdout.splitlines()
        for shape in map(json.loads, lines):
            row = rows.setdefault(shape["name"], {"one": 1e9, "all": 1e9, "ort": 1e9, "flops": shape["flops"]})
            row["one"] = min(row["one"], shape["one"])
            row["all"] = min(row["all"], shape["all"])
            row.setdefault("session", session(shape, arguments.threads))
            row["ort"] = min(row["ort"], least(*row["session"], 0.04))
    print("| shape | 1 thread us | us | ONNX Runtime us | ratio | GFLOP/s | % of peak |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, row in rows.items():
        rate = row["flops"] / row["all"] / 1e9
        percent = 100 * rate / (arguments.peak * arguments.threads)
        print(
            f"| {name} | {row['one'] * 1e6:.1f} | {row['all'] * 1e6:.1f} | {row['ort'] * 1e6:.1f} "
            f"| {row['all'] / row['ort']:.2f} | {rate:.0f} | {percent:.0f} |"
        )


if __name__ == "__main__":
    main()
