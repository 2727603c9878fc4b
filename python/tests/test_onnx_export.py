"""Modules exported to ONNX: run by Lampyr's importer, and by ONNX Runtime where it is installed."""

import importlib.util

import numpy as np
import pytest

import lampyr as lp
from lampyr import nn
from lampyr.nn import functional as F

runtime = importlib.util.find_spec("onnxruntime") is not None


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6 * 2 * 2, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn(self.conv(x))), 2)
        return self.fc(x.flatten(1))


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(4, 6, num_layers=2, batch_first=True)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        y, _ = self.rnn(x)
        return self.fc(y[:, -1])


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, norm_first=False)
        self.layers = nn.TransformerEncoder(layer, 2)

    def forward(self, x):
        return self.layers(x)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, query, memory):
        return self.attention(query, memory, memory)


class Words(nn.Module):
    """Embeddings of tokens and of positions, and a mask that depends on the length."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(11, 6)
        self.places = nn.Embedding(32, 6)
        self.fc = nn.Linear(6, 11)

    def forward(self, tokens):
        b, n = tokens.shape
        x = self.words(tokens) + self.places(lp.arange(n))
        mask = lp.triu(lp.ones(n, n), 1) * -1e9
        scores = (x @ x.transpose(1, 2)) / n + mask
        y = (scores.softmax(-1) @ x).reshape(b * n, 6)
        return self.fc(y).view(b, n, 11)


def mlp():
    return nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Dropout(0.5), nn.Linear(9, 4), nn.LogSoftmax(-1))


def tokens(*shape):
    return lp.randint(0, 11, shape)


MODELS = {
    "mlp": (mlp, [(3, 7)], {0: "batch"}),
    "cnn": (Cnn, [(2, 3, 9, 9)], {0: "batch"}),
    "lstm": (Lstm, [(2, 5, 4)], {0: "batch"}),
    "encoder": (Encoder, [(2, 5, 8)], {0: "batch", 1: "length"}),
    "attention": (Attention, [(2, 3, 8), (2, 5, 8)], {0: "batch"}),
    "words": (Words, [(2, 5)], {0: "batch", 1: "length"}),
}


def inputs(name, shapes):
    return [tokens(*s) if name == "words" else lp.randn(*s) for s in shapes]


def check(data, model, given):
    with lp.no_grad():
        expected = model(*given)
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = lp.load_onnx(data).compile()(*given)
    found = found if isinstance(found, tuple) else (found,)
    results = [[np.asarray(t) for t in found]]
    if runtime:
        import onnxruntime

        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        feed = {port.name: x.numpy() for port, x in zip(session.get_inputs(), given, strict=True)}
        results.append(session.run(None, feed))
    for got in results:
        assert len(got) == len(expected)
        for g, e in zip(got, expected, strict=True):
            assert np.allclose(g, e.numpy(), atol=1e-5, rtol=1e-5), float(np.abs(g - e.numpy()).max())


@pytest.mark.parametrize("name", MODELS)
def test_fixed_sizes(name):
    lp.manual_seed(1)
    make, shapes, _ = MODELS[name]
    model = make()
    given = inputs(name, shapes)
    data = lp.onnx.export(model, tuple(given))
    assert model.training
    check(data, model.eval(), given)


@pytest.mark.parametrize("name", MODELS)
def test_sizes_that_vary(name):
    lp.manual_seed(2)
    make, shapes, axes = MODELS[name]
    model = make().eval()
    names = [f"in_{i}" for i in range(len(shapes))]
    data = lp.onnx.export(model, tuple(inputs(name, shapes)), input_names=names, dynamic_axes={n: axes for n in names})
    for sizes in [(1, 4), (4, 7)]:
        new = [tuple(sizes[list(axes).index(i)] if i in axes else d for i, d in enumerate(s)) for s in shapes]
        check(data, model, inputs(name, new))


def test_names_and_file(tmp_path):
    model = Cnn()
    path = tmp_path / "model.onnx"
    data = lp.onnx.export(model, (lp.randn(1, 3, 9, 9),), path, input_names=["image"], output_names=["scores"])
    assert path.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    for name in ("conv.weight", "conv.bias", "bn.running_mean", "bn.running_var", "fc.weight", "image", "scores"):
        assert name.encode() in data
    loaded = lp.load_onnx(path).compile()
    assert [p.name for p in loaded.inputs] == ["image"]
    assert [p.name for p in loaded.outputs] == ["scores"]


def test_shapes_by_argument():
    data = lp.onnx.export(mlp().eval(), lp.randn(3, 7), dynamic_shapes=({0: "rows"},))
    assert lp.load_onnx(data).compile()(lp.randn(6, 7)).shape == (6, 4)


class Written(nn.Module):
    def forward(self, x):
        y = x * 2
        y[:, 0] = 1
        y[1:, 1:].add_(x[1:, 1:])
        z = y.view(-1)
        z.mul_(3)
        y.relu_()
        return y, z.reshape(2, -1)


def test_a_join_within_a_join_runs_in_place():
    def corner(x):
        y = x * 2
        y[1:, 1:].add_(x[1:, 1:])
        return y

    x = lp.arange(12.0).reshape(4, 3)
    data = lp.onnx.export(corner, (x,))
    assert np.asarray(lp.load_onnx(data).compile()(x)).tolist() == corner(x).tolist()


def test_changes_in_place_become_new_values():
    model, x = Written(), lp.randn(4, 3)
    check(lp.onnx.export(model, (x,)), model, [x])


REFUSED = {
    "item": (lambda x: x * x.sum().item(), "reading the value of the result of `reduce_sum`"),
    "bool": (lambda x: x if x.sum() > 0 else -x, "reading the value"),
    "tolist": (lambda x: lp.tensor(x.tolist()), "reading the value of the input"),
    "iteration": (lambda x: sum(float(v) for v in x[0]), "reading the value"),
    "numpy": (lambda x: lp.tensor(np.asarray(x)), "reading the value"),
    "input": (lambda x: x.add_(1), "a change in place of the input `x`"),
    "random": (lambda x: x + lp.rand(3), "random numbers"),
    "sizes": (lambda x: x[x > 0], "sizes depend on values|reading the value"),
    "update": (lambda x: _step(x), "updating weights|reading"),
}


def _step(x):
    w = lp.nn.Parameter(lp.ones(3))
    w.grad = lp.ones(3)
    lp.optim.SGD([w], lr=0.1).step()
    return x * w


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_recorded_is_refused(what):
    function, text = REFUSED[what]
    x = lp.ones(2, 3)
    with pytest.raises(lp.UnsupportedError, match=text):
        lp.onnx.export(lambda x: function(x), (x,))
    assert (x == 1).all()
    # The thread records nothing afterwards.
    assert (x + 1).sum().item() == 12


def test_a_buffer_that_training_changes_is_refused():
    model = nn.BatchNorm1d(3)
    with pytest.raises(lp.UnsupportedError, match="running_mean|num_batches_tracked"):
        lp.onnx.export(model, (lp.randn(4, 3),), training=True)
    assert model.training


def test_sizes_that_cannot_be_expressed_are_refused():
    def half(x):
        return x[: x.shape[0] // 2].reshape(-1)

    with pytest.raises(lp.UnsupportedError, match="attribute `(ends|shape)` of"):
        lp.onnx.export(half, (lp.ones(4, 3),), dynamic_axes={"x": [0]})

    def branch(x):
        return x.relu() if x.shape[0] > 4 else x.exp()

    with pytest.raises(lp.UnsupportedError, match="which ops are applied"):
        lp.onnx.export(branch, (lp.ones(4, 3),), dynamic_axes={"x": [0]})


def test_bad_arguments():
    with pytest.raises(ValueError, match="dynamic_axes names"):
        lp.onnx.export(mlp(), (lp.ones(1, 7),), dynamic_axes={"wrong": [0]})
    with pytest.raises(IndexError, match="axis 3"):
        lp.onnx.export(mlp(), (lp.ones(1, 7),), input_names=["x"], dynamic_axes={"x": [3]})
    with pytest.raises(lp.UnsupportedError, match="operator set"):
        lp.onnx.export(mlp().eval(), (lp.ones(1, 7),), opset_version=7)
