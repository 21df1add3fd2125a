"""ResNet-34 and ResNet-50 as image encoders, with torchvision's parameter names, so that its ImageNet weight files load as is.

Why     torchvision cannot be imported beside the CPU build of torch 2.13 (its operators are missing), and a constructor that
        downloads fails on a cluster. Weights come from a local file, by ``load_imagenet_weights``.
Source  arXiv 1512.03385, table 1 (34 and 50 layers); strides as in docs/method/semodepth.md#network and
        docs/method/monoddle.md#other-backbones
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.weights_file import load_backbone_file

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
REGISTER_LANES = 16
"""float32 lanes of an AVX-512 register."""

IMAGENET_CHANNELS = 64
"""Channels of the first convolution in the published networks."""

BOTTLENECK_EXPANSION = 4
CLASSIFIER = "fc."

ApplyNorm = Callable[[nn.Module, Tensor], Tensor]
"""How a block applies one of its norms to a map (b, channels, h, w); a mask over cells comes in here."""


def over_all_cells(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a norm to a map (b, channels, h, w) as it is."""
    normed: Tensor = norm(x)
    return normed


def resnet34_channels(base: int = IMAGENET_CHANNELS) -> tuple[int, int, int, int, int]:
    """Return the channels at strides 2, 4, 8, 16 and 32."""
    return base, base, 2 * base, 4 * base, 8 * base


class _Pointwise(nn.Conv2d):
    """A 1x1 convolution with a stride, which takes the pixels first where there are few channels.

    oneDNN (to 3.14, issue 6035) writes past its buffer in the backward pass of a strided 1x1 convolution whose channels are fewer
    than the lanes of a register and lie last in memory: a training of a small network on a CPU then dies, or learns nonsense.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels_in, h, w) to (b, channels, h / stride, w / stride)."""
        if self.in_channels >= REGISTER_LANES:
            return super().forward(x)
        down, right = self.stride
        return F.conv2d(x[:, :, ::down, ::right], self.weight, self.bias)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels_in: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(_Pointwise(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor, *, apply: ApplyNorm = over_all_cells) -> Tensor:
        """Map (b, channels_in, h, w) to (b, channels, h / stride, w / stride)."""
        shortcut = _shortcut(self.downsample, x, apply=apply)
        y = F.relu(apply(self.bn1, self.conv1(x)), inplace=True)
        return F.relu(apply(self.bn2, self.conv2(y)) + shortcut, inplace=True)


def _stage(channels_in: int, channels: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels, stride=stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, stride=1) for _ in range(blocks - 1)))


class ResNet34(nn.Module):
    """The encoder without its classifier; ``base`` scales all channels, 64 being the published network."""

    mean: Tensor
    std: Tensor

    def __init__(self, base: int = IMAGENET_CHANNELS) -> None:
        super().__init__()
        c0, c1, c2, c3, c4 = resnet34_channels(base)
        self.conv1 = nn.Conv2d(3, c0, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(c0)
        self.layer1 = _stage(c0, c1, 3, stride=1)
        self.layer2 = _stage(c1, c2, 4, stride=2)
        self.layer3 = _stage(c2, c3, 6, stride=2)
        self.layer4 = _stage(c3, c4, 3, stride=2)
        _initialise(self)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image_u8: Tensor, *, downscale: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Encode RGB images (b, h, w, 3) uint8; return c0 to c4 (b, channels, ...) at strides 2 to 32.

        ``downscale`` averages the image over squares of so many pixels first; strides then count the smaller image's pixels.

        c0 is taken after its ReLU, before the 3x3 max-pool.
        """
        x = (image_u8.permute(0, 3, 1, 2).to(self.mean.dtype) / 255.0 - self.mean) / self.std
        if downscale > 1:
            x = F.avg_pool2d(x, downscale, ceil_mode=True)
        c0 = F.relu(self.bn1(self.conv1(x)), inplace=True)
        c1 = self.layer1(F.max_pool2d(c0, 3, 2, 1))
        c2 = self.layer2(c1)
        c3 = self.layer3(c2)
        return c0, c1, c2, c3, self.layer4(c3)

    def load_imagenet_weights(self, path: str | Path) -> None:
        """Load torchvision's ``resnet34-*.pth`` from a local file; the classifier ``fc`` is left out.

        Raises:
            WeightsFileError: the file is missing or is not a ResNet-34; it names what differs.
        """
        load_backbone_file(self, path, kind="a ResNet-34", left_out=(CLASSIFIER,))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 convolutions, beside a shortcut; the 3x3 has the stride, as in torchvision."""

    def __init__(self, channels_in: int, width: int, *, stride: int) -> None:
        super().__init__()
        channels = BOTTLENECK_EXPANSION * width
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(_Pointwise(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor, *, apply: ApplyNorm = over_all_cells) -> Tensor:
        """Map (b, channels_in, h, w) to (b, 4 width, h / stride, w / stride)."""
        shortcut = _shortcut(self.downsample, x, apply=apply)
        y = F.relu(apply(self.bn1, self.conv1(x)), inplace=True)
        y = F.relu(apply(self.bn2, self.conv2(y)), inplace=True)
        return F.relu(apply(self.bn3, self.conv3(y)) + shortcut, inplace=True)


def _bottleneck_stage(channels_in: int, width: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = Bottleneck(channels_in, width, stride=stride)
    rest = (Bottleneck(BOTTLENECK_EXPANSION * width, width, stride=1) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


class ResNet50(nn.Module):
    """The encoder without its classifier; ``base`` scales all channels, 64 being the published network."""

    def __init__(self, base: int = IMAGENET_CHANNELS) -> None:
        super().__init__()
        c1, c2, c3, c4 = (BOTTLENECK_EXPANSION * base * times for times in (1, 2, 4, 8))
        self.channels = (c1, c2, c3, c4)
        self.conv1 = nn.Conv2d(3, base, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        self.layer1 = _bottleneck_stage(base, base, 3, stride=1)
        self.layer2 = _bottleneck_stage(c1, 2 * base, 4, stride=2)
        self.layer3 = _bottleneck_stage(c2, 4 * base, 6, stride=2)
        self.layer4 = _bottleneck_stage(c3, 8 * base, 3, stride=2)
        _initialise(self)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map a normalised image (b, 3, h, w) to levels (b, channels, ...) at strides 4, 8, 16 and 32."""
        at2 = F.relu(self.bn1(self.conv1(image)), inplace=True)
        at4 = self.layer1(F.max_pool2d(at2, 3, 2, 1))
        at8 = self.layer2(at4)
        at16 = self.layer3(at8)
        return at4, at8, at16, self.layer4(at16)

    def load_imagenet_weights(self, path: str | Path) -> None:
        """Load torchvision's ``resnet50-*.pth`` from a local file; the classifier ``fc`` is left out.

        Raises:
            WeightsFileError: the file is missing or is not a ResNet-50; it names what differs.
        """
        load_backbone_file(self, path, kind="a ResNet-50", left_out=(CLASSIFIER,))


def _shortcut(downsample: nn.Sequential | None, x: Tensor, *, apply: ApplyNorm) -> Tensor:
    return x if downsample is None else apply(downsample[1], downsample[0](x))


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
