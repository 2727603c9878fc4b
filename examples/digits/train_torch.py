"""Train a small CNN on scikit-learn's 8x8 digits and export it as ONNX.

Writes ``digits.onnx``, ``labels.txt`` and one correctly classified test image
per digit (``0.png`` .. ``9.png``). Batch normalisation is left as separate
nodes in the graph, so that a compiler has something to fold.

Needs torch, scikit-learn, onnx, onnxruntime, numpy and pillow.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

OPSET = 18


class DigitsNet(nn.Module):
    """Three convolutions, global average pooling, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.fc = nn.Linear(32, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(image)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.conv3(F.max_pool2d(x, 2)))
        return self.fc(x.mean(dim=(2, 3)))


def load_pixels() -> tuple[np.ndarray, np.ndarray]:
    """The images (17 levels) as 8-bit gray [n, 1, 8, 8], and their labels."""
    digits = load_digits()
    pixels = np.rint(digits.images * (255.0 / 16.0)).astype(np.uint8)
    return pixels[:, None], digits.target.astype(np.int64)


def scale(pixels: np.ndarray) -> np.ndarray:
    """What the model takes: float32 in 0..1."""
    return pixels.astype(np.float32) / np.float32(255.0)


def train(x: Tensor, y: Tensor, epochs: int, batch: int, lr: float) -> DigitsNet:
    """Train with Adam on a one-cycle schedule; return the model in eval mode."""
    model = DigitsNet()
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        chunks = torch.randperm(len(x)).split(batch)[: len(x) // batch]
        for chunk in chunks:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[chunk]), y[chunk])
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1:3d}  loss {total / len(chunks):.4f}")
    return model.eval()


def to_onnx(model: DigitsNet) -> onnx.ModelProto:
    """Write the graph out by hand: readable names, nothing folded."""
    weights = [
        numpy_helper.from_array(v.numpy(), k)
        for k, v in model.state_dict().items()
        if not k.endswith("num_batches_tracked")
    ]
    kernel = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    norm = ("weight", "bias", "running_mean", "running_var")
    eps = {"epsilon": model.bn1.eps}
    # name, operator, attributes, parameters; each layer feeds the next.
    layers: list[tuple[str, str, dict[str, object], tuple[str, ...]]] = [
        ("conv1", "Conv", kernel, ("weight", "bias")),
        ("bn1", "BatchNormalization", eps, norm),
        ("relu1", "Relu", {}, ()),
        ("conv2", "Conv", kernel, ("weight", "bias")),
        ("bn2", "BatchNormalization", eps, norm),
        ("relu2", "Relu", {}, ()),
        ("pool", "MaxPool", pool, ()),
        ("conv3", "Conv", kernel, ("weight", "bias")),
        ("relu3", "Relu", {}, ()),
        ("gap", "GlobalAveragePool", {}, ()),
        ("flatten", "Flatten", {"axis": 1}, ()),
        ("fc", "Gemm", {"transB": 1}, ("weight", "bias")),
        ("softmax", "Softmax", {"axis": 1}, ()),
    ]
    nodes, last = [], "image"
    for name, op, attributes, suffixes in layers:
        inputs = [last, *(f"{name}.{suffix}" for suffix in suffixes)]
        last = "probabilities" if name == "softmax" else f"{name}_out"
        nodes.append(helper.make_node(op, inputs, [last], name=name, **attributes))
    info = helper.make_tensor_value_info
    image = info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])
    output = info("probabilities", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "digits", [image], [output], weights)
    opsets = [helper.make_opsetid("", OPSET)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and export the digits model.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    pixels, labels = load_pixels()
    train_ids, test_ids = train_test_split(
        np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=args.seed
    )
    x, y = torch.from_numpy(scale(pixels)), torch.from_numpy(labels)
    model = train(x[train_ids], y[train_ids], args.epochs, args.batch, args.lr)
    with torch.no_grad():
        expected = model(x[test_ids]).softmax(dim=1).numpy()
    right = expected.argmax(axis=1) == labels[test_ids]
    print(f"test accuracy {right.mean():.4%} ({right.sum()} of {len(right)})")

    proto = to_onnx(model)
    data = proto.SerializeToString()
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"image": scale(pixels[test_ids])})
    worst = float(np.abs(got - expected).max())
    print(f"largest difference, onnxruntime against torch: {worst:.2e}")
    if worst > 1e-5:
        raise SystemExit("the exported model does not agree with torch")

    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "digits.onnx").write_bytes(data)
    (args.out / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))
    for digit in range(10):
        pick = test_ids[right & (labels[test_ids] == digit)][0]
        Image.fromarray(pixels[pick, 0]).save(args.out / f"{digit}.png")
    print(f"wrote digits.onnx ({len(data)} bytes), labels.txt and ten images")


if __name__ == "__main__":
    main()
