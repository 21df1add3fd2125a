from __future__ import annotations

import numpy as np
import pytest
import torch

from model.data.ordered_loader import HERE
from model.families import evaluate_training, load_network, train
from model.mim4d.batch import views_of
from model.train.loop import read_training
from model.uvtr.batch import KeyFrameBatch
from model.uvtr.data import KeyFrameLoader, measured_key_frames
from model.uvtr.detect import look_at_split
from model.uvtr.evaluation import read_metric, read_segmentation
from model.uvtr.key_frames import choose_key_frames
from model.uvtr.net import Uvtr
from storage_schemas.errors import ManifestError
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.model.train.made_up_training import CPU, check_resumed, steps
from tests.model.uvtr.small_training import small_training

WHOLE = {"network": {"num_frames": 2, "segmentation": {"enabled": True, "width": 16}}}
"""Every part of the network that is off by default."""


def batch_of(manifest, config, *, epoch: int = 0) -> KeyFrameBatch:
    with KeyFrameLoader(manifest, config.data, config.network) as loader:
        loader.set_epoch(epoch)
        return next(iter(loader))


@pytest.mark.parametrize(
    "changes", [{}, {**WHOLE, "network": {**WHOLE["network"], "head": "queries"}}], ids=["centres", "queries"]
)
def test_training_when_stopped_and_resumed_with_a_worker_then_the_same_weights(objects_manifest, tmp_path, changes):
    config = small_training(**changes, evaluate_every_epochs=2 / 3)  # every second step: a stop in between repeats one
    assert check_resumed(config, objects_manifest, tmp_path, stop_at=3) == [3, 4]
    rows = steps(tmp_path / "whole")
    assert len(rows) == 4 and all(float(row["loss"]) > 0 and float(row["box"]) > 0 for row in rows)
    assert all((row["segmentation"] == "nan" or row["segmentation"] == "") != bool(changes) for row in rows)


def test_training_when_evaluated_then_tables_results_and_a_record(objects_manifest, tmp_path):
    config = small_training(max_steps=2, **WHOLE)
    words: list[str] = []
    train(
        config,
        objects_manifest,
        tmp_path,
        machine=CPU,
        on_progress=lambda p: words.extend([p.losses_text, p.measured_text or ""]),
    )
    assert words[-1].startswith("validation AP of present classes at 2 and 4 m ") and "vehicles on the ground IoU" in words[-1]
    assert words[-2].startswith("class ") and ", box " in words[-2] and "vehicles on the ground" in words[-2]
    evaluate_training(config, objects_manifest, tmp_path, machine=CPU)
    rows = {row.name: row for row in read_metric(tmp_path / "evaluation")}
    assert rows["car"].num_truth == 6 and rows["pedestrian"].num_truth == 0
    assert read_segmentation(tmp_path / "evaluation").num_cells == 3 * 102 * 102
    record = read_training(tmp_path)
    assert record["config"]["family"] == "uvtr" and record["val_frames"] == 3 and record["train_frames"] == 3
    network = load_network(tmp_path / "best.pt")
    assert isinstance(network, Uvtr) and network.config == config.network and not network.training


def test_key_frames_when_read_then_images_poses_and_objects_belong_together(objects_manifest):
    config = small_training(network={"num_frames": 2})
    frames = choose_key_frames(objects_manifest, config.data, num_frames=2)
    assert frames.cameras == ("CAM_FRONT", "CAM_BACK") and len(frames.frames) == 3
    with measured_key_frames(objects_manifest, config, placement=HERE) as loader:
        batches = list(loader)
    assert [len(batch.targets.boxes) for batch in batches] == [2, 2, 2]
    first, second = batches[:2]
    assert first.image_u8.shape == (1, 2, 2, 32, 64, 3) and torch.equal(first.image_u8[0, 0], first.image_u8[0, 1])
    assert first.time_s.tolist() == [[0.0, 0.0]] and second.time_s.tolist() == [[0.0, -0.5]]
    assert torch.equal(second.image_u8[0, 1], first.image_u8[0, 0])
    # objects of the key frame, in its rig frame: moved to the world they are where the one before has them, but for their motion
    for batch in batches:
        objects, boxes = batch.objects[0], batch.targets.boxes
        assert np.allclose(boxes[:, :3].numpy(), objects.centers_m, atol=1e-4)
    parked = [batch.objects[0].centers_m[np.argmin(np.abs(batch.objects[0].velocities_mps[:, 0]))] for batch in batches]
    poses = [batch.key_poses[0] for batch in batches]
    in_world = [pose[:3, :3] @ place + pose[:3, 3] for pose, place in zip(poses, parked, strict=True)]
    assert np.ptp(in_world, axis=0).max() < 1e-6
    moved = second.world_from_rig[0, 1].double().numpy() @ np.append(parked[0], 1.0)
    assert np.allclose(moved[:3], parked[1], atol=1e-3)


