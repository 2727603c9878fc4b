"""Functions with a gradient of their own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lampyr._lampyr import Tensor, _FunctionState, _set_grad_enabled, is_grad_enabled, is_inference_mode_enabled
from lampyr.autograd.mode import no_grad

__all__ = ["BackwardCFunction", "Function", "FunctionCtx", "once_differentiable"]


class FunctionCtx(_FunctionState):
    """What a function notes in its forward pass for its backward pass. Other attributes may be set freely."""

    needs_input_grad: tuple[bool, ...] = ()
    _materialize = True
    _to_save: tuple[Any, ...] = ()
    _dirty: tuple[Tensor, ...] = ()
    _constant: tuple[Tensor, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps inputs or outputs for the backward pass."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(f"save_for_backward can only save tensors, but a {type(t).__name__} was given")
        self._to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Accepted for PyTorch's sake: forward-mode derivatives come from the backward pass."""

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What was kept; fails when a tensor was changed in place since or freed by an earlier backward pass."""
        return self._to_save if self._to_save else self._kept()

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Tells that these inputs were changed in place."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Tells that these outputs have no gradient."""
        self._constant = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether missing gradients reach ``backward`` as zeros (the default) or as None."""
        self._materialize = value

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the context of this function has no attribute {name!r}; set it in forward() first")


BackwardCFunction = FunctionCtx


def _among(t: Any, tensors: tuple[Any, ...]) -> bool:
    return any(t is other for other in tensors)


class Function:
    """Base of functions that say themselves how they are differentiated.

    A subclass has a static ``forward(ctx, *args)``, or ``forward(*args)`` with ``setup_context(ctx, inputs, output)``,
    and a static ``backward(ctx, *grad_outputs)`` that returns one gradient (or None) per argument. It is called by
    ``apply``.
    """

    generate_vmap_rule = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """An object of it says nothing: call ``apply`` of the class."""

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Computes the outputs."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Notes what the backward pass needs, for a ``forward`` without ``ctx``."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Gradients of the arguments from those of the outputs."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """Accepted for PyTorch's sake: forward-mode derivatives come from ``backward``."""
        raise NotImplementedError("forward-mode derivatives come from backward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("Instances of an autograd.Function are not called; use its static method apply().")

    @classmethod
    def _backward(cls, ctx: Any, *grads: Any) -> Any:
        own = cls.backward if cls.backward is not Function.backward else cls.vjp
        return own(ctx, *grads)

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Calls the function and records it."""
        ctx = FunctionCtx()
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        before = _set_grad_enabled(False)
        try:
            if cls.setup_context is Function.setup_context:
                made = cls.forward(ctx, *args, **kwargs)
            else:
                made = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, made)
        finally:
            _set_grad_enabled(before)
        save, ctx._to_save = ctx._to_save, ()
        if not before or is_inference_mode_enabled() or not any(ctx.needs_input_grad):
            return made
        single = not isinstance(made, tuple | list)
        outputs = [made] if single else list(made)
        originals = list(outputs)
        for i, out in enumerate(outputs):
            if isinstance(out, Tensor) and not _among(out, ctx._dirty) and (_among(out, args) or out.requires_grad):
                outputs[i] = out.detach()
        # Saved outputs that were replaced above are saved as what they became.
        save = tuple(next((n for o, n in zip(originals, outputs, strict=True) if o is t), t) for t in save)
        tensors = [o for o in outputs if isinstance(o, Tensor)]
        old = [o for o, n in zip(originals, outputs, strict=True) if isinstance(n, Tensor)]
        kinds = bytes(
            2 if _among(o, ctx._dirty) else 1 if _among(o, ctx._constant) or not o.is_floating_point() else 0
            for o in old
        )
        ctx._connect(cls, list(args), tensors, kinds, save)
        ctx._dirty = ctx._constant = ()
        return outputs[0] if single else type(made)(outputs)


class _Refused(Function):
    """The identity, whose gradient is an error."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        made = tuple(a.detach() if isinstance(a, Tensor) else a for a in args)
        return made[0] if len(made) == 1 else made

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a ``backward`` that cannot be differentiated itself."""

    @functools.wraps(function)
    def wrapped(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            made = function(ctx, *grads)
        tracked = [g for g in grads if isinstance(g, Tensor) and g.requires_grad]
        if not is_grad_enabled() or not tracked:
            return made
        single = not isinstance(made, tuple)
        outputs = (made,) if single else made
        fresh = [o.detach().requires_grad_() if isinstance(o, Tensor) else o for o in outputs]
        refused = _Refused.apply(*fresh)
        refused = (refused,) if len(fresh) == 1 else refused
        return refused[0] if single else refused

    return wrapped
