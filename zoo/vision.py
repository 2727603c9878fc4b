"""Vision models of the zoo, full size and tiny."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import (
    convnext,
    densenet,
    detection,
    efficientnet,
    mobilenetv3,
    optical_flow,
    regnet,
    resnet,
    segmentation,
    shufflenetv2,
    swin_transformer,
    vision_transformer,
)
from torchvision.models.squeezenet import Fire
from torchvision.ops import Conv2dNormActivation


def noise(*shape: int) -> Tensor:
    """Normal noise in steps of a half."""
    return (2 * torch.randn(*shape)).round() / 2


class SmallResNet(nn.Module):
    """The blocks of a torchvision ResNet at a fraction of the width."""

    def __init__(self, block: Any, width: int, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = Conv2dNormActivation(3, width, 7, 2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        blocks, channels = [], width
        for stage, count in enumerate(layers):
            planes = width << stage
            for i in range(count):
                stride = 2 if stage and not i else 1
                out = planes * block.expansion
                down = None
                if stride > 1 or channels != out:
                    down = nn.Sequential(resnet.conv1x1(channels, out, stride), nn.BatchNorm2d(out))
                blocks.append(block(channels, planes, stride, down))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        x = self.blocks(self.pool(self.stem(x)))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def resnet18(small: bool) -> nn.Module:
    """ResNet-18 (He et al. 2016)."""
    return SmallResNet(resnet.BasicBlock, 4, (2, 1)) if small else torchvision.models.resnet18()


def resnet50(small: bool) -> nn.Module:
    """ResNet-50 (He et al. 2016)."""
    return SmallResNet(resnet.Bottleneck, 4, (1, 1)) if small else torchvision.models.resnet50()


def mobilenet_v3(small: bool) -> nn.Module:
    """MobileNetV3-large (Howard et al. 2019)."""
    if not small:
        return torchvision.models.mobilenet_v3_large()
    config = partial(mobilenetv3.InvertedResidualConfig, width_mult=1.0)
    settings = [
        config(8, 3, 8, 8, False, "RE", 1, 1),
        config(8, 3, 16, 8, False, "RE", 2, 1),
        config(8, 5, 16, 16, True, "RE", 2, 1),
        config(16, 3, 32, 16, True, "HS", 1, 1),
    ]
    return mobilenetv3.MobileNetV3(settings, 32, num_classes=10)


def efficientnet_b0(small: bool) -> nn.Module:
    """EfficientNet-B0 (Tan and Le 2019)."""
    if not small:
        return torchvision.models.efficientnet_b0()
    config = partial(efficientnet.MBConvConfig, width_mult=1.0, depth_mult=1.0)
    settings = [config(1, 3, 1, 8, 8, 1), config(2, 3, 2, 8, 8, 2), config(2, 5, 2, 8, 16, 1)]
    return efficientnet.EfficientNet(settings, dropout=0.2, num_classes=10, last_channel=16)


def vit_b_16(small: bool) -> nn.Module:
    """ViT-B/16 (Dosovitskiy et al. 2021)."""
    if not small:
        return torchvision.models.vit_b_16()
    return vision_transformer.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10)


def convnext_tiny(small: bool) -> nn.Module:
    """ConvNeXt-T (Liu et al. 2022)."""
    if not small:
        return torchvision.models.convnext_tiny()
    settings = [convnext.CNBlockConfig(8, 16, 1), convnext.CNBlockConfig(16, None, 1)]
    return convnext.ConvNeXt(settings, num_classes=10)


def swin_t(small: bool) -> nn.Module:
    """Swin-T (Liu et al. 2021)."""
    if not small:
        return torchvision.models.swin_t()
    return swin_transformer.SwinTransformer([2, 2], 8, [2, 1], [2, 2], [4, 4], mlp_ratio=2.0, num_classes=10)


def densenet121(small: bool) -> nn.Module:
    """DenseNet-121 (Huang et al. 2017)."""
    if not small:
        return torchvision.models.densenet121()
    return densenet.DenseNet(4, (2, 2), 8, bn_size=2, num_classes=10)


def regnet_y_400mf(small: bool) -> nn.Module:
    """RegNetY-400MF (Radosavovic et al. 2020)."""
    if not small:
        return torchvision.models.regnet_y_400mf()
    params = regnet.BlockParams([1, 1], [8, 16], [4, 8], [1.0, 1.0], [2, 2], 0.25)
    return regnet.RegNet(params, 10, stem_width=8)


def shufflenet_v2(small: bool) -> nn.Module:
    """ShuffleNetV2 x1.0 (Ma et al. 2018)."""
    if not small:
        return torchvision.models.shufflenet_v2_x1_0()
    return shufflenetv2.ShuffleNetV2([2, 2, 1], [8, 8, 16, 32, 32], 10)


def squeezenet(small: bool) -> nn.Module:
    """SqueezeNet 1.1 (Iandola et al. 2016)."""
    if not small:
        return torchvision.models.squeezenet1_1()
    fire = squeezenet_fire
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), fire(8, 4, 8), fire(16, 4, 8),
        nn.MaxPool2d(3, 2, ceil_mode=True), nn.Dropout(), nn.Conv2d(16, 10, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def squeezenet_fire(channels: int, squeezed: int, expanded: int) -> nn.Module:
    """A Fire module."""
    return Fire(channels, squeezed, expanded, expanded)


class First(nn.Module):
    """The model's output called `out`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Scores per pixel."""
        return self.inner(x)["out"]


