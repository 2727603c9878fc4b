"""Layers, optimisers, schedules and training runs, written once for every library with PyTorch's names."""

from __future__ import annotations

import zlib

import numpy as np

STEPS = 100


def floats(name, shape, low=-1.0, high=1.0):
    """Numbers that depend on ``name`` and ``shape`` only."""
    random = np.random.RandomState(zlib.crc32(name.encode()) % 2**31)
    return random.uniform(low, high, shape).astype(np.float32)


def whole(name, shape, end):
    """Whole numbers from 0 to ``end``, exclusive."""
    return np.random.RandomState(zlib.crc32(name.encode()) % 2**31).randint(0, end, shape).astype(np.int64)


def fill(name, state):
    """Values for a state dict of shapes: small weights, positive variances, no batches so far."""
    made = {}
    for key, shape in state.items():
        if key.endswith("num_batches_tracked"):
            made[key] = np.array(0, dtype=np.int64)
        elif key.endswith("running_var"):
            made[key] = floats(name + key, shape, 0.5, 1.5)
        else:
            made[key] = floats(name + key, shape, -0.5, 0.5)
    return made


# name: how it is made, the inputs (a shape, or an array), and what of the output counts.
LAYERS = {
    "linear": (lambda nn: nn.Linear(4, 3), [(5, 4)]),
    "linear_batched": (lambda nn: nn.Linear(4, 3, bias=False), [(2, 5, 4)]),
    "linear_vector": (lambda nn: nn.Linear(4, 3), [(4,)]),
    "bilinear": (lambda nn: nn.Bilinear(3, 4, 2), [(5, 3), (5, 4)]),
    "conv1d": (lambda nn: nn.Conv1d(4, 6, 3, stride=2, padding=1), [(2, 4, 9)]),
    "conv2d": (lambda nn: nn.Conv2d(4, 6, 3, 2, 1, groups=2), [(2, 4, 9, 8)]),
    "conv2d_same": (lambda nn: nn.Conv2d(2, 3, (3, 4), padding="same", dilation=2), [(2, 2, 9, 8)]),
    "conv2d_circular": (lambda nn: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), [(2, 2, 5, 6)]),
    "conv2d_single": (lambda nn: nn.Conv2d(2, 3, 3, bias=False), [(2, 6, 5)]),
    "conv3d": (lambda nn: nn.Conv3d(2, 3, 2, padding=1), [(1, 2, 3, 4, 3)]),
    "conv_transpose1d": (lambda nn: nn.ConvTranspose1d(3, 4, 3, stride=2), [(2, 3, 5)]),
    "conv_transpose2d": (
        lambda nn: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        [(2, 4, 4, 5)],
    ),
    "batch_norm1d": (lambda nn: nn.BatchNorm1d(4), [(6, 4)]),
    "batch_norm1d_eval": (lambda nn: nn.BatchNorm1d(4).eval(), [(6, 4, 3)]),
    "batch_norm2d": (lambda nn: nn.BatchNorm2d(4, momentum=None), [(3, 4, 5, 2)]),
    "batch_norm2d_plain": (lambda nn: nn.BatchNorm2d(4, affine=False, track_running_stats=False), [(3, 4, 5, 2)]),
    "batch_norm3d": (lambda nn: nn.BatchNorm3d(2, bias=False), [(2, 2, 3, 2, 2)]),
    "instance_norm2d": (lambda nn: nn.InstanceNorm2d(4, affine=True), [(3, 4, 5, 2)]),
    "layer_norm": (lambda nn: nn.LayerNorm(6), [(3, 2, 6)]),
    "layer_norm_two": (lambda nn: nn.LayerNorm((2, 6), bias=False), [(3, 2, 6)]),
    "rms_norm": (lambda nn: nn.RMSNorm(6), [(3, 6)]),
    "group_norm": (lambda nn: nn.GroupNorm(2, 4), [(3, 4, 5)]),
    "local_response_norm": (lambda nn: nn.LocalResponseNorm(3), [(2, 5, 4, 3)]),
    "embedding": (lambda nn: nn.Embedding(7, 3, padding_idx=2), [whole("embedding", (4, 5), 7)]),
    "embedding_bag": (lambda nn: nn.EmbeddingBag(7, 3), [whole("embedding_bag", (4, 5), 7)]),
    "max_pool1d": (lambda nn: nn.MaxPool1d(3, 2, 1), [(2, 3, 8)]),
    "max_pool2d": (lambda nn: nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), [(2, 3, 8, 7)]),
    "avg_pool1d": (lambda nn: nn.AvgPool1d(3, 2, 1), [(2, 3, 8)]),
    "avg_pool2d": (lambda nn: nn.AvgPool2d(3, padding=1, count_include_pad=False), [(2, 3, 8, 7)]),
    "lp_pool2d": (lambda nn: nn.LPPool2d(2, 2), [(2, 3, 6, 4)]),
    "adaptive_avg_pool2d": (lambda nn: nn.AdaptiveAvgPool2d((3, None)), [(2, 3, 8, 5)]),
    "adaptive_max_pool1d": (lambda nn: nn.AdaptiveMaxPool1d(3), [(2, 3, 8)]),
    "relu": (lambda nn: nn.ReLU(), [(3, 5)]),
    "relu6": (lambda nn: nn.ReLU6(), [floats("relu6", (3, 5), -8, 8)]),
    "leaky_relu": (lambda nn: nn.LeakyReLU(0.2), [(3, 5)]),
    "elu": (lambda nn: nn.ELU(1.5), [(3, 5)]),
    "celu": (lambda nn: nn.CELU(1.5), [(3, 5)]),
    "selu": (lambda nn: nn.SELU(), [(3, 5)]),
    "gelu": (lambda nn: nn.GELU(), [(3, 5)]),
    "gelu_tanh": (lambda nn: nn.GELU("tanh"), [(3, 5)]),
    "silu": (lambda nn: nn.SiLU(), [(3, 5)]),
    "mish": (lambda nn: nn.Mish(), [(3, 5)]),
    "softplus": (lambda nn: nn.Softplus(2.0, 1.0), [(3, 5)]),
    "hardswish": (lambda nn: nn.Hardswish(), [floats("hardswish", (3, 5), -4, 4)]),
    "hardsigmoid": (lambda nn: nn.Hardsigmoid(), [floats("hardsigmoid", (3, 5), -4, 4)]),
    "hardtanh": (lambda nn: nn.Hardtanh(-0.5, 0.25), [(3, 5)]),
    "hardshrink": (lambda nn: nn.Hardshrink(), [(3, 5)]),
    "softshrink": (lambda nn: nn.Softshrink(), [(3, 5)]),
    "tanhshrink": (lambda nn: nn.Tanhshrink(), [(3, 5)]),
    "threshold": (lambda nn: nn.Threshold(0.1, 3.0), [(3, 5)]),
    "sigmoid": (lambda nn: nn.Sigmoid(), [(3, 5)]),
    "tanh": (lambda nn: nn.Tanh(), [(3, 5)]),
    "logsigmoid": (lambda nn: nn.LogSigmoid(), [(3, 5)]),
    "softsign": (lambda nn: nn.Softsign(), [(3, 5)]),
    "softmax": (lambda nn: nn.Softmax(1), [(3, 5)]),
    "softmin": (lambda nn: nn.Softmin(1), [(3, 5)]),
    "log_softmax": (lambda nn: nn.LogSoftmax(0), [(3, 5)]),
    "softmax2d": (lambda nn: nn.Softmax2d(), [(2, 3, 2, 2)]),
    "glu": (lambda nn: nn.GLU(1), [(3, 6)]),
    "prelu": (lambda nn: nn.PReLU(4), [(3, 4, 2)]),
    "flatten": (lambda nn: nn.Flatten(), [(2, 3, 4)]),
    "unflatten": (lambda nn: nn.Unflatten(1, (2, -1)), [(2, 6, 3)]),
    "dropout_eval": (lambda nn: nn.Dropout(0.5).eval(), [(3, 5)]),
    "cosine_similarity": (lambda nn: nn.CosineSimilarity(), [(3, 5), (3, 5)]),
    "pairwise_distance": (lambda nn: nn.PairwiseDistance(), [(3, 5), (3, 5)]),
    "zero_pad2d": (lambda nn: nn.ZeroPad2d((1, 2, 0, 1)), [(2, 3, 4)]),
    "constant_pad1d": (lambda nn: nn.ConstantPad1d(1, 2.5), [(2, 3, 4)]),
    "reflection_pad2d": (lambda nn: nn.ReflectionPad2d(1), [(2, 3, 4, 4)]),
    "replication_pad2d": (lambda nn: nn.ReplicationPad2d((1, 2, 0, 1)), [(2, 3, 4, 4)]),
    "upsample_nearest": (lambda nn: nn.Upsample(scale_factor=2), [(1, 2, 3, 3)]),
    "upsample_bilinear": (lambda nn: nn.Upsample(size=(5, 4), mode="bilinear"), [(1, 2, 3, 3)]),
    "pixel_shuffle": (lambda nn: nn.PixelShuffle(2), [(1, 8, 2, 3)]),
    "pixel_unshuffle": (lambda nn: nn.PixelUnshuffle(2), [(1, 2, 4, 6)]),
    "unfold": (lambda nn: nn.Unfold(2, stride=2), [(1, 2, 4, 4)]),
    "fold": (lambda nn: nn.Fold((4, 4), 2, stride=2), [(1, 8, 4)]),
    "rnn": (lambda nn: nn.RNN(4, 5, 2, nonlinearity="relu", batch_first=True), [(2, 3, 4)]),
    "rnn_unbatched": (lambda nn: nn.RNN(4, 5), [(3, 4)]),
    "lstm": (lambda nn: nn.LSTM(4, 5, 2, bidirectional=True), [(3, 2, 4)]),
    "lstm_projected": (lambda nn: nn.LSTM(4, 5, proj_size=3), [(3, 2, 4)]),
    "gru": (lambda nn: nn.GRU(4, 5, 2, bidirectional=True), [(3, 2, 4)]),
    "gru_no_bias": (lambda nn: nn.GRU(4, 5, bias=False, batch_first=True), [(3, 2, 4)]),
    "rnn_cell": (lambda nn: nn.RNNCell(4, 5), [(3, 4), (3, 5)]),
    "gru_cell": (lambda nn: nn.GRUCell(4, 5), [(3, 4), (3, 5)]),
    "lstm_cell": (lambda nn: nn.LSTMCell(4, 5), [(3, 4)]),
    "attention": (lambda nn: nn.MultiheadAttention(8, 2), [(3, 2, 8), (4, 2, 8), (4, 2, 8)]),
    "attention_sizes": (
        lambda nn: nn.MultiheadAttention(8, 2, kdim=6, vdim=7, batch_first=True, add_bias_kv=True, add_zero_attn=True),
        [(2, 3, 8), (2, 4, 6), (2, 4, 7)],
    ),
    "encoder": (
        lambda nn: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), 2),
        [(2, 3, 8)],
    ),
    "encoder_norm_first": (
        lambda nn: nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation="gelu", norm_first=True),
        [(3, 2, 8)],
    ),
    "decoder": (
        lambda nn: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, 0.0), 1, nn.LayerNorm(8)),
        [(2, 3, 8), (4, 3, 8)],
    ),
    "transformer": (lambda nn: nn.Transformer(8, 2, 1, 1, 16, 0.0), [(2, 3, 8), (4, 3, 8)]),
}

