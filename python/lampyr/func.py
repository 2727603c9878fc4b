"""Functions of functions: gradients, Jacobians and batching, as in ``torch.func``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from lampyr._lampyr import Tensor
from lampyr._top import cat, stack, zeros_like
from lampyr.autograd.derive_ import Level, Pushforward, gradients, units
from lampyr.autograd.mode import enable_grad
from lampyr.autograd.tree_ import flatten
from lampyr.autograd.vmap_ import Mapped, vmap

__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "stack_module_state",
    "vjp",
    "vmap",
]

Argnums = int | tuple[int, ...]


def _positions(argnums: Argnums, count: int) -> list[int]:
    given = (argnums,) if isinstance(argnums, int) else argnums
    if not isinstance(given, tuple) or not given or not all(isinstance(i, int) for i in given):
        raise RuntimeError(f"argnums must be an int or a non-empty tuple of ints, got {argnums!r}")
    if any(not -count <= i < count for i in given):
        raise RuntimeError(f"Got argnums={argnums}, but only {count} positional inputs")
    places = [i % count for i in given]
    if len(set(places)) != len(places):
        raise RuntimeError(f"argnums elements must be unique, got {argnums!r}")
    return places


def _checked(leaves: list[Any], what: str) -> list[Tensor]:
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(f"{what}: expected tensors, got a {type(leaf).__name__}")
        if not leaf.is_floating_point():
            raise RuntimeError(f"{what}: expected tensors of a float type, got {leaf.dtype}")
    return leaves


def _aux(result: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise RuntimeError(f"{what}: output of function f should be a tuple: (output, aux) if has_aux is True")
    return result[0], result[1]


class _Call:
    """A function called with some arguments replaced by tensors that derivatives end at."""

    def __init__(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Any, argnums: Argnums, what: str
    ) -> None:
        self.level = Level()
        self.places = _positions(argnums, len(args))
        leaves, self._rebuild = flatten([args[i] for i in self.places])
        with enable_grad():
            self.inputs = [self.level.open(x) for x in _checked(leaves, what)]
            new = list(args)
            for i, value in zip(self.places, self._rebuild(self.inputs), strict=True):
                new[i] = value
            self.result = func(*new, **kwargs)
        self._single = isinstance(argnums, int)

    def shaped(self, leaves: Sequence[Any]) -> Any:
        """One value per input leaf, in the nest of the arguments."""
        made = self._rebuild(leaves)
        return made[0] if self._single else tuple(made)


def grad_and_value(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of ``func`` (a scalar) and its value, or ``(gradient, (value, aux))``."""

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        call = _Call(func, args, kwargs, argnums, "grad_and_value(f)(*args)")
        value, aux = _aux(call.result, "grad_and_value(f)(*args)") if has_aux else (call.result, None)
        if not isinstance(value, Tensor):
            raise RuntimeError(
                f"Expected f(*args) given to grad(f)(*args) to return a Tensor, got {type(value).__name__}"
            )
        if value.dim() != 0:
            raise RuntimeError(
                f"Expected f(*args) given to grad(f)(*args) to return a scalar tensor, got tensor with {value.dim()} "
                "dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
            )
        watched = call.level.watched(value)
        found = gradients([value], call.inputs, None, watched, watched)
        full = [zeros_like(x.detach()) if g is None else g for g, x in zip(found, call.inputs, strict=True)]
        made = call.shaped([g if watched else g.detach() for g in full])
        shown = value if watched else value.detach()
        return (made, (shown, call.level.close(aux))) if has_aux else (made, shown)

    return wrapped


def grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of ``func`` (a scalar), or ``(gradient, aux)``."""
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        made, value = both(*args, **kwargs)
        return (made, value[1]) if has_aux else made

    return wrapped


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """``(output, vjp_fn)`` or ``(output, vjp_fn, aux)``: ``vjp_fn`` takes weights like the output and returns a
    tuple of one gradient per primal."""
    if not primals:
        raise RuntimeError("vjp(func, *primals): expected at least one primal")
    call = _Call(func, primals, {}, tuple(range(len(primals))), "vjp(f, *primals)")
    output, aux = _aux(call.result, "vjp(f, *primals)") if has_aux else (call.result, None)
    outputs = _outputs(output, "vjp(f, *primals)")
    watched = call.level.watched(*outputs)

    def pull(*cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        value = cotangents[0] if len(cotangents) == 1 else cotangents
        weights, _ = flatten(value)
        if len(weights) != len(outputs):
            raise RuntimeError(f"Expected pytree structure of cotangents to be that of the outputs, got {len(weights)}")
        keep = watched or any(w.requires_grad for w in weights)
        recorded = keep if create_graph is None else create_graph
        found = gradients(outputs, call.inputs, weights, recorded)
        full = [zeros_like(x.detach()) if g is None else g for g, x in zip(found, call.inputs, strict=True)]
        return call.shaped(full if keep else [g.detach() for g in full])

    shown = call.level.close(output)
    return (shown, pull, call.level.close(aux)) if has_aux else (shown, pull)


def _outputs(output: Any, what: str) -> list[Tensor]:
    leaves, _ = flatten(output)
    if not leaves or not all(isinstance(y, Tensor) for y in leaves):
        raise RuntimeError(f"{what}: Expected f to be a function that has non-empty output of tensors")
    return leaves


def jvp(
    func: Callable[..., Any],
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
    *,
    strict: bool = False,
    has_aux: bool = False,
) -> Any:
    """``(output, derivative along tangents)`` or ``(output, derivative, aux)``."""
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple) or len(primals) != len(tangents):
        raise RuntimeError("jvp(f, primals, tangents): Expected primals and tangents to be tuples of equal length")
    directions, _ = flatten(tangents)
    starts, _ = flatten(primals)
    if [tuple(t.shape) for t in directions] != [tuple(p.shape) for p in starts]:
        raise RuntimeError("jvp(f, primals, tangents): Expected primals and tangents to have the same shapes")
    call = _Call(func, primals, {}, tuple(range(len(primals))), "jvp(f, primals, tangents)")
    output, aux = _aux(call.result, "jvp(f, primals, tangents)") if has_aux else (call.result, None)
    outputs = _outputs(output, "jvp(f, primals, tangents)")
    _, rebuild = flatten(output)
    watched = call.level.watched(*outputs) or any(t.requires_grad for t in directions)
    with enable_grad():
        moved = Pushforward(outputs, call.inputs)(directions, watched)
    made = rebuild([m if watched else m.detach() for m in moved])
    shown = call.level.close(output)
    return (shown, made, call.level.close(aux)) if has_aux else (shown, made)


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """``(output, jvp_fn)``: ``jvp_fn(*tangents)`` gives derivatives at ``primals`` without calling ``func`` again."""
    call = _Call(func, primals, {}, tuple(range(len(primals))), "linearize(f, *primals)")
    outputs = _outputs(call.result, "linearize(f, *primals)")
    _, rebuild = flatten(call.result)
    watched = call.level.watched(*outputs)
    with enable_grad():
        push = Pushforward(outputs, call.inputs)

    def derivative(*tangents: Any) -> Any:
        directions, _ = flatten(tangents)
        with enable_grad():
            moved = push(directions, watched)
        return rebuild([m if watched else m.detach() for m in moved])

    return call.level.close(call.result), derivative


def _empty(y: Tensor, x: Tensor) -> Tensor:
    """The Jacobian of two tensors one of which has no elements."""
    return zeros_like(y.detach()).reshape(-1)[:0].expand(0).reshape(*y.shape, *x.shape)


def _jacobian(
    func: Callable[..., Any], argnums: Argnums, has_aux: bool, forward: bool, chunk_size: int | None
) -> Callable[..., Any]:
    what = "jacfwd" if forward else "jacrev"
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"{what}: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        call = _Call(func, args, kwargs, argnums, f"{what}(f)(*args)")
        output, aux = _aux(call.result, what) if has_aux else (call.result, None)
        outputs = _outputs(output, f"{what}(f)(*args)")
        _, rebuild = flatten(output)
        watched = call.level.watched(*outputs)
        blocks = (_columns if forward else _rows)(outputs, call.inputs, watched, chunk_size)
        shown = rebuild([call.shaped([b if watched else b.detach() for b in row]) for row in blocks])
        return (shown, call.level.close(aux)) if has_aux else shown

    return wrapped


def _rows(
    outputs: list[Tensor], inputs: list[Tensor], recorded: bool, chunk_size: int | None = None
) -> list[list[Tensor]]:
    blocks = []
    for y in outputs:
        parts: list[list[Tensor]] = [[] for _ in inputs]
        for unit in units(y, chunk_size):
            with Mapped(unit.shape[0]) as level:
                found = gradients([y], inputs, [level.enter(unit)], recorded)
                for part, g, x in zip(parts, found, inputs, strict=True):
                    part.append(level.leave(zeros_like(x.detach()) if g is None else g))
        blocks.append(
            [cat(p).reshape(*y.shape, *x.shape) if p else _empty(y, x) for p, x in zip(parts, inputs, strict=True)]
        )
    return blocks


def _columns(
    outputs: list[Tensor], inputs: list[Tensor], recorded: bool, chunk_size: int | None = None
) -> list[list[Tensor]]:
    with enable_grad():
        push = Pushforward(outputs, inputs)
        zero = [zeros_like(x.detach()) for x in inputs]
        columns: list[list[list[Tensor]]] = []
        for k, x in enumerate(inputs):
            parts: list[list[Tensor]] = [[] for _ in outputs]
            for unit in units(x, chunk_size):
                with Mapped(unit.shape[0]) as level:
                    made = push([*zero[:k], level.enter(unit), *zero[k + 1 :]], recorded)
                    for part, t, y in zip(parts, made, outputs, strict=True):
                        part.append(level.leave(t, y.dim()))
            columns.append(parts)
        blocks = []
        for j, y in enumerate(outputs):
            row = []
            for k, x in enumerate(inputs):
                p = columns[k][j]
                row.append(cat(p, -1).reshape(*y.shape, *x.shape) if p else _empty(y, x))
            blocks.append(row)
    return blocks


def jacrev(
    func: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Callable[..., Any]:
    """A function that returns the Jacobian of ``func``, ``chunk_size`` output elements (all when None) at once."""
    return _jacobian(func, argnums, has_aux, False, chunk_size)


def jacfwd(
    func: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that returns the Jacobian of ``func``, ``chunk_size`` input elements (all when None) at once."""
    return _jacobian(func, argnums, has_aux, True, chunk_size)


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that returns the matrix of second derivatives of ``func``."""
    return jacfwd(jacrev(func, argnums), argnums)


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: dict[str, Tensor] | Sequence[dict[str, Tensor]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Calls ``module`` with parameters and buffers replaced by those given by name, and puts the own ones back."""
    given: dict[str, Tensor] = {}
    dicts = parameter_and_buffer_dicts
    for part in [dicts] if isinstance(dicts, dict) else dicts:
        if any(name in given for name in part):
            raise ValueError("functional_call: a name appears in several dictionaries")
        given.update(part)
    own = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    unknown = [name for name in given if name not in own]
    if unknown or (strict and len(given) < len(own)):
        missing = [name for name in own if name not in given] if strict else []
        raise RuntimeError(f"functional_call: unexpected names {unknown}, missing names {missing}")
    if tie_weights:
        for name, value in list(given.items()):
            given.update({other: value for other, t in own.items() if t is own[name] and other not in given})
    places = []
    for name, value in given.items():
        path, _, last = name.rpartition(".")
        owner = module.get_submodule(path) if path else module
        table = owner._parameters if last in owner._parameters else owner._buffers
        places.append((table, last, table[last], value))
    positional = () if args is None else args if isinstance(args, tuple) else (args,)
    try:
        for table, last, _, value in places:
            table[last] = value
        return module(*positional, **(kwargs or {}))
    finally:
        for table, last, before, _ in places:
            table[last] = before


def stack_module_state(models: Sequence[Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters and the buffers of equal modules, stacked along a new first axis."""
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")

    def stacked(names: str, trained: bool) -> dict[str, Tensor]:
        tables = [dict(getattr(m, names)()) for m in models]
        made = {k: stack([t[k].detach() for t in tables]) for k in tables[0]}
        return {k: v.requires_grad_(tables[0][k].requires_grad) if trained else v for k, v in made.items()}

    return stacked("named_parameters", True), stacked("named_buffers", False)
