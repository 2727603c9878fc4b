"""``vmap`` against a loop: golden calls with their tensors mapped, rules by class, gradients, nesting, randomness."""

import collections
import importlib.util
from pathlib import Path

import pytest

import lampyr as lp
from lampyr import func, nn
from lampyr.autograd.tree_ import flatten
from lampyr.func import vmap
from lampyr.nn import functional as F

_spec = importlib.util.spec_from_file_location("parity_goldens", Path(__file__).with_name("test_parity.py"))
_goldens = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_goldens)
BY_FUNCTION, decode, function = _goldens.BY_FUNCTION, _goldens.decode, _goldens.function

COUNT = 3
CLOSE = {"float16": 3e-3, "bfloat16": 2e-2, "float32": 2e-5}


def variants(t):
    """Tensors with the elements of ``t`` in other places, so that all stay in its domain."""
    flat = t.detach().reshape(-1)
    n = flat.numel()
    at = [lp.tensor([(i + k) % n for i in range(n)], dtype=lp.int64) for k in range(COUNT)] if n > 1 else []
    return [flat[i].reshape(t.shape).clone() for i in at] or [t.detach().clone() for _ in range(COUNT)]


def same(got, want, close):
    assert (got.dtype, tuple(got.shape)) == (want.dtype, tuple(want.shape))
    a, b = got.detach().to(lp.float64), want.detach().to(lp.float64)
    right = (a == b) | ((a != a) & (b != b)) | ((a - b).abs() <= close * (1 + b.abs()))
    assert right.all().item(), (got.tolist(), want.tolist())


def compared(call, items, mapped, loops):
    """Compares values and gradients of ``call`` under vmap with those of a loop; looped ops go to ``loops``."""
    given = {i: variants(items[i]) for i in mapped}
    rows = [[given[i][k] for i in mapped] for k in range(COUNT)]
    wholes = [lp.stack(given[i]) for i in mapped]
    for i, t in enumerate(mapped):
        if items[t].requires_grad:
            for tensors in (wholes, *rows):
                tensors[i].requires_grad_()
    each = [call(*row) for row in rows]
    if len({tuple(tuple(y.shape) for y in ys) for ys in each}) > 1:
        return False
    lp.start_trace(10_000)
    try:
        got = vmap(call)(*wholes)
        close = CLOSE.get(items[mapped[0]].dtype.name, 1e-6)
        for k, y in enumerate(got):
            same(y, lp.stack([ys[k] for ys in each]), close)
        live = [k for k, y in enumerate(got) if y.requires_grad]
        if live:
            weights = [got[k].detach().to(lp.float64).cos().to(got[k].dtype) for k in live]
            leaves = [t for t in wholes if t.requires_grad]
            found = lp.autograd.grad([got[k] for k in live], leaves, weights, allow_unused=True)
            for n, (ys, row) in enumerate(zip(each, rows, strict=True)):
                own = [t for t in row if t.requires_grad]
                wanted = lp.autograd.grad([ys[k] for k in live], own, [w[n] for w in weights], allow_unused=True)
                for a, b, t in zip(found, wanted, own, strict=True):
                    zero = lp.zeros_like(t.detach())
                    same(zero if a is None else a[n], zero if b is None else b, 5 * close)
    finally:
        loops.update(e["op"] for e in lp.stop_trace() if e["reason"] == "vmap_loop")
    return True


def cases(path):
    for _, _, arguments, named, *_ in BY_FUNCTION[path]:
        leaves = []
        nest = (decode(arguments, leaves), {k: decode(v, leaves) for k, v in named.items()})
        items, rebuild = flatten(nest)
        places = [i for i, x in enumerate(items) if isinstance(x, lp.Tensor) and x.numel() > 0]

        def caller(mapped, items=items, rebuild=rebuild):
            def call(*tensors):
                new = [x.detach() if isinstance(x, lp.Tensor) else x for x in items]
                for i, t in zip(mapped, tensors, strict=True):
                    new[i] = t
                given, keywords = rebuild(new)
                made = function(path)(*given, **keywords)
                return [y for y in flatten(made)[0] if isinstance(y, lp.Tensor)]

            return call

        for mapped in [places] if len(places) < 2 else [places, places[:1], places[-1:]]:
            if mapped:
                yield caller(mapped), items, mapped


