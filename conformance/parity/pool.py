"""One forked process per operator, with a time limit: a crash or a hang costs one sample."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

# A process that says nothing for so long hangs in one sample.
SILENCE_SECONDS = 60.0
# An operator that crashes more often is given up.
CRASHES = 12


Skip = set[tuple[str, int]]
Work = Callable[[Skip, TextIO], None]


def run(work: Work, seconds: float) -> list[dict[str, Any]]:
    """The rows that `work` writes, without those of samples in which it crashes; each of these gets a row too."""
    rows: list[dict[str, Any]] = []
    skip: Skip = set()
    until = time.monotonic() + seconds
    for _ in range(CRASHES):
        found, unfinished, cause = forked(work, skip, until)
        rows += found
        if cause is None:
            return rows
        if unfinished is None:
            rows.append({"dtype": "error", "index": -1, "checks": {"function": f"broken {cause}"}})
            return rows
        dtype, index = unfinished
        rows.append({"dtype": dtype, "index": index, "checks": {"function": f"broken {cause}"}})
        skip |= {(row["dtype"], row["index"]) for row in found} | {(dtype, index)}
        if time.monotonic() > until:
            break
    return rows


def forked(work: Work, skip: Skip, until: float) -> tuple[list[dict[str, Any]], tuple[str, int] | None, str | None]:
    """Rows, the sample in which the process stopped, and why it stopped; the latter two `None` at its proper end."""
    source, sink = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(source)
        status = 1
        try:
            with os.fdopen(sink, "w") as stream:
                work(skip, stream)
            status = 0
        finally:
            os._exit(status)
    os.close(sink)
    text, cause = b"", None
    while True:
        wait = min(SILENCE_SECONDS, until - time.monotonic())
        ready = wait > 0 and select.select([source], [], [], wait)[0]
        if not ready:
            cause = "hang: no answer in time"
            os.kill(child, signal.SIGKILL)
            break
        piece = os.read(source, 1 << 16)
        if not piece:
            break
        text += piece
    os.close(source)
    _, status = os.waitpid(child, 0)
    if cause is None and status != 0:
        name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {status >> 8}"
        cause = f"crash: {name}"
    rows, begun = [], None
    for line in text.split(b"\n")[:-1]:
        row = json.loads(line)
        if "begin" in row:
            begun = (row["begin"][0], row["begin"][1])
        else:
            rows.append(row)
            begun = None
    return rows, begun, cause
