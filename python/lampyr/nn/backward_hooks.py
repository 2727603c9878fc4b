"""Backward hooks of modules: the inputs and outputs of a call pass through functions that tell of their gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lampyr import Tensor, autograd

if TYPE_CHECKING:
    from lampyr.nn.hooks import Hook
    from lampyr.nn.module import Module


class BackwardHooks:
    """The hooks of one call of a module."""

    def __init__(self, module: Module, after: list[Hook], before: list[Hook]) -> None:
        self.module = module
        self.after = after
        self.before = before
        self.grad_outputs: tuple[Tensor | None, ...] | None = None
        self.input_count = 0

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments; gradients that reach them are shown to the hooks."""
        at = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        self.recorded = any(args[i].requires_grad for i in at)
        if not self.recorded:
            return args

        def seen(grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
            full: list[Tensor | None] = [None] * len(args)
            for i, g in zip(at, grads, strict=True):
                full[i] = g
            made = self._finish(tuple(full))
            return tuple(made[i] for i in at)

        passed = _through(seen, [args[i] for i in at])
        replaced = list(args)
        for i, t in zip(at, passed, strict=True):
            replaced[i] = t
        return tuple(replaced)

    def outputs(self, output: Any) -> Any:
        """The result; gradients that arrive at it are shown to the hooks."""
        many = isinstance(output, (tuple, list))
        items = list(output) if many else [output]
        at = [i for i, a in enumerate(items) if isinstance(a, Tensor)]
        if not any(items[i].requires_grad for i in at):
            return output

        def seen(grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
            full: list[Tensor | None] = [None] * len(items)
            for i, g in zip(at, grads, strict=True):
                full[i] = g
            state = tuple(full)
            for hook in self.before:
                made = hook(self.module, state)
                if made is not None:
                    state = made if isinstance(made, tuple) else (made,)
            self.grad_outputs = state
            if not self.recorded:
                self._finish((None,))
            return tuple(state[i] for i in at)

        for i, t in zip(at, _through(seen, [items[i] for i in at]), strict=True):
            items[i] = t
        return type(output)(items) if many else items[0]

    def _finish(self, grad_inputs: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        for hook in self.after:
            made = hook(self.module, grad_inputs, self.grad_outputs)
            if made is not None:
                grad_inputs = made if isinstance(made, tuple) else (made,)
        return grad_inputs


def _through(seen: Any, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    class Pass(autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
            return tuple(t.view(t.shape) for t in inputs)

        @staticmethod
        def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
            made: tuple[Tensor | None, ...] = seen(grads)
            return made

    made = Pass.apply(*tensors)
    return made if isinstance(made, tuple) else (made,)