# Functions that read values, or write into a tensor that is not mapped: refused with an error, which may only become
# fewer.
REFUSED = set(
    "Tensor.polygamma allclose argwhere bincount bucketize diagonal_scatter equal gcd histc histogram histogramdd "
    "igamma igammac index_put isin lcm linspace logdet logspace masked_scatter masked_select mode "
    "nn.functional.batch_norm nn.functional.instance_norm nn.functional.multilabel_margin_loss nn.functional.one_hot "
    "nonzero nonzero_static repeat_interleave select_scatter unique_consecutive unravel_index".split()
)
# Ops without a rule: what they are may only become fewer.
LOOPED = {"unique", "nonzero", "bit_cast"}


@pytest.mark.parametrize("path", BY_FUNCTION)
def test_golden_calls_agree_with_a_loop(path):
    loops, refused = collections.Counter(), 0
    for call, items, mapped in cases(path):
        try:
            compared(call, items, mapped, loops)
        except lp.AutogradError as error:
            if path not in REFUSED or "vmap: " not in str(error):
                raise
            refused += 1
    assert set(loops) <= LOOPED
    assert (refused > 0) == (path in REFUSED)


def ids(*shape, high=4):
    return lp.randint(0, high, shape)


def normal(*shape):
    return lp.randn(shape, dtype=lp.float64).requires_grad_()


