"""Multi-head attention."""

from __future__ import annotations

import math
from typing import Any

import lampyr
from lampyr import Tensor, empty, zeros
from lampyr.errors import InvalidValueError, ShapeError
from lampyr.nn import functional as F
from lampyr.nn import init
from lampyr.nn.linear import Linear
from lampyr.nn.module import Module
from lampyr.nn.parameter import Parameter

__all__ = ["MultiheadAttention"]


def _additive(mask: Tensor | None, dtype: Any) -> Tensor | None:
    """A mask to add to scores: True and minus infinity take positions out."""
    if mask is None:
        return None
    if mask.dtype != lampyr.bool:
        return mask if mask.dtype == dtype else mask.to(dtype)
    return lampyr.where(mask, float("-inf"), zeros(*mask.shape, dtype=dtype))


class MultiheadAttention(Module):
    """Attention of several heads (Vaswani et al. 2017).

    Queries ``[L, N, E]``, keys ``[S, N, kdim]`` and values ``[S, N, vdim]``, with ``batch_first`` ``[N, L, E]`` and so
    on, or without a batch.
    """

    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0:
            raise InvalidValueError(
                "embed_dim and num_heads must be greater than 0, "
                f"got embed_dim={embed_dim} and num_heads={num_heads} instead"
            )
        if embed_dim % num_heads:
            raise InvalidValueError(f"embed_dim {embed_dim} must be divisible by num_heads {num_heads}")
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        self.add_zero_attn = add_zero_attn
        made = {"device": device, "dtype": dtype}
        same = self._qkv_same_embed_dim
        packed = Parameter(empty(3 * embed_dim, embed_dim, **made)) if same else None
        if packed is None:
            self.q_proj_weight = Parameter(empty(embed_dim, embed_dim, **made))
            self.k_proj_weight = Parameter(empty(embed_dim, self.kdim, **made))
            self.v_proj_weight = Parameter(empty(embed_dim, self.vdim, **made))
            self.register_parameter("in_proj_weight", None)
        else:
            self.in_proj_weight = packed
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                self.register_parameter(name, None)
        self.in_proj_bias: Parameter | None
        self.register_parameter("in_proj_bias", Parameter(empty(3 * embed_dim, **made)) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, **made)
        self.register_parameter("bias_k", Parameter(empty(1, 1, embed_dim, **made)) if add_bias_kv else None)
        self.register_parameter("bias_v", Parameter(empty(1, 1, embed_dim, **made)) if add_bias_kv else None)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        if self._qkv_same_embed_dim:
            init.xavier_uniform_(self.in_proj_weight)
        else:
            for weight in (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None and self.out_proj.bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of all heads, ``[N, S, E]`` each."""
        e, bias = self.embed_dim, self.in_proj_bias
        if self._qkv_same_embed_dim and query is key and key is value:
            made = F.linear(query, self.in_proj_weight, bias)
            return made[..., :e], made[..., e : 2 * e], made[..., 2 * e :]
        if self._qkv_same_embed_dim:
            weight = self.in_proj_weight
            weights = weight[:e], weight[e : 2 * e], weight[2 * e :]
        else:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        biases = (None, None, None) if bias is None else (bias[:e], bias[e : 2 * e], bias[2 * e :])
        q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
        return q, k, v

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        if query.ndim not in (2, 3) or not query.ndim == key.ndim == value.ndim:
            raise ShapeError(
                f"query, key and value have {query.ndim}, {key.ndim} and {value.ndim} axes",
                expected="3 axes each (batched) or 2 axes each",
            )
        for name, tensor, size in (
            ("query", query, self.embed_dim),
            ("key", key, self.kdim),
            ("value", value, self.vdim),
        ):
            if tensor.shape[-1] != size:
                raise ShapeError(f"{name} of shape {tensor.shape}", expected=f"a last axis of {size}")
        if key.shape[:-1] != value.shape[:-1]:
            raise ShapeError(f"key {key.shape} and value {value.shape}", expected="equal batch and length")

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The attended values ``[L, N, E]`` and, with ``need_weights``, the weights ``[N, L, S]``.

        ``key_padding_mask`` ``[N, S]`` and ``attn_mask`` (``[L, S]`` or ``[N * num_heads, L, S]``) take out positions
        that are True, or are added to the scores. ``is_causal`` says that ``attn_mask`` is the causal one.
        """
        self._check(query, key, value)
        if is_causal and attn_mask is None:
            raise InvalidValueError("need attn_mask if specifying the is_causal hint")
        batched = query.ndim == 3
        q, k, v = self._project(query, key, value)
        if not batched:
            q, k, v = q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0)
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            q, k, v = q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)
        n, length, _ = q.shape
        added = 0
        if self.bias_k is not None and self.bias_v is not None:
            k = lampyr.cat([k, self.bias_k.expand(n, 1, self.embed_dim)], 1)
            v = lampyr.cat([v, self.bias_v.expand(n, 1, self.embed_dim)], 1)
            added += 1
        if self.add_zero_attn:
            blank = zeros(n, 1, self.embed_dim, dtype=k.dtype)
            k, v = lampyr.cat([k, blank], 1), lampyr.cat([v, blank], 1)
            added += 1
        source = k.shape[1]

        def heads(t: Tensor) -> Tensor:
            return t.reshape(n, t.shape[1], self.num_heads, self.head_dim).transpose(1, 2)

        q, k, v = heads(q), heads(k), heads(v)
        drop = self.dropout if self.training else 0.0
        only_causal = is_causal and key_padding_mask is None and not need_weights and not added
        mask = None if only_causal else self._mask(attn_mask, key_padding_mask, q, length, source, added)
        weights = None
        if need_weights:
            scores = (q * (1.0 / math.sqrt(self.head_dim))) @ k.transpose(-2, -1)
            weights = F.softmax(scores if mask is None else scores + mask, dim=-1)
            if drop:
                weights = F.dropout(weights, drop)
            made = weights @ v
            if average_attn_weights:
                weights = weights.mean(dim=1)
        else:
            made = F.scaled_dot_product_attention(q, k, v, mask, drop, only_causal)
        made = self.out_proj(made.transpose(1, 2).reshape(n, length, self.embed_dim))
        if not batched:
            return made.squeeze(0), None if weights is None else weights.squeeze(0)
        return (made if self.batch_first else made.transpose(0, 1)), weights

    def _mask(
        self, attn_mask: Tensor | None, padding: Tensor | None, q: Tensor, length: int, source: int, added: int
    ) -> Tensor | None:
        n = q.shape[0]
        mask, blocked = _additive(attn_mask, q.dtype), _additive(padding, q.dtype)
        if mask is not None:
            if tuple(mask.shape) not in ((length, source - added), (n * self.num_heads, length, source - added)):
                raise ShapeError(
                    f"attn_mask has shape {mask.shape}",
                    expected=f"{(length, source - added)} or {(n * self.num_heads, length, source - added)}",
                )
            if mask.ndim == 3:
                mask = mask.reshape(n, self.num_heads, length, source - added)
        if blocked is not None:
            if tuple(blocked.shape) != (n, source - added):
                raise ShapeError(f"key_padding_mask has shape {blocked.shape}", expected=f"{(n, source - added)}")
            blocked = blocked.reshape(n, 1, 1, source - added)
            mask = blocked if mask is None else mask + blocked
        if mask is not None and added:
            mask = lampyr.cat([mask, zeros(*mask.shape[:-1], added, dtype=mask.dtype)], -1)
        return mask
