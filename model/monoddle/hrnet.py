"""HRNet-W32: an image backbone that keeps a fine map beside coarser ones and exchanges between them all.

Parameter names are those of the authors' classification network and of the package timm, so that their ImageNet files load.

Reads   a normalised image (b, 3, h, w), sides that are multiples of 32
Writes  four levels (b, channels, h / stride, w / stride) at strides 4, 8, 16 and 32, after the classification network's widening
Source  arXiv 1908.07919; docs/method/monoddle.md#hrnet
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.resnet import BOTTLENECK_EXPANSION, BasicBlock, Bottleneck
from model.blocks.weights_file import load_backbone_file

W32_WIDTHS = (32, 64, 128, 256)
"""Channels of the maps at strides 4, 8, 16 and 32."""

MODULES = (1, 4, 3)
"""Exchanges after the maps were taken through their blocks, while there are two, three and four maps."""

STEM_WIDTH = 64
BLOCKS = 4
"""Blocks of a map between two exchanges."""

WIDENED = (32, 64, 128, 256)
"""Widths of the bottlenecks that widen the levels; each gives four times as many channels."""

LEFT_OUT = ("downsamp_modules.", "final_layer.", "classifier.")
"""What a classification network does with the widened levels; beginnings of its keys."""


class HrNet(nn.Module):
    """The backbone without its classifier."""

    def __init__(self, widths: tuple[int, int, int, int] = W32_WIDTHS) -> None:
        """Make the backbone with fresh weights.

        Args:
            widths: channels of the maps at strides 4 to 32; the default is HRNet-W32.
        """
        super().__init__()
        first = BOTTLENECK_EXPANSION * STEM_WIDTH
        self.conv1 = nn.Conv2d(3, STEM_WIDTH, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_WIDTH)
        self.conv2 = nn.Conv2d(STEM_WIDTH, STEM_WIDTH, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM_WIDTH)
        self.layer1 = nn.Sequential(
            Bottleneck(STEM_WIDTH, STEM_WIDTH, stride=1),
            *(Bottleneck(first, STEM_WIDTH, stride=1) for _ in range(BLOCKS - 1)),
        )
        self.transition1 = nn.ModuleList([_joined(first, widths[0]), nn.Sequential(_joined(first, widths[1], stride=2))])
        self.stage2 = nn.Sequential(*(Exchange(widths[:2]) for _ in range(MODULES[0])))
        self.transition2 = _one_more(widths[:3])
        self.stage3 = nn.Sequential(*(Exchange(widths[:3]) for _ in range(MODULES[1])))
        self.transition3 = _one_more(widths)
        self.stage4 = nn.Sequential(*(Exchange(widths) for _ in range(MODULES[2])))
        self.incre_modules = nn.ModuleList(
            nn.Sequential(Bottleneck(width, widened, stride=1)) for width, widened in zip(widths, WIDENED, strict=True)
        )
        c4, c8, c16, c32 = (BOTTLENECK_EXPANSION * widened for widened in WIDENED)
        self.channels = (c4, c8, c16, c32)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map a normalised image (b, 3, h, w) to levels (b, channels, ...) at strides 4, 8, 16 and 32."""
        x = F.relu(self.bn1(self.conv1(image)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = self.layer1(x)
        maps = self.stage2([step(x) for step in self.transition1])
        maps = self.stage3([*maps, self.transition2[-1](maps[-1])])
        maps = self.stage4([*maps, self.transition3[-1](maps[-1])])
        at4, at8, at16, at32 = (widen(level) for widen, level in zip(self.incre_modules, maps, strict=True))
        return at4, at8, at16, at32

    def load_imagenet_weights(self, path: str | Path) -> None:
        """Load ``hrnet_w32`` of the package timm, or of the authors, from a local file; what classifies is left out.

        Raises:
            WeightsFileError: the file is missing or is not an HRNet-W32; it names what differs.
        """
        load_backbone_file(self, path, kind="an HRNet-W32", left_out=LEFT_OUT)


class Exchange(nn.Module):
    """Take every map through its own blocks, then give each the sum of all, brought to its stride and width."""

    def __init__(self, widths: Sequence[int]) -> None:
        """Make it.

        Args:
            widths: channels of the maps, the finest first; each is at twice the stride of the one before it.
        """
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width, stride=1) for _ in range(BLOCKS))) for width in widths
        )
        places = range(len(widths))
        self.fuse_layers = nn.ModuleList(nn.ModuleList(_brought(widths, start, end) for start in places) for end in places)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map maps (b, width, h, w) to as many of the same shapes."""
        ahead = [blocks(level) for blocks, level in zip(self.branches, maps, strict=True)]
        fused = []
        for steps in self.fuse_layers:
            assert isinstance(steps, nn.ModuleList)
            first, *others = (step(level) for step, level in zip(steps, ahead, strict=True))
            fused.append(F.relu(sum(others, start=first), inplace=True))
        return fused


def _brought(widths: Sequence[int], start: int, end: int) -> nn.Module:
    """Return what brings the map in one place to the stride and width of the map in another."""
    if start == end:
        return nn.Identity()
    if start > end:
        conv, norm = nn.Conv2d(widths[start], widths[end], 1, bias=False), nn.BatchNorm2d(widths[end])
        return nn.Sequential(conv, norm, nn.Upsample(scale_factor=2 ** (start - end), mode="nearest"))
    halvings: list[nn.Module] = [_joined(widths[start], widths[start], stride=2) for _ in range(end - start - 1)]
    return nn.Sequential(*halvings, _joined(widths[start], widths[end], stride=2)[:2])


def _joined(channels_in: int, channels: int, *, stride: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution without bias, batch norm and ReLU."""
    conv = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def _one_more(widths: Sequence[int]) -> nn.ModuleList:
    """Return what makes one more map, at twice the stride of the last; the others pass."""
    kept = [nn.Identity() for _ in widths[:-1]]
    return nn.ModuleList([*kept, nn.Sequential(_joined(widths[-2], widths[-1], stride=2))])
