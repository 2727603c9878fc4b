"""What a run found: the table by family, the rows as JSON, and the list of known differences."""

from __future__ import annotations

import collections
import dataclasses
import re
from pathlib import Path
from typing import Any

Key = tuple[str, str, str]


# Rows that are no samples of a dtype: what torch refuses, and operands of unequal dtypes.
APART = ("error", "mixed")


@dataclasses.dataclass
class Findings:
    """The counts of one entry of the database. A pair is (agreeing, all)."""

    op: str
    name: str
    family: str
    samples: int = 0
    agree: int = 0
    differ: int = 0
    refused: int = 0
    skipped: int = 0
    apart: dict[str, list[int]] = dataclasses.field(default_factory=lambda: {kind: [0, 0] for kind in APART})
    variants: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    failures: dict[Key, list[str]] = dataclasses.field(default_factory=dict)


def findings(op: str, name: str, family: str, rows: list[dict[str, Any]]) -> Findings:
    """A sample agrees when all its checks do. It is refused when Lampyr raised, and differs otherwise."""
    out = Findings(op, name, family)
    for row in rows:
        checks = {k: v for k, v in row.get("checks", {}).items() if not v.startswith("skip")}
        if not checks:
            out.skipped += 1
            continue
        bad = {variant: text for variant, text in checks.items() if text != "ok"}
        for variant, text in bad.items():
            out.failures.setdefault((op, row["dtype"], variant), []).append(text)
        if row["dtype"] in APART:
            pair = out.apart[row["dtype"]]
            pair[0] += not bad
            pair[1] += 1
            continue
        for variant in checks:
            pair = out.variants.setdefault(variant, [0, 0])
            pair[0] += variant not in bad
            pair[1] += 1
        out.samples += 1
        if not bad:
            out.agree += 1
        elif all(text.startswith("refused") for text in bad.values()):
            out.refused += 1
        else:
            out.differ += 1
    return out


HEAD = (
    "Operators of torch's database that Lampyr has. A sample agrees when value, gradient, second derivative, method,\n"
    "in-place method and `out=` do, as far as torch has them; *refused* samples raise in Lampyr. *Errors* are inputs\n"
    "that torch refuses and Lampyr refuses with the same or a derived exception; *mixed* are operands of unequal\n"
    "dtypes. Written by `cargo xtask parity`; what does not agree is in `conformance/parity/known.txt`."
)


def table(found: list[Findings], absent: list[str]) -> str:
    """Markdown: a line per family and the sum, and the variants."""
    families: dict[str, list[Findings]] = collections.defaultdict(list)
    for item in found:
        families[item.family].append(item)
    lines = ["# Parity", "", HEAD, ""]
    lines.append("| family | ops | samples | agree | differ | refused | agree % | errors | mixed |")
    lines.append("|---|--:|--:|--:|--:|--:|--:|--:|--:|")

    def pairs(values: list[list[int]]) -> str:
        return f"{sum(v[0] for v in values):,} of {sum(v[1] for v in values):,}"

    def line(title: str, items: list[Findings]) -> str:
        ops = len({item.name for item in items if item.samples})
        sums = [sum(getattr(item, field) for item in items) for field in ("samples", "agree", "differ", "refused")]
        share = 100 * sums[1] / sums[0] if sums[0] else 100.0
        apart = [pairs([item.apart[kind] for item in items]) for kind in APART]
        return f"| {title} | {ops} | {' | '.join(f'{n:,}' for n in sums)} | {share:.2f} | {' | '.join(apart)} |"

    lines += [line(title, items) for title, items in sorted(families.items())]
    lines += [line("**all**", found), "", "| check | agree |", "|---|--:|"]
    for variant in ("function", "gradient", "second", "method", "in-place", "out"):
        lines.append(f"| {variant} | {pairs([item.variants.get(variant, [0, 0]) for item in found])} |")
    if absent:
        lines += ["", f"Names of torch's database that Lampyr lacks ({len(absent)}): " + ", ".join(absent)]
    return "\n".join(lines)


class Known:
    """The list of known differences: `op dtype variant samples reason`, where `*` stands for every dtype."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[Key, tuple[int, str]] = {}
        for line in path.read_text().splitlines() if path.is_file() else []:
            if line.strip() and not line.startswith("#"):
                op, dtype, variant, count, reason = line.split(None, 4)
                self.entries[op, dtype, variant] = (int(count), reason)

    def compare(self, found: list[Findings], whole: bool) -> tuple[list[str], list[str]]:
        """What is not in the list, and what the list need not say (only where all samples ran)."""
        fresh, spare = [], []
        seen: dict[Key, int] = {}
        for item in found:
            for (op, dtype, variant), texts in item.failures.items():
                key = (op, dtype, variant) if (op, dtype, variant) in self.entries else (op, "*", variant)
                seen[key] = seen.get(key, 0) + len(texts)
                allowed = self.entries.get(key, (0, ""))[0]
                if seen[key] > allowed:
                    fresh.append(f"{op} {dtype} {variant} {len(texts)} {texts[0]}")
        ran = {item.op for item in found}
        for key, (count, _) in self.entries.items():
            if whole and key[0] in ran and seen.get(key, 0) < count:
                spare.append(f"{' '.join(key)} {count}: {seen.get(key, 0)} fail")
        return fresh, spare

    def write(self, found: list[Findings], grow: bool) -> None:
        """Drops what agrees; with `grow` adds what does not."""
        counts: collections.Counter[Key] = collections.Counter()
        reasons: dict[Key, str] = {}
        for item in found:
            for (op, dtype, variant), texts in item.failures.items():
                key = (op, dtype, variant) if (op, dtype, variant) in self.entries else (op, "*", variant)
                counts[key] += len(texts)
                reasons.setdefault(key, reason(texts[0]))
        ran = {item.op for item in found}
        entries = {key: entry for key, entry in self.entries.items() if key[0] not in ran}
        for key, count in counts.items():
            known = self.entries.get(key)
            if known is not None:
                entries[key] = (count if grow else min(known[0], count), known[1])
            elif grow:
                entries[key] = (count, reasons[key])
        head = "# Samples of torch's operator database on which Lampyr differs: op, dtype, variant, samples, reason.\n"
        head += "# The list may only shrink; `cargo xtask parity --update` drops what agrees.\n"
        body = "".join(f"{' '.join(key)} {n} {why}\n" for key, (n, why) in sorted(entries.items()))
        self.path.write_text(head + body)


def reason(text: str) -> str:
    """A finding as a reason: without the numbers of one sample."""
    return re.sub(r"\s+", " ", text)[:160]
