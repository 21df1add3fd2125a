"""Projected radar held against the exact depth of the simulated world: five radars, six cameras, sweeps, Doppler."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.recipe import parse_recipe
from pipeline.sources import open_source
from pipeline.stage import StageInput
from pipeline.stages import pack_truth, project_radar
from storage_schemas.catalog import RADAR_CHANNELS, SURFACES
from storage_schemas.layout import UnitData

MOVING = [SURFACES.index(name) for name in ("moving_annotated", "moving_unannotated")]
SOURCE = {"kind": "synthetic", "scenes": 1, "seconds": 3, "seed": 7, "image_size": [320, 180], "lidar_azimuth_steps": 40}
CAMERAS = ["CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Reader of a world with six cameras and five imaging radars, which the recipe's channels alone ask for."""
    folder = tmp_path_factory.mktemp("radar-world")
    recipe = parse_recipe(
        {
            "source": {**SOURCE, "radar": "imaging", "root": str(folder / "raw")},
            "store": str(folder / "store"),
            "cameras": CAMERAS,
            "stages": {"project_radar": {"channels": list(RADAR_CHANNELS)}},
        },
        where="test",
    )
    source = open_source(recipe.source, folder / "cache")
    source.prepare()
    return source.reader()


class Compared:
    """Radar returns of one camera beside the truth at their pixels.

    Attributes:
        columns: the unit's arrays.
        error_m: least difference to the truth in the 3x3 pixels around the return; the truth is 0 in the sky.
        surface: what the pixel shows.
    """

    def __init__(self, raw, camera: str, **params: object) -> None:
        units = {"frames": UnitData(tables=raw.scene_tables("scene-0061"))}
        truth = pack_truth.kernel(StageInput("scene-0061", camera, units, raw), pack_truth.Params()).data.arrays
        unit = StageInput("scene-0061", camera, units, raw)
        self.columns = project_radar.kernel(unit, project_radar.Params(**params)).data.arrays
        frame, row, column = (self.columns[name].astype(int) for name in ("frame_of_point", "v_px", "u_px"))
        padded = np.pad(truth["depth_m"] / 256, ((0, 0), (1, 1), (1, 1)), mode="edge")
        near = [padded[frame, row + dy, column + dx] for dy in range(3) for dx in range(3)]
        self.error_m = np.min([np.abs(self.columns["depth_m"] - depth) for depth in near], axis=0)
        self.surface = truth["surface"][frame, row, column]

    @property
    def speed_mps(self) -> np.ndarray:
        return np.hypot(self.columns["vx_comp_mps"], self.columns["vy_comp_mps"])


@pytest.mark.parametrize("camera", CAMERAS)
def test_returns_of_five_radars_when_projected_into_any_camera_then_have_the_depth_of_their_pixel(world, camera):
    """Nine in ten lie within 0.5 m + 2 % of the truth; the rest sees past an edge that hides it from the camera."""
    found = Compared(world, camera, channels=RADAR_CHANNELS)
    assert len(found.error_m) > 400
    assert (found.error_m < 0.5 + 0.02 * found.columns["depth_m"]).mean() > 0.9
    assert np.median(found.error_m) < 0.15


def test_each_camera_is_seen_by_the_radars_that_look_its_way(world):
    seen = {
        camera: {RADAR_CHANNELS[k] for k in np.unique(Compared(world, camera, channels=RADAR_CHANNELS).columns["sensor"])}
        for camera in ("CAM_FRONT", "CAM_BACK", "CAM_FRONT_LEFT")
    }
    assert seen["CAM_FRONT"] >= {"RADAR_FRONT"} and "RADAR_BACK_LEFT" not in seen["CAM_FRONT"]
    assert seen["CAM_BACK"] >= {"RADAR_BACK_LEFT", "RADAR_BACK_RIGHT"} and "RADAR_FRONT" not in seen["CAM_BACK"]
    assert seen["CAM_FRONT_LEFT"] >= {"RADAR_FRONT", "RADAR_FRONT_LEFT"} and "RADAR_FRONT_RIGHT" not in seen["CAM_FRONT_LEFT"]


def test_standing_things_when_seen_by_earlier_sweeps_then_stay_at_the_depth_of_their_pixel(world):
    found = Compared(world, "CAM_FRONT", past_sweeps=6)
    old = (found.columns["time_lag_s"] > 0.2) & (found.speed_mps < 0.5)
    assert old.sum() > 1000
    assert (found.error_m < 0.5 + 0.02 * found.columns["depth_m"])[old].mean() > 0.9


def test_moving_cars_when_seen_by_earlier_sweeps_then_their_returns_land_on_them_with_doppler_and_beside_them_without(world):
    """Farther than 15 m; nearer ones pass by, and Doppler sees only a part of what they move."""

    def share_on_a_moving_thing(target_motion: str) -> float:
        found = Compared(world, "CAM_FRONT", past_sweeps=6, target_motion=target_motion)
        moving = (found.columns["time_lag_s"] > 0.2) & (found.speed_mps > 3.0) & (found.columns["depth_m"] > 15.0)
        assert moving.sum() > 200
        return float((np.isin(found.surface, MOVING) & (found.error_m < 1.0))[moving].mean())

    without, with_doppler = share_on_a_moving_thing("ignore"), share_on_a_moving_thing("doppler")
    assert without < 0.15
    assert with_doppler > 0.75


def test_source_when_the_recipe_names_channels_then_simulates_these_unless_it_says_otherwise():
    def radars(**source: object) -> tuple[str, ...]:
        stages = {"project_radar": {"channels": ["RADAR_FRONT", "RADAR_BACK_LEFT"]}}
        recipe = parse_recipe({"source": {"kind": "synthetic", **source}, "store": "s", "stages": stages}, where="test")
        return recipe.source.radars

    assert radars() == ("RADAR_FRONT", "RADAR_BACK_LEFT")
    assert radars(radars=["RADAR_FRONT"]) == ("RADAR_FRONT",)
