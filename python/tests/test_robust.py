"""What goes wrong leaves things as they were and says why; memory stays; threads share."""

import re
import threading

import pytest

import lampyr as lp
from lampyr import nn
from lampyr.nn import functional as F


def mlp():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), lp.randn(5, 8)


def transformer():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 1), nn.Linear(8, 4), nn.Flatten(0, 1)), lp.randn(1, 5, 8)


@pytest.mark.parametrize("make", [mlp, transformer])
def test_memory_after_many_steps_is_that_after_few(make):
    model, x = make()
    target = lp.randint(0, 4, (5,))
    optimizer = lp.optim.AdamW(model.parameters(), lr=1e-3)

    def steps(count):
        for _ in range(count):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), target)
            loss.backward()
            optimizer.step()
        return lp.memory_stats()["active_bytes"]

    assert steps(990) == steps(10) == steps(1)


def test_forward_from_several_threads():
    lp.manual_seed(0)
    model, x = mlp()
    model[1] = nn.Tanh()
    inputs = [x * (i + 1) for i in range(8)]
    wanted = [model(v) for v in inputs]
    start, got = threading.Barrier(4), [None] * 8

    def job(first):
        start.wait()
        for _ in range(20):
            for i in range(first, 8, 4):
                got[i] = model(inputs[i])

    threads = [threading.Thread(target=job, args=(i,)) for i in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    weight = model[0].weight
    for a, b in zip(got, wanted, strict=True):
        assert a.tolist() == b.tolist()
        mine, theirs = (lp.autograd.grad(y.sum(), weight)[0] for y in (a, b))
        assert mine.tolist() == theirs.tolist()


def test_backward_of_separate_roots_in_parallel():
    w = lp.randn(32, 32, requires_grad=True)
    leaves = [lp.randn(32, 32, requires_grad=True) for _ in range(6)]
    roots = [((w @ x).tanh() * (i + 1)).sum() for i, x in enumerate(leaves)]
    wanted = [lp.autograd.grad(r, (w, x), retain_graph=True) for r, x in zip(roots, leaves, strict=True)]
    start = threading.Barrier(6)

    def job(root):
        start.wait()
        root.backward()

    threads = [threading.Thread(target=job, args=(r,)) for r in roots]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert lp.allclose(w.grad, sum(g for g, _ in wanted), atol=1e-3)
    for x, (_, g) in zip(leaves, wanted, strict=True):
        assert x.grad.tolist() == g.tolist()


def test_a_failed_step_leaves_parameters_gradients_and_state():
    model, x = mlp()
    optimizer = lp.optim.AdamW(model.parameters(), lr=0.1)
    model(x).sum().backward()
    optimizer.step()
    model[2].bias.grad = None
    before = [p.detach().clone() for p in model.parameters()]
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    moments = [s["exp_avg"].clone() for s in optimizer.state.values()]
    with pytest.raises(RuntimeError):
        (model(x).sum() * F.linear(x, lp.ones(3, 9))).sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss = model(x).sum()
        lp.autograd.grad(loss, list(model.parameters()))
        loss.backward()
    for p, old, g in zip(model.parameters(), before, grads, strict=True):
        assert p.tolist() == old.tolist()
        assert (p.grad is None) == (g is None) and (g is None or p.grad.tolist() == g.tolist())
    assert [m.tolist() for m in moments] == [s["exp_avg"].tolist() for s in optimizer.state.values()]


def test_anomaly_mode_names_the_line():
    x = lp.tensor([0.0], requires_grad=True)
    with lp.autograd.detect_anomaly(), pytest.raises(RuntimeError) as caught:
        y = x.sqrt()  # the line
        (y * 0).backward()
    text = str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert "test_robust.py" in text and re.search("nan", text, re.IGNORECASE)


def needed_leaf():
    w = lp.ones(3, requires_grad=True)
    w.add_(1)


def changed():
    x = lp.ones(3, requires_grad=True) * 2
    y = x.exp()
    y.mul_(2)
    y.sum().backward()


def twice():
    x = lp.ones(3, requires_grad=True)
    y = x.exp().sum()
    y.backward()
    y.backward()


def mixed():
    x, y = lp.ones(3, requires_grad=True), lp.ones(3, requires_grad=True)
    lp.autograd.grad((x * 2).sum(), y)


BAD = [
    (lambda: lp.ones(2, 3) + lp.ones(4), RuntimeError, [r"\[2, 3\]", r"\[4\]"]),
    (lambda: lp.ones(2, 3) @ lp.ones(4, 5), RuntimeError, [r"\[2, 3\]", r"\[4, 5\]"]),
    (lambda: F.linear(lp.ones(2, 3), lp.ones(5, 4)), RuntimeError, [r"\[2, 3\]", r"\[5, 4\]|\[4, 5\]"]),
    (lambda: lp.cat([lp.ones(2, 3), lp.ones(4, 4)]), RuntimeError, [r"\[2, 3\]", r"\[4, 4\]"]),
    (lambda: lp.ones(2, 3).view(4, 2), RuntimeError, [r"\[2, 3\]", r"\[4, 2\]"]),
    (lambda: lp.ones(2, 3).expand(4, 3), RuntimeError, [r"\[2, 3\]", r"\[4, 3\]"]),
    (lambda: F.conv2d(lp.ones(1, 3, 4, 4), lp.ones(2, 4, 1, 1)), RuntimeError, [r"\[1, 3, 4, 4\]", r"\[2, 4, 1, 1\]"]),
    (lambda: F.mse_loss(lp.ones(2, 3), lp.ones(4)), RuntimeError, [r"\[2, 3\]", r"\[4\]"]),
    (lambda: F.cross_entropy(lp.ones(2, 3), lp.ones(5, dtype=lp.int64)), (ValueError, RuntimeError), [r"\[5\]"]),
    (lambda: lp.ones(2, 3).add_(lp.ones(4, 3)), RuntimeError, [r"\[2, 3\]", r"\[4, 3\]"]),
    (lambda: lp.zeros(-1), (RuntimeError, ValueError), ["-1"]),
    (lambda: lp.ones(2).reshape(-2), RuntimeError, ["-2"]),
    (lambda: lp.ones(3)[5], IndexError, ["5", "3"]),
    (lambda: lp.ones(3)[lp.tensor([0, 7])], IndexError, ["7", "3"]),
    (lambda: lp.ones(3)[lp.tensor([0, -9], dtype=lp.int8)], IndexError, ["-9", "3"]),
    (lambda: lp.ones(3)[lp.tensor([0.5])], IndexError, ["float32"]),
    (lambda: lp.ones(3, 2).index_select(0, lp.tensor([4])), IndexError, ["4", "3"]),
    (lambda: lp.ones(3, 2).gather(0, lp.tensor([[4, 0]])), (IndexError, RuntimeError), ["4", "3"]),
    (lambda: F.embedding(lp.tensor([10]), lp.ones(4, 2)), IndexError, ["10", "4"]),
    (lambda: F.embedding(lp.tensor([0.5]), lp.ones(4, 2)), (RuntimeError, TypeError), ["float32"]),
    (lambda: lp.ones(2, device="cuda"), RuntimeError, ["cuda"]),
    (lambda: lp.ones(2, dtype=lp.int64).requires_grad_(), RuntimeError, ["int64"]),
    (lambda: lp.arange(3).sum().backward(), RuntimeError, ["does not require grad"]),
    (lambda: lp.ones(3, requires_grad=True).exp().backward(), RuntimeError, [r"\[3\]"]),
    (needed_leaf, RuntimeError, ["leaf"]),
    (changed, RuntimeError, ["inplace", "version"]),
    (twice, RuntimeError, ["second time", "retain_graph"]),
    (mixed, RuntimeError, ["not have been used", "allow_unused"]),
    (
        lambda: lp.autograd.grad(lp.ones(3, requires_grad=True) * 2, [lp.ones(3)], lp.ones(2)),
        RuntimeError,
        [r"\[2\]", r"\[3\]"],
    ),
]


@pytest.mark.parametrize("at", range(len(BAD)))
def test_bad_input(at):
    call, error, texts = BAD[at]
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, lp.LampyrError)
    for text in texts:
        assert re.search(text, str(caught.value)), str(caught.value)
