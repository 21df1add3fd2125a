"""The network: clips with hidden patches go in; what the volumes of some of their frames show along rays comes out.

What    every frame is brought into voxels around the vehicle by itself. A frame that is rendered is rendered twice: from its own
        volume ("direct"), and from one that is rebuilt from the volumes of the other frames ("reconstruct").
Why     pixels that are hidden, and frames that are withheld, can only be rendered by an encoder that has understood the scene.
Source  docs/method/mim4d.md#idea, #masking, #lift-by-sampling; arXiv 2403.08760
Reads   clips (``ClipViews``), masks, targets, rays
Writes  colours and depths (``Rendered``)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.errors import InputError
from model.mim4d.batch import ClipViews
from model.mim4d.composite import Rendered, render
from model.mim4d.depth_head import DepthHead
from model.mim4d.fpn import Fpn
from model.mim4d.lift import Cameras, RenderConv, lift_by_sampling, lift_by_splatting
from model.mim4d.loss import DIRECT, RECONSTRUCT
from model.mim4d.masked_convnext import CONVNEXT_SIZES, MaskedConvNeXt
from model.mim4d.masked_resnet import MaskedResNet34, MaskedResNet50
from model.mim4d.network_config import BackboneConfig, Mim4dConfig
from model.mim4d.neus_field import NeusField
from model.mim4d.temporal_decoder import TemporalDecoder


class Mim4d(nn.Module):
    """The network; its options are in ``config``."""

    def __init__(self, config: Mim4dConfig | None = None) -> None:
        """Make the network with fresh weights; one of single frames has no ``temporal``."""
        super().__init__()
        self.config = config or Mim4dConfig()
        lift = self.config.lift
        self.backbone = make_backbone(self.config.backbone)
        self.fpn = Fpn(self.backbone.channels, lift.channels, first_level=lift.first_level, num_extra=lift.num_extra_levels)
        self.depth_head = DepthHead(lift.channels, lift.bins)
        self.render_conv = RenderConv(lift.channels, lift.volume_channels, norm=lift.norm3d, num_groups=lift.norm_groups)
        self.temporal = None
        if self.config.num_frames > 1:
            self.temporal = TemporalDecoder(
                self.config.temporal, channels=lift.volume_channels, num_frames=self.config.num_frames, grid=lift.grid
            )
        self.field = NeusField(lift.volume_channels, grid=lift.grid, config=self.config.render)

    def forward(
        self,
        views: ClipViews,
        *,
        is_seen: Tensor | None,
        targets: Sequence[Sequence[int]],
        origin_m: Sequence[Tensor],
        direction: Sequence[Tensor],
        generators: Sequence[torch.Generator] | None = None,
    ) -> dict[str, list[Rendered]]:
        """Render frames of clips, each from its own volume and from that of the others.

        Args:
            views: b clips of T frames.
            is_seen: patch masks (b, T, M, down, across), True where an image is seen; None: all of it.
            targets: for each rendering, which frame of each clip it is of.
            origin_m: for each rendering, where its rays begin (b, r, 3), in the rendered frame's rig frame.
            direction: for each rendering, of length 1 (b, r, 3).
            generators: of each clip, for what is drawn in training; None for evaluation.

        Returns:
            By mode, ``direct`` and, unless the network is of single frames, ``reconstruct``: one ``Rendered`` of each rendering.

        Raises:
            InputError: shapes do not fit together, or a frame is not in the clip.
        """
        volumes = self.volumes(views, is_seen, generators=generators)
        rendered: dict[str, list[Rendered]] = {DIRECT: []}
        if self.temporal is not None:
            rendered[RECONSTRUCT] = []
        for frames, origin, along in zip(targets, origin_m, direction, strict=True):
            rendered[DIRECT].append(self.show(volumes_at(volumes, frames), origin, along, generators=generators))
            if self.temporal is not None:
                rebuilt = self.reconstruct(volumes, views, frames)
                rendered[RECONSTRUCT].append(self.show(rebuilt, origin, along, generators=generators))
        return rendered

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
        together = 1 if self.config.backbone.is_resnet else frames
        parts = []
        for clip in range(batch):
            generator = None if generators is None else generators[clip]
            for first in range(0, frames, together):
                part = slice(first, first + together)
                seen = None if is_seen is None else is_seen[clip, part].flatten(0, 1)[:, None]
                parts.append(self.backbone(image[clip, part].flatten(0, 1), seen, generator=generator))
        levels = self.fpn([torch.cat(level) for level in zip(*parts, strict=True)])
        return [level.unflatten(0, (batch, frames, cameras)) for level in levels]

    def volumes(
        self, views: ClipViews, is_seen: Tensor | None = None, *, generators: Sequence[torch.Generator] | None = None
    ) -> Tensor:
        """Return the volume of every frame (b, T, C, Z, Y, X), each in its own rig frame and of its own images alone.

        Arguments and errors are those of ``forward``.
        """
        return self.lifted(self.pyramid(views.image, is_seen, generators=generators), views)

    def lifted(self, levels: Sequence[Tensor], views: ClipViews) -> Tensor:
        """Return the volumes (b, T, C, Z, Y, X) of a feature pyramid, as ``pyramid`` makes it of these views.

        Raises:
            InputError: maps and cameras do not fit together.
        """
        lift = self.config.lift
        size = views.image.shape[:3]
        features, chances = self.depth_head([level.flatten(0, 2) for level in levels])
        features = [feature.unflatten(0, size) for feature in features]
        chances = [chance.unflatten(0, size) for chance in chances]
        height, width = views.image.shape[-2:]
        cameras = Cameras(views.cam_from_rig, views.intrinsics, (height, width))
        if lift.kind == "splat":
            lifted = lift_by_splatting(
                features[0], chances[0], cameras, grid=lift.grid, bins=lift.bins, stride=lift.strides[0], align=lift.grid_align
            )
        else:
            lifted = lift_by_sampling(
                features, chances, cameras, grid=lift.grid, bins=lift.bins, strides=lift.strides, align=lift.grid_align
            )
        squeezed: Tensor = self.render_conv(lifted)
        return squeezed

    def reconstruct(self, volumes: Tensor, views: ClipViews, targets: Sequence[int]) -> Tensor:
        """Rebuild the volume of one frame of each clip from those of the others (b, C, Z, Y, X); its own is not read.

        Raises:
            InputError: the network is of single frames, or shapes or targets do not fit.
        """
        if self.temporal is None:
            raise InputError(
                "this network is of single frames (num_frames 1), so it cannot rebuild one from others; train one with "
                "train.network.num_frames 2 or more"
            )
        # poses need more digits than bfloat16 has, and the decoder is small
        with torch.autocast(volumes.device.type, enabled=False):
            rebuilt: Tensor = self.temporal(volumes.float(), views.world_from_rig, time_s=views.time_s, targets=targets)
        return rebuilt

    def show(
        self, volume: Tensor, origin_m: Tensor, direction: Tensor, *, generators: Sequence[torch.Generator] | None = None
    ) -> Rendered:
        """Return what volumes (b, C, Z, Y, X) show along rays (b, r, 3) of their rig frames.

        Args:
            volume: one of each clip.
            origin_m: where rays begin.
            direction: of length 1.
            generators: of each clip, to move the samples at random in training; None for evaluation.

        Raises:
            InputError: the volume is not of the network's grid.
        """
        config = self.config.render
        grid = self.config.lift.grid
        if generators is None:
            return render(self.field.in_volume(volume), origin_m, direction, grid=grid, config=config)
        parts = []
        for clip, generator in enumerate(generators):
            only_clip = slice(clip, clip + 1)
            field = self.field.in_volume(volume[only_clip])
            parts.append(render(field, origin_m[only_clip], direction[only_clip], grid=grid, config=config, generator=generator))
        return Rendered(*(torch.cat(values) for values in zip(*parts, strict=True)))

    def _check_images(self, image: Tensor, is_seen: Tensor | None) -> None:
        if (
            image.ndim != 6
            or image.shape[3] != 3
            or not image.is_floating_point()
            or tuple(image.shape[4:]) != self.config.input_px
        ):
            height, width = self.config.input_px
            raise InputError(
                f"images of clips are {image.dtype} {tuple(image.shape)}, expected floating-point (b, frames, cameras, 3, "
                f"{height}, {width}), normalised; make them with views_of"
            )
        if is_seen is not None and (is_seen.ndim != 5 or is_seen.shape[:3] != image.shape[:3]):
            raise InputError(
                f"the patch mask of clips is {tuple(is_seen.shape)}, expected {tuple(image.shape[:3])} and the patches down and "
                "across; make it with draw_clips"
            )


def volumes_at(volumes: Tensor, frames: Sequence[int]) -> Tensor:
    """Return the volume of one frame of each clip (b, C, Z, Y, X), of all of them (b, T, C, Z, Y, X)."""
    clips = torch.arange(len(frames), device=volumes.device)
    return volumes[clips, torch.tensor(frames, device=volumes.device)]


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
