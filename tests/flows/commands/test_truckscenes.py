"""A made-up set in the layout of man-truckscenes goes from init to a row of a table, and no hand touches the recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from storage_schemas.store import Store, UnitPath
from tests.tiny_truckscenes import write_tiny_truckscenes

LIDARS = ["LIDAR_LEFT", "LIDAR_RIGHT"]


def arrays_of(store: Store, layout: str) -> list[dict[str, np.ndarray]]:
    paths = [
        UnitPath(layout, scene, "CAMERA_LEFT_FRONT", unit)
        for scene in store.files.names(layout)
        for unit in store.files.names(f"{layout}/{scene}/CAMERA_LEFT_FRONT")
    ]
    return [store.read_unit(path).arrays for path in paths]


@pytest.mark.slow
def test_truckscenes_when_only_commands_are_given_then_trains_and_is_measured(depthmill, tmp_path, monkeypatch):
    write_tiny_truckscenes(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    code, text = depthmill("init", "data")
    assert code == 0, text
    assert "2 cameras, 2 radars" in text
    recipe = yaml.safe_load(Path("recipe.yaml").read_text())
    assert recipe["stages"]["project_radar"]["channels"] == ["RADAR_LEFT_FRONT"]
    for stage in ("project_lidar", "accumulate_lidar"):
        chosen = recipe["stages"][stage]["lidar"]
        assert set([chosen] if isinstance(chosen, str) else chosen) <= set(LIDARS)
    code, text = depthmill("run", "recipe.yaml", "--no-prefect", "--workers", 1, "--no-report")
    assert code == 0, text
    assert "no filter by ambig_state, dyn_prop, invalid_state, which files lack" in text
    store = Store(recipe["store"])
    radar = arrays_of(store, "radar_points")
    assert len(radar) == 2
    for arrays in radar:
        assert set(arrays["sensor"].tolist()) == {5}
        np.testing.assert_allclose(arrays["vx_comp_mps"], 0.0, atol=1e-4)  # all that it sees stands still
    assert all(np.count_nonzero(arrays["depth_m"]) for arrays in arrays_of(store, "depth_single"))
    code, text = depthmill("train", "recipe.yaml", "--set", "train.epochs=1", "--no-prefect")
    assert code == 0, text
    assert "| on | all | 80 |" in text