# By class of op: functions and their arguments, which are mapped all at once, one by one, and the first ones together.
RULES = {
    "elementwise": [
        (lambda x, y: x * y.tanh() + 2, normal(3, 1, 2), normal(4, 2)),
        (lambda x, y: lp.where(x > 0, x, y), normal(2), normal(3, 2)),
        (lambda x: F.gelu(x).exp(), normal()),
    ],
    "reductions": [
        (lambda x: x.sum(), normal(2, 3)),
        (lambda x: x.sum(), normal()),
        (lambda x: x.mean((0, -1), keepdim=True), normal(2, 3, 2)),
        (lambda x: x.amax(-1), normal(2, 3)),
        (lambda x: x.prod(0), normal(2, 3)),
        (lambda x: x.logsumexp(1), normal(2, 3)),
        (lambda x: x.var(0), normal(3, 2)),
        (lambda x: (x * x).sum().sqrt(), normal(3, 2)),
        (lambda x: x.argmax(1), normal(3, 2)),
        (lambda x: x.cumsum(-1), normal(3, 2)),
    ],
    "products": [
        (lambda x, y: x @ y, normal(2, 3), normal(3, 4)),
        (lambda x, y: x @ y, normal(3), normal(3)),
        (lambda x, y: x @ y, normal(3), normal(3, 4)),
        (lambda x, y: x @ y, normal(2, 3), normal(3)),
        (lambda x, y: x @ y, normal(2, 2, 3), normal(3, 4)),
        (lambda x, y: x @ y, normal(3), normal(2, 3, 4)),
        (lambda x, w, b: F.linear(x, w, b), normal(2, 3), normal(4, 3), normal(4)),
        (lambda x, w, b: F.linear(x, w, b), normal(3), normal(4, 3), normal(4)),
        (lambda x, y, z: lp.addmm(x, y, z), normal(2, 4), normal(2, 3), normal(3, 4)),
        (lambda x, y: lp.einsum("ij,jk->ki", x, y), normal(2, 3), normal(3, 4)),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v), normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 4)),
    ],
    "convolutions": [
        (lambda x, w, b: F.conv1d(x, w, b, 2, 1), normal(2, 2, 5), normal(6, 2, 3), normal(6)),
        (lambda x, w: F.conv2d(x, w, groups=2), normal(1, 4, 4, 3), normal(4, 2, 2, 2)),
        (lambda x, w, b: F.conv2d(x, w, b), normal(2, 4, 4), normal(3, 2, 2, 2), normal(3)),
        (lambda x, w, b: F.conv_transpose2d(x, w, b, 2), normal(2, 2, 3, 3), normal(2, 3, 2, 2), normal(3)),
        (lambda x: F.max_pool2d(x, 2), normal(2, 2, 4, 4)),
        (lambda x: F.avg_pool2d(x, 2), normal(2, 2, 4, 4)),
        (lambda x: F.adaptive_avg_pool1d(x, 2), normal(2, 2, 5)),
        (lambda x: F.interpolate(x, scale_factor=2, mode="linear"), normal(2, 2, 3)),
    ],
    "shapes": [
        (lambda x: x.reshape(-1).flip(0), normal(2, 3)),
        (lambda x: x.t().contiguous().view(6), normal(2, 3)),
        (lambda x: x.permute(2, 0, 1).flatten(1), normal(2, 3, 4)),
        (lambda x: x[:, None, :, 1:].expand(2, 3, 4, 2).sum(0), normal(2, 4, 3)),
        (lambda x: x.diagonal().clone(), normal(3, 3)),
        (lambda x: x.unfold(0, 2, 1), normal(5)),
        (lambda x: lp.tril(x), normal(3, 3)),
        (lambda x: F.pad(x, (1, 2), value=3.0), normal(2, 3)),
        (lambda x: x.repeat(2, 3), normal(2, 3)),
        (lambda x: lp.stack(x.chunk(2, -1)), normal(2, 4)),
    ],
    "joins": [
        (lambda x, y: lp.cat([x, y], -1), normal(2, 3), normal(2, 1)),
        (lambda x, y: lp.stack([x, y], 1), normal(2, 3), normal(2, 3)),
    ],
    "indices": [
        (lambda x, i: x[i], normal(4, 3), ids(2, 3)),
        (lambda x, i, j: x[i, j], normal(4, 5, 2), ids(3), ids(2, 1, high=5)),
        (lambda x, i: x.index_select(1, i), normal(2, 4), ids(3)),
        (lambda x, i: x.gather(0, i), normal(4, 2), ids(3, 2)),
        (lambda x, i: x.take_along_dim(i, 0), normal(4, 2), ids(3, 2)),
        (lambda w, i: F.embedding(i, w), normal(4, 3), ids(2, 5)),
        (lambda x, i, v: x.scatter(0, i, v), normal(4, 2), lp.tensor([[0, 1], [3, 2]]), normal(2, 2)),
        (lambda x, i, v: x.scatter_add(0, i, v), normal(4, 2), ids(3, 2), normal(3, 2)),
        (lambda x, i, v: x.index_add(0, i, v), normal(4, 2), ids(3), normal(3, 2)),
        (lambda x: x.topk(2, 0)[0], normal(4, 2)),
        (lambda x: x.sort(-1)[0], normal(4, 2)),
        (lambda i: F.one_hot(i, 4), ids(3)),
    ],
    "normalisation": [
        (lambda x: x.softmax(0), normal(3, 2)),
        (lambda x: x.log_softmax(-1), normal(3, 2)),
        (lambda x, w, b: F.layer_norm(x, (3,), w, b), normal(2, 3), normal(3), normal(3)),
        (lambda x, w: F.rms_norm(x, (3,), w), normal(2, 3), normal(3)),
        (lambda x, w: F.group_norm(x, 2, w), normal(2, 4, 3), normal(4)),
        (lambda x, w: F.batch_norm(x, lp.zeros(3).double(), lp.ones(3).double(), w), normal(2, 3), normal(3)),
        (lambda x: F.normalize(x, dim=0), normal(3, 2)),
    ],
    "losses": [
        (lambda x, t: F.cross_entropy(x, t), normal(3, 4), ids(3)),
        (lambda x, t: F.cross_entropy(x, t, label_smoothing=0.1), normal(4), ids()),
        (lambda x, y: F.mse_loss(x, y), normal(3, 4), normal(3, 4)),
        (lambda x, y: F.binary_cross_entropy_with_logits(x, y), normal(3), normal(3)),
    ],
}


@pytest.mark.parametrize("kind", RULES)
def test_rules_agree_with_a_loop(kind):
    loops = collections.Counter()
    for call, *given in RULES[kind]:
        places = list(range(len(given)))
        for mapped in [places, *([i] for i in places), places[:2], places[1:]]:
            if not mapped:
                continue

            def one(*tensors, call=call, given=given, mapped=mapped):
                new = [x.detach() for x in given]
                for i, t in zip(mapped, tensors, strict=True):
                    new[i] = t
                return [call(*new)]

            assert compared(one, given, mapped, loops)
    assert not loops


