"""Functions that modules call before and after their forward and backward passes, and while loading."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Any

__all__ = [
    "RemovableHandle",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_load_state_dict_post_hook",
    "register_module_load_state_dict_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

Hook = Callable[..., Any]
Hooks = OrderedDict[int, Hook]

_ids = itertools.count()


class RemovableHandle:
    """Takes a hook away again: by ``remove()``, or at the end of a ``with`` block."""

    def __init__(self, hooks_dict: dict[int, Any], *, extra_dict: Any = None) -> None:
        self.id = next(_ids)
        self._places = [weakref.ref(hooks_dict)] if isinstance(hooks_dict, OrderedDict) else []
        more = [extra_dict] if isinstance(extra_dict, OrderedDict) else extra_dict or []
        self._places += [weakref.ref(place) for place in more]

    def remove(self) -> None:
        """Takes the hook away; more calls change nothing."""
        for place in self._places:
            hooks = place()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def add(
    hooks: Hooks, hook: Hook, prepend: bool = False, flags: list[OrderedDict[int, bool]] | None = None
) -> RemovableHandle:
    """Puts ``hook`` last (or first) into ``hooks`` and sets it in ``flags``."""
    handle = RemovableHandle(hooks, extra_dict=flags)
    hooks[handle.id] = hook
    for flag in flags or []:
        flag[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


class Global:
    """Hooks of all modules."""

    forward_pre: Hooks = OrderedDict()
    forward: Hooks = OrderedDict()
    forward_with_kwargs: OrderedDict[int, bool] = OrderedDict()
    forward_always: OrderedDict[int, bool] = OrderedDict()
    backward_pre: Hooks = OrderedDict()
    backward: Hooks = OrderedDict()
    load_pre: Hooks = OrderedDict()
    load_post: Hooks = OrderedDict()
    parameter: Hooks = OrderedDict()
    buffer: Hooks = OrderedDict()
    module: Hooks = OrderedDict()


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    """Calls ``hook(module, args)`` before every forward; what it returns, if anything, replaces the arguments."""
    return add(Global.forward_pre, hook)


def register_module_forward_hook(
    hook: Hook, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Calls ``hook(module, args, output)`` after every forward; what it returns, if anything, replaces the output."""
    flags = [Global.forward_with_kwargs] if with_kwargs else []
    return add(Global.forward, hook, flags=flags + ([Global.forward_always] if always_call else []))


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    """Calls ``hook(module, grad_output)`` before the gradients of every module are computed."""
    return add(Global.backward_pre, hook)


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    """Calls ``hook(module, grad_input, grad_output)`` after the gradients of every module are computed."""
    return add(Global.backward, hook)


def register_module_backward_hook(hook: Hook) -> RemovableHandle:
    """As :func:`register_module_full_backward_hook`."""
    return register_module_full_backward_hook(hook)


def register_module_load_state_dict_pre_hook(hook: Hook) -> RemovableHandle:
    """Calls ``hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)`` before loading."""
    return add(Global.load_pre, hook)


def register_module_load_state_dict_post_hook(hook: Hook) -> RemovableHandle:
    """Calls ``hook(module, incompatible_keys)`` after loading."""
    return add(Global.load_post, hook)


def register_module_parameter_registration_hook(hook: Hook) -> RemovableHandle:
    """Calls ``hook(module, name, parameter)``; what it returns, if anything, is registered instead."""
    return add(Global.parameter, hook)


def register_module_buffer_registration_hook(hook: Hook) -> RemovableHandle:
    """Calls ``hook(module, name, buffer)``; what it returns, if anything, is registered instead."""
    return add(Global.buffer, hook)


def register_module_module_registration_hook(hook: Hook) -> RemovableHandle:
    """Calls ``hook(module, name, submodule)``; what it returns, if anything, is registered instead."""
    return add(Global.module, hook)