def test_training_batches_when_drawn_then_the_world_is_moved_and_pixels_are_not(objects_manifest):
    config = small_training(data={"augment": {"max_turn_deg": 20}}, network={"num_frames": 2, "segmentation": {"enabled": True}})
    one, other = (batch_of(objects_manifest, config, epoch=epoch) for epoch in (0, 0))
    assert torch.equal(one.targets.boxes, other.targets.boxes) and torch.equal(one.cam_from_rig, other.cam_from_rig)
    still = one.objects[0].centers_m
    assert not np.allclose(one.targets.boxes[:, :3].numpy(), still[: len(one.targets.boxes)], atol=1e-2)
    assert one.is_covered.shape == (1, 102, 102) and one.is_covered.any()
    # what a camera sees of a moved centre is what it saw of the centre
    seen = one.cam_from_rig[0, 0, 0].double() @ torch.cat((one.targets.boxes[0, :3], torch.ones(1))).double()
    data = config.data.model_copy(
        update={"augment": config.data.augment.model_copy(update={"max_turn_deg": 0.0, "max_scale": 0.0})}
    )
    resting = batch_of(objects_manifest, config.model_copy(update={"data": data}))
    assert resting.frame_keys == one.frame_keys
    before = resting.cam_from_rig[0, 0, 0].double() @ torch.cat((resting.targets.boxes[0, :3], torch.ones(1))).double()
    assert torch.allclose(seen, before, atol=1e-3)


def test_objects_when_without_returns_or_of_other_classes_or_outside_then_not_learned(objects_manifest):
    config = small_training()
    frame = choose_key_frames(objects_manifest, config.data, num_frames=1).frames[0]
    assert len(frame.objects) == 2
    pedestrians = small_training(network={"classes": ("pedestrian",)})
    assert len(batch_of(objects_manifest, pedestrians).targets.boxes) == 0
    near = {**small_training().network.lift.model_dump(), "high_m": (20.0, 25.6, 3.0)}
    with measured_key_frames(objects_manifest, small_training(network={"lift": near}), placement=HERE) as loader:
        assert {len(batch.targets.boxes) for batch in loader} <= {0, 1, 2}


def test_past_when_the_vehicle_moves_then_it_is_warped_and_changes_what_is_found(objects_manifest):
    torch.manual_seed(0)
    config = small_training(network={"num_frames": 2})
    network = Uvtr(config.network).eval()
    with measured_key_frames(objects_manifest, config, placement=HERE) as loader:
        views = [views_of(batch) for batch in loader][1]
    with torch.no_grad():
        volume = network.volume(views)
        alone = network.volume(views._replace(image=views.image[:, :1].expand_as(views.image).contiguous()))
    assert volume.shape == (1, 16, 5, 8, 8) and not torch.equal(volume, alone)


def test_split_when_looked_at_then_every_key_frame_once_and_the_mode_stays(objects_manifest):
    config = small_training()
    network = Uvtr(config.network).train()
    looked = list(look_at_split(network, objects_manifest, config, CPU, torch.device("cpu")))
    assert network.training and len({one.batch.frame_keys for one in looked}) == 3
    for one in looked:
        assert one.segmentation is None and len(one.found) > 0 and (np.diff(one.found.scores) <= 0).all()
        assert set(one.found.labels) <= {0, 8}  # car and pedestrian in CLASSES


def test_manifest_when_it_lacks_objects_or_cameras_then_says_how_to_get_them(objects_manifest, tiny_store):
    config = small_training()
    with pytest.raises(ManifestError, match="has no windows. Set stages.index_windows.enabled to true"):
        KeyFrameLoader(open_manifest(Store(str(tiny_store))), config.data, config.network)
    absent = config.data.model_copy(update={"cameras": ("CAM_LEFT",)})
    with pytest.raises(ManifestError, match="camera 'CAM_LEFT' has no frame in split 'train'"):
        KeyFrameLoader(objects_manifest, absent, config.network)
