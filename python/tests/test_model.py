import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import lampyr as lp

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.onnx"


def model_of(nodes, inputs, outputs, constants=(), opset=17):
    graph = helper.make_graph(nodes, "test", inputs, outputs, list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def value(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


@pytest.fixture(scope="module")
def digits():
    return lp.load_onnx(DIGITS)


def reference(x):
    session = onnxruntime.InferenceSession(DIGITS, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def sample(model, batch):
    shape = [batch if isinstance(d, str) else d for d in model.inputs[0].shape]
    return np.random.default_rng(0).random(shape).astype(np.float32)


def test_digits_match_onnxruntime(digits):
    for batch in (1, 3, 32):
        x = sample(digits, batch)
        if x.shape[0] != batch:
            x = sample(digits, 1)
        np.testing.assert_allclose(digits(x).numpy(), reference(x), rtol=1e-4, atol=1e-5)


def test_ways_to_give_inputs(digits):
    x = sample(digits, 2)
    name = digits.inputs[0].name
    want = reference(x)
    frozen = x.copy()
    frozen.flags.writeable = False
    for given in (x, lp.from_numpy(x), x[::1], np.asfortranarray(x), frozen, memoryview(x), x.tolist()):
        np.testing.assert_allclose(digits(given).numpy(), want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(digits(**{name: x}).numpy(), want, rtol=1e-4, atol=1e-5)


def test_ports(digits):
    port = digits.inputs[0]
    assert port.dtype is lp.float32 and len(port.shape) >= 2 and port.name in repr(digits)
    assert digits.outputs[0].dtype is lp.float32 and digits.opset >= 7


def test_sources():
    data = DIGITS.read_bytes()
    for source in (str(DIGITS), DIGITS, data, onnx.load(DIGITS)):
        assert lp.load_onnx(source).inputs[0].name == lp.load_onnx(data).inputs[0].name


def test_compile_returns_the_model(digits):
    x = sample(digits, 2)
    for options in ({}, {"fuse": False}, {"threads": 1}):
        model = lp.load_onnx(DIGITS)
        assert model.compile(**options) is model
        np.testing.assert_allclose(model(x).numpy(), reference(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(lp.DeviceError):
        digits.compile(device="nowhere:3")


def test_reports(digits):
    digits(sample(digits, 2))
    memory = digits.memory()
    assert 0 < memory.lower_bound_bytes <= memory.arena_bytes <= memory.unplanned_bytes
    assert memory.weight_bytes > 0 and "arena_bytes" in repr(memory)
    told = digits.explain()
    assert "memory" in str(told) and told.to_json().startswith("{")
    assert "<svg" in told.memory_map() and "<svg" in told.to_html()
    __import__("json").loads(told.to_json())


def test_wrong_inputs(digits):
    x = sample(digits, 1)
    name = digits.inputs[0].name
    with pytest.raises(lp.NotFoundError, match=name):
        digits()
    with pytest.raises(lp.NotFoundError, match=name):
        digits(nothing=x)
    with pytest.raises(lp.InvalidValueError):
        digits(x, x)
    with pytest.raises(lp.InvalidValueError):
        digits(x, **{name: x})
    with pytest.raises(lp.DTypeError, match=name):
        digits(x.astype(np.float64))
    with pytest.raises(lp.LampyrError):
        digits(x[..., :3])
    with pytest.raises(lp.LampyrError):
        digits("text")


def test_several_outputs_are_a_tuple():
    model = lp.load_onnx(
        model_of(
            [helper.make_node("Add", ["x", "y"], ["s"]), helper.make_node("Sub", ["x", "y"], ["d"])],
            [value("x", ["n"]), value("y", ["n"])],
            [value("s", ["n"]), value("d", ["n"])],
        )
    )
    for n in (3, 5):
        s, d = model(np.full(n, 3, np.float32), y=np.ones(n, np.float32))
        assert s.tolist() == [4] * n and d.tolist() == [2] * n
    assert model.inputs[0].shape == ("n",)


def test_outputs_do_not_alias_inputs():
    model = lp.load_onnx(model_of([helper.make_node("Identity", ["x"], ["y"])], [value("x", [2])], [value("y", [2])]))
    x = np.ones(2, np.float32)
    x.flags.writeable = False
    y = model(x)
    y += 1
    assert x.tolist() == [1, 1]


def test_everything_missing_is_listed():
    nodes = [
        helper.make_node("NoSuchThing", ["x"], ["a"], name="first"),
        helper.make_node("NorThis", ["a"], ["y"], name="second"),
    ]
    with pytest.raises(lp.UnsupportedError) as caught:
        lp.load_onnx(model_of(nodes, [value("x", [1])], [value("y", [1])]))
    missing = dict(caught.value.missing)
    assert len(missing) == 2 and ["first"] in missing.values() and ["second"] in missing.values()
    assert "NoSuchThing" in str(caught.value)


def test_many_threads(digits):
    inputs = [sample(digits, 1) * k for k in range(1, 9)]
    want = [reference(x) for x in inputs]
    failures = []

    def work(k):
        for _ in range(50):
            got = digits(inputs[k]).numpy()
            if not np.allclose(got, want[k], rtol=1e-4, atol=1e-5):
                failures.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert failures == []


def two_outputs():
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Mul", ["a", "b"], ["product"])]
    return model_of(nodes, [value("a", ["n"]), value("b", ["n"])], [value("sum", ["n"]), value("product", ["n"])])


def test_outputs_by_name():
    model = lp.onnx.load(two_outputs())
    a, b = np.float32([1, 2]), np.float32([3, 4])
    made = model.run({"b": b, "a": a})
    assert list(made) == ["sum", "product"]
    np.testing.assert_array_equal(made["sum"].numpy(), a + b)
    assert list(model.run({"a": a, "b": b}, ["product"])) == ["product"]
    with pytest.raises(KeyError, match="`product`"):
        model.run({"a": a, "b": b}, ["quotient"])
    with pytest.raises(KeyError, match="missing inputs: `b`"):
        model.run({"a": a})


def test_check():
    good = lp.onnx.check(DIGITS)
    assert good and good.ok and not good.problems and not good.slow and "can run here" in repr(good)
    model = two_outputs()
    model.graph.node.append(helper.make_node("Nope", ["a"], ["x"], name="first"))
    model.graph.node.append(helper.make_node("Gemm", ["a", "a"], ["y"], name="second"))
    bad = lp.onnx.check(model)
    assert not bad and [p.nodes for p in bad.problems] == [["first"], ["second"]]
    assert bad.problems[0].kind == "UnsupportedError" and "operator Nope" in repr(bad)
    assert not lp.onnx.check(model.SerializeToString()[:-20])
    assert lp.onnx.check("missing.onnx").problems[0].kind == "IoError"
    with pytest.raises(TypeError):
        lp.onnx.check(7)
