"""Derivatives of functions of tensors, as in ``torch.autograd.functional``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lampyr._lampyr import Tensor
from lampyr._top import ones_like, zeros_like
from lampyr.autograd.derive_ import Pushforward, gradients, units
from lampyr.autograd.mode import enable_grad
from lampyr.autograd.vmap_ import Mapped

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _tuple(value: Any, what: str) -> tuple[bool, tuple[Tensor, ...]]:
    many = isinstance(value, tuple)
    all_ = value if many else (value,)
    for i, t in enumerate(all_):
        if not isinstance(t, Tensor):
            raise TypeError(f"{what} must be a tensor or a tuple of tensors, got a {type(t).__name__} at index {i}")
    return many, all_


def _opened(inputs: tuple[Tensor, ...], create_graph: bool) -> tuple[Tensor, ...]:
    """Tensors that stand for the inputs; connected with them where the result is to be differentiable."""
    if create_graph:
        return tuple(x.view(x.shape) if x.requires_grad else x.detach().requires_grad_() for x in inputs)
    return tuple(x.detach().requires_grad_() for x in inputs)


def _closed(values: tuple[Tensor, ...], create_graph: bool, many: bool) -> Any:
    made = values if create_graph else tuple(v.detach() for v in values)
    return made if many else made[0]


def _strict(
    strict: bool, create_graph: bool, outputs: tuple[Tensor, ...], grads: list[Tensor | None], what: str
) -> None:
    if not strict:
        return
    for i, y in enumerate(outputs):
        if not y.requires_grad:
            raise RuntimeError(f"Output {i} of the user-provided function does not require gradients.")
    for i, g in enumerate(grads):
        if g is None:
            raise RuntimeError(f"The output of the user-provided function is independent of input {i}; {what} is zero.")
        if create_graph and not g.requires_grad:
            raise RuntimeError(f"The {what} of the user-provided function is independent of input {i}.")


def _weights(v: Any, like: tuple[Tensor, ...], what: str) -> tuple[Tensor, ...]:
    if v is None:
        if len(like) == 1 and like[0].numel() == 1:
            return (ones_like(like[0].detach()),)
        raise RuntimeError(f"The vector v can only be None if {what} a Tensor with a single element.")
    _, given = _tuple(v, "v")
    if len(given) != len(like):
        raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(given)}.")
    for i, (a, b) in enumerate(zip(given, like, strict=True)):
        if a.shape != b.shape:
            raise RuntimeError(f"v[{i}] has invalid size: should be {tuple(b.shape)} but got {tuple(a.shape)}.")
    return given


def _full(grads: list[Tensor | None], like: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(zeros_like(x.detach()) if g is None else g for g, x in zip(grads, like, strict=True))


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The output of ``func`` and the product of ``v`` with its Jacobian."""
    many_in, given = _tuple(inputs, "inputs")
    with enable_grad():
        opened = _opened(given, create_graph)
        many_out, outputs = _tuple(func(*opened), "outputs")
        weights = _weights(v, outputs, "the user-provided function returns")
        grads = gradients(outputs, opened, weights, create_graph)
        _strict(strict, create_graph, outputs, grads, "vjp")
    made = _full(grads, given)
    return _closed(outputs, create_graph, many_out), _closed(made, create_graph, many_in)


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The output of ``func`` and the product of its Jacobian with ``v``."""
    _, given = _tuple(inputs, "inputs")
    weights = _weights(v, given, "the input is")
    with enable_grad():
        opened = _opened(given, create_graph)
        many_out, outputs = _tuple(func(*opened), "outputs")
        if strict:
            _strict(True, False, outputs, gradients(outputs, opened, tuple(map(ones_like, outputs)), True), "jvp")
        made = Pushforward(outputs, opened)(weights, create_graph)
    return _closed(outputs, create_graph, many_out), _closed(tuple(made), create_graph, many_out)


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of ``func``: a tensor, or tuples of them by output and input."""
    if strategy not in ("forward-mode", "reverse-mode"):
        raise ValueError(f'Expected strategy to be either "forward-mode" or "reverse-mode". Got {strategy!r}')
    if strategy == "forward-mode" and create_graph:
        raise NotImplementedError('create_graph=True with strategy="forward-mode" is not supported')
    many_in, given = _tuple(inputs, "inputs")
    with enable_grad():
        opened = _opened(given, create_graph)
        many_out, outputs = _tuple(func(*opened), "outputs")
        blocks = []
        for i, y in enumerate(outputs):
            parts = (
                []
                if y.numel()
                else [zeros_like(x.detach()).expand(0, *x.shape).reshape(*y.shape, *x.shape) for x in given]
            )
            for unit in units(y):
                with Mapped(y.numel()) as level:
                    grads = gradients((y,), opened, (level.enter(unit),), create_graph)
                    _strict(strict, create_graph, outputs, grads, f"jacobian of output {i}")
                    found = [level.leave(g) for g in _full(grads, given)]
                parts = [g.reshape(*y.shape, *x.shape) for g, x in zip(found, given, strict=True)]
            blocks.append(_closed(tuple(parts), create_graph, many_in))
    return tuple(blocks) if many_out else blocks[0]


def _scalar(func: Callable[..., Any]) -> Callable[..., Tensor]:
    def checked(*args: Tensor) -> Tensor:
        out = func(*args)
        if not isinstance(out, Tensor):
            raise TypeError("The function given should return a single Tensor")
        if out.numel() != 1:
            raise RuntimeError("The Tensor returned by the function given should contain a single element")
        return out.reshape(())

    return checked


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The matrix of second derivatives of a scalar ``func``: a tensor, or tuples of them by both inputs."""
    many, given = _tuple(inputs, "inputs")
    single = _scalar(func)

    def gradient(*args: Tensor) -> tuple[Tensor, ...]:
        made = jacobian(single, args, create_graph=True, strict=strict)
        return tuple(made)

    made = jacobian(gradient, given, create_graph=create_graph, strict=strict)
    return made if many else made[0][0]


def _gradient_at(
    func: Callable[..., Any], given: tuple[Tensor, ...], create_graph: bool
) -> tuple[Tensor, tuple[Tensor, ...], list[Tensor | None]]:
    opened = _opened(given, create_graph)
    output = _scalar(func)(*opened)
    return output, opened, gradients((output,), opened, None, True)


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The value of a scalar ``func`` and the product of its Hessian with ``v``."""
    return vhp(func, inputs, v, create_graph, strict)


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The value of a scalar ``func`` and the product of ``v`` with its Hessian, which is symmetric."""
    many, given = _tuple(inputs, "inputs")
    weights = _weights(v, given, "the input is")
    with enable_grad():
        output, opened, first = _gradient_at(func, given, create_graph)
        _strict(strict, True, (output,), first, "gradient")
        pairs = [(g, w) for g, w in zip(first, weights, strict=True) if g is not None and g.requires_grad]
        second = gradients([g for g, _ in pairs], opened, [w for _, w in pairs], create_graph)
        _strict(strict, create_graph, (output,), second, "hessian")
    made = _full(second, given)
    return _closed((output,), create_graph, False), _closed(made, create_graph, many)
