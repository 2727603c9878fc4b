"""Functions of shapes, indices, products and layers: views, errors and hostile indices."""

from __future__ import annotations

import math
from typing import Any

import pytest

import lampyr
from lampyr import Tensor
from lampyr.nn import functional as F


def arange(*shape: int) -> Tensor:
    return lampyr.arange(math.prod(shape)).to(lampyr.float32).reshape(shape)


VIEWS = [
    lambda x: x.transpose(0, 1),
    lambda x: x.movedim(0, -1),
    lambda x: x.unflatten(1, (2, -1)),
    lambda x: x.narrow(1, 1, 2),
    lambda x: x.select(0, 1),
    lambda x: x.diagonal(),
    lambda x: x.unfold(1, 2, 1),
    lambda x: x.as_strided((2, 2), (1, 2), 1),
    lambda x: x.expand(2, 3, 4),
    lambda x: x.squeeze((0, 1)),
    lambda x: x.split(2, 1)[1],
    lambda x: x.chunk(3, 1)[0],
    lambda x: x.tensor_split((1, 3), 1)[1],
    lambda x: x.unbind(1)[2],
    lambda x: lampyr.broadcast_tensors(x, lampyr.zeros(2, 3, 4))[0],
]


@pytest.mark.parametrize("view", VIEWS)
def test_views_share_memory(view: Any) -> None:
    x = arange(3, 4)
    seen = view(x)
    x += 100
    assert seen.min().item() >= 100


def test_sort_is_stable_and_puts_nan_last() -> None:
    x = lampyr.tensor([2.0, math.nan, 1.0, 2.0, -math.inf])
    made = lampyr.sort(x)
    assert made.indices.tolist() == [4, 2, 0, 3, 1]
    assert math.isnan(made.values[-1].item())
    assert lampyr.sort(x, descending=True).indices.tolist() == [1, 0, 3, 2, 4]
    assert lampyr.tensor([True, False, True]).sort().values.tolist() == [False, True, True]


INDEX_DTYPES = ["int8", "int16", "uint8", "float32", "bool"]


@pytest.mark.parametrize("dtype", INDEX_DTYPES)
@pytest.mark.parametrize(
    "call",
    [
        lambda x, i: x.gather(0, i),
        lambda x, i: x.scatter(0, i, 1.0),
        lambda x, i: x.scatter_add(0, i, x),
        lambda x, i: x.index_select(0, i[:, 0]),
        lambda x, i: x.index_add(0, i[:, 0], x),
        lambda x, i: x.take(i),
        lambda x, i: x.put(i, x),
        lambda x, i: F.embedding(i, x),
    ],
)
def test_indices_of_other_types_are_refused(call: Any, dtype: str) -> None:
    x, at = arange(3, 3), lampyr.zeros(3, 3).to(getattr(lampyr, dtype))
    with pytest.raises((TypeError, IndexError)):
        call(x, at)


@pytest.mark.parametrize("bad", [3, -4, 2**31, -(2**31), 2**62, -(2**63), 2**63 - 1])
@pytest.mark.parametrize(
    "call",
    [
        lambda x, i: x.gather(0, i),
        lambda x, i: x.gather(1, i),
        lambda x, i: x.scatter(0, i, 1.0),
        lambda x, i: x.scatter(1, i, x),
        lambda x, i: x.scatter_add(0, i, x),
        lambda x, i: x.scatter_reduce(0, i, x, "amax"),
        lambda x, i: x.scatter_reduce(0, i, x, "mean", include_self=False),
        lambda x, i: x.index_select(0, i.flatten()),
        lambda x, i: x.index_add(0, i[0], x),
        lambda x, i: x.index_copy(1, i[0], x),
        lambda x, i: x.index_fill(0, i[0], 1.0),
        lambda x, i: x.take_along_dim(i, 0),
        lambda x, i: x.index_put((i[0],), x[0]),
        lambda x, i: x.index_put((i[0],), x[0], accumulate=True),
        lambda x, i: F.embedding(i, x),
        lambda x, i: F.embedding_bag(i, x),
        lambda x, i: F.embedding_bag(i, x, max_norm=1.0),
        lambda x, i: F.nll_loss(x, i[0]),
        lambda x, i: F.cross_entropy(x, i[0]),
        lambda x, i: F.multi_margin_loss(x, i[0]),
        lambda x, i: F.one_hot(i, 3),
        lambda x, i: F.max_unpool1d(x, i, 1),
    ],
)
def test_positions_out_of_range_are_errors(call: Any, bad: int) -> None:
    x = arange(3, 3)
    at = lampyr.tensor([[0, 1, 2], [2, 1, 0], [0, 0, 0]])
    at[0, 0] = bad
    with pytest.raises((IndexError, ValueError)):
        call(x, at)


