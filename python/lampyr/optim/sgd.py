"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from lampyr import Tensor, zeros_like
from lampyr._lampyr import _sgd_step
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

    def _update(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        momentum = float(group["momentum"])
        first = ["momentum_buffer" not in state for state in states]
        buffers = []
        if momentum:
            buffers = [
                zeros_like(p) if new else s["momentum_buffer"] for p, s, new in zip(params, states, first, strict=True)
            ]
        _sgd_step(
            params,
            grads,
            buffers,
            first,
            number(group["lr"]),
            momentum,
            float(group["dampening"]),
            number(group["weight_decay"]),
            group["nesterov"],
            group["maximize"],
        )
        for state, buffer in zip(states, buffers, strict=False):
            state["momentum_buffer"] = buffer
