"""Modules: what is registered, listed, saved, copied, hooked and shown."""

import copy
import io
import math
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import lampyr as lp
from lampyr import nn
from lampyr.nn.utils import rnn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.BatchNorm1d(4)])
        self.scale = nn.Parameter(lp.ones(4))
        self.register_buffer("offset", lp.zeros(4))
        self.register_buffer("scratch", lp.zeros(2), persistent=False)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return x * self.scale + self.offset


KEYS = [
    "scale",
    "offset",
    "first.weight",
    "first.bias",
    "blocks.0.weight",
    "blocks.0.bias",
    "blocks.1.weight",
    "blocks.1.bias",
    "blocks.1.running_mean",
    "blocks.1.running_var",
    "blocks.1.num_batches_tracked",
]


def test_lists():
    net = Net()
    assert list(net.state_dict()) == KEYS
    assert [n for n, _ in net.named_parameters()] == [
        k for k in KEYS if "running" not in k and "num_" not in k and k != "offset"
    ]
    assert [n for n, _ in net.named_buffers()] == ["offset", "scratch", *KEYS[-3:]]
    assert [n for n, _ in net.named_modules()] == ["", "first", "blocks", "blocks.0", "blocks.1"]
    assert [n for n, _ in net.named_children()] == ["first", "blocks"]
    assert len(list(net.parameters(recurse=False))) == 1
    assert net.get_submodule("blocks.1") is net.blocks[1]
    assert net.get_parameter("first.bias") is net.first.bias
    assert net.get_buffer("blocks.1.running_mean") is net.blocks[1].running_mean
    with pytest.raises(AttributeError, match="no attribute"):
        net.get_submodule("blocks.7")
    with pytest.raises(AttributeError, match="not an nn.Module"):
        net.get_submodule("scale")
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'nothing'"):
        _ = net.nothing


def test_shared_parameters_are_listed_once():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert len(list(net.named_parameters(remove_duplicate=False))) == 4
    net.double()
    assert net[1].weight is net[0].weight
    assert net[0].weight.dtype == lp.float64