_classes = whole("classes", (6,), 4)
_labels = (whole("labels", (6, 4), 2)).astype(np.float32)
_signs = (whole("signs", (6,), 2) * 2 - 1).astype(np.float32)
_inside = floats("inside", (6, 4), 0.05, 0.95)

LOSSES = {
    "l1": (lambda nn: nn.L1Loss(), [(6, 4), floats("l1", (6, 4))]),
    "mse": (lambda nn: nn.MSELoss(reduction="sum"), [(6, 4), floats("mse", (6, 4))]),
    "cross_entropy": (lambda nn: nn.CrossEntropyLoss(label_smoothing=0.1), [(6, 4), _classes]),
    "cross_entropy_probabilities": (lambda nn: nn.CrossEntropyLoss(reduction="none"), [(6, 4), _inside]),
    "cross_entropy_ignored": (lambda nn: nn.CrossEntropyLoss(ignore_index=1), [(6, 4), _classes]),
    "nll": (lambda nn: nn.NLLLoss(), [(6, 4), _classes]),
    "bce": (lambda nn: nn.BCELoss(), [_inside, _labels]),
    "bce_logits": (lambda nn: nn.BCEWithLogitsLoss(), [(6, 4), _labels]),
    "huber": (lambda nn: nn.HuberLoss(delta=0.5), [(6, 4), floats("huber", (6, 4))]),
    "smooth_l1": (lambda nn: nn.SmoothL1Loss(beta=0.5), [(6, 4), floats("smooth", (6, 4))]),
    "kl_div": (lambda nn: nn.KLDivLoss(reduction="batchmean"), [(6, 4), _inside]),
    "poisson": (lambda nn: nn.PoissonNLLLoss(full=True), [(6, 4), whole("poisson", (6, 4), 5).astype(np.float32)]),
    "gaussian": (lambda nn: nn.GaussianNLLLoss(), [(6, 4), floats("gaussian", (6, 4)), _inside]),
    "hinge": (lambda nn: nn.HingeEmbeddingLoss(), [(6,), _signs]),
    "soft_margin": (lambda nn: nn.SoftMarginLoss(), [(6,), _signs]),
    "cosine": (lambda nn: nn.CosineEmbeddingLoss(0.2), [(6, 4), (6, 4), _signs]),
    "ranking": (lambda nn: nn.MarginRankingLoss(0.1), [(6,), floats("ranking", (6,)), _signs]),
    "triplet": (lambda nn: nn.TripletMarginLoss(swap=True), [(6, 4), floats("t1", (6, 4)), floats("t2", (6, 4))]),
    "multi_margin": (lambda nn: nn.MultiMarginLoss(), [(6, 4), _classes]),
    "multi_label_soft_margin": (lambda nn: nn.MultiLabelSoftMarginLoss(), [(6, 4), _labels]),
}

