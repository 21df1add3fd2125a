"""What is drawn at random when clips are learned: withheld frames, hidden patches, rays, and the samples along the rays.

Why     a clip's random numbers depend on (seed, epoch, key of the clip) alone: not on the clips beside it, on the number of
        workers, or on whether the training was stopped in between. So a batch gives the mean of what its clips give alone.
Source  docs/method/mim4d.md#masking, #rays
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from model.data.order import draw_digest
from model.errors import InputError
from model.mim4d.batch import ClipBatch
from model.mim4d.mask import draw_patch_mask, patch_cells
from model.mim4d.network_config import Mim4dConfig
from model.mim4d.rays import FrameViews, Rays, sample_rays

NUM_TARGETS = 2
"""Frames of a clip that are rendered in a step, as published."""


class ClipDraws(NamedTuple):
    """What was drawn for b clips.

    Attributes:
        is_seen: (b, T, M, patches down, patches across) bool, True where the network sees the image; None: it sees everything.
        targets: for each rendering of a clip, which frame of each clip it is of.
        rays: for each rendering, the rays and what they should show.
        generators: of each clip, for what the network draws itself.
    """

    is_seen: Tensor | None
    targets: list[tuple[int, ...]]
    rays: list[Rays]
    generators: list[torch.Generator]


def clip_generator(key: str, *, seed: int, epoch: int) -> torch.Generator:
    """Return the generator of a clip, on the CPU wherever the network is, so that all devices draw alike."""
    digest = draw_digest(key, seed=seed, epoch=epoch, num_bytes=8)
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)  # torch takes 63 bits


def draw_clips(batch: ClipBatch, config: Mim4dConfig, *, seed: int, epoch: int) -> ClipDraws:
    """Draw for a training step; held-out points are no source of rays.

    Args:
        batch: on the network's device.
        config: of the network.
        seed: of the training.
        epoch: a clip is drawn for anew in each.

    Raises:
        InputError: the batch is not of the size that the network was configured for.
    """
    frames = batch.image_u8.shape[1]
    generators = [clip_generator(key, seed=seed, epoch=epoch) for key in batch.window_keys]
    per_clip = [draw_targets(frames, how=config.targets, generator=generator) for generator in generators]
    return draw_rays(
        batch, config, targets=list(zip(*per_clip, strict=True)), generators=generators, of_points=~batch.is_held_out
    )


def draw_rays(
    batch: ClipBatch,
    config: Mim4dConfig,
    *,
    targets: list[tuple[int, ...]],
    generators: list[torch.Generator],
    of_points: Tensor,
) -> ClipDraws:
    """Draw hidden patches, and rays of frames that are given.

    Args:
        batch: on the network's device.
        config: of the network.
        targets: for each rendering, the frame of each clip.
        generators: of each clip.
        of_points: (n) bool, the points of the batch that rays are made of.

    Raises:
        InputError: the batch is not of the size that the network was configured for.
    """
    _check(batch, config)
    is_seen = _draw_seen(batch, config, generators)
    rays = [
        _joined(
            [
                _rays_of(
                    batch, clip, frame, config, of_points, None if is_seen is None else is_seen[clip, frame], generators[clip]
                )
                for clip, frame in enumerate(target)
            ]
        )
        for target in targets
    ]
    return ClipDraws(is_seen, targets, rays, generators)


def draw_targets(num_frames: int, *, how: str, generator: torch.Generator) -> tuple[int, ...]:
    """Return the frames that a clip is rendered at: two different ones, or its only one.

    Args:
        num_frames: of the clip.
        how: ``key_and_random``: the newest frame and any other; ``random``: any two.
        generator: of the clip.
    """
    if num_frames == 1:
        return (0,)
    if how == "key_and_random":
        return 0, int(torch.randint(1, num_frames, (), generator=generator))
    return tuple(torch.randperm(num_frames, generator=generator)[:NUM_TARGETS].tolist())


def _draw_seen(batch: ClipBatch, config: Mim4dConfig, generators: Sequence[torch.Generator]) -> Tensor | None:
    """Return the patch masks of all images; None if nothing is to be hidden."""
    if config.mask.hidden_ratio == 0:
        return None
    frames, cameras = batch.image_u8.shape[1:3]
    cells = patch_cells(config.input_px, patch_px=config.mask.patch_px)
    ratio = config.mask.hidden_ratio
    masks = [draw_patch_mask(frames * cameras, cells, hidden_ratio=ratio, generator=generator) for generator in generators]
    return torch.stack(masks).view(len(generators), frames, cameras, *cells).to(batch.image_u8.device)


def _rays_of(
    batch: ClipBatch,
    clip: int,
    frame: int,
    config: Mim4dConfig,
    of_points: Tensor,
    is_seen: Tensor | None,
    generator: torch.Generator,
) -> Rays:
    """Return the rays of one frame of one clip (1, r)."""
    of_frame = of_points & (batch.point_window == clip) & (batch.point_frame == frame)
    images = batch.image_u8[clip, frame].movedim(-1, -3).float() / 255.0
    views = FrameViews(
        images[None],
        batch.cam_from_rig[clip, frame][None].float(),
        batch.intrinsics[clip, frame][None].float(),
        None if is_seen is None else is_seen[None],
    )
    points_m = batch.points[of_frame][None].float()
    return sample_rays(points_m, views, grid=config.lift.grid, config=config.render, generator=generator)


def _joined(parts: Sequence[Rays]) -> Rays:
    """Return the rays of clips as one."""
    return Rays(*(torch.cat(values) for values in zip(*(tuple(vars(rays).values()) for rays in parts), strict=True)))


def _check(batch: ClipBatch, config: Mim4dConfig) -> None:
    """Raise if the images are not of the size that the patches are cut for."""
    size = tuple(batch.image_u8.shape[3:5])
    if size != config.input_px:
        raise InputError(
            f"clip '{batch.window_keys[0]}' has images of {size[0]} x {size[1]} pixels (height x width), the network takes "
            f"{config.input_px[0]} x {config.input_px[1]}; read them with a ClipLoader of that image_px"
        )
