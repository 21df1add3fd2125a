"""What ``depthmill predict`` writes with a detector of all cameras: a result file of the nuScenes detection task, and pictures.

Writes <out>/results_nuscenes.json when all key frames are done, and <out>/pictures/<sample token>.jpg
"""

from __future__ import annotations

from pathlib import Path

from model.devices import network_device
from model.train.config import Machine
from model.train.family_types import Draw, OpenedNetwork
from model.train.result_files import check_out, put_file
from model.uvtr.config import UvtrTrainConfig
from model.uvtr.detect import look_at_split
from model.uvtr.evaluation import PICTURES_FOLDER, RESULTS_FILE, TruthFrame, refuse_repeated_tokens
from model.uvtr.key_frame_pictures import KeyFrameLidar
from model.uvtr.measured_split import picture_of, truth_of
from model.uvtr.nuscenes_results import results_as_json, with_distinct_scores
from model.uvtr.world_boxes import detected_in_world
from storage_schemas.manifest import Manifest


def predict_split(
    opened: OpenedNetwork[UvtrTrainConfig], manifest: Manifest, out: Path, *, split: str, draw: Draw | None, machine: Machine
) -> int:
    """Find the objects of every key frame of a split.

    Returns:
        Key frames written.

    Raises:
        ManifestError: the split is empty, frames lack a store, or two key frames have one name.
        ResultFileError: a detection has numbers that are not finite; then there is no result file.
        StoreError: ``out`` is not empty or cannot be written.
    """
    check_out(out)
    device = network_device(machine.accelerator)
    chosen = opened.config.evaluation.model_copy(update={"split": split})
    config = opened.config.model_copy(update={"evaluation": chosen})
    frames, found, lidar = list[TruthFrame](), [], KeyFrameLidar(manifest)
    for looked in look_at_split(opened.network.to(device), manifest, config, machine, device):
        frame = truth_of(looked)
        frames.append(frame)
        found.append(looked.found)
        if draw is not None:
            put_file(out / PICTURES_FOLDER / f"{frame.sample_token}.jpg", draw(picture_of(looked, lidar, config.network.ground)))
    refuse_repeated_tokens(frames)
    distinct = with_distinct_scores(found).frames
    boxes = {
        frame.sample_token: detected_in_world(of_frame, frame.world_from_rig)
        for frame, of_frame in zip(frames, distinct, strict=True)
    }
    put_file(out / RESULTS_FILE, results_as_json(boxes))
    return len(frames)