def test_which_ops_are_looped_over():
    """Ops without a rule run one by one, and the trace says so."""
    x = lp.tensor([[3.0, 1.0, 2.0], [5.0, 4.0, 6.0]])
    calls = {
        "unique": lambda: vmap(lambda r: lp.unique(r))(x).tolist() == [[1, 2, 3], [4, 5, 6]],
        "nonzero": lambda: vmap(lambda r: lp.nonzero(r))(x).shape == (2, 3, 1),
        "bit_cast": lambda: vmap(lambda r: lp.nextafter(r, r + 1))(x).shape == (2, 3),
    }
    looped = collections.Counter()
    for call in calls.values():
        lp.start_trace(1000)
        assert call()
        looped.update(e["op"] for e in lp.stop_trace() if e["reason"] == "vmap_loop")
    assert set(looped) == LOOPED
    seen = set()
    for kind in RULES:
        for call, *given in RULES[kind]:
            lp.start_trace(10_000)
            vmap(lambda *a, call=call: call(*a))(*[lp.stack(variants(t)) for t in given])
            seen.update(e["op"] for e in lp.stop_trace())
    print(f"{len(seen)} ops by rule, {len(looped)} by loop: {sorted(looped)}")
    assert len(seen) >= 40 and not seen & LOOPED


def test_layouts_of_arguments_and_results():
    x = lp.arange(24.0).reshape(2, 3, 4)
    for a in range(3):
        for b in (-1, 0, 1, 2):
            got = vmap(lambda r: r * 2, in_dims=a, out_dims=b)(x)
            assert got.tolist() == (x.movedim(a, b) * 2).tolist()
    one, two = vmap(lambda r: (r.sum(), lp.ones(2)), out_dims=(0, None))(x)
    assert one.tolist() == x.sum((1, 2)).tolist() and two.tolist() == [1, 1]
    assert vmap(lambda r: lp.ones(2))(x).tolist() == [[1, 1], [1, 1]]
    chunked = vmap(lambda r, w: r @ w, in_dims=(1, None), out_dims=1, chunk_size=2)
    w = lp.randn(4, 5)
    same(chunked(x, w), x @ w, 1e-5)


def test_nested():
    x, y = lp.randn(3, 5), lp.randn(4, 5)
    outer = vmap(vmap(lambda a, b: (a * b).sum() + a[0], in_dims=(None, 0)), in_dims=(0, None))
    same(outer(x, y), x @ y.T + x[:, :1], 1e-5)
    w = lp.randn(3, 4, 5, 2)
    v = lp.randn(5)
    same(vmap(vmap(lambda m: v @ m))(w), v @ w, 1e-5)
    conv = vmap(vmap(lambda a, k: F.conv1d(a, k), in_dims=(None, 0)), in_dims=(0, None))
    a, k = lp.randn(3, 2, 6), lp.randn(4, 5, 2, 3)
    want = lp.stack([lp.stack([F.conv1d(a[i], k[j]) for j in range(4)]) for i in range(3)])
    same(conv(a, k), want, 1e-5)


def network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).double()


def test_gradients_of_each_sample():
    lp.manual_seed(0)
    model = network()
    params = {k: p.detach() for k, p in model.named_parameters()}
    x, t = lp.randn(5, 1, 4, 4, dtype=lp.float64), lp.randint(0, 3, (5,))

    def loss(p, x, t):
        return F.cross_entropy(func.functional_call(model, p, (x.unsqueeze(0),)), t.unsqueeze(0))

    lp.start_trace(10_000)
    got = vmap(func.grad(loss), in_dims=(None, 0, 0))(params, x, t)
    assert not [e for e in lp.stop_trace() if e["reason"] == "vmap_loop"]
    for i in range(5):
        want = func.grad(loss)(params, x[i], t[i])
        for k in params:
            same(got[k][i], want[k], 1e-9)
    whole = func.grad(lambda p: vmap(loss, in_dims=(None, 0, 0))(p, x, t).sum())(params)
    for k in params:
        same(whole[k], got[k].sum(0), 1e-9)


def test_gradients_through_what_is_not_mapped():
    x = lp.randn(4, 3, dtype=lp.float64)
    w = lp.randn(3, dtype=lp.float64).requires_grad_()

    def penalty(x):
        return (func.grad(lambda v: (v * w).tanh().sum() * w.sum())(x) ** 2).sum()

    total = vmap(penalty)(x).sum()
    (got,) = lp.autograd.grad(total, w)
    (want,) = lp.autograd.grad(sum(penalty(r) for r in x), w)
    same(got, want, 1e-9)
    vmap(lambda r: (r * w).sum())(x).sum().backward()
    same(w.grad, x.sum(0), 1e-9)


