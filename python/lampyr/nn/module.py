"""The base of all layers and models."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import lampyr
from lampyr import Tensor
from lampyr.errors import DTypeError, InvalidValueError
from lampyr.nn import hooks
from lampyr.nn.hooks import Global, Hook, RemovableHandle
from lampyr.nn.parameter import Buffer, Parameter
from lampyr.nn.state import Stateful

__all__ = ["Module"]


class Module(Stateful):
    """A layer or model: its parameters, buffers and submodules are its attributes, its computation is ``forward``.

    Subclasses call ``super().__init__()`` before they assign attributes.
    """

    dump_patches: bool = False
    _version: int = 1
    training: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args or kwargs:
            raise TypeError(f"{type(self).__name__}.__init__() takes no arguments but {(*args, *kwargs)} were given")
        put = super().__setattr__
        put("training", True)
        for name in ("_parameters", "_buffers", "_modules"):
            put(name, {})
        put("_non_persistent_buffers_set", set())
        for name in _HOOKS:
            put(name, OrderedDict())

    if TYPE_CHECKING:
        forward: Callable[..., Any]
    else:

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            """The computation; every subclass defines it."""
            raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    # Calls.

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
            or Global.forward
            or Global.forward_pre
            or Global.backward
            or Global.backward_pre
        ):
            return self.forward(*args, **kwargs)
        return self._call_with_hooks(args, kwargs)

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        called: set[int] = set()
        try:
            for key, hook in [*Global.forward_pre.items(), *self._forward_pre_hooks.items()]:
                if key in self._forward_pre_hooks_with_kwargs:
                    made = hook(self, args, kwargs)
                    if made is not None:
                        if not (isinstance(made, tuple) and len(made) == 2):
                            raise RuntimeError(f"forward pre-hook must return None or (args, kwargs), not {made!r}")
                        args, kwargs = made
                else:
                    made = hook(self, args)
                    if made is not None:
                        args = made if isinstance(made, tuple) else (made,)
            backward = None
            if self._backward_hooks or self._backward_pre_hooks or Global.backward or Global.backward_pre:
                from lampyr.nn.backward_hooks import BackwardHooks

                backward = BackwardHooks(
                    self,
                    [*Global.backward.values(), *self._backward_hooks.values()],
                    [*Global.backward_pre.values(), *self._backward_pre_hooks.values()],
                )
                args = backward.inputs(args)
            output = self.forward(*args, **kwargs)
            for key, hook, named in self._all_forward_hooks():
                called.add(key)
                made = hook(self, args, kwargs, output) if named else hook(self, args, output)
                output = output if made is None else made
            return output if backward is None else backward.outputs(output)
        except BaseException:
            always = {**Global.forward_always, **self._forward_hooks_always_called}
            for key, hook, named in self._all_forward_hooks():
                if key in always and key not in called:
                    _ = hook(self, args, kwargs, None) if named else hook(self, args, None)
            raise

    def _all_forward_hooks(self) -> list[tuple[int, Hook, bool]]:
        named = {**Global.forward_with_kwargs, **self._forward_hooks_with_kwargs}
        return [(k, h, k in named) for k, h in [*Global.forward.items(), *self._forward_hooks.items()]]

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls ``hook(module, args)`` before forward; what it returns, if anything, replaces the arguments."""
        flags = [self._forward_pre_hooks_with_kwargs] if with_kwargs else []
        return hooks.add(self._forward_pre_hooks, hook, prepend, flags)

    def register_forward_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Calls ``hook(module, args, output)`` after forward; what it returns, if anything, replaces the output."""
        flags = [self._forward_hooks_with_kwargs] if with_kwargs else []
        flags += [self._forward_hooks_always_called] if always_call else []
        return hooks.add(self._forward_hooks, hook, prepend, flags)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Calls ``hook(module, grad_output)`` before this module's gradients are computed."""
        return hooks.add(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Calls ``hook(module, grad_input, grad_output)`` after this module's gradients are computed."""
        return hooks.add(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """As :meth:`register_full_backward_hook`."""
        return self.register_full_backward_hook(hook)

    # Attributes.

    def _table(self, name: str) -> dict[str, Any]:
        table: dict[str, Any] | None = self.__dict__.get(name)
        if table is None:
            kind = {"_parameters": "parameters", "_buffers": "buffer"}.get(name, "module")
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        return table

    def _check_name(self, kind: str, name: str, table: dict[str, Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string, got {type(name).__name__}")
        if hasattr(self, name) and name not in table:
            raise KeyError(f"attribute {name!r} already exists")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name!r}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter; ``None`` keeps the name for a parameter that is not there."""
        table = self._table("_parameters")
        self._check_name("parameter", name, table)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{type(param).__name__}' object to parameter '{name}' "
                    "(lampyr.nn.Parameter or None required)"
                )
            for hook in Global.parameter.values():
                made = hook(self, name, param)
                param = param if made is None else made
        table[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds a tensor that is state but no parameter; a persistent one is part of the state dict."""
        table = self._table("_buffers")
        self._check_name("buffer", name, table)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' (lampyr.Tensor or None required)"
            )
        for hook in Global.buffer.values():
            made = hook(self, name, tensor)
            tensor = tensor if made is None else made
        table[name] = tensor
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a submodule."""
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        table = self._table("_modules")
        self._check_name("module", name, table)
        for hook in Global.module.values():
            made = hook(self, name, module)
            module = module if made is None else made
        table[name] = module

    def register_module(self, name: str, module: Module | None) -> None:
        """As :meth:`add_module`."""
        self.add_module(name, module)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for table in ("_parameters", "_buffers", "_modules"):
            if table in own and name in own[table]:
                return own[table][name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        parameters = own.get("_parameters")
        if isinstance(value, Parameter):
            self._table("_parameters")
            self._forget(name, "_parameters")
            self.register_parameter(name, value)
        elif parameters is not None and name in parameters:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' object to parameter '{name}' "
                    "(lampyr.nn.Parameter or None required)"
                )
            parameters[name] = None
        elif isinstance(value, Module):
            self._table("_modules")
            self._forget(name, "_modules")
            for hook in Global.module.values():
                made = hook(self, name, value)
                value = value if made is None else made
            own["_modules"][name] = value
        elif name in own.get("_modules", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' object to child module '{name}' "
                    "(lampyr.nn.Module or None required)"
                )
            own["_modules"][name] = None
        elif isinstance(value, Buffer) or name in own.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' object to buffer '{name}' "
                    "(lampyr.nn.Buffer, lampyr.Tensor or None required)"
                )
            persistent = name not in own.get("_non_persistent_buffers_set", ())
            if isinstance(value, Buffer):
                self._table("_buffers")
                self._forget(name, "_buffers")
                persistent = value.persistent
            self.register_buffer(name, value, persistent)
        else:
            super().__setattr__(name, value)

    def _forget(self, name: str, keep: str) -> None:
        self.__dict__.pop(name, None)
        for table in ("_parameters", "_buffers", "_modules"):
            if table != keep:
                self.__dict__[table].pop(name, None)
        if keep != "_buffers":
            self._non_persistent_buffers_set.discard(name)

    def __delattr__(self, name: str) -> None:
        for table in (self._parameters, self._buffers, self._modules):
            if name in table:
                del table[name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        names = {*super().__dir__(), *self._parameters, *self._buffers, *self._modules}
        return sorted(name for name in names if not name[:1].isdigit())

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name in _HOOKS:
            self.__dict__.setdefault(name, OrderedDict())

    # Submodules by path.

    def get_submodule(self, target: str) -> Module:
        """The submodule at a path such as ``"encoder.layers.0"``; the empty path is this module."""
        at: Any = self
        for name in target.split(".") if target else []:
            if not hasattr(at, name):
                raise AttributeError(f"{type(at).__name__} has no attribute `{name}`")
            at = getattr(at, name)
            if not isinstance(at, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return at  # type: ignore[no-any-return]

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Replaces the submodule at a path; with ``strict`` there has to be one already."""
        if not target:
            raise InvalidValueError("cannot set the submodule without a target name")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{type(parent).__name__} has no attribute `{name}`")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path."""
        found = self._at_path(target)
        if not isinstance(found, Parameter):
            raise AttributeError(f"`{target.rpartition('.')[2]}` is not an nn.Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path."""
        path, _, name = target.rpartition(".")
        found = self._at_path(target)
        if name not in self.get_submodule(path)._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return found  # type: ignore[no-any-return]

    def _at_path(self, target: str) -> Any:
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if not hasattr(owner, name):
            raise AttributeError(f"{type(owner).__name__} has no attribute `{name}`")
        return getattr(owner, name)

    # Changes of all parameters.

    def apply(self, fn: Callable[[Module], None]) -> Self:
        """Calls ``fn`` with every submodule, then with this module."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        done: dict[int, tuple[Tensor, Tensor]] = {}
        for module in self.modules() if recurse else [self]:
            tables: list[dict[str, Any]] = [module._parameters, module._buffers]
            for table in tables:
                for name, old in table.items():
                    if old is None:
                        continue
                    if id(old) not in done:
                        done[id(old)] = old, _converted(old, fn)
                    table[name] = done[id(old)][1]
            module._after_apply()
        return self

    def _after_apply(self) -> None:
        """Called after parameters or buffers of this module were replaced."""

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Moves parameters and buffers to a device and converts those of float types to a dtype.

        to(device=None, dtype=None, non_blocking=False, copy=False, memory_format=None)
        to(dtype, non_blocking=False, copy=False, memory_format=None)
        to(other, non_blocking=False, copy=False, memory_format=None)
        to(non_blocking=False, copy=False)

        Parameters whose type changes are new objects: make optimisers afterwards.
        """
        device, dtype = _target(*args, **kwargs)

        def move(t: Tensor) -> Tensor:
            to = dtype if dtype is not None and t.is_floating_point() else None
            return t.to(device=device, dtype=to)

        return self._apply(move)

    def type(self, dst_type: Any) -> Self:
        """Converts all parameters and buffers."""
        return self._apply(lambda t: t.to(dst_type))

    def _to_float(self, dtype: lampyr.dtype) -> Self:
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def float(self) -> Self:
        """Converts parameters and buffers of float types to ``float32``."""
        return self._to_float(lampyr.float32)

    def double(self) -> Self:
        """Converts parameters and buffers of float types to ``float64``."""
        return self._to_float(lampyr.float64)

    def half(self) -> Self:
        """Converts parameters and buffers of float types to ``float16``."""
        return self._to_float(lampyr.float16)

    def bfloat16(self) -> Self:
        """Converts parameters and buffers of float types to ``bfloat16``."""
        return self._to_float(lampyr.bfloat16)

    def cpu(self) -> Self:
        """Moves parameters and buffers to the CPU."""
        return self.to("cpu")

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Parameters and buffers of the same shapes with arbitrary contents, on another device."""
        return self._apply(lambda t: lampyr.empty(*t.shape, dtype=t.dtype, device=device), recurse)

    def share_memory(self) -> Self:
        """This module: tensors of the host are shared between threads as they are."""
        return self

    def metal(self, device: Any = None) -> Self:
        """Moves parameters and buffers to the GPU of a Mac."""
        return self._apply(lambda t: t.metal(device))

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Takes what PyTorch's ``Module.compile`` takes. Calls compute as before: ops run at once."""

    def train(self, mode: bool = True) -> Self:
        """Puts this module and its submodules into training (or evaluation) mode."""
        if not isinstance(mode, bool):
            raise InvalidValueError("training mode is expected to be boolean")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Puts this module and its submodules into evaluation mode."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether the parameters collect gradients."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of the parameters, or sets them to zero."""
        for p in self.parameters():
            if p.grad is not None:
                p.grad = None if set_to_none else lampyr.zeros_like(p.grad)

    # Text.

    def _get_name(self) -> str:
        return self.__class__.__name__

    def extra_repr(self) -> str:
        """What the text of this module says besides its submodules."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr().split("\n") if self.extra_repr() else []
        children = [f"({name}): {_indent(repr(module))}" for name, module in self._modules.items()]
        lines = extra + children
        if len(extra) == 1 and not children:
            return f"{self._get_name()}({extra[0]})"
        body = "\n  " + "\n  ".join(lines) + "\n" if lines else ""
        return f"{self._get_name()}({body})"


_HOOKS = (
    "_backward_pre_hooks",
    "_backward_hooks",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def _indent(text: str) -> str:
    return text.replace("\n", "\n  ")


def _converted(old: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor:
    made = fn(old.detach())
    if made.dtype == old.dtype and made.device == old.device and made.data_ptr() == old.data_ptr() and old.numel():
        return old
    if isinstance(old, Parameter):
        new: Tensor = type(old)(made, old.requires_grad)
        if old.grad is not None:
            new.grad = fn(old.grad.detach())
        return new
    return Buffer(made, persistent=old.persistent) if isinstance(old, Buffer) else made


def _target(
    *args: Any,
    device: Any = None,
    dtype: Any = None,
    other: Tensor | None = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: Any = None,
) -> tuple[Any, Any]:
    for arg in (*args, *(() if other is None else (other,))):
        if isinstance(arg, Tensor):
            device, dtype = arg.device, arg.dtype
        elif isinstance(arg, lampyr.dtype):
            dtype = arg
        elif not isinstance(arg, bool):
            device = arg
    if dtype is not None and not dtype.is_floating_point:
        raise DTypeError(f"nn.Module.to only accepts floating point dtypes, but got desired dtype={dtype}")
    return device, dtype
