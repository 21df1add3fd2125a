"""DLA-34: an image backbone that joins its blocks by trees. Parameter names are the public code's.

Source  arXiv 1707.06484; docs/method/monoddle.md#dla-34
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.weights_file import load_backbone_file
from model.monoddle.network_config import DLA34_WIDTHS

UNREAD_PROJECTIONS = ("level3.project.", "level4.project.")
"""Parameters that the public code computes with and throws the result away; beginnings of their keys."""

CLASSIFIER = "fc."


def _projection(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels, 1, bias=False), nn.BatchNorm2d(channels))


class TreeBlock(nn.Module):
    """Two 3x3 convolutions beside a residual that the tree hands in."""

    def __init__(self, channels_in: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Map (b, channels_in, h, w) and (b, channels, h / stride, w / stride) to the residual's shape."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + residual, inplace=True)


class Root(nn.Module):
    """Join the maps of a tree by a 1x1 convolution."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, *maps: Tensor) -> Tensor:
        """Map several (b, ., h, w) to one (b, channels, h, w)."""
        return F.relu(self.bn(self.conv(torch.cat(maps, dim=1))), inplace=True)


class Tree(nn.Module):
    """Two blocks and the root that joins them with what came before."""

    def __init__(self, channels_in: int, channels: int, *, stride: int, root_extra: int = 0) -> None:
        """Make a tree.

        Args:
            channels_in: channels that come in.
            channels: channels that go out.
            stride: 1, or 2 to halve the grid.
            root_extra: channels that the root gets besides those of the two blocks.
        """
        super().__init__()
        self.stride = stride
        self.tree1 = TreeBlock(channels_in, channels, stride=stride)
        self.tree2 = TreeBlock(channels, channels, stride=1)
        self.root = Root(2 * channels + root_extra, channels)
        self.project = _projection(channels_in, channels) if channels_in != channels else None

    def forward(self, x: Tensor, *before: Tensor) -> Tensor:
        """Map (b, channels_in, h, w) to (b, channels, h / stride, w / stride); the root gets ``before`` too, after its two."""
        bottom = _halved(x, self.stride)
        x1 = self.tree1(x, bottom if self.project is None else self.project(bottom))
        joined: Tensor = self.root(self.tree2(x1, x1), x1, *before)
        return joined


class RootedTree(Tree):
    """A tree whose root also gets the input, halved."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(channels_in, channels, stride=2, root_extra=channels_in)

    def forward(self, x: Tensor, *before: Tensor) -> Tensor:
        """Map (b, channels_in, h, w) to (b, channels, h / 2, w / 2)."""
        return super().forward(x, _halved(x, self.stride), *before)


class DoubleTree(nn.Module):
    """Two trees, one after the other; the second's root also gets the input, halved, and the first's result."""

    def __init__(self, channels_in: int, channels: int, *, compat: bool) -> None:
        super().__init__()
        self.tree1 = Tree(channels_in, channels, stride=2)
        self.tree2 = Tree(channels, channels, stride=1, root_extra=channels_in + channels)
        self.project = _projection(channels_in, channels) if compat and channels_in != channels else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels_in, h, w) to (b, channels, h / 2, w / 2)."""
        bottom = _halved(x, 2)
        if self.project is not None:
            self.project(bottom)  # the public code throws it away as well; its batch-norm statistics move in training
        x1 = self.tree1(x)
        joined: Tensor = self.tree2(x1, bottom, x1)
        return joined


class Dla34(nn.Module):
    """The backbone without its classifier."""

    def __init__(self, widths: tuple[int, int, int, int, int, int] = DLA34_WIDTHS, *, compat: bool = False) -> None:
        """Make the backbone with fresh weights: He-normal by fan-out, as published.

        Args:
            widths: channels of the six levels, at strides 1, 2, 4, 8, 16, 32.
            compat: with the public code's two projections that nothing reads.
        """
        super().__init__()
        w0, w1, w2, w3, w4, w5 = widths
        self.channels = (w2, w3, w4, w5)
        self.base_layer = _plain(3, w0, kernel=7, stride=1)
        self.level0 = _plain(w0, w0, kernel=3, stride=1)
        self.level1 = _plain(w0, w1, kernel=3, stride=2)
        self.level2 = Tree(w1, w2, stride=2)
        self.level3 = DoubleTree(w2, w3, compat=compat)
        self.level4 = DoubleTree(w3, w4, compat=compat)
        self.level5 = RootedTree(w4, w5)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map a normalised image (b, 3, h, w) to levels (b, channels, ...) at strides 4, 8, 16 and 32."""
        at4 = self.level2(self.level1(self.level0(self.base_layer(image))))
        at8 = self.level3(at4)
        at16 = self.level4(at8)
        return at4, at8, at16, self.level5(at16)

    def load_imagenet_weights(self, path: str | Path) -> None:
        """Load ``dla34-*.pth`` from a local file, the authors' or the package timm's; the classifier is left out.

        The projections that nothing reads are left out too, so that both kinds of file load into both forms of the network.

        Raises:
            WeightsFileError: the file is missing or is not a DLA-34; it names what differs.
        """
        load_backbone_file(self, path, kind="a DLA-34", left_out=(CLASSIFIER, *UNREAD_PROJECTIONS), may_lack=UNREAD_PROJECTIONS)


def _plain(channels_in: int, channels: int, *, kernel: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def _halved(x: Tensor, stride: int) -> Tensor:
    return x if stride == 1 else F.max_pool2d(x, stride)
