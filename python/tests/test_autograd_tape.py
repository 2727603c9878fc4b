"""Hooks, nodes, modes, functions with gradients of their own, saved tensors, threads."""

import gc
import threading

import pytest

import lampyr as lp
from lampyr.autograd import Function, graph
from lampyr.autograd.function import once_differentiable


def leaf(*values):
    return lp.tensor(list(values), requires_grad=True)


def in_thread(job, stack=None):
    failures = []

    def run():
        try:
            job()
        except BaseException as e:
            failures.append(e)

    before = threading.stack_size(stack or 0)
    try:
        thread = threading.Thread(target=run)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    if failures:
        raise failures[0]


def test_long_chains_on_a_small_stack():
    def job():
        x = leaf(1.0)
        y = x
        for _ in range(100_000):
            y = y * 1.0
        y.backward()
        assert x.grad.item() == 1
        del y
        v = x * 1
        for _ in range(100_000):
            v = v.view(1)
        v.backward()
        assert x.grad.item() == 2

    in_thread(job, 256 * 1024)


def test_backward_to_some_inputs():
    a, b = leaf(2.0), leaf(3.0)
    y = a * b
    z = y * y
    z.backward(inputs=[a], retain_graph=True)
    assert a.grad.item() == 36 and b.grad is None
    lp.autograd.backward([z, y], [lp.ones(1), None], inputs=y)
    assert y.grad.item() == 13 and b.grad is None
    with pytest.raises(RuntimeError, match="cannot be empty"):
        a.sum().backward(inputs=[])


def test_grad_walks_only_what_is_needed():
    a, b = leaf(2.0), leaf(3.0)
    seen = []
    y = b * 2
    y.register_hook(seen.append)
    assert lp.autograd.grad((a * y).sum(), a)[0].item() == 6
    assert seen == []


def test_grad_arguments():
    a, b = leaf(1.0, 2.0), leaf(1.0, 1.0)
    zero = lp.autograd.grad((a * 2).sum(), [a, b], materialize_grads=True)[1]
    assert zero.tolist() == [0, 0]
    with pytest.raises(ValueError):
        lp.autograd.grad(a.sum(), a, allow_unused=False, materialize_grads=True)
    rows = lp.autograd.grad(a * a, a, lp.eye(2), is_grads_batched=True)[0]
    assert rows.tolist() == [[2, 0], [0, 4]]
    two = lp.autograd.grad([a * 2, b * 3], [a, b], [lp.ones(2), lp.full((2,), 2.0)])
    assert two[0].tolist() == [2, 2] and two[1].tolist() == [6, 6]
    (first,) = lp.autograd.grad((a**3).sum(), a, create_graph=True)
    (second,) = lp.autograd.grad(first.sum(), a, create_graph=True)
    assert second.tolist() == [6, 12]
    assert lp.autograd.grad(second.sum(), a)[0].tolist() == [6, 6]


def test_errors_read_as_in_torch():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        lp.ones(1).backward()
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        y.backward()
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        x[0] = 1
    z = x.exp()
    z += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation.*version 1; expected version 0"):
        z.sum().backward()
    with pytest.raises(RuntimeError, match="floating point"):
        lp.tensor([1]).requires_grad_()
    with pytest.raises(RuntimeError, match="appears to not have been used"):
        lp.autograd.grad((x * 2).sum(), leaf(1.0))
    simple = x + 1
    simple.backward(lp.ones(2))
    simple.backward(lp.ones(2))


def test_in_place_on_both_factors():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = a * 1
    y *= b
    y.sum().backward()
    assert a.grad.tolist() == [3, 4] and b.grad.tolist() == [1, 2]


def test_clone_of_a_leaf_is_not_a_leaf():
    x = leaf(1.0)
    y = x.clone()
    assert not y.is_leaf and x.is_leaf
    y += 1
    (y * y).backward()
    assert x.grad.item() == 4


def test_detach_in_place():
    x = leaf(2.0)
    y = x * 3
    assert y.detach_() is y and y.is_leaf and not y.requires_grad and y.grad_fn is None
    with pytest.raises(RuntimeError, match="views"):
        (x * 1)[:1].detach_()


def test_versions_and_output_numbers():
    x = lp.zeros(3)
    x += 1
    x[0] = 2
    assert x._version == 2 and x.detach()._version == 2
    values, _ = leaf(1.0, 3.0).topk(1)
    assert values.output_nr == 0


