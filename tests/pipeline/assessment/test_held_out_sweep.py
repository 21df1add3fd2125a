from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import grey_closing

from flows.run.bare_loop import BareLoop
from flows.run.making import make_units
from flows.run.opening import open_recipe
from flows.settings import Settings
from pipeline.assessment.assess import Contender, Frame, assess_frames, reference_kind, sampled_frames
from pipeline.assessment.held_out_sweep import behind_own_surface, held_out_reference, window_px
from pipeline.assessment.point_readers import PointReader, WithoutOwnCar
from pipeline.assessment.reference_groups import LEAST_SCATTER, scatter_of
from pipeline.assessment.scene_maps import SceneMaps
from pipeline.plan import make_plan
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source
from pipeline.stages import accumulate_lidar
from storage_schemas.errors import RecipeError
from storage_schemas.store import Store


class Opened:
    """A tiny drive with a recipe; nothing is in its store."""

    def __init__(self, root: Path, folder: Path, **changes: Any) -> None:
        data = {"source": {"kind": "nuscenes", "root": str(root), "version": "v1.0-mini"}, "store": str(folder / "store")}
        self.recipe = parse_recipe({**data, **changes}, where="test")
        self.source = open_source(self.recipe.source, folder / "cache")
        self.store = Store(self.recipe.store)
        self.plan = make_plan(self.recipe, self.source, self.store)
        self.raw = self.source.reader()
        self.scene = self.source.scenes()[0].name

    def maps(self) -> SceneMaps:
        return SceneMaps(self.plan, self.recipe, self.store, PointReader(self.raw), scene=self.scene, camera="CAM_FRONT")

    def reference(self, frame: int, *, neighbours: int = 0) -> Any:
        params = self.recipe.stages.params_of(accumulate_lidar.STAGE)
        tables = self.maps().frame_tables(frame)
        return held_out_reference(PointReader(self.raw), tables, params, scene=self.scene, neighbours=neighbours)

    def measured(self, **choices: Any) -> list[Any]:
        contender = Contender("it", self.recipe, self.plan)
        frames = sampled_frames(self.plan, self.raw, (), most=99)
        every = assess_frames([contender], frames, self.store, self.raw, against="sweep", **choices)
        return [errors for of_frame in every for errors in of_frame]


def shifted(file: Path) -> None:
    """Move all returns of a sweep a metre along each axis, so that every depth changes."""
    points = np.fromfile(file, np.float32).reshape(-1, 5)
    points[:, :3] += 1.0
    points.tofile(file)


@pytest.mark.parametrize("preset", ["published", "surface"])
def test_maps_when_the_key_sweep_is_held_out_then_nothing_of_its_file_is_in_them(preset, tiny_root, tmp_path):
    root = Path(shutil.copytree(tiny_root, tmp_path / "raw"))
    opened = Opened(root, tmp_path, preset=preset)
    reference = opened.reference(0)
    held = reference.held
    assert len(held) == 1
    before = opened.maps().arrays(0, ("depth_accumulated", "depth_clean"), shared={}, held=held)
    all_of_it = opened.maps().arrays(0, ("depth_accumulated",), shared={})["depth_accumulated"]["depth_m"]
    shifted(root / next(iter(held)))
    again = Opened(root, tmp_path, preset=preset)
    after = again.maps().arrays(0, ("depth_accumulated", "depth_clean"), shared={}, held=held)
    for layout, arrays in before.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, after[layout][name], err_msg=f"{layout}.{name}")
    assert (again.maps().arrays(0, ("depth_accumulated",), shared={})["depth_accumulated"]["depth_m"] != all_of_it).any()
    assert (before["depth_accumulated"]["depth_m"] != all_of_it).any()
    assert (again.reference(0).steps != reference.steps).any()


def test_held_files_when_neighbours_are_asked_for_then_are_those_around_the_key_sweep(tiny_root, tmp_path):
    opened = Opened(tiny_root, tmp_path)
    tables = opened.maps().tables["sweeps"]
    chain = [file for file, channel in zip(tables["file"], tables["channel"], strict=True) if channel == "LIDAR_TOP"]
    (key,) = opened.reference(1).held
    at = chain.index(key)
    assert opened.reference(1, neighbours=1).held == set(chain[max(0, at - 1) : at + 2])


def test_maps_when_made_in_memory_then_equal_what_a_run_stores(tiny_root, tiny_store, tmp_path):
    opened = Opened(tiny_root, tmp_path)
    stored = Store(tiny_store)
    for layout in ("depth_single", "depth_accumulated", "depth_clean"):
        (path,) = [path for path in stored.units(layout) if path.scene == opened.scene]
        unit = stored.open_unit(path)
        for frame in range(opened.maps().num_frames):
            for name, array in opened.maps().arrays(frame, (layout,), shared={})[layout].items():
                np.testing.assert_array_equal(array, unit.array(name, frame))


def test_maps_when_a_preset_is_chosen_then_those_in_memory_equal_what_a_run_stores(tiny_root, tmp_path):
    opened = Opened(tiny_root, tmp_path, preset="surface")
    (tmp_path / "stored").mkdir()
    stored = Opened(tiny_root, tmp_path / "stored", preset="surface")
    whole = open_recipe(stored.recipe, Settings(workers=1, cache_dir=tmp_path / "stored/cache"))
    assert make_units(whole, BareLoop(), report=False).num_failed == 0
    for layout in ("depth_accumulated", "depth_clean"):
        (path,) = [path for path in stored.store.units(layout) if path.scene == opened.scene]
        unit = stored.store.open_unit(path)
        for frame in range(opened.maps().num_frames):
            arrays = opened.maps().arrays(frame, (layout,), shared={})[layout]
            np.testing.assert_array_equal(arrays["depth_m"], unit.array("depth_m", frame))


