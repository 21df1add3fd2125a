"""From the images of a rig to the volume around it: backbone, feature pyramid, depth distribution, lift.

Why     a detector that begins with what MIM4D pre-trained must compute the same volume; so both are made of this part, under the
        same names of weights
Source  docs/method/mim4d.md#feature-pyramid, #depth-distribution, #lift-by-sampling, #lift-by-splatting
Reads   images of all cameras and frames, and where each camera was (``ClipViews``)
Writes  volumes (b, T, channels, Z, Y, X), each of its own frame's images alone, in that frame's rig frame
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.errors import InputError
from model.mim4d.batch import ClipViews
from model.mim4d.depth_head import DepthHead
from model.mim4d.fpn import Fpn
from model.mim4d.lift import Cameras, lift_by_sampling, lift_by_splatting
from model.mim4d.masked_convnext import CONVNEXT_SIZES, MaskedConvNeXt
from model.mim4d.masked_resnet import MaskedResNet34, MaskedResNet50
from model.mim4d.network_config import BackboneConfig, VoxelLiftConfig


class VolumeEncoder(nn.Module):
    """What a network of volumes is derived from: ``backbone``, ``fpn`` and ``depth_head``, and what they compute together."""

    def __init__(
        self, backbone: BackboneConfig, lift: VoxelLiftConfig, *, input_px: tuple[int, int], first_trained_level: int = 0
    ) -> None:
        """Make the encoder with fresh weights.

        Args:
            backbone: image encoder.
            lift: pyramid, depth bins and voxels.
            input_px: height and width of the images as fed.
            first_trained_level: norms of levels before it are not trained; see ``make_backbone``.
        """
        super().__init__()
        self._backbone_config, self._lift_config, self._input_px = backbone, lift, input_px
        self.backbone = make_backbone(backbone, first_level=first_trained_level)
        self.fpn = Fpn(self.backbone.channels, lift.channels, first_level=lift.first_level, num_extra=lift.num_extra_levels)
        self.depth_head = DepthHead(lift.channels, lift.bins)

    def pyramid(
        self, image: Tensor, is_seen: Tensor | None = None, *, generators: Sequence[torch.Generator] | None = None
    ) -> list[Tensor]:
        """Return the feature pyramid of images (b, T, M, 3, h, w): maps (b, T, M, channels, y, x), the finest first.

        Raises:
            InputError: images or masks do not fit.
        """
        self._check_images(image, is_seen)
        batch, frames, cameras = image.shape[:3]
        # one clip at a time, as its generator is its own; of a ResNet one frame at a time, as batch norms over all frames would
        # tell the others of the withheld one (docs/method/mim4d.md#pitfalls, 6)
        together = 1 if self._backbone_config.is_resnet else frames
        parts = []
        for clip in range(batch):
            generator = None if generators is None else generators[clip]
            for first in range(0, frames, together):
                part = slice(first, first + together)
                seen = None if is_seen is None else is_seen[clip, part].flatten(0, 1)[:, None]
                parts.append(self.backbone(image[clip, part].flatten(0, 1), seen, generator=generator))
        levels = self.fpn([torch.cat(level) for level in zip(*parts, strict=True)])
        return [level.unflatten(0, (batch, frames, cameras)) for level in levels]

    def lifted_levels(self, levels: Sequence[Tensor], views: ClipViews) -> Tensor:
        """Return what a feature pyramid, as ``pyramid`` makes it of these views, puts into the voxels (b, T, channels, Z, Y, X).

        Raises:
            InputError: maps and cameras do not fit together.
        """
        return self.put_into_voxels(*self.in_depth(levels), views)

    def in_depth(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return what is lifted, per level features (b, T, M, channels, y, x) and probabilities (b, T, M, num_bins, y, x)."""
        size = levels[0].shape[:3]
        features, chances = self.depth_head([level.flatten(0, 2) for level in levels])
        return [feature.unflatten(0, size) for feature in features], [chance.unflatten(0, size) for chance in chances]

    def put_into_voxels(self, features: Sequence[Tensor], chances: Sequence[Tensor], views: ClipViews) -> Tensor:
        """Put features into the voxels (b, T, channels, Z, Y, X), each as far as it is likely to be there.

        Raises:
            InputError: maps and cameras do not fit together.
        """
        lift = self._lift_config
        height, width = views.image.shape[-2:]
        cameras = Cameras(views.cam_from_rig, views.intrinsics, (height, width))
        if lift.kind == "splat":
            return lift_by_splatting(
                features[0], chances[0], cameras, grid=lift.grid, bins=lift.bins, stride=lift.strides[0], align=lift.grid_align
            )
        return lift_by_sampling(
            features, chances, cameras, grid=lift.grid, bins=lift.bins, strides=lift.strides, align=lift.grid_align
        )

    def _check_images(self, image: Tensor, is_seen: Tensor | None) -> None:
        if image.ndim != 6 or image.shape[3] != 3 or not image.is_floating_point() or tuple(image.shape[4:]) != self._input_px:
            height, width = self._input_px
            raise InputError(
                f"images of clips are {image.dtype} {tuple(image.shape)}, expected floating-point (b, frames, cameras, 3, "
                f"{height}, {width}), normalised; make them with views_of"
            )
        if is_seen is not None and (is_seen.ndim != 5 or is_seen.shape[:3] != image.shape[:3]):
            raise InputError(
                f"the patch mask of clips is {tuple(is_seen.shape)}, expected {tuple(image.shape[:3])} and the patches down and "
                "across; make it with draw_clips"
            )


def make_backbone(config: BackboneConfig, *, first_level: int = 0) -> MaskedConvNeXt | MaskedResNet34 | MaskedResNet50:
    """Make the backbone with fresh weights; all are called alike, and tell the ``channels`` of their levels.

    Args:
        config: the options.
        first_level: finest level that is read. Norms of the levels before it get no gradient and are not trained: a parameter
            that waits for one would stop a training on several devices.
    """
    if config.name == "resnet34":
        return MaskedResNet34(config.base_channels)
    if config.name == "resnet50":
        return MaskedResNet50(config.base_channels)
    network = MaskedConvNeXt(
        CONVNEXT_SIZES[config.name],
        layer_scale=config.layer_scale,
        drop_path=config.drop_path,
        frozen_stages=config.frozen_stages,
    )
    network.norms[:first_level].requires_grad_(False)
    return network
