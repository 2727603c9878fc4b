"""The recorded graph: hooks on saved tensors, edges, nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from lampyr._lampyr import (
    Node,
    RemovableHandle,
    Tensor,
    _disable_saved_hooks,
    _gradient_edge,
    _pop_saved_hooks,
    _push_saved_hooks,
)

__all__ = [
    "GradientEdge",
    "Node",
    "allow_mutation_on_saved_tensors",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]


class saved_tensors_hooks:  # noqa: N801
    """In the block, tensors kept for gradients pass through ``pack_hook`` and come back through ``unpack_hook``."""

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]) -> None:
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def __enter__(self) -> None:
        _push_saved_hooks(self.pack_hook, self.unpack_hook)

    def __exit__(self, *args: object) -> None:
        _pop_saved_hooks()


class save_on_cpu(saved_tensors_hooks):  # noqa: N801
    """In the block, tensors kept for gradients wait in the memory of the host."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        def pack(tensor: Tensor) -> tuple[Any, Tensor]:
            return tensor.device, tensor.cpu().detach()

        def unpack(packed: tuple[Any, Tensor]) -> Tensor:
            device, tensor = packed
            return tensor.to(device=device)

        super().__init__(pack, unpack)


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """In the block, ``saved_tensors_hooks`` raises an error with this message."""
    _disable_saved_hooks(error_message)
    try:
        yield
    finally:
        _pop_saved_hooks()


@contextmanager
def allow_mutation_on_saved_tensors() -> Iterator[None]:
    """In the block, tensors kept for gradients are copied, so that they may be changed in place before backward."""
    with saved_tensors_hooks(lambda tensor: tensor.detach().clone(), lambda tensor: tensor):
        yield


class GradientEdge(NamedTuple):
    """Where the gradient of a tensor goes."""

    node: Node
    output_nr: int


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Where the gradient of ``tensor`` goes: its node, or the end of a leaf."""
    found = _gradient_edge(tensor)
    if found is None:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    return GradientEdge(*found)


def increment_version(tensor: Tensor | Sequence[Tensor]) -> None:
    """Notes a change in place that Lampyr did not see."""
    from lampyr.autograd.mode import no_grad

    for t in [tensor] if isinstance(tensor, Tensor) else tensor:
        with no_grad():
            t.detach().copy_(t.detach())


class _Handles:
    """Removes several hooks at once."""

    def __init__(self, handles: list[RemovableHandle]) -> None:
        self._handles = handles

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> _Handles:
        return self

    def __exit__(self, *args: object) -> None:
        self.remove()


def register_multi_grad_hook(tensors: Sequence[Tensor], fn: Callable[..., None], *, mode: str = "all") -> _Handles:
    """Calls ``fn`` when the gradients of all ``tensors`` are known, or with ``mode="any"`` at the first."""
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode!r}")
    count = len(tensors)
    grads: list[Tensor | None] = [None] * count
    state = {"seen": 0}

    def hook_at(i: int) -> Callable[[Tensor], None]:
        def hook(grad: Tensor) -> None:
            state["seen"] += 1
            if mode == "any":
                if state["seen"] == 1:
                    fn(grad)
                if state["seen"] == count:
                    state["seen"] = 0
                return
            grads[i] = grad
            if state["seen"] == count:
                state["seen"] = 0
                given = list(grads)
                grads[:] = [None] * count
                fn(given)

        return hook

    return _Handles([t.register_hook(hook_at(i)) for i, t in enumerate(tensors)])
