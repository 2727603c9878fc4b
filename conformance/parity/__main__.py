"""``python -m conformance.parity``: runs torch's operator database through Lampyr."""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
import warnings
from pathlib import Path

import torch

from conformance.parity import database, golden, pool, report, worker
from conformance.parity.translate import exists

HERE = Path(__file__).resolve().parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cargo xtask parity")
    parser.add_argument("--op", action="append", default=[], metavar="NAME", help="only this operator (repeatable)")
    parser.add_argument("--family", action="append", default=[], metavar="NAME", help="only this family (repeatable)")
    parser.add_argument("--quick", action="store_true", help="three samples of float32 per operator")
    parser.add_argument("--samples", type=int, metavar="N", help="at most N samples per operator and dtype")
    parser.add_argument("--dtype", action="append", default=[], choices=list(database.DTYPES), help="only this dtype")
    parser.add_argument("--seconds", type=float, default=240.0, help="time limit of one operator")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here")
    parser.add_argument("--known", type=Path, default=HERE / "known.txt", help="the list of known differences")
    parser.add_argument("--update", action="store_true", help="drop from the list what agrees")
    parser.add_argument("--grow", action="store_true", help="write the list anew, also what it lacks")
    parser.add_argument("--goldens", type=Path, metavar="FILE", help="write the golden subset and stop")
    parser.add_argument("--verbose", action="store_true", help="print every failure")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    limit = 3 if options.quick else options.samples
    dtypes = options.dtype or (["float32"] if options.quick else list(database.DTYPES))
    chosen = [op for op in database.operators() if not options.op or op.name in options.op]
    chosen = [op for op in chosen if not options.family or database.family(op) in options.family]
    present = [op for op in chosen if exists(op.name)]
    absent = sorted({op.name for op in chosen} - {op.name for op in present})
    if options.goldens:
        return golden.write(present, options.goldens)
    found = []
    start = time.monotonic()
    for number, op in enumerate(present, 1):
        begun = time.monotonic()
        rows = pool.run(functools.partial(worker.run, op, dtypes, limit), options.seconds)
        item = report.findings(op.formatted_name.replace(" ", "_"), op.name, database.family(op), rows)
        found.append(item)
        mark = "" if item.agree == item.samples else f"  {item.differ} differ, {item.refused} refused"
        took = time.monotonic() - begun
        print(f"{number}/{len(present)} {item.op}: {item.agree}/{item.samples} in {took:.1f} s{mark}", flush=True)
        if options.verbose:
            for key, texts in item.failures.items():
                print("   ", " ".join(key[1:]), len(texts), texts[0], flush=True)
    text = report.table(found, absent)
    print(f"\n{text}\n\n{time.monotonic() - start:.0f} s")
    if options.markdown:
        options.markdown.write_text(text + "\n")
    if options.json:
        rows = [
            {
                **{field: getattr(item, field) for field in ("op", "name", "family", "samples", "agree", "differ")},
                "refused": item.refused,
                "skipped": item.skipped,
                "failures": [[*key[1:], len(texts), texts[0]] for key, texts in item.failures.items()],
            }
            for item in found
        ]
        options.json.write_text(json.dumps({"absent": absent, "ops": rows}, indent=1) + "\n")
    return listed(options, found, limit is None and not options.dtype)


def listed(options: argparse.Namespace, found: list[report.Findings], whole: bool) -> int:
    known = report.Known(options.known)
    if (options.update or options.grow) and whole:
        known.write(found, options.grow)
        return 0
    fresh, spare = known.compare(found, whole)
    for line in spare:
        print(f"no longer needed in {options.known.name}: {line}")
    for line in fresh:
        print(f"not in {options.known.name}: {line}")
    return 1 if fresh else 0


if __name__ == "__main__":
    sys.exit(main())
