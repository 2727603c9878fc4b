"""Draws the losses of the four trainings beside PyTorch's recorded ones, and says how far they are apart.

python conformance/nn/plot.py [docs]        # writes training-KIND.svg and prints a table; needs lampyr and numpy
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lampyr

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "examples")]
import cases  # noqa: E402
from curve import write_svg  # noqa: E402


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    golden = json.loads((HERE / "goldens.json").read_text())
    print("| training | first loss | last loss | largest difference |\n|---|--:|--:|--:|")
    for kind, theirs in golden["trainings"].items():
        ours = cases.losses(kind, lampyr)
        apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        print(f"| {kind} | {ours[0]:.4f} | {ours[-1]:.4f} | {apart:.1e} |")
        curves = {f"PyTorch {golden['torch']}": theirs, "Lampyr": ours}
        write_svg(folder / f"training-{kind}.svg", curves, f"{kind}: loss of {cases.STEPS} steps")


if __name__ == "__main__":
    main()
