"""Computes the golden values of all cases with torch.

Usage: make.py [--check] [--cases FILE]

Without `--check` the file `torch.json` beside this script is written; with it, the file is compared with what torch
says now and the script fails where they differ. The cases come from `cargo run -p lampyr-conformance --bin cases`.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
Row = dict[str, Any]
Attrs = dict[str, Any]
MASK = (1 << 64) - 1


def decode(item: list[Any]) -> torch.Tensor:
    """A tensor from its dtype, shape and hexadecimal bytes."""
    dtype, shape, text = item
    raw = np.frombuffer(bytes.fromhex(text), dtype=np.uint8).copy()
    target = getattr(torch, dtype)
    flat = torch.from_numpy(raw).view(target) if raw.size else torch.empty(0, dtype=target)
    return flat.reshape(shape)


def encode(tensor: torch.Tensor) -> list[Any]:
    """The inverse of `decode`."""
    flat = tensor.detach().contiguous().reshape(-1).clone()
    raw = flat.view(torch.uint8).numpy(force=True).tobytes() if flat.numel() else b""
    return [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), raw.hex()]


def weights(like: torch.Tensor, seed: int) -> torch.Tensor:
    """The same numbers in -1..1 as the Rust runner makes (SplitMix64)."""
    values = []
    for _ in range(like.numel()):
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        z = seed
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        values.append(2.0 * ((z ^ (z >> 31)) >> 11) / float(1 << 53) - 1.0)
    flat = torch.tensor(values, dtype=torch.float64).to(torch.float32).to(like.dtype)
    return flat.reshape(like.shape)


def digest(inputs: list[list[Any]]) -> str:
    """FNV-1a over the bytes of all inputs."""
    value = 0xCBF29CE484222325
    for _, _, text in inputs:
        for byte in bytes.fromhex(text):
            value = ((value ^ byte) * 0x100000001B3) & MASK
    return f"{value:016x}"


def axes(a: Attrs, x: torch.Tensor) -> list[int]:
    return list(a["axes"]) or list(range(x.dim()))


def mean(x: torch.Tensor, a: Attrs) -> torch.Tensor:
    if not x.is_floating_point():
        raise NotImplementedError("torch has no integer mean")
    return torch.mean(x, dim=axes(a, x), keepdim=a["keepdims"]) if x.dim() else x.clone()


def divide(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if x.is_floating_point():
        return x / y
    if bool((y == 0).any()):
        raise NotImplementedError("torch does not divide integers by zero")
    return torch.div(x, y, rounding_mode="trunc")


def conv(a: Attrs, x: torch.Tensor, w: torch.Tensor, *bias: torch.Tensor) -> torch.Tensor:
    if x.shape[1] == 0 or (x.dtype in (torch.float16, torch.bfloat16) and not bool(torch.isfinite(x).all())):
        raise NotImplementedError("torch has no such convolution")
    n = x.dim() - 2
    pads = a["pads"]
    begin, end = pads[:n], pads[n:]
    amounts = [p for d in reversed(range(n)) for p in (begin[d], end[d])]
    padded = torch.nn.functional.pad(x, amounts)
    f = [torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d][n - 1]
    b = bias[0] if bias else None
    return f(padded, w, b, stride=a["strides"], dilation=a["dilations"], groups=a["group"])


def slices(a: Attrs, x: torch.Tensor) -> tuple[Any, ...]:
    index: list[Any] = [slice(None)] * x.dim()
    for axis, start, end, step in zip(a["axes"], a["starts"], a["ends"], a["steps"], strict=True):
        if step < 0:
            raise NotImplementedError("torch has no negative steps")
        index[axis] = slice(start, end, step)
    return tuple(index)


def set_slice(a: Attrs, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y[slices(a, x)] = v
    return y


def gemm(a: Attrs, x: torch.Tensor, y: torch.Tensor, *c: torch.Tensor) -> torch.Tensor:
    if not x.is_floating_point():
        raise NotImplementedError("integer gemm")
    if a["beta"] == 0.0:
        raise NotImplementedError("torch multiplies by beta even where it is 0")
    x = x.t() if a["trans_a"] else x
    y = y.t() if a["trans_b"] else y
    r = a["alpha"] * (x @ y)
    return r + a["beta"] * c[0] if c else r


def batch_norm(a: Attrs, *t: torch.Tensor) -> tuple[torch.Tensor, ...]:
    x, scale, bias, mean_, var = t
    dims = [d for d in range(x.dim()) if d != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    if not a["training"]:
        normal = (x - mean_.reshape(shape)) / torch.sqrt(var.reshape(shape) + a["epsilon"])
        return ((normal * scale.reshape(shape) + bias.reshape(shape)).to(x.dtype),)
    wide = x.to(mean_.dtype)
    y = torch.nn.functional.batch_norm(x, None, None, scale, bias, True, a["momentum"], a["epsilon"])
    # torch updates its running statistics outside autograd; the same update, differentiable.
    old, new = 1.0 - a["momentum"], a["momentum"]
    spread = wide.var(dim=dims, unbiased=bool(a["unbiased"]))
    return y, old * mean_ + new * wide.mean(dim=dims), old * var + new * spread


def max_pool(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    n = x.dim() - 2
    key = next(k for k in ("kernel", "kernel_shape") if k in a)
    pads = a["pads"]
    if pads[:n] != pads[n:] or not x.is_floating_point() or any(2 * p > k for p, k in zip(pads, a[key], strict=False)):
        raise NotImplementedError("torch pads both sides alike, and floats only")
    f = [torch.nn.functional.max_pool1d, torch.nn.functional.max_pool2d, torch.nn.functional.max_pool3d][n - 1]
    return f(x, a[key], a["strides"], pads[:n], a["dilations"], bool(a.get("ceil_mode", False)))


def wild(x: torch.Tensor) -> bool:
    """Whether a sum of some elements is no finite number, or the order of the sum decides that."""
    return x.is_floating_point() and x.numel() > 0 and not bool(x.double().abs().max() < torch.finfo(x.dtype).max / 64)


def avg_pool(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    n = x.dim() - 2
    if wild(x):
        raise NotImplementedError("torch's sums overflow where a mean does not")
    pads = a["pads"]
    if pads[:n] != pads[n:] or any(2 * p > k for p, k in zip(pads, a["kernel"], strict=False)):
        raise NotImplementedError("torch pads both sides alike")
    if any(d != 1 for d in a["dilations"]) or (n == 1 and a["divisor_override"] is not None):
        raise NotImplementedError("torch has no dilations")
    f = [torch.nn.functional.avg_pool1d, torch.nn.functional.avg_pool2d, torch.nn.functional.avg_pool3d][n - 1]
    more = () if n == 1 else (a["divisor_override"],)
    return f(x, a["kernel"], a["strides"], pads[:n], a["ceil_mode"], a["count_include_pad"], *more)


def resize(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    n = x.dim() - 2
    axes = [d % x.dim() for d in a["axes"]]
    if wild(x) and a["mode"] != "nearest":
        raise NotImplementedError("torch multiplies by weights of zero")
    if axes != list(range(2, x.dim())) or a["scales"] is not None or not x.is_floating_point():
        raise NotImplementedError("torch resizes all spatial axes")
    if a["exclude_outside"] != a["antialias"]:
        raise NotImplementedError("torch leaves out what lies outside when it smooths, and only then")
    corners = a["coordinates"] == "align_corners"
    if a["mode"] == "nearest":
        if a["coordinates"] == "asymmetric" and a["nearest_mode"] == "floor":
            return torch.nn.functional.interpolate(x, a["sizes"], mode="nearest")
        if a["coordinates"] == "half_pixel" and a["nearest_mode"] == "round_prefer_ceil":
            return torch.nn.functional.interpolate(x, a["sizes"], mode="nearest-exact")
        raise NotImplementedError("torch rounds otherwise")
    if a["coordinates"] not in ("half_pixel", "align_corners"):
        raise NotImplementedError("torch has two kinds of coordinates")
    if (a["antialias"] or a["mode"] == "cubic") and n != 2:
        raise NotImplementedError("torch does so with images only")
    if a["antialias"] and a["mode"] == "cubic":
        raise NotImplementedError("torch has another parameter of the cubic kernel")
    mode = {"linear": ["linear", "bilinear", "trilinear"][n - 1], "cubic": "bicubic"}[a["mode"]]
    return torch.nn.functional.interpolate(x, a["sizes"], mode=mode, align_corners=corners, antialias=a["antialias"])


def depth_to_space(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    if a["mode"] != "CRD":
        raise NotImplementedError("torch has the other order")
    return torch.nn.functional.pixel_shuffle(x, a["blocksize"])


def space_to_depth(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    if a["mode"] != "CRD" or not x.numel():
        raise NotImplementedError("torch has the other order, and leaves empty tensors as they are")
    return torch.nn.functional.pixel_unshuffle(x, a["blocksize"])


def grid_sample(a: Attrs, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    if x.dim() == 3 or not bool(torch.isfinite(grid).all()):
        raise NotImplementedError("torch samples images and volumes")
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(a["mode"], a["mode"])
    if x.dim() == 5 and mode == "bicubic":
        raise NotImplementedError("torch has no cubic volumes")
    return torch.nn.functional.grid_sample(x, grid, mode, a["padding_mode"], a["align_corners"])


def affine_grid(a: Attrs, theta: torch.Tensor) -> torch.Tensor:
    if 0 in a["size"]:
        raise NotImplementedError("torch wants elements")
    return torch.nn.functional.affine_grid(theta, a["size"], a["align_corners"])


def vision() -> Any:
    try:
        import torchvision
    except ImportError:
        raise NotImplementedError("torchvision is not installed") from None
    return torchvision


def roi_align(a: Attrs, x: torch.Tensor, rois: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    if a["mode"] != "avg" or x.dtype in (torch.float16, torch.bfloat16):
        raise NotImplementedError("torchvision takes means")
    torchvision = vision()
    boxes = torch.cat([images[:, None].to(x.dtype), rois], dim=1)
    size = (a["output_height"], a["output_width"])
    return torchvision.ops.roi_align(x, boxes, size, a["spatial_scale"], a["sampling_ratio"], a["aligned"])


def conv_input_grad(a: Attrs, g: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    n = g.dim() - 2
    pads = a["pads"]
    if pads[:n] != pads[n:] or w.shape[1] == 0:
        raise NotImplementedError("torch pads both sides alike")
    own = [
        (g.shape[2 + d] - 1) * a["strides"][d] + a["dilations"][d] * (w.shape[2 + d] - 1) + 1 - 2 * pads[d]
        for d in range(n)
    ]
    rest = [m - o for m, o in zip(a["input"], own, strict=True)]
    f = [
        torch.nn.functional.conv_transpose1d,
        torch.nn.functional.conv_transpose2d,
        torch.nn.functional.conv_transpose3d,
    ]
    return f[n - 1](g, w, None, a["strides"], pads[:n], rest, a["group"], a["dilations"])


def max_unpool(a: Attrs, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    n = x.dim() - 2
    distinct = all(len(set(p)) == len(p) for p in indices.flatten(2).flatten(0, 1).tolist())
    if not x.is_floating_point() or not distinct:
        raise NotImplementedError("torch unpools floats, each to its place")
    f = [torch.nn.functional.max_unpool1d, torch.nn.functional.max_unpool2d, torch.nn.functional.max_unpool3d][n - 1]
    return f(x, indices, [1] * n, [1] * n, output_size=a["sizes"])


def col2im(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    pads = a["pads"]
    if len(a["block"]) != 2 or pads[:2] != pads[2:]:
        raise NotImplementedError("torch folds images, padded alike on both sides")
    return torch.nn.functional.fold(x, a["image"], a["block"], a["dilations"], pads[:2], a["strides"])


def deform_conv(a: Attrs, x: torch.Tensor, w: torch.Tensor, offset: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
    pads = a["pads"]
    if pads[:2] != pads[2:] or x.dtype in (torch.float16, torch.bfloat16):
        raise NotImplementedError("torchvision pads both sides alike")
    torchvision = vision()
    bias, mask = (*more, None, None)[:2] if more else (None, None)
    return torchvision.ops.deform_conv2d(x, offset, w, bias, a["strides"], pads[:2], a["dilations"], mask)


def reduce_max(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    return torch.amax(x, dim=axes(a, x), keepdim=a["keepdims"]) if x.dim() else x.clone()


def extreme(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda a, x: f(x, dim=axes(a, x), keepdim=a["keepdims"]) if x.dim() else x.clone()


def reduce_prod(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    for axis in sorted(d % max(x.dim(), 1) for d in axes(a, x))[::-1]:
        x = torch.prod(x, dim=axis, keepdim=a["keepdims"], dtype=x.dtype)
    return x.clone()


def logsumexp(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    return torch.logsumexp(x, dim=axes(a, x), keepdim=a["keepdims"])


def norm(order: float) -> Callable[..., torch.Tensor]:
    def of(a: Attrs, x: torch.Tensor) -> torch.Tensor:
        if not x.is_floating_point():
            raise NotImplementedError("torch has norms of floats only")
        return torch.linalg.vector_norm(x, order, dim=axes(a, x), keepdim=a["keepdims"])

    return of


def position(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def of(a: Attrs, x: torch.Tensor) -> torch.Tensor:
        if a["select_last_index"] or len(torch.unique(x)) != x.numel():
            raise NotImplementedError("torch does not say which of equal elements it takes")
        if a["axis"] is None and a["keepdims"]:
            return f(x).reshape([1] * x.dim())
        return f(x) if a["axis"] is None else f(x, dim=a["axis"], keepdim=a["keepdims"])

    return of


def running(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def of(a: Attrs, x: torch.Tensor) -> torch.Tensor:
        if a["exclusive"] or a["reverse"]:
            raise NotImplementedError("torch folds forwards and inclusively")
        return f(x, a["axis"], dtype=x.dtype)

    return of


def var(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    return torch.var(x, dim=axes(a, x), correction=a["correction"], keepdim=a["keepdims"])


def arange(a: Attrs, start: torch.Tensor, end: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    first, last, by = start.item(), end.item(), step.item()
    if (last - first) * by <= 0:
        raise NotImplementedError("torch refuses bounds in the wrong order")
    return torch.arange(first, last, by, dtype=start.dtype)


def scatter_elements(a: Attrs, x: torch.Tensor, i: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    if a["reduction"] not in ("none", "add"):
        raise NotImplementedError("torch treats ties and zeros otherwise")
    places = torch.where(i < 0, i + x.shape[a["axis"]], i).long()
    if a["reduction"] == "add":
        return x.scatter_add(a["axis"], places, u)
    if any(
        len(set(line)) != len(line) for line in places.movedim(a["axis"], -1).reshape(-1, i.shape[a["axis"]]).tolist()
    ):
        raise NotImplementedError("torch does not say which of several updates stays")
    return x.scatter(a["axis"], places, u)


def topk(a: Attrs, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    if len(torch.unique(x)) != x.numel():
        raise NotImplementedError("torch does not order ties")
    values, indices = torch.topk(x, a["k"], dim=a["axis"], largest=a["largest"], sorted=True)
    return values, indices


def flatten(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    axis = a["axis"] + (x.dim() if a["axis"] < 0 else 0)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def cast(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    target = getattr(torch, a["to"])
    if x.is_floating_point() and not target.is_floating_point and target != torch.bool:
        limits = torch.iinfo(target)
        if not bool(torch.isfinite(x).all() and (x.double() > limits.min).all() and (x.double() < limits.max).all()):
            raise NotImplementedError("what torch makes of floats out of range depends on the processor")
    return x.to(target)


def gelu(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    if not bool(torch.isfinite(x).all()):
        raise NotImplementedError("torch's vector loop makes NaN of infinity")
    return torch.nn.functional.gelu(x, approximate=a["approximate"])


def layer_norm(a: Attrs, x: torch.Tensor, *vectors: torch.Tensor) -> torch.Tensor:
    first = a["axis"] + (x.dim() if a["axis"] < 0 else 0)
    scale, bias = (*vectors, None, None)[:2]
    return torch.nn.functional.layer_norm(x, x.shape[first:], scale, bias, a["epsilon"])


def rms_norm(a: Attrs, x: torch.Tensor, *vectors: torch.Tensor) -> torch.Tensor:
    first = a["axis"] + (x.dim() if a["axis"] < 0 else 0)
    return torch.nn.functional.rms_norm(x, x.shape[first:], vectors[0] if vectors else None, a["epsilon"])


def group_norm(a: Attrs, x: torch.Tensor, *vectors: torch.Tensor) -> torch.Tensor:
    if 0 in x.shape:
        raise NotImplementedError("torch wants elements")
    scale, bias = (*vectors, None, None)[:2]
    return torch.nn.functional.group_norm(x, a["num_groups"] or x.shape[1], scale, bias, a["epsilon"])


def local_response_norm(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    if a["size"] % 2 == 0 or x.dim() < 3:
        raise NotImplementedError("torch looks one channel further back, and wants rank 3")
    return torch.nn.functional.local_response_norm(x, a["size"], a["alpha"], a["beta"], a["k"])


def normalize(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    if not bool((x != 0).any(dim=a["axis"]).all()):
        raise NotImplementedError("torch divides zeros by a small number")
    return torch.nn.functional.normalize(x, float(a["p"]), a["axis"], eps=0.0)


def attention(a: Attrs, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *mask: torch.Tensor) -> torch.Tensor:
    if a["softcap"] or a["causal_offset"] or (mask and a["is_causal"]) or 0 in q.shape:
        raise NotImplementedError("torch has no such attention")
    if bool(q.isnan().any()):
        raise NotImplementedError("torch makes zeros of a query that is no number")
    if mask and mask[0].dtype == torch.bool and not bool(mask[0].any(dim=-1).all()):
        raise NotImplementedError("what torch makes of a query without keys depends on the kernel")
    grouped = q.dim() > 2 and q.shape[-3] != k.shape[-3]
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, mask[0] if mask else None, is_causal=a["is_causal"], scale=a["scale"], enable_gqa=grouped
    )


def recurrence(a: Attrs, x: torch.Tensor, r: torch.Tensor, h: torch.Tensor, *more: torch.Tensor) -> Any:
    cell, n = a["cell"], r.shape[1]
    plain = {"lstm": "sigmoid,tanh,tanh", "gru": "sigmoid,tanh", "rnn": "tanh"}[cell]
    odd = a["clip"] or a["lengths"] or (cell == "lstm" and (a["input_forget"] or a["peepholes"]))
    if odd or a["activations"] != plain or 0 in x.shape or (cell == "gru") != bool(a["linear_before_reset"] and more):
        raise NotImplementedError("torch has no such layer")
    order = {"lstm": [0, 2, 3, 1], "gru": [1, 0, 2], "rnn": [0]}[cell]
    rows = torch.cat([torch.arange(g * n, (g + 1) * n) for g in order])
    w = torch.eye(len(order) * n, dtype=x.dtype)[rows]
    steps = x.flip(0) if a["reverse"] else x
    if cell == "lstm":
        states = (h[None], more[0][None])
        y, *last = torch._VF.lstm(steps, states, [w, r[rows]], False, 1, 0.0, False, False, False)
    elif cell == "gru":
        bias = torch.cat([torch.zeros(2 * n, dtype=x.dtype), more[0]])
        params = [w, r[rows], torch.zeros_like(bias), bias]
        y, *last = torch._VF.gru(steps, h[None], params, True, 1, 0.0, False, False, False)
    else:
        y, *last = torch._VF.rnn_tanh(steps, h[None], [w, r], False, 1, 0.0, False, False, False)
    return (y.flip(0) if a["reverse"] else y, *(t[0] for t in last))


def nll_loss(a: Attrs, x: torch.Tensor, target: torch.Tensor, *weight: torch.Tensor) -> torch.Tensor:
    ignored = -100 if a["ignore_index"] is None else a["ignore_index"]
    w = weight[0] if weight else None
    return torch.nn.functional.nll_loss(x, target.long(), w, ignore_index=ignored, reduction=a["reduction"])


def einsum(a: Attrs, *t: torch.Tensor) -> torch.Tensor:
    return torch.einsum(a["equation"], *t)


def floats(f: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda a, x: f(x)


def index_add(a: Attrs, *t: torch.Tensor) -> torch.Tensor:
    raise NotImplementedError("an adjoint; checked through the op it belongs to")


def rounding(f: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A rounding function, which torch has for floats only."""
    return lambda a, x: f(x) if x.is_floating_point() else x.clone()