OPTIMISERS = {
    "sgd": lambda o, p: o.SGD(p, 0.1),
    "sgd_momentum": lambda o, p: o.SGD(p, 0.1, momentum=0.9, dampening=0.2, weight_decay=0.1),
    "sgd_nesterov": lambda o, p: o.SGD(p, 0.1, momentum=0.9, nesterov=True, maximize=True),
    "adam": lambda o, p: o.Adam(p, 0.05, weight_decay=0.1),
    "adam_amsgrad": lambda o, p: o.Adam(p, 0.05, betas=(0.8, 0.9), amsgrad=True),
    "adamw": lambda o, p: o.AdamW(p, 0.05, weight_decay=0.2),
    "adamw_amsgrad": lambda o, p: o.AdamW(p, 0.05, amsgrad=True, maximize=True, eps=1e-3),
}

SCHEDULES = {
    "step": lambda s, o: s.StepLR(o, 3, 0.5),
    "multi_step": lambda s, o: s.MultiStepLR(o, [3, 5, 5, 9]),
    "constant": lambda s, o: s.ConstantLR(o),
    "linear": lambda s, o: s.LinearLR(o, total_iters=8),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "polynomial": lambda s, o: s.PolynomialLR(o, 9, 2.0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 7, 0.001),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 4, 2),
    "one_cycle": lambda s, o: s.OneCycleLR(o, 0.3, 40),
    "one_cycle_three": lambda s, o: s.OneCycleLR(o, 0.3, 40, three_phase=True, anneal_strategy="linear"),
    "lambda": lambda s, o: s.LambdaLR(o, lambda epoch: 0.9**epoch),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda epoch: 0.95),
    "sequential": lambda s, o: s.SequentialLR(o, [s.LinearLR(o, total_iters=4), s.ExponentialLR(o, 0.9)], [5]),
    "chained": lambda s, o: s.ChainedScheduler([s.LinearLR(o, total_iters=4), s.ExponentialLR(o, 0.9)]),
    "plateau": lambda s, o: s.ReduceLROnPlateau(o, patience=1),
}


