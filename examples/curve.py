"""A progress bar in the terminal and a loss curve as SVG."""

from __future__ import annotations

import sys
import time
from pathlib import Path


class Bar:
    """``Bar(total, "train")(step, "loss 0.12")`` redraws one line."""

    def __init__(self, total, name, width=32):
        self.total, self.name, self.width = total, name, width
        self.start = time.perf_counter()
        self.last = 0.0

    def __call__(self, done, text=""):
        now = time.perf_counter()
        if done < self.total and now - self.last < 0.1:
            return
        self.last = now
        filled = self.width * done // self.total
        seconds = now - self.start
        left = seconds / max(done, 1) * (self.total - done)
        line = f"{self.name} [{'#' * filled}{'.' * (self.width - filled)}] {done}/{self.total} {seconds:.0f}s"
        end = "\n" if done == self.total else f" ({left:.0f}s left)"
        if sys.stderr.isatty():
            print(f"\r{line} {text}{end}", end="", file=sys.stderr, flush=True)
        elif done == self.total:
            print(f"{line} {text}", file=sys.stderr)


def write_svg(path, curves, title, width=640, height=360):
    """``curves``: name -> values per step; drawn with a smoothed line on a logarithmic axis."""
    import math

    left, top, right, bottom = 56, 32, 16, 40
    values = [v for curve in curves.values() for v in curve if v > 0]
    low, high = math.log10(min(values)), math.log10(max(values))
    high = high if high > low else low + 1
    steps = max(len(c) for c in curves.values())

    def x(step):
        return left + (width - left - right) * step / max(steps - 1, 1)

    def y(value):
        return top + (height - top - bottom) * (high - math.log10(max(value, 10**low))) / (high - low)

    colours = ["#1f6feb", "#d1632b", "#2da44e"]
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="20" font-size="14">{title}</text>',
    ]
    for tick in range(math.floor(low), math.ceil(high) + 1):
        for part in (1, 2, 5):
            value = part * 10.0**tick
            if low <= math.log10(value) <= high:
                at = y(value)
                out.append(f'<line x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>')
                out.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>')
    for k in range(5):
        step = (steps - 1) * k // 4
        out.append(f'<text x="{x(step):.1f}" y="{height - 20}" text-anchor="middle">{step}</text>')
    out.append(f'<text x="{(left + width - right) / 2}" y="{height - 4}" text-anchor="middle">step</text>')
    for i, (name, curve) in enumerate(curves.items()):
        colour = colours[i % len(colours)]
        thin = curve[:: max(1, len(curve) // 600)]
        stride = max(1, len(curve) // 600)
        points = " ".join(f"{x(j * stride):.1f},{y(v):.1f}" for j, v in enumerate(thin))
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-opacity="0.3" points="{points}"/>')
        mean, smooth = curve[0], []
        for v in curve:
            mean = 0.97 * mean + 0.03 * v
            smooth.append(mean)
        points = " ".join(f"{x(j * stride):.1f},{y(v):.1f}" for j, v in enumerate(smooth[::stride]))
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
        out.append(f'<text x="{width - right}" y="{20 + 14 * i}" text-anchor="end" fill="{colour}">{name}</text>')
    out.append("</svg>")
    Path(path).write_text("\n".join(out) + "\n")
