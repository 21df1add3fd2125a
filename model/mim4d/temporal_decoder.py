"""Rebuild the volume of a withheld frame from the volumes of the other frames of its clip.

What    the other volumes are warped to the target's pose and seen from above; two branches of deformable attention, one over
        the frames beside the target and one over all of them, each answer the learned queries of the ground cells; both answers
        together are unfolded to a volume.
Why     nothing of the target's own volume is read: not its values, and, with norms over the channels of single cells only, not
        its statistics either.
Source  docs/method/mim4d.md#ego-warp, #height-fold, #sources-and-queries, #decoder-layers; arXiv 2403.08760, and arXiv 2304.00967
        for the two branches
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.convnext import ChannelNorm
from model.errors import InputError
from model.mim4d.deformable_attention import TemporalCrossAttention
from model.mim4d.ego_warp import source_from_target, warp_volume
from model.mim4d.ground_queries import GroundQueries, ground_position
from model.mim4d.source_frames import remaining_frames, short_positions, slots_of, time_features
from model.mim4d.temporal_config import TemporalConfig
from model.mim4d.voxel_grid import VoxelGrid


class DecoderLayer(nn.Module):
    """Attention to the sources, then a perceptron on each cell; each is added and the sum normalised over its channels."""

    def __init__(self, attention: TemporalCrossAttention, channels: int, *, hidden: int) -> None:
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, hidden)
        self.contract = nn.Linear(hidden, channels)
        self.output_norm = nn.LayerNorm(channels)

    def forward(
        self,
        queries: Tensor,
        position: Tensor,
        values: Tensor,
        *,
        size_yx: tuple[int, int],
        share: Tensor,
        times: Tensor | None,
    ) -> Tensor:
        """Map queries (b, Y * X, C) to the same shape; for the rest see ``TemporalCrossAttention``."""
        attended = self.attention(queries + position, values, size_yx=size_yx, share=share, times=times)
        queries = self.attention_norm(queries + attended)
        answered: Tensor = self.output_norm(queries + self.contract(F.relu(self.expand(queries))))
        return answered


class Branch(nn.Module):
    """Learned queries and the layers that answer them."""

    def __init__(self, queries: GroundQueries, layers: Sequence[DecoderLayer]) -> None:
        super().__init__()
        self.queries = queries
        self.layers = nn.ModuleList(layers)

    def forward(self, values: Tensor, *, size_yx: tuple[int, int], share: Tensor, times: Tensor | None) -> Tensor:
        """Map values (b, q, Y * X, C) of the sources to the answer as a map (b, C, Y, X)."""
        batch, _, _, channels = values.shape
        answer = self.queries(size_yx).expand(batch, -1, -1)
        position = ground_position(size_yx, channels, device=values.device).to(answer.dtype)
        for layer in self.layers:
            answer = layer(answer, position, values, size_yx=size_yx, share=share, times=times)
        answered: Tensor = answer.mT.unflatten(-1, size_yx)
        return answered


class TemporalDecoder(nn.Module):
    """From a clip without one frame to that frame's volume."""

    def __init__(self, config: TemporalConfig, *, channels: int, num_frames: int, grid: VoxelGrid) -> None:
        """Make both branches and what is around them.

        Args:
            config: the options.
            channels: of the volumes.
            num_frames: of a clip. With ``time_embed: list_position`` no other number can be given later.
            grid: the voxels it is trained on; it fixes the number of heights, and the rows and columns of the queries unless the
                configuration says others.
        """
        super().__init__()
        self.config = config
        self.channels = channels
        self.num_frames = num_frames
        self.grid = grid
        wide, narrow = config.embed_channels, config.long_channels
        folded = channels * grid.shape_zyx[0]
        self.fold_projection = nn.Conv2d(folded, wide, 1, bias=False)
        self.fold_norm = ChannelNorm(wide)
        self.long_projection = nn.Linear(wide, narrow)
        self.long_norm = nn.LayerNorm(narrow)
        self.is_timed = config.time_embed == "signed_dt"
        if self.is_timed:
            self.time_embedding = nn.Linear(2 * config.num_time_periods, wide, bias=False)
        else:
            self.frame_embedding = nn.Parameter(torch.empty(num_frames, wide))
        self.short = self._branch(
            wide,
            num_sources=2 if config.short == "adjacent" else 1,
            num_heads=config.short_heads,
            num_layers=config.short_layers,
            hidden=config.short_hidden,
        )
        self.long = self._branch(
            narrow,
            num_sources=num_frames - 1,
            num_heads=config.long_heads,
            num_layers=config.long_layers,
            hidden=config.long_hidden,
        )
        self.unfold_projection = nn.Conv2d(wide + narrow, folded, 3, padding=1, bias=False)
        self.unfold_norm = ChannelNorm(folded)
        self._initialise()

    def forward(
        self,
        volumes: Tensor,
        world_from_rig: Tensor,
        *,
        time_s: Tensor,
        targets: Sequence[int],
        grid: VoxelGrid | None = None,
    ) -> Tensor:
        """Rebuild one frame of each clip.

        Args:
            volumes: (B, T, C, Z, Y, X), each in its own rig frame; the target's is not read.
            world_from_rig: (B, T, 4, 4) rigid, metres, at the volumes' times.
            time_s: (B, T) seconds, from a moment near the clip: the key frame's time, say. Floating point.
            targets: the withheld frame of each clip.
            grid: the voxels of the volumes; None: those that the decoder was made for.

        Returns:
            (B, C, Z, Y, X) in the target's rig frame, not clipped: its norm over channels lets values be negative.

        Raises:
            InputError: shapes do not fit together or do not fit the decoder, or a target is not in the clip.
        """
        grid = self.grid if grid is None else grid
        self._check(volumes, world_from_rig, time_s, targets, grid)
        num_frames = volumes.shape[1]
        device = volumes.device
        sources, long_share = slots_of([remaining_frames(target, num_frames) for target in targets], device=device)
        near, short_share = slots_of(
            [short_positions(target, num_frames, self.config.short) for target in targets], device=device
        )
        clip = torch.arange(len(targets), device=device)[:, None]
        target = torch.tensor(targets, device=device)[:, None]

        times = self._time_features(time_s[clip, sources] - time_s[clip, target]).to(volumes.dtype) if self.is_timed else None
        transforms = source_from_target(world_from_rig[clip, sources], world_from_rig[clip, target])
        warped, _ = warp_volume(
            volumes[clip, sources].flatten(0, 1), transforms.flatten(0, 1), grid=grid, convention=self.config.warp
        )
        tokens = self._tokens(warped, times, num_sources=sources.shape[1])

        size_yx = (grid.shape_zyx[1], grid.shape_zyx[2])
        short_times = None if times is None else times[clip, near]
        short = self.short(tokens[clip, near], size_yx=size_yx, share=short_share, times=short_times)
        long_values = self.long_norm(self.long_projection(tokens))
        long = self.long(long_values, size_yx=size_yx, share=long_share, times=times)
        folded = self.unfold_norm(self.unfold_projection(torch.cat((short, long), dim=1)))
        return unfold_height(folded, num_heights=grid.shape_zyx[0])

    def _tokens(self, warped: Tensor, times: Tensor | None, *, num_sources: int) -> Tensor:
        """Map warped volumes (B * q, C, Z, Y, X) to ground cells (B, q, Y * X, E) that say which source they are of."""
        ground = self.fold_norm(self.fold_projection(fold_height(warped)))
        tokens = ground.flatten(2).mT.unflatten(0, (-1, num_sources))
        which = self.frame_embedding[:num_sources] if times is None else self.time_embedding(times)
        named: Tensor = tokens + which[..., None, :]
        return named

    def _time_features(self, difference_s: Tensor) -> Tensor:
        config = self.config
        return time_features(
            difference_s,
            num_periods=config.num_time_periods,
            shortest_s=config.shortest_period_s,
            longest_s=config.longest_period_s,
        )

    def _branch(self, channels: int, *, num_sources: int, num_heads: int, num_layers: int, hidden: int) -> Branch:
        config = self.config
        size_yx = config.query_grid_yx or (self.grid.shape_zyx[1], self.grid.shape_zyx[2])
        return Branch(
            GroundQueries(size_yx, channels, interpolates=config.queries == "interpolated"),
            [
                DecoderLayer(
                    TemporalCrossAttention(
                        channels,
                        num_heads=num_heads,
                        num_points=config.num_points,
                        num_sources=None if self.is_timed else num_sources,
                        num_time_features=2 * config.num_time_periods if self.is_timed else None,
                    ),
                    channels,
                    hidden=hidden,
                )
                for _ in range(num_layers)
            ],
        )

    @torch.no_grad()
    def _initialise(self) -> None:
        """Start as published: Xavier for every matrix and kernel, then what has a start of its own."""
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, TemporalCrossAttention):
                module.initialise()
        if self.is_timed:
            # sines and cosines of n periods have squares that add up to n: the embedding has the variance of the published table
            nn.init.normal_(self.time_embedding.weight, std=1.0 / math.sqrt(self.config.num_time_periods))
        else:
            nn.init.normal_(self.frame_embedding)

    def _check(self, volumes: Tensor, world_from_rig: Tensor, time_s: Tensor, targets: Sequence[int], grid: VoxelGrid) -> None:
        wanted = f"(B, T, {self.channels}, {', '.join(map(str, grid.shape_zyx))})"
        if volumes.ndim != 6 or volumes.shape[2] != self.channels or tuple(volumes.shape[3:]) != tuple(grid.shape_zyx):
            raise InputError(
                f"volumes have shape {tuple(volumes.shape)}, expected {wanted}; give them with the grid they were built on"
            )
        if grid.shape_zyx[0] != self.grid.shape_zyx[0]:
            raise InputError(
                f"the voxel grid has {grid.shape_zyx[0]} heights, the decoder was made for {self.grid.shape_zyx[0]}; "
                "only rows and columns can differ from the training's"
            )
        batch, num_frames = volumes.shape[:2]
        if tuple(world_from_rig.shape) != (batch, num_frames, 4, 4):
            raise InputError(f"world_from_rig has shape {tuple(world_from_rig.shape)}, expected {(batch, num_frames, 4, 4)}")
        if tuple(time_s.shape) != (batch, num_frames) or not time_s.is_floating_point():
            raise InputError(
                f"time_s is {time_s.dtype} {tuple(time_s.shape)}, expected floating-point {(batch, num_frames)}; "
                "give seconds from the key frame"
            )
        if len(targets) != batch:
            raise InputError(f"targets name {len(targets)} frames, expected {batch}: the withheld frame of each clip")
        if not self.is_timed and num_frames != self.num_frames:
            raise InputError(
                f"the clip has {num_frames} frames, a decoder with time_embed: list_position was made for {self.num_frames}; "
                "give clips of that length, or train with time_embed: signed_dt"
            )


def fold_height(volume: Tensor) -> Tensor:
    """Map (..., C, Z, Y, X) to (..., C * Z, Y, X); channel ``c * Z + z`` is channel c of slab z. A view, where it can be."""
    return volume.flatten(-4, -3)


def unfold_height(folded: Tensor, *, num_heights: int) -> Tensor:
    """Map (..., C * Z, Y, X) to (..., C, Z, Y, X) with Z = ``num_heights``: the inverse of ``fold_height``.

    Raises:
        InputError: the number of channels is not a multiple of the number of slabs.
    """
    channels = folded.shape[-3]
    if channels % num_heights:
        raise InputError(
            f"map of {channels} channels cannot be cut into {num_heights} height slabs; expected a multiple of {num_heights}"
        )
    volume: Tensor = folded.unflatten(-3, (channels // num_heights, num_heights))
    return volume
