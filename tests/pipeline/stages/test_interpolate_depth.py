from __future__ import annotations

import numpy as np
import pytest

from pipeline.plan import make_plan
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source
from pipeline.stage import StageInput
from pipeline.stages.interpolate_depth import Params, interpolate_frame, kernel, thinned_pixels
from storage_schemas.errors import SourceError
from storage_schemas.store import Store

HEIGHT, WIDTH = 60, 100


def sparse_of(steps: np.ndarray, *, share: float = 0.05, seed: int = 0) -> np.ndarray:
    """Keep some pixels of a full map, its corners among them."""
    keep = np.random.default_rng(seed).random(steps.shape) < share
    keep[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    return np.where(keep, steps, 0).astype(np.uint16)


def test_interpolation_when_depth_is_linear_in_the_image_then_is_exact():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    full = (2000 + 30 * x + 17 * y).astype(np.uint16)
    np.testing.assert_array_equal(interpolate_frame(sparse_of(full), Params(of="depth_single")), full)


def test_interpolation_when_the_surface_is_a_plane_then_is_exact_in_inverse_depth_and_too_far_in_depth():
    y, _ = np.mgrid[:HEIGHT, :WIDTH]
    exact_steps = 256 * 1.5 * 50 / (y + 4.0)  # the road, seen from 1.5 m above it with a focal length of 50 px
    sparse = sparse_of(np.rint(exact_steps).astype(np.uint16), share=0.01)
    error = {
        kind: interpolate_frame(sparse, Params(of="depth_single", linear_in=kind)) - exact_steps
        for kind in ("depth", "inverse_depth")
    }
    assert np.abs(error["inverse_depth"]).max() < 3  # what rounding the corners to whole steps leaves
    assert error["depth"].max() > 100
    assert error["depth"].min() > -3


def test_interpolation_when_pixels_lie_outside_the_hull_then_they_stay_empty_and_measured_ones_stay_bit_for_bit():
    rng = np.random.default_rng(1)
    sparse = np.zeros((HEIGHT, WIDTH), np.uint16)
    sparse[10:40:3, 20:70:7] = rng.integers(300, 20_000, (10, 8))
    found = interpolate_frame(sparse, Params(of="depth_single"))
    assert (found[10:38, 20:70] > 0).all()
    assert np.count_nonzero(found) == 28 * 50
    np.testing.assert_array_equal(found[sparse > 0], sparse[sparse > 0])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_interpolation_when_there_are_too_few_pixels_then_only_these_are_there(count):
    sparse = np.zeros((HEIGHT, WIDTH), np.uint16)
    sparse[5, 10 : 10 + count] = 700
    np.testing.assert_array_equal(interpolate_frame(sparse, Params(of="depth_single")), sparse)


def test_limits_when_set_then_no_triangle_bridges_an_object_border_or_a_long_gap():
    sparse = np.zeros((HEIGHT, WIDTH), np.uint16)
    sparse[::4, :40:4] = 10 * 256
    sparse[::4, 40:60:4] = 30 * 256
    sparse[::4, 92] = 30 * 256
    everything = interpolate_frame(sparse, Params(of="depth_single"))
    by_ratio = interpolate_frame(sparse, Params(of="depth_single", max_depth_ratio=2.0))
    by_both = interpolate_frame(sparse, Params(of="depth_single", max_depth_ratio=2.0, max_edge_px=6))
    assert set(np.unique(by_ratio)) == {0, 10 * 256, 30 * 256}
    assert len(np.unique(everything)) > 4
    assert not by_ratio[:57, 37:40].any()
    assert (everything[:57, 37:40] > 0).all()
    assert (by_ratio[:57, 60:92] == 30 * 256).all()
    assert not by_both[:57, 57:92].any()


def test_thinning_when_there_are_too_many_pixels_then_keeps_the_nearest_of_each_cell_and_every_depth_in_the_map():
    rng = np.random.default_rng(3)
    dense = rng.integers(256, 20_000, (HEIGHT, WIDTH)).astype(np.uint16)
    rows, columns = thinned_pixels(dense, max_points=700)
    assert len(rows) == 20 * 34  # cells of 3 x 3
    for row, column in zip(rows[::50], columns[::50], strict=True):
        top, left = row // 3 * 3, column // 3 * 3
        assert dense[row, column] == dense[top : top + 3, left : left + 3].min()
    assert thinned_pixels(dense, max_points=HEIGHT * WIDTH)[0].size == HEIGHT * WIDTH
    half = np.where(rng.random(dense.shape) < 0.5, dense, 0).astype(np.uint16)
    found = interpolate_frame(half, Params(of="depth_single", max_points=700))
    np.testing.assert_array_equal(found[half > 0], half[half > 0])
    assert (found[3:-3, 3:-3] > 0).all()


def plan_of(tiny_root, tmp_path, **stages):
    recipe = parse_recipe(
        {
            "source": {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"},
            "store": str(tmp_path / "store"),
            "stages": stages,
        },
        where="test",
    )
    return make_plan(recipe, open_source(recipe.source, tmp_path / "cache"), Store(recipe.store))


def test_plan_when_nothing_is_to_be_interpolated_then_has_no_such_unit(tiny_root, tmp_path):
    assert "interpolate_depth" not in {item.stage for item in plan_of(tiny_root, tmp_path).items}


def test_plan_when_the_single_sweep_is_interpolated_then_another_cleaning_rule_leaves_it_alone(tiny_root, tmp_path):
    def found(of: str, near_m: float) -> list[str]:
        plan = plan_of(tiny_root, tmp_path, interpolate_depth={"of": of}, clean_horizon={"near_m": near_m})
        return [item.path.fingerprint for item in plan.items if item.stage == "interpolate_depth"]

    assert len(found("depth_single", 20)) == 2
    assert found("depth_single", 20) == found("depth_single", 25)
    assert found("depth_clean", 20) != found("depth_clean", 25)


def test_kernel_when_the_store_is_not_made_then_says_which_and_what_to_do():
    unit = StageInput("scene-1", "CAM_FRONT", {}, None)
    with pytest.raises(
        SourceError, match=r"scene scene-1, camera CAM_FRONT has no depth_clean to interpolate.*interpolate_depth\.of"
    ):
        kernel(unit, Params(of="depth_clean"))


def test_run_when_interpolated_depth_is_asked_for_then_the_manifest_and_the_loader_have_it(
    tiny_root, write_recipe, depthmill, tmp_path
):
    from model.semodepth.config import DataConfig
    from model.semodepth.data import FrameLoader
    from model.semodepth.dense import dense_batch
    from storage_schemas.manifest import open_manifest

    recipe = write_recipe(tiny_root, stages={"interpolate_depth": {"of": "depth_single", "max_depth_ratio": 1.5}})
    code, text = depthmill("run", recipe, "--no-prefect", "--workers", 1)
    assert code == 0, text
    manifest = open_manifest(Store(str(tmp_path / "store")))
    row = manifest.rows()[0]
    sparse, filled = (
        manifest.store.open_unit(manifest.unit_of(row, name)).array("depth_m", row["frame"])
        for name in ("depth_single", "depth_interpolated")
    )
    assert np.count_nonzero(filled) > 1.5 * np.count_nonzero(sparse)
    np.testing.assert_array_equal(filled[sparse > 0], sparse[sparse > 0])
    with FrameLoader(manifest, DataConfig(dense_target="depth_interpolated", batch_size=1, order="manifest")) as loader:
        batch = dense_batch(next(iter(loader)), max_depth_m=255.0)
    np.testing.assert_array_equal(batch.target_m[0], filled / np.float32(256))
