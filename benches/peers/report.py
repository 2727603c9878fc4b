"""The tables and the chart of a measurement."""

import math
from typing import Any

from benches.peers.rounds import NAMES, OURS, Measured
from zoo.process import number

PEERS = tuple(name for name in NAMES if name != OURS)
TITLES = {"lampyr": "Lampyr", "torch": "torch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
# Ratios below this are counted.
FLOOR = 0.8
MIB = 1 / (1 << 20)


def row(key: str, title: str, found: dict[str, Measured]) -> dict[str, Any]:
    """Numbers of one model: by engine, and the ratio of the best peer's time to Lampyr's."""
    engines = {
        name: {
            "least": one.least,
            "median": one.median,
            "runs": len(one.times),
            "load": one.load,
            "first": one.first,
            "peak_rss": one.rss,
            "relative_error": one.error,
            "problem": one.problem,
        }
        for name, one in found.items()
    }
    made: dict[str, Any] = {"key": key, "title": title, "engines": engines}
    for kind in ("least", "median"):
        peers = {name: engines[name][kind] for name in PEERS if engines[name][kind]}
        ours = engines[OURS][kind]
        made[f"ratio_{kind}"] = min(peers.values()) / ours if peers and ours else None
        made[f"best_{kind}"] = min(peers, key=peers.__getitem__) if peers else None
    return made


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Geometric mean of the ratios, how many are below the floor, the least; and of first inferences and memory."""
    ratios = {r["title"]: r["ratio_least"] for r in rows if r["ratio_least"]}
    ours = [r["engines"][OURS] for r in rows]
    ort = [r["engines"]["onnxruntime"] for r in rows]

    def no_more(key: str) -> list[int]:
        pairs = [(a[key], b[key]) for a, b in zip(ours, ort, strict=True) if a[key] and b[key]]
        return [sum(a <= b for a, b in pairs), len(pairs)]

    return {
        "models": len(rows),
        "measured": len(ratios),
        "geometric_mean": math.exp(sum(map(math.log, ratios.values())) / len(ratios)) if ratios else None,
        "below_floor": sorted(name for name, ratio in ratios.items() if ratio < FLOOR),
        "least": min(ratios.values(), default=None),
        "first_no_later": no_more("first"),
        "rss_no_more": no_more("peak_rss"),
    }


def ms(value: float | None) -> str:
    """Seconds as milliseconds, in three digits."""
    if value is None:
        return "-"
    return f"{1e3 * value:.{max(0, 2 - int(math.log10(max(1e3 * value, 1))))}f}"


def remark(made: dict[str, Any]) -> str:
    """Why an engine has no numbers."""
    reasons = (f"{TITLES[n]}: {e['problem']}" for n, e in made["engines"].items() if e["problem"])
    return "; ".join(reasons).replace("|", "/").replace("\n", " ")[:300]


def latency(rows: list[dict[str, Any]]) -> list[str]:
    """Table of times of runs."""
    lines = [
        f"| model | {' | '.join(TITLES[n] for n in NAMES)} | best peer | ratio | ratio, median | remarks |",
        "|---|" + "---:|" * len(NAMES) + "---|---:|---:|---|",
    ]
    for r in rows:
        cells = " | ".join(f"{ms(e['least'])} ({ms(e['median'])})" for e in (r["engines"][n] for n in NAMES))
        best = TITLES.get(r["best_least"] or "", "-")
        ratio, middle = number(r["ratio_least"]), number(r["ratio_median"])
        lines.append(f"| {r['title']} | {cells} | {best} | {ratio} | {middle} | {remark(r)} |")
    return lines


def starts(rows: list[dict[str, Any]]) -> list[str]:
    """Table of first inferences, loading and memory."""
    named = [n for n in NAMES if n != "torch"]
    heads = [f"{TITLES[n]} {what}" for what in ("first", "load") for n in named]
    heads += [f"{TITLES[n]} RSS" for n in NAMES]
    lines = [f"| model | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for r in rows:
        cells = [ms(r["engines"][n][what]) for what in ("first", "load") for n in named]
        cells += [number(r["engines"][n]["peak_rss"], "{:.0f}", MIB) for n in NAMES]
        lines.append(f"| {r['title']} | {' | '.join(cells)} |")
    return lines


def costs(packages: dict[str, dict[str, Any]]) -> list[str]:
    """Table of import times and sizes."""
    lines = ["| engine | import ms | installed MiB | with what it requires, MiB |", "|---|---:|---:|---:|"]
    for name, found in packages.items():
        cells = ms(found.get("import")), *(number(found.get(k), "{:.0f}", MIB) for k in ("alone", "whole"))
        lines.append(f"| {TITLES[name]} | {' | '.join(cells)} |{' ' + found['problem'] if 'problem' in found else ''}")
    return lines


def growth(tables: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Tables of threads, batch, sequence, sessions and idle processes."""
    lines = ["## Growth", "", "Two threads over one, least times in ms (target of the ratio: 0.58 or less):", ""]
    lines += ["| model | engine | 1 thread | 2 threads | ratio |", "|---|---|---:|---:|---:|"]
    for r in tables["threads"]:
        both = r.get("two") and r.get("one")
        cells = f"{ms(r.get('one'))} | {ms(r.get('two'))} | {number(r['two'] / r['one'] if both else None)}"
        lines.append(f"| {r['model']} | {r.get('engine', r.get('problem'))} | {cells} |")
    for axis, what in (("batch", "ResNet-50 by batch"), ("seq", "Llama, two layers of 1,024, by length")):
        lines += ["", f"{what}: least ms per item, and peak MiB of the process in brackets.", ""]
        lines += [f"| {axis} | {' | '.join(TITLES[n] for n in NAMES)} |", "|---:|" + "---:|" * len(NAMES)]
        for r in tables["batch" if axis == "batch" else "sequence"]:
            cells = []
            for n in NAMES:
                each = r[n]["least"] / r[axis] if r[n]["least"] else None
                text = f"{1e3 * each:.3f} ({number(r[n]['rss'], '{:.0f}', MIB)})" if each else "-"
                cells.append(text + (f" {r[n]['problem'][:60]}" if r[n]["problem"] else ""))
            lines.append(f"| {r[axis]} | {' | '.join(cells).replace(chr(10), ' ')} |")
    lines += [
        "",
        "Resident MiB after one run of ResNet-50, and after 64 threads have run it at once, each with its arena:",
        "",
    ]
    lines += ["| engine | one run | 64 at once |", "|---|---:|---:|"]
    for r in tables["sessions"]:
        cells = (number(r.get(k), "{:.0f}", MIB) for k in ("one", "all"))
        lines.append(f"| {TITLES[r['engine']]} | {' | '.join(cells)} | {r.get('problem', '')}".rstrip(" |") + " |")
    lines += ["", "Processor time from 10 ms after the last run on, as part of one processor:", ""]
    lines += [f"- {TITLES[r['engine']]}: {r.get('problem') or format(r['share'], '.1%')}" for r in tables["idle"]]
    return lines


def markdown(found: dict[str, Any]) -> str:
    """The whole page."""
    about, rows, total = found["about"], found["models"], found["summary"]
    below = ", ".join(total["below_floor"]) or "none"
    lines = [
        "# Models beside torch, ONNX Runtime and OpenVINO", "",
        f"{about['date']}, {about['cpu']}, {about['cores']} cores, {about['threads']} threads, float32, "
        f"{', '.join(f'{n} {v}' for n, v in about['versions'].items())}. Made by `{about['command']}`.", "",
        f"Best peer's time / Lampyr's, of the least of all rounds: geometric mean {number(total['geometric_mean'])} "
        f"over {total['measured']} of {total['models']} models; least {number(total['least'])}; "
        f"below {FLOOR}: {below}. "
        f"First inference no later than ONNX Runtime's: {' of '.join(map(str, total['first_no_later']))}; "
        f"peak memory no more: {' of '.join(map(str, total['rss_no_more']))}.", "",
        "Every engine has a process of its own; they take turns, and those that wait are stopped. Inputs change "
        "between runs. Every output was equal to torch's before anything was timed. ONNX Runtime and OpenVINO are told "
        "the sizes of the inputs when they load. Times in ms: least, median in brackets.", "",
        "![ratios](peers.svg)", "",
        *latency(rows), "",
        "First: loading, compiling and the first run in a new process, without the import; RSS: peak MiB of a process "
        "that did that and ran each input once.", "",
        *starts(rows), "",
    ]  # fmt: skip
    if found.get("packages"):
        lines += ["## Packages", "", *costs(found["packages"]), ""]
    if found.get("growth"):
        lines += [*growth(found["growth"]), ""]
    return "\n".join(lines)


def chart(rows: list[dict[str, Any]]) -> str:
    """Bars of the ratios as SVG."""
    shown = [(r["title"], r["ratio_least"]) for r in rows if r["ratio_least"]]
    top = max([1.2, *(ratio for _, ratio in shown)]) * 1.05
    left, width, step = 190, 480, 22
    height = step * len(shown) + 50
    at = lambda ratio: left + width * ratio / top  # noqa: E731
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 60}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="16">best peer\'s time / Lampyr\'s (right of 1: Lampyr is faster)</text>',
    ]
    for i, (title, ratio) in enumerate(shown):
        y = 28 + i * step
        fill = "#2a7" if ratio >= 1 else "#c93" if ratio >= FLOOR else "#c44"
        parts.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{title}</text>')
        parts.append(f'<rect x="{left}" y="{y}" width="{at(ratio) - left:.1f}" height="{step - 6}" fill="{fill}"/>')
        parts.append(f'<text x="{at(ratio) + 5:.1f}" y="{y + 13}">{ratio:.2f}</text>')
    for mark, dash in ((1.0, ""), (FLOOR, ' stroke-dasharray="3 3"')):
        x = f"{at(mark):.1f}"
        parts.append(f'<line x1="{x}" x2="{x}" y1="24" y2="{height - 18}" stroke="#333"{dash}/>')
        parts.append(f'<text x="{x}" y="{height - 5}" text-anchor="middle">{mark:g}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
