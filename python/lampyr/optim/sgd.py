"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from lampyr import Tensor
from lampyr.errors import InvalidValueError
from lampyr.optim.optimizer import Optimizer, Params, check, number

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Sutskever et al. 2013)."""

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check(
            learning_rate=(lr, number(lr) >= 0),
            momentum=(momentum, momentum >= 0),
            weight_decay=(weight_decay, number(weight_decay) >= 0),
        )
        if nesterov and (momentum <= 0 or dampening != 0):
            raise InvalidValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def _update(self, p: Tensor, grad: Tensor, state: dict[str, Any], options: dict[str, Any]) -> None:
        momentum, decay = options["momentum"], number(options["weight_decay"])
        if options["maximize"]:
            grad = -grad
        if decay:
            grad = grad.add(p, alpha=decay)
        if momentum:
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = state["momentum_buffer"] = grad.clone()
            else:
                buffer.mul_(momentum).add_(grad, alpha=1 - options["dampening"])
            grad = grad.add(buffer, alpha=momentum) if options["nesterov"] else buffer
        p.sub_(grad, alpha=number(options["lr"]))
