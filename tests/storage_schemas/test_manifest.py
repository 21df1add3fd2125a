from __future__ import annotations

import numpy as np
import pytest

from storage_schemas.dataset import open_dataset
from storage_schemas.errors import ManifestError
from storage_schemas.manifest import diff, open_manifest
from storage_schemas.store import Store
from tests.flows.test_cli import BARE


@pytest.fixture
def built(tiny_root, write_recipe, depthmill, tmp_path):
    recipe = write_recipe(tiny_root)
    assert depthmill("run", recipe, *BARE)[0] == 0
    return recipe, Store(tmp_path / "store")


def test_manifest_rows_follow_the_public_convention(built):
    manifest = open_manifest(built[1])
    samples = manifest.rows()
    assert len(samples) == 4  # two scenes of three key frames, the last of each left out
    assert [row["frame"] for row in samples] == [0, 1, 0, 1]
    assert [row["split"] for row in samples] == ["train", "train", "val", "val"]
    assert [row["is_night"] for row in samples] == [False, False, True, True]
    assert len({row["frame_key"] for row in samples}) == 4
    unit = built[1].open_unit(manifest.unit_of(samples[1], "depth_clean"))
    assert samples[1]["coverage_clean"] == pytest.approx(np.count_nonzero(unit.array("depth_m", 1)) / (64 * 36))
    assert samples[0]["num_radar_points"] > 0
    pose = np.array(samples[0]["world_from_cam"]).reshape(4, 4)
    np.testing.assert_allclose(pose[:3, 3], [500.0 + 5 * -0.02 + 1.5, 300, 1.5])


def test_dataset_when_opened_then_is_lazy_and_holds_what_the_units_hold(built):
    manifest = open_manifest(built[1])
    dataset = open_dataset(manifest)
    assert dataset["image"].sizes == {"frame": 4, "y": 36, "x": 64, "channel": 3}
    assert set(dataset.data_vars) == {"image", "depth_single_m", "depth_accumulated_m", "depth_clean_m", "radar_m"}
    assert all(variable.chunks[0] == (1, 1, 1, 1) for variable in dataset.data_vars.values())
    assert dataset["depth_clean_m"].attrs["units"] == "m"
    row = manifest.rows()[2]
    steps = built[1].open_unit(manifest.unit_of(row, "depth_accumulated")).array("depth_m", row["frame"])
    np.testing.assert_array_equal(np.nan_to_num(dataset["depth_accumulated_m"][2].values), steps / 256)
    assert dataset["image"][0].values.std() > 10
    assert np.isfinite(dataset["radar_m"][0].values).sum() <= manifest.rows()[0]["num_radar_points"]
    night = dataset.isel(frame=dataset["is_night"].values)
    assert night.sizes["frame"] == 2


def test_diff_when_rule_changes_then_names_store_of_every_sample(built, depthmill):
    recipe, store = built
    old = open_manifest(store)
    depthmill("run", recipe, *BARE, "--set", "stages.clean_horizon.near_m=3", "--set", "scenes=[scene-0061]")
    new = open_manifest(store)
    found = diff(old, new)
    assert len(found["removed"]) == 2
    assert found["added"] == []
    assert all(line.endswith("(depth_clean)") for line in found["changed"])
    assert len(found["changed"]) == 2


def test_open_manifest_when_absent_or_unknown_then_says_what_is_there(built, tmp_path):
    with pytest.raises(ManifestError, match="has no manifest yet. Run depthmill run"):
        open_manifest(Store(tmp_path / "empty"))
    with pytest.raises(
        ManifestError, match=f"manifest 'ffff' does not exist .*newest first: {open_manifest(built[1]).path.fingerprint}"
    ):
        open_manifest(built[1], "ffff")
