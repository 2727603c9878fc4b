"""What all optimisers share: groups of parameters, their state, and steps that happen wholly or not at all."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from typing import Any, cast

import lampyr
from lampyr import Tensor, enable_grad, zeros_like
from lampyr.errors import InvalidValueError, StateDictError
from lampyr.nn.hooks import RemovableHandle, add

__all__ = ["Optimizer", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook"]

Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
Hooks = OrderedDict[int, Callable[..., Any]]

_before_all: Hooks = OrderedDict()
_after_all: Hooks = OrderedDict()


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required: Any = _Required()


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Calls ``hook(optimizer, args, kwargs)`` before the steps of all optimisers."""
    return add(_before_all, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Calls ``hook(optimizer, args, kwargs)`` after the steps of all optimisers."""
    return add(_after_all, hook)


class Optimizer:
    """Base of optimisers.

    A subclass gives ``_update``, which changes the parameters of a group that have gradients and their states, and
    ``_prepare``, which makes the state of one parameter.
    """

    AUTO_EVAL_AFTER_STEP = False
    param_groups: list[dict[str, Any]]
    state: defaultdict[Any, dict[str, Any]]

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got Tensor"
            )
        self.defaults = defaults
        self.state = defaultdict(dict)
        self.param_groups = []
        self._step_pre_hooks: Hooks = OrderedDict()
        self._step_post_hooks: Hooks = OrderedDict()
        given: list[Any] = list(params)
        if not given:
            raise InvalidValueError("optimizer got an empty parameter list")
        groups = given if isinstance(given[0], dict) else [{"params": given}]
        for group in groups:
            self.add_param_group(dict(group))

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.setdefault("_step_pre_hooks", OrderedDict())
        self.__dict__.setdefault("_step_post_hooks", OrderedDict())

    def __repr__(self) -> str:
        text = type(self).__name__ + " ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            text += "".join(f"    {key}: {group[key]}\n" for key in sorted(group) if key != "params")
        return text + ")"

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with options of their own; options not given are the optimiser's."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError("optimizer parameters need to be organized in ordered collections; sets are not ordered")
        items = [params] if isinstance(params, Tensor) else list(params)
        named = bool(items) and isinstance(items[0], tuple)
        if named:
            param_group["param_names"] = [name for name, _ in items]
            items = [p for _, p in items]
        for p in items:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf:
                raise InvalidValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise InvalidValueError(f"parameter group didn't specify a value of required parameter {name}")
            param_group.setdefault(name, default)
        if len({id(p) for p in items}) != len(items):
            raise InvalidValueError("a parameter group has the same parameter twice")
        seen = {id(p) for group in self.param_groups for p in group["params"]}
        if any(id(p) in seen for p in items):
            raise InvalidValueError("some parameters appear in more than one parameter group")
        param_group["params"] = items
        self.param_groups.append(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients, or sets them to zero."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad = zeros_like(p.grad)

    # Steps.

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Changes every parameter that has a gradient. ``closure`` computes the loss again, which is returned.

        When something is wrong with a gradient or the state, nothing changes.
        """
        for hook in [*_before_all.values(), *self._step_pre_hooks.values()]:
            hook(self, () if closure is None else (closure,), {})
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        work = []
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            states = [self.state[p] for p in params]
            for p, state in zip(params, states, strict=True):
                self._prepare(p, state, group)
                _check_state(p, state)
            work.append((group, params, states))
        for group, params, states in work:
            if params:
                self._update(group, params, [cast(Tensor, p.grad) for p in params], states)
        for hook in [*_after_all.values(), *self._step_post_hooks.values()]:
            hook(self, () if closure is None else (closure,), {})
        return loss

    def _prepare(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Makes the first state of a parameter."""

    def _update(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no step")

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls ``hook(optimizer, args, kwargs)`` before every step."""
        return add(self._step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls ``hook(optimizer, args, kwargs)`` after every step."""
        return add(self._step_post_hooks, hook)

    # State.

    def state_dict(self) -> dict[str, Any]:
        """Options and state, with parameters as numbers. Tensors share memory with the optimiser's."""
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
            rest = {key: value for key, value in group.items() if key != "params"}
            groups.append({**rest, "params": [numbers[id(p)] for p in group["params"]]})
        state = {numbers[id(p)]: {k: _out(k, v) for k, v in values.items()} for p, values in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what :meth:`state_dict` gave. Groups and their sizes have to be the same."""
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise StateDictError(
                f"loaded state dict has {len(saved)} parameter groups", expected=f"{len(self.param_groups)}"
            )
        params: dict[Any, Tensor] = {}
        for mine, theirs in zip(self.param_groups, saved, strict=True):
            if len(mine["params"]) != len(theirs["params"]):
                raise StateDictError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group",
                    expected=f"{len(mine['params'])} parameters, not {len(theirs['params'])}",
                )
            params |= dict(zip(theirs["params"], mine["params"], strict=True))
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            p = params.get(number)
            for key, value in values.items():
                if p is not None and isinstance(value, Tensor) and value.ndim and value.shape != p.shape:
                    raise StateDictError(f"{key} of parameter {number} has shape {value.shape}", expected=str(p.shape))
            state[number if p is None else p] = {k: _in(k, v, p) for k, v in values.items()}
        self.state = state
        self.param_groups = [
            {**mine, **copy.deepcopy({k: v for k, v in theirs.items() if k != "params"}), "params": mine["params"]}
            for mine, theirs in zip(self.param_groups, saved, strict=True)
        ]


def _check_state(p: Tensor, state: dict[str, Any]) -> None:
    for key, value in state.items():
        if isinstance(value, Tensor) and value.ndim and (value.shape != p.shape or value.dtype != p.dtype):
            raise StateDictError(
                f"{key} is {value.dtype}{list(value.shape)} where the parameter is {p.dtype}{list(p.shape)}",
                help="make the optimizer after changing the type of a module",
            )


def _out(key: str, value: Any) -> Any:
    return lampyr.tensor(float(value)) if key == "step" else value


def _in(key: str, value: Any, p: Tensor | None) -> Any:
    if key == "step":
        return float(value)
    if not isinstance(value, Tensor):
        return copy.deepcopy(value)
    value = value.detach().clone()
    return value.to(p.dtype) if p is not None and p.is_floating_point() and value.dtype != p.dtype else value


def number(value: Any) -> float:
    """An option that may be a tensor of one element."""
    return value if type(value) is float else float(value)


def check(**limits: tuple[Any, bool]) -> None:
    """Raises for options outside their domain."""
    for name, (value, fine) in limits.items():
        if not fine:
            raise InvalidValueError(f"Invalid {name.replace('_', ' ')} value: {value}")
