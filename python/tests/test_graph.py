import numpy as np
import pytest

import lampyr as lp


def test_the_hand_built_example():
    graph = lp.Graph()
    x = graph.add_input("input", (1, 10))
    w = graph.add_weight("weight", lp.full((10, 5), 0.5))
    graph.mark_output(graph.add_op("matmul", [x, w]))
    graph.optimize()
    executable = graph.compile()
    assert executable(lp.ones(1, 10)).tolist() == [[5.0] * 5]
    graph.set_weight("weight", lp.ones(10, 5))
    assert graph.compile()(np.ones((1, 10), np.float32)).tolist() == [[10.0] * 5]


def test_attributes_symbols_and_several_outputs():
    graph = lp.Graph()
    x = graph.add_input("x", ("n", 4), lp.float32)
    values, at = graph.add_op("topk", [x], k=2, axis=1)
    graph.mark_output(graph.add_op("softmax", [values], axis=1))
    graph.mark_output(at)
    run = graph.compile()
    for n in (1, 3):
        a = lp.randn(n, 4)
        p, i = run(a)
        values, at = a.topk(2, dim=1)
        np.testing.assert_allclose(p.numpy(), lp.softmax(values, 1).numpy(), rtol=1e-6)
        np.testing.assert_array_equal(i.numpy(), at.numpy())


def test_a_user_op_in_a_graph():
    calls = []

    def forward(xs):
        calls.append(xs[0].shape)
        return xs[0] * 2 + 1

    lp.register_op("test_in_graph", forward, lambda xs: [xs[0]])
    graph = lp.Graph()
    x = graph.add_input("x", ("n", 3))
    y = graph.add_op("test_in_graph", [graph.add_op("relu", [x])])
    graph.mark_output(graph.add_op("neg", [y]))
    graph.optimize()
    run = graph.compile()
    for n in (2, 4):
        assert run(lp.ones(n, 3)).tolist() == [[-3.0] * 3] * n
    assert (2, 3) in calls and (4, 3) in calls


def test_an_error_in_a_graph_is_chained():
    def fail(xs):
        raise KeyError("inside")

    lp.register_op("test_fails_in_graph", fail, lambda xs: [xs[0]])
    graph = lp.Graph()
    graph.mark_output(graph.add_op("test_fails_in_graph", [graph.add_input("x", (2,))]))
    with pytest.raises(lp.UserError) as caught:
        graph.compile()(lp.ones(2))
    assert isinstance(caught.value.__cause__, KeyError)


def test_errors():
    graph = lp.Graph()
    x = graph.add_input("x", (2, 3))
    with pytest.raises(lp.InvalidValueError):
        graph.add_input("x", (1,))
    with pytest.raises(lp.NotFoundError):
        graph.add_op("no_such_op", [x])
    with pytest.raises(lp.ShapeError):
        graph.add_op("matmul", [x, x])
    with pytest.raises(lp.GraphError):
        graph.compile()
    with pytest.raises(lp.NotFoundError):
        graph.set_weight("w", lp.ones(1))
