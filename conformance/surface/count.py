"""Counts which names of ``names.tsv`` Lampyr has, and which of them accept torch's signature.

Usage: count.py [--write FILE] [--verbose]
"""

from __future__ import annotations

import argparse
import ast
import collections
import dataclasses
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

NAMES = Path(__file__).resolve().parent / "names.tsv"
Parameters = list[inspect.Parameter]
# How torch's documents write a parameter that is only positional: by its type.
ANY_NAME = {"int", "bool", "a"}
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclasses.dataclass
class Row:
    """One name: `found` when Lampyr has it, `accepts` when it takes torch's arguments or torch lacks the name."""

    namespace: str
    name: str
    part: str
    torch: str
    found: bool = False
    accepts: bool = False
    why: str = ""


def read(path: Path = NAMES) -> list[Row]:
    rows = []
    for line in path.read_text().splitlines()[1:]:
        namespace, name, _, part, *signature = line.split("\t")
        rows.append(Row(namespace, name, part, signature[0] if signature else ""))
    return rows


def lookup(root: Any, namespace: str, name: str) -> Any:
    """The object of that name. Raises AttributeError."""
    owner = root
    for step in namespace.split(".")[1:]:
        if not hasattr(owner, step) and inspect.ismodule(owner):
            try:
                importlib.import_module(f"{owner.__name__}.{step}")
            except ImportError:
                pass
        owner = getattr(owner, step)
    if inspect.ismodule(owner) and not hasattr(owner, name):
        try:
            return importlib.import_module(f"{owner.__name__}.{name}")
        except ImportError:
            pass
    if inspect.isclass(owner) and name in getattr(owner, "__annotations__", {}):
        return None
    return getattr(owner, name)


def parse(text: str) -> Parameters:
    """The parameters that a signature like `(input, *, alpha=1)` states."""
    # `from` is a parameter of torch's methods, and a word of Python.
    text = re.sub(r"\bfrom\b", "from_", text)
    arguments = ast.parse(f"def f{text}: pass").body[0].args  # type: ignore[attr-defined]
    kinds = inspect.Parameter
    out = [kinds(a.arg, kinds.POSITIONAL_ONLY) for a in arguments.posonlyargs]
    first = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    for index, a in enumerate(arguments.args, len(arguments.posonlyargs)):
        out.append(kinds(a.arg, kinds.POSITIONAL_OR_KEYWORD, default=kinds.empty if index < first else None))
    if arguments.vararg:
        out.append(kinds(arguments.vararg.arg, kinds.VAR_POSITIONAL))
    for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        out.append(kinds(a.arg, kinds.KEYWORD_ONLY, default=kinds.empty if default is None else None))
    if arguments.kwarg:
        out.append(kinds(arguments.kwarg.arg, kinds.VAR_KEYWORD))
    return out


def ours(value: Any, name: str, method: bool) -> list[Parameters]:
    """What our object takes: its signature, and those that head its docstring (for overloaded names)."""
    found = []
    pattern = re.compile(rf"^(?:[\w.]*\.)?{re.escape(name)}(\(.*\))\s*(?:->.*)?$")
    for line in (getattr(value, "__doc__", None) or "").splitlines():
        match = pattern.match(line.strip())
        if match:
            try:
                found.append(parse(bare(match.group(1))))
            except SyntaxError:
                continue
            # Sizes that are all that is given by position may be given one by one.
            alone = re.fullmatch(r"\((?:int or )?tuple of ints (\w+)(?:, \*.*)?\)", match.group(1))
            if alone:
                found.append([inspect.Parameter(alone.group(1), inspect.Parameter.VAR_POSITIONAL), *found[-1][1:]])
    try:
        found.append(list(inspect.signature(value).parameters.values()))
    except (TypeError, ValueError):
        pass
    if method:
        found = [p[1:] if p and p[0].name in ("self", "$self", "input") else p for p in found]
    return found


def bare(text: str) -> str:
    """Without types, whether they stand before the names or behind; every default becomes `None`."""
    pieces, depth = [""], 0
    for letter in text.strip()[1:-1]:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += letter
    out = []
    for piece in filter(None, (piece.strip() for piece in pieces)):
        head, default, _ = piece.partition("=")
        name = head.split(":")[0].split()[-1]
        star = "*" if head.startswith("*") and not name.startswith("*") else ""
        out.append(star + name + ("=None" if default else ""))
    return f"({', '.join(out)})"


