"""The models that are measured: exports of the zoo, and the sizes of their inputs."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """A model of the zoo at some sizes; `sizes` overrides the symbolic dimensions of its example inputs."""

    key: str
    title: str
    model: str
    sizes: dict[str, int] = field(default_factory=dict)


CASES = (
    Case("resnet50", "ResNet-50", "resnet50"),
    Case("mobilenet_v3", "MobileNetV3", "mobilenet_v3_large"),
    Case("efficientnet_b0", "EfficientNet-B0", "efficientnet_b0"),
    Case("convnext_tiny", "ConvNeXt-T", "convnext_tiny"),
    Case("swin_t", "Swin-T", "swin_t"),
    Case("densenet121", "DenseNet-121", "densenet121"),
    Case("vit_b_16", "ViT-B/16", "vit_b_16"),
    Case("bert", "BERT-base (128)", "bert"),
    Case("gpt2", "GPT-2 (64)", "gpt2"),
    Case("distilbert", "DistilBERT (128)", "distilbert"),
    Case("unet", "U-Net", "unet"),
    Case("lstm", "LSTM", "bilstm"),
    Case("mlp", "MLP-20", "mlp"),
    Case("tcn", "TCN", "temporal_cnn"),
    Case("raft", "RAFT", "raft_small"),
    Case("whisper_encoder", "Whisper-tiny encoder", "whisper_encoder"),
    Case("t5_encoder", "T5 encoder (128)", "t5_encoder"),
    Case("resnet50_b8", "ResNet-50, batch 8", "resnet50", {"batch": 8}),
    Case("bert_b8", "BERT-base (128), batch 8", "bert_dynamic", {"batch": 8}),
)

# Models of the scaling tables.
SCALED = {"threads": ("resnet50", "bert"), "batch": "resnet50", "sequence": "llama", "sessions": "resnet50"}


def chosen(keys: list[str]) -> list[Case]:
    """The cases with these keys, in order; all when none is given."""
    unknown = sorted(set(keys) - {c.key for c in CASES})
    if unknown:
        raise SystemExit(f"unknown models: {', '.join(unknown)}; there are {', '.join(c.key for c in CASES)}")
    return [c for c in CASES if not keys or c.key in keys]
