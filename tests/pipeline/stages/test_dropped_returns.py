"""Own-car returns and free-space votes as parts of a stage: what a unit counts and says, what is shared, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.lidar_windows import chosen_sweeps
from pipeline.sources.nuscenes.config import NuScenesConfig
from pipeline.sources.nuscenes.source import NuScenesSource
from pipeline.stage import StageInput
from pipeline.stages import accumulate_lidar
from pipeline.stages.accumulate_lidar import scene_points
from storage_schemas.layout import UnitData, rows
from tests.pipeline.kernels.test_accumulate import Reader, keyframe_row, sweep_row
from tests.pipeline.kernels.test_free_space import at_cells, five_with, random_scene
from tests.pipeline.stages.test_several_lidars import LEFT, TOP, columns_of

VOTES = {"offsets": (1, 2), "scouts": (1,), "far_rule": False}


def unit_of(sweeps, sweep_rows, cameras=("CAM_FRONT",), camera="CAM_FRONT", shared=None) -> StageInput:
    keyframes = [keyframe_row(camera=name) for name in cameras]
    tables = {"keyframes": columns_of(keyframes), "sweeps": columns_of(sweep_rows), "boxes": {}}
    return StageInput(
        "scene-x", camera, {"frames": UnitData(tables=tables)}, Reader(sweeps), shared if shared is not None else {}
    )


def five_rows() -> list[dict]:
    return [sweep_row(k, is_keyframe=k == 2) for k in range(5)]


def made(unit: StageInput, **params):
    return accumulate_lidar.kernel(unit, accumulate_lidar.Params(**{"moving": "keep", "num_sweeps": 5, **params}))


def test_unit_counts_and_says_what_each_filter_dropped_and_nothing_of_filters_that_are_off():
    sweeps = five_with({2: at_cells([1080, 1081, 1082], [305] * 3, [10.0, 10.0, 1.0])})
    read = sum(map(len, sweeps))
    off, own, both = (
        made(unit_of(sweeps, five_rows()), **p) for p in ({}, {"own_car_m": 2.5}, {"own_car_m": 2.5, "free_space": VOTES})
    )
    assert set(off.counts) == {"frames", "share_measured", "points_per_frame"}
    assert off.message.endswith("measured")
    assert own.counts["share_own_car"] == 1 / read
    assert "share_free_space" not in own.counts
    assert both.counts["share_free_space"] == 2 / read
    assert both.counts["points_per_frame"] == read - 3
    assert both.message.endswith("measured; returns dropped: 0.00 % of the own car, 0.00 % seen through by other sweeps")


def test_defaults_leave_the_names_of_units_as_they_were():
    assert accumulate_lidar.Params(own_car_m=0.0, free_space=None).model_dump() == accumulate_lidar.Params().model_dump()
    assert not {"own_car_m", "free_space"} & set(accumulate_lidar.Params().model_dump())
    assert accumulate_lidar.Params(free_space={}).model_dump(mode="json")["free_space"]["scouts"] == [5, 20, 50]


@pytest.mark.parametrize("params", [{"own_car_m": 2.5}, {"free_space": {}}])
def test_reference_precision_with_a_new_filter_is_refused_with_a_remedy(params):
    (name,) = params
    said = f"which has no {name}. Set precision: float32, or preset: published and leave them out"
    with pytest.raises(ValidationError, match=said):
        accumulate_lidar.Params(precision="reference", **params)


def test_cameras_of_a_scene_share_the_points_and_each_gets_what_it_gets_alone():
    sweeps, sweep_rows = random_scene(4, 5)
    sweep_rows[2]["is_keyframe"] = True
    cameras, shared = ("CAM_BACK", "CAM_FRONT"), {}
    params = {"own_car_m": 2.5, "free_space": VOTES}
    together = {name: made(unit_of(sweeps, sweep_rows, cameras, name, shared), **params) for name in cameras}
    assert len(shared) == 1
    for name in cameras:
        alone = made(unit_of(sweeps, sweep_rows, cameras, name), **params)
        np.testing.assert_array_equal(alone.data.arrays["depth_m"], together[name].data.arrays["depth_m"])
        assert alone.counts == together[name].counts
    assert alone.counts["share_free_space"] > 0.005


def test_lidars_vote_among_their_own_sweeps_only():
    sweeps, one = random_scene(5, 5)
    others, other = random_scene(6, 5)
    other = [{**row, "channel": LEFT, "file": str(k + 5)} for k, row in enumerate(other)]
    params = {"free_space": VOTES}

    def points_of(choice):
        p = accumulate_lidar.Params(moving="keep", lidar=choice, **params)
        unit = unit_of(sweeps + others, one + other)
        return scene_points(unit, p, chosen_sweeps(unit.sweeps, p.lidar, scene="s").sweeps).groups

    both, first, second = (points_of(choice) for choice in ((TOP, LEFT), TOP, LEFT))
    used = [groups.xyz_m[:, : groups.block_start[-1]] for groups in (both, first, second)]
    np.testing.assert_array_equal(used[0], np.concatenate(used[1:], axis=1))


def test_sweep_that_is_not_handed_over_neither_votes_nor_shows():
    """A held-out sweep: the ghost of sweep 2 is called free by its neighbours only; without them it stays."""
    sweeps = five_with({2: at_cells([700], [305], [10.0])})
    for handed_over, seen_through in (((0, 1, 2, 3, 4), 1), ((0, 2), 0), ((2,), 0)):
        p = accumulate_lidar.Params(moving="keep", free_space=VOTES)
        kept = [row for k, row in enumerate(five_rows()) if k in handed_over]
        assert scene_points(unit_of(sweeps, kept), p, kept).counts.free_space == seen_through


SPEED_MPS = 8.3
CHAIN = 40


@pytest.mark.real_data
def test_own_roof_of_a_real_sweep_smears_along_a_drive_and_is_gone_with_own_car_m(shared, tmp_path):
    """The one real nuScenes sweep, repeated 40 times along a drive at 8.3 m/s: specification of the fault."""
    root = str(shared / "data/nuscenes-keyframe")
    source = NuScenesSource(NuScenesConfig(kind="nuscenes", root=root, version="v1.0-mini"), tmp_path)
    reader = source.reader()
    [scene] = source.scenes()
    tables = reader.scene_tables(scene.name)
    key = next(row for row in rows(tables["sweeps"]) if row["channel"] == TOP)
    forward = forward_of(key)
    chain = []
    for k in range(CHAIN):
        at = np.array(key["world_from_ego_translation_m"]) + forward * SPEED_MPS * 0.05 * (k - 19)
        time_us = key["timestamp_us"] + 50_000 * (k - 19)
        chain.append({**key, "world_from_ego_translation_m": at.tolist(), "timestamp_us": time_us, "is_keyframe": k == 19})

    def depth(**params):
        unit = StageInput(scene.name, "CAM_FRONT", {"frames": UnitData(tables={**tables, "sweeps": columns_of(chain)})}, reader)
        return made(unit, num_sweeps=CHAIN, **params)

    kept, dropped, half = depth(), depth(own_car_m=2.5), depth(own_car_m=1.0)
    before, after, between = (one.data.arrays["depth_m"][0].astype(int) for one in (kept, dropped, half))
    false = (before > 0) & ((after == 0) | (before < after))
    print("pixels of the own car:", false.sum(), "with 1 m:", ((between > 0) & ((after == 0) | (between < after))).sum())
    assert false.sum() > 20_000
    assert before[false].max() / 256 < 2.5 + CHAIN / 2 * SPEED_MPS * 0.05
    assert dropped.counts["share_own_car"] == pytest.approx(8526 / 34688)
    own_only = OnlyNear(reader, 2.5)
    unit = StageInput(scene.name, "CAM_FRONT", {"frames": UnitData(tables={**tables, "sweeps": columns_of(chain)})}, own_only)
    assert made(unit, num_sweeps=CHAIN).data.arrays["num_measured"][0] >= false.sum()
    unit = StageInput(scene.name, "CAM_FRONT", {"frames": UnitData(tables={**tables, "sweeps": columns_of(chain)})}, own_only)
    assert made(unit, num_sweeps=CHAIN, own_car_m=2.5).data.arrays["num_measured"][0] == 0


def forward_of(row: dict) -> np.ndarray:
    """Return the car's forward direction in the world."""
    w, x, y, z = row["world_from_ego_rotation_wxyz"]
    return np.array([1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)])


class OnlyNear:
    """A reader that keeps the returns nearer than a distance to the scanner."""

    def __init__(self, reader, range_m: float) -> None:
        self.reader, self.range_m = reader, range_m

    def read_points(self, file: str) -> np.ndarray:
        points = self.reader.read_points(file)
        return points[np.linalg.norm(points[:, :3].astype(np.float64), axis=1) < self.range_m]


def test_window_of_one_sweep_when_nothing_votes_then_reads_the_key_sweep_alone():
    sweeps = five_with({})
    read: list[str] = []

    class Noting(Reader):
        def read_points(self, file: str) -> np.ndarray:
            read.append(file)
            return super().read_points(file)

    for params in ({}, {"free_space": VOTES}):
        read.clear()
        unit = unit_of(sweeps, five_rows())
        unit.raw = Noting(sweeps)
        made(unit, num_sweeps=1, **params)
        assert sorted(read) == (["0", "1", "2", "3", "4"] if params else ["2"])