def test_attributes():
    net = nn.Module()
    net.w = nn.Parameter(lp.ones(2))
    with pytest.raises(TypeError, match="object to parameter 'w'"):
        net.w = lp.ones(2)
    net.w = None
    assert net.w is None and list(net.parameters()) == []
    del net.w
    net.w = nn.Parameter(lp.ones(2))
    del net.w
    net.w = nn.Linear(1, 1)
    assert "w" in net._modules and "w" not in net._parameters
    with pytest.raises(TypeError, match="child module"):
        net.w = 3
    del net.w
    assert not hasattr(net, "w")
    net.b = nn.Buffer(lp.zeros(2))
    assert list(net.state_dict()) == ["b"]
    net.b = lp.ones(3)
    assert list(net.state_dict()) == ["b"]
    with pytest.raises(KeyError, match="already exists"):
        net.register_buffer("training", lp.ones(1))
    with pytest.raises(KeyError, match='contain "\\."'):
        net.register_parameter("a.b", None)
    with pytest.raises(TypeError, match="required"):
        net.register_parameter("p", lp.ones(1))

    class Early(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(lp.ones(1))

    with pytest.raises(AttributeError, match="before Module.__init__"):
        Early()
    with pytest.raises(NotImplementedError, match="forward"):
        nn.Module()(1)


def test_state_is_loaded_wholly_or_not_at_all():
    a, b = Net(), Net()
    keys = b.load_state_dict(a.state_dict())
    assert keys.missing_keys == [] and repr(keys) == "<All keys matched successfully>"
    np.testing.assert_array_equal(b.first.weight.detach().numpy(), a.first.weight.detach().numpy())
    before = b.first.weight.detach().clone().numpy()
    state = {k: v + 1 if v.is_floating_point() else v for k, v in a.state_dict().items()}
    del state["scale"]
    state["unknown"] = lp.ones(1)
    state["blocks.0.bias"] = lp.ones(5)
    with pytest.raises(RuntimeError) as error:
        b.load_state_dict(state)
    text = str(error.value)
    assert 'Missing key(s) in state_dict: "scale"' in text
    assert 'Unexpected key(s) in state_dict: "unknown"' in text
    assert "size mismatch for blocks.0.bias: copying a param with shape [5]" in text
    assert isinstance(error.value, lp.LampyrError)
    np.testing.assert_array_equal(b.first.weight.detach().numpy(), before)
    del state["blocks.0.bias"]
    keys = b.load_state_dict(state, strict=False)
    assert keys.missing_keys == ["scale", "blocks.0.bias"] and keys.unexpected_keys == ["unknown"]
    np.testing.assert_allclose(b.first.weight.detach().numpy(), before + 1)
    replacement = {k: v.clone() for k, v in a.state_dict().items()}
    b.load_state_dict(replacement, assign=True)
    assert b.first.weight.data_ptr() == replacement["first.weight"].data_ptr()
    assert isinstance(b.first.weight, nn.Parameter) and b.first.weight.requires_grad


def test_extra_state():
    class Counter(nn.Module):
        count = 0

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    a = nn.Sequential(Counter())
    a[0].count = 5
    b = nn.Sequential(Counter())
    b.load_state_dict(a.state_dict())
    assert b[0].count == 5
    with pytest.raises(RuntimeError, match="0._extra_state"):
        b.load_state_dict({})


def test_copies():
    net = Net().eval()
    net.first.weight.grad = lp.ones(4, 3)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert isinstance(other.first.weight, nn.Parameter)
        assert other.first.weight.data_ptr() != net.first.weight.data_ptr()
        assert not other.training
        x = lp.ones(2, 3)
        np.testing.assert_array_equal(other(x).detach().numpy(), net(x).detach().numpy())
    assert copy.deepcopy(net).first.weight.grad is not None
    stream = io.BytesIO()
    pickle.dump(net.state_dict(), stream)
    stream.seek(0)
    assert list(pickle.load(stream)) == KEYS
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    assert copy.deepcopy(tied)[1].weight is not tied[0].weight
    copied = copy.deepcopy(tied)
    assert copied[1].weight is copied[0].weight


def test_conversion_and_modes():
    net = Net()
    assert net.train(False) is net and not net.blocks[1].training
    with pytest.raises(ValueError, match="boolean"):
        net.train(1)
    net.half()
    assert {p.dtype for p in net.parameters()} == {lp.float16}
    assert net.blocks[1].num_batches_tracked.dtype == lp.int64
    net.to(lp.float64)
    assert net.offset.dtype == lp.float64 and isinstance(net.scale, nn.Parameter)
    w = net.first.weight
    assert net.to("cpu").first.weight is w
    with pytest.raises(TypeError, match="floating point"):
        net.to(lp.int32)
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    net.float()(lp.ones(2, 3)).sum().backward()
    assert net.first.weight.grad is not None
    net.zero_grad(set_to_none=False)
    assert net.first.weight.grad.abs().sum().item() == 0
    net.zero_grad()
    assert net.first.weight.grad is None
    seen = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "Linear", "BatchNorm1d", "ModuleList", "Net"]


def test_forward_hooks():
    layer = nn.Linear(2, 2)
    calls = []
    before = layer.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    after = layer.register_forward_hook(lambda m, args, out: calls.append(args[0].tolist()) or out + 1)
    x = lp.ones(1, 2)
    hooked = layer(x)
    assert calls == [[[2.0, 2.0]]]
    before.remove()
    after.remove()
    np.testing.assert_allclose(hooked.detach().numpy(), layer(x * 2).detach().numpy() + 1, rtol=1e-6)
    with layer.register_forward_hook(lambda m, args, kwargs, out: kwargs.get("k"), with_kwargs=True):
        pass
    assert not layer._forward_hooks and not layer._forward_hooks_with_kwargs
    total = []
    with nn.register_module_forward_hook(lambda m, args, out: total.append(type(m).__name__)):
        nn.Sequential(nn.ReLU(), nn.ReLU())(x)
    assert total == ["ReLU", "ReLU", "Sequential"]
    nn.ReLU()(x)
    assert len(total) == 3

    class Fails(nn.Module):
        def forward(self, x):
            raise ValueError("no")

    seen = []
    bad = Fails()
    bad.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    with pytest.raises(ValueError, match="no"):
        bad(x)
    assert seen == [None]


def test_text():
    net = nn.Sequential(OrderedDict(a=nn.Linear(2, 3), b=nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()])))
    assert repr(net) == (
        "Sequential(\n  (a): Linear(in_features=2, out_features=3, bias=True)\n  (b): ModuleList(\n"
        "    (0-1): 2 x ReLU()\n    (2): Tanh()\n  )\n)"
    )
    assert repr(nn.Conv2d(1, 2, 3, padding=1, bias=False)) == (
        "Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)"
    )
    assert repr(nn.Parameter(lp.ones(1))).startswith("Parameter containing:\ntensor([1.]")


