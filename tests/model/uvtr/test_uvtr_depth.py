"""Depth of image cells from a LiDAR sweep: what is delivered, its loss by hand, and that it teaches the distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.data.points import FramePoints
from model.families import train
from model.mim4d.depth_head import DepthBins
from model.uvtr.data import KeyFrameLoader
from model.uvtr.depth_truth import depth_loss, nearest_in_cells
from model.uvtr.key_frames import choose_key_frames
from storage_schemas.errors import ManifestError
from tests.model.blocks.threads_as_processes import each_of
from tests.model.train.made_up_training import CPU, steps
from tests.model.uvtr.small_training import small_training

BINS = DepthBins(0.0, 8.0, 4)


def points(*triples: tuple[int, int, float]) -> FramePoints:
    row, column, depth_m = zip(*triples, strict=True)
    return FramePoints(np.array(row, np.int16), np.array(column, np.int16), (np.array(depth_m) * 256).astype(np.uint16))


def test_cells_when_several_pixels_lie_in_one_then_the_nearest_counts_and_others_are_none():
    found = nearest_in_cells(
        points((0, 0, 9.0), (7, 15, 5.0), (8, 0, 4.0), (29, 59, 2.5)), image_px=(30, 60), network_px=(16, 32), stride=8
    )
    # rows 0 to 14 and columns 0 to 14 of the image are the first cell; (8, 0) lies in it, (7, 15) does not
    assert found.tolist() == [[4.0, 5.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.5]]
    assert nearest_in_cells(points((15, 14, 1.0)), image_px=(30, 60), network_px=(16, 32), stride=8)[1, 0] == 1.0
    assert nearest_in_cells(points((0, 0, 1.0)), image_px=(30, 60), network_px=(15, 31), stride=8).shape == (2, 4)


def chances(*shape: int, fill: float = 0.25) -> torch.Tensor:
    return torch.full(shape, fill, requires_grad=True)


def test_loss_when_nothing_is_known_then_log_of_the_bins_and_zero_where_nothing_was_measured():
    nearest_m = torch.tensor([[[[1.0, 0.0], [0.0, 7.9]]]])
    levels = [chances(1, 1, 4, 2, 2), chances(1, 1, 4, 1, 1)]
    loss = depth_loss(levels, nearest_m, bins=BINS)
    assert float(loss.detach()) == pytest.approx(math.log(4))
    loss.backward()
    # -1 / (p count levels) at the bins of the measured cells, 0 and 3, and of the nearest of all, 0
    assert levels[0].grad[0, 0, :, 0, 0].tolist() == [-1.0, 0, 0, 0] and levels[0].grad[0, 0, 3, 1, 1] == -1.0
    assert not levels[0].grad[0, 0, :, 0, 1].any()
    assert levels[1].grad.flatten().tolist() == [-2.0, 0, 0, 0]
    for none in (torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 8.0)):  # not measured, and beyond the bins
        level = chances(1, 1, 4, 2, 2)
        loss = depth_loss([level], none, bins=BINS)
        loss.backward()
        assert float(loss.detach()) == 0 and not level.grad.any()


def test_loss_when_two_processes_share_a_batch_then_the_gradient_is_that_of_one():
    nearest_m = torch.tensor([[[[1.0, 3.0], [5.0, 0.0]]], [[[0.0, 0.0], [0.0, 7.0]]]])
    together = chances(2, 1, 4, 2, 2)
    depth_loss([together], nearest_m, bins=BINS).backward()
    apart = [chances(1, 1, 4, 2, 2), chances(1, 1, 4, 2, 2)]
    losses = each_of(
        [0, 1],
        lambda rank, processes: depth_loss(
            [apart[rank]], nearest_m[rank : rank + 1], bins=BINS, mean_over_processes=processes.mean
        ),
    )
    for loss in losses:
        loss.backward()
    mean_of_gradients = torch.cat([level.grad for level in apart]) / 2
    assert torch.allclose(mean_of_gradients, together.grad)


def test_batch_when_depth_is_learned_then_it_is_that_of_the_newest_images_sweeps(objects_manifest):
    config = small_training(network={"num_frames": 2}, data={"batch_size": 2, "order": "manifest"})
    with KeyFrameLoader(objects_manifest, config.data, config.network, with_depth=True) as loader:
        batch = next(iter(loader))
    assert batch.nearest_m is not None and tuple(batch.nearest_m.shape) == (2, 2, 4, 8)
    frames = choose_key_frames(objects_manifest, config.data, num_frames=2, with_depth=True).frames
    for number, frame in enumerate(frames[:2]):
        for camera, sample in enumerate(frame.clip.moments[0].samples):
            steps_ = objects_manifest.store.open_unit(sample.units["depth_single"]).array("depth_m", sample.frame)
            height, width = steps_.shape
            row, column = np.nonzero(steps_)
            cells = np.full((4, 8), np.inf)
            at = ((row + 0.5) / height * 4).astype(int), ((column + 0.5) / width * 8).astype(int)
            np.minimum.at(cells, at, steps_[row, column] / 256)
            expected = np.where(np.isfinite(cells), cells, 0).astype(np.float32)
            assert expected.any() and np.array_equal(batch.nearest_m[number, camera].numpy(), expected)
    with KeyFrameLoader(objects_manifest, config.data, config.network) as loader:
        assert next(iter(loader)).nearest_m is None


def test_training_when_a_sweep_teaches_depth_then_its_loss_falls_and_is_told(objects_manifest, tmp_path):
    config = small_training(loss={"depth_weight": 2.0}, max_steps=30, learning_rate=3e-3, evaluate_every_epochs=100.0)
    words: list[str] = []
    train(config, objects_manifest, tmp_path, machine=CPU, on_progress=lambda p: words.append(p.losses_text))
    rows = [float(row["depth"]) for row in steps(tmp_path)]
    assert rows[0] == pytest.approx(2 * math.log(8), rel=0.3)
    assert np.mean(rows[-3:]) < 0.7 * np.mean(rows[:3])
    assert ", depth " in words[-1]


def test_depth_when_the_manifest_has_none_then_said_before_the_training(objects_manifest, tmp_path, monkeypatch):
    config = small_training(loss={"depth_weight": 1.0})
    rows = [{**row, "unit_depth_single": None} for row in objects_manifest.rows()]
    monkeypatch.setattr(type(objects_manifest), "rows", lambda _: rows)
    with pytest.raises(ManifestError, match="has no depth_single in manifest"):
        train(config, objects_manifest, tmp_path, machine=CPU)
