"""A ConvNeXt that sees only what is not hidden: hidden cells are exactly 0 on every level, and change no bit of the others.

Why     norms and linear layers act on one cell at a time and the strided convolutions never cross a patch, so only the 7x7
        convolutions could carry something into or out of a hidden cell. It is enough, then, to hide the image and what comes out
        of each coarsening, and to let no block add anything to a hidden cell; the result is that of masking every step.
Source  docs/method/mim4d.md#masked-convolutions; arXiv 2201.03545; arXiv 2301.03580
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from model.blocks.convnext import CLASSIFIER, IMAGENET_LAYER_SCALE, ChannelNorm, ConvNeXt
from model.blocks.weights_file import load_backbone_file
from model.mim4d.mask import check_mask, hide, mask_at

OUTPUT_NORMS = "norms."


class ConvNeXtSize(NamedTuple):
    """Blocks and channels of the four stages."""

    depths: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]


CONVNEXT_SIZES = {
    "convnext_t": ConvNeXtSize((3, 3, 9, 3), (96, 192, 384, 768)),
    "convnext_s": ConvNeXtSize((3, 3, 27, 3), (96, 192, 384, 768)),
    "convnext_b": ConvNeXtSize((3, 3, 27, 3), (128, 256, 512, 1024)),
    "convnext_mini": ConvNeXtSize((1, 1, 2, 1), (24, 48, 96, 128)),  # docs/method/mim4d.md#tiny-configuration, for a laptop
}


class MaskedConvNeXt(ConvNeXt):
    """The backbone with a norm on each level it returns; keys are ``model.blocks.convnext``'s and ``norms.*``."""

    def __init__(
        self,
        size: ConvNeXtSize,
        *,
        layer_scale: float = IMAGENET_LAYER_SCALE,
        drop_path: float = 0.0,
        frozen_stages: int = 0,
    ) -> None:
        """Make the backbone with fresh weights.

        Args:
            size: blocks and channels of its stages.
            layer_scale: start of the scale of each block's result.
            drop_path: probability with which, in training, a sample skips the last block; it grows linearly from 0.
            frozen_stages: number of first stages that, with what comes before them, are never trained or skipped.
        """
        super().__init__(size.depths, size.channels, layer_scale=layer_scale)
        self.norms = nn.ModuleList(ChannelNorm(channels) for channels in size.channels)
        last, num_frozen = sum(size.depths) - 1, sum(size.depths[:frozen_stages])
        self.drop_rates = [0.0 if place < num_frozen else drop_path * place / last for place in range(last + 1)]
        for step in self.features[: 2 * frozen_stages]:
            step.requires_grad_(False)

    def forward(
        self, image: Tensor, is_seen: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map images to normed levels at strides 4, 8, 16 and 32.

        Args:
            image: (n, 3, h, w) normalised; sides are multiples of 32.
            is_seen: patch mask (n, 1, cells down, cells across), True where the image is seen; None: all of it.
            generator: of the blocks that samples skip in training; None: torch's own.

        Returns:
            Four maps (n, channels, h / stride, w / stride), exactly 0 in hidden cells.

        Raises:
            InputError: the mask does not fit the images.
        """
        if is_seen is not None:
            check_mask(image, is_seen)
            image = hide(image, is_seen)
        keeps = iter(self._draw_keeps(image, generator))
        levels: list[Tensor] = []
        x = image
        for coarsen, stage, norm in zip(self.features[::2], self.features[1::2], self.norms, strict=True):
            x = coarsen(x)
            seen = None
            if is_seen is not None:
                x = hide(x, is_seen)
                height, width = x.shape[-2:]
                seen = mask_at(is_seen, (height, width)).to(x.dtype)
            for block in cast(nn.Sequential, stage):
                x = block(x, gate=_product(seen, next(keeps)))
            level = norm(x)
            levels.append(level if is_seen is None else hide(level, is_seen))
        at4, at8, at16, at32 = levels
        return at4, at8, at16, at32

    def load_imagenet_weights(self, path: str | Path) -> None:
        """Load torchvision's ``convnext_*.pth`` from a local file; classifier and output norms are left out.

        Raises:
            WeightsFileError: the file is missing or is not this ConvNeXt; it names what differs.
        """
        kind = f"a ConvNeXt of {self.channels} channels"
        load_backbone_file(self, path, kind=kind, left_out=(CLASSIFIER,), may_lack=(OUTPUT_NORMS,))

    def _draw_keeps(self, image: Tensor, generator: torch.Generator | None) -> list[Tensor | None]:
        """Return per block what each sample's change is multiplied by (n, 1, 1, 1): 0, or more than 1 to make up for it."""
        if not self.training:
            return [None] * len(self.drop_rates)
        return [_draw_keep(image, rate=rate, generator=generator) for rate in self.drop_rates]


def _draw_keep(image: Tensor, *, rate: float, generator: torch.Generator | None) -> Tensor | None:
    if rate == 0.0:
        return None
    device = image.device if generator is None else generator.device
    kept = torch.rand(image.shape[0], 1, 1, 1, generator=generator, device=device) >= rate
    return (kept / (1.0 - rate)).to(image)


def _product(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a * b
