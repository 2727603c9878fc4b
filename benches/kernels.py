"""Kernels beside ONNX Runtime, or products beside torch: `python benches/kernels.py [FILTER ...]`.

Build first: `cargo bench -p lampyr-cpu --bench kernels --no-run`.

Needs numpy, onnx and onnxruntime; with `--torch`, which compares the shapes whose names begin with `mm`, torch. Beside
ONNX Runtime each shape is a model of one node. Rounds of both engines alternate; the least time of all rounds counts.
Prints a Markdown table.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path

import numpy as np


def session(shape, threads):
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

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
    return lambda: made.run_with_iobinding(bound)


def product(shape, threads):
    import torch

    torch.set_grad_enabled(False)
    torch.set_num_threads(threads)
    (m, k), n = shape["inputs"][0], shape["inputs"][1][-1]
    a = torch.rand(m, k)
    b = torch.rand(n, k).t() if shape["node"]["transposed"] else torch.rand(k, n)
    c = torch.empty(m, n)
    return lambda: torch.mm(a, b, out=c)


def least(call, budget):
    best, start, runs = float("inf"), time.perf_counter(), 0
    while runs < 5 or time.perf_counter() - start < budget:
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
        runs += 1
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("filters", nargs="*")
    parser.add_argument("--bench", help="the benchmark's executable; by default the newest one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--torch", action="store_true", help="products beside torch")
    arguments = parser.parse_args()
    bench = arguments.bench
    if bench is None:
        found = [p for p in Path("target/release/deps").glob("kernels-*") if not p.suffix]
        bench = str(max(found, key=lambda p: p.stat().st_mtime))
    if arguments.torch and not arguments.filters:
        arguments.filters = ["mm "]
    peer = "torch" if arguments.torch else "ONNX Runtime"
    rows, peak = {}, 0.0
    for _ in range(arguments.rounds):
        lines = subprocess.run(
            [bench, "--ms=40", *arguments.filters], check=True, capture_output=True, text=True
        ).stdout.splitlines()
        for shape in map(json.loads, lines):
            if "peak" in shape:
                peak = max(peak, shape["peak"])
                continue
            row = rows.setdefault(shape["name"], {"one": 1e9, "all": 1e9, "peer": 1e9, "flops": shape["flops"]})
            row["one"] = min(row["one"], shape["one"])
            row["all"] = min(row["all"], shape["all"])
            if "call" not in row:
                row["call"] = (product if arguments.torch else session)(shape, arguments.threads)
            row["peer"] = min(row["peer"], least(row["call"], 0.04))
    print(f"The inner kernel alone reaches {peak:.0f} GFLOP/s on one core, 100 % below.\n")
    print(f"| shape | us | {peer} us | {peer} / Lampyr | GFLOP/s | % of peak |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, row in rows.items():
        own = row["one"] if arguments.threads == 1 else row["all"]
        rate = row["flops"] / own / 1e9
        percent = 100 * rate / (peak * arguments.threads)
        print(
            f"| {name} | {own * 1e6:.1f} | {row['peer'] * 1e6:.1f} | {row['peer'] / own:.2f} "
            f"| {rate:.0f} | {percent:.0f} |"
        )


if __name__ == "__main__":
    main()