def test_containers():
    s = nn.Sequential(nn.ReLU(), nn.Tanh())
    s.append(nn.Sigmoid()).insert(0, nn.Identity())
    assert [type(m).__name__ for m in s] == ["Identity", "ReLU", "Tanh", "Sigmoid"]
    assert isinstance(s[1:3], nn.Sequential) and len(s[1:3]) == 2
    del s[0]
    assert list(s._modules) == ["0", "1", "2"] and isinstance(s.pop(-1), nn.Sigmoid)
    assert len(s + s) == 4 and len(s * 3) == 6
    with pytest.raises(IndexError):
        _ = s[5]
    with pytest.raises(TypeError):
        nn.Sequential(3)
    d = nn.ModuleDict({"x": nn.ReLU()})
    d["y"] = nn.Tanh()
    assert list(d.keys()) == ["x", "y"] and "x" in d and len(d) == 2
    p = nn.ParameterList([lp.ones(1), lp.ones(2)])
    assert len(list(p.parameters())) == 2 and list(p.state_dict()) == ["0", "1"]
    q = nn.ParameterDict({"w": lp.ones(1)})
    q.update({"v": nn.Parameter(lp.ones(2))})
    assert sorted(dict(q.named_parameters())) == ["v", "w"]
    assert q.get("z") is None and q.pop("w").shape == (1,) and len(q) == 1


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError),
        (lambda: nn.Conv2d(2, 4, 3, padding="much"), ValueError),
        (lambda: nn.Conv2d(2, 4, 3, stride=2, padding="same"), ValueError),
        (lambda: nn.Dropout(1.5), ValueError),
        (lambda: nn.Embedding(3, 2, padding_idx=5), ValueError),
        (lambda: nn.GroupNorm(3, 4), ValueError),
        (lambda: nn.MultiheadAttention(7, 2), ValueError),
        (lambda: nn.LSTM(2, 0), ValueError),
        (lambda: nn.GRU(2, 3, proj_size=1), ValueError),
        (lambda: nn.BatchNorm2d(3)(lp.ones(2, 3)), ValueError),
        (lambda: nn.LSTM(2, 3)(lp.ones(4, 5)), ValueError),
        (lambda: nn.MultiheadAttention(4, 2)(lp.ones(3, 4), lp.ones(3, 4), lp.ones(2, 4)), ValueError),
        (lambda: nn.Linear(2, 3, 4, 5, 6, 7), TypeError),
    ],
)
def test_errors(make, kind):
    with pytest.raises(kind):
        make()


def test_initial_values():
    lp.manual_seed(3)
    w = lp.empty(400, 300)
    nn.init.kaiming_uniform_(w, a=math.sqrt(5))
    a = w.numpy()
    bound = 1 / math.sqrt(300)
    assert abs(a).max() <= bound and abs(a).max() > bound * 0.99 and abs(a.mean()) < bound * 0.01
    nn.init.kaiming_normal_(w, nonlinearity="relu", mode="fan_out")
    assert w.numpy().std() == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    nn.init.xavier_uniform_(w, gain=2)
    assert abs(w.numpy()).max() == pytest.approx(2 * math.sqrt(6 / 700), rel=0.01)
    nn.init.xavier_normal_(w)
    assert w.numpy().std() == pytest.approx(math.sqrt(2 / 700), rel=0.02)
    nn.init.trunc_normal_(w, std=1.0, a=-0.5, b=1.0)
    assert w.numpy().min() >= -0.5 and w.numpy().max() <= 1.0
    small = lp.empty(6, 4)
    nn.init.orthogonal_(small)
    np.testing.assert_allclose(small.numpy().T @ small.numpy(), np.eye(4), atol=1e-6)
    nn.init.eye_(small)
    np.testing.assert_array_equal(small.numpy(), np.eye(6, 4))
    nn.init.sparse_(small, 0.5)
    assert ((small.numpy() == 0).sum(0) == 3).all()
    conv = nn.Conv1d(4, 4, 3, padding=1, bias=False, groups=2)
    nn.init.dirac_(conv.weight, groups=2)
    x = lp.randn(1, 4, 5)
    np.testing.assert_allclose(conv(x).detach().numpy(), x.numpy(), rtol=1e-6)
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        nn.init.xavier_normal_(lp.empty(3))
    assert nn.init.calculate_gain("leaky_relu", 0.2) == pytest.approx(math.sqrt(2 / 1.04))
    assert nn.Embedding(5, 2, padding_idx=-1).weight[4].tolist() == [0.0, 0.0]


def test_gradients_are_clipped():
    p = [nn.Parameter(lp.zeros(2)), nn.Parameter(lp.zeros(1)), nn.Parameter(lp.zeros(1))]
    p[0].grad, p[1].grad = lp.tensor([3.0, 0.0]), lp.tensor([4.0])
    assert nn.utils.clip_grad_norm_(p, 2.5).item() == pytest.approx(5.0)
    np.testing.assert_allclose(p[0].grad.numpy(), [1.5, 0.0], rtol=1e-5)
    assert nn.utils.clip_grad_norm_(p, 10.0, norm_type=math.inf).item() == pytest.approx(2.0, rel=1e-5)
    nn.utils.clip_grad_value_(p, 1.0)
    assert p[1].grad.tolist() == [1.0]
    p[0].grad = lp.tensor([math.nan, 1.0])
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    vector = nn.utils.parameters_to_vector(p)
    assert vector.shape == (4,)
    nn.utils.vector_to_parameters(lp.arange(4).float(), p)
    assert p[0].tolist() == [0.0, 1.0] and p[2].tolist() == [3.0]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_packed_sequences_are_run_one_by_one(kind, bidirectional):
    lp.manual_seed(0)
    layer = getattr(nn, kind)(3, 4, 2, bidirectional=bidirectional)
    parts = [lp.randn(n, 3) for n in (2, 5, 3)]
    packed = rnn.pack_sequence(parts, enforce_sorted=False)
    assert packed.batch_sizes.tolist() == [3, 3, 2, 1, 1]
    made, state = layer(packed)
    padded, lengths = rnn.pad_packed_sequence(made, batch_first=True)
    assert lengths.tolist() == [2, 5, 3]
    h = state[0] if kind == "LSTM" else state
    for i, part in enumerate(parts):
        alone, last = layer(part)
        np.testing.assert_allclose(padded[i, : len(part)].detach().numpy(), alone.detach().numpy(), atol=1e-6)
        last = last[0] if kind == "LSTM" else last
        np.testing.assert_allclose(h[:, i].detach().numpy(), last.detach().numpy(), atol=1e-6)
    back, _ = rnn.pad_packed_sequence(packed)
    assert back.shape == (5, 3, 3)
    with pytest.raises(ValueError, match="decreasing"):
        rnn.pack_sequence(parts)


def test_attention_masks():
    lp.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    x = lp.randn(2, 4, 8)
    causal = nn.Transformer.generate_square_subsequent_mask(4)
    padding = lp.tensor([[False, False, False, True], [False, False, True, True]])
    y, w = layer(x, x, x, attn_mask=causal, key_padding_mask=padding)
    assert (w.detach().numpy()[:, np.triu_indices(4, 1)[0], np.triu_indices(4, 1)[1]] == 0).all()
    assert (w.detach().numpy()[1, :, 2:] == 0).all()
    without, none = layer(x, x, x, attn_mask=causal == float("-inf"), key_padding_mask=padding, need_weights=False)
    assert none is None
    np.testing.assert_allclose(without.detach().numpy(), y.detach().numpy(), atol=1e-6)
    hinted, _ = layer(x, x, x, attn_mask=causal, need_weights=False, is_causal=True)
    plain, _ = layer(x, x, x, attn_mask=causal)
    np.testing.assert_allclose(hinted.detach().numpy(), plain.detach().numpy(), atol=1e-6)
    _, each = layer(x, x, x, average_attn_weights=False)
    assert each.shape == (2, 2, 4, 4)
    with pytest.raises(ValueError, match="is_causal"):
        layer(x, x, x, is_causal=True)


def test_initial_values_follow_the_seed():
    # Rust's layer has the same: crates/lampyr/tests/nn/modules.rs.
    lp.manual_seed(3)
    weight = nn.Linear(4, 3).weight.detach().numpy()
    np.testing.assert_allclose(weight[0], [-0.0810132, 0.24627978, -0.11997104, 0.1344], atol=1e-6)
