"""The zoo: real architectures with seeded random weights, their example inputs and what is symbolic in them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from zoo import text, vision
from zoo.text import tokens
from zoo.vision import noise

SEED = 20240817

Inputs = tuple[Tensor, ...]
"""Sizes of one trial by name of the symbolic dimension."""
Sizes = dict[str, int]

DYNAMO = "dynamo"
TORCHSCRIPT = "torchscript"


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    `inputs(small, sizes)` makes example inputs; `sizes` gives the symbolic dimensions where they differ from those of
    the export. `dynamic` maps an input to its symbolic axes. `exporters` come in order: the first is the default.
    """

    build: Callable[[bool], nn.Module]
    inputs: Callable[[bool, Sizes], Inputs]
    names: tuple[str, ...]
    outputs: tuple[str, ...] = ("output",)
    dynamic: dict[str, dict[int, str]] = field(default_factory=dict)
    trials: tuple[Sizes, ...] = ()
    small_trials: tuple[Sizes, ...] = ()
    exporters: tuple[str, ...] = (DYNAMO, TORCHSCRIPT)
    detector: bool = False


def image(size: int, small_size: int, batch: int = 1) -> Callable[[bool, Sizes], Inputs]:
    """Pictures of these sizes."""

    def make(small: bool, sizes: Sizes) -> Inputs:
        side = small_size if small else size
        return (noise(sizes.get("batch", 2 if small else batch), 3, side, side),)

    return make


def classifier(build: Callable[[bool], nn.Module], size: int = 224, small_size: int = 32) -> Entry:
    """A classifier of pictures whose batch is symbolic."""
    return Entry(
        build,
        image(size, small_size),
        ("image",),
        dynamic={"image": {0: "batch"}},
        small_trials=({"batch": 1},),
    )


def sentence(
    build: Callable[[bool], nn.Module],
    vocabulary: int,
    *,
    fixed: bool = False,
    length: int = 128,
    exporters: tuple[str, ...] = (DYNAMO, TORCHSCRIPT),
) -> Entry:
    """A model of tokens and their mask."""

    def make(small: bool, sizes: Sizes) -> Inputs:
        batch, seq = sizes.get("batch", 2 if small else 1), sizes.get("seq", 12 if small else length)
        return tokens(batch, seq, 64 if small else vocabulary, padded=min(3, seq - 1) if small else 0)

    names = ("input_ids", "attention_mask")
    return Entry(
        build,
        make,
        names,
        dynamic={} if fixed else {name: {0: "batch", 1: "seq"} for name in names},
        exporters=exporters,
        small_trials=() if fixed else ({"batch": 1, "seq": 1}, {"batch": 3, "seq": 7}, {"batch": 2, "seq": 20}),
    )


def recurrent(build: Callable[[bool], nn.Module]) -> Entry:
    """A recurrent model of tokens."""

    def make(small: bool, sizes: Sizes) -> Inputs:
        shape = (sizes.get("batch", 2 if small else 1), sizes.get("seq", 6 if small else 64))
        return (torch.randint(0, 32 if small else 4096, shape),)

    return Entry(
        build,
        make,
        ("tokens",),
        ("scores", "last"),
        dynamic={"tokens": {0: "batch", 1: "seq"}},
        small_trials=({"batch": 1, "seq": 1}, {"batch": 3, "seq": 9}),
        exporters=(TORCHSCRIPT, DYNAMO),
    )


def rows(small: bool, sizes: Sizes) -> Inputs:
    """Rows of features."""
    return (noise(sizes.get("batch", 3 if small else 32), 8 if small else 512),)


def series(small: bool, sizes: Sizes) -> Inputs:
    """A time series."""
    shape = (2, 4, sizes.get("time", 24)) if small else (1, 16, sizes.get("time", 1024))
    return (noise(*shape),)


def rounds(small: bool, sizes: Sizes) -> Inputs:
    """Rows and how often to run."""
    x = noise(2 if small else 8, 8 if small else 256)
    return x, torch.tensor(sizes.get("times", 5), dtype=torch.int64)


def frames(small: bool, sizes: Sizes) -> Inputs:
    """Two pictures."""
    side = (64, 64) if small else (224, 320)
    first = noise(1, 3, *side) / 4
    return first, torch.roll(first, 2, -1)