def deeplab_v3(small: bool) -> nn.Module:
    """DeepLabV3 (Chen et al. 2017) on MobileNetV3-large."""
    if not small:
        return First(segmentation.deeplabv3_mobilenet_v3_large(weights_backbone=None, aux_loss=False))

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(Conv2dNormActivation(3, 4, 3, 4), Conv2dNormActivation(4, 4, 3, 2))

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"out": self.layers(x)}

    aspp = segmentation.deeplabv3.ASPP(4, [2, 4], 4)
    return First(segmentation.DeepLabV3(Backbone(), nn.Sequential(aspp, nn.Conv2d(4, 5, 1))))


class Detector(nn.Module):
    """A detector of one picture: boxes, labels and scores."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, labels and scores."""
        found = self.inner([x])
        found = found[1][0] if isinstance(found, tuple) else found[0]
        return found["boxes"], found["labels"], found["scores"]


def opinionated(model: nn.Module) -> nn.Module:
    """A detector whose scores differ, as those of a trained one; otherwise no box passes the threshold."""
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.mul_(200)
        model.rpn.head.cls_logits.weight.mul_(20)
    return model


def faster_rcnn(small: bool) -> nn.Module:
    """Faster R-CNN (Ren et al. 2015) on MobileNetV3-large, pictures of 320 pixels."""
    if not small:
        model = detection.fasterrcnn_mobilenet_v3_large_320_fpn(
            weights_backbone=None, box_score_thresh=0.02, box_detections_per_img=20
        )
        return Detector(opinionated(model))

    class Backbone(nn.Module):
        out_channels = 4

        def __init__(self) -> None:
            super().__init__()
            self.fine = Conv2dNormActivation(3, 4, 3, 4)
            self.coarse = Conv2dNormActivation(4, 4, 3, 2)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            fine = self.fine(x)
            return {"0": fine, "1": self.coarse(fine)}

    anchors = detection.anchor_utils.AnchorGenerator(((8, 16), (24,)), ((0.5, 1.0),) * 2)
    model = detection.FasterRCNN(
        Backbone(), min_size=32, max_size=48, rpn_anchor_generator=anchors,
        rpn_head=detection.rpn.RPNHead(4, 2, 1), box_head=detection.faster_rcnn.TwoMLPHead(4 * 49, 8),
        box_predictor=detection.faster_rcnn.FastRCNNPredictor(8, 3), rpn_pre_nms_top_n_test=20,
        rpn_post_nms_top_n_test=10, box_score_thresh=0.2, box_detections_per_img=5,
    )  # fmt: skip
    model.rpn.anchor_generator.sizes = ((8, 16), (24, 32))
    model.rpn.anchor_generator.aspect_ratios = ((1.0,), (1.0,))
    model.rpn.anchor_generator.cell_anchors = [
        model.rpn.anchor_generator.generate_anchors(s, r) for s, r in (((8, 16), (1.0,)), ((24, 32), (1.0,)))
    ]
    return Detector(opinionated(model))


class Flow(nn.Module):
    """Optical flow after the last update."""

    def __init__(self, inner: nn.Module, updates: int) -> None:
        super().__init__()
        self.inner = inner
        self.updates = updates

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Flow in pixels."""
        return self.inner(first, second, num_flow_updates=self.updates)[-1]


def raft_small(small: bool) -> nn.Module:
    """RAFT-small (Teed and Deng 2020)."""
    if not small:
        return Flow(torchvision.models.optical_flow.raft_small(), 12)
    model = optical_flow.raft._raft(
        feature_encoder_layers=(4, 4, 6, 8, 8), feature_encoder_block=optical_flow.raft.BottleneckBlock,
        feature_encoder_norm_layer=nn.InstanceNorm2d, context_encoder_layers=(4, 4, 6, 8, 12),
        context_encoder_block=optical_flow.raft.BottleneckBlock, context_encoder_norm_layer=None,
        corr_block_num_levels=2, corr_block_radius=1, motion_encoder_corr_layers=(8,),
        motion_encoder_flow_layers=(8, 4), motion_encoder_out_channels=8, recurrent_block_hidden_state_size=8,
        recurrent_block_kernel_size=((3, 3),), recurrent_block_padding=((1, 1),), flow_head_hidden_size=8,
        use_mask_predictor=False,
    )  # fmt: skip
    return Flow(model, 2)


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015)."""

    def __init__(self, width: int, depth: int, classes: int) -> None:
        super().__init__()

        def double(a: int, b: int) -> nn.Module:
            return nn.Sequential(Conv2dNormActivation(a, b, 3), Conv2dNormActivation(b, b, 3))

        widths = [width << i for i in range(depth + 1)]
        self.down = nn.ModuleList(double(a, b) for a, b in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in reversed(widths[:-1]))
        self.merge = nn.ModuleList(double(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores per pixel."""
        kept = []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            kept.append(x)
        kept.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([kept.pop(), up(x)], 1))
        return self.head(x)


def unet(small: bool) -> nn.Module:
    """U-Net of four levels."""
    return UNet(4, 2, 3) if small else UNet(32, 4, 2)


def vision(name: str, **config: Any) -> Callable[[bool], nn.Module]:
    """A builder of a torchvision classifier by name."""

    def build(small: bool) -> nn.Module:
        return torchvision.models.get_model(name, weights=None, **config)

    return build
