"""Trains a small CNN on 8x8 digits with Lampyr and writes it as ONNX.

    python examples/digits/train.py

Writes ``digits.onnx``, ``labels.txt``, the loss curve ``loss.svg`` and one correctly classified test image per digit
(``0.png`` .. ``9.png``). Batch normalisation stays in the model as nodes of its own, so that a compiler has something
to fold. Needs numpy and pillow.

``digits.npz`` holds the digits of scikit-learn (Alpaydin and Kaynak, UCI, CC BY 4.0), 1797 images of 17 levels; the
last fifth of them, with as many of each digit, is for testing.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

import lampyr
from lampyr import nn, optim
from lampyr.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from curve import Bar, write_svg


class DigitsNet(nn.Module):
    """Three convolutions, global average pooling, one linear layer."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.fc = nn.Linear(32, 10)

    def forward(self, image):
        x = F.relu(self.bn1(self.conv1(image)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.conv3(F.max_pool2d(x, 2)))
        return self.fc(x.mean(dim=(2, 3)))

    def probabilities(self, image):
        return self(image).softmax(1)


def load_pixels():
    """The images as 8-bit gray [n, 1, 8, 8], and their labels."""
    with np.load(Path(__file__).with_name("digits.npz")) as digits:
        pixels = np.rint(digits["images"] * (255.0 / 16.0)).astype(np.uint8)
        return pixels[:, None], digits["labels"].astype(np.int64)


def scale(pixels):
    """What the model takes: float32 in 0..1."""
    return pixels.astype(np.float32) / np.float32(255.0)


def train(x, y, epochs, batch, lr, seed):
    """Trains with AdamW on a one-cycle schedule; the model in evaluation mode, and the losses."""
    model = DigitsNet()
    steps = epochs * (len(x) // batch)
    optimizer = optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-2)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    random, bar, losses = np.random.default_rng(seed), Bar(steps, "train"), []
    for _ in range(epochs):
        order = random.permutation(len(x))
        for start in range(0, len(x) - batch + 1, batch):
            chunk = order[start : start + batch]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(lampyr.tensor(x[chunk])), lampyr.tensor(y[chunk]))
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            bar(len(losses), f"loss {np.mean(losses[-40:]):.4f}")
    return model.eval(), losses


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()

    lampyr.manual_seed(args.seed)
    pixels, labels = load_pixels()
    train_ids, test_ids = np.split(np.arange(len(labels)), [len(labels) * 4 // 5])
    start = time.perf_counter()
    model, losses = train(scale(pixels[train_ids]), labels[train_ids], args.epochs, args.batch, args.lr, args.seed)
    seconds = time.perf_counter() - start
    with lampyr.no_grad():
        expected = model(lampyr.tensor(scale(pixels[test_ids]))).softmax(1).numpy()
    right = expected.argmax(axis=1) == labels[test_ids]
    print(f"test accuracy {right.mean():.2%} ({right.sum()} of {len(right)}) after {seconds:.1f} s of training")

    example = lampyr.tensor(scale(pixels[test_ids[:2]]))
    axes = {"image": {0: "batch"}}
    data = lampyr.onnx.export(model.probabilities, example, output_names=["probabilities"], dynamic_axes=axes)
    got = lampyr.load_onnx(data).compile()(scale(pixels[test_ids]))
    worst = float(np.abs(np.asarray(got) - expected).max())
    print(f"largest difference, exported model against trained: {worst:.2e}")
    if worst > 1e-5:
        raise SystemExit("the exported model does not agree with the trained one")

    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "digits.onnx").write_bytes(data)
    (args.out / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))
    write_svg(args.out / "loss.svg", {"training loss": losses}, "Digits: cross entropy of the training batches")
    for digit in range(10):
        pick = test_ids[right & (labels[test_ids] == digit)][0]
        Image.fromarray(pixels[pick, 0]).save(args.out / f"{digit}.png")
    print(f"wrote digits.onnx ({len(data)} bytes), labels.txt, loss.svg and ten images")


if __name__ == "__main__":
    main()
