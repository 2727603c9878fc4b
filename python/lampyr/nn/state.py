"""What a module consists of, and its state as a dictionary."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from lampyr import Tensor, no_grad
from lampyr.errors import StateDictError
from lampyr.nn import hooks
from lampyr.nn.hooks import Global, Hook, Hooks, RemovableHandle
from lampyr.nn.parameter import Parameter

if TYPE_CHECKING:
    from lampyr.nn.module import Module

T = TypeVar("T")
EXTRA = "_extra_state"


class IncompatibleKeys(NamedTuple):
    """What :meth:`Module.load_state_dict` could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class Stateful:
    """The part of ``Module`` that lists what is in it."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]
    _backward_pre_hooks: Hooks
    _backward_hooks: Hooks
    _forward_hooks: Hooks
    _forward_hooks_with_kwargs: OrderedDict[int, bool]
    _forward_hooks_always_called: OrderedDict[int, bool]
    _forward_pre_hooks: Hooks
    _forward_pre_hooks_with_kwargs: OrderedDict[int, bool]
    _state_dict_hooks: Hooks
    _state_dict_pre_hooks: Hooks
    _load_state_dict_pre_hooks: Hooks
    _load_state_dict_post_hooks: Hooks
    _version: int

    # Lists.

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with their paths."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self  # type: ignore[misc]
        for name, module in self._modules.items():
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below, with their names."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly below."""
        for _, module in self.named_children():
            yield module

    def _named_members(
        self, members: Callable[[Any], dict[str, T | None]], prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, T]]:
        seen: set[int] = set()
        owners = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in owners:
            for name, value in members(module).items():
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Parameters with their paths; a shared one once."""
        yield from self._named_members(lambda m: m._parameters, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters; a shared one once."""
        for _, p in self.named_parameters(recurse=recurse):
            yield p

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Buffers with their paths; a shared one once."""
        yield from self._named_members(lambda m: m._buffers, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Buffers; a shared one once."""
        for _, b in self.named_buffers(recurse=recurse):
            yield b

    # State out.

    def get_extra_state(self) -> Any:
        """What the state dict holds besides tensors; a subclass with such state defines this."""
        raise RuntimeError("get_extra_state() has to be defined by the module that has extra state")

    def set_extra_state(self, state: Any) -> None:
        """Takes what :meth:`get_extra_state` gave."""
        raise RuntimeError("set_extra_state() has to be defined by the module that has extra state")

    def _has_extra_state(self) -> bool:
        return type(self).get_extra_state is not Stateful.get_extra_state

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for name, p in self._parameters.items():
            if p is not None:
                destination[prefix + name] = p if keep_vars else p.detach()
        for name, b in self._buffers.items():
            if b is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = b if keep_vars else b.detach()
        if self._has_extra_state():
            destination[prefix + EXTRA] = self.get_extra_state()

    def state_dict(
        self, *args: Any, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Parameters and persistent buffers by path. They share memory with the module; ``keep_vars`` keeps them.

        By position: ``destination``, ``prefix`` and ``keep_vars``.
        """
        if args:
            destination, prefix, keep_vars = (*args, *(destination, prefix, keep_vars)[len(args) :])
        state: Any = destination
        if state is None:
            state = OrderedDict()
            state._metadata = OrderedDict()
        local = {"version": self._version}
        if hasattr(state, "_metadata"):
            state._metadata[prefix[:-1]] = local
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(state, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=state, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            made = hook(self, state, prefix, local)
            state = state if made is None else made
        return state  # type: ignore[no-any-return]

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Calls ``hook(module, state_dict, prefix, local_metadata)`` after the state was gathered."""
        return hooks.add(self._state_dict_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Calls ``hook(module, prefix, keep_vars)`` before the state is gathered."""
        return hooks.add(self._state_dict_pre_hooks, hook)

    # State in.

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Calls ``hook(module, state, prefix, metadata, strict, missing, unexpected, errors)`` before loading."""
        return hooks.add(self._load_state_dict_pre_hooks, hook)

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Calls ``hook(module, incompatible_keys)`` after loading."""
        return hooks.add(self._load_state_dict_post_hooks, hook)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        for hook in [*Global.load_pre.values(), *self._load_state_dict_pre_hooks.values()]:
            hook(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        buffers = {k: v for k, v in self._buffers.items() if k not in self._non_persistent_buffers_set}
        own: dict[str, Any] = {k: v for k, v in {**self._parameters, **buffers}.items() if v is not None}
        for name, target in own.items():
            key = prefix + name
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            source = state_dict[key]
            if not isinstance(source, Tensor):
                error_msgs.append(
                    f'While copying the parameter named "{key}", expected a Tensor but received {type(source).__name__}'
                )
            elif source.shape != target.shape and not (target.ndim == 0 and source.shape == (1,)):
                error_msgs.append(
                    f"size mismatch for {key}: copying a param with shape {_size(source)} from checkpoint, "
                    f"the shape in current model is {_size(target)}."
                )
            else:
                self._pending_loads().append((name, target, source))
        if strict:
            self._find_unexpected(state_dict, prefix, own, unexpected_keys)

    def _pending_loads(self) -> list[tuple[str, Tensor, Tensor]]:
        loads: list[tuple[str, Tensor, Tensor]] = self.__dict__.setdefault("_loads", [])
        return loads

    def _find_unexpected(
        self, state_dict: dict[str, Any], prefix: str, own: dict[str, Any], unexpected_keys: list[str]
    ) -> None:
        for key in state_dict:
            if key.startswith(prefix) and key != prefix + EXTRA:
                name, dot, _ = key[len(prefix) :].partition(".")
                if name not in self._modules and (dot or name not in own):
                    unexpected_keys.append(key)
        extra = prefix + EXTRA
        if extra in state_dict and not self._has_extra_state():
            unexpected_keys.append(extra)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copies the tensors of ``state_dict`` into parameters and buffers; with ``assign`` they take their place.

        A state that does not fit changes nothing. Raises a :class:`StateDictError` that lists every missing and
        unexpected key (with ``strict``) and every shape that differs.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", {})
        state: Any = OrderedDict(state_dict)
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        loads: list[tuple[Module, list[tuple[str, Tensor, Tensor]]]] = []
        extras: list[tuple[Module, Any]] = []
        visited: list[Module] = []

        def visit(module: Module, prefix: str) -> None:
            local = {**metadata.get(prefix[:-1], {}), "assign_to_params_buffers": assign}
            module.__dict__.pop("_loads", None)
            module._load_from_state_dict(state, prefix, local, True, missing, unexpected, errors)
            loads.append((module, module.__dict__.pop("_loads", [])))
            if module._has_extra_state():
                if prefix + EXTRA in state:
                    extras.append((module, state[prefix + EXTRA]))
                else:
                    missing.append(prefix + EXTRA)
            for name, child in module._modules.items():
                if child is not None:
                    visit(child, f"{prefix}{name}.")
            visited.append(module)

        visit(self, "")  # type: ignore[arg-type]
        keys = IncompatibleKeys(missing, unexpected)
        for module in visited:
            for hook in [*Global.load_post.values(), *module._load_state_dict_post_hooks.values()]:
                hook(module, keys)
        if strict:
            if unexpected:
                quoted = ", ".join(f'"{k}"' for k in unexpected)
                errors.insert(0, f"Unexpected key(s) in state_dict: {quoted}. ")
            if missing:
                quoted = ", ".join(f'"{k}"' for k in missing)
                errors.insert(0, f"Missing key(s) in state_dict: {quoted}. ")
        if errors:
            listed = "\n\t".join(errors)
            raise StateDictError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{listed}",
                help="strict=False accepts missing and unexpected keys",
            )
        with no_grad():
            for module, pairs in loads:
                for name, target, source in pairs:
                    _load(module, name, target, source, assign)
        for module, extra in extras:
            module.set_extra_state(extra)
        return keys


def _size(t: Tensor) -> str:
    return f"[{', '.join(map(str, t.shape))}]"


def _load(module: Module, name: str, target: Tensor, source: Tensor, assign: bool) -> None:
    if not assign:
        target.copy_(source.reshape(target.shape) if source.shape != target.shape else source)
    elif isinstance(target, Parameter):
        same = isinstance(source, Parameter)
        module._parameters[name] = source if same else Parameter(source, target.requires_grad)  # type: ignore[assignment]
    else:
        module._buffers[name] = source
