"""ResNet-34 as an image encoder, with torchvision's parameter names, so that its ImageNet weight files load as they are.

Why     torchvision cannot be imported beside the CPU build of torch 2.13 (its operators are missing), and a constructor that
        downloads fails on a cluster. Weights come from a local file, by ``load_imagenet_weights``.
Source  arXiv 1512.03385, table 1 (34 layers); strides as in specs/semodepth.md section 2
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from storage_schemas.errors import DepthmillError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
REGISTER_LANES = 16
"""float32 lanes of an AVX-512 register."""

IMAGENET_CHANNELS = 64
"""Channels of the first convolution in the published network."""


def resnet34_channels(base: int = IMAGENET_CHANNELS) -> tuple[int, int, int, int, int]:
    """Return the channels at strides 2, 4, 8, 16 and 32."""
    return base, base, 2 * base, 4 * base, 8 * base


class WeightsFileError(DepthmillError):
    """A file of weights is missing, unreadable, or not of this network."""


def load_state_file(path: str | Path) -> dict[str, Tensor]:
    """Read a file of named tensors without running code from it.

    Raises:
        WeightsFileError: there is no such file, or it is not a dict of tensors that ``weights_only`` can read.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsFileError(f"weights file '{path}' does not exist; give the path of a .pth file")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a zoo of types for a foreign file
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsFileError(f"weights file '{path}' cannot be read as a checkpoint of tensors: {first_line}") from error
    if not isinstance(loaded, dict):
        raise WeightsFileError(f"weights file '{path}' holds a {type(loaded).__name__}, expected a dict of tensors")
    return cast(dict[str, Tensor], loaded)


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

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels_in, h, w) to (b, channels, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + shortcut, inplace=True)


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
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
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
        found = {key: value for key, value in load_state_file(path).items() if not key.startswith("fc.")}
        wanted = self.state_dict()
        # files written before PyTorch 0.4.1 have no num_batches_tracked
        missing = sorted(key for key in wanted.keys() - found.keys() if not key.endswith("num_batches_tracked"))
        foreign = sorted(found.keys() - wanted.keys())
        shapes = sorted(key for key in wanted.keys() & found.keys() if wanted[key].shape != found[key].shape)
        if missing or foreign or shapes:
            raise WeightsFileError(
                f"weights file '{path}' is not a ResNet-34: {len(missing)} keys missing {missing[:3]}, "
                f"{len(foreign)} unknown {foreign[:3]}, {len(shapes)} of another shape {shapes[:3]}"
            )
        self.load_state_dict(found, strict=False)