def test_jacobians_and_hessians():
    lp.manual_seed(0)
    a = lp.randn(3, 3, dtype=lp.float64)

    def f(x):
        return (a @ x).tanh() * x.sum()

    x = lp.randn(5, 3, dtype=lp.float64)
    for jacobian in (func.jacrev, func.jacfwd):
        got = vmap(jacobian(f))(x)
        for k in range(5):
            y = x[k].clone().requires_grad_()
            rows = [lp.autograd.grad(f(y)[i], y)[0] for i in range(3)]
            same(got[k], lp.stack(rows), 1e-9)
            same(jacobian(f)(x[k]), lp.stack(rows), 1e-9)

    def g(x):
        return (f(x) ** 2).sum()

    want = lp.stack([lp.autograd.functional.hessian(g, r) for r in x])
    same(vmap(func.hessian(g))(x), want, 1e-9)
    same(vmap(func.jacrev(func.jacrev(g)))(x), want, 1e-9)
    same(vmap(func.jacrev(func.jacfwd(g)))(x), want, 1e-9)
    same(func.jacfwd(func.jacfwd(g))(x[0]), want[0], 1e-9)
    same(func.jacrev(f, chunk_size=2)(x[0]), func.jacrev(f)(x[0]), 1e-12)
    tangent = vmap(lambda r, v: func.jvp(f, (r,), (v,))[1])(x, x)
    for k in range(5):
        same(tangent[k], func.jacrev(f)(x[k]) @ x[k], 1e-9)


def test_batched_gradients():
    x = lp.randn(3, 4, dtype=lp.float64).requires_grad_()
    y = (x @ x.T).exp()
    seeds = lp.randn(5, 3, 3, dtype=lp.float64)
    lp.start_trace(1000)
    (got,) = lp.autograd.grad(y, x, seeds, is_grads_batched=True, retain_graph=True)
    assert not [e for e in lp.stop_trace() if e["reason"] == "vmap_loop"]
    for k in range(5):
        same(got[k], lp.autograd.grad(y, x, seeds[k], retain_graph=True)[0], 1e-9)


def test_random_numbers():
    x = lp.ones(4, 100)
    for noisy in (lambda r: r + lp.rand(100), lambda r: F.dropout(r, 0.5), lambda r: lp.bernoulli(r * 0.5)):
        with pytest.raises(RuntimeError, match="randomness error mode"):
            vmap(noisy)(x)
        different = vmap(noisy, randomness="different")(x)
        assert len({tuple(r.tolist()) for r in different}) == 4
        alike = vmap(noisy, randomness="same")(x)
        assert len({tuple(r.tolist()) for r in alike}) == 1
    # Nothing is left of the levels.
    assert lp.rand(2).shape == (2,)


def test_changes_in_place():
    x = lp.arange(6.0).reshape(2, 3)

    def write(r):
        y = lp.zeros_like(r)
        y[1:] = r[:2]
        y.add_(1)
        return y

    assert vmap(write)(x).tolist() == [[1, 1, 2], [1, 4, 5]]

    def into_shared(r):
        return lp.zeros(3).add_(r)

    with pytest.raises(RuntimeError, match="vmap: inplace arithmetic"):
        vmap(into_shared)(x)


@pytest.mark.parametrize("read", [lambda r: r.sum().item(), lambda r: float(r[0]), lambda r: r.tolist(), bool])
def test_values_cannot_be_read(read):
    def reads(r):
        read(r.sum() if read is bool else r)
        return r

    with pytest.raises(RuntimeError, match="vmap: It looks like you're calling"):
        vmap(reads)(lp.ones(2, 3))


def test_a_tensor_that_left_its_vmap_prints_and_refuses_to_be_read():
    kept = []
    vmap(lambda r: kept.append(r) or r)(lp.ones(2, 3))
    assert repr(kept[0]) == "tensor(<inside of a vmap>, size=[3], dtype=lampyr.float32)"
    with pytest.raises(RuntimeError, match="vmap"):
        kept[0].tolist()