def test_grad_outlives_requires_grad():
    x = leaf(1.0)
    (x * 2).backward()
    x.requires_grad_(False)
    assert x.grad.item() == 2
    plain = lp.zeros(2)
    plain.grad = lp.ones(2)
    assert plain.grad.tolist() == [1, 1]


# Hooks and nodes.


def test_tensor_hooks():
    x = leaf(1.0, 1.0)
    y = x * 3
    seen = []
    handle = y.register_hook(lambda g: g * 2)
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.retain_grad()
    assert y.retains_grad and not x.retains_grad
    (y.sum() + y.sum()).backward(retain_graph=True)
    assert seen == [[4, 4]] and y.grad.tolist() == [4, 4] and x.grad.tolist() == [12, 12]
    handle.remove()
    handle.remove()
    x.grad = None
    with x.register_hook(lambda g: g + 1):
        y.sum().backward(retain_graph=True)
    assert x.grad.tolist() == [4, 4]
    y.sum().backward()
    assert x.grad.tolist() == [7, 7]
    with pytest.raises(RuntimeError, match="doesn't require gradient"):
        lp.ones(1).register_hook(print)


def test_hooks_that_fail_change_nothing():
    x = leaf(1.0)
    y = x * 2

    def fail(g):
        raise ZeroDivisionError("here")

    y.register_hook(fail)
    with pytest.raises(ZeroDivisionError, match="here"):
        y.backward()
    assert x.grad is None
    z = x * 2
    z.register_hook(lambda g: lp.ones(5))
    with pytest.raises(RuntimeError, match="hook returned"):
        z.backward()


def test_hooks_after_accumulation():
    x = leaf(1.0)
    seen = []
    handle = x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.item()))
    (x * 2).backward()
    (x * 2).backward()
    assert seen == [2, 4]
    handle.remove()
    (x * 2).backward()
    assert len(seen) == 2
    with pytest.raises(RuntimeError):
        (x * 2).register_post_accumulate_grad_hook(print)


def test_nodes():
    x = leaf(2.0)
    y = (x * x).sum()
    node = y.grad_fn
    assert node.name() == "SumBackward0" and "SumBackward0" in repr(node)
    mul = node.next_functions[0][0]
    assert mul.name() == "MulBackward0" and mul == y.grad_fn.next_functions[0][0]
    end = mul.next_functions[0][0]
    assert end.name() == "AccumulateGrad" and end.variable.data_ptr() == x.data_ptr() and x.grad_fn is None
    seen = []
    mul.register_prehook(lambda outputs: (outputs[0] * 10,))
    handle = mul.register_hook(lambda inputs, outputs: seen.append((len(inputs), outputs[0].item())))
    y.backward(retain_graph=True)
    assert x.grad.item() == 40 and seen == [(2, 10)]
    handle.remove()
    y.backward()
    assert len(seen) == 1
    edge = graph.get_gradient_edge(x)
    assert edge.node.name() == "AccumulateGrad" and edge.output_nr == 0


def test_hooks_on_several_gradients():
    a, b = leaf(1.0), leaf(2.0)
    seen = []
    handle = graph.register_multi_grad_hook([a, b], lambda grads: seen.append([g.item() for g in grads]))
    (a * b).backward()
    assert seen == [[2, 1]]
    handle.remove()
    (a * b).backward()
    assert len(seen) == 1


# Modes.


def test_modes_decorate_generators_and_functions():
    x = leaf(1.0)

    @lp.no_grad()
    def steps():
        for _ in range(2):
            yield (x * 2).requires_grad, lp.is_grad_enabled()
            assert not lp.is_grad_enabled()

    for tracked, inside in steps():
        assert not tracked and not inside and lp.is_grad_enabled()

    @lp.no_grad
    def plain():
        return lp.is_grad_enabled()

    assert plain() is False and lp.is_grad_enabled()

    @lp.set_grad_enabled(False)
    def other():
        return lp.is_grad_enabled()

    assert other() is False and lp.is_grad_enabled()


def test_inference_mode():
    x = leaf(1.0)
    with lp.inference_mode():
        assert lp.is_inference_mode_enabled() and not (x * 2).requires_grad
        with lp.enable_grad():
            assert not (x * 2).requires_grad
        with lp.inference_mode(False):
            assert (x * 2).requires_grad
    assert not lp.is_inference_mode_enabled() and (x * 2).requires_grad

    @lp.inference_mode
    def f():
        return lp.is_inference_mode_enabled()

    assert f() and not lp.is_inference_mode_enabled()


