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
from torch import Tensor

from model.errors import InputError
from model.mim4d.batch import ClipViews
from model.mim4d.composite import Rendered, render
from model.mim4d.encoder import VolumeEncoder
from model.mim4d.lift import RenderConv
from model.mim4d.loss import DIRECT, RECONSTRUCT
from model.mim4d.network_config import Mim4dConfig
from model.mim4d.neus_field import NeusField
from model.mim4d.temporal_decoder import TemporalDecoder


class Mim4d(VolumeEncoder):
    """The network; its options are in ``config``."""

    def __init__(self, config: Mim4dConfig | None = None) -> None:
        """Make the network with fresh weights; one of single frames has no ``temporal``."""
        config = config or Mim4dConfig()
        super().__init__(config.backbone, config.lift, input_px=config.input_px)
        self.config = config
        lift = config.lift
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
        squeezed: Tensor = self.render_conv(self.lifted_levels(levels, views))
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


def volumes_at(volumes: Tensor, frames: Sequence[int]) -> Tensor:
    """Return the volume of one frame of each clip (b, C, Z, Y, X), of all of them (b, T, C, Z, Y, X)."""
    clips = torch.arange(len(frames), device=volumes.device)
    return volumes[clips, torch.tensor(frames, device=volumes.device)]
