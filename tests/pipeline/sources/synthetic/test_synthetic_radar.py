"""The simulated world's radars: five where they are asked for, with or without elevation, and nobody else's file changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from pyquaternion import Quaternion

from pipeline.sources.synthetic import SyntheticParams, scene_digest, write_world
from pipeline.sources.synthetic.config import SyntheticConfig
from pipeline.sources.synthetic.source import SyntheticSource
from storage_schemas.catalog import RADAR_CHANNELS
from tests.conftest import NEEDS_DEVKIT

nuscenes = pytest.importorskip("nuscenes", reason=NEEDS_DEVKIT)
data_classes = pytest.importorskip("nuscenes.utils.data_classes", reason=NEEDS_DEVKIT)
geometry = pytest.importorskip("nuscenes.utils.geometry_utils", reason=NEEDS_DEVKIT)

SMALL = {"scenes": 1, "seconds": 1.0, "image_size": (64, 36), "lidar_azimuth_steps": 40}


@pytest.fixture(scope="module")
def front_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("front")
    write_world(SyntheticParams(**SMALL), folder)
    return folder


@pytest.fixture(scope="module")
def all_five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("five")
    write_world(SyntheticParams(**SMALL, radars=RADAR_CHANNELS, radar="imaging"), folder)
    return folder


def files_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for folder in ("samples", "sweeps", "truth")
        for path in (root / folder).rglob("*.*")
    }


def test_digest_when_the_radars_are_the_default_then_is_that_of_worlds_written_before_there_was_a_choice() -> None:
    former = "b82c54ee"
    spelled_out = SyntheticParams(radars=("RADAR_FRONT",), radar="conventional")
    assert scene_digest(SyntheticParams(), 0)[:8] == scene_digest(spelled_out, 0)[:8] == former
    assert len({scene_digest(SyntheticParams(radars=RADAR_CHANNELS[:n]), 0) for n in range(1, 6)}) == 5
    assert scene_digest(SyntheticParams(radar="imaging"), 0)[:8] != former
    source = SyntheticSource(SyntheticConfig(kind="synthetic"), Path("/cache"))
    assert source.root == Path("/cache/simulated/69906352339e8083")


def test_files_of_other_sensors_when_radars_are_added_then_stay_byte_for_byte(front_only: Path, tmp_path: Path) -> None:
    write_world(SyntheticParams(**SMALL, radars=("RADAR_FRONT", "RADAR_BACK_LEFT")), tmp_path)
    before, after = files_of(front_only), files_of(tmp_path)
    assert before.items() < after.items()
    assert all("RADAR_BACK_LEFT" in name for name in after.keys() - before.keys())


def test_five_radars_when_asked_for_then_the_devkit_loads_each_and_it_looks_its_own_way(all_five: Path) -> None:
    database = nuscenes.NuScenes(version="v1.0-mini", dataroot=str(all_five), verbose=False)
    ahead = {
        "RADAR_FRONT": 0.2, "RADAR_FRONT_LEFT": 90.7, "RADAR_FRONT_RIGHT": -89.7, "RADAR_BACK_LEFT": 174.7, "RADAR_BACK_RIGHT": -175.0,
    }  # fmt: skip
    assert set(database.sample[0]["data"]) == {"LIDAR_TOP", "CAM_FRONT", *ahead}
    times = set()
    for channel, degrees in ahead.items():
        record = database.get("sample_data", database.sample[0]["data"][channel])
        sensor = database.get("calibrated_sensor", record["calibrated_sensor_token"])
        points = data_classes.RadarPointCloud.from_file(str(all_five / record["filename"])).points[:3]
        x, y, _, _ = geometry.transform_matrix([0, 0, 0], Quaternion(sensor["rotation"])) @ np.vstack(
            [points, np.ones(points.shape[1])]
        )
        bearing = (np.rad2deg(np.arctan2(y, x)) - degrees + 180) % 360 - 180
        assert np.abs(bearing).max() < 62.0
        assert bearing.min() < -20 and bearing.max() > 20
        times.add(record["timestamp"])
    assert len(times) == 5


def test_imaging_radar_when_chosen_then_measures_height_and_ten_times_as_much(front_only: Path, all_five: Path) -> None:
    def returns(root: Path) -> np.ndarray:
        files = sorted((root / "samples" / "RADAR_FRONT").iterdir())
        return np.concatenate([data_classes.RadarPointCloud.from_file(str(file)).points for file in files], axis=1)

    flat, tall = returns(front_only), returns(all_five)
    assert (flat[2] == 0).all()
    assert 5 * flat.shape[1] < tall.shape[1] < 15 * flat.shape[1]
    elevation = np.rad2deg(np.arctan2(tall[2], np.hypot(tall[0], tall[1])))
    assert -7 < elevation.min() < -0.2 and 10 < elevation.max() < 15


@pytest.mark.parametrize(
    "wrong", [{"radars": ("RADAR_TOP",)}, {"radars": ()}, {"radars": ("RADAR_FRONT",) * 2}, {"radar": "scanning"}]
)
def test_radars_when_unknown_or_twice_then_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        SyntheticParams(**wrong)