def refusal(mine: Parameters, theirs: Parameters) -> str:
    """Why a function with our parameters would not take torch's call; empty when it would."""
    positional = [p for p in mine if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = {p.name for p in mine if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    spread = any(p.kind == p.VAR_POSITIONAL for p in mine)
    open_named = any(p.kind == p.VAR_KEYWORD for p in mine)
    for index, p in enumerate(q for q in theirs if q.kind in (q.POSITIONAL_ONLY, q.POSITIONAL_OR_KEYWORD)):
        if index < len(positional):
            same = positional[index].name == p.name or p.kind == p.POSITIONAL_ONLY or p.name in ANY_NAME
            if not same:
                return f"parameter {index} is {positional[index].name}, torch's {p.name}"
        elif not spread:
            return f"no parameter {p.name}"
    for p in theirs:
        if p.kind == p.KEYWORD_ONLY and p.name not in named and not open_named:
            return f"no parameter {p.name}"
        if p.kind == p.VAR_POSITIONAL and not spread:
            return f"no *{p.name}"
    wanted = {p.name for p in theirs}
    for index, p in enumerate(mine):
        required = p.default is p.empty and p.kind not in VARIADIC
        if required and p.name not in wanted and not (index < len(theirs) and theirs[index].name in ANY_NAME):
            return f"{p.name} is required"
    return ""


def check(row: Row, root: Any) -> None:
    """Fills in what is found."""
    try:
        value = lookup(root, row.namespace, row.name)
    except AttributeError:
        row.why = "absent"
        return
    row.found = True
    method = row.namespace.split(".")[-1][:1].isupper()
    candidates = ours(value, row.name, method) if row.torch else []
    opaque = [c for c in candidates if [p.kind for p in c] == list(VARIADIC)]
    known = [c for c in candidates if c not in opaque]
    for overload in filter(None, row.torch.split(" | ")):
        theirs = parse(overload)
        reasons = [refusal(mine, theirs) for mine in known]
        if not reasons and all(p.kind in VARIADIC for p in theirs) and opaque:
            continue
        if not reasons:
            row.why = "no signature"
        elif all(reasons):
            row.why = min(reasons, key=len) + f" for {overload}"
        if row.why:
            return
    row.accepts = True


def count(rows: list[Row]) -> dict[str, tuple[int, int, int]]:
    """By part and namespace: names, found, accepting."""
    sums: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0, 0])
    for row in rows:
        for key in (f"{row.part} {row.namespace}", row.part):
            sums[key][0] += 1
            sums[key][1] += row.found
            sums[key][2] += row.accepts
    return {key: (a, b, c) for key, (a, b, c) in sums.items()}


def page(rows: list[Row]) -> str:
    """docs/surface.md."""
    sums = count(rows)
    lines = [
        "# Surface",
        "",
        "Names that Lampyr is to have, by namespace: how many exist, and how many of these take the arguments that",
        "torch takes (or have no counterpart in torch). Written by `cargo xtask surface`; the names are in",
        "`conformance/surface/names.tsv`. The part *core* is what PyTorch code needs, *training* the modules and",
        "optimisers of the training examples, *later* the other packages.",
        "",
        "| part | namespace | names | exist | accept |",
        "|---|---|--:|--:|--:|",
    ]
    for part in ("core", "training", "later"):
        for key in sorted(k for k in sums if k.startswith(part + " ")):
            lines.append(f"| {part} | `{key.split(' ')[1]}` | {' | '.join(str(n) for n in sums[key])} |")
        lines.append(f"| **{part}** | all | {' | '.join(str(n) for n in sums.get(part, (0, 0, 0)))} |")
    for title, chosen in (
        ("Absent", [r for r in rows if not r.found and r.part != "later"]),
        ("Other arguments than torch's", [r for r in rows if r.found and not r.accepts and r.part != "later"]),
    ):
        if chosen:
            lines += ["", f"## {title}", ""]
        if chosen and title == "Absent":
            lines.append(", ".join(f"`{r.namespace}.{r.name}`" for r in chosen))
        elif chosen:
            lines += [f"- `{r.namespace}.{r.name}`: {r.why}" for r in chosen]
    return "\n".join(lines) + "\n"


def committed(text: str) -> dict[str, tuple[int, int, int]]:
    """The counts in a page."""
    found = {}
    for part, namespace, *numbers in re.findall(r"^\| (\w+) \| `([^`]+)` \| (\d+) \| (\d+) \| (\d+) \|$", text, re.M):
        found[f"{part} {namespace}"] = (int(numbers[0]), int(numbers[1]), int(numbers[2]))
    return found


def shrunk(now: dict[str, tuple[int, int, int]], before: dict[str, tuple[int, int, int]]) -> list[str]:
    """Namespaces in which fewer names exist or accept than before."""
    return [
        f"{key}: {old[1]} names exist and {old[2]} accept torch's arguments; now {new[1]} and {new[2]}"
        for key, old in before.items()
        if (new := now.get(key, (0, 0, 0)))[1] < old[1] or new[2] < old[2]
    ]


def counted(root: Any) -> list[Row]:
    rows = read()
    for row in rows:
        check(row, root)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="cargo xtask surface")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page here")
    parser.add_argument("--verbose", action="store_true", help="print what is absent or differs")
    options = parser.parse_args()
    rows = counted(importlib.import_module("lampyr"))
    text = page(rows)
    print(text if options.verbose else text.split("\n## ")[0])
    if options.write:
        options.write.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
