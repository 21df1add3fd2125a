"""Measure a network, or a result file, on a split of a manifest.

Reads   a pinned manifest
Writes  nothing: returns ``BoxEvaluation``
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from model.train.config import Machine
from model.train.kept_frames import KeptFrames
from model.uvtr.config import UvtrTrainConfig
from model.uvtr.detect import LookedAt, look_at_split
from model.uvtr.detections import Detections
from model.uvtr.evaluation import BoxEvaluation, TruthFrame, evaluate_boxes, evaluate_detections, segmentation_row
from model.uvtr.key_frame_pictures import NO_CELLS, KeyFrameLidar, PictureFrame, as_boxes, stacked_frames
from model.uvtr.key_frames import choose_key_frames
from model.uvtr.nuscenes_results import num_tied_of, read_results
from model.uvtr.segmentation_truth import CellCounts, GroundGrid, vehicles_on_ground
from storage_schemas.manifest import Manifest


def measure_split(
    network: nn.Module,
    manifest: Manifest,
    config: UvtrTrainConfig,
    machine: Machine,
    device: torch.device,
    *,
    official: bool,
    num_pictures: int,
) -> BoxEvaluation:
    """Measure a network on the evaluation's split, and leave it in the mode it was in.

    Args:
        network: of this family, on the device.
        manifest: an opened manifest.
        config: of its training; ``evaluation`` says the split.
        machine: where images are, and how many processes read them.
        device: of the network.
        official: ask the devkit for mAP and NDS.
        num_pictures: key frames kept as pictures, spread over the split.

    Raises:
        ManifestError: the split has no key frame, or frames lack a store.
        RecipeError: the devkit is asked for and not installed.
    """
    frames, found, cells = list[TruthFrame](), list[Detections](), CellCounts()
    pictures: KeptFrames[PictureFrame] = KeptFrames(spread=num_pictures)
    lidar, says_cells = KeyFrameLidar(manifest), False
    for looked in look_at_split(network, manifest, config, machine, device):
        frame = truth_of(looked)
        frames.append(frame)
        found.append(looked.found)
        if looked.segmentation is not None:
            says_cells = True
            cells = cells.with_frame(vehicles_on_ground(frame.objects, config.network.ground), looked.segmentation)
        pictures.offer(looked.batch.frame_keys[0], make=partial(picture_of, looked, lidar, config.network.ground))
    evaluation = evaluate_detections(frames, found, official=official)
    evaluation.pictures = stacked_frames([kept.picture for kept in pictures.chosen()])
    evaluation.segmentation = segmentation_row(cells) if says_cells else None
    return evaluation


def truth_of(looked: LookedAt) -> TruthFrame:
    """Return what is annotated at a key frame that was looked at."""
    batch = looked.batch
    return TruthFrame(batch.frame_keys[0], batch.sample_tokens[0], batch.objects[0], batch.key_poses[0])


def picture_of(looked: LookedAt, lidar: KeyFrameLidar, ground: GroundGrid) -> PictureFrame:
    """Return what pictures of a key frame that was looked at are made of."""
    batch = looked.batch
    cam_from_rig = batch.cam_from_rig[0, 0].double().numpy()
    covered = NO_CELLS if looked.segmentation is None else vehicles_on_ground(batch.objects[0], ground)
    return PictureFrame(
        key=batch.frame_keys[0],
        cameras=looked.cameras,
        image_u8=batch.image_u8[0, 0].numpy().copy(),
        intrinsics=batch.intrinsics[0, 0].double().numpy(),
        cam_from_rig=cam_from_rig,
        truth=as_boxes(batch.objects[0]),
        found=looked.found,
        lidar_m=lidar.of(batch.sample_tokens[0], looked.cameras, cam_from_rig),
        covered=covered,
        said_covered=NO_CELLS if looked.segmentation is None else looked.segmentation,
    )


def measure_results(path: Path, manifest: Manifest, config: UvtrTrainConfig, *, split: str) -> BoxEvaluation:
    """Measure a result file of the nuScenes detection task as it is.

    Args:
        path: of the JSON file.
        manifest: an opened manifest, which has the truth.
        config: says the cameras that a key frame must have, and whether the devkit is asked.
        split: train, val or test.

    Raises:
        ResultFileError: the file is broken, or lacks a key frame of the split.
        ManifestError: the split has no key frame, or frames lack a store.
        RecipeError: the devkit is asked for and not installed.
    """
    data = config.data.model_copy(update={"split": split})
    frames = [
        TruthFrame(frame.clip.key, frame.sample_token, frame.objects, frame.clip.moments[0].world_from_rig)
        for frame in choose_key_frames(manifest, data, num_frames=1).frames
    ]
    rigs_m = np.array([frame.world_from_rig[:3, 3] for frame in frames])
    found = read_results(path, [frame.sample_token for frame in frames], rigs_m)
    num_tied = num_tied_of(found)
    return evaluate_boxes(frames, found, official=config.evaluation.official, num_tied=num_tied, were_tied_broken=False)
