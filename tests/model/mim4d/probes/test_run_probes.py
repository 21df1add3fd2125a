from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from model.mim4d.batch import ClipBatch
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.net import Mim4d
from model.mim4d.probes import linear_probe
from model.mim4d.probes import run_probes as run_probes_module
from model.mim4d.probes.frozen_networks import FrozenFrame, frozen, probed_level
from model.mim4d.probes.occupancy_truth import occupied_voxels
from model.mim4d.probes.probe_files import (
    PROBES_FILE,
    ProbeResults,
    as_json,
    has_probes,
    probe_table,
    probes_are_due,
    read_probes,
    write_probes,
)
from model.mim4d.probes.run_probes import run_probes
from storage_schemas.errors import ManifestError, StoreError
from tests.model.mim4d.made_up_clips import GROUND_M, small_clip, small_network

TRAIN, VAL = [small_clip(seed, num_frames=2) for seed in range(4)], [small_clip(seed, num_frames=2) for seed in range(9, 11)]


def config_of(**probe: Any) -> Mim4dTrainConfig:
    return Mim4dTrainConfig(network=small_network(num_frames=2), probe={"steps": 40, **probe})


def network_of(seed: int) -> Mim4d:
    torch.manual_seed(seed)
    return frozen(Mim4d(small_network(num_frames=2)))


def probed(networks: dict[str, Mim4d], train: list[ClipBatch] = TRAIN, val: list[ClipBatch] = VAL, **probe: Any) -> ProbeResults:
    return run_probes(networks, config_of(**probe), learn_from=iter(train), num_clips=len(train), measure_on=iter(val))


@pytest.fixture(scope="module")
def found() -> ProbeResults:
    return probed({"trained": network_of(1), "random": network_of(0)})


def test_probes_when_run_then_every_kind_of_features_on_the_same_points(found):
    whole = [row for row in found.depth if row.range_m == "all"]
    assert [row.features for row in whole] == ["trained", "random", "row_median", "median"]
    assert len({row.num_points for row in whole}) == 1 and whole[0].num_points > 50
    assert len({row.abs_rel for row in whole}) == 4 and all(0 < row.abs_rel < 5 and 0 <= row.delta1 <= 1 for row in whole)
    assert [row.features for row in found.occupancy] == ["trained", "random", "voxel_frequency"]
    assert len({(row.num_voxels, row.num_occupied) for row in found.occupancy}) == 1
    assert all(0 < row.iou <= 1 and 0 < row.average_precision <= 1 for row in found.occupancy)
    about = found.about
    assert (about.num_train_clips, about.num_clips, about.stride_px, about.train_split, about.split) == (4, 2, 8, "train", "val")
    # what needs no learning is known from the points alone
    assert whole[2].abs_rel < whole[3].abs_rel  # of a plane, the row tells the depth


def knowing_frame(batch: ClipBatch) -> FrozenFrame:
    """Features that hold how deep the ground is in each cell, and which voxels are occupied."""
    focal_px, middle_px, height_m = float(batch.intrinsics[0, 0, 0, 1, 1]), 16.0, -0.2 - GROUND_M
    below_px = torch.arange(4) * 8.0 + 4.0 - middle_px
    depth_m = torch.where(below_px > 0, focal_px * height_m / below_px.clamp(min=1.0), 32.0)
    grid = small_network().lift.grid
    level = torch.stack([depth_m, depth_m.log()])[None, :, :, None].expand(3, 2, 4, 8)
    return FrozenFrame(level, occupied_voxels(batch, grid).float().view(1, *grid.shape_zyx))


def test_probes_when_features_hold_the_truth_then_it_is_found_where_it_is_and_not_in_noise(monkeypatch):
    generator = torch.Generator().manual_seed(0)

    def frames(self, batch: ClipBatch) -> dict[str, FrozenFrame]:
        known = knowing_frame(batch)
        noise = FrozenFrame(*(torch.randn(one.shape, generator=generator) for one in known))
        return {"trained": known, "random": noise}

    monkeypatch.setattr(run_probes_module._Probes, "frames", frames)
    found = probed({"trained": network_of(1), "random": network_of(0)}, steps=200, learning_rate=0.2)
    known, noise = found.occupancy_of("trained"), found.occupancy_of("random")
    assert known is not None and noise is not None
    assert known.iou > 0.99 and known.average_precision > 0.99 and noise.iou < 0.5
    ground, nothing = found.depth_of("trained"), found.depth_of("random")
    assert ground is not None and nothing is not None and ground.delta1 > 2 * nothing.delta1


