"""A character-level Transformer trained on the texts of this project; it writes samples of its own.

    python examples/chars/train.py

Prints a sample now and then and writes the loss curve ``loss.svg``. Needs numpy.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

import numpy as np

import lampyr
from lampyr import nn, optim
from lampyr.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from curve import Bar, write_svg

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]


class Chars(nn.Module):
    """Embeddings of characters and places, causal encoder layers, a linear layer."""

    def __init__(self, characters, context, width, heads, layers):
        super().__init__()
        self.characters = nn.Embedding(characters, width)
        self.places = nn.Embedding(context, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width))
        self.head = nn.Linear(width, characters)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(context), persistent=False)
        self.register_buffer("order", lampyr.arange(context), persistent=False)
        for table in (self.characters, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, text):
        n = text.shape[1]
        x = self.characters(text) + self.places(self.order[:n])
        return self.head(self.encoder(x, mask=self.mask[:n, :n], is_causal=True))


def read():
    """The texts, without tables and rare characters."""
    lines = "\n".join((ROOT / name).read_text() for name in TEXTS).splitlines()
    text = "\n".join(line for line in lines if not re.match(r"\s*[|`]", line))
    names = {c for c in set(text) if text.count(c) >= 5}
    return "".join(c for c in text if c in names)


def sample(model, start, names, count, context, random, temperature=0.5):
    """``count`` characters after ``start``."""
    text = [names.index(c) for c in start]
    model.eval()
    with lampyr.no_grad():
        for _ in range(count):
            logits = model(lampyr.tensor([text[-context:]]))[0, -1].numpy().astype(np.float64) / temperature
            weights = np.exp(logits - logits.max())
            text.append(int(random.choice(len(names), p=weights / weights.sum())))
    model.train()
    return "".join(names[i] for i in text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    lampyr.manual_seed(args.seed)
    random = np.random.default_rng(args.seed)
    text = read()
    names = sorted(set(text))
    numbers = np.array([names.index(c) for c in text], dtype=np.int64)
    words = set(re.findall(r"[a-z]{3,}", text.lower()))
    model = Chars(len(names), args.context, args.width, args.heads, args.layers)
    total = sum(p.numel() for p in model.parameters())
    print(f"{len(text)} characters, {len(names)} different; {total} parameters")
    optimizer = optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.steps, pct_start=0.1)
    bar, losses, start = Bar(args.steps, "train"), [], time.perf_counter()
    for step in range(args.steps):
        at = random.integers(0, len(numbers) - args.context - 1, args.batch)
        rows = np.stack([numbers[i : i + args.context + 1] for i in at])
        x, y = lampyr.tensor(rows[:, :-1].copy()), lampyr.tensor(rows[:, 1:].copy())
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x).reshape(-1, len(names)), y.reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        bar(step + 1, f"loss {np.mean(losses[-20:]):.3f}")
    made = sample(model, "The ", names, 400, args.context, random)
    said = re.findall(r"[a-z]{3,}", made.lower())
    known = sum(word in words for word in said) / max(len(said), 1)
    print(
        f"loss {np.mean(losses[-50:]):.3f} after {time.perf_counter() - start:.0f} s; {known:.0%} of {len(said)} words"
    )
    print(f"of this sample are words of the texts:\n\n{made}")
    write_svg(args.out / "loss.svg", {"training loss": losses}, "Characters: cross entropy of the training batches")


if __name__ == "__main__":
    main()