def scene(small: bool, sizes: Sizes) -> Inputs:
    """One picture without a batch dimension."""
    return (noise(3, *((32, 40) if small else (320, 320))) / 8 + 0.5,)


def mel(small: bool, sizes: Sizes) -> Inputs:
    """Thirty seconds of mel features."""
    return (noise(*((2, 8, 40) if small else (1, 80, 3000))),)


ZOO: dict[str, Entry] = {
    "resnet18": classifier(vision.resnet18),
    "resnet50": classifier(vision.resnet50),
    "mobilenet_v3_large": classifier(vision.mobilenet_v3),
    "efficientnet_b0": classifier(vision.efficientnet_b0),
    "vit_b_16": classifier(vision.vit_b_16),
    "convnext_tiny": classifier(vision.convnext_tiny),
    "swin_t": classifier(vision.swin_t),
    "densenet121": classifier(vision.densenet121),
    "regnet_y_400mf": classifier(vision.regnet_y_400mf),
    "shufflenet_v2": classifier(vision.shufflenet_v2),
    "squeezenet": classifier(vision.squeezenet),
    "deeplab_v3": Entry(vision.deeplab_v3, image(256, 32), ("image",)),
    "faster_rcnn": Entry(
        vision.faster_rcnn, scene, ("image",), ("boxes", "labels", "scores"), exporters=(TORCHSCRIPT, DYNAMO),
        detector=True,
    ),
    "raft_small": Entry(vision.raft_small, frames, ("first", "second")),
    "unet": Entry(vision.unet, image(256, 16), ("image",)),
    "bert": sentence(text.bert, 30522, fixed=True),
    "bert_dynamic": sentence(text.bert, 30522),
    "distilbert": sentence(text.distilbert, 30522),
    "gpt2": sentence(text.gpt2, 50257, length=64),
    "t5_encoder": sentence(text.t5_encoder, 32128, exporters=(TORCHSCRIPT, DYNAMO)),
    "llama": sentence(text.llama, 4096),
    "whisper_encoder": Entry(text.whisper_encoder, mel, ("input_features",)),
    "bilstm": recurrent(text.bilstm),
    "gru": recurrent(text.gru),
    "temporal_cnn": Entry(
        text.temporal_cnn, series, ("series",), dynamic={"series": {2: "time"}},
        small_trials=({"time": 1}, {"time": 40}),
    ),
    "mlp": Entry(
        text.mlp, rows, ("rows",), dynamic={"rows": {0: "batch"}}, small_trials=({"batch": 1}, {"batch": 9})
    ),
    "branches": Entry(
        text.branches, rounds, ("rows", "times"), exporters=(TORCHSCRIPT,),
        small_trials=({"times": 0}, {"times": 3}),
    ),
}  # fmt: skip


def built(name: str, small: bool = False) -> nn.Module:
    """The model called `name` with seeded weights, in evaluation mode."""
    torch.manual_seed(SEED)
    model = ZOO[name].build(small)
    enliven(model)
    return model.eval()


def example(name: str, small: bool = False, sizes: Sizes | None = None, trial: int = 0) -> Inputs:
    """Seeded inputs of the model called `name`; each `trial` has its own."""
    torch.manual_seed(SEED + 1 + trial)
    return ZOO[name].inputs(small, sizes or {})


def enliven(model: nn.Module) -> None:
    """Gives statistics, scales and biases values as training would, where initialisation makes them neutral.

    A bias of zero or a layer scale of 1e-6 would hide an operator that drops them.
    """
    with torch.no_grad():
        for name, tensor in named_tensors(model):
            leaf = name.rsplit(".", 1)[-1]
            if not tensor.is_floating_point() or tensor.numel() == 0:
                continue
            if leaf == "running_mean":
                tensor.copy_(0.1 * torch.randn_like(tensor))
            elif leaf == "running_var":
                tensor.copy_(0.5 + torch.rand_like(tensor))
            elif leaf == "layer_scale":
                tensor.copy_(0.2 + 0.2 * torch.rand_like(tensor))
            elif leaf in ("weight", "bias") and bool((tensor == tensor.flatten()[0]).all()):
                tensor.add_(0.1 * torch.randn_like(tensor))


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers with their names."""
    yield from model.named_parameters()
    yield from model.named_buffers()
