"""Preset surface as a user runs it: on any number of workers, on sources without sweeps, beside units of the published recipe."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

import depthmill as package
from storage_schemas.store import Store
from tests.tiny_kitti import write_tiny_kitti
from tests.tiny_zju import write_tiny_zju

DEPTHS = ("depth_accumulated", "depth_clean")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write recipes over one simulated world, each with a store of its own."""
    folder = tmp_path_factory.mktemp("preset")
    world = {"kind": "synthetic", "scenes": 2, "seconds": 2, "image_size": [160, 90], "lidar_azimuth_steps": 100}

    def write(name: str, **keys: object) -> Path:
        source = {**world, "root": str(folder / "world")}
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"source": source, "store": str(folder / name), "preset": "surface", **keys}))
        return path

    return write


def digests_of(store: Path) -> dict[str, str]:
    """Return the digest of all arrays of each depth unit, by the unit's key."""
    opened = Store(str(store))
    return {
        path.key: hashlib.sha256(b"".join(v.tobytes() for _, v in sorted(opened.read_unit(path).arrays.items()))).hexdigest()
        for layout in DEPTHS
        for path in opened.units(layout)
    }


@pytest.mark.slow
def test_units_when_made_by_one_worker_or_two_then_the_same(recipe, depthmill):
    stages = {"accumulate_lidar": {"confidence": True, "moving": "carry"}}
    made = []
    for workers in (1, 2):
        path = recipe(f"workers{workers}", stages=stages)
        code, text = depthmill("run", path, "--no-prefect", "--no-report", "--workers", workers)
        assert code == 0, text
        made.append(digests_of(path.with_suffix("")))
    assert len(made[0]) == 4
    assert made[0] == made[1]


def test_store_when_some_units_have_confidence_then_every_reader_takes_both(recipe, depthmill):
    path = recipe("both")
    with_it = ("--set", "stages.accumulate_lidar.confidence=true")
    for options in (("--set", "preset=published"), with_it):
        assert depthmill("run", path, "--no-prefect", "--no-report", "--workers", 1, *options)[0] == 0
    store = Store(str(path.with_suffix("")))
    accumulated = [store.read_unit(unit).arrays for unit in store.units("depth_accumulated")]
    assert sorted("confidence" in arrays for arrays in accumulated) == [False, False, True, True]
    for arrays in accumulated:
        if "confidence" in arrays:
            assert np.array_equal(arrays["confidence"] > 0, arrays["depth_m"] > 0)
    code, text = depthmill("verify", path)
    assert (code, "all whole" in text) == (0, True)
    for number, options in enumerate((("--set", "preset=published"), with_it)):
        assert depthmill("report", path, "--out", path.with_suffix(f".{number}.html"), *options)[0] == 0
    manifests = [unit.fingerprint for unit in store.units("manifest")]
    assert len(manifests) == 2
    for manifest in manifests:
        opened = package.open_dataset(str(path.with_suffix("")), manifest=manifest)
        assert opened["depth_clean_m"].isel(frame=0).values.shape == (90, 160)


@pytest.mark.parametrize(("kind", "write"), [("zju_4dradarcam", write_tiny_zju), ("kitti_object", write_tiny_kitti)])
def test_source_without_sweeps_when_the_preset_is_set_then_its_units_are_as_without(kind, write, tmp_path, depthmill):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        yaml.safe_dump({"source": {"kind": kind, "root": str(write(tmp_path / "data"))}, "store": str(tmp_path / "s")})
    )
    code, text = depthmill("run", path, "--no-prefect", "--no-report", "--workers", 1)
    assert code == 0, text
    assert depthmill("plan", path, "--check", "--set", "preset=surface")[0] == 0
