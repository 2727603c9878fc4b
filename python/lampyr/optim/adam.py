"""Adam and AdamW."""

from __future__ import annotations

import math
from typing import Any

from lampyr import Tensor, zeros_like
from lampyr._lampyr import _adam_step
from lampyr.errors import InvalidValueError
from lampyr.optim.optimizer import Optimizer, Params, check, number

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Steps scaled by estimates of the gradients' moments (Kingma and Ba 2014)."""

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check(
            learning_rate=(lr, number(lr) >= 0),
            epsilon=(eps, eps >= 0),
            weight_decay=(weight_decay, weight_decay >= 0),
        )
        for i, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise InvalidValueError(f"Invalid beta parameter at index {i}: {beta}")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _prepare(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = 0.0
            state["exp_avg"] = zeros_like(p)
            state["exp_avg_sq"] = zeros_like(p)
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = zeros_like(p)

    def _update(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        lr, decay, amsgrad = number(group["lr"]), float(group["weight_decay"]), bool(group["amsgrad"])
        beta1, beta2 = map(float, group["betas"])
        decoupled = group["decoupled_weight_decay"]
        keep = 1 - lr * decay if decoupled else 1.0
        known: dict[float, tuple[float, float, float]] = {}
        numbers = []
        for state in states:
            step = state["step"] + 1
            if step not in known:
                known[step] = lr / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step), keep
            numbers.append(known[step])
        _adam_step(
            params,
            grads,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [state["max_exp_avg_sq"] for state in states] if amsgrad else [],
            numbers,
            (beta1, beta2),
            float(group["eps"]),
            0.0 if decoupled else decay,
            amsgrad,
            bool(group["maximize"]),
        )
        for state in states:
            state["step"] += 1


class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2017)."""

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )
