"""Gradients beside finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lampyr._lampyr import Tensor
from lampyr._top import randn, stack, zeros_like
from lampyr.autograd.derive_ import gradients
from lampyr.autograd.mode import enable_grad, no_grad

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]

Function = Callable[..., Any]


class GradcheckError(RuntimeError):
    """A gradient differs from finite differences."""


def _outputs(value: Any) -> list[Tensor]:
    all_ = [value] if isinstance(value, Tensor) else list(value)
    return [y for y in all_ if isinstance(y, Tensor) and y.is_floating_point()]


def _numerical(fn: Function, inputs: Sequence[Any], at: int, eps: float) -> list[Tensor]:
    """Central differences of each output with respect to input ``at``: one row per input element."""
    columns: list[list[Tensor]] = []
    with no_grad():
        x = inputs[at].detach()
        for i in range(x.numel()):
            ends = []
            for step in (eps, -eps):
                moved = x.contiguous().clone()
                flat = moved.view(-1)
                flat[i] = flat[i].item() + step
                moved.requires_grad_(inputs[at].requires_grad)
                args = [moved if k == at else a for k, a in enumerate(inputs)]
                ends.append([y.detach().clone() for y in _outputs(fn(*args))])
            columns.append([((a - b) / (2 * eps)).reshape(-1) for a, b in zip(*ends, strict=True)])
    if not columns:
        return []
    return [stack(list(c)) for c in zip(*columns, strict=True)]


def _analytical(outputs: Sequence[Tensor], x: Tensor, k: int, scale: float = 1.0) -> Tensor | None:
    """Gradients of output ``k`` with respect to ``x``: one row per element of ``x``."""
    y = outputs[k]
    rows = []
    for j in range(y.numel()):
        unit = zeros_like(y.detach()).contiguous()
        unit.view(-1)[j] = scale
        g = gradients([y], [x], [unit], False)[0]
        rows.append(zeros_like(x.detach()).reshape(-1) if g is None else g.detach().reshape(-1))
    return stack(rows, 1) if rows else None


def _differ(a: Tensor, b: Tensor, rtol: float, atol: float) -> bool:
    for x, y in zip(a.reshape(-1).tolist(), b.reshape(-1).tolist(), strict=True):
        if x != x and y != y:
            continue
        if not (x == y or abs(x - y) <= atol + rtol * abs(y)):
            return True
    return False


def gradcheck(
    func: Function,
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether the gradients of ``func`` at ``inputs`` (float64 tensors that require one) agree with finite differences.

    Other options of PyTorch's function are accepted; all elements are always compared.
    """
    try:
        _check(func, [inputs] if isinstance(inputs, Tensor) else list(inputs), eps, atol, rtol, nondet_tol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(fn: Function, inputs: list[Any], eps: float, atol: float, rtol: float, nondet_tol: float) -> None:
    wanted = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    if not wanted:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them have "
            "requires_grad=True."
        )
    made = fn(*inputs)
    outputs = _outputs(made)
    live = [k for k, y in enumerate(outputs) if y.requires_grad]
    for i in wanted:
        x = inputs[i]
        numerical = _numerical(fn, inputs, i, eps)
        for k in range(len(outputs)):
            if k not in live:
                if numerical and _differ(numerical[k], zeros_like(numerical[k]), rtol, atol):
                    raise GradcheckError("Numerical gradient for function expected to be zero")
                continue
            found = _analytical(outputs, x, k)
            if found is None or not numerical:
                continue
            if _differ(found, numerical[k], rtol, atol):
                raise GradcheckError(
                    f"Jacobian mismatch for output {k} with respect to input {i},\n"
                    f"numerical:{numerical[k]}\nanalytical:{found}\n"
                )
            again = _analytical(_outputs(fn(*inputs)), x, k)
            if again is not None and _differ(again, found, 0.0, nondet_tol):
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and grad_output multiple times "
                    f"gives different values, although analytical gradient matches numerical gradient. nondet_tol is "
                    f"{nondet_tol}.\nFirst:{found}\nSecond:{again}\n"
                )


def gradgradcheck(
    func: Function,
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """Whether the second derivatives of ``func`` at ``inputs`` agree with finite differences of the first."""
    given: list[Any] = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if grad_outputs is None:
        outputs = [y for y in _outputs(func(*given)) if y.requires_grad]
        seeds = [randn(y.shape, dtype=y.dtype).requires_grad_() for y in outputs]
    else:
        seeds = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs)
    count = len(given)

    def first(*args: Any) -> tuple[Tensor, ...]:
        inner = args[:count]
        with enable_grad():
            outputs = [y for y in _outputs(func(*inner)) if y.requires_grad]
            wanted = [x for x in inner if isinstance(x, Tensor) and x.requires_grad]
            found = gradients(outputs, wanted, list(args[count:]), True)
        return tuple(g for g in found if g is not None)

    return gradcheck(
        first,
        [*given, *seeds],
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
    )
