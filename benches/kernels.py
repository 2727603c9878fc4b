"""Kernels beside ONNX Runtime, or products and attention beside torch: `python benches/kernels.py [FILTER ...]`.

Build first: `cargo bench -p lampyr-cpu --bench kernels --no-run`.

Needs numpy, onnx and onnxruntime; with `--torch`, which compares products (`mm`) and attention, torch. Beside ONNX
Runtime each shape is a model of one node. Rounds of both engines alternate; the least time of all rounds counts.

Prints a Markdown table with a row per shape and number of threads: times in microseconds, the ratio (above 1: Lampyr is
faster), the rate, and its share of what the inner kernel alone reaches on as many cores.
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
    opset = 23 if op == "Attention" else 18
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
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    made = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    bound = made.io_binding()
    for name, value in feed.items():
        bound.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
    first = made.run(None, feed)[0]
    bound.bind_ortvalue_output("y", onnxruntime.OrtValue.ortvalue_from_numpy(first))
    return lambda: made.run_with_iobinding(bound)


def torch_call(shape, threads):
    import torch

    torch.set_grad_enabled(False)
    torch.set_num_threads(threads)
    sizes, node = shape["inputs"], shape["node"]
    if node["op"] == "Attention":
        q, k, v = (torch.rand(s) for s in sizes)
        causal = bool(node["is_causal"])
        return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    a, other = torch.rand(sizes[0]), list(sizes[1])
    if node["transposed"]:
        other[-1], other[-2] = other[-2], other[-1]
    b = torch.rand(other)
    b = b.transpose(-1, -2) if node["transposed"] else b
    c = torch.empty(*sizes[0][:-1], sizes[1][-1])
    return lambda: torch.matmul(a, b, out=c)


def least(call, budget):
    best, start, runs = float("inf"), time.perf_counter(), 0
    while runs < 3 or time.perf_counter() - start < budget:
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
        runs += 1
    return best


def measure(bench, filters, make, threads, rounds, milliseconds):
    """Least seconds of Lampyr and of the peer per shape, and operations per second of the inner kernel."""
    rows, calls, peak = {}, {}, 0.0
    for _ in range(rounds):
        command = [bench, f"--ms={milliseconds}", f"--threads={threads}", *filters]
        for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
            shape = json.loads(line)
            if "peak" in shape:
                peak = max(peak, shape["peak"])
                continue
            name = shape["name"]
            if name not in calls:
                calls[name] = make(shape, threads)
            own, peer, _ = rows.get(name, (float("inf"), float("inf"), 0))
            peer = min(peer, least(calls[name], milliseconds / 1000))
            rows[name] = min(own, shape["one" if threads == 1 else "all"]), peer, shape["flops"]
    return rows, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("filters", nargs="*", help="parts of the names of shapes")
    parser.add_argument("--bench", help="the benchmark's executable; by default the newest one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ms", type=int, default=40, help="milliseconds per shape, engine and round")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2], choices=[1, 2])
    parser.add_argument("--torch", action="store_true", help="products and attention beside torch")
    arguments = parser.parse_args()
    bench = arguments.bench
    if bench is None:
        found = [p for p in Path("target/release/deps").glob("kernels-*") if not p.suffix]
        bench = str(max(found, key=lambda p: p.stat().st_mtime))
    filters = arguments.filters or (["mm ", "attention"] if arguments.torch else [])
    peer, make = ("torch", torch_call) if arguments.torch else ("ONNX Runtime", session)
    measured = {
        n: measure(bench, filters, make, n, arguments.rounds, arguments.ms) for n in dict.fromkeys(arguments.threads)
    }
    peak = max(peak for _, peak in measured.values())
    print(f"The inner kernel alone reaches {peak:.0f} GFLOP/s on one core, 100 % below.\n")
    print(f"| shape | threads | us | {peer} us | {peer} / Lampyr | GFLOP/s | % of peak |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in next(iter(measured.values()))[0]:
        for threads, (rows, _) in measured.items():
            own, other, operations = rows[name]
            rate = operations / own / 1e9
            share = f"{rate:.0f} | {100 * rate / (peak * threads):.0f}" if operations else "|"
            print(f"| {name} | {threads} | {own * 1e6:.1f} | {other * 1e6:.1f} | {other / own:.2f} | {share} |")


if __name__ == "__main__":
    main()
