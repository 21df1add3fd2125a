"""What ``depthmill predict`` writes with a detector: KITTI's result files, and pictures.

Writes <out>/data/<frame>.txt, which appear when all frames are done, and <out>/pictures/<frame>.jpg
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.frame_names import NamedFrame, frames_of_split, named_frames
from model.data.objects import Objects
from model.devices import network_device
from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.detection_frames import Detected, frame_of, picture_of
from model.monoddle.evaluation import Inference, detect, result_names
from model.monoddle.image_folder import find_calibrated_images, read_calibrated_images
from model.monoddle.kitti_files import write_results
from model.monoddle.net import MonoDdle
from model.monoddle.predict import ImageFrame, detect_images
from model.train.config import Machine
from model.train.family_types import Draw, OpenedNetwork, choice_of
from model.train.result_files import check_out, put_file
from storage_schemas.errors import ManifestError
from storage_schemas.manifest import Manifest

DATA_FOLDER, PICTURES_FOLDER = "data", "pictures"

Detector = OpenedNetwork[MonoDdleTrainConfig]


def detector_of(opened: Detector) -> MonoDdle:
    """Return the network of an opened detector."""
    assert isinstance(opened.network, MonoDdle)
    return opened.network


def predict_image(opened: Detector, image_u8: NDArray[np.uint8], projection: NDArray[np.float64]) -> Objects:
    """Find the objects of one image (h, w, 3) RGB with its projection (3, 4); on the network's device."""
    network = detector_of(opened)
    device = next(network.parameters()).device
    inference = _inference(opened, device, with_uncertainty=False)
    (answer,) = detect_images(network, [ImageFrame("image", image_u8, projection)], inference)
    return answer.detections[0]


def predict_folder(opened: Detector, images: Path, out: Path, *, draw: Draw | None, machine: Machine) -> int:
    """Find the objects of a folder's images; see ``image_folder`` for what it holds.

    Returns:
        Frames written.

    Raises:
        RecipeError: pictures are wanted of an image that is not there.
        SourceError: no image, or an image or calibration that is missing or broken.
        StoreError: ``out`` is not empty or cannot be written.
    """
    check_out(out)
    files = find_calibrated_images(images)
    there = [NamedFrame(image.name, "", "") for image in files]
    drawn = named_frames(choice_of(draw).frames, there, split="", where=f"folder '{images}'")
    network, device = detector_of(opened), network_device(machine.accelerator)
    inference = _inference(opened, device, with_uncertainty=draw is not None and network.config.uncertainty)
    frames = detect_images(network.to(device), read_calibrated_images(files), inference)
    return _write_found(frames, {image.name: image.name for image in files}, out, draw=draw, only=drawn)


def predict_split(opened: Detector, manifest: Manifest, out: Path, *, split: str, draw: Draw | None, machine: Machine) -> int:
    """Find the objects of every frame of a split, annotated or not.

    Returns:
        Frames written.

    Raises:
        RecipeError: pictures are wanted of a frame that is not there.
        ManifestError: the split does not exist or is empty, or frames lack images or boxes (which hold the projection).
        StoreError: ``out`` is not empty or cannot be written.
    """
    check_out(out)
    if split not in ("train", "val", "test"):
        raise ManifestError(f"split '{split}' does not exist; expected train, val or test")
    drawn = frames_of_split(choice_of(draw).frames, manifest, split=split)
    rows = [row for row in manifest.rows() if row["split"] == split]
    keys = [row["frame_key"] for row in rows]
    names = dict(zip(keys, result_names(keys, [row["sample_token"] for row in rows]), strict=True))
    frames = detected(opened, manifest, machine, split=split, with_maps=draw is not None)
    return _write_found(frames, names, out, draw=draw, only=drawn)


def detected(opened: Detector, manifest: Manifest, machine: Machine, *, split: str, with_maps: bool = True) -> Iterator[Detected]:
    """Yield what a detector finds in the frames of a split, batch by batch.

    Args:
        opened: the detector.
        manifest: the pinned data.
        machine: where and how fast.
        split: train, val or test.
        with_maps: deliver what pictures show besides: the teacher's map and the uncertainty head.
    """
    network, device = detector_of(opened), network_device(machine.accelerator)
    has_teacher = all(row["unit_depth_mono"] is not None for row in manifest.rows() if row["split"] == split)
    return detect(
        network.to(device),
        manifest,
        _inference(opened, device, with_uncertainty=with_maps and network.config.uncertainty),
        split=split,
        with_teacher=with_maps and has_teacher and opened.config.data.mono,
        machine=machine,
    )


def _inference(opened: Detector, device: torch.device, *, with_uncertainty: bool) -> Inference:
    config = opened.config
    return Inference(device, config.evaluation.score_threshold, with_uncertainty)


def _write_found(
    frames: Iterator[Detected], names: Mapping[str, str], out: Path, *, draw: Draw | None, only: Collection[str]
) -> int:
    """Write result files of all frames, and pictures of ``only`` these, or of all if it is empty; return how many frames."""
    results: dict[str, Objects] = {}
    for answer in frames:
        for i, key in enumerate(answer.batch.frame_keys):
            results[names[key]] = answer.detections[i]
            if draw is not None and (not only or key in only):
                put_file(out / PICTURES_FOLDER / f"{names[key]}.jpg", draw(frame_of(key, picture_of(answer, i))))
    write_results(out / DATA_FOLDER, results)
    return len(results)