def whole_division(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def apply(a: Attrs, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if not x.is_floating_point() and bool((y == 0).any()):
            raise NotImplementedError("torch does not divide integers by zero")
        if x.is_floating_point() and bool(((y != 0) & (y.abs() < torch.finfo(x.dtype).tiny)).any()):
            raise NotImplementedError("torch flushes subnormal divisors to zero")
        return f(x, y)

    return apply


def power(a: Attrs, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if not x.is_floating_point() and bool((y < 0).any() | (y > 62).any()):
        raise NotImplementedError("torch's integer powers differ from ours for such exponents")
    return torch.pow(x, y)


def shift(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def apply(a: Attrs, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if bool((y < 0).any() | (y >= x.element_size() * 8 - 1).any()):
            raise NotImplementedError("what torch makes of such shifts depends on the type")
        return f(x, y)

    return apply


def finite(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A function that torch computes by another formula at infinities."""

    def apply(a: Attrs, x: torch.Tensor) -> torch.Tensor:
        if not bool((x.double().abs() < 80).all()):
            raise NotImplementedError("torch overflows")
        return f(a, x)

    return apply


def hard_sigmoid(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    if a["alpha"] != 1.0 / 6.0:
        return (a["alpha"] * x + a["beta"]).clamp(0.0, 1.0)
    return torch.nn.functional.hardsigmoid(x)


def shrink(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    if a["bias"] == 0.0:
        return torch.nn.functional.hardshrink(x, a["lambd"])
    if a["bias"] != a["lambd"]:
        raise NotImplementedError("torch has one number for both")
    return torch.nn.functional.softshrink(x, a["lambd"])


def clip(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    if a["min"] is None and a["max"] is None:
        return x.clone()
    bounds: list[Any] = [a["min"], a["max"]]
    if not x.is_floating_point():
        limits = torch.iinfo(x.dtype)
        bounds = [None if v is None else int(min(max(v, limits.min), limits.max)) for v in bounds]
    return torch.clamp(x, *bounds)


def prelu(a: Attrs, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, slope * x)


def isinf(a: Attrs, x: torch.Tensor) -> torch.Tensor:
    none = torch.zeros_like(x, dtype=torch.bool)
    return (torch.isposinf(x) if a["positive"] else none) | (torch.isneginf(x) if a["negative"] else none)


OPS: dict[str, Callable[..., Any]] = {
    "add": lambda a, x, y: x + y,
    "sub": lambda a, x, y: x - y,
    "mul": lambda a, x, y: x * y,
    "div": lambda a, x, y: divide(x, y),
    "neg": floats(torch.neg),
    "exp": floats(torch.exp),
    "log": floats(torch.log),
    "sqrt": floats(torch.sqrt),
    "tanh": floats(torch.tanh),
    "erf": floats(torch.erf),
    "relu": floats(torch.relu),
    "abs": floats(torch.abs),
    "where": lambda a, c, x, y: torch.where(c, x, y),
    "cast": cast,
    "bit_cast": lambda a, x: x.view(getattr(torch, a["to"])),
    "equal": lambda a, x, y: x == y,
    "greater": lambda a, x, y: x > y,
    "less": lambda a, x, y: x < y,
    "not": floats(torch.logical_not),
    "gelu": gelu,
    "sign": floats(torch.sign),
    "floor": rounding(torch.floor),
    "ceil": rounding(torch.ceil),
    "round": rounding(torch.round),
    "trunc": rounding(torch.trunc),
    "reciprocal": floats(torch.reciprocal),
    "rsqrt": floats(torch.rsqrt),
    "sigmoid": floats(torch.sigmoid),
    "exp2": floats(torch.exp2),
    "expm1": floats(torch.expm1),
    "log2": floats(torch.log2),
    "log10": floats(torch.log10),
    "log1p": floats(torch.log1p),
    "sin": floats(torch.sin),
    "cos": floats(torch.cos),
    "tan": floats(torch.tan),
    "asin": floats(torch.asin),
    "acos": floats(torch.acos),
    "atan": floats(torch.atan),
    "sinh": floats(torch.sinh),
    "cosh": floats(torch.cosh),
    "asinh": floats(torch.asinh),
    "acosh": floats(torch.acosh),
    "atanh": floats(torch.atanh),
    "softplus": finite(lambda a, x: torch.nn.functional.softplus(x, threshold=100.0)),
    "logsigmoid": floats(torch.nn.functional.logsigmoid),
    "softsign": floats(torch.nn.functional.softsign),
    "silu": finite(lambda a, x: torch.nn.functional.silu(x)),
    "mish": finite(lambda a, x: torch.nn.functional.mish(x)),
    "hard_sigmoid": hard_sigmoid,
    "hard_swish": finite(lambda a, x: torch.nn.functional.hardswish(x)),
    "leaky_relu": lambda a, x: torch.nn.functional.leaky_relu(x, a["alpha"]),
    "elu": lambda a, x: torch.nn.functional.elu(x, a["alpha"]),
    "selu": lambda a, x: a["gamma"] * torch.nn.functional.elu(x, a["alpha"]),
    "celu": lambda a, x: torch.nn.functional.celu(x, a["alpha"]),
    "thresholded_relu": finite(lambda a, x: torch.nn.functional.threshold(x, a["alpha"], 0.0)),
    "shrink": finite(shrink),
    "prelu": prelu,
    "clip": clip,
    "maximum": lambda a, x, y: torch.maximum(x, y),
    "minimum": lambda a, x, y: torch.minimum(x, y),
    "pow": power,
    "fmod": whole_division(torch.fmod),
    "remainder": whole_division(torch.remainder),
    "less_equal": lambda a, x, y: x <= y,
    "greater_equal": lambda a, x, y: x >= y,
    "not_equal": lambda a, x, y: x != y,
    "logical_and": lambda a, x, y: torch.logical_and(x, y),
    "logical_or": lambda a, x, y: torch.logical_or(x, y),
    "logical_xor": lambda a, x, y: torch.logical_xor(x, y),
    "bitwise_and": lambda a, x, y: x & y,
    "bitwise_or": lambda a, x, y: x | y,
    "bitwise_xor": lambda a, x, y: x ^ y,
    "bitwise_not": floats(torch.bitwise_not),
    "bitwise_left_shift": shift(torch.bitwise_left_shift),
    "bitwise_right_shift": shift(torch.bitwise_right_shift),
    "isnan": floats(torch.isnan),
    "isinf": isinf,
    "isfinite": floats(torch.isfinite),
    "reduce_sum": lambda a, x: torch.sum(x, dim=axes(a, x), keepdim=a["keepdims"], dtype=x.dtype),
    "reduce_mean": lambda a, x: mean(x, a),
    "reduce_max": reduce_max,
    "reduce_min": extreme(torch.amin),
    "reduce_prod": reduce_prod,
    "reduce_l1": norm(1.0),
    "reduce_l2": norm(2.0),
    "reduce_log_sum": lambda a, x: torch.log(torch.sum(x, dim=axes(a, x), keepdim=a["keepdims"])),
    "reduce_sum_square": lambda a, x: torch.sum(x * x, dim=axes(a, x), keepdim=a["keepdims"], dtype=x.dtype),
    "logsumexp": logsumexp,
    "argmax": position(torch.argmax),
    "argmin": position(torch.argmin),
    "cumsum": running(torch.cumsum),
    "cumprod": running(torch.cumprod),
    "var": var,
    "arange": arange,
    "trilu": lambda a, x: (torch.triu if a["upper"] else torch.tril)(x, a["k"]),
    "scatter_elements": scatter_elements,
    "softmax": lambda a, x: torch.softmax(x, a["axis"]),
    "log_softmax": lambda a, x: torch.log_softmax(x, a["axis"]),
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "local_response_norm": local_response_norm,
    "normalize": normalize,
    "scaled_dot_product_attention": attention,
    "recurrence": recurrence,
    "nll_loss": nll_loss,
    "einsum": einsum,
    "det": floats(torch.linalg.det),
    "matmul": lambda a, x, y: torch.matmul(x, y),
    "gemm": gemm,
    "conv": conv,
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "resize": resize,
    "depth_to_space": depth_to_space,
    "space_to_depth": space_to_depth,
    "grid_sample": grid_sample,
    "affine_grid": affine_grid,
    "roi_align": roi_align,
    "conv_input_grad": conv_input_grad,
    "max_unpool": max_unpool,
    "col2im": col2im,
    "deform_conv": deform_conv,
    "global_average_pool": lambda a, x: x.mean(dim=list(range(2, x.dim())), keepdim=True),
    "transpose": lambda a, x: x.permute(a["perm"]),
    "reshape": lambda a, x: x.reshape(a["shape"]),
    "flatten": flatten,
    "expand": lambda a, x: x.expand(a["shape"]),
    "slice": lambda a, x: x[slices(a, x)],
    "set_slice": set_slice,
    "concat": lambda a, *x: torch.cat(x, dim=a["axis"]),
    "nonzero": lambda a, x: torch.nonzero(x).t().contiguous(),
    "topk": topk,
    "squeeze": lambda a, x: x.squeeze() if a["axes"] is None else x.squeeze(a["axes"]),
}


def gather(a: Attrs, x: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    axis = a["axis"] + (x.dim() if a["axis"] < 0 else 0)
    flat = torch.where(i < 0, i + x.shape[axis], i).reshape(-1).long()
    picked = torch.index_select(x, axis, flat)
    return picked.reshape(*x.shape[:axis], *i.shape, *x.shape[axis + 1 :])


OPS["gather"] = gather


def compute(row: Row) -> Row | None:
    """Outputs and gradients of one case, or nothing where torch has no such function."""
    f = OPS.get(row["op"])
    if f is None:
        return None
    inputs = [decode(i) for i in row["inputs"]]
    wanted = [row["gradient"] and t.is_floating_point() for t in inputs]
    for t, on in zip(inputs, wanted, strict=True):
        t.requires_grad_(on)
    try:
        made = f(row["attrs"], *inputs)
    except (NotImplementedError, RuntimeError, IndexError, TypeError, ValueError) as error:
        print(f"  skipped: {row['op']}: {str(error).splitlines()[0]}", file=sys.stderr)
        return None
    outputs = list(made) if isinstance(made, tuple) else [made]
    result: Row = {"digest": digest(row["inputs"]), "outputs": [encode(t) for t in outputs]}
    if any(wanted):
        try:
            result |= gradients(inputs, outputs)
        except RuntimeError as error:
            print(f"  no gradient: {row['op']}: {str(error).splitlines()[0]}", file=sys.stderr)
    return result


def gradients(inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> Row:
    """First and second gradients with the weights of the Rust runner."""
    wrt = [t for t in inputs if t.requires_grad]
    places = [i for i, t in enumerate(inputs) if t.requires_grad]
    losses = [(t * weights(t, 100 + k)).sum() for k, t in enumerate(outputs) if t.requires_grad]
    if not losses:
        return {}
    total = torch.stack([x.to(torch.float64) for x in losses]).sum()
    first = torch.autograd.grad(total, wrt, create_graph=True, allow_unused=True)
    roots = [
        (g * weights(g, 200 + i)).sum().to(torch.float64)
        for i, g in zip(places, first, strict=True)
        if g is not None and g.requires_grad
    ]
    second: tuple[torch.Tensor | None, ...] = tuple(None for _ in wrt)
    try:
        if roots:
            second = torch.autograd.grad(torch.stack(roots).sum(), wrt, allow_unused=True)
    except RuntimeError as error:
        print(f"  no second gradient: {str(error).splitlines()[0]}", file=sys.stderr)
        return {"first": spread(inputs, places, first)}
    return {"first": spread(inputs, places, first), "second": spread(inputs, places, second)}


def spread(inputs: list[torch.Tensor], places: list[int], grads: tuple[torch.Tensor | None, ...]) -> list[Any]:
    """The gradients at the places of their inputs."""
    full: list[Any] = [None] * len(inputs)
    for i, g in zip(places, grads, strict=True):
        full[i] = None if g is None else encode(g)
    return full


def same(a: Any, b: Any) -> bool:
    """Equality of stored values up to a few units in the last place."""
    if isinstance(a, list) and len(a) == 3 and isinstance(a[0], str) and isinstance(b, list):
        x, y = decode(a), decode(b)
        if x.shape != y.shape or x.dtype != y.dtype:
            return False
        if not x.is_floating_point():
            return bool((x == y).all())
        tolerance = {torch.float64: 1e-9, torch.float32: 2e-5}.get(x.dtype, 2e-2)
        return torch.allclose(x.double(), y.double(), rtol=tolerance, atol=tolerance, equal_nan=True)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--cases", type=Path, help="a dump made before, instead of running cargo")
    options = parser.parse_args()
    if options.cases:
        text = options.cases.read_text()
    else:
        command = ["cargo", "run", "--quiet", "--release", "-p", "lampyr-conformance", "--bin", "cases"]
        text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    torch.manual_seed(0)
    torch.set_num_threads(1)
    cases = {key: compute(row) for key, row in json.loads(text).items()}
    found = {key: row for key, row in cases.items() if row is not None}
    path = HERE / "torch.json"
    if options.check:
        stored = json.loads(path.read_text())["cases"]
        wrong = sorted(k for k in found.keys() | stored.keys() if not same(found.get(k), stored.get(k)))
        print(f"{len(found)} cases compared, {len(wrong)} differ")
        for key in wrong[:40]:
            print(f"  {key}")
        return 1 if wrong else 0
    lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in sorted(found.items()))
    versions = json.dumps({"torch": torch.__version__, "numpy": np.__version__, "seed": 0})
    path.write_text(f'{{"versions": {versions},\n"cases": {{\n{lines}\n}}}}\n')
    print(f"{len(found)} of {len(cases)} cases, {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
