"""A callable of torch as the callable of Lampyr with the same name."""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Callable
from typing import Any

import torch

import lampyr


class Missing(Exception):
    """Lampyr has no function of that name."""


def seeded(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Counterpart of `wrapper_set_seed`."""
    lampyr.manual_seed(42)
    return function(*arguments, **named)


def attribute(path: str) -> Any:
    """The object at a dotted path below `lampyr`."""
    owner: Any = lampyr
    for step in path.split("."):
        # A module may answer for names that it does not have.
        if isinstance(owner, types.ModuleType) and step not in vars(owner) and step not in dir(owner):
            owner = None if owner.__name__ != "lampyr" else getattr(owner, step, None)
        else:
            owner = getattr(owner, step, None)
        if owner is None:
            raise Missing(path)
    return owner


MODULES = {
    "torch": "",
    "torch.functional": "",
    "torch._C._VariableFunctions": "",
    "torch._C._nn": "nn.functional.",
    "torch.nn.functional": "nn.functional.",
    "torch._C._linalg": "linalg.",
    "torch._C._special": "special.",
    "torch._C._fft": "fft.",
    "torch._tensor": "Tensor.",
}


# What torch's own functions are called that its public names stand for.
PUBLIC = {"log_sigmoid": "logsigmoid", "_threshold": "threshold"}


def path(function: Any) -> str | None:
    """The dotted path below `lampyr` that stands for a function of torch; `None` for a function of its tests."""
    name = getattr(function, "__name__", "")
    name = PUBLIC.get(name, name)
    if isinstance(function, types.MethodDescriptorType | types.WrapperDescriptorType):
        return "Tensor." + name
    module = getattr(function, "__module__", None) or ""
    if isinstance(function, types.FunctionType) and (module.startswith("torch.testing") or name == "<lambda>"):
        return None
    if module in MODULES:
        prefix = MODULES[module]
        package = prefix.removesuffix(".")
        return prefix + (name.removeprefix(package + "_") if package in ("linalg", "special", "fft") else name)
    if isinstance(function, types.BuiltinFunctionType) and hasattr(torch, name):
        return name
    raise Missing(f"{module}.{name}")


def translate(function: Any) -> Any:
    """Raises `Missing` where Lampyr lacks a name that the callable itself is; a lambda fails when it is called."""
    if isinstance(function, functools.partial):
        return functools.partial(translate(function.func), *function.args, **function.keywords)
    if isinstance(function, torch.nn.Module):
        module = getattr(lampyr.nn, type(function).__name__)()
        for name in getattr(function, "__constants__", ()):
            setattr(module, name, vars(function)[name])
        return module
    name = getattr(function, "__name__", "")
    if getattr(operator, name, None) is function:
        return function
    found = path(function)
    return rebuilt(function) if found is None else attribute(found)


def rebuilt(function: types.FunctionType) -> Any:
    """The same Python function with `lampyr` where it says `torch`."""
    scope = {**function.__globals__, "torch": lampyr, "wrapper_set_seed": seeded}
    closure = function.__closure__ and tuple(types.CellType(inner(cell.cell_contents)) for cell in function.__closure__)
    copy = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__, closure)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def inner(value: Any) -> Any:
    if value is torch:
        return lampyr
    return translate(value) if callable(value) and not isinstance(value, type) else value


def exists(name: str) -> bool:
    """Whether Lampyr has a function or method of the name that torch's database gives an operator."""
    # Random numbers are drawn in place alone.
    for path in (name, "Tensor." + name, f"Tensor.{name}_"):
        try:
            attribute(path)
        except Missing:
            continue
        return True
    return False
