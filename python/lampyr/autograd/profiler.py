"""Times of operations, from the trace."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from lampyr._lampyr import memory_stats, start_trace, stop_trace
from lampyr.autograd.mode import _Block

__all__ = ["MemoryStats", "OpEvent", "ProfileSummary", "Profiler", "profile", "record_function"]


@dataclass(frozen=True)
class OpEvent:
    """One run of an op; times in nanoseconds."""

    name: str
    kernel: str
    device: str
    reason: str
    start_ns: int
    duration_ns: int
    shapes: tuple[tuple[int, ...], ...] = ()
    thread: int = 0


@dataclass(frozen=True)
class MemoryStats:
    """Bytes of tensors before and after, and at the peak since the program began."""

    before_bytes: int
    after_bytes: int
    peak_bytes: int


@dataclass
class ProfileSummary:
    """Events, and totals by op."""

    events: list[OpEvent] = field(default_factory=list)
    memory: MemoryStats = field(default_factory=lambda: MemoryStats(0, 0, 0))

    def totals(self) -> dict[str, tuple[int, int]]:
        """Calls and nanoseconds by name, the most expensive first."""
        found: dict[str, tuple[int, int]] = {}
        for e in self.events:
            calls, spent = found.get(e.name, (0, 0))
            found[e.name] = (calls + 1, spent + e.duration_ns)
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))

    def table(self, row_limit: int = 100) -> str:
        """The totals as text, one line per op."""
        lines = [f"{'op':32} {'calls':>8} {'total us':>12} {'mean us':>10}"]
        for name, (calls, spent) in list(self.totals().items())[:row_limit]:
            lines.append(f"{name:32} {calls:8d} {spent / 1e3:12.1f} {spent / 1e3 / calls:10.2f}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


_spans: list[list[OpEvent]] = []


class Profiler:
    """Records ops between ``start`` and ``stop``, or inside of a ``with`` block."""

    def __init__(self, capacity: int = 65536) -> None:
        self._capacity = capacity
        self._before = 0
        self.summary = ProfileSummary()

    def start(self) -> None:
        """Begins to record."""
        self._before = memory_stats()["active_bytes"]
        _spans.append([])
        start_trace(self._capacity)

    def stop(self) -> ProfileSummary:
        """Ends; what was recorded."""
        events = [
            OpEvent(
                e["op"],
                e["kernel"],
                e["device"],
                e["reason"],
                e["start_ns"],
                e["duration_ns"],
                tuple(map(tuple, e["shapes"])),
                e["thread"],
            )
            for e in stop_trace()
        ]
        stats = memory_stats()
        memory = MemoryStats(self._before, stats["active_bytes"], stats["peak_bytes"])
        self.summary = ProfileSummary(events + _spans.pop(), memory)
        return self.summary

    def __enter__(self) -> Profiler:
        self.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.stop()

    def events(self) -> list[OpEvent]:
        """What was recorded."""
        return self.summary.events

    def key_averages(self) -> ProfileSummary:
        """Totals by op."""
        return self.summary


def profile(enabled: bool = True, capacity: int = 65536, **options: Any) -> Profiler:
    """A profiler for a ``with`` block; other options of PyTorch's class are accepted."""
    return Profiler(capacity)


class record_function(_Block):  # noqa: N801
    """Names a block or a function: it becomes an event of the profilers around it."""

    def __init__(self, name: str, args: str | None = None) -> None:
        super().__init__()
        self.name = name

    def _enter(self) -> int:
        return time.perf_counter_ns()

    def _leave(self, before: int) -> None:
        spent = time.perf_counter_ns() - before
        for spans in _spans:
            spans.append(OpEvent(self.name, "", "cpu", "span", before, spent))

    def _again(self) -> _Block:
        return record_function(self.name)