def test_assess_when_all_is_said_and_done_then_nothing_is_stored(tiny_root, tmp_path):
    opened = Opened(tiny_root, tmp_path)
    measured = opened.measured()
    assert {errors.layout for errors in measured} == {"depth_accumulated", "depth_clean"}
    assert not (tmp_path / "store").exists()
    assert all(errors.groups["all", "all"].plain.compared for errors in measured if errors.layout == "depth_accumulated")


def test_sample_when_there_are_more_frames_then_takes_even_steps_and_named_scenes(tiny_root, tmp_path):
    opened = Opened(tiny_root, tmp_path)
    every = sampled_frames(opened.plan, opened.raw, (), most=99)
    assert len(every) == 6
    three = sampled_frames(opened.plan, opened.raw, (), most=3)
    assert [every.index(frame) // 2 for frame in three] == [0, 1, 2]  # one of each third
    assert sampled_frames(opened.plan, opened.raw, (), most=1) == every[:1]
    second = every[-1].scene
    assert {frame.scene for frame in sampled_frames(opened.plan, opened.raw, (second,), most=99)} == {second}
    with pytest.raises(RecipeError, match="--scenes: scene 'scene-9999' is not among those with accumulated depth: scene-0061"):
        sampled_frames(opened.plan, opened.raw, ("scene-9999",), most=3)


def test_reference_kind_when_no_exact_depth_is_known_then_is_the_sweep(tiny_root, tmp_path):
    opened = Opened(tiny_root, tmp_path)
    assert reference_kind(opened.plan, None) == "sweep"
    with pytest.raises(
        RecipeError, match="--reference truth: the exact depth of these scenes is not known. Use --reference sweep"
    ):
        reference_kind(opened.plan, "truth")


def test_behind_when_a_gap_of_the_foreground_shows_the_wall_then_says_so():
    steps = np.zeros((5, 13), np.uint16)
    steps[2, [2, 6]] = 10 * 256  # a fence at 10 m
    steps[2, 4] = 30 * 256  # seen between its posts
    steps[2, 8] = 30 * 256  # beside it
    hidden = behind_own_surface(steps, window_px=5)
    assert np.argwhere(hidden).tolist() == [[2, 4]]
    assert not behind_own_surface(steps, window_px=3).any()


def test_behind_when_compared_with_scipy_then_agrees():
    random = np.random.default_rng(1)
    steps = np.where(random.random((40, 60)) < 0.2, random.integers(256, 20_000, (40, 60)), 0).astype(np.uint16)
    inverse = np.where(steps > 0, 256.0 / np.maximum(steps, 1), 0.0)
    closed = grey_closing(np.pad(inverse, 7), size=(7, 7), mode="constant")[7:-7, 7:-7]
    depth_m, surface_m = steps / 256, 1 / np.maximum(closed, 1e-9)
    expected = (steps > 0) & (depth_m - surface_m > 1) & (depth_m > 1.1 * surface_m)
    inner = (slice(3, -3), slice(3, -3))  # at the border the windows of the two are cut otherwise
    np.testing.assert_array_equal(behind_own_surface(steps, window_px=7)[inner], expected[inner])


def test_window_when_the_focal_length_is_known_then_spans_a_beam_row():
    assert (window_px(1266), window_px(230)) == (31, 5)


def test_own_car_when_returns_are_near_the_scanner_then_are_no_reference():
    class Files:
        def read_points(self, file: str) -> np.ndarray:
            return np.array([[1, 1, 0, 9, 9], [0, 2.5, 0, 9, 9], [30, 0, 0, 9, 9]], np.float32)

    kept = WithoutOwnCar(PointReader(Files()), nearest_m=2.5).read_points("a")  # type: ignore[arg-type]
    assert kept[:, :2].tolist() == [[0, 2.5], [30, 0]]


def test_frame_when_compared_then_is_hashable_and_ordered_by_its_fields():
    assert Frame("a", "b", 1) == Frame("a", "b", 1)


def test_scatter_when_returns_lie_on_a_wall_then_is_nothing_and_in_a_bush_then_is_much():
    random = np.random.default_rng(2)
    wall = np.column_stack([np.full(400, 10.0), random.uniform(0, 5, 400), random.uniform(0, 5, 400)])
    bush = random.uniform(0, 2, (400, 3)) + [30, 0, 0]
    scatter = scatter_of(np.vstack([wall, bush]), np.vstack([wall[:50], bush[:50]]))
    assert scatter[:50].max() < 1e-9
    assert np.median(scatter[50:]) > 3 * LEAST_SCATTER
    assert scatter_of(wall[:5], wall[:5]).tolist() == [0.0] * 5
    with_infinite = np.vstack([wall, [[np.inf, 0.0, 0.0], [np.nan, 1.0, 2.0]]])
    np.testing.assert_array_equal(scatter_of(with_infinite, wall[:50]), scatter_of(wall, wall[:50]))


def test_groups_when_a_box_holds_returns_then_their_pixels_have_its_category(tiny_root, tmp_path):
    opened = Opened(tiny_root, tmp_path)
    reference = opened.reference(0)
    classes, shapes = reference.groups
    assert classes.grouping == "class"
    assert classes.names[-1] == "no box"
    for one in (classes, shapes):
        assert ((one.label == 255) == (reference.steps == 0)).all()


@pytest.mark.parametrize(("of", "expected"), [("depth_single", 2), ("depth_clean", 3)])
def test_assess_when_depth_is_interpolated_then_is_measured_unless_it_is_of_the_held_out_sweep(of, expected, tiny_root, tmp_path):
    opened = Opened(tiny_root, tmp_path, stages={"interpolate_depth": {"of": of}})
    assert len({errors.layout for errors in opened.measured()}) == expected