@pytest.mark.parametrize("bad", [9, -10, 2**62, -(2**63)])
def test_flat_positions_out_of_range_are_errors(bad: int) -> None:
    x, at = arange(3, 3), lampyr.tensor([0, bad])
    with pytest.raises(IndexError):
        x.take(at)
    with pytest.raises(IndexError):
        x.put(at, lampyr.ones(2))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.as_strided((4, 4), (4, 1)),
        lambda x: x.as_strided((2,), (1,), 12),
        lambda x: x.as_strided((2**40, 2**40), (1, 1)),
        lambda x: x.as_strided((2,), (-1,), 3),
        lambda x: x.unfold(0, 5, 1),
        lambda x: x.unfold(0, 1, 0),
        lambda x: x.narrow(0, 2, 2),
        lambda x: x.repeat(2**40, 2**40),
        lambda x: x.tile(2**62),
        lambda x: x.repeat_interleave(2**60),
        lambda x: x.repeat_interleave(lampyr.tensor([1, -1, 1]), 0),
        lambda x: x.split([1, 1], 0),
        lambda x: x.chunk(0),
        lambda x: x.diag_embed(2**62),
        lambda x: x.topk(9),
        lambda x: x.kthvalue(0),
        lambda x: x.select(0, 3),
        lambda x: lampyr.stack([x, x[0]]),
        lambda x: lampyr.cat([x, x[:, :1]]),
        lambda x: x.mm(x),
        lambda x: x.bmm(x),
        lambda x: lampyr.einsum("ij,jk->ik", x, x),
        lambda x: lampyr.tril_indices(-1, 2),
        lambda x: F.pad(x, (-5, 0)),
        lambda x: F.pad(x, (1,)),
        lambda x: F.pad(x, (4, 4), mode="reflect"),
        lambda x: F.interpolate(x[None, None], scale_factor=1e18),
        lambda x: F.fold(x[None], (2**31, 2**31), 1),
        lambda x: F.conv2d(x, x),
        lambda x: F.linear(x, x.t()),
        lambda x: F.dropout(x, 1.5),
        lambda x: F.one_hot(lampyr.tensor([-1])),
    ],
)
def test_arguments_that_fit_nothing_are_errors(call: Any) -> None:
    with pytest.raises((ValueError, IndexError, RuntimeError, MemoryError)):
        call(arange(3, 4))


def test_both_shapes_are_in_the_text() -> None:
    with pytest.raises((ValueError, RuntimeError)) as caught:
        arange(3, 4).mm(arange(3, 4))
    assert "3, 4" in str(caught.value).replace("×", ", ")


def test_batch_norm_updates_its_statistics() -> None:
    x = arange(4, 2)
    mean, var = lampyr.zeros(2), lampyr.ones(2)
    F.batch_norm(x, mean, var, training=True, momentum=0.5)
    assert mean.tolist() == [1.5, 2.0]
    assert var.tolist() == pytest.approx([0.5 + 20 / 3 / 2] * 2)


def test_embedding_renormalises_the_rows_it_uses() -> None:
    weight = lampyr.tensor([[3.0, 4.0], [3.0, 4.0]])
    F.embedding(lampyr.tensor([1]), weight, max_norm=1.0)
    assert weight[0].tolist() == [3.0, 4.0]
    assert weight[1].tolist() == pytest.approx([0.6, 0.8])


def test_padding_row_gets_no_gradient() -> None:
    weight = lampyr.ones(3, 2).requires_grad_()
    F.embedding(lampyr.tensor([0, 1, 1]), weight, padding_idx=0).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[0, 0], [2, 2], [0, 0]]


def test_unique_gives_what_is_asked_for() -> None:
    x = lampyr.tensor([3, 1, 3, 2])
    assert lampyr.unique(x).tolist() == [1, 2, 3]
    values, inverse, counts = lampyr.unique(x, return_inverse=True, return_counts=True)
    assert (inverse.tolist(), counts.tolist()) == ([2, 0, 2, 1], [1, 1, 2])
    assert values[inverse].tolist() == x.tolist()


def test_group_norm_has_the_gradient_of_its_rows() -> None:
    x = (arange(2, 4, 3) * 0.37).sin().requires_grad_()
    y = (x.detach()).requires_grad_()
    weight = arange(2, 4, 3).cos()
    (F.group_norm(x, 2) * weight).sum().backward()
    (F.layer_norm(y.reshape(2, 2, 6), (6,)).reshape(2, 4, 3) * weight).sum().backward()
    assert x.grad is not None and y.grad is not None
    assert (x.grad - y.grad).abs().max().item() < 1e-5
