"""ResNets that compute only on what is not hidden, with the keys of ``model.blocks.resnet``, whose networks take their weights.

Why     SemoDepth's encoder is a ResNet-34, so only a ResNet pre-trained here can be handed to it. Batch norms take their
        statistics over the cells that are seen: with hidden cells in them, they would be those of another network. And they take
        them of the images they are given in evaluation too, not the running averages: a frame is normed by itself in training
        (docs/method/mim4d.md#pitfalls, 6), so averages over day and night belong to no frame. With them, AbsRel of six simulated
        cameras was 0.14 and not 0.10, and the error of colours twice as large. The averages are kept for the networks that take
        the weights.
Source  docs/method/mim4d.md#masked-convolutions; arXiv 1512.03385; arXiv 2301.03580
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.resnet import IMAGENET_CHANNELS, ApplyNorm, ResNet34, ResNet50, resnet34_channels
from model.mim4d.mask import check_mask, hide, mask_at

Levels = tuple[Tensor, Tensor, Tensor, Tensor]


class MaskedResNet34(ResNet34):
    """ResNet-34 on normalised images; ``base`` scales all channels, 64 being the published network."""

    def __init__(self, base: int = IMAGENET_CHANNELS) -> None:
        super().__init__(base)
        _, c1, c2, c3, c4 = resnet34_channels(base)
        self.channels = (c1, c2, c3, c4)

    def forward(  # type: ignore[override]  # the plain one takes raw images and gives stride 2 too
        self, image: Tensor, is_seen: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> Levels:
        """Map images to levels at strides 4, 8, 16 and 32.

        Args:
            image: (n, 3, h, w) normalised; sides are multiples of 32.
            is_seen: patch mask (n, 1, cells down, cells across), True where the image is seen; None: all of it.
            generator: not used, a ResNet has no random step; here so that all backbones are called alike.

        Returns:
            Four maps (n, channels, h / stride, w / stride), exactly 0 in hidden cells.

        Raises:
            InputError: the mask does not fit the images.
        """
        return _levels(self, image, is_seen)


class MaskedResNet50(ResNet50):
    """ResNet-50; ``base`` scales all channels, 64 being the published network."""

    def forward(self, image: Tensor, is_seen: Tensor | None = None, *, generator: torch.Generator | None = None) -> Levels:
        """Map images to levels at strides 4, 8, 16 and 32; see ``MaskedResNet34.forward``."""
        return _levels(self, image, is_seen)


def by_own_statistics(norm: nn.Module, x: Tensor) -> Tensor:
    """Norm a map (n, channels, h, w) by the statistics of these images, in evaluation as in training."""
    assert isinstance(norm, nn.BatchNorm2d)
    if norm.training:
        normed: Tensor = norm(x)
        return normed
    return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)


def over_seen_cells(is_seen: Tensor) -> ApplyNorm:
    """Return how to norm the seen cells of maps by their own statistics and to set the hidden ones to 0.

    Args:
        is_seen: patch mask (n, 1, cells down, cells across).
    """

    def apply(norm: nn.Module, x: Tensor) -> Tensor:
        num, channels, height, width = x.shape
        seen = mask_at(is_seen, (height, width))[:, 0]
        rows = x.permute(0, 2, 3, 1)[seen]
        normed = by_own_statistics(norm, rows[:, :, None, None])[:, :, 0, 0]
        result = normed.new_zeros(num, height, width, channels)
        result[seen] = normed
        return result.permute(0, 3, 1, 2)

    return apply


def _levels(network: ResNet34 | ResNet50, image: Tensor, is_seen: Tensor | None) -> Levels:
    apply: ApplyNorm = by_own_statistics
    if is_seen is not None:
        check_mask(image, is_seen)
        image = hide(image, is_seen)
        apply = over_seen_cells(is_seen)
    x = F.relu(apply(network.bn1, network.conv1(image)), inplace=True)
    x = F.max_pool2d(x, 3, 2, 1)
    if is_seen is not None:
        x = hide(x, is_seen)  # its windows reach over the edge of a patch
    levels: list[Tensor] = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in stage:
            x = block(x, apply=apply)
        levels.append(x)
    at4, at8, at16, at32 = levels
    return at4, at8, at16, at32
