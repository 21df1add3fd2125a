"""ConvNeXt and ConvNeXt V2 as image backbones, with torchvision's parameter names, so that its ImageNet weight files load.

Why     as for ResNet: torchvision cannot be imported beside the CPU build of torch. Every step of a block keeps the grid, and
        norms and linear layers act on one cell at a time, so a mask over cells can be multiplied in between any two of them.
        Only the global response norm of V2 looks at all cells, so V2 must not be masked.
Source  arXiv 2201.03545; V2: arXiv 2301.00808
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.convnext_names import FOREIGN_CLASSIFIERS, in_torchvision_names
from model.blocks.weights_file import load_backbone_file

TINY_DEPTHS = (3, 3, 9, 3)
TINY_CHANNELS = (96, 192, 384, 768)
IMAGENET_LAYER_SCALE = 1e-6
"""Start of the scale of each block's result, for long training; a short training from scratch needs more, or the blocks add
almost nothing."""

NORM_EPSILON = 1e-6
CLASSIFIER = "classifier."


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each cell of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=NORM_EPSILON)

    def forward(self, input: Tensor) -> Tensor:
        """Map (b, c, h, w) to the same shape."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GlobalResponseNorm(nn.Module):
    """Raise the channels that respond more than the others over the whole map; with fresh weights it changes nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, h, w, c) to the same shape."""
        response: Tensor = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True, dtype=torch.float32)
        share = response / (response.mean(dim=-1, keepdim=True) + NORM_EPSILON)
        return x + self.weight * (x * share) + self.bias


class ConvNeXtBlock(nn.Module):
    """A depthwise 7x7 convolution, then a perceptron on each cell, added to the input."""

    def __init__(self, channels: int, *, layer_scale: float | None) -> None:
        """Make the block; without a layer scale it is one of V2, with a global response norm inside its perceptron."""
        super().__init__()
        # numbers are torchvision's places in its chain, whose steps without parameters have places too
        self.block = nn.ModuleDict(
            {
                "0": nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
                "2": nn.LayerNorm(channels, eps=NORM_EPSILON),
                "3": nn.Linear(channels, 4 * channels),
                "5": nn.Linear(4 * channels, channels),
            }
        )
        if layer_scale is None:
            self.block["grn"] = GlobalResponseNorm(4 * channels)
            self.register_parameter("layer_scale", None)
        else:
            self.layer_scale: nn.Parameter | None = nn.Parameter(torch.full((channels, 1, 1), layer_scale))

    def forward(self, x: Tensor, *, gate: Tensor | None = None) -> Tensor:
        """Map (b, c, h, w) to the same shape.

        ``gate``, which fits (b, 1, h, w), multiplies what the block adds: 0 leaves a cell as it is.
        """
        spread = self.block["0"](x).permute(0, 2, 3, 1)
        hidden = F.gelu(self.block["3"](self.block["2"](spread)))
        if self.layer_scale is None:
            hidden = self.block["grn"](hidden)
        change: Tensor = self.block["5"](hidden).permute(0, 3, 1, 2)
        if self.layer_scale is not None:
            change = self.layer_scale * change
        return x + (change if gate is None else gate * change)


class ConvNeXt(nn.Module):
    """The backbone without its classifier and without norms on the levels it returns."""

    def __init__(
        self,
        depths: Sequence[int] = TINY_DEPTHS,
        channels: tuple[int, int, int, int] = TINY_CHANNELS,
        *,
        layer_scale: float | None = IMAGENET_LAYER_SCALE,
    ) -> None:
        """Make the backbone with fresh weights; the defaults are ConvNeXt-Tiny.

        Args:
            depths: blocks of each of the four stages.
            channels: of each stage.
            layer_scale: start of the scale of each block's result; None = ConvNeXt V2, which has a response norm instead.
        """
        super().__init__()
        self.channels = channels
        self.version = "ConvNeXt V2" if layer_scale is None else "ConvNeXt"
        steps: list[nn.Module] = []
        previous = 0
        for depth, width in zip(depths, channels, strict=True):
            steps.append(_stem(width) if previous == 0 else _halving(previous, width))
            steps.append(nn.Sequential(*(ConvNeXtBlock(width, layer_scale=layer_scale) for _ in range(depth))))
            previous = width
        self.features = nn.ModuleList(steps)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # it has a bias

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map a normalised image (b, 3, h, w) to levels (b, channels, ...) at strides 4, 8, 16 and 32."""
        levels: list[Tensor] = []
        x = image
        for coarsen, stage in zip(self.features[::2], self.features[1::2], strict=True):
            x = stage(coarsen(x))
            levels.append(x)
        at4, at8, at16, at32 = levels
        return at4, at8, at16, at32

    def load_imagenet_weights(self, path: str | Path) -> None:
        """Load an ImageNet file of torchvision, of the package timm or of the authors; the classifier is left out.

        Raises:
            WeightsFileError: the file is missing or is not this ConvNeXt; it names what differs.
        """
        load_backbone_file(
            self,
            path,
            kind=f"a {self.version} of {self.channels} channels",
            left_out=(CLASSIFIER, *FOREIGN_CLASSIFIERS),
            renamed=in_torchvision_names,
        )


def _stem(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, channels, 4, 4), ChannelNorm(channels))


def _halving(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(ChannelNorm(channels_in), nn.Conv2d(channels_in, channels, 2, 2))
