"""Windows of a pinned manifest in batches; order and resuming are ``ordered_loader``'s.

A window takes the place that a frame has there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.dataset import Filled
from model.data.ordered_loader import HERE, OrderedLoader, Placement, share_of
from model.data.samples import Sample
from model.mim4d.batch import ClipBatch
from model.mim4d.clip_points import ClipPoints
from model.mim4d.clip_windows import choose_clips
from model.mim4d.clips import Clip
from model.mim4d.config import ClipDataConfig, Mim4dTrainConfig
from model.mim4d.reader import ClipReading, clip_slots
from storage_schemas.manifest import Manifest


class ClipLoader(OrderedLoader[ClipBatch]):
    """Iterates over one epoch, or what is left of it, at a time; then the next epoch begins.

    Args:
        manifest: an opened manifest; its fingerprint is part of the state.
        config: what to read.
        num_frames: frames of a clip; the newest ones of each window.
        image_px: height and width of the delivered images; images are stretched to it, and the camera matrices with them.
        placement: where the loader runs, and how.

    Raises:
        ManifestError: nothing to read, frames that lack a store, windows shorter than a clip or without a camera, or fewer
            windows than ranks or than one step takes.
        UnitNotFoundError: a unit of the manifest has been pruned.
        ValueError: rank out of bounds.
    """

    sample_word = "window"

    def __init__(
        self,
        manifest: Manifest,
        config: ClipDataConfig,
        *,
        num_frames: int,
        image_px: tuple[int, int],
        placement: Placement = HERE,
    ) -> None:
        chosen = choose_clips(manifest, config, num_frames=num_frames)
        self._clips, self._image_px = tuple(share_of(chosen.clips, config, key=lambda clip: clip.key)), image_px
        self.cameras, self.num_left_out = chosen.cameras, chosen.num_left_out
        # the order asks of a sample only which run of neighbours it belongs to: a window's is that of its key image
        samples = [clip.moments[0].samples[0] for clip in self._clips]
        layout = clip_slots(config.batch_size, num_frames=num_frames, num_cameras=len(chosen.cameras), image_px=image_px)
        reading = ClipReading(self._clips, layout, config.held_out_share)
        super().__init__(samples, config, manifest=manifest, reading=reading, placement=placement)

    def _batch(self, filled: Filled, memory: torch.Tensor, epoch: int) -> ClipBatch:
        clips = [self._clips[row] for row in filled.rows]
        lidar: ClipPoints = filled.rest
        return ClipBatch(
            window_keys=tuple(clip.key for clip in clips),
            image_u8=self._layout.tensors(memory, len(clips))["image"],
            intrinsics=_float32(
                [[scaled_intrinsics(moment.samples, self._image_px) for moment in clip.moments] for clip in clips]
            ),
            cam_from_rig=_float32([[moment.cam_from_rig for moment in clip.moments] for clip in clips]),
            world_from_rig=_float32([key_from_rigs(clip) for clip in clips]),
            time_s=_float32([seconds_from_newest(clip) for clip in clips]),
            points=torch.from_numpy(lidar.points),
            point_window=torch.from_numpy(lidar.window),
            point_frame=torch.from_numpy(lidar.frame),
            point_camera=torch.from_numpy(lidar.camera),
            is_held_out=torch.from_numpy(lidar.is_held_out),
        )


def clips_of(manifest: Manifest, config: Mim4dTrainConfig, data: ClipDataConfig, *, placement: Placement) -> ClipLoader:
    """Return a loader of clips as a training's network takes them; errors as those of ``ClipLoader``."""
    network = config.network
    return ClipLoader(manifest, data, num_frames=network.num_frames, image_px=network.input_px, placement=placement)


def measured_clips(manifest: Manifest, config: Mim4dTrainConfig, *, placement: Placement) -> ClipLoader:
    """Return a loader of every clip of the evaluation's split, in the manifest's order, in batches of one."""
    changed = {"split": config.evaluation.split, "batch_size": 1, "order": "manifest"}
    return clips_of(manifest, config, config.data.model_copy(update=changed), placement=placement)


def scaled_intrinsics(samples: Sequence[Sample], image_px: tuple[int, int]) -> NDArray[np.float64]:
    """Return the camera matrices (m, 3, 3) of images that were stretched to (h, w), one a sample."""
    scales = np.array([[image_px[1] / sample.width, image_px[0] / sample.height, 1.0] for sample in samples])
    return np.asarray(scales[:, :, None] * np.array([sample.intrinsic_px for sample in samples], np.float64).reshape(-1, 3, 3))


def seconds_from_newest(clip: Clip) -> list[float]:
    """Return the time of each frame after the newest one, seconds; 0 or negative."""
    return [1e-6 * (moment.time_us - clip.moments[0].time_us) for moment in clip.moments]


def key_from_rigs(clip: Clip) -> NDArray[np.float64]:
    """Return the poses (t, 4, 4) of the rigs in the rig frame of the newest one."""
    world_from_rig = np.stack([moment.world_from_rig for moment in clip.moments])
    key_from_world = world_from_rig[0, :3, :3].T
    key_from_rigs = np.tile(np.eye(4), (len(clip.moments), 1, 1))
    key_from_rigs[:, :3, :3] = key_from_world @ world_from_rig[:, :3, :3]
    # subtracted before it is turned, so that the newest one comes out exactly where it is
    key_from_rigs[:, :3, 3] = (world_from_rig[:, :3, 3] - world_from_rig[0, :3, 3]) @ key_from_world.T
    return key_from_rigs


def _float32(values: Sequence[object]) -> torch.Tensor:
    return torch.from_numpy(np.array(values, np.float32))