def test_modes_belong_to_threads():
    with lp.no_grad():
        states = []
        in_thread(lambda: states.append(lp.is_grad_enabled()))
    assert states == [True]


def test_anomaly_mode_names_the_forward_line():
    x = leaf(0.0)
    with lp.autograd.detect_anomaly():
        assert lp.autograd.is_anomaly_enabled()
        y = lp.sqrt(x) * 0  # the line to be named
        with pytest.raises(RuntimeError, match="returned nan values") as caught:
            y.sum().backward()
        assert "the line to be named" in str(caught.value)
    assert not lp.autograd.is_anomaly_enabled()
    (lp.sqrt(x) * 0).backward()
    with lp.autograd.set_detect_anomaly(True, check_nan=False):
        assert not lp.autograd.is_anomaly_check_nan_enabled()
        (lp.sqrt(x) * 0).backward()


# Functions.


class Cube(Function):
    @staticmethod
    def forward(ctx, x, scale=1):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x**3 * scale

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        assert ctx.needs_input_grad == (True, False)
        return grad * 3 * x * x * ctx.scale, None


class Exp(Function):
    @staticmethod
    def forward(x):
        return lp.exp(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * y


def test_functions_and_their_second_derivatives():
    x = leaf(1.0, 2.0)
    y = Cube.apply(x, 2)
    assert y.grad_fn.name() == "CubeBackward"
    (g,) = lp.autograd.grad(y.sum(), x, create_graph=True)
    assert g.tolist() == [6, 24] and lp.autograd.grad(g.sum(), x)[0].tolist() == [12, 24]
    z = Exp.apply(x)
    (g,) = lp.autograd.grad(z.sum(), x, create_graph=True)
    (gg,) = lp.autograd.grad(g.sum(), x)
    assert gg.tolist() == z.tolist()
    with lp.no_grad():
        assert not Cube.apply(x).requires_grad
    w = Cube.apply(x, 1).sum()
    w.backward()
    with pytest.raises(RuntimeError, match="second time"):
        w.backward()


def test_functions_free_their_memory():
    gc.collect()
    x = lp.ones(1000, requires_grad=True)
    before = lp.memory_stats()["active_bytes"]
    for _ in range(5):
        Exp.apply(x)
    assert lp.memory_stats()["active_bytes"] == before


def test_functions_with_marks():
    class Marked(Function):
        @staticmethod
        def forward(ctx, x, y):
            x.mul_(2)
            ctx.mark_dirty(x)
            bigger = y > 1
            constant = y * 2
            ctx.mark_non_differentiable(constant)
            ctx.set_materialize_grads(False)
            return x, constant, bigger, y * 3

        @staticmethod
        def backward(ctx, gx, gc_, gb, gy):
            assert gc_ is None and gb is None and gy is None
            return gx * 2, None

    a, b = leaf(1.0, 2.0), leaf(1.0, 3.0)
    x = a * 1
    out, constant, bigger, third = Marked.apply(x, b)
    assert out is x and not constant.requires_grad and not bigger.requires_grad and third.requires_grad
    assert x.tolist() == [2, 4] and x.grad_fn.name() == "MarkedBackward"
    out.sum().backward()
    assert a.grad.tolist() == [2, 2] and b.grad is None
    with pytest.raises(RuntimeError, match="leaf Variable"):
        Marked.apply(leaf(1.0), b)


def test_functions_that_are_wrong():
    class Few(Function):
        @staticmethod
        def forward(ctx, x, y):
            return x + y

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(RuntimeError, match=r"expected 2, got 1"):
        Few.apply(leaf(1.0), leaf(1.0)).backward()

    class Shape(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return lp.ones(7)

    with pytest.raises(RuntimeError, match="invalid gradient at index 0"):
        Shape.apply(leaf(1.0, 2.0)).sum().backward()

    class Nothing(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

    with pytest.raises(NotImplementedError):
        Nothing.apply(leaf(1.0)).backward()
    with pytest.raises(RuntimeError):
        Nothing()(1)


def test_once_differentiable():
    class Once(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * x * g

    x = leaf(3.0)
    Once.apply(x).backward()
    assert x.grad.item() == 6
    seed = lp.ones((), requires_grad=True)
    (g,) = lp.autograd.grad(Once.apply(x).sum(), x, seed, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.backward()


def test_saved_tensors_of_functions_are_guarded():
    x = leaf(1.0)
    y = x * 1
    z = Cube.apply(y)
    y += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


# Saved tensors.


def test_hooks_on_saved_tensors():
    x = leaf(2.0, 3.0)
    store = []

    def pack(t):
        store.append(t.tolist())
        return len(store) - 1

    with graph.saved_tensors_hooks(pack, lambda i: lp.tensor(store[i])):
        y = x * x
    assert store == [[2, 3], [2, 3]]
    (g,) = lp.autograd.grad(y.sum(), x, create_graph=True)
    assert g.tolist() == [4, 6] and lp.autograd.grad(g.sum(), x)[0].tolist() == [2, 2]
    with graph.disable_saved_tensors_hooks("not here"), pytest.raises(RuntimeError, match="not here"):
        with graph.saved_tensors_hooks(pack, pack):
            pass
    with graph.save_on_cpu():
        y = x * x
    y.sum().backward()
    assert x.grad.tolist() == [4, 6]
    with graph.allow_mutation_on_saved_tensors():
        y = x * 1
        z = y * y
        y.zero_()
    assert lp.autograd.grad(z.sum(), x)[0].tolist() == [4, 6]


def test_checkpoint():
    x, w = leaf(1.0, 2.0), leaf(0.5, 0.25)
    runs = []

    def f(a, *, bias):
        runs.append(1)
        return lp.tanh(lp.exp(a * w) + bias)

    y = lp.autograd.checkpoint(f, x, bias=1.0, use_reentrant=False)
    got = lp.autograd.grad(y.sum(), [x, w])
    assert len(runs) == 2
    want = lp.autograd.grad(f(x, bias=1.0).sum(), [x, w])
    assert [g.tolist() for g in got] == [g.tolist() for g in want]
    steps = [lp.exp, lp.tanh, lp.relu, lambda v: v * v]
    y = lp.autograd.checkpoint_sequential(steps, 2, x, use_reentrant=False)
    (got,) = lp.autograd.grad(y.sum(), x)
    plain = x
    for step in steps:
        plain = step(plain)
    assert got.tolist() == lp.autograd.grad(plain.sum(), x)[0].tolist()


def test_checkpoint_repeats_random_numbers():
    x = lp.ones(200, requires_grad=True)
    y = lp.autograd.checkpoint(lambda a: lp.dropout(a, 0.5), x)
    lp.rand(3)
    y.sum().backward()
    assert x.grad.tolist() == y.tolist()


def test_checkpoint_drops_memory():
    x = lp.ones(1000, requires_grad=True)

    def f(a):
        for _ in range(10):
            a = lp.tanh(a)
        return a

    def held(run):
        before = lp.memory_stats()["active_bytes"]
        y = run()
        return lp.memory_stats()["active_bytes"] - before, y

    plain, _ = held(lambda: f(x))
    small, _ = held(lambda: lp.autograd.checkpoint(f, x))
    assert small * 5 < plain


# Steps, memory, threads.


def test_a_failed_step_leaves_things_as_they_were():
    a, b = leaf(1.0), leaf(2.0)
    (a * b).backward()

    class Fails(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        (a * 5 + Fails.apply(b * 2)).backward()
    assert a.grad.item() == 2 and b.grad.item() == 1


def test_memory_after_many_steps_is_that_after_few():
    x = lp.rand(8, 16)
    w1 = lp.rand(16, 16, requires_grad=True)
    w2 = lp.rand(16, 1, requires_grad=True)

    def step():
        loss = ((lp.relu(x @ w1) @ w2) ** 2).mean()
        loss.backward()
        with lp.no_grad():
            for p in (w1, w2):
                p -= 1e-4 * p.grad
                p.grad = None

    for _ in range(10):
        step()
    before = lp.memory_stats()["active_bytes"]
    for _ in range(990):
        step()
    assert lp.memory_stats()["active_bytes"] == before


def test_threads():
    shared = lp.ones(64, 64, requires_grad=True)
    count, rounds = 4, 20
    results = [None] * count

    def job(i):
        own = lp.full((64, 64), float(i + 1), requires_grad=True)
        for _ in range(rounds):
            (own * shared).sum().backward()
        results[i] = own.grad[0, 0].item()

    threads = [threading.Thread(target=job, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [rounds] * count
    assert shared.grad[0, 0].item() == rounds * sum(range(1, count + 1))


def test_profiler():
    from lampyr.autograd import profiler

    with profiler.profile() as prof, profiler.record_function("mine"):
        lp.ones(4) * 2
    names = prof.key_averages().totals()
    assert "mul" in names and "mine" in names and "mul" in str(prof.summary)
