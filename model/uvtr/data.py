"""Key frames of a pinned manifest in batches, with the objects that are learned; order and resuming are ``ordered_loader``'s."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.dataset import Filled
from model.data.ordered_loader import HERE, OrderedLoader, Placement, share_of
from model.mim4d.data import key_from_rigs, scaled_intrinsics, seconds_from_newest
from model.uvtr.batch import BoxTargets, KeyFrameBatch, boxes_of
from model.uvtr.bev_augment import TO_LIDAR, BevAugment, Moves, draw_bev_augment
from model.uvtr.config import KeyFrameDataConfig, UvtrTrainConfig
from model.uvtr.key_frames import KeyFrame, choose_key_frames
from model.uvtr.network_config import UvtrConfig
from model.uvtr.objects import FrameObjects
from model.uvtr.reader import NEAREST, KeyFrameReading, key_frame_slots
from model.uvtr.segmentation_truth import vehicles_on_ground
from storage_schemas.manifest import Manifest


class KeyFrameLoader(OrderedLoader[KeyFrameBatch]):
    """Iterates over one epoch, or what is left of it, at a time; then the next epoch begins.

    Args:
        manifest: an opened manifest; its fingerprint is part of the state.
        config: what to read.
        network: options of the network, which decide sizes, classes and how far back is looked.
        placement: where the loader runs, and how.
        with_depth: deliver how near the cells of the images are, too.

    Raises:
        ManifestError: nothing to read, frames that lack a store, no key frame with all cameras, or fewer key frames than ranks or
            than one step takes.
        UnitNotFoundError: a unit of the manifest has been pruned.
        ValueError: rank out of bounds.
    """

    sample_word = "key frame"

    def __init__(
        self,
        manifest: Manifest,
        config: KeyFrameDataConfig,
        network: UvtrConfig,
        *,
        placement: Placement = HERE,
        with_depth: bool = False,
    ) -> None:
        chosen = choose_key_frames(manifest, config, num_frames=network.num_frames, with_depth=with_depth)
        self._frames = tuple(share_of(chosen.frames, config, key=lambda frame: frame.clip.key))
        self._config, self._network, self.cameras = config, network, chosen.cameras
        stride = network.lift.strides[0]
        layout = key_frame_slots(
            config.batch_size,
            num_frames=network.num_frames,
            num_cameras=len(chosen.cameras),
            image_px=network.input_px,
            cell_px=stride if with_depth else None,
        )
        reading = KeyFrameReading(tuple(frame.clip for frame in self._frames), layout, stride)
        # the order asks of a sample only which run of neighbours it belongs to: a key frame's is that of its first image
        samples = [frame.clip.moments[0].samples[0] for frame in self._frames]
        super().__init__(samples, config, manifest=manifest, reading=reading, placement=placement)

    def _batch(self, filled: Filled, memory: torch.Tensor, epoch: int) -> KeyFrameBatch:
        frames = [self._frames[row] for row in filled.rows]
        augments = [self._moves(frame, epoch) for frame in frames]
        both = list(zip(frames, augments, strict=True))
        size, tensors = self._network.input_px, self._layout.tensors(memory, len(frames))
        return KeyFrameBatch(
            frame_keys=tuple(frame.clip.key for frame in frames),
            sample_tokens=tuple(frame.sample_token for frame in frames),
            image_u8=tensors["image"],
            intrinsics=_float32([[scaled_intrinsics(moment.samples, size) for moment in frame.clip.moments] for frame in frames]),
            cam_from_rig=_float32(
                [[augment.cam_from_rig(moment.cam_from_rig) for moment in frame.clip.moments] for frame, augment in both]
            ),
            world_from_rig=_float32([augment.key_from_rig(key_from_rigs(frame.clip)) for frame, augment in both]),
            time_s=_float32([seconds_from_newest(frame.clip) for frame in frames]),
            targets=_targets(both, self._config, self._network),
            objects=[frame.objects for frame in frames],
            key_poses=np.stack([frame.clip.moments[0].world_from_rig for frame in frames]),
            is_covered=_covered(both, self._network) if self._network.segmentation.enabled else None,
            nearest_m=tensors.get(NEAREST),
        )

    def _moves(self, frame: KeyFrame, epoch: int) -> Moves:
        config = self._config
        to_frame = (TO_LIDAR,) if self._network.frame == "lidar" else ()
        if config.order != "shuffled":
            return Moves(to_frame)
        drawn = draw_bev_augment(config.augment, seed=config.seed, epoch=epoch, key=frame.clip.key)
        return Moves((*to_frame, drawn))


def measured_key_frames(manifest: Manifest, config: UvtrTrainConfig, *, placement: Placement) -> KeyFrameLoader:
    """Return a loader of every key frame of the evaluation's split, in the manifest's order, in batches of one, nothing moved."""
    changed = {"split": config.evaluation.split, "batch_size": 1, "order": "manifest"}
    return KeyFrameLoader(manifest, config.data.model_copy(update=changed), config.network, placement=placement)


def is_learned(frame: KeyFrame, config: KeyFrameDataConfig, network: UvtrConfig) -> NDArray[np.bool_]:
    """Say which objects (n,) of a key frame are learned wherever they are: those of the network's classes, with a return."""
    learned = np.isin(frame.objects.labels, network.labels)
    return learned & frame.objects.has_returns if config.without_returns == "leave_out" else learned


def _targets(frames: Sequence[tuple[KeyFrame, Moves]], config: KeyFrameDataConfig, network: UvtrConfig) -> BoxTargets:
    """Return the objects that are learned, moved; those whose centre is then outside of the voxels, seen from above, are not."""
    low, high = (torch.tensor(corner[:2]) for corner in (network.lift.low_m, network.lift.high_m))
    class_of = {label: number for number, label in enumerate(network.labels)}
    parts = []
    for number, (frame, augment) in enumerate(frames):
        objects = frame.objects.where(is_learned(frame, config, network))
        boxes = augment.boxes(boxes_of(objects))
        inside = ((boxes[:, :2] > low) & (boxes[:, :2] < high)).all(dim=1)
        classes = torch.tensor([class_of[int(label)] for label in objects.labels], dtype=torch.int64)
        parts.append(BoxTargets(boxes[inside], classes[inside], torch.full((int(inside.sum()),), number)))
    return BoxTargets(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _covered(frames: Sequence[tuple[KeyFrame, Moves]], network: UvtrConfig) -> torch.Tensor:
    """Return which cells of the ground vehicles cover, moved (b, rows, columns)."""
    moved = [moved_objects(frame.objects, augment) for frame, augment in frames]
    return torch.from_numpy(np.stack([vehicles_on_ground(objects, network.ground) for objects in moved]))


def moved_objects(objects: FrameObjects, augment: BevAugment | Moves) -> FrameObjects:
    """Return annotated objects moved as boxes are; racks stay."""
    boxes = augment.boxes(boxes_of(objects)).double().numpy()
    return replace(
        objects,
        centers_m=boxes[:, :3],
        sizes_wlh_m=boxes[:, 3:6],
        yaws_rad=boxes[:, 6],
        velocities_mps=boxes[:, 7:9],
    )


def _float32(values: Sequence[object]) -> torch.Tensor:
    return torch.from_numpy(np.array(values, np.float32))
