"""The measurement beside other engines, with stand-ins for the engines' processes."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benches.peers import report  # noqa: E402
from benches.peers.cases import CASES, chosen  # noqa: E402
from benches.peers.rounds import INPUTS, NAMES, measure  # noqa: E402
from zoo.process import EngineError  # noqa: E402

EXPECTED = [np.array([1.0, 2.0, float(i)], np.float32) for i in range(INPUTS)]
SECONDS = {"lampyr": 0.002, "torch": 0.004, "onnxruntime": 0.003, "openvino": 0.005}


class StandIn:
    """Answers as a worker does; `fault` is added to the outputs from the input `since` on."""

    asked: list[tuple[str, str]]

    def __init__(self, name: str, fault: float = 0.0, since: int = 0, dies: str = "") -> None:
        self.name, self.fault, self.since, self.dies = name, fault, since, dies
        self.stopped = False

    def ask(self, verb: str, **rest: Any) -> dict[str, Any]:
        StandIn.asked.append((self.name, verb))
        if verb == self.dies:
            raise EngineError(f"no {verb} today")
        if verb == "load":
            return {"seconds": 0.01}
        if verb == "examples":
            paths = [str(Path(rest["folder"]) / f"{i}.npz") for i in range(rest["count"])]
            for path, out in zip(paths, EXPECTED, strict=True):
                np.savez(path, in_x=np.zeros(1, np.float32), out_y=out)
            return {"paths": paths, "shapes": {"x": [1]}, "dims": {}}
        if verb == "run":
            index = rest.get("index", 0)
            if "path" in rest:
                np.savez(rest["path"], EXPECTED[index] + (self.fault if index >= self.since else 0))
            return {"seconds": 0.02}
        if verb == "time":
            return {"times": [SECONDS[self.name]] * rest["count"]}
        return {"peak_bytes": 1 << 20} if verb == "rss" else {}

    def pause(self) -> None:
        self.stopped = True

    def resume(self) -> None:
        self.stopped = False

    def stop(self) -> None:
        StandIn.asked.append((self.name, "stop"))


def run(**faults: dict[str, Any]) -> dict[str, Any]:
    StandIn.asked = []
    made = measure("m", Path("m.onnx"), {}, 2, 2, 2, lambda name, threads: StandIn(name, **faults.get(name, {})))
    return report.row("m", "M", made)


def test_ratio_is_of_the_best_peer() -> None:
    row = run()
    assert row["best_least"] == "onnxruntime"
    assert row["ratio_least"] == pytest.approx(1.5)
    assert row["engines"]["lampyr"]["first"] == pytest.approx(0.03)
    assert sum(verb == "stop" for _, verb in StandIn.asked) == 4 + 3, "4 that are timed, 3 that start once more"
    total = report.summary([row])
    assert total["geometric_mean"] == pytest.approx(1.5)
    assert total["below_floor"] == []


@pytest.mark.parametrize("fault", [1e-2, float("nan")])
def test_wrong_results_are_refused_before_timing(fault: float) -> None:
    row = run(lampyr={"fault": fault, "since": INPUTS - 1})
    assert ("lampyr", "time") not in StandIn.asked
    assert ("openvino", "time") in StandIn.asked
    assert row["ratio_least"] is None
    assert "Lampyr: " in report.remark(row)
    page = {"about": {k: "" for k in ("date", "cpu", "cores", "threads", "command")} | {"versions": {}}}
    text = report.markdown(page | {"models": [row], "summary": report.summary([row])})
    assert "0 of 1 models" in text


def test_a_failing_peer_leaves_the_row() -> None:
    row = run(openvino={"dies": "load"}, onnxruntime={"dies": "time"})
    assert row["ratio_least"] == pytest.approx(2.0), "torch is what is left"
    assert "OpenVINO: no load today" in report.remark(row)


def test_without_a_reference_nothing_is_timed() -> None:
    row = run(torch={"dies": "examples"})
    assert all(row["engines"][name]["problem"] for name in NAMES)
    assert not any(verb == "time" for _, verb in StandIn.asked)


def test_choice_of_models() -> None:
    assert len(chosen([])) == len(CASES) == 19
    assert [case.key for case in chosen(["resnet50"])] == ["resnet50"]
    with pytest.raises(SystemExit, match="unknown models: nosuch"):
        chosen(["nosuch"])


def test_chart_has_a_bar_per_model() -> None:
    rows = [{"title": "A", "ratio_least": 0.5}, {"title": "B", "ratio_least": 1.5}, {"title": "C", "ratio_least": None}]
    text = report.chart(rows)
    assert text.count('height="16"') == 2
    assert "0.50" in text and "1.50" in text
