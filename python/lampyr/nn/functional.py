"""Functions without state, with PyTorch's names."""

from collections.abc import Callable

from lampyr._lampyr import Tensor
from lampyr._top import minimum
from lampyr.nn import _functional
from lampyr.nn._functional import *  # noqa: F403
from lampyr.nn._functional import pairwise_distance, relu

__all__ = [*_functional.__all__, "triplet_margin_with_distance_loss"]


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """How much nearer than `margin` the negative is to the anchor, compared with the positive."""
    if margin <= 0:
        raise ValueError(f"margin is {margin}; it must be above zero")
    distance = distance_function or pairwise_distance
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    loss = relu(margin + near - far)
    if reduction == "none":
        return loss
    if reduction not in ("mean", "sum"):
        raise ValueError(f"the reduction {reduction!r} is none of 'none', 'mean' and 'sum'")
    return loss.mean() if reduction == "mean" else loss.sum()