def metric(epoch):
    """What the plateau schedule is told."""
    return [1.0, 0.9, 0.95, 0.97, 0.96, 0.91][epoch % 6]


def classifier(nn, kind):
    """A small model."""
    if kind == "mlp":
        return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 5))
    if kind == "cnn":
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.0),
            nn.Flatten(),
            nn.Linear(8 * 4 * 4, 5),
        )

    class Lstm(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(11, 8)
            self.lstm = nn.LSTM(8, 12, batch_first=True)
            self.head = nn.Linear(12, 5)

        def forward(self, x):
            return self.head(self.lstm(self.embedding(x))[0][:, -1])

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(11, 16)
            layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2)
            self.head = nn.Linear(16, 5)

        def forward(self, x):
            return self.head(self.encoder(self.embedding(x)).mean(dim=1))

    return {"lstm": Lstm, "transformer": Encoder}[kind]()


TRAININGS = {
    "mlp": lambda o, p: o.SGD(p, 0.1, momentum=0.9),
    "cnn": lambda o, p: o.Adam(p, 2e-3),
    "lstm": lambda o, p: o.AdamW(p, 1e-2),
    "transformer": lambda o, p: o.AdamW(p, 2e-3),
}


def batch(kind, step):
    """Inputs and classes of a training step; there are ten different batches."""
    name = f"{kind}{step % 10}"
    if kind == "mlp":
        x = floats(name, (16, 20))
        return x, (np.abs(x[:, :5]).argmax(1)).astype(np.int64)
    if kind == "cnn":
        x = floats(name, (8, 1, 8, 8))
        return x, whole(name + "y", (8,), 5)
    x = whole(name, (8, 9), 11)
    return x, x.sum(1) % 5


def losses(kind, library):
    """The loss of each step of a training by ``library``: ``torch``, or one with its names."""
    model = classifier(library.nn, kind)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict({k: library.tensor(v) for k, v in fill(kind, shapes).items()})
    opt = TRAININGS[kind](library.optim, model.parameters())
    loss_of, made = library.nn.CrossEntropyLoss(), []
    for step in range(STEPS):
        x, y = batch(kind, step)
        opt.zero_grad()
        loss = loss_of(model(library.tensor(x)), library.tensor(y))
        loss.backward()
        opt.step()
        made.append(loss.item())
    return made