def test_probes_when_run_twice_then_the_same_numbers(found):
    assert as_json(probed({"trained": network_of(1), "random": network_of(0)})) == as_json(found)


def test_probes_when_held_out_points_of_training_clips_change_then_depth_does_not():
    moved = [replace(one, points=torch.where(one.is_held_out[:, None], one.points + 0.7, one.points)) for one in TRAIN]
    networks = {"trained": network_of(1)}
    assert probed(networks, moved).depth == probed(networks).depth
    shifted = [replace(one, points=one.points + 0.7) for one in TRAIN]
    assert probed(networks, shifted).depth != probed(networks).depth


def test_probes_when_memory_is_short_then_fewer_rows_and_still_a_result(monkeypatch, found):
    monkeypatch.setattr(linear_probe, "MEMORY_BYTES", 4 * 4 * 18 * 20)  # 20 rows of 16 channels of each of 4 clips
    few = probed({"trained": network_of(1), "random": network_of(0)})
    assert few.about.num_train_points == 80 < found.about.num_train_points
    assert [row[:3] for row in few.depth] == [row[:3] for row in found.depth]


def test_networks_when_probed_then_nothing_of_them_changes():
    network = network_of(1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    probed({"trained": network})
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not network.training and not any(one.requires_grad for one in network.parameters())


def test_level_when_the_pyramid_has_none_of_stride_8_then_the_finest():
    assert probed_level(small_network().lift) == (0, 8)
    assert probed_level(small_network(lift={"first_level": 0}).lift) == (1, 8)
    assert probed_level(small_network(lift={"kind": "splat", "first_level": 3, "num_extra_levels": 0}).lift) == (0, 32)


def test_probes_when_there_is_nothing_to_learn_from_or_to_measure_on_then_said():
    networks = {"trained": network_of(1)}
    without = [replace(one, is_held_out=torch.ones_like(one.is_held_out)) for one in TRAIN]
    with pytest.raises(ManifestError, match="4 clips of split 'train' have 0 LiDAR points in the key frame's images"):
        probed(networks, without)
    without = [replace(one, is_held_out=torch.zeros_like(one.is_held_out)) for one in VAL]
    with pytest.raises(
        ManifestError, match=r"2 clips of split 'val' have no LiDAR point that is held out.*train.probe.steps to 0"
    ):
        probed(networks, val=without)


def test_probes_when_written_then_read_back_and_due_again_with_other_settings(found, tmp_path):
    config = config_of()
    assert probes_are_due(config, tmp_path) and not has_probes(tmp_path)
    write_probes(tmp_path, found)
    assert read_probes(tmp_path) == found and has_probes(tmp_path)
    assert not probes_are_due(config, tmp_path)
    assert probes_are_due(config_of(clips=3), tmp_path)
    assert not probes_are_due(config_of(steps=0), tmp_path)
    table = (tmp_path / "probe" / "table.md").read_text()
    assert table == f"probes of {tmp_path.name}\n\n{probe_table(found)}\n"
    row = found.depth_of("row_median")
    assert row is not None and f"| row_median | {row.abs_rel:.3f} | {row.rmse_m:.2f} |" in table
    frequency = found.occupancy_of("voxel_frequency")
    assert frequency is not None and f"| voxel_frequency | {frequency.iou:.3f} |" in table
    assert "learned on 4 clips of train" in table and "| AbsRel at m | 0-10 | 10-20 |" in table
    assert found.depth_of("imagenet") is None


def test_probes_when_missing_or_damaged_then_the_file_and_the_remedy(found, tmp_path):
    with pytest.raises(StoreError, match=r"holds no probes \(probe/probes.json is missing\). Run depthmill train"):
        read_probes(tmp_path)
    write_probes(tmp_path, found)
    path = tmp_path / "probe" / PROBES_FILE
    for text in ("{", "[]", json.dumps({**as_json(found), "about": {"steps": 1}})):
        path.write_text(text)
        with pytest.raises(StoreError, match=r"probes.json' cannot be read: .*Delete it, then run depthmill train again"):
            read_probes(tmp_path)


def test_settings_when_changed_then_the_training_keeps_its_name():
    first, second = config_of(), config_of(steps=7)
    assert first.fingerprint("m") == second.fingerprint("m")
    assert "probe" not in first.model_dump(mode="json")
