"""Trading time for memory: intermediate results are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lampyr._lampyr import Tensor, is_grad_enabled
from lampyr.autograd import rng_
from lampyr.autograd.graph import saved_tensors_hooks
from lampyr.autograd.mode import enable_grad

__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential"]


class CheckpointError(RuntimeError):
    """The second run of a checkpointed function kept other tensors than the first."""


class _Frame:
    """One checkpointed call: how many tensors it kept, and those of the second run until they are read."""

    def __init__(self, run: Callable[[], Any], check: bool) -> None:
        self._run = run
        self._check = check
        self._facts: list[Any] = []
        self._made: dict[int, Tensor] = {}

    def pack(self, tensor: Tensor) -> int:
        self._facts.append((tensor.shape, tensor.dtype))
        return len(self._facts) - 1

    def unpack(self, index: int) -> Tensor:
        if index not in self._made:
            self._again()
        return self._made.pop(index)

    def _again(self) -> None:
        kept: list[Tensor] = []

        def keep(tensor: Tensor) -> int:
            kept.append(tensor.detach())
            return len(kept) - 1

        with enable_grad(), saved_tensors_hooks(keep, lambda i: kept[i]):
            self._run()
        if self._check:
            found = [(t.shape, t.dtype) for t in kept]
            if found != self._facts:
                raise CheckpointError(
                    f"checkpoint: the second run kept {len(found)} tensors, the first {len(self._facts)}; a "
                    "checkpointed function must do the same each time it is called"
                )
        self._made = dict(enumerate(kept))


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[AbstractContextManager[Any], AbstractContextManager[Any]]] | None = None,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """Calls ``function`` without keeping what its gradient needs; it is called again in the backward pass.

    Random numbers are the same in both runs while ``preserve_rng_state`` is on. ``use_reentrant`` and ``early_stop``
    are accepted for PyTorch's sake.
    """
    if not is_grad_enabled():
        return function(*args, **kwargs)
    first, second = (nullcontext(), nullcontext()) if context_fn is None else context_fn()
    state = rng_.get_state() if preserve_rng_state else None

    def run() -> None:
        now = rng_.get_state()
        if state is not None:
            rng_.set_state(state)
        try:
            with second:
                function(*args, **kwargs)
        finally:
            if state is not None:
                rng_.set_state(now)

    frame = _Frame(run, determinism_check != "none")
    with saved_tensors_hooks(frame.pack, frame.unpack), first:
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Any,
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Runs ``functions`` one after another in ``segments`` checkpointed pieces; the last piece keeps everything."""
    steps: Sequence[Callable[..., Any]] = list(functions.children()) if hasattr(functions, "children") else functions

    def piece(start: int, end: int) -> Callable[..., Any]:
        def run(value: Any) -> Any:
            for step in steps[start:end]:
                value = step(value)
            return value

        return run

    size = max(len(steps) // segments, 1)
    end = 0
    for start in range(0, size * (segments - 1), size):
        end = start + size
        input = checkpoint(piece(start, end), input, use_reentrant=use_reentrant, **kwargs)
    return piece(end, len(steps))(input)
